// Compare and prove: the same latents before and after, the worst first; the report; the downloads.
import {percent} from "./figures.js";
import {announce, element, home, refused, segmented, tell, waiting} from "./shell.js";
import {blank, sheets} from "./pictures.js";

const PAGE = 60;
const FILES = {
  "unlearned.safetensors": "The unlearned generator, to use from now on",
  "report.html": "The report, one page that opens anywhere",
  "dossier.zip": "All the evidence for a reviewer, who checks it with  unfeature verify",
};

/** Two canvases on top of each other; `--divider` of an ancestor says where one ends and the other begins. */
function pair(image) {
  const [before, after] = [blank(image, "was"), blank(image, "is")];
  const box = element("span", {class: "both", "aria-hidden": "true"}, before, after);
  box.style.aspectRatio = `${image[2]} / ${image[1]}`;
  return {before, after, box};
}

/** The slider that moves the divider of everything in `scope`, from 0 (all after) to 100 (all before). */
function divider(scope, words) {
  const slider = element("input", {type: "range", role: "slider", class: "slider", min: "0", max: "100", step: "1", "aria-label": words});
  const set = (share) => {
    slider.value = String(Math.round(100 * Math.min(1, Math.max(0, share))));
    scope.style.setProperty("--divider", `${slider.value}%`);
    slider.setAttribute("aria-valuetext", `left ${slider.value} % before, the rest after`);
  };
  slider.addEventListener("input", () => set(Number(slider.value) / 100));
  set(0.5);
  const names = [element("span", {"aria-hidden": "true"}, "before"), element("span", {"aria-hidden": "true"}, "after")];
  return {box: element("div", {class: "divider"}, names[0], slider, names[1]), set};
}

/** Dragging sideways over a pair in `scope` moves the divider; answers whether the last press was such a drag. */
function draggable(scope, set) {
  let begun = null;
  let dragged = false;
  scope.addEventListener("pointerdown", (event) => {
    dragged = false;
    const box = event.button === 0 && event.target.closest(".both, .cell")?.getBoundingClientRect();
    begun = box ? {box, x: event.clientX} : null;
  });
  scope.addEventListener("pointermove", (event) => {
    if (!begun || !event.buttons) return;
    if (!dragged && Math.abs(event.clientX - begun.x) < 5) return;
    if (!dragged) scope.setPointerCapture(event.pointerId);
    dragged = true;
    set((event.clientX - begun.box.left) / begun.box.width);
  });
  for (const kind of ["pointerup", "pointercancel"]) scope.addEventListener(kind, () => (begun = null));
  return () => dragged;
}

function facts(found, j) {
  const moved = found.edited.has(j) ? "edited" : "untouched";
  const had = found.shows?.has(j);
  const has = found.after?.has(j);
  const judged = !found.shows ? "" : had ? (has ? ", still shows it" : ", showed it before, not any more") : has ? ", shows it now" : "";
  return `${moved}, changed by ${percent(found.change[j])}${judged}`;
}

/** One pair large, with its own divider; the arrow keys go to the next. */
function bigView(run, found, draw) {
  const shown = pair(run.image);
  const dialog = element("dialog", {class: "big", "aria-label": "One pair, large"});
  const slider = divider(dialog, "Divider of this pair");
  const words = element("p", {class: "big-words"});
  const press = (name, label, onclick) => element("button", {class: "button", "aria-label": label, onclick}, name);
  const frame = element("div", {class: "frame"}, shown.box);
  const bar = element("div", {class: "row big-bar"}, press("←", "Previous pair", () => go(-1)), words, press("→", "Next pair", () => go(1)), press("Close", "Close", () => dialog.close()));
  dialog.append(frame, slider.box, bar);
  const dragged = draggable(dialog, slider.set);
  let list = [];
  let at = 0;
  function show() {
    const j = list[at];
    words.textContent = `Pair ${at + 1} of ${list.length}: ${facts(found, j)}`;
    draw(shown, j);
    if (dialog.open) announce(words.textContent);
  }
  function go(by) {
    at = (at + by + list.length) % list.length;
    show();
  }
  dialog.addEventListener("keydown", (event) => {
    const by = {ArrowLeft: -1, ArrowRight: 1}[event.key];
    if (!by || event.target.matches("input")) return;
    event.preventDefault();
    go(by);
  });
  dialog.addEventListener("click", (event) => event.target === dialog && !dragged() && dialog.close());
  return {
    dialog,
    open(shownList, place) {
      [list, at] = [shownList, place];
      show();
      dialog.showModal();
      bar.lastChild.previousSibling.focus();
    },
    at: () => at,
  };
}

function summary(found, list) {
  const mean = list.reduce((sum, j) => sum + found.change[j], 0) / Math.max(list.length, 1);
  const pairs = `${list.length.toLocaleString("en")} ${list.length === 1 ? "pair" : "pairs"}, changed by ${percent(mean)} on average.`;
  if (!found.shows) return pairs;
  const count = (set) => list.filter((j) => set.has(j)).length;
  return `${pairs} The judge finds it in ${count(found.shows)} before and in ${count(found.after ?? new Set())} after.`;
}

/** The arrow keys, Home and End go from cell to cell; only one cell at a time takes part in Tab. */
function arrows(grid) {
  grid.addEventListener("keydown", (event) => {
    const cells = [...grid.children];
    const here = cells.indexOf(document.activeElement);
    const columns = cells.filter((cell) => cell.offsetTop === cells[0].offsetTop).length;
    const to = {ArrowLeft: here - 1, ArrowRight: here + 1, ArrowUp: here - columns, ArrowDown: here + columns, Home: 0, End: cells.length - 1}[event.key];
    if (here < 0 || !cells[to]) return;
    event.preventDefault();
    cells[to].focus();
  });
  grid.addEventListener("focusin", (event) => {
    for (const cell of grid.children) cell.tabIndex = cell === event.target ? 0 : -1;
  });
}

function wall(run, api, found) {
  const fresh = Date.now(); // a new unlearning puts other pictures at the same address
  const series = (kind) => sheets((k) => api.url(`${home(run)}/compare/${kind}/${k}.png?t=${fresh}`), run.image);
  const [before, after] = [series("before"), series("after")];
  const draw = (shown, j) => Promise.all([before.draw(shown.before, j), after.draw(shown.after, j)]).catch(tell);
  const big = bigView(run, found, draw);
  const grid = element("div", {class: "compare-wall", role: "group", "aria-label": "Pairs before and after"});
  const area = element("div", {});
  const slider = divider(area, "Divider of all pairs");
  const dragged = draggable(grid, slider.set);
  const caption = element("p", {class: "hint"});
  const more = element("button", {class: "button"});
  let list = [];
  function cell(j, place) {
    const shown = pair(run.image);
    const node = element("button", {class: "cell", tabindex: place ? "-1" : "0", "aria-label": `Pair ${place + 1}: ${facts(found, j)}`}, shown.box);
    if (found.after?.has(j)) node.append(element("span", {class: "still", "aria-hidden": "true"}, "shows it"));
    node.addEventListener("click", (event) => (event.detail && dragged()) || big.open(list, place));
    draw(shown, j);
    return node;
  }
  function grow() {
    const from = grid.children.length;
    grid.append(...list.slice(from, from + PAGE).map((j, k) => cell(j, from + k)));
    const left = list.length - grid.children.length;
    more.hidden = left <= 0;
    more.textContent = `Show more (${left.toLocaleString("en")} left)`;
    return grid.children[from];
  }
  more.addEventListener("click", () => grow()?.focus());
  big.dialog.addEventListener("close", () => grid.children[Math.min(big.at(), grid.children.length - 1)]?.focus());
  arrows(grid);
  area.append(element("div", {class: "divider-bar"}, slider.box), caption, grid, element("p", {class: "go"}, more), big.dialog);
  const show = (chosen) => {
    list = chosen;
    grid.replaceChildren();
    caption.textContent = summary(found, list);
    announce(caption.textContent);
    grow();
  };
  return {area, show};
}

function filters(found, show) {
  const all = Array.from({length: found.n}, (_, j) => j);
  const groups = {shows: found.shows, edited: found.edited, untouched: found.untouched, all: new Set(all)};
  const names = {shows: "Had the feature", edited: "Edited only", untouched: "Untouched only", all: "All"};
  const choices = Object.keys(names).filter((key) => groups[key]).map((key) => [key, `${names[key]} (${groups[key].size})`]);
  let [group, order] = [choices[0][0], "worst"];
  const again = () => show((order === "worst" ? found.worst : all).filter((j) => groups[group].has(j)));
  const which = segmented("Which pictures", choices, group, (value) => again((group = value)));
  const how = segmented("Order", [["worst", "Largest change first"], ["drawn", "As drawn"]], order, (value) => again((order = value)));
  again();
  return element("div", {class: "filters"}, which.node, how.node);
}

function proof(run, api) {
  const base = home(run);
  const box = element("section", {class: "stack proof"}, element("h2", {}, "The report"));
  if (run.files.includes("report.html")) {
    const frame = element("iframe", {src: api.url(`${base}/report`), title: "The report", sandbox: "", loading: "lazy"});
    box.append(frame, element("p", {}, element("a", {href: api.url(`${base}/report`), target: "_blank", rel: "noopener"}, "Open it in a page of its own")));
  } else {
    box.append(element("p", {}, "There is no report yet. Unlearning writes one at its end, once a judge is named who can tell whether a picture shows the feature."));
  }
  const item = (name, about, address) => {
    const link = element("a", {href: api.url(address), download: name}, name);
    return element("li", {}, link, element("span", {class: "hint"}, about));
  };
  const files = Object.keys(FILES).filter((name) => run.files.includes(name));
  const list = element("ul", {class: "downloads"}, ...files.map((name) => item(name, FILES[name], `${base}/download/${encodeURIComponent(name)}`)));
  list.append(item(`${run.name}.zip`, "The whole run as one archive: marks, feature, checkpoint, report", `${base}/archive.zip`));
  box.append(element("h2", {}, "Downloads"), list);
  return box;
}

export function mount(root, run, api) {
  let here = true;
  const wait = waiting("Drawing the same pictures with both generators …");
  root.append(element("h1", {}, "Before and after"), wait);
  const ready = (answer) => {
    if (!here) return;
    const sets = Object.fromEntries(["edited", "untouched", "shows", "after"].map((key) => [key, answer[key] && new Set(answer[key])]));
    const pairs = wall(run, api, {...answer, ...sets});
    wait.replaceWith(filters({...answer, ...sets}, pairs.show), pairs.area);
    root.append(proof(run, api));
  };
  const failed = (error) => here && wait.replaceWith(refused(error, run, "unlearn", "To Unlearn"));
  api.post(`${home(run)}/compare`, {}).then(ready).catch(failed);
  return {leave: () => (here = false)};
}
