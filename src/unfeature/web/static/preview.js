// Preview: choose the way, and how strong the edit is by its pictures and its price, before any training.
import {chartOf, percent, range, shareTicks, svg, ticks} from "./figures.js";
import {announce, element, home, refused, tell, waiting} from "./shell.js";
import {board} from "./pictures.js";
import {chooser, DIRECTION, take} from "./ways.js";

const READING = "Every dot is a strength that was measured. Further down, fewer pictures still show it; further right, the others change more. The joined dots are the best bargains.";

/** Pictures of the newest strength asked for: at most one request in flight, older ones aborted. */
function stream(address, [, height, width], onDraw, onFail) {
  const kept = new Map();
  let flight = null;
  let wanted = "";
  async function fetched(key, signal) {
    const answer = await fetch(key, {signal});
    if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).error ?? `The pictures did not come (${answer.status}). Reload the page.`);
    const sheet = await createImageBitmap(await answer.blob());
    kept.set(key, (canvas, column, row) => canvas.getContext("2d").drawImage(sheet, -column * width, -row * height));
    if (kept.size > 60) kept.delete(kept.keys().next().value);
  }
  function load(key) {
    if (flight?.key === key) return flight.done;
    stop();
    const mine = {key, control: new AbortController()};
    mine.done = fetched(key, mine.control.signal).finally(() => flight === mine && (flight = null));
    return (flight = mine).done;
  }
  const stop = () => flight?.control.abort();
  async function show(point) {
    const key = (wanted = address(point));
    try {
      if (!kept.has(key)) await load(key);
    } catch (error) {
      if (error.name !== "AbortError") onFail(error);
      return;
    }
    if (key === wanted) onDraw(kept.get(key));
  }
  /** Fetches the first of these that is missing, if nothing else is on its way. */
  async function ahead(points) {
    const key = points.map(address).find((known) => !kept.has(known));
    if (flight || !key) return;
    await load(key).then(() => ahead(points), () => {});
  }
  return {show, ahead, stop};
}

/** Points that the slider stops at, gentlest first, always with the recommended one. */
function stops({points, front, recommended}) {
  const order = front.length ? [...front] : points.map((_, i) => i);
  if (order.includes(recommended) || !points[recommended]) return order;
  return [...order, recommended].sort((a, b) => points[a].drift - points[b].drift);
}

const reaches = (point, wanted) => point.ratio.value <= wanted;

function inWords(point, place, count, recommended) {
  const name = `Strength ${place + 1} of ${count}${recommended ? ", recommended" : ""}`;
  return `${name}: ${percent(point.before)} show it before, ${percent(point.ratio.value)} after; rewrites ${percent(point.rewritten)} of the pictures; the others change by ${percent(point.drift)}`;
}

function figure(title, value, note, mood = "") {
  const words = element("dd", {class: `figure-value ${mood}`.trim()}, value);
  return element("div", {class: "figure"}, element("dt", {}, title), words, element("dd", {class: "hint"}, note));
}

function figures(point, front) {
  const {wanted} = front;
  if (!point.ratio) return [element("p", {}, "This strength was not measured. These 16 pictures are exact; what it does to the others is known after unlearning.")];
  const reached = reaches(point, wanted);
  const shows = `${range(point.ratio)} is likely; wanted at most ${percent(wanted)}`;
  const found = [
    figure("Pictures that show it", `${percent(point.before)} → ${percent(point.ratio.value)}`, shows, reached ? "good" : ""),
    figure("Pictures it rewrites", percent(point.rewritten), "share of latents the edit moves; the rest stay as they are"),
    figure("Change on the others", percent(point.drift), "average pixel change where it never showed; black to white is 100\u202f%"),
  ];
  if (point.flips !== null && point.flips !== undefined) {
    found.push(figure("Others that become something else", percent(point.flips), "never showed it, yet change class, such as another digit"));
  }
  return [element("dl", {class: "figures"}, ...found), element("p", {class: "hint"}, whoMeasured(front))];
}

/** The Pareto plot; its vertical axis grows with the square root, so that small shares can be told apart. */
function plot(front, order, choose) {
  const {points, wanted, recommended} = front;
  const box = {left: 46, right: 364, top: 14, bottom: 214};
  const most = Math.max(...points.map((point) => point.drift), 1e-6) * 1.06;
  const high = Math.max(...points.map((point) => Math.max(point.before, point.ratio.value)), wanted) * 1.05;
  const x = (drift) => box.left + (drift / most) * (box.right - box.left);
  const y = (ratio) => box.bottom - Math.sqrt(ratio / high) * (box.bottom - box.top);
  const about = `${points.length} strengths measured, ${order.length} of them worth choosing. Across: change on the other pictures, up to ${percent(most)}. Upwards: share still showing it. Recommended: ${percent(points[recommended].ratio.value)} still show it at ${percent(points[recommended].drift)} change.`;
  const {chart, text, across} = chartOf(380, 256, "group", about);
  const row = (share, kind) => across(box.left, box.right, y(share), kind);
  for (const tick of shareTicks(wanted, high, y)) {
    row(tick, "grid");
    text(percent(tick), box.left - 7, y(tick) + 4, "end");
  }
  for (const tick of ticks(most)) text(percent(tick), x(tick), box.bottom + 17, "middle");
  row(0, "axis");
  row(wanted, "wanted");
  text("change on the other pictures →", box.right, 250, "end", "title");
  text("↑ still showing it", box.left + 4, box.top - 2, "start", "title");
  text(percent(wanted), box.left - 7, y(wanted) + 4, "end", "wanted-name");
  text("wanted", box.right, y(wanted) - 5, "end", "wanted-name");
  chart.append(svg("polyline", {class: "joined", points: order.map((i) => `${x(points[i].drift)},${y(points[i].ratio.value)}`).join(" ")}));
  points.forEach((point, i) => {
    if (!order.includes(i)) chart.append(svg("circle", {cx: x(point.drift), cy: y(point.ratio.value), r: 2.5, class: "faint"}));
  });
  const marks = order.map((i, place) => {
    const at = {cx: x(points[i].drift), cy: y(points[i].ratio.value)};
    const name = inWords(points[i], place, order.length, i === recommended);
    const mark = svg("g", {class: "point", role: "button", tabindex: 0, "aria-label": name, "aria-pressed": "false"});
    mark.append(svg("title", {}, name), svg("circle", {...at, r: 12, class: "target"}), svg("circle", {...at, r: 5, class: "dot"}));
    mark.addEventListener("click", () => choose(place));
    mark.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      choose(place);
    });
    return mark;
  });
  const named = {left: x(points[recommended].drift), top: y(points[recommended].ratio.value)};
  const near = named.left > 250;
  text("recommended", named.left + (near ? -4 : 8), named.top - 14, near ? "end" : "start", "named");
  chart.append(...marks);
  return {chart, highlight: (place) => marks.forEach((mark, k) => mark.setAttribute("aria-pressed", String(k === place)))};
}

function numberField(words, id) {
  const input = element("input", {type: "number", step: "any", id, inputmode: "decimal"});
  return {input, field: element("div", {class: "field"}, element("label", {for: id}, words), input)};
}

function byNumber(show) {
  const from = numberField("Threshold", "threshold");
  const to = numberField("Margin", "margin");
  const box = element("details", {class: "by-number"}, element("summary", {}, "Choose threshold and margin by number"));
  box.append(element("div", {class: "two-fields"}, from.field, to.field));
  box.append(element("p", {class: "hint"}, "Threshold: from where on a picture is rewritten; higher touches fewer. Margin: how far past it the picture lands; larger removes more. Both are lengths along the feature's direction, where latents have standard deviation 1."));
  box.addEventListener("change", () => {
    const point = {threshold: from.input.valueAsNumber, margin: to.input.valueAsNumber};
    if (Number.isFinite(point.threshold) && Number.isFinite(point.margin)) show(point);
  });
  const fill = (point) => {
    from.input.value = String(+point.threshold.toFixed(4));
    to.input.value = String(+point.margin.toFixed(4));
  };
  return {box, fill};
}

function whoMeasured({guide, measured_by: by, n}) {
  const count = `${n.toLocaleString("en")} pictures`;
  return guide ? `As the probe learnt from your marks sees it, on ${count}; a guide, not a proof.` : `Measured by ${by} on ${count}, before any training.`;
}

function strengthSlider(order, recommended) {
  const best = order.indexOf(recommended);
  const slider = element("input", {type: "range", class: "slider", id: "strength", min: "0", max: String(order.length - 1), step: "1"});
  slider.value = String(Math.max(best, 0));
  const tick = element("span", {class: "tick", "aria-hidden": "true"}, "recommended");
  const share = order.length > 1 ? Math.max(best, 0) / (order.length - 1) : 0;
  tick.style.setProperty("--at", share);
  const ends = element("div", {class: "slider-ends", "aria-hidden": "true"}, element("span", {}, "gentler"), element("span", {}, "stronger"));
  const label = element("label", {for: "strength"}, "Strength");
  return {slider, box: element("div", {class: "strength"}, label, ends, slider, element("div", {class: "ticks"}, tick))};
}

/** What Unlearn needs of a strength. */
function chosen({threshold, margin, ratio, before, rewritten}) {
  return {way: DIRECTION, threshold, margin, ...(ratio && {before, ratio: ratio.value, rewritten})};
}

function build(root, run, api, front) {
  const order = stops(front);
  const pictures = board(16, run.image);
  const caption = element("figcaption", {class: "hint"}, "Upper: as the generator makes it. Lower: what the copy will learn to make.");
  const shown = element("figure", {class: "pictures"}, pictures.grid, caption);
  const {slider, box} = strengthSlider(order, front.recommended);
  const readings = element("div", {});
  const use = element("button", {class: "button primary"}, "Use this strength");
  let point = null;

  const address = ({threshold, margin}) => api.url(`${home(run)}/pairs.png?threshold=${threshold}&margin=${margin}`);
  const onDraw = async (draw) => {
    const changed = await pictures.paint(draw);
    shown.removeAttribute("aria-busy");
    const words = `${changed} of these 16 change, ${16 - changed} stay the same.`;
    pictures.grid.setAttribute("aria-label", `16 pictures, each before and after the edit: ${words}`);
    caption.textContent = `Upper: as the generator makes it. Lower: what the copy will learn to make. ${words}`;
    const place = order.findIndex((i) => front.points[i] === point);
    if (place >= 0) source.ahead([1, -1, 2, -2].map((k) => front.points[order[place + k]]).filter(Boolean));
  };
  const onFail = (error) => {
    shown.removeAttribute("aria-busy");
    tell(error);
  };
  const source = stream(address, run.image, onDraw, onFail);
  const same = (a, b) => Math.abs(a.threshold - b.threshold) < 1e-4 && Math.abs(a.margin - b.margin) < 1e-4;
  function choose(chosen) {
    point = front.points.find((known) => same(known, chosen)) ?? chosen;
    const place = order.findIndex((i) => front.points[i] === point);
    if (place >= 0) slider.value = String(place);
    const words = place < 0 ? "Strength chosen by number" : inWords(point, place, order.length, order[place] === front.recommended);
    slider.setAttribute("aria-valuetext", words);
    readings.replaceChildren(...figures(point, front));
    map.highlight(place);
    shown.setAttribute("aria-busy", "true");
    source.show(point);
    return words;
  }
  const at = (place) => front.points[order[place]];
  const map = plot(front, order, (place) => {
    numbers.fill(at(place));
    announce(choose(at(place)));
  });
  const numbers = byNumber((typed) => announce(choose(typed)));
  slider.addEventListener("input", () => {
    choose(at(Number(slider.value)));
    numbers.fill(point);
  });
  use.addEventListener("click", () => take(run, chosen(point)));

  const strength = element("div", {class: "card at-strength"}, box);
  const effect = element("div", {class: "card at-effect"}, readings, use);
  const price = element("div", {class: "card at-price"}, element("h2", {}, "What each strength costs"), element("div", {class: "price"}, map.chart, element("div", {}, element("p", {class: "hint"}, READING), numbers.box)));
  root.append(element("p", {class: "lead"}, front.sentence), element("div", {class: "preview-grid"}, strength, shown, effect, price));
  numbers.fill(at(Number(slider.value)));
  choose(at(Number(slider.value)));
  return source.stop;
}

/** Measures strengths, once, and shows them in `box`; {begin(), stop()}. */
function strengths(box, run, api) {
  let here = true;
  let begun = false;
  let stop = () => {};
  const wait = waiting("Measuring what each strength would do. Nothing is trained yet …");
  const measured = (front) => {
    if (!here) return;
    wait.remove();
    stop = build(box, run, api, front);
    if (!box.hidden) announce(front.sentence);
  };
  const failed = (error) => here && wait.replaceWith(refused(error, run, "mark", "Back to the pictures"));
  function begin() {
    if (begun) return;
    begun = true;
    box.append(wait);
    api.post(`${home(run)}/front`, {}).then(measured).catch(failed);
  }
  return {begin, stop: () => { here = false; stop(); }};
}

export function mount(root, run, api) {
  let here = true;
  const box = element("div", {});
  const along = strengths(box, run, api);
  const offered = (offer) => {
    if (!here) return;
    const ways = chooser(run, offer, (way) => {
      box.hidden = way !== DIRECTION;
      if (!box.hidden) along.begin();
    });
    root.append(...ways.nodes, box);
    ways.turn();
  };
  root.append(element("h1", {}, "How should it be taken out?"));
  api.get(`${home(run)}/ways`).then(offered).catch((error) => here && root.append(refused(error, run, "mark", "Back to the pictures")));
  return {
    leave() {
      here = false;
      along.stop();
    },
  };
}
