// What goes on: the slots, what runs, what waits and why, what failed lately, and how much memory is not needed.
import {all, follow, get, Refused, regularly} from "./api.js";
import {el, replace, svg, table} from "./dom.js";
import {ago, bytes, clean, count, duration, figure, number, time} from "./format.js";
import {job_link, state_of} from "./states.js";

const OF_WORKER = ["worker_id", "state", "message", "slots", "slots_used", "devices.healthy", "devices.fault", "devices.kind", "devices.name", "devices.memory_bytes", "attempts", "host", "order_reason"];
const OF_JOB = ["job_id", "state", "message", "queue", "owner", "held", "hold_reason", "queue_position", "create_time_ms", "start_time_ms", "end_time_ms", "start_estimate_ms", "progress.step", "progress.total_steps", "progress.loss", "progress.tokens_per_second", "progress.seconds",
  "stage.name", "stage.detail", "plan.optimizer_full_rank_bytes", "plan.saved_ratio", "job.parallel.ranks", "attempt.message"];
const fields = (list, names) => ["next_page_token", ...names.map((name) => `${list}.${name}`)];
const MOST_TILES = 2000;
const AGE = 1;  // seconds that what is shown may be old: pages that hear of the same change share what is read for them

function tiles(workers) {
  let drawn = 0;
  return workers.map((worker) => {
    const slots = number(worker.slots);
    const held = worker.attempts || [];
    const away = ["UNREACHABLE", "GONE"].includes(worker.state);
    const closed = ["CORDONED", "DRAINING", "DRAINED"].includes(worker.state);
    const cells = [];
    for (let i = 0; i < slots && drawn < MOST_TILES; ++i, ++drawn) {
      const device = (worker.devices || [])[i] || {};
      const sick = device.fault || (worker.devices && worker.devices.length && device.healthy !== true);
      const attempt = i < number(worker.slots_used) ? held[i] || "" : null;
      const job = attempt ? attempt.split("/")[1] : "";
      const kind = sick ? "sick" : away ? "away" : attempt !== null ? "used" : closed ? "closed" : "free";
      const said = sick ? `slot ${i}: not healthy${device.fault ? `, ${clean(device.fault)}` : ""}` : attempt !== null ? `slot ${i}: ${job || "in use"}` : `slot ${i}: ${kind === "free" ? "free" : worker.state.toLowerCase()}`;
      const mark = {sick: "!", away: "?", closed: "–", free: "", used: ""}[kind];
      cells.push(job ? el("a", {class: `tile ${kind}`, href: `#/jobs/${encodeURIComponent(job)}`, title: said, "aria-label": said}, mark) : el("span", {class: `tile ${kind}`, title: said, role: "img", "aria-label": said}, mark));
    }
    const why = worker.order_reason || (worker.state === "READY" ? "" : worker.message);
    const cards = [...new Set((worker.devices || []).map((d) => d.name || d.kind).filter(Boolean))].join(", ");
    return el("li", {class: "worker"},
      el("div", {class: "worker-name"}, el("strong", {}, worker.worker_id), worker.state === "READY" ? null : el("span", {class: "badge"}, (worker.state || "").toLowerCase()), el("span", {class: "quiet"}, `${number(worker.slots_used)} of ${slots}${cards ? ` · ${clean(cards)}` : ""}`)),
      el("div", {class: "tiles"}, cells),
      why ? el("div", {class: "quiet"}, clean(why)) : null);
  });
}

function shares(queues) {
  const slots = Math.max(1, ...queues.map((q) => Math.max(number(q.slots_used), number(q.guaranteed_slots), number(q.fair_share_slots))));
  return el("div", {class: "shares"}, queues.map((queue) => {
    const used = number(queue.slots_used);
    const fair = number(queue.fair_share_slots);
    const said = `${queue.queue_id}: ${used} slots used, share ${figure(fair)}, ${number(queue.queued)} jobs wait`;
    return el("div", {class: "share"},
      el("div", {class: "bar-name"}, el("span", {}, el("a", {href: `#/jobs?queue=${encodeURIComponent(queue.queue_id)}`}, queue.queue_id), queue.configured === false ? " (not configured)" : ""), el("span", {class: "quiet"}, `${used} used · share ${figure(Math.round(fair * 10) / 10)} · ${number(queue.queued)} waiting`)),
      svg("svg", {width: "100%", height: 10, role: "img", "aria-label": said},
        svg("rect", {width: "100%", height: 10, rx: 3, class: "track"}),
        svg("rect", {width: `${(used / slots) * 100}%`, height: 10, rx: 3, class: "used-fill"}),
        fair ? svg("line", {x1: `${Math.min(99.5, (fair / slots) * 100)}%`, x2: `${Math.min(99.5, (fair / slots) * 100)}%`, y1: 0, y2: 10, class: "card"}) : null));
  }));
}

// Optimizer states that the jobs that hold slots would have at full rank, and have not.
function saved(running) {
  let full = 0;
  let kept = 0;
  for (const job of running) {
    const bytes_full = number(job.plan && job.plan.optimizer_full_rank_bytes);
    full += bytes_full;
    kept += bytes_full * (1 - number(job.plan && job.plan.saved_ratio));
  }
  return full > 0 ? {full, kept} : null;
}

function headline(running, workers) {
  const slots = workers.filter((w) => !["UNREACHABLE", "GONE"].includes(w.state)).reduce((sum, w) => sum + number(w.slots), 0);
  const used = workers.reduce((sum, w) => sum + number(w.slots_used), 0);
  const found = saved(running);
  const speed = running.reduce((sum, job) => sum + number(job.progress && job.progress.tokens_per_second), 0);
  return el("div", {class: "headline"},
    el("div", {class: "fact wide"}, found ? [
      el("span", {class: "figure"}, bytes(Math.max(0, found.full - found.kept))),
      el("span", {}, "of optimizer memory not needed by what runs now"),
      svg("svg", {width: "100%", height: 12, role: "img", "aria-label": `optimizer states ${bytes(found.kept)} of ${bytes(found.full)} at full rank`},
        svg("rect", {width: "100%", height: 12, rx: 3, class: "ghost"}), svg("rect", {width: `${Math.min(100, (found.kept / found.full) * 100)}%`, height: 12, rx: 3, class: "m2"})),
      el("span", {class: "quiet"}, `${bytes(found.kept)} held; ${bytes(found.full)} at full rank`)] : [
      el("span", {class: "figure"}, "–"), el("span", {}, "Nothing runs now, so no memory is saved.")]),
    el("div", {class: "fact"}, el("span", {class: "figure"}, `${used} / ${slots}`), el("span", {}, "slots in use")),
    el("div", {class: "fact"}, el("span", {class: "figure"}, speed ? count(speed) : "0"), el("span", {}, "tokens each second")));
}

function running_rows(jobs) {
  return jobs.map((job) => {
    const step = number(job.progress && job.progress.step);
    const total = number(job.progress && job.progress.total_steps);
    return [
      job_link(job.job_id),
      state_of(job),
      total ? el("span", {class: "progress"}, el("progress", {max: total, value: step, "aria-label": `${job.job_id}: ${step} of ${total} steps`}), ` ${count(step)} / ${count(total)}`) : clean((job.stage && (job.stage.detail || job.stage.name)) || ""),
      {class: "number", text: step ? figure(job.progress.loss) : ""},
      {class: "number", text: step ? count(job.progress.tokens_per_second) : ""},
      {class: "number", text: job.plan && number(job.plan.saved_ratio) > 0 ? bytes(number(job.plan.optimizer_full_rank_bytes) * number(job.plan.saved_ratio)) : "–"},
      job.owner || "", job.queue || ""];
  });
}

function waiting_rows(jobs) {
  return [...jobs].sort((a, b) => (number(a.queue_position) || 1e9) - (number(b.queue_position) || 1e9)).map((job) => [
    {class: "number", text: job.queue_position || ""}, job_link(job.job_id), {class: "why", text: clean(job.held ? `held: ${job.hold_reason || "no reason given"}` : job.message)},
    {text: number(job.start_estimate_ms) ? `in ${duration((number(job.start_estimate_ms) - Date.now()) / 1000)}` : "", title: time(job.start_estimate_ms)},
    {text: ago(job.create_time_ms), title: time(job.create_time_ms)}, job.owner || "", job.queue || ""]);
}

export function show(main, {signal}) {
  const top = el("section", {"aria-label": "Overview"});
  const slots = el("section", {}, el("h2", {}, "Slots"));
  const strip = el("ul", {class: "workers"});
  const key = el("p", {class: "quiet key"}, ["used", "free", "closed", "away", "sick"].map((kind) => [el("span", {class: `tile small ${kind}`, "aria-hidden": "true"}), {used: " used ", free: " free ", closed: " drained ", away: " not reachable ", sick: " not healthy "}[kind]]));
  slots.append(strip, key);
  const running = el("section", {});
  const waiting = el("section", {});
  const failed = el("section", {});
  const queues = el("section", {});
  main.append(el("h1", {}, "Now"), top, slots, running, el("div", {class: "columns"}, waiting, el("div", {}, queues, failed)));

  // What changes with an event alone is asked for when there was one, and now and then.
  let known = null;
  let asked = 0;
  let told = false;
  let heard = 0;
  let hears = true;
  let pause = 1500;
  const load = async () => {
    const since = Date.now() - asked;
    const whole = known === null || !hears || since > 30000 || (told && since > pause);
    // The first change is shown at once; where they do not end, in ever longer steps.
    if (whole) pause = told && since < 2 * pause + 3000 ? Math.min(2 * pause, 16000) : 1500;
    // What is read just after a change may be of before it: then it is read once more.
    if (whole && Date.now() - heard > 1000 * AGE) told = false;
    const list = (states, page_size) => get("v1/jobs", {states, page_size, fields: fields("jobs", OF_JOB)}, signal, AGE);
    let results;
    try {
      const active = list(["RUNNING", "STARTING", "RESERVED", "PREEMPTING", "CANCELLING"], 200);
      results = !whole ? [known[0], known[1], await active, known[3], known[4]] : await Promise.all([
        all("v1/workers", "workers", {fields: fields("workers", OF_WORKER)}, 5000, signal, AGE).catch((error) => { if (error instanceof Refused && error.status === 403) return null; throw error; }),
        all("v1/queues", "queues", {}, 1000, signal, AGE),
        active, list(["QUEUED"], 50), list(["FAILED"], 8)]);
      known = results;
      if (whole) asked = Date.now();
    } catch (error) {
      told = told || whole;
      if (error instanceof Refused && error.status !== 401) replace(top, el("p", {class: "error"}, error.message));
      throw error;
    }
    const [workers, all_queues, active, queued, ended] = results;
    const jobs = active.jobs || [];
    replace(top, headline(jobs, workers || []));
    // Those of which something is known now come first.
    const there = (workers || []).filter((worker) => worker.state !== "GONE").sort((a, b) => (a.state === "UNREACHABLE") - (b.state === "UNREACHABLE"));
    replace(strip, workers === null ? el("li", {class: "empty"}, "Workers are seen by viewers of every project alone.") : there.length ? tiles(there) : el("li", {class: "empty"}, "No worker yet. Start one on a machine with a GPU or free processors: ", el("code", {}, "galleon-worker --server HOST:PORT --data FOLDER --slots 1 --allow FOLDER")));
    key.hidden = !there.length;
    replace(running, el("h2", {}, "Running ", el("span", {class: "quiet"}, jobs.length + (active.next_page_token ? "+" : ""))),
      jobs.length ? table("Running jobs", ["job", "state", "steps", {class: "number", text: "loss"}, {class: "number", text: "tokens/s"}, {class: "number", text: "memory saved"}, "owner", "queue"], running_rows(jobs))
        : el("p", {class: "empty"}, "Nothing runs. ", el("code", {}, "galleon submit job.yaml"), " hands a job over."));
    const waits = queued.jobs || [];
    const total = all_queues.reduce((sum, queue) => sum + number(queue.queued), 0);
    replace(waiting, el("h2", {}, "Waiting ", el("span", {class: "quiet"}, total || waits.length)),
      waits.length ? [table("Waiting jobs", [{class: "number", text: "next"}, "job", "waits for", "expected", "submitted", "owner", "queue"], waiting_rows(waits)),
        total > waits.length ? el("p", {}, el("a", {href: "#/jobs?states=QUEUED"}, `All ${total} that wait`)) : null]
        : el("p", {class: "empty"}, "Nothing waits."));
    replace(queues, el("h2", {}, "Queues"), shares(all_queues));
    const bad = ended.jobs || [];
    replace(failed, el("h2", {}, "Failed lately"),
      bad.length ? el("ul", {class: "plain"}, bad.map((job) => el("li", {}, job_link(job.job_id), " ", el("span", {class: "quiet", title: time(job.end_time_ms)}, ago(job.end_time_ms)), el("div", {class: "why"}, clean(job.message)))))
        : el("p", {class: "empty"}, "Nothing failed."));
    return told ? 1500 : undefined;
  };
  const soon = regularly(load, 5000, signal);
  // Changes are heard of at once; progress, which is not stored, by looking.
  const changed = () => {
    told = true;
    heard = Date.now();
    soon();
  };
  follow("v1/events", {from_now: true, revision_only: true}, {events: changed, lost: changed, refused: () => { hears = false; }}, signal);
}
