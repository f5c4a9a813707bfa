// Unlearn: one button, then what the work does, live; it goes on while the page is closed.
import {chartOf, percent, shareTicks, svg, ticks} from "./figures.js";
import {announce, element, home, tell, way} from "./shell.js";
import {board, cells} from "./pictures.js";
import {DIRECTION, inWords, recall, sameWay, wanted} from "./ways.js";

const STAGES = {find: "Find the feature", preview: "Check the edit", unlearn: "Train the copy", evaluate: "Measure the result", report: "Write the report"};

function timeLeft(seconds) {
  if (!Number.isFinite(seconds)) return "";
  if (seconds < 10) return "a few seconds left";
  if (seconds < 90) return `about ${Math.round(seconds / 5) * 5} seconds left`;
  if (seconds < 5400) return `about ${Math.round(seconds / 60)} minutes left`;
  return `about ${(seconds / 3600).toFixed(1)} hours left`;
}

/** A curve over training steps, points [[step, value]]; with a `level` to reach, values are shares and the axis a square root. */
function curve(title, points, steps, write, level = null) {
  const box = {left: 52, right: 470, top: 10, bottom: 120};
  const high = Math.max(...points.map(([, value]) => value), level ?? 0, 1e-9) * 1.08;
  const x = (step) => box.left + (step / Math.max(steps, 1)) * (box.right - box.left);
  const y = (value) => box.bottom - (value / high) ** (level === null ? 1 : 0.5) * (box.bottom - box.top);
  const [first, last] = [points[0], points.at(-1)];
  const goal = level === null ? "" : ` Wanted: ${write(level)}.`;
  const about = `${title}: ${write(first[1])} at step ${first[0]}, ${write(last[1])} at step ${last[0]} of ${steps}.${goal}`;
  const {chart, text, across} = chartOf(480, 144, "img", about);
  const row = (value, words, kind, name) => {
    across(box.left, box.right, y(value), kind);
    text(words, box.left - 7, y(value) + 4, "end", name);
  };
  for (const tick of level === null ? ticks(high, 3).slice(1) : shareTicks(level, high, y)) row(tick, write(tick), "grid");
  row(0, level === null ? "0" : "", "axis");
  if (level !== null) row(level, "wanted", "wanted", "wanted-name");
  text("step 0", box.left, 138, "start");
  text(`step ${steps}`, box.right, 138, "end");
  chart.append(svg("polyline", {class: "run", points: points.map(([step, value]) => `${x(step)},${y(value)}`).join(" ")}));
  chart.append(svg("circle", {cx: x(last[0]), cy: y(last[1]), r: 4, class: "dot"}));
  const head = element("figcaption", {}, title, " ", element("b", {}, write(last[1])));
  return element("figure", {class: "curve"}, head, chart);
}

function curves(job, wanted) {
  const of = (key) => job.records.filter((one) => Number.isFinite(one[key])).map((one) => [one.step, one[key]]);
  const [distance, ratio] = [of("distance"), of("ratio")];
  const steps = Math.max(job.verb === "unlearn" ? job.steps : 0, ...job.records.map((one) => one.step));
  const drawn = [];
  if (distance.length) drawn.push(curve("Distance to what it should learn", distance, steps, (value) => value.toPrecision(2)));
  if (ratio.length) drawn.push(curve("Pictures still showing it", ratio, steps, percent, wanted));
  return drawn;
}

function stageList(verb) {
  const names = Object.keys(STAGES);
  const now = names.indexOf(verb);
  const items = names.map((name, i) => {
    const item = element("li", {}, STAGES[name]);
    if (i < now) item.className = "past";
    if (i === now) item.setAttribute("aria-current", "step");
    return item;
  });
  return now < 0 ? [] : [element("ol", {class: "stages", "aria-label": "What happens"}, ...items)];
}

/** A button that does `act`; a refusal is told. While it acts it keeps the focus and ignores clicks. */
export function button(words, act, kind = "") {
  const node = element("button", {class: `button ${kind}`.trim()}, words);
  node.addEventListener("click", async () => {
    if (node.ariaDisabled) return;
    node.ariaDisabled = "true";
    await act().catch(tell);
    node.ariaDisabled = null;
  });
  return node;
}

function stripOf(run, api) {
  const pictures = board(8, run.image);
  const words = element("figcaption", {class: "hint"});
  const box = element("figure", {class: "pictures strip"}, pictures.grid, words);
  box.hidden = true;
  let shown = 0;
  let busy = false;
  async function update({strip}) {
    if (!strip) [box.hidden, shown] = [true, 0];
    if (!strip || strip === shown || busy) return;
    busy = true;
    try {
      const draw = await cells(api.url(`${home(run)}/strip.png?step=${strip}`), 8, 2, run.image);
      await pictures.paint(draw);
      shown = strip;
      box.hidden = false;
      words.textContent = `Upper: the original. Lower: the copy after ${strip} steps.`;
      pictures.grid.setAttribute("aria-label", `8 pictures of the original, and the same of the copy after ${strip} steps`);
    } catch {
      // The saved state may have been replaced meanwhile; the next poll asks for the newer one.
    } finally {
      busy = false;
    }
  }
  return {box, update};
}

/** The line, the bar and the note of a running job: {node, show(job)}; quarters are announced. */
function progressOf(named) {
  const [line, bar, note] = [element("p", {}), element("progress", {"aria-label": "Progress"}), element("p", {class: "hint"})];
  let told = 0;
  function show(job) {
    const count = job.steps ? `${["find", "evaluate"].includes(job.verb) ? "" : "step "}${job.step} of ${job.steps}` : "";
    line.textContent = [named(job), count, timeLeft(job.seconds_left)].filter(Boolean).join(" · ");
    note.textContent = [job.note, ...job.warnings].join(" ");
    if (job.steps) [bar.max, bar.value] = [job.steps, job.step];
    else bar.removeAttribute("value");
    const quarter = job.steps ? Math.floor((4 * job.step) / job.steps) : 0;
    if (quarter > told) announce(line.textContent);
    told = quarter;
  }
  return {node: element("div", {class: "job-bar", hidden: true}, line, bar, note), show};
}

/** What stands there in each state of a job: words, and buttons that send("start"), send("go on") or send("cancel"). */
function statesOf({body, idle, done, other}, send) {
  const start = () => send("start");
  const again = (job, words) => (body(job, true) ? [button(words, () => send("go on"), "primary"), ...other(job, start)] : idle(start));
  const cancel = () => {
    const stop = button("Cancel", () => {
      stop.textContent = "Stopping …";
      return send("cancel").finally(() => (stop.textContent = "Cancel"));
    });
    return stop;
  };
  const stopped = ({step, steps}) => element("p", {class: "lead"}, `Stopped${step ? ` at step ${step} of ${steps}` : ""}. What was learnt is kept.`);
  return {
    none: () => ({words: idle(start)}),
    running: () => ({actions: [cancel()]}),
    stopped: (job) => ({words: [stopped(job)], actions: again(job, "Go on")}),
    failed: (job) => ({words: [element("p", {class: "verdict failed"}, job.error)], actions: again(job, "Try again")}),
    done: (job) => ({words: done(job, start)}),
  };
}

/**
 * Follows a job until `leave()`. `idle(start)`, `done(job, start)` and `other(job, start)` give what to show before, after and
 * beside "Go on"; `start()` begins with `body(job, false)`, "Go on" goes on with `body(job, true)`, null where that is not
 * known; `named(job)` says what is running.
 */
export function follow(root, {api, address, run, body, idle, done, named, other = () => [], strip = null, changed = () => {}}) {
  const [words, stages, actions, drawings] = ["words", "stages", "actions", "curves"].map((name) => element("div", {class: `job-${name}`}));
  const progress = progressOf(named);
  root.append(words, stages, progress.node, actions, element("div", {class: "job-strip"}, strip?.box ?? []), drawings);
  let [timer, here, state, drawn, latest] = [0, true, "", -1, {}];
  const send = async (action) => {
    const asked = action === "cancel" ? {action} : {action: "start", ...body(latest, action === "go on")};
    render(await api.post(address, asked));
  };
  const states = statesOf({body, idle, done, other}, send);
  function enter(job) {
    const inside = actions.contains(document.activeElement) || words.contains(document.activeElement);
    const shown = states[job.state](job);
    words.replaceChildren(...shown.words ?? []);
    actions.replaceChildren(...shown.actions ?? []);
    if (inside) root.querySelector("button, a")?.focus();
    if (state && job.state !== "none") announce({running: "Started.", stopped: "Stopped.", failed: job.error, done: job.sentence || "Done."}[job.state]);
    if (state || job.state === "done") changed(job);
    [state, drawn] = [job.state, -1];
  }
  function render(job) {
    clearTimeout(timer);
    if (!here) return;
    latest = job;
    if (job.state !== state) enter(job);
    const running = job.state === "running";
    progress.node.hidden = !running;
    if (running) progress.show(job);
    stages.replaceChildren(...(running && strip ? stageList(job.verb) : []));
    strip?.update(job);
    if (job.records.length !== drawn) drawings.replaceChildren(...curves(job, run.wanted));
    drawn = job.records.length;
    if (running) timer = setTimeout(poll, document.hidden ? 1000 : 500);
  }
  const poll = () => api.get(address).then(render).catch((error) => {
    if (!here) return;
    tell(error);
    timer = setTimeout(poll, 3000);
  });
  poll();
  return {
    leave() {
      here = false;
      clearTimeout(timer);
    },
  };
}

function strengthInWords(kept) {
  if (kept.ratio === undefined) return `threshold ${kept.threshold}, margin ${kept.margin}`;
  return `${percent(kept.before)} of the pictures show it now, about ${percent(kept.ratio)} should afterwards; the edit rewrites ${percent(kept.rewritten)} of them`;
}

function choice(kept, run, steps, start) {
  if (!kept) {
    const link = element("a", {class: "button primary", href: way(run, "preview")}, "Choose the way");
    return [element("p", {class: "lead"}, "First choose the way and how strong the edit should be; the pictures help."), element("p", {}, link)];
  }
  const along = kept.way === DIRECTION;
  const technical = element("p", {class: "hint"}, along ? `Threshold ${+kept.threshold.toFixed(4)}, margin ${+kept.margin.toFixed(4)}. ` : "");
  technical.append(element("a", {href: way(run, "preview")}, `Choose another ${along ? "strength or " : ""}way`));
  const words = element("p", {class: "lead"}, along ? `The strength you chose: ${strengthInWords(kept)}.` : `The way you chose: ${inWords(kept)}.`);
  const more = element("details", {}, element("summary", {}, "Number of steps"));
  more.append(element("div", {class: "field"}, element("label", {for: "steps"}, "More steps learn more exactly and take longer"), steps));
  return [words, technical, element("p", {class: "go"}, button("Unlearn", start, "primary large")), more];
}

/** The verdict with its colour, from "removed", "reduced" or "failed" where the program says which. */
export function verdict(job) {
  return element("p", {class: `verdict ${job.verdict ?? ""}`.trim()}, job.sentence || "Done.");
}

/** What the feature says of itself and how it was chosen, once it has been asked. */
function reasons(run, api, {warnings}) {
  const list = element("ul", {});
  const box = element("section", {class: "reasons", hidden: true}, element("h2", {}, "How it was found"), list);
  const show = ({sentences}) => {
    list.append(...[...warnings, ...sentences].map((sentence) => element("li", {}, sentence)));
    box.hidden = !list.children.length;
  };
  api.get(`${home(run)}/found`).then(show).catch(tell);
  return box;
}

export function mount(root, run, api) {
  const kept = recall(run);
  const steps = element("input", {type: "number", id: "steps", min: "1", max: "1000000", step: "1", value: kept?.steps ?? 1000});
  const box = element("div", {class: "card job"});
  const quiet = "Closing this page does not stop the work. Closing the program does; it then goes on from where it was.";
  root.append(element("h1", {}, `Unlearn “${run.feature}”`), box, element("p", {class: "hint"}, quiet));
  /** A stopped training goes on as it was asked for; anything else begins as was chosen here last. */
  const body = (job, again) => {
    const stopped = again && job.state === "stopped";
    const asked = stopped ? wanted(job) ?? wanted(kept) : wanted(kept) ?? wanted(job);
    if (!asked) return null;
    const typed = steps.value === steps.defaultValue ? NaN : steps.valueAsNumber;
    const count = stopped && job.verb === "unlearn" ? job.steps : typed;
    return {...asked, ...(count >= 1 && {steps: Math.round(count)})};
  };
  const anew = (start) => element("details", {}, element("summary", {}, "Unlearn again another way"), ...choice(kept, run, steps, start));
  const other = (job, start) => {
    if (job.state === "failed") return [element("a", {class: "button", href: way(run, "preview")}, "Choose another way")];
    return kept && !sameWay(kept, job) ? [anew(start)] : [];
  };
  const done = (job, start) => {
    const compare = element("a", {class: "button primary", href: way(run, "compare")}, "Compare before and after");
    const report = job.verdict && element("a", {class: "button", href: api.url(`${home(run)}/report`), target: "_blank", rel: "noopener"}, "Open the report");
    return [verdict(job), element("p", {class: "row"}, compare, report), reasons(run, api, job), anew(start)];
  };
  return follow(box, {
    api, run, body, done, other,
    address: `${home(run)}/job`,
    strip: stripOf(run, api),
    idle: (start) => choice(kept, run, steps, start),
    named: (job) => STAGES[job.verb] ?? job.verb,
    changed: (job) => job.state === "done" && run.refresh?.().catch(tell),
  });
}
