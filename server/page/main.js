// Which view is shown: the part of the address behind '#', so that each view has a link of its own.
import {has_token, link, set_token} from "./api.js";
import {el, replace} from "./dom.js";

const VIEWS = [
  [/^\/$/, () => import("./now.js"), "Now"],
  [/^\/jobs$/, () => import("./jobs.js"), "Jobs"],
  [/^\/jobs\/([^/]+)$/, () => import("./job.js"), "Job"],
  [/^\/compare$/, () => import("./compare.js"), "Compare"],
];

const main = document.getElementById("main");
const notice = document.getElementById("notice");
const status = document.getElementById("link");
const token_button = document.getElementById("token");
let open = new AbortController();
let shown = "";

function place() {
  const text = location.hash.slice(1) || "/";
  const mark = text.indexOf("?");
  return {path: mark < 0 ? text : text.slice(0, mark), query: new URLSearchParams(mark < 0 ? "" : text.slice(mark + 1))};
}

async function show() {
  const {path, query} = place();
  const found = VIEWS.map(([shape, load, title]) => ({match: shape.exec(path), load, title})).find(({match}) => match);
  // A view that only changes its own query does so itself.
  open.abort();
  open = new AbortController();
  const signal = open.signal;
  for (const anchor of document.querySelectorAll("nav a")) {
    const target = anchor.getAttribute("href").slice(1);
    const here = target === "/" ? path === "/" : path.startsWith(target);
    if (here) anchor.setAttribute("aria-current", "page");
    else anchor.removeAttribute("aria-current");
  }
  const another = path !== shown;
  shown = path;
  if (!found) {
    document.title = "Galleon";
    replace(main, el("h1", {}, "Nothing is here"), el("p", {}, "There is no such view. ", el("a", {href: "#/"}, "Now"), " shows what goes on."));
    return;
  }
  let decoded = [];
  try {
    decoded = found.match.slice(1).map(decodeURIComponent);
  } catch {
    location.hash = "#/";
    return;
  }
  document.title = (decoded[0] ? `${decoded[0]} · ` : `${found.title} · `) + "Galleon";
  const module = await found.load();
  if (signal.aborted) return;
  if (another) window.scrollTo(0, 0);
  main.replaceChildren();
  module.show(main, {segments: decoded, query, signal});
  if (another && document.activeElement !== document.body) main.focus({preventScroll: true});
}

function ask_for_token(why) {
  token_button.hidden = false;
  const input = el("input", {type: "password", id: "token-input", autocomplete: "off", spellcheck: "false", required: true});
  const form = el("form", {class: "token-form", onsubmit: (event) => {
    event.preventDefault();
    set_token(input.value);
    notice.hidden = true;
    replace(notice);
    show();
  }},
  el("p", {}, has_token() ? "This token is not known here." : "This server asks who you are.", " ", el("span", {class: "quiet"}, "The token stays in this tab, and is sent in a header alone.")),
  el("label", {for: "token-input"}, "Token"), input, el("button", {type: "submit"}, "Use it"));
  if (notice.querySelector("form")) return;
  notice.className = "asks";
  notice.hidden = false;
  replace(notice, form);
  if (why) notice.title = why;
}

token_button.addEventListener("click", () => { replace(notice); ask_for_token(); document.getElementById("token-input").focus(); });

link.addEventListener("state", ({detail}) => {
  const {state, why} = detail;
  document.documentElement.dataset.link = state;
  if (state === "token") return ask_for_token(why);
  if (has_token()) token_button.hidden = false;
  status.textContent = state === "down" ? "Not connected" : "Live";
  if (state === "down") {
    notice.className = "down";
    notice.hidden = false;
    replace(notice, el("p", {}, `What is shown is not the newest: ${why}. It is tried again by itself.`));
  } else if (notice.className === "down" || notice.className === "") {
    notice.hidden = true;
    replace(notice);
  }
});

window.addEventListener("hashchange", show);
show();
