// Around the wall: the toolbar, the keys, and help to mark well (advice, suggestions, marks from a file).
import {announce, element, number, plural, tell} from "./shell.js";

const FILTERS = {all: "All", shows: "Shows it", unsure: "Unsure", without: "Without", none: "Unmarked"};
const SIZES = ["small", "medium", "large"];
const LARGEST = 2 * 1024 * 1024;
const KEYS = [
  ["Arrows, Home, End, Page keys", "move from picture to picture"],
  ["Space or Enter", "shows it, again: unsure, again: back"],
  ["X or 1", "shows it"],
  ["U", "unsure"],
  ["0 or Backspace", "take the mark back"],
  ["Shift + arrows, then Space", "mark several at once"],
  ["Z", "look at the picture large; Esc closes it"],
  ["Ctrl + Z, Ctrl + Shift + Z", "undo, redo"],
];
const HANDS = [
  ["Click or tap", "shows it, again: unsure, again: back"],
  ["Drag with the mouse", "gives all of them the first one's mark"],
  ["Shift + click", "marks everything since the last click"],
  ["Rest on a picture, or press long", "look at it large"],
];

const button = (text, onclick, attributes = {}) => element("button", {type: "button", class: "button", onclick, ...attributes}, text);

function keysDialog() {
  const table = (caption, rows) => element("table", {class: "keys"}, element("caption", {}, caption),
    element("tbody", {}, rows.map(([keys, does]) => element("tr", {}, element("th", {scope: "row"}, keys), element("td", {}, does)))));
  const dialog = element("dialog", {class: "dialog", "aria-labelledby": "keys-title"},
    element("h2", {id: "keys-title"}, "How to mark"), table("Mouse and touch", HANDS), table("Keyboard", KEYS),
    button("Close", () => dialog.close(), {class: "button primary", autofocus: true}));
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

/** Counts, and how well they are saved. */
function tally(marks, box) {
  const counts = {};
  const texts = {shows: "show it", unsure: "unsure", without: "without"};
  const parts = Object.entries(texts).map(([mark, text]) => {
    counts[mark] = element("b", {}, "0");
    return element("span", {class: `count ${mark}`}, counts[mark], ` ${text}`);
  });
  const saved = element("p", {class: "saved", role: "status"}, "Saved");
  let slow = 0;
  const say = (text, kind) => {
    if (saved.textContent !== text) saved.textContent = text;
    saved.dataset.state = kind;
  };
  function fresh() {
    for (const [mark, node] of Object.entries(counts)) node.textContent = number(marks.counts[mark]);
    const {unsaved, problem} = box;
    if (!unsaved || problem) { clearTimeout(slow); slow = 0; }
    if (!unsaved) say("Saved", "saved");
    else if (problem) say(`Not saved yet: ${plural(unsaved, "mark")}; trying again`, "trying");
    else slow ||= setTimeout(() => { slow = 0; if (box.unsaved && !box.problem) say("Saving…", "saving"); }, 700);
    if (problem && ![0, 409, 503].includes(problem.status)) tell(problem);
  }
  return {nodes: [element("p", {class: "tally"}, parts), saved], fresh};
}

/** Filter, size and zoom: how the wall looks. */
function viewControls(wall, filters) {
  const select = element("select", {onchange: () => wall.show({filter: select.value})},
    Object.entries(FILTERS).map(([value, text]) => element("option", {value}, text)));
  const size = element("input", {type: "range", min: 0, max: 2, step: 1, value: wall.scale, oninput: () => {
    size.setAttribute("aria-valuetext", SIZES[size.value]);
    wall.resize(Number(size.value));
  }, "aria-valuetext": SIZES[wall.scale]});
  const zoom = button("Zoom", () => {
    wall.zooming(!wall.zooms);
    zoom.setAttribute("aria-pressed", wall.zooms);
  }, {"aria-pressed": String(wall.zooms), class: "button toggle", title: "Show a picture large when the mouse rests on it"});
  const node = element("div", {class: "view", id: "view"},
    filters && element("label", {class: "inline"}, element("span", {}, "Show"), select),
    element("label", {class: "inline size"}, element("span", {}, "Size"), size), zoom,
    button("?", keysDialog, {"aria-label": "How to mark, and all keys", class: "button round"}));
  return {node, reset: () => { select.value = "all"; }};
}

function hotkeys(marks, signal) {
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input:not([type=range]):not([type=radio]), select, textarea, dialog");
    if (typing) return;
    const key = event.key.toLowerCase();
    const control = (event.ctrlKey || event.metaKey) && !event.altKey;
    if (control && key === "z") event.shiftKey ? marks.redo() : marks.undo();
    else if (control && key === "y") marks.redo();
    else if (!control && key === "?") keysDialog();
    else return;
    event.preventDefault();
  }, {signal});
}

function nextStep(run, marks) {
  const href = `#/${encodeURIComponent(run.name)}/preview`;
  const node = element("a", {class: "button primary next", onclick: () => {
    if (node.ariaDisabled) tell("Preview needs at least one picture that shows it and one that you looked at and passed over.");
  }}, element("span", {class: "wide"}, "Next: "), "Preview");
  const fresh = () => {
    const ready = marks.counts.shows > 0 && marks.counts.without > 0;
    if (ready) { node.href = href; node.ariaDisabled = null; node.removeAttribute("role"); node.removeAttribute("tabindex"); }
    else { node.removeAttribute("href"); node.ariaDisabled = "true"; node.setAttribute("role", "link"); node.tabIndex = 0; }
  };
  return {node, fresh};
}

/** The bar that stays above the wall. run: null for an annotator (no next step); more: nodes of the caller's. */
export function toolbar({wall, marks, box, run = null, filters = true, more = []}) {
  const stop = new AbortController();
  const counts = tally(marks, box);
  const view = viewControls(wall, filters);
  const undo = button("Undo", () => marks.undo());
  const redo = button("Redo", () => marks.redo());
  const show = button("View", () => {
    const open = node.classList.toggle("open");
    show.setAttribute("aria-expanded", open);
  }, {class: "button small-only", "aria-expanded": "false", "aria-controls": "view"});
  const next = run && nextStep(run, marks);
  const tools = element("div", {class: "tools"}, undo, redo, show, view.node, more, next?.node);
  const node = element("div", {class: "bar"}, element("div", {class: "bar-line"}, counts.nodes), tools);
  const lock = element("p", {class: "lock", hidden: true});
  node.append(lock);
  function fresh() {
    counts.fresh();
    next?.fresh();
    undo.ariaDisabled = marks.undoable ? null : "true";
    redo.ariaDisabled = marks.redoable ? null : "true";
    lock.hidden = !marks.locked;
    lock.textContent = marks.locked;
  }
  const off = [marks.on(fresh), box.on(fresh)];
  hotkeys(marks, stop.signal);
  fresh();
  return {
    node, view,
    addHelp: (help) => {
      help.view = view;
      tools.insertBefore(help.opener, next?.node ?? null);
      node.firstChild.after(help.advice);
      node.append(help.line, help.node);
    },
    leave: () => { stop.abort(); off.forEach((quit) => quit()); },
  };
}

/** Help to mark well: {opener, advice, line, node} are put into the bar by `addHelp`. */
export function helpPanel({wall, marks, box, run, api, base}) {
  const h = {wall, marks, box, run, api, base, answer: null, timer: 0, view: null};
  h.advice = element("p", {class: "advice", role: "status"});
  h.sentence = element("p", {class: "sentence", role: "status", hidden: true});
  h.ask = button("Suggest what to mark next", () => suggest(h), {class: "button primary"});
  h.said = element("p", {});
  h.orders = {natural: "All pictures", suggested: "Suggested", order: "Sort by likeness", doubtful: ""};
  for (const [which, text] of Object.entries(h.orders)) h.orders[which] = button(text, () => turn(h, which), {"aria-pressed": String(which === "natural")});
  h.line = element("div", {class: "order-line", hidden: true},
    element("div", {class: "segmented", role: "group", "aria-label": "Order"}, Object.values(h.orders)), h.said,
    button("None of the rest shows it", () => rest(h), {title: "Every unmarked picture that you have looked at here counts as without it"}));
  const file = element("input", {type: "file", accept: ".json,.csv", onchange: () => bring(h, file), id: "marks-file"});
  h.node = element("section", {class: "help card stack", id: "help", hidden: true, "aria-label": "Help me mark"},
    element("h2", {}, "Mark fewer, mark better"),
    element("p", {class: "quiet"}, "After some marks the page can guess the rest. It then asks about the pictures it can learn most from."),
    element("div", {class: "row"}, h.ask), h.sentence,
    element("div", {class: "field"}, element("label", {for: file.id}, "Or bring marks from a file"), file,
      element("p", {class: "hint"}, "feedback.json of another run, or a CSV with the columns seed,mark")));
  h.opener = button("Help me", () => open(h, h.node.hidden), {"aria-expanded": "false", "aria-controls": "help"});
  h.node.addEventListener("keydown", (event) => { if (event.key === "Escape") { open(h, false); h.opener.focus(); } });
  const off = box.on((answer) => { if (answer) { clearTimeout(h.timer); h.timer = setTimeout(() => advise(h), 1000); } });
  advise(h);
  return Object.assign(h, {leave: () => { off(); clearTimeout(h.timer); }});
}

function open(h, yes) {
  h.node.hidden = !yes;
  h.opener.setAttribute("aria-expanded", yes);
  if (yes) h.ask.focus();
}

async function advise(h) {
  const advice = await h.api.get(`${h.base}/advice`).catch(() => null);
  if (!advice) return;
  if (h.advice.textContent !== advice.sentence) h.advice.textContent = advice.sentence;
}

/** Ask the probe; its suggestions become the wall's order. */
async function suggest(h) {
  if (h.ask.ariaDisabled) return;
  h.ask.ariaDisabled = "true";
  h.ask.textContent = "Looking at the pictures…";
  h.sentence.hidden = true;
  try {
    await h.box.flush();
    h.answer = await h.api.post(`${h.base}/suggest`, {});
    const {doubtful, suggested, sentence} = h.answer;
    h.said.textContent = sentence;
    h.orders.suggested.textContent = `Suggested (${number(suggested.length)})`;
    h.orders.doubtful.hidden = !doubtful.length;
    h.orders.doubtful.textContent = `Look again at ${plural(doubtful.length, "mark")}`;
    h.line.hidden = false;
    turn(h, suggested.length ? "suggested" : "natural");
  } catch (error) {
    h.sentence.textContent = error.message;
    h.sentence.hidden = false;
  }
  h.ask.ariaDisabled = null;
  h.ask.textContent = h.answer ? "Suggest again" : "Suggest what to mark next";
}

/** Show the wall in an order of the answer. */
function turn(h, which) {
  const list = which === "natural" ? null : h.answer[which];
  h.wall.show({order: which === "doubtful" ? list.map(({index}) => index) : list});
  h.view.reset();
  for (const [name, node] of Object.entries(h.orders)) node.ariaPressed = String(name === which);
  open(h, false);
  h.wall.focus();
  announce(list ? `${h.orders[which].textContent}: ${plural(list.length, "picture")}. ${h.said.textContent}` : "All pictures, in their usual order");
}

function rest(h) {
  const n = h.wall.rest();
  announce(n ? `${plural(n, "picture")} without it` : "No picture here was looked at and left unmarked");
}

async function bring(h, input) {
  const [file] = input.files;
  if (!file) return;
  if (file.size > LARGEST) return tell(`${file.name} has ${number(file.size)} bytes; marks may have ${number(LARGEST)}. Choose feedback.json or a CSV with the columns seed,mark.`);
  try {
    await h.box.flush();
    const counts = await h.api.post(`${h.base}/marks/file?name=${encodeURIComponent(file.name)}`, file);
    await h.run.refresh();
    h.marks.reset(h.run.marks);
    announce(`${plural(counts.shows, "picture")} show it, ${number(counts.unsure)} unsure, ${number(counts.without)} without`);
    advise(h);
  } catch (error) {
    tell(error);
  }
  input.value = "";
  return undefined;
}
