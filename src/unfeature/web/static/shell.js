// What every part of the page uses: elements, the live region, alerts.

/** element("p", {class: "hint", onclick: f, hidden: true}, "text", node, [more]): text is never parsed as HTML. */
export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (typeof value === "function") node.addEventListener(name.replace(/^on/, ""), value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

let speaking = 0;

/** Say it to screen readers, politely; the newest of several quick ones is said. */
export function announce(text) {
  const region = document.getElementById("live");
  clearTimeout(speaking);
  region.textContent = "";
  speaking = setTimeout(() => { region.textContent = text; }, 60);
}

/** A dismissible alert with the sentence of an Error or a string; the same sentence stands there once. */
export function tell(error) {
  const sentence = typeof error === "string" ? error : error.message;
  const area = document.getElementById("alerts");
  if ([...area.children].some((child) => child.dataset.sentence === sentence)) return;
  const close = element("button", {type: "button", class: "button quiet", "aria-label": "Dismiss", onclick: () => alert.remove()}, "×");
  const alert = element("div", {class: "alert", "data-sentence": sentence}, element("p", {}, sentence), close);
  area.append(alert);
  while (area.children.length > 3) area.firstChild.remove();
}

/** Take all alerts away. */
export function hush() {
  document.getElementById("alerts").replaceChildren();
}

/** A group of radio buttons that looks like one control: choices are [value, text]; returns {node, set(value)}. */
export function segmented(label, choices, chosen, change) {
  const name = `group-${label.replace(/\W/g, "-")}`;
  const inputs = new Map();
  const node = element("div", {class: "segmented", role: "radiogroup", "aria-label": label}, choices.map(([value, text]) => {
    const input = element("input", {type: "radio", name, value, class: "visually-hidden", onchange: () => change(value)});
    input.checked = value === chosen;
    inputs.set(value, input);
    return element("label", {}, input, element("span", {}, text));
  }));
  return {node, set: (value) => { inputs.get(value).checked = true; }};
}

const format = new Intl.NumberFormat();

/** 1234 -> "1,234" in the reader's language. */
export const number = (value) => format.format(value);

/** plural(1, "mark") -> "1 mark"; plural(3, "mark") -> "3 marks". */
export const plural = (n, word, many = `${word}s`) => `${number(n)} ${n === 1 ? word : many}`;

/** Where a run's addresses on the server begin, and where its step of the page is. */
export const home = (run) => `/api/runs/${encodeURIComponent(run.name)}`;
export const way = (run, name) => `#/${encodeURIComponent(run.name)}/${name}`;

/** What stands there while something is measured or drawn. */
export function waiting(words) {
  return element("div", {class: "measuring", role: "status"}, element("span", {class: "spinner", "aria-hidden": "true"}), words);
}

/** What stands there after a refusal: the sentence, and the way to the step that helps. */
export function refused(error, run, to, words) {
  tell(error);
  const link = element("a", {class: "button", href: way(run, to)}, words);
  return element("div", {class: "stack"}, element("p", {}, error.message), element("p", {}, link));
}
