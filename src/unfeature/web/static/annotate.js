// The page of one annotator of a study: the same wall, a clock that can pause, and an end.
import * as api from "./api.js";
import {announce, element, number, tell} from "./shell.js";
import {sheets} from "./pictures.js";
import {makeWall} from "./wall.js";
import {toolbar} from "./help.js";
import {keep, outbox, WORDS} from "./marks.js";

const IDLE = 60_000;
const BEAT = 15;
const base = location.pathname.replace(/\/$/, "");
const root = document.getElementById("step");
const button = (text, onclick, kind = "") => element("button", {type: "button", class: `button ${kind}`, onclick}, text);

/** Seconds of work: stops when paused, when the tab is hidden and after a minute without input. */
function clock(paused) {
  const c = {unsent: 0, stopped: false, input: performance.now(), last: performance.now()};
  const touch = () => { c.input = performance.now(); };
  ["pointermove", "pointerdown", "keydown", "scroll", "wheel"].forEach((name) => addEventListener(name, touch, {passive: true}));
  const tick = () => {
    const now = performance.now();
    if (!c.stopped) c.unsent += Math.min(now - c.last, 2000) / 1000;
    c.last = now;
    if (!c.stopped && now - c.input > IDLE) paused("A minute went by without a click, so the clock stopped.");
  };
  setInterval(tick, 1000);
  document.addEventListener("visibilitychange", () => { tick(); if (document.hidden && !c.stopped) paused("You were elsewhere, so the clock stopped."); });
  return {
    take: () => { tick(); const seconds = Math.round(c.unsent * 10) / 10; c.unsent -= seconds; return seconds; },
    stop: () => { tick(); c.stopped = true; }, go: () => { tick(); touch(); c.stopped = false; },
    get unsent() { return c.unsent; },
  };
}

function thanks() {
  root.replaceChildren(element("div", {class: "card narrow stack thanks"}, element("h1", {tabindex: "-1"}, "Thank you"),
    element("p", {}, "Your marks are saved. You can close this page.")));
  root.querySelector("h1").focus();
}

/** How many pictures were looked at: marked ones and those that stood on the screen long enough. */
function progress(marks, count) {
  const text = element("p", {class: "looked"});
  const line = element("progress", {max: count, "aria-label": "Pictures looked at"});
  const looked = () => marks.counts.shows + marks.counts.unsure + marks.counts.without + marks.waiting.size;
  const fresh = () => {
    line.value = looked();
    text.textContent = `${number(looked())} of ${number(count)} looked at`;
  };
  return {node: element("div", {class: "progress"}, line, text), fresh, looked};
}

/** Cover the pictures and stop the clock until somebody goes on. */
function pauses(wall, time, box) {
  const why = element("p", {class: "quiet"});
  const node = element("div", {class: "card narrow stack thanks", hidden: true}, element("h2", {}, "Paused"), why, button("Go on", () => {
    node.hidden = true;
    wall.node.hidden = false;
    time.value.go();
    wall.focus();
  }, "primary"));
  const pause = (sentence) => {
    if (!node.hidden) return;
    time.value.stop();
    why.textContent = sentence;
    wall.node.hidden = true;
    node.hidden = false;
    box.beat();
    node.querySelector("button").focus();
  };
  return {node, pause};
}

function finish({marks, box, looked, count}) {
  const place = element("div", {class: "ending"});
  async function end() {
    marks.pass([...marks.waiting]);
    await box.flush();
    if (box.unsaved) return tell(`${number(box.unsaved)} marks are not saved yet. Keep this page open; it goes on trying.`);
    try {
      await api.post(`${base}/done`, {});
      thanks();
    } catch (error) {
      tell(error);
    }
    return undefined;
  }
  function ask() {
    if (looked() >= count) return end();
    const sentence = `You have looked at ${number(looked())} of ${number(count)} pictures.`;
    place.replaceChildren(element("p", {}, sentence), button("Finish anyway", end, "primary"), button("Go on marking", () => place.replaceChildren(done)));
    place.children[1].focus();
    return announce(sentence);
  }
  const done = button("I am done", ask, "primary");
  place.append(done);
  return place;
}

function show(state) {
  document.title = `Which pictures show ${state.feature}?`;
  if (state.done) return thanks();
  const time = {value: null};
  const box = outbox(`${base}/marks`, api, () => ({seconds: time.value.take()}));
  const marks = keep(state.marks, box);
  const series = sheets((k) => `${base}/sheets/${k}.png?g=${state.pictures}`, state.image);
  const wall = makeWall({sheets: series, image: state.image, count: state.count, order: null, marks, words: WORDS, label: `Pictures to mark: ${state.feature}`});
  const done = progress(marks, state.count);
  const pausing = pauses(wall, time, box);
  time.value = clock(pausing.pause);
  const bar = toolbar({wall, marks, box, more: [button("Pause", () => pausing.pause("Take your time.")), finish({marks, box, looked: done.looked, count: state.count})]});
  bar.node.prepend(done.node);
  marks.on(done.fresh);
  setInterval(() => {
    if (!wall.node.hidden && wall.total === state.count) marks.pass(wall.above());
    done.fresh();
    if (time.value.unsent >= BEAT) box.beat();
  }, 1000);
  done.fresh();
  root.replaceChildren(element("div", {class: "ask"}, element("h1", {}, "Which pictures show ", element("em", {}, state.feature), "?"),
    element("p", {class: "quiet"}, "Click every picture that shows it. Click again if you are unsure, once more to take it back. Go through all pictures; there is no hurry.")),
  bar.node, pausing.node, wall.node);
  return wall.under(bar.node);
}

function begin() {
  api.get(`${base}/state`).then(show, (error) => {
    root.replaceChildren(element("div", {class: "card narrow stack"}, element("h1", {}, "The pictures cannot be shown"), element("p", {}, error.message), element("p", {}, button("Try again", begin, "primary"))));
  });
}

begin();
