// All jobs, in pages; the scheduler filters, so that ten thousand are as quick as ten.
import {follow, get, regularly} from "./api.js";
import {el, replace, table} from "./dom.js";
import {ago, clean, figure, number, SHOWN_STATES, time} from "./format.js";
import {job_link, state_of} from "./states.js";

const PAGE = 50;
const FIELDS = ["next_page_token", ...["job_id", "state", "message", "queue", "owner", "group", "held", "create_time_ms", "end_time_ms", "progress.step", "progress.total_steps", "progress.loss", "evaluation.validation_loss", "final_train_loss", "job.labels"].map((name) => `jobs.${name}`)];

export function show(main, {query, signal}) {
  const chosen = new Set();
  // The tokens of the pages before this one.
  let before = [];
  let token = "";
  const filter = {contains: query.get("contains") || "", states: query.get("states") || "", queue: query.get("queue") || "", group: query.get("group") || ""};
  const text = el("input", {type: "search", id: "contains", value: filter.contains, placeholder: "name, owner, queue, label=value", spellcheck: "false"});
  const states = el("select", {id: "states"}, el("option", {value: ""}, "any state"), Object.entries(SHOWN_STATES).map(([value, word]) => el("option", {value, selected: filter.states === value}, word)));
  const told = el("p", {class: "quiet", role: "status"});
  const list = el("div", {});
  let next = "";
  const turn = (to, stack) => {
    token = to;
    before = stack;
    load().catch(() => {});
    window.scrollTo(0, 0);
  };
  const newer = el("button", {type: "button", hidden: true, onclick: () => turn(before[before.length - 1], before.slice(0, -1))}, "Newer");
  const older = el("button", {type: "button", hidden: true, onclick: () => turn(next, [...before, token])}, "Older");
  const pager = el("div", {class: "pager"}, newer, older);
  const compare = el("a", {class: "button", href: "#/compare", hidden: true}, "Compare");
  const more = [filter.queue && `queue ${filter.queue}`, filter.group && `group ${filter.group}`].filter(Boolean);
  main.append(el("h1", {}, "Jobs"),
    el("form", {class: "filters", role: "search", onsubmit: (event) => event.preventDefault()},
      el("div", {}, el("label", {for: "contains"}, "Filter"), text),
      el("div", {}, el("label", {for: "states"}, "State"), states),
      more.length ? el("p", {}, more.join(", "), " ", el("a", {href: "#/jobs"}, "show all")) : null, compare), told, list, pager);

  const choose = (id, on) => {
    if (on) chosen.add(id);
    else chosen.delete(id);
    compare.hidden = chosen.size === 0;
    compare.textContent = `Compare ${chosen.size}`;
    compare.setAttribute("href", `#/compare?jobs=${[...chosen].map(encodeURIComponent).join(",")}`);
  };

  const load = async () => {
    const asked = JSON.stringify([filter, token]);
    let page;
    try {
      page = await get("v1/jobs", {...filter, page_size: PAGE, page_token: token, fields: FIELDS}, signal);
    } catch (error) {
      if (error.status && error.status !== 401) replace(told, el("span", {class: "error"}, error.message));
      throw error;
    }
    // The filter may have changed meanwhile.
    if (asked !== JSON.stringify([filter, token])) return soon();
    const jobs = page.jobs || [];
    const narrowed = Object.values(filter).some(Boolean);
    told.textContent = jobs.length ? `${before.length * PAGE + 1} to ${before.length * PAGE + jobs.length}, the newest first` : "";
    const rows = jobs.map((job) => {
      const step = number(job.progress && job.progress.step);
      const total = number(job.progress && job.progress.total_steps);
      const loss = job.evaluation && job.evaluation.validation_loss !== undefined ? job.evaluation.validation_loss : step ? job.progress.loss : job.final_train_loss;
      const box = el("input", {type: "checkbox", "aria-label": `Choose ${job.job_id} to compare`, "data-key": `box-${job.job_id}`});
      box.checked = chosen.has(job.job_id);
      box.addEventListener("change", () => choose(job.job_id, box.checked));
      return [box, job_link(job.job_id), state_of(job), {class: "number", text: total ? `${step} / ${total}` : ""}, {class: "number", text: loss === undefined ? "" : figure(loss)},
        {text: ago(job.create_time_ms), title: time(job.create_time_ms)}, job.owner || "", job.queue || "",
        {class: "why", text: [Object.entries((job.job && job.job.labels) || {}).map(([key, value]) => `${key}=${value}`).join(" "), clean(job.message)].filter(Boolean).join(" · ")}];
    });
    replace(list, rows.length ? table("Jobs", [{text: "", title: "compare"}, "job", "state", {class: "number", text: "steps"}, {class: "number", text: "loss"}, "submitted", "owner", "queue", "note"], rows)
      : el("p", {class: "empty"}, narrowed ? "No job is like that. " : "No job yet. ", narrowed ? el("a", {href: "#/jobs"}, "Show all") : el("code", {}, "galleon submit job.yaml")));
    for (const box of list.querySelectorAll("input[type=checkbox]")) box.checked = chosen.has(box.getAttribute("data-key").slice(4));
    next = page.next_page_token || "";
    newer.hidden = before.length === 0;
    older.hidden = next === "";
  };
  const soon = regularly(load, 8000, signal);

  let timer;
  const filtered = () => {
    filter.contains = text.value.trim();
    filter.states = states.value;
    token = "";
    before = [];
    const parameters = new URLSearchParams(Object.entries(filter).filter(([, value]) => value));
    // Without another view: what is typed goes on.
    history.replaceState(null, "", `#/jobs${parameters.size ? `?${parameters}` : ""}`);
    load().catch(() => {});
  };
  text.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(filtered, 250); });
  states.addEventListener("change", filtered);
  signal.addEventListener("abort", () => clearTimeout(timer));
  follow("v1/events", {from_now: true, revision_only: true}, {events: soon, lost: soon, refused: () => {}}, signal);
}
