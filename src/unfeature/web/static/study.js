// Study: several people mark the same pictures, each with a link of their own; then what they agree on.
import {percent, range} from "./figures.js";
import {announce, element, home, tell} from "./shell.js";
import {button, follow, verdict} from "./unlearn.js";

/** Krippendorff's alpha in words; 0.8 and 0.667 are his own limits. */
function agreement({value, low, high, n}) {
  if (n < 20) return element("p", {class: "hint"}, "Agreement is told from 20 pictures marked twice.");
  const word = value >= 0.8 ? "Good" : value >= 0.667 ? "Fair" : "Poor";
  const figure = `Krippendorff's alpha ${value.toFixed(2)}, ${low.toFixed(2)} to ${high.toFixed(2)} is likely; 1 is perfect, 0 is chance`;
  return element("p", {class: "agreement"}, element("b", {}, `${word} agreement. `), element("span", {class: "hint"}, figure));
}

/** A form that asks for names, one a line, and gives them to `ask`. */
function form(id, words, label, ask) {
  const box = element("textarea", {id, rows: 4, spellcheck: "false"});
  const send = element("button", {class: "button primary"}, label);
  const node = element("form", {class: "stack"}, element("div", {class: "field"}, element("label", {for: id}, words), box));
  node.addEventListener("submit", async (event) => {
    event.preventDefault();
    const names = box.value.split("\n").map((name) => name.trim()).filter(Boolean);
    if (!names.length) return box.focus();
    send.disabled = true;
    await ask(names).then(() => (box.value = ""), tell);
    send.disabled = false;
  });
  return {node, send};
}

function beginning(api, address, show) {
  const count = element("input", {type: "number", id: "count", min: "10", max: "10000", value: "500"});
  const {node, send} = form("names", "Names of the annotators, one per line", "Make links", async (annotators) => {
    show(await api.post(address, {annotators, count: count.valueAsNumber || 500}));
    document.querySelector(".study button")?.focus();
    announce("The links are ready.");
  });
  node.append(element("div", {class: "field short"}, element("label", {for: "count"}, "Pictures each"), count), element("p", {}, send));
  const why = "Several people mark the same pictures, each through a secret link and in an order of their own. It shows how far they agree on what the feature is, and what unlearning makes of each person's marks.";
  return element("div", {}, element("p", {class: "lead"}, why), element("div", {class: "card form"}, node));
}

/** A line of the table that keeps its place, its link and its focus while the figures change. */
function line(person) {
  const link = new URL(person.link, location.origin).href;
  const address = element("a", {href: link, target: "_blank", rel: "noopener"}, link);
  const copy = button("Copy", async () => {
    await navigator.clipboard.writeText(link);
    announce(`Link of ${person.name} copied.`);
    copy.textContent = "Copied";
    setTimeout(() => (copy.textContent = "Copy"), 1500);
  });
  copy.setAttribute("aria-label", `Copy the link of ${person.name}`);
  const bar = element("progress", {"aria-label": `Progress of ${person.name}`});
  const [looked, minutes, done] = [element("span", {class: "hint"}), element("td", {}), element("td", {})];
  const linkCell = element("td", {}, element("div", {class: "link"}, address, copy));
  const row = element("tr", {}, element("th", {scope: "row"}, person.name), linkCell, element("td", {}, bar, looked), minutes, done);
  const update = (now, count) => {
    [bar.max, bar.value] = [count, Math.min(now.looked, count)];
    looked.textContent = `${now.looked} of ${count} seen, ${now.marked} marked`;
    minutes.textContent = (now.seconds / 60).toFixed(1);
    done.textContent = now.done ? "done" : "not yet";
    done.className = now.done ? "good" : "quiet";
  };
  return {row, update};
}

function table(words, heads, kind) {
  const body = element("tbody", {});
  const head = element("thead", {}, element("tr", {}, ...heads.map((name) => element("th", {scope: "col"}, name))));
  return {body, box: element("div", {class: `scroll ${kind}`, tabindex: "0", role: "region", "aria-label": words}, element("table", {class: "numbers"}, element("caption", {class: "visually-hidden"}, words), head, body))};
}

function results(study, wanted) {
  const title = element("h2", {}, "Unlearned once for each");
  if (study.earlier) return [title, element("p", {}, "The results are of earlier marks; unlearn again.")];
  if (!study.rows?.length) return [];
  const {box, body} = table("What unlearning made of each person's marks", ["Marks of", "Pictures that still show it", "Likely between"], "results");
  for (const row of study.rows) {
    const value = element("td", {class: row.ratio.value <= wanted ? "good" : ""}, percent(row.ratio.value));
    body.append(element("tr", {}, element("th", {scope: "row"}, row.name), value, element("td", {class: "quiet"}, range(row.ratio))));
  }
  return [title, element("p", {class: "hint"}, `Wanted: at most ${percent(wanted)}.`), box];
}

function shared(study) {
  const words = [];
  if (study.alpha) words.push(agreement(study.alpha));
  if (study.consensus) {
    const {shows, unsure, without} = study.consensus;
    words.push(element("p", {}, `Taken together: ${shows} show it, ${without} do not, ${unsure} undecided. `, element("span", {class: "hint"}, "Dawid-Skene consensus, which trusts careful annotators more")));
  }
  return words.length ? words : [element("p", {class: "quiet"}, "How far they agree is known once two of them have marked.")];
}

function panel(run, api, address, refresh) {
  const {box, body} = table("Annotators", ["Name", "Link", "Progress", "Active minutes", "Finished"], "people");
  const people = new Map();
  const [together, outcome, work] = [element("div", {class: "card stack"}), element("div", {class: "stack"}), element("div", {class: "card job"})];
  const add = form("more-names", "More annotators, one per line", "Add", async (annotators) => refresh(await api.post(address, {annotators, count: latest.count})));
  add.node.append(element("p", {}, add.send));
  let latest = null;
  let drawn = "";
  const report = element("a", {class: "button primary", href: api.url(`${address}/report`), target: "_blank", rel: "noopener"}, "Open the study report");
  const begin = (start, kind) => button("Unlearn once for each and once for all together", start, kind);
  const following = follow(work, {
    api, run,
    address: `${address}/job`,
    body: () => ({}),
    idle: (start) => [element("p", {}, "When everybody is done, unlearning shows what each person's marks lead to."), element("p", {class: "go"}, begin(start, "primary"))],
    done: (job, start) => [verdict(job), element("p", {class: "row"}, report, begin(start))],
    named: (job) => (job.verb && job.verb !== "find" ? `Marks of ${job.verb}` : "Getting ready"),
    changed: (job) => job.state === "done" && api.get(address).then(refresh, tell),
  });
  const update = (study) => {
    latest = study;
    for (const person of study.annotators) {
      if (!people.has(person.name)) {
        people.set(person.name, line(person));
        body.append(people.get(person.name).row);
      }
      people.get(person.name).update(person, study.count);
    }
    const now = JSON.stringify([study.alpha, study.consensus, study.rows, study.earlier]);
    if (now === drawn) return;
    drawn = now;
    report.hidden = !study.rows;
    together.replaceChildren(...shared(study));
    outcome.replaceChildren(...results(study, run.wanted));
  };
  const more = element("details", {}, element("summary", {}, "Add annotators"), add.node);
  const node = element("div", {class: "stack study"}, box, more, together, work, outcome);
  return {node, update, leave: following.leave};
}

export function mount(root, run, api) {
  const address = `${home(run)}/study`;
  let [here, timer, open] = [true, 0, null];
  const place = element("div", {});
  root.append(element("h1", {}, "Study with several people"), place);
  function show(study) {
    if (!here) return;
    if (!open) {
      open = panel(run, api, address, show);
      place.replaceChildren(open.node);
      timer = setTimeout(poll, 3000);
    }
    open.update(study);
  }
  async function poll() {
    await api.get(address).then(show, (error) => here && tell(error));
    if (here) timer = setTimeout(poll, 3000);
  }
  const first = (study) => {
    if (study.annotators.length) show(study);
    else if (here) place.replaceChildren(beginning(api, address, show));
  };
  api.get(address).then(first, (error) => here && tell(error));
  return {
    leave() {
      here = false;
      clearTimeout(timer);
      open?.leave();
    },
  };
}
