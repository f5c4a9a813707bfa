// The shell of the page: which run and step the address names, the header, and the step's module.
import * as api from "./api.js";
import {element, hush, tell} from "./shell.js";

const STEPS = {
  start: ["Start", "./start.js"],
  mark: ["Mark", "./marks.js"],
  preview: ["Preview", "./preview.js"],
  unlearn: ["Unlearn", "./unlearn.js"],
  compare: ["Compare", "./compare.js"],
  study: ["Study", "./study.js"],
};
const shown = {run: null, step: "start", leave: null, turn: 0};

/** Why a step is closed, or "" if it is open. */
function reason(step, run) {
  if (step === "start") return "";
  if (!run) return "Choose a generator or go on with a run first.";
  const {shows, without} = run.marks;
  const missing = [shows.length ? "" : "a picture that shows it", without.length ? "" : "one without it"].filter(Boolean);
  if ((step === "preview" || step === "unlearn") && missing.length) return `Mark at least ${missing.join(" and ")} first.`;
  if (step === "compare" && run.stage === "marking") return "Unlearn first: there is nothing to compare yet.";
  return "";
}

function tab(step) {
  const {run} = shown;
  const why = reason(step, run);
  const [name] = STEPS[step];
  const href = step === "start" ? "#/start" : `#/${encodeURIComponent(run?.name ?? "")}/${step}`;
  const current = step === shown.step ? "page" : null;
  if (!why) return element("li", {}, element("a", {href, "aria-current": current}, name));
  const about = element("span", {class: "why", id: `why-${step}`, role: "tooltip"}, why);
  return element("li", {}, element("a", {role: "link", tabindex: "0", "aria-disabled": "true", "aria-current": current, "aria-describedby": about.id}, name), about);
}

/** Header and title again, as the run is now. */
function head() {
  const {run, step} = shown;
  const about = run && [element("strong", {}, run.feature), element("span", {}, run.name), element("span", {}, run.generator)];
  document.getElementById("about").replaceChildren(...(about ?? []));
  const tabs = document.getElementById("tabs");
  const all = Object.keys(STEPS).map(tab);
  const focused = [...tabs.querySelectorAll("a")].indexOf(document.activeElement);
  if (all.map((one) => one.outerHTML).join() !== [...tabs.children].map((one) => one.outerHTML).join()) {
    tabs.replaceChildren(...all);
    if (focused >= 0) all[focused].firstChild.focus({preventScroll: true});
  }
  document.title = run && step !== "start" ? `${STEPS[step][0]}: ${run.feature} – unfeature` : "unfeature";
}

/** The run of that name; `refresh()` asks again, changes it in place and answers it. */
async function named(name) {
  const path = `/api/runs/${encodeURIComponent(name)}`;
  const run = await api.get(path);
  const refresh = async () => {
    Object.assign(run, await api.get(path));
    if (shown.run === run) head();
    return run;
  };
  Object.defineProperty(run, "refresh", {value: refresh});
  return run;
}

function address() {
  const [name, step] = location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
  return step ? {name, step: step in STEPS ? step : "mark"} : {name: null, step: "start"};
}

async function left() {
  const patience = new Promise((resolve) => { setTimeout(resolve, 1500); });
  const leave = shown.leave;
  shown.leave = null;
  if (leave) await Promise.race([leave(), patience]);
}

/** The run's pictures are others: the step again, and why, once. */
async function anew(sentence) {
  if (shown.anew) return;
  shown.anew = true;
  await route();
  shown.anew = false;
  tell(sentence);
}

/** Take the old step away and mount the one that the address names. */
async function route() {
  const turn = ++shown.turn;
  const first = turn === 1;
  const {name, step} = address();
  await left();
  hush();
  const root = element("section", {id: "step", "aria-busy": "true", class: `step-${step}`});
  try {
    const run = name === null ? shown.run : await named(name);
    if (turn !== shown.turn) return;
    Object.assign(shown, {run, step});
    head();
    const module = await import(STEPS[step][1]);
    if (turn !== shown.turn) return;
    document.getElementById("step").replaceWith(root);
    scrollTo(0, 0);
    if (!first) document.getElementById("main").focus({preventScroll: true});
    const closed = reason(step, run);
    if (closed) root.append(closedCard(closed));
    else shown.leave = module.mount(root, run, api).leave;
  } catch (error) {
    if (turn !== shown.turn) return;
    root.replaceChildren(lostCard(name, error));
    document.getElementById("step").replaceWith(root);
  } finally {
    root.removeAttribute("aria-busy");
  }
}

function card(title, sentence, ...buttons) {
  return element("div", {class: "card narrow stack"}, element("h1", {}, title), element("p", {}, sentence), element("p", {class: "row"}, buttons));
}

function closedCard(why) {
  const href = shown.run ? `#/${encodeURIComponent(shown.run.name)}/mark` : "#/start";
  return card("Not yet", why, element("a", {class: "button primary", href}, shown.run ? "Mark pictures" : "Start"));
}

function lostCard(name, error) {
  const again = element("button", {type: "button", class: "button primary", onclick: route}, "Try again");
  return card(name ? `“${name}” cannot be shown` : "This page cannot be shown", error.message, again, element("a", {class: "button", href: "#/start"}, "Start"));
}

async function begin() {
  document.getElementById("skip").addEventListener("click", (event) => {
    event.preventDefault();
    document.getElementById("main").focus();
  });
  document.getElementById("tabs").addEventListener("click", (event) => {
    const link = event.target.closest("[aria-disabled]");
    if (link) tell(`${link.textContent}: ${document.getElementById(link.getAttribute("aria-describedby")).textContent}`);
  });
  addEventListener("hashchange", route);
  addEventListener("marks", head);
  addEventListener("anew", (event) => anew(event.detail));
  head();
  if (!location.hash) {
    const {open} = await api.get("/api/start").catch(() => ({}));
    if (open) history.replaceState(null, "", `#/${encodeURIComponent(open)}/mark`);
  }
  route();
}

begin();
