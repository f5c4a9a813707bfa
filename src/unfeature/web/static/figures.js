// Figures: shares as people read them, and the parts of a chart.

const SVG = "http://www.w3.org/2000/svg";

function digits(share) {
  const value = 100 * share;
  if (!Number.isFinite(value)) return "no number";
  if (Math.abs(value) < 1e-9) return "0";
  if (Math.abs(value) < 0.01) return "<0.01";
  return value.toFixed(value >= 99.95 ? 0 : value >= 0.995 ? 1 : 2);
}

/** A share as a percentage, with as many digits as are worth reading (the report writes them alike). */
export const percent = (share) => `${digits(share)}\u202f%`;

/** Both ends of an interval, the sign once. */
export const range = ({low, high}) => `${digits(low)} to ${digits(high)}\u202f%`;

export function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** An empty chart with its text alternative, and what writes and draws lines in it. */
export function chartOf(width, height, role, about) {
  const chart = svg("svg", {viewBox: `0 0 ${width} ${height}`, class: "plot", role, "aria-label": about});
  const text = (words, x, y, anchor, kind = "") => chart.append(svg("text", {x, y, "text-anchor": anchor, class: kind}, words));
  const across = (x1, x2, y, kind) => chart.append(svg("line", {x1, x2, y1: y, y2: y, class: kind}));
  return {chart, text, across};
}

/** Round steps from 0 to at most `top`. */
export function ticks(top, about = 4) {
  const rough = top / about || 1;
  const size = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((k) => k * size >= rough) * size;
  return Array.from({length: Math.floor(top / step + 1e-9) + 1}, (_, k) => k * step);
}

/** Shares above `level` to write beside an axis whose place of a share is `y(share)`, none closer than a line of text. */
export function shareTicks(level, high, y) {
  let last = y(level);
  const found = [0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1].filter((share) => share > level && share <= high);
  return found.filter((share) => last - y(share) >= 16 && ((last = y(share)), true));
}
