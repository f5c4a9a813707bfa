// Requests to the server this page came from. Every error is thrown as Error(sentence) with .kind and .status (0: no answer).

/** Path of the server's; `runs/R/job` is short for `/api/runs/R/job`. */
export function url(path) {
  return path.startsWith("/") ? path : `/api/${path}`;
}

export const get = (path, options) => ask("GET", path, undefined, options);
export const post = (path, body, options) => ask("POST", path, body, options);
export const patch = (path, body, options) => ask("PATCH", path, body, options);

async function ask(method, path, body, options = {}) {
  const raw = body instanceof Blob;
  const headers = body === undefined || raw ? {} : {"Content-Type": "application/json"};
  let answer;
  try {
    answer = await fetch(url(path), {method, headers, body: raw ? body : JSON.stringify(body), ...options});
  } catch {
    throw problem("The server does not answer. Start it again with \"unfeature open\"; nothing is lost.", "NoAnswer", 0);
  }
  const value = await answer.json().catch(() => null);
  if (answer.ok && value !== null) return value;
  const sentence = value?.error ?? `The server answered ${answer.status} to ${method} ${url(path)}. Reload the page.`;
  throw problem(sentence, value?.kind ?? "Answer", answer.status);
}

/** An Error whose message is a sentence for people. */
export function problem(sentence, kind, status) {
  if (kind === "OtherPictures") dispatchEvent(new CustomEvent("anew", {detail: sentence}));
  return Object.assign(new Error(sentence), {kind, status});
}
