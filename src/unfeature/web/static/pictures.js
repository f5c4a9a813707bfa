// Pictures out of sheets: fetched newest wish first, kept while they may be wanted again, drawn into small canvases.
import {element} from "./shell.js";
import {problem} from "./api.js";

const COLUMNS = 8;
const A_SHEET = 64;
const KEPT = 60;
const LEAST = 3;
const BYTES = 2 ** 28; // of sheets kept, but for the LEAST of them
const AT_ONCE = 4;

async function fetched(address) {
  let answer;
  try {
    answer = await fetch(address);
  } catch {
    throw problem("The server does not answer.", "NoAnswer", 0);
  }
  if (!answer.ok) {
    const value = await answer.json().catch(() => null);
    throw problem(value?.error ?? `The server answered ${answer.status} instead of pictures. Reload the page.`, value?.kind ?? "Answer", answer.status);
  }
  return createImageBitmap(await answer.blob());
}

/** Cell (column, row) of a sheet into a canvas at native pixels. */
function copy(canvas, bitmap, column, row, [, height, width]) {
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, {width, height});
  canvas.getContext("2d").drawImage(bitmap, column * width, row * height, width, height, 0, 0, width, height);
}

/** Promise of draw(canvas, column, row) for one sheet of columns x rows pictures. */
export async function cells(address, columns, rows, image) {
  const bitmap = await fetched(address);
  return (canvas, column, row) => {
    if (column >= columns || row >= rows) throw new RangeError(`no cell ${column}, ${row} in ${columns} x ${rows}`);
    copy(canvas, bitmap, column, row, image);
  };
}

/** {draw(canvas, index), place(key, index, put)} over the series of 64-a-sheet PNGs at urlOfSheet(K); both answer a Promise.
 * put(bitmap, x, y) draws the cell at (x, y) of the sheet wherever it likes. A canvas or key asked again forgets its old wish. */
export function sheets(urlOfSheet, image) {
  const s = {urlOfSheet, image, kept: new Map(), wishes: new Map(), wanted: new WeakMap(), loading: new Set(), later: new Map()};
  const [, height, width] = image;
  function draw(canvas, index) {
    if (canvas.width && !s.kept.has(Math.floor(index / A_SHEET))) canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
    return place(s, canvas, index, (bitmap, x, y) => copy(canvas, bitmap, x / width, y / height, image));
  }
  return {draw, place: (key, index, put) => place(s, key, index, put)};
}

function place(s, key, index, put) {
  const k = Math.floor(index / A_SHEET);
  s.wanted.set(key, index);
  const bitmap = s.kept.get(k);
  if (bitmap) {
    s.kept.delete(k);
    s.kept.set(k, bitmap);
    cellOf(s, index, put, bitmap);
    return Promise.resolve();
  }
  return new Promise((resolve, reject) => {
    const wishes = s.wishes.get(k) ?? [];
    s.wishes.delete(k);
    s.wishes.set(k, wishes);
    wishes.push({key, index, put, resolve, reject});
    next(s);
  });
}

function cellOf(s, index, put, bitmap) {
  const cell = index % A_SHEET;
  put(bitmap, (cell % COLUMNS) * s.image[2], Math.floor(cell / COLUMNS) * s.image[1]);
}

const alive = (s, wish) => s.wanted.get(wish.key) === wish.index;

/** Start loading the sheet wished for last; sheets that nobody waits for any more are forgotten. */
function next(s) {
  for (const k of [...s.wishes.keys()].reverse()) {
    if (s.loading.size >= AT_ONCE) return;
    if (s.loading.has(k) || s.later.has(k)) continue;
    const wishes = s.wishes.get(k);
    if (wishes.some((wish) => alive(s, wish))) {
      load(s, k);
    } else {
      s.wishes.delete(k);
      wishes.forEach((wish) => wish.resolve());
    }
  }
}

async function load(s, k, wait = 500) {
  s.loading.add(k);
  try {
    const bitmap = await fetched(s.urlOfSheet(k));
    s.kept.set(k, bitmap);
    while (s.kept.size > KEPT || (s.kept.size > LEAST && bytes(s.kept) > BYTES)) s.kept.delete(s.kept.keys().next().value);
    for (const wish of taken(s, k)) {
      if (alive(s, wish)) cellOf(s, wish.index, wish.put, bitmap);
      wish.resolve();
    }
  } catch (error) {
    if (error.status !== 0 && error.status !== 503) taken(s, k).forEach((wish) => wish.reject(error));
    else s.later.set(k, setTimeout(() => { s.later.delete(k); if (s.wishes.has(k)) load(s, k, Math.min(8000, 2 * wait)); }, wait));
  }
  s.loading.delete(k);
  next(s);
}

const bytes = (kept) => [...kept.values()].reduce((sum, bitmap) => sum + 4 * bitmap.width * bitmap.height, 0);

function taken(s, k) {
  const wishes = s.wishes.get(k) ?? [];
  s.wishes.delete(k);
  return wishes;
}

/** One picture, large, beside a tile: {show(tile, index, text), hide(), shown: index or null}. */
export function zoomer(series, [, height, width]) {
  const canvas = element("canvas", {"aria-hidden": "true"});
  const text = element("p", {});
  const node = element("div", {class: "zoom", hidden: true, "aria-hidden": "true"}, canvas, text);
  const zoom = {shown: null, hide, show, remove: () => node.remove()};
  document.body.append(node);

  function hide() {
    zoom.shown = null;
    node.hidden = true;
  }

  function show(tile, index, words) {
    const room = Math.min(320, innerWidth - 48, innerHeight - 96);
    const scale = room / Math.max(width, height);
    const rect = tile.getBoundingClientRect();
    zoom.shown = index;
    text.textContent = words;
    canvas.style.width = `${width * scale}px`;
    canvas.style.height = `${height * scale}px`;
    node.hidden = false;
    series.draw(canvas, index).catch(() => {});
    const size = node.getBoundingClientRect();
    const right = rect.right + 12 + size.width < innerWidth;
    const left = right ? rect.right + 12 : rect.left - 12 - size.width;
    const beside = left >= 8;
    const top = beside ? rect.top + rect.height / 2 - size.height / 2 : rect.top - size.height - 12;
    node.style.left = `${beside ? left : Math.max(8, (innerWidth - size.width) / 2)}px`;
    node.style.top = `${Math.max(8, Math.min(innerHeight - size.height - 8, !beside && top < 8 ? rect.bottom + 12 : top))}px`;
  }
  return zoom;
}

/** A canvas for one picture; small ones keep their pixels. */
export function blank([, height, width], kind = "") {
  const canvas = element("canvas", {width, height, class: kind});
  canvas.classList.toggle("pixels", width < 48);
  return canvas;
}

/** `count` pairs, the original above and its successor below; `paint(draw)` answers how many differ. */
export function board(count, image) {
  const pairs = Array.from({length: count}, () => [blank(image), element("span", {class: "pair-link"}), blank(image)]);
  const grid = element("div", {class: "pairs", role: "img"});
  grid.append(...pairs.map((parts) => element("div", {class: "pair"}, ...parts)));
  const small = Object.assign(document.createElement("canvas"), {width: 16, height: 16});
  const glass = small.getContext("2d", {willReadFrequently: true});
  const look = (canvas) => {
    glass.drawImage(canvas, 0, 0, 16, 16);
    return glass.getImageData(0, 0, 16, 16).data;
  };
  async function paint(draw) {
    await Promise.all(
      pairs.flatMap(([before, , after], i) => {
        const column = i % 8;
        const row = 2 * Math.floor(i / 8);
        return [draw(before, column, row), draw(after, column, row + 1)];
      }),
    );
    let changed = 0;
    for (const [before, link, after] of pairs) {
      const old = look(before);
      const differs = look(after).some((value, k) => Math.abs(value - old[k]) > 1);
      link.textContent = differs ? "↓" : "=";
      link.parentNode.classList.toggle("same", !differs);
      changed += differs;
    }
    return changed;
  }
  return {grid, paint};
}
