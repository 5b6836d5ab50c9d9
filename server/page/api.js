// Calls of the JSON interface. Addresses are relative to the page's own, so that a proxy may put it below a path.

const ROOT = new URL("../", import.meta.url);
const PATIENCE = 15000;

let token = sessionStorage.getItem("galleon.token") || "";
export const link = new EventTarget();  // "state": up, down or token
let state = "";

function become(next, detail) {
  if (next === state && next !== "down") return;
  state = next;
  link.dispatchEvent(new CustomEvent("state", {detail: {state, why: detail || ""}}));
}

export function set_token(value) {
  token = value.trim();
  // Of this tab alone, and gone with it.
  if (token) sessionStorage.setItem("galleon.token", token);
  else sessionStorage.removeItem("galleon.token");
  state = "";
}
export const has_token = () => token !== "";

export class Refused extends Error {
  constructor(status, error) {
    super(error.message || `status ${status}`);
    this.status = status;
    this.reason = error.reason || "";
  }
}

function headers(more) {
  return {...(token ? {Authorization: `Bearer ${token}`} : {}), ...more};
}

async function refusal(response) {
  let error = {};
  try {
    error = (await response.json()).error || {};
  } catch {
    error = {message: `the server answered with status ${response.status}`};
  }
  if (response.status === 401) become("token", error.message);
  return new Refused(response.status, error);
}

async function request(path, options) {
  let response;
  try {
    response = await fetch(new URL(path, ROOT), {...options, credentials: "omit", cache: "no-store", redirect: "error"});
  } catch (error) {
    if (error.name !== "AbortError") become("down", "the scheduler cannot be reached");
    throw error;
  }
  // A proxy says so where the scheduler does not.
  if (response.status === 502 || response.status === 503 || response.status === 504) become("down", "the scheduler does not answer");
  if (!response.ok) throw await refusal(response);
  become("up");
  return response;
}

export function path_of(base, parameters) {
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(parameters || {})) {
    if (value !== undefined && value !== null && value !== "") query.set(key, Array.isArray(value) ? value.join(",") : value);
  }
  const text = query.toString();
  return text ? `${base}?${text}` : base;
}

// `age`: seconds that the answer may be old, so that many pages share one; 0: a new one.
export async function get(base, parameters, signal, age = 0) {
  const timeout = AbortSignal.timeout(PATIENCE);
  const response = await request(path_of(base, parameters), {headers: headers(age ? {"Cache-Control": `max-age=${age}`} : {}), signal: signal && AbortSignal.any ? AbortSignal.any([signal, timeout]) : timeout});
  return response.json();
}

export async function post(base, body) {
  const response = await request(base, {method: "POST", headers: headers({"Content-Type": "application/json"}), body: JSON.stringify(body || {}), signal: AbortSignal.timeout(PATIENCE)});
  return response.json();
}

// All pages of a list, up to `most` entries.
export async function all(base, key, parameters, most, signal, age = 0) {
  const found = [];
  let page_token = "";
  do {
    const page = await get(base, {page_size: Math.min(1000, most), ...parameters, page_token}, signal, age);
    found.push(...(page[key] || []));
    page_token = page.next_page_token || "";
  } while (page_token && found.length < most);
  return found;
}

const pause = (time, signal) => new Promise((resolve) => {
  const timer = setTimeout(resolve, time);
  signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, {once: true});
});

// Events of a stream, by fetch: EventSource cannot send a token but in the address. Goes on by the id of the last one when
// the connection was lost. While nobody sees the page it is closed, since a browser has six connections to a server.
// on: {EVENT: (data) => …, lost: () => …, too_old: () => …, refused: (Refused) => …}; "lost": some events may have been
// missed, read anew; "too_old": what `parameters` ask for is no longer kept.
export function follow(base, parameters, on, signal) {
  let last = "";
  (async () => {
    let wait = 500;
    while (!signal.aborted) {
      if (document.hidden) {
        await new Promise((resolve) => {
          document.addEventListener("visibilitychange", resolve, {once: true});
          signal.addEventListener("abort", resolve, {once: true});
        });
        continue;
      }
      const here = new AbortController();
      const stop = () => here.abort();
      const hide = () => document.hidden && stop();
      signal.addEventListener("abort", stop, {once: true});
      document.addEventListener("visibilitychange", hide);
      try {
        const response = await request(path_of(base, parameters), {headers: headers({Accept: "text/event-stream", ...(last ? {"Last-Event-ID": last} : {})}), signal: here.signal});
        if (!last && on.begun) on.begun();
        const ended = await read_events(response, (event) => {
          wait = 500;
          if (event.id) last = event.id;
          if (on[event.name]) on[event.name](event.data);
          return event;
        }, here);
        if (ended === "end") return;
      } catch (error) {
        if (error instanceof Refused && (error.reason === "REVISION_TOO_OLD")) {
          last = "";
          if (on.too_old) on.too_old();
          if (on.lost) on.lost();
        } else if (error instanceof Refused && error.status < 500 && error.status !== 429) {
          if (on.refused) on.refused(error);
          return;
        }
      } finally {
        signal.removeEventListener("abort", stop);
        document.removeEventListener("visibilitychange", hide);
      }
      if (signal.aborted || document.hidden) continue;
      if (!here.signal.aborted) become("down", "the connection was lost");
      await pause(wait * (0.7 + 0.6 * Math.random()), signal);
      wait = Math.min(wait * 2, 8000);
      // Without an id there is no place to go on from.
      if (!last && on.lost) on.lost();
    }
  })();
}

// Returns the name of the event with which it ended; "": the connection broke off. Something comes every 15 s: a
// connection that is silent for longer is dead.
async function read_events(response, take, controller) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  let timer;
  const watch = () => { clearTimeout(timer); timer = setTimeout(() => controller.abort(), 45000); };
  try {
    while (true) {
      watch();
      const {value, done} = await reader.read();
      if (done) return "";
      buffer += value;
      let end;
      while ((end = buffer.indexOf("\n\n")) >= 0) {
        const event = {name: "message", id: "", data: ""};
        for (const line of buffer.slice(0, end).split("\n")) {
          const colon = line.indexOf(": ");
          if (colon < 1) continue;
          const key = line.slice(0, colon);
          if (key === "event") event.name = line.slice(colon + 2);
          else if (key === "id") event.id = line.slice(colon + 2);
          else if (key === "data") event.data += line.slice(colon + 2);
        }
        buffer = buffer.slice(end + 2);
        if (!event.data) continue;
        event.data = JSON.parse(event.data);
        if (event.name === "error") throw new Refused(event.data.error.code, event.data.error);
        take(event);
        if (event.name === "end") return "end";
      }
    }
  } finally {
    clearTimeout(timer);
    reader.cancel().catch(() => {});
  }
}

// Calls `work` now, and every so often while the page is seen; one at a time. Work that answers with a number is called
// again after so many milliseconds. Returns how to have it called soon.
export function regularly(work, every, signal) {
  let timer;
  let running = false;
  let again = false;
  let began = 0;
  const run = async () => {
    clearTimeout(timer);
    if (signal.aborted) return;
    if (document.hidden) return;
    if (running) { again = true; return; }
    running = true;
    began = performance.now();
    let wait;
    try {
      wait = await work(signal);
    } catch (error) {
      if (!signal.aborted && !(error instanceof Refused) && error.name !== "AbortError" && error.name !== "TimeoutError" && !(error instanceof TypeError)) console.error(error);
    }
    running = false;
    if (signal.aborted) return;
    timer = setTimeout(run, again ? 300 : wait ?? every);
    again = false;
  };
  const wake = () => { if (!document.hidden) run(); };
  document.addEventListener("visibilitychange", wake);
  window.addEventListener("online", wake);
  signal.addEventListener("abort", () => {
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", wake);
    window.removeEventListener("online", wake);
  }, {once: true});
  run();
  return () => {
    if (running) { again = true; return; }
    clearTimeout(timer);
    timer = setTimeout(run, Math.max(150, 2000 - (performance.now() - began)));
  };
}
