// Hands on the wall: keyboard, mouse, pen and finger; and which pictures have been on the screen long enough to be seen.
import {announce, plural} from "./shell.js";
import {between, ceiling, cycle, GAP, goTo, indexAt, layout, lineOf, mark, paint, redressAll, tileAt, total, words} from "./wall.js";

const SEEN_AFTER = 800;
const KEYS = {x: "shows", 1: "shows", u: "unsure", 0: "back", Backspace: "back"};
const STEPS = {ArrowLeft: -1, ArrowRight: 1, ArrowUp: "up", ArrowDown: "down", Home: "home", End: "end", PageUp: "pageup", PageDown: "pagedown"};

function step(w, name) {
  const move = STEPS[name];
  const start = w.at - (w.at % w.columns);
  const page = Math.max(1, Math.floor((innerHeight - ceiling(w)) / w.line)) * w.columns;
  const by = {up: -w.columns, down: w.columns, pageup: -page, pagedown: page, home: start - w.at, end: start + w.columns - 1 - w.at};
  const to = w.at + (by[move] ?? move);
  if (to < 0 && move !== -1) return w.at - lineOf(w, w.at) * w.columns;
  return Math.max(0, Math.min(total(w) - 1, to));
}

function typed(w, event) {
  const tile = event.target.closest?.(".tile");
  if (!tile || event.ctrlKey || event.metaKey || event.altKey) return;
  w.at = tile.place;
  const {key} = event;
  const places = w.range ? between(...w.range) : [w.at];
  if (key in STEPS) {
    const to = step(w, key);
    if (event.shiftKey) goTo(w, to, [w.range?.[0] ?? w.at, to]);
    else goTo(w, to);
    if (w.range) announce(`${plural(Math.abs(w.range[0] - w.range[1]) + 1, "picture")} chosen`);
  } else if (key === " " || key === "Enter") {
    mark(w, places, cycle(w, places[0]));
  } else if (key.toLowerCase() in KEYS || key in KEYS) {
    mark(w, places, KEYS[key] ?? KEYS[key.toLowerCase()]);
  } else if (key === "z" || key === "Z") {
    if (w.zoom.shown === tile.index) w.zoom.hide();
    else w.zoom.show(tile, tile.index, words(w, tile.index));
  } else if (key === "Escape" && (w.range || w.zoom.shown !== null)) {
    w.zoom.hide();
    goTo(w, w.at);
  } else {
    return;
  }
  if (key !== "z") w.anchor = w.at;
  event.preventDefault();
}

/** The place under a point of the window, or -1. */
function under(w, x, y) {
  const rect = w.rows.getBoundingClientRect();
  const column = Math.floor((x - rect.left) / (w.tile + GAP));
  const place = Math.floor((y - rect.top) / w.line) * w.columns + column;
  return column < 0 || column >= w.columns || place < 0 || place >= total(w) ? -1 : place;
}

function settle(w, place) {
  const before = tileAt(w, w.at);
  if (before) before.tabIndex = -1;
  w.at = place;
  const tile = tileAt(w, place);
  if (tile) tile.tabIndex = 0;
}

/** A press of a mouse or pen marks at once and begins to paint; shift marks from the anchor; a finger waits for its tap. */
function pressed(w, event) {
  const tile = event.target.closest(".tile");
  if (!tile || event.button !== 0) return;
  if (event.pointerType === "touch") {
    const timer = setTimeout(() => { w.hand = {long: true}; w.zoom.show(tile, tile.index, words(w, tile.index)); }, 450);
    w.hand = {timer, x: event.clientX, y: event.clientY};
    return;
  }
  w.zoom.hide();
  if (w.range) { w.range = null; redressAll(w); }
  settle(w, tile.place);
  if (event.shiftKey && w.anchor !== null) {
    const how = w.marks.get(indexAt(w, w.anchor));
    mark(w, between(w.anchor, tile.place), how === "unsure" ? "unsure" : "shows");
    w.hand = {done: true};
    return;
  }
  const how = cycle(w, tile.place);
  w.hand = {how, step: w.marks.begin(), x: event.clientX, y: event.clientY, did: new Set([tile.place])};
  w.anchor = tile.place;
  mark(w, [tile.place], how, w.hand.step);
}

function moved(w, event) {
  const {hand} = w;
  if (!hand) return;
  if (hand.timer && Math.hypot(event.clientX - hand.x, event.clientY - hand.y) > 10) lifted(w);
  if (!hand.step) return;
  const far = Math.hypot(event.clientX - hand.x, event.clientY - hand.y);
  const parts = Math.max(1, Math.ceil(far / (w.tile / 2)));
  const places = new Set();
  for (let k = 1; k <= parts; k += 1) {
    const place = under(w, hand.x + (event.clientX - hand.x) * k / parts, hand.y + (event.clientY - hand.y) * k / parts);
    if (place >= 0 && !hand.did.has(place)) places.add(place);
  }
  Object.assign(hand, {x: event.clientX, y: event.clientY});
  places.forEach((place) => hand.did.add(place));
  if (places.size) mark(w, [...places], hand.how, hand.step);
}

function lifted(w) {
  clearTimeout(w.hand?.timer);
  if (w.hand?.step) { w.hand.step.end(); w.hand = {done: true}; }
  else if (!w.hand?.long && !w.hand?.done) w.hand = null;
}

/** A tap, or the click of an assistive tool; what a press has marked already is not marked twice. */
function clicked(w, event) {
  const tile = event.target.closest(".tile");
  const done = w.hand?.done || w.hand?.long;
  w.hand = null;
  if (!tile || (done && event.detail !== 0)) return;
  w.zoom.hide();
  settle(w, tile.place);
  w.anchor = tile.place;
  mark(w, [tile.place], cycle(w, tile.place));
}

/** Large picture after a while over a tile. */
function hovered(w, event) {
  clearTimeout(w.look);
  const tile = event.pointerType === "mouse" && event.target.closest?.(".tile");
  if (event.pointerType === "mouse") w.zoom.hide();
  if (tile && w.zoomed && !event.buttons) w.look = setTimeout(() => { if (!w.hand?.step) w.zoom.show(tile, tile.index, words(w, tile.index)); }, 600);
}

/** Rows that were drawn and wholly on the screen long enough are seen. */
function watch(w) {
  if (document.hidden || !w.rows.offsetHeight || w.rows.closest("[hidden]")) return w.since.clear();
  const rect = w.rows.getBoundingClientRect();
  const top = ceiling(w);
  const now = performance.now();
  for (const [line, {tiles}] of w.lines) {
    const y = rect.top + line * w.line;
    const whole = y >= top - 2 && y + w.line - GAP <= innerHeight + 2 && tiles.every((tile) => tile.drawn);
    if (!whole) w.since.delete(line);
    else if (!w.since.has(line)) w.since.set(line, now);
    else if (now - w.since.get(line) >= SEEN_AFTER) for (const tile of tiles) w.marks.see(tile.index);
  }
  for (const line of w.since.keys()) if (!w.lines.has(line)) w.since.delete(line);
  return undefined;
}

/** All of the wall's ears; answers the function that takes them away. */
export function listen(w) {
  const stop = new AbortController();
  const {signal} = stop;
  const on = (target, name, hear, options) => target.addEventListener(name, (event) => hear(w, event), {signal, ...options});
  on(w.node, "keydown", typed);
  on(w.node, "keyup", (_, event) => { if (event.key === " " && event.target.closest(".tile")) event.preventDefault(); });
  on(w.node, "pointerdown", pressed);
  on(window, "pointermove", moved, {passive: true});
  on(window, "pointerup", lifted);
  on(window, "pointercancel", lifted);
  on(w.node, "click", clicked);
  on(w.node, "pointerover", hovered);
  on(w.node, "pointerleave", hovered);
  on(w.node, "contextmenu", (_, event) => { if (w.hand?.long || w.hand?.timer) event.preventDefault(); });
  on(w.node, "dragstart", (_, event) => event.preventDefault());
  on(window, "scroll", () => { clearTimeout(w.look); if (w.zoom.shown !== null && !w.hand?.long && document.activeElement?.index !== w.zoom.shown) w.zoom.hide(); w.frame ||= requestAnimationFrame(() => paint(w)); }, {passive: true});
  const size = new ResizeObserver(() => { if (w.node.clientWidth && w.node.clientWidth !== w.width) layout(w); });
  size.observe(w.node);
  const timer = setInterval(() => watch(w), 200);
  return () => { stop.abort(); size.disconnect(); clearInterval(timer); clearTimeout(w.look); cancelAnimationFrame(w.frame); };
}
