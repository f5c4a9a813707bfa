// The way in which the feature is found: along a direction, by a search, or whichever is chosen; and what stays as it is.
import {element, plural, way as address} from "./shell.js";

export const DIRECTION = "linear";
const WAYS = {
  [DIRECTION]: ["Along one direction", "Every picture moves the same way. You choose how far, by its preview; found in a second."],
  counterfactual: ["Search through the generator", "Takes your marks further and moves fewer pictures. Finding it takes about a minute, and training over ten times as long."],
  auto: ["Choose for me", "Compares both at many strengths and explains its choice. Finding it takes about a minute."],
};

/** What was chosen in this tab for the marks there now, null where nothing was: {way, keep, threshold, margin, steps and figures}. */
export function recall(run) {
  const kept = JSON.parse(sessionStorage.getItem(`way/${run.name}`) ?? "null");
  return kept?.marked === run.marked ? kept : null;
}

/** Keep the choice for Unlearn, and go there. */
export function take(run, choice) {
  sessionStorage.setItem(`way/${run.name}`, JSON.stringify({...choice, marked: run.marked}));
  location.hash = address(run, "unlearn");
}

/** A choice, or a job, as a request for training names it; null where it says no way. */
export function wanted(choice) {
  if (!choice?.way) return null;
  const {way, keep = [], threshold, margin} = choice;
  return way === DIRECTION ? {way, threshold, margin} : {way, keep};
}

export const sameWay = (one, other) => JSON.stringify(wanted(one)) === JSON.stringify(wanted(other));

/** "Search through the generator; slant stays as it is" */
export function inWords({way, keep = []}) {
  return `“${WAYS[way][0]}”${keep.length ? `; ${keep.join(", ")} ${keep.length > 1 ? "stay as they are" : "stays as it is"}` : ""}`;
}

function card(type, name, value, checked, title, about) {
  const input = element("input", {type, name, value});
  input.checked = checked;
  return element("label", {class: "choice"}, input, element("span", {}, element("strong", {}, title), element("span", {class: "quiet"}, about)));
}

const values = (node) => [...node.querySelectorAll("input:checked")].map((input) => input.value);

function keepList(others, kept) {
  const cards = others.map(({name, feature, shows, without}) => card("checkbox", "keep", name, kept.includes(name), feature, `${name} · ${plural(shows, "picture")} with it, ${without} without`));
  const hint = cards.length ? "Tick what has to stay as it is, by the marks of these runs." : "Mark another feature in a run of its own, over the same generator, and it can be ticked here to stay as it is.";
  return element("fieldset", {class: "plain stack"}, element("legend", {}, "What should stay as it is?"), element("p", {class: "hint"}, hint), cards.length > 0 && element("div", {class: "choices"}, cards));
}

/** The ways to choose from; `change(way)` is told the first and every other. offered: {steps, others, chosen} of the server. */
export function chooser(run, {steps, others, chosen}, change) {
  const before = recall(run) ?? chosen ?? {way: DIRECTION};
  const cards = Object.entries(WAYS).map(([value, words]) => card("radio", "way", value, value === before.way, ...words));
  const ways = element("fieldset", {class: "plain ways"}, element("legend", {}, "Which way?"), element("div", {class: "choices"}, cards));
  const keep = keepList(others, before.keep ?? []);
  const use = element("button", {class: "button primary large", onclick: () => take(run, {way: now(), keep: values(keep), steps: steps[now()]})}, "Use this way");
  const rest = element("div", {class: "card stack"}, keep, element("p", {class: "go"}, use));
  const now = () => values(ways)[0];
  const turn = () => {
    rest.hidden = now() === DIRECTION;
    change(now());
  };
  ways.addEventListener("change", turn);
  return {nodes: [ways, rest], turn};
}
