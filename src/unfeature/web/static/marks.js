// The marks of one run or annotator: what they are, undo, and the queue that saves them; and the step that shows the wall.
import {announce, element, number, plural, tell} from "./shell.js";
import {sheets} from "./pictures.js";
import {makeWall} from "./wall.js";
import {helpPanel, toolbar} from "./help.js";

export const WORDS = {shows: "shows it", unsure: "unsure", without: "without it", none: "not marked"};
const DEBOUNCE = 150;
const A_REQUEST = 1000;
const boxes = new Map();

function someName() {
  return Array.from(crypto.getRandomValues(new Uint8Array(9)), (byte) => byte.toString(36).padStart(2, "0")).join("");
}

/** The queue of one path of marks; it goes on trying when its step has been left. more() -> what else each request carries. */
export function outbox(path, api, more = () => ({})) {
  if (boxes.has(path)) return boxes.get(path);
  const b = {path, api, more, client: someName(), next: 1, pending: new Map(), batches: [], busy: false, timer: 0, wait: 0, problem: null, hears: new Set()};
  try {
    b.batches = JSON.parse(sessionStorage.getItem(path)) ?? [];
  } catch {
    b.batches = [];
  }
  const box = {
    add: (index, mark) => { b.pending.set(index, mark); later(b); },
    waiting: () => [...b.batches.flatMap((batch) => batch.ops), ...b.pending],
    beat: () => { if (!b.busy && !b.batches.length) form(b, true); return send(b); },
    flush: () => flush(b),
    on: (hear) => { b.hears.add(hear); return () => b.hears.delete(hear); },
    get problem() { return b.problem; },
    get unsaved() { return new Set(box.waiting().map(([index]) => index)).size; },
  };
  addEventListener("pagehide", box.flush);
  document.addEventListener("visibilitychange", () => { if (document.hidden) box.flush(); });
  boxes.set(path, box);
  if (b.batches.length) send(b);
  return box;
}

/** Keep what is not saved where a reload finds it. */
function mirror(b) {
  const all = b.pending.size ? [...b.batches, {client: b.client, first: b.next, ops: [...b.pending]}] : b.batches;
  try {
    if (all.length) sessionStorage.setItem(b.path, JSON.stringify(all));
    else sessionStorage.removeItem(b.path);
  } catch {
    // A full or forbidden store: the marks are still here and on their way.
  }
}

function heard(b, answer = null) {
  b.hears.forEach((hear) => hear(answer));
}

function later(b) {
  if (b.timer || b.busy) return;
  b.timer = setTimeout(() => { b.timer = 0; mirror(b); send(b); }, b.problem ? b.wait : DEBOUNCE);
}

/** Pending marks become numbered operations. */
function form(b, empty = false) {
  do {
    if (!b.pending.size && !empty) return;
    const ops = [...b.pending].slice(0, A_REQUEST);
    b.batches.push({client: b.client, first: b.next, ops, ...b.more()});
    b.next += ops.length;
    ops.forEach(([index]) => b.pending.delete(index));
  } while (b.pending.size);
}

/** Forget what the server has: operations up to number `saved` of a client. */
function took(b, client, saved) {
  for (const batch of b.batches.filter((one) => one.client === client)) {
    const n = Math.max(0, Math.min(batch.ops.length, saved - batch.first + 1));
    batch.ops.splice(0, n);
    batch.first += n;
  }
  b.batches = b.batches.filter((batch) => batch.ops.length);
}

/** What was marked is gone. */
function forget(b) {
  Object.assign(b, {batches: [], pending: new Map(), problem: null});
}

async function send(b) {
  if (b.busy) return;
  clearTimeout(b.timer);
  b.timer = 0;
  form(b);
  const batch = b.batches[0];
  if (!batch) return;
  b.busy = true;
  mirror(b);
  let answer = null;
  try {
    answer = await b.api.patch(b.path, batch, {keepalive: true, signal: AbortSignal.timeout?.(15000)});
    took(b, batch.client, answer.saved);
    b.problem = null;
    b.wait = 0;
  } catch (error) {
    if (error.kind === "OtherPictures") forget(b);
    else Object.assign(b, {problem: error, wait: Math.min(8000, 2 * b.wait || 500)});
  }
  b.busy = false;
  mirror(b);
  heard(b, answer);
  if (b.problem) later(b);
  else if (b.batches.length || b.pending.size) await send(b);
}

/** Everything unsaved leaves now, even while a request is out: one request more, which repeats what that one carries. */
async function flush(b) {
  if (!b.busy) return send(b);
  form(b);
  mirror(b);
  const mine = b.batches.filter((batch) => batch.client === b.client);
  if (!mine.length) return undefined;
  const body = {...mine.at(-1), first: mine[0].first, ops: mine.flatMap((batch) => batch.ops)};
  const answer = await b.api.patch(b.path, body, {keepalive: true}).catch(() => null);
  if (answer) took(b, b.client, answer.saved);
  mirror(b);
  return undefined;
}

/** Marks by index, in steps that can be undone. start: {"shows": [i], ...}; box: an outbox. */
export function keep(start, box) {
  const m = {map: new Map(), counts: {shows: 0, unsure: 0, without: 0}, seen: new Set(), waiting: new Set(), passed: new Set(), past: [], future: [], hears: new Set(), locked: "", box};
  reset(m, start);
  const get = (index) => m.map.get(index) ?? "none";
  const marks = {
    get, counts: m.counts, seen: m.seen, waiting: m.waiting,
    of: (mark) => [...m.map].filter(([, is]) => is === mark).map(([index]) => index).sort((a, b) => a - b),
    see: (index) => { m.seen.add(index); if (get(index) === "none") m.waiting.add(index); },
    back: (index) => (m.passed.has(index) ? "without" : "none"),
    reset: (other) => reset(m, other),
    begin: () => begin(m),
    set: (pairs) => { const step = begin(m); step.set(pairs); return step.end(); },
    pass: (indices) => { indices.forEach((index) => put(m, index, "without")); tellAll(m, indices); },
    undo: () => turn(m, m.past, m.future, 0), redo: () => turn(m, m.future, m.past, 1),
    get undoable() { return m.past.length > 0; }, get redoable() { return m.future.length > 0; },
    on: (hear) => { m.hears.add(hear); return () => m.hears.delete(hear); },
    get locked() { return m.locked; }, set locked(sentence) { m.locked = sentence; tellAll(m, []); },
  };
  return marks;
}

/** The server's marks, and over them what it does not have yet. */
function reset(m, start) {
  const old = [...m.map.keys()];
  old.forEach((index) => put(m, index, "none", false));
  for (const mark of ["shows", "unsure", "without"]) start[mark].forEach((index) => put(m, index, mark, false));
  for (const [index, mark] of m.box.waiting()) put(m, index, mark, false);
  m.past.length = 0;
  m.future.length = 0;
  tellAll(m, [...old, ...m.map.keys()]);
}

function put(m, index, mark, save = true) {
  const before = m.map.get(index);
  if (before) m.counts[before] -= 1;
  if (mark === "none") m.map.delete(index);
  else m.map.set(index, mark);
  if (mark !== "none") m.counts[mark] += 1;
  if (mark === "without") m.passed.add(index);
  if (mark === "none" && m.seen.has(index)) m.waiting.add(index);
  else m.waiting.delete(index);
  if (save) m.box.add(index, mark);
}

function tellAll(m, indices) {
  m.hears.forEach((hear) => hear(indices));
}

/** One step of undo, however many times it is set until it ends. */
function begin(m) {
  const step = new Map();
  function set(pairs) {
    if (m.locked) return tell(m.locked);
    const changed = pairs.filter(([index, mark]) => (m.map.get(index) ?? "none") !== mark);
    for (const [index, mark] of changed) {
      step.set(index, [step.get(index)?.[0] ?? m.map.get(index) ?? "none", mark]);
      put(m, index, mark);
    }
    return tellAll(m, changed.map(([index]) => index));
  }
  function end() {
    if (step.size) m.past.push(step);
    if (step.size) m.future.length = 0;
    tellAll(m, []);
    return step.size;
  }
  return {set, end};
}

function turn(m, from, to, which) {
  if (m.locked || !from.length) return m.locked ? tell(m.locked) : announce(which ? "Nothing to do again" : "Nothing to undo");
  const step = from.pop();
  to.push(step);
  for (const [index, ends] of step) put(m, index, ends[which]);
  tellAll(m, [...step.keys()]);
  return announce(`${which ? "Done again" : "Undone"}: ${plural(step.size, "picture")}; ${number(m.counts.shows)} show it`);
}

/** The step of the page: toolbar, help and the endless wall. */
export function mount(root, run, api) {
  const base = `/api/runs/${encodeURIComponent(run.name)}`;
  const box = outbox(`${base}/marks?g=${run.pictures}`, api);
  const marks = keep(run.marks, box);
  const series = sheets((k) => api.url(`${base}/sheets/${k}.png?g=${run.pictures}`), run.image);
  const wall = makeWall({sheets: series, image: run.image, count: Infinity, order: null, marks, words: WORDS, label: `Pictures to mark: ${run.feature}`});
  const bar = toolbar({wall, marks, box, run, filters: true});
  const help = helpPanel({wall, marks, box, run, api, base});
  const share = () => {
    run.marks = {shows: marks.of("shows"), unsure: marks.of("unsure"), without: marks.of("without")};
    dispatchEvent(new Event("marks"));
  };
  let sharing = 0;
  marks.on(() => { clearTimeout(sharing); sharing = setTimeout(share, 400); });
  const lock = () => { marks.locked = run.locked ? "Marks are read-only while a job of this run works. Wait until it is done, or cancel it in Unlearn." : ""; };
  lock();
  const watch = setInterval(() => { if (run.locked) run.refresh().then(lock).catch(() => {}); }, 4000);
  root.append(
    element("div", {class: "ask"}, element("h1", {}, "Which pictures show ", element("em", {}, run.feature), "?"),
      element("p", {class: "quiet"}, "Click a picture that shows it. Click again if you are unsure, once more to take it back. What you look at and pass over counts as without it.")),
    bar.node, wall.node);
  bar.addHelp(help);
  wall.under(bar.node);
  return {
    leave: async () => {
      clearInterval(watch);
      clearTimeout(sharing);
      [wall, bar, help].forEach((part) => part.leave());
      await box.flush();
    },
  };
}
