// The first step: choose a generator, name the feature, or go on with a run.
import {element, plural, tell} from "./shell.js";

const STAGES = {marking: "marking", trained: "unlearned, not proved", proved: "proved"};
const OWN = " own";

function cardOf(generator, chosen, change) {
  const input = element("input", {type: "radio", name: "generator", value: generator.name, onchange: change});
  input.checked = chosen;
  return element("label", {class: "choice"}, input, element("span", {}, element("strong", {}, generator.title ?? generator.name), element("span", {class: "quiet"}, generator.about)));
}

/** The radio cards, and the path of one's own: {node, value() -> name or path, first}. */
function generators(start) {
  const path = element("input", {type: "text", id: "path", placeholder: "decoder.pth  or  my_generator.py:load", autocomplete: "off", spellcheck: "false", "aria-describedby": "path-hint"});
  const own = element("div", {class: "field own", hidden: true}, element("label", {for: "path"}, "File or function"), path,
    element("p", {class: "hint", id: "path-hint"}, "A checkpoint on this computer, or FILE.py:FUNCTION that returns your model"));
  const cards = element("div", {class: "choices"});
  const value = () => cards.querySelector("input:checked")?.value;
  const change = () => { own.hidden = value() !== OWN; };
  const listed = start.generators.map((generator, k) => cardOf(generator, k === 0, change));
  const mine = start.remote ? [] : [cardOf({name: OWN, title: "Your own", about: "A file of weights, or a Python function"}, !listed.length, change)];
  cards.append(...listed, ...mine);
  change();
  const node = element("fieldset", {class: "plain"}, element("legend", {}, "Which generator?"), cards, own);
  return {node, value: () => (value() === OWN ? path.value.trim() : value() ?? ""), field: () => (value() === OWN ? path : cards.querySelector("input"))};
}

/** Who decides the result: {node, value() -> "", a name or FILE.py:NAME}. */
function judges(start) {
  const select = element("select", {id: "judge", "aria-describedby": "judge-hint", onchange: () => { own.hidden = select.value !== OWN; }},
    element("option", {value: ""}, "Nobody yet"), start.judges.map((name) => element("option", {value: name}, name)),
    !start.remote && element("option", {value: OWN}, "A function of your own"));
  const path = element("input", {type: "text", id: "judge-path", placeholder: "my_judge.py:shows_it", autocomplete: "off", spellcheck: "false", "aria-label": "File and function of the judge"});
  const own = element("div", {class: "own", hidden: true}, path);
  const node = element("div", {class: "field"}, element("label", {for: "judge"}, "Who decides the result?"), select, own,
    element("p", {class: "hint", id: "judge-hint"}, "A judge measures new pictures and counts how many show it. Only the proof at the end needs one."));
  return {node, value: () => (select.value === OWN ? path.value.trim() : select.value)};
}

function wrong(field, sentence) {
  field.setAttribute("aria-invalid", "true");
  field.addEventListener("input", () => field.removeAttribute("aria-invalid"), {once: true});
  field.focus();
  tell(sentence);
}

function form(start, api) {
  const generator = generators(start);
  const judge = judges(start);
  const feature = element("input", {type: "text", id: "feature", maxlength: 80, placeholder: "for example: thick strokes", autocomplete: "off", "aria-describedby": "feature-hint"});
  const send = element("button", {type: "submit", class: "button primary large"}, "Show pictures");
  const node = element("form", {class: "card stack new", novalidate: true, "aria-labelledby": "new-title"},
    element("h2", {id: "new-title"}, "Begin"), generator.node,
    element("div", {class: "field"}, element("label", {for: "feature"}, "What should disappear?"), feature,
      element("p", {class: "hint", id: "feature-hint"}, "A few words that you would use yourself; pictures decide what they mean")),
    judge.node, send);
  node.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (send.ariaDisabled) return;
    const body = {generator: generator.value(), feature: feature.value.trim()};
    if (!body.generator) return wrong(generator.field(), "Name the generator's file, for example decoder.pth or my_generator.py:load.");
    if (!body.feature) return wrong(feature, "Name what should disappear, for example: thick strokes.");
    if (judge.value()) body.judge = judge.value();
    send.ariaDisabled = "true";
    send.textContent = "Drawing pictures…";
    try {
      const {name} = await api.post("/api/runs", body);
      location.hash = `#/${encodeURIComponent(name)}/mark`;
    } catch (error) {
      tell(error);
    }
    send.ariaDisabled = null;
    send.textContent = "Show pictures";
  });
  return node;
}

const marked = ({marks}) => (typeof marks === "number" ? marks : Object.values(marks ?? {}).reduce((sum, part) => sum + (part.length ?? part), 0));

function runs(list, folder) {
  if (!list.length) return element("p", {class: "quiet"}, "Your work will be listed here, and you can go on with it at any time.");
  return [
    element("ul", {class: "runs"}, list.map((run) => element("li", {}, element("a", {href: `#/${encodeURIComponent(run.name)}/mark`},
      element("strong", {}, run.feature || run.name), element("span", {class: "quiet"}, `${run.name} · ${run.generator}`),
      element("span", {class: "facts"}, element("span", {class: "badge", "data-stage": run.stage}, STAGES[run.stage] ?? run.stage), element("span", {class: "quiet"}, plural(marked(run), "mark"))))))),
    element("p", {class: "hint"}, `Kept in the folder ${folder}`),
  ];
}

export function mount(root, _run, api) {
  let gone = false;
  root.append(element("div", {class: "hero"}, element("h1", {}, "Take something out of an image generator"),
    element("p", {}, "Click the pictures that show it. You get a copy of the generator that no longer makes it, and a page that proves it.")));
  const place = element("div", {class: "start"});
  root.append(place);
  api.get("/api/start").then((start) => {
    if (gone) return;
    place.append(form(start, api), element("section", {class: "stack before", "aria-labelledby": "runs-title"},
      element("h2", {id: "runs-title"}, "Go on"), runs(start.runs, start.folder)));
  }, (error) => {
    const again = element("button", {type: "button", class: "button", onclick: () => { root.replaceChildren(); mount(root, _run, api); }}, "Try again");
    place.append(element("div", {class: "card stack"}, element("p", {}, error.message), element("p", {}, again)));
  });
  return {leave: () => { gone = true; }};
}
