// The wall of pictures: only rows near the viewport exist; marks by mouse, touch and keyboard.
import {announce, element, number, plural} from "./shell.js";
import {listen} from "./hands.js";
import {zoomer} from "./pictures.js";

const GROW = 2000;
export const GAP = 6;
const SCALES = [2 / 3, 1, 5 / 3];

/** sheets: from pictures.js; count: pictures, or Infinity; order: array of indices or null; words: mark -> words. */
export function makeWall({sheets, image, count, order, marks, words, label}) {
  const keys = element("p", {class: "visually-hidden", id: "wall-keys"},
    "Arrow keys move. Space marks the picture: shows it, unsure, back. X shows it, U unsure, 0 back, Z large, Shift and arrows choose several. Question mark: all keys.");
  const rows = element("div", {class: "rows"});
  const empty = element("p", {class: "empty quiet", hidden: true});
  const node = element("div", {class: "wall", role: "group", "aria-label": label, "aria-describedby": "wall-keys"}, keys, empty, rows);
  const highest = Math.max(-1, ...["shows", "unsure", "without"].flatMap((mark) => marks.of(mark)));
  const w = {
    node, rows, empty, sheets, image, marks, words, order, filter: "all", view: null, places: null,
    endless: count === Infinity, length: count === Infinity ? GROW * Math.max(1, Math.ceil((highest + 65) / GROW)) : count,
    lines: new Map(), spare: [], columns: 1, tile: 72, line: 78, width: 0, scale: Number(localStorage.getItem("unfeature tile") ?? 1), zoomed: localStorage.getItem("unfeature zoom") !== "off",
    at: 0, anchor: null, range: null, since: new Map(), bar: null, zoom: zoomer(sheets, image), frame: 0, hand: null, look: null,
  };
  w.scale = SCALES[w.scale] ? w.scale : 1;
  choose(w);
  const off = [listen(w), marks.on((indices) => redress(w, indices))];
  return {
    node, get zooms() { return w.zoomed; }, get scale() { return w.scale; }, get total() { return total(w); },
    under: (bar) => { w.bar = bar; layout(w); },
    show: (what) => { Object.assign(w, {order: w.order, filter: "all"}, what); choose(w); turnTo(w); },
    resize: (scale) => { w.scale = scale; localStorage.setItem("unfeature tile", scale); layout(w); },
    zooming: (on) => { w.zoomed = on; localStorage.setItem("unfeature zoom", on ? "on" : "off"); w.zoom.hide(); },
    rest: () => marks.set(passed(w, total(w) - 1)),
    above: () => passed(w, firstVisible(w) - 1).map(([index]) => index),
    focus: () => goTo(w, w.at),
    leave: () => { off.forEach((stop) => stop()); w.zoom.remove(); },
  };
}

export const total = (w) => (w.view ? w.view.length : w.length);
export const indexAt = (w, place) => (w.view ? w.view[place] : place);
const placeOf = (w, index) => (w.view ? w.places.get(index) : index);
export const lineOf = (w, place) => Math.floor(place / w.columns);
export const tileAt = (w, place) => w.lines.get(lineOf(w, place))?.tiles[place % w.columns];
export const ceiling = (w) => (w.bar ? Math.max(0, w.bar.getBoundingClientRect().bottom) : 0);
const firstVisible = (w) => Math.max(0, Math.ceil((ceiling(w) - w.rows.getBoundingClientRect().top) / w.line)) * w.columns;
const allOf = (w) => w.order ?? Array.from({length: w.length}, (_, index) => index);

/** The pictures of the order that pass the filter, as they are marked now; a mark made later takes no picture away. */
function choose(w) {
  const {filter, order, marks} = w;
  if (filter === "all") w.view = order;
  else if (order || filter === "none") w.view = allOf(w).filter((index) => marks.get(index) === filter);
  else w.view = marks.of(filter);
  w.places = w.view && new Map(w.view.map((index, place) => [index, place]));
  Object.assign(w, {anchor: null, range: null});
  w.since.clear();
}

/** Another view: from its beginning, with the wall's top in sight. */
function turnTo(w) {
  w.at = 0;
  w.zoom.hide();
  w.empty.hidden = total(w) > 0;
  w.empty.textContent = w.filter === "none" ? "No unmarked pictures here." : `No picture is marked “${w.words[w.filter] ?? ""}” yet.`;
  layout(w);
  const top = w.rows.getBoundingClientRect().top - ceiling(w);
  if (top < 0) scrollBy(0, top - GAP);
  paint(w);
}

/** Measure, and keep the picture that stands first where it stood. */
export function layout(w) {
  const first = w.width ? firstVisible(w) : 0;
  const scrolled = w.width && w.rows.getBoundingClientRect().top < ceiling(w) - 1;
  const [, height, width] = w.image;
  const size = (width <= 32 ? 72 : width <= 64 ? 96 : 128) * SCALES[w.scale];
  w.width = w.node.clientWidth;
  w.columns = Math.max(1, Math.floor((w.width + GAP) / (size + GAP)));
  w.tile = (w.width - GAP * (w.columns - 1)) / w.columns;
  w.line = w.tile * height / width + GAP;
  w.rows.style.setProperty("--columns", w.columns);
  w.rows.style.setProperty("--tile", `${w.line - GAP}px`);
  [...w.lines.keys()].forEach((line) => release(w, line));
  w.since.clear();
  stretch(w);
  if (scrolled) scrollBy(0, w.rows.getBoundingClientRect().top + lineOf(w, first) * w.line - ceiling(w) - 1);
  paint(w);
}

function stretch(w) {
  w.rows.style.height = `${Math.max(0, Math.ceil(total(w) / w.columns) * w.line - GAP)}px`;
}

function release(w, line) {
  w.spare.push(w.lines.get(line));
  w.lines.delete(line);
}

/** Rows near the viewport, in their order in the document; the row with the focus stays. */
export function paint(w) {
  w.frame = 0;
  const top = -w.rows.getBoundingClientRect().top;
  const over = Math.max(3 * w.line, innerHeight / 2);
  const last = Math.min(Math.ceil(total(w) / w.columns) - 1, Math.floor((top + innerHeight + over) / w.line));
  const first = Math.max(0, Math.min(last, Math.floor((top - over) / w.line)));
  const focused = document.activeElement?.parentNode;
  for (const [line, {node}] of w.lines) if ((line < first || line > last) && node !== focused) release(w, line);
  if (w.lines.get(lineOf(w, w.at)) === undefined && (lineOf(w, w.at) < first || lineOf(w, w.at) > last)) w.at = Math.max(0, Math.min(total(w) - 1, firstVisible(w)));
  for (let line = first; line <= last; line += 1) if (!w.lines.has(line)) place(w, line);
  w.spare.splice(0).forEach(({node}) => node.remove());
  if (w.endless && !w.order && (w.filter === "all" || w.filter === "none") && top + 3 * innerHeight > w.rows.offsetHeight) grow(w);
}

function grow(w) {
  const from = w.length;
  w.length += GROW;
  if (w.view) {
    const more = Array.from({length: GROW}, (_, k) => from + k).filter((index) => w.marks.get(index) === "none");
    more.forEach((index, k) => w.places.set(index, w.view.length + k));
    w.view = w.view.concat(more);
  }
  stretch(w);
}

/** A row: one canvas for all of its pictures (one for each is five times slower to scroll), and buttons over it. */
function place(w, line) {
  const row = w.spare.pop() ?? blank();
  const from = line * w.columns;
  const n = Math.min(w.columns, total(w) - from);
  while (row.tiles.length > n) row.tiles.pop().remove();
  while (row.tiles.length < n) row.node.append(row.tiles[row.tiles.push(element("button", {type: "button", class: "tile"})) - 1]);
  row.node.style.transform = `translateY(${line * w.line}px)`;
  const size = {width: Math.round(w.width * devicePixelRatio), height: Math.round((w.line - GAP) * devicePixelRatio)};
  if (row.canvas.width !== size.width || row.canvas.height !== size.height) Object.assign(row.canvas, size);
  else row.pen.clearRect(0, 0, size.width, size.height);
  row.pen.imageSmoothingQuality = "high";
  const after = [...w.lines].filter(([other]) => other > line).reduce((best, one) => (best && best[0] < one[0] ? best : one), null);
  w.rows.insertBefore(row.node, after?.[1].node ?? null);
  w.lines.set(line, row);
  row.tiles.forEach((tile, column) => fill(w, row, tile, from + column));
}

function blank() {
  const canvas = element("canvas", {"aria-hidden": "true"});
  return {node: element("div", {class: "line"}, canvas), canvas, pen: canvas.getContext("2d"), tiles: []};
}

function fill(w, row, tile, place) {
  const index = indexAt(w, place);
  Object.assign(tile, {place, index, drawn: false});
  tile.dataset.index = index;
  tile.removeAttribute("data-drawn");
  dress(w, tile);
  const [, height, width] = w.image;
  const x = (place % w.columns) * (w.tile + GAP) * devicePixelRatio;
  const put = (bitmap, left, top) => {
    row.pen.drawImage(bitmap, left, top, width, height, x, 0, w.tile * devicePixelRatio, row.canvas.height);
    tile.drawn = true;
    tile.setAttribute("data-drawn", "");
  };
  w.sheets.place(tile, index, put).catch(() => {});
}

export const words = (w, index) => `Picture ${number(index + 1)}, ${w.words[w.marks.get(index)]}`;

/** A tile's attributes as its picture is marked now. */
function dress(w, tile) {
  const mark = w.marks.get(tile.index);
  tile.dataset.mark = mark;
  tile.ariaPressed = mark === "unsure" ? "mixed" : String(mark === "shows");
  tile.ariaLabel = words(w, tile.index);
  tile.tabIndex = tile.place === w.at ? 0 : -1;
  const {range} = w;
  tile.classList.toggle("chosen", range !== null && tile.place >= Math.min(...range) && tile.place <= Math.max(...range));
}

function redress(w, indices) {
  w.node.classList.toggle("locked", Boolean(w.marks.locked));
  for (const index of indices) {
    const at = placeOf(w, index);
    const tile = at === undefined ? null : tileAt(w, at);
    if (tile) dress(w, tile);
  }
}

export const redressAll = (w) => { for (const line of w.lines.values()) for (const tile of line.tiles) dress(w, tile); };

/** Seen pictures without a mark up to a place of the view, as pairs: they were looked at and passed over. */
function passed(w, place) {
  return [...w.marks.waiting].filter((index) => placeOf(w, index) <= place).map((index) => [index, "without"]);
}

/** Mark places; "back" takes marks away. Seen pictures up to the row of the last one become "without". */
export function mark(w, places, how, step = null) {
  const pairs = places.map((place) => indexAt(w, place)).map((index) => [index, how === "back" ? w.marks.back(index) : how]);
  const mine = step ?? w.marks.begin();
  mine.set(pairs);
  if (how !== "back") mine.set(passed(w, (lineOf(w, Math.max(...places)) + 1) * w.columns - 1));
  if (!step) mine.end();
  if (w.marks.locked) return;
  const one = pairs.length === 1 ? `${words(w, pairs[0][0]).replace(",", "")}` : `${plural(pairs.length, "picture")} ${how === "back" ? "taken back" : w.words[how]}`;
  announce(`${one}; ${number(w.marks.counts.shows)} in all show it`);
}

export function cycle(w, place) {
  const is = w.marks.get(indexAt(w, place));
  return is === "shows" ? "unsure" : is === "unsure" ? "back" : "shows";
}

export const between = (a, b) => Array.from({length: Math.abs(a - b) + 1}, (_, k) => Math.min(a, b) + k);

export function goTo(w, at, range = null) {
  const place = Math.max(0, Math.min(total(w) - 1, at));
  const y = w.rows.getBoundingClientRect().top + lineOf(w, place) * w.line;
  const top = ceiling(w) + GAP;
  const below = y + w.line - innerHeight;
  if (y < top) scrollBy(0, y - top);
  else if (below > 0) scrollBy(0, below);
  const chosen = w.range !== null || range !== null;
  Object.assign(w, {at: place, range});
  paint(w);
  if (chosen) redressAll(w);
  w.rows.querySelectorAll('[tabindex="0"]').forEach((tile) => { tile.tabIndex = -1; });
  const tile = tileAt(w, place);
  if (!tile) return;
  tile.tabIndex = 0;
  tile.focus({preventScroll: true});
  if (w.zoom.shown !== null) w.zoom.show(tile, tile.index, words(w, tile.index));
}
