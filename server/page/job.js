// One job: its curves, its memory beside that of full rank and beside the card, what it sends, its attempts, events and log.
import {follow, get, post, Refused, regularly} from "./api.js";
import {memory_bars, sum_of} from "./bars.js";
import {Chart, smoothed, ticks} from "./chart.js";
import {command, el, replace, save, svg, table} from "./dom.js";
import {ACTIVE, ago, bytes, clean, count, duration, ENDED, figure, number, time} from "./format.js";
import {show_log} from "./log.js";
import {by_name, points_of} from "./series.js";
import {state_of} from "./states.js";
import {job_yaml} from "./yaml.js";

const SERIES = ["loss", "validation_loss", "learning_rate", "grad_norm", "tokens", "tokens_per_second", "time", "subspace_overlap", "captured_energy", "communication_bytes", "communication.dense_equivalent"];
const OUTCOMES = {SUCCEEDED: "succeeded", FAILED: "failed", LOST: "lost", STOPPED: "stopped"};

function orders(job, id, done) {
  const told = el("span", {role: "status"});
  const order = (word, path, body) => el("button", {type: "button", "data-key": word, onclick: async (event) => {
    event.target.disabled = true;
    told.className = "quiet";
    told.textContent = "asked";
    try {
      await post(`v1/jobs/${encodeURIComponent(id)}:${path}`, body);
      told.textContent = "";
      done();
    } catch (error) {
      told.className = "error";
      told.textContent = error.message;
    }
    event.target.disabled = false;
  }}, word);
  const found = [];
  if (!ENDED.includes(job.state) && job.state !== "CANCELLING") {
    const dialog = el("dialog", {"aria-label": "Cancel the job"},
      el("form", {method: "dialog"}, el("p", {}, `Cancel ${id}? Its checkpoints stay, and it can be resumed.`), el("div", {class: "pager"}, el("button", {value: "keep"}, "Keep it"), el("button", {value: "cancel", class: "strong"}, "Cancel it"))));
    const confirmed = order("Cancel it", "cancel", {reason: "from the page"});
    dialog.addEventListener("close", () => { if (dialog.returnValue === "cancel") confirmed.click(); dialog.returnValue = ""; });
    found.push(el("button", {type: "button", "data-key": "Cancel", onclick: () => dialog.showModal()}, "Cancel"), dialog);
    if (job.state === "QUEUED") found.push(job.held ? order("Release", "release") : order("Hold", "hold", {reason: "from the page"}));
  }
  if (job.state === "FAILED" || job.state === "CANCELLED") found.push(order("Resume", "resume"));
  return [...found, el("a", {class: "button", href: `#/compare?jobs=${encodeURIComponent(id)}`}, "Compare"), told];
}

function facts(job) {
  const progress = job.progress || {};
  const step = number(progress.step);
  const total = number(progress.total_steps) || number(job.job.training && job.job.training.steps);
  const left = step && number(progress.seconds) && ACTIVE.includes(job.state) && number(progress.attempt_steps) ? ((total - step) * number(progress.step_seconds_total)) / number(progress.attempt_steps) : 0;
  const plan = job.plan || {};
  const wire = progress.communication_bytes || {};
  const sent = ["reduce_scatter", "all_gather", "all_reduce", "broadcast", "reduce"].reduce((sum, key) => sum + number(wire[key]), 0);
  const dense = number(progress.communication_dense_bytes);
  const rows = [
    ["steps", total ? `${count(step)} of ${count(total)}${left > 0 ? `, ${duration(left)} left` : ""}` : "–"],
    ["training loss", step ? figure(progress.loss) : job.final_train_loss ? figure(job.final_train_loss) : "–"],
    ["validation loss", job.evaluation && number(job.evaluation.step) ? figure(job.evaluation.validation_loss) : "–"],
    ["throughput", step ? `${count(progress.tokens_per_second)} tokens/s` : "–"],
    ["parameters", number(plan.parameters) ? count(plan.parameters) : "–"],
    ["optimizer memory saved", number(plan.saved_ratio) > 0 ? `${bytes(number(plan.optimizer_full_rank_bytes) * number(plan.saved_ratio))} (${Math.round(number(plan.saved_ratio) * 100)} %)` : "none: full rank"],
  ];
  if (dense && sent) rows.push(["sent per step", `${bytes(sent)}, ${bytes(dense)} if dense`]);
  return el("ul", {class: "facts"}, rows.map(([name, value]) => el("li", {}, el("span", {}, name), " ", el("strong", {}, value))));
}

function largest(ranks) {
  return (ranks || []).reduce((most, rank) => (sum_of(rank.memory) > sum_of(most.memory) ? rank : most), {memory: {}});
}

function memory_of(job, card) {
  const plan = job.plan || {};
  if (!(plan.ranks || []).length) return el("p", {class: "empty"}, "No plan of its memory.");
  const rows = [{name: "This job, as planned", memory: largest(plan.ranks).memory, note: plan.ranks.length > 1 ? `the largest of ${plan.ranks.length} ranks` : ""}];
  if (job.ledger && (job.ledger.ranks || []).length) rows.push({name: "This job, as counted", memory: largest(job.ledger.ranks).memory});
  else if (job.progress && job.progress.memory && sum_of(job.progress.memory)) rows.push({name: "This job, as counted", memory: job.progress.memory});
  for (const other of plan.other_ways || []) rows.push({name: `At full rank: ${other.name}`, memory: other.memory});
  const own = sum_of(rows[0].memory);
  const full = sum_of(((plan.other_ways || [])[0] || {}).memory);
  const said = full > own ? el("p", {class: "said"}, el("strong", {}, bytes(full - own)), ` of each rank are not needed: ${Math.round((1 - own / full) * 100)} % less than at full rank.`) : null;
  return [said, memory_bars(rows, card), number(plan.process_base_bytes) ? el("p", {class: "quiet"}, `Beside it the process takes about ${bytes(plan.process_base_bytes)}.`) : null];
}

function attempts_strip(job, attempts) {
  if (!attempts.length) return el("p", {class: "empty"}, "It has not begun.");
  const begin = number(job.create_time_ms);
  const end = Math.max(begin + 1000, number(job.end_time_ms) || Date.now());
  const at = (ms) => ((ms - begin) / (end - begin)) * 100;
  const bars = attempts.map((attempt) => {
    const from = number(attempt.start_time_ms);
    const until = number(attempt.end_time_ms) || Date.now();
    const outcome = OUTCOMES[attempt.outcome] || "running";
    return svg("rect", {x: `${at(from)}%`, width: `${Math.max(0.4, at(until) - at(from))}%`, y: 0, height: 22, rx: 2, class: `attempt ${outcome}`}, svg("title", {}, `attempt ${attempt.number}: ${outcome}, ${duration((until - from) / 1000)}`));
  });
  return [
    svg("svg", {width: "100%", height: 22, role: "img", "aria-label": `${attempts.length} attempts between ${time(begin)} and ${time(end)}`}, svg("rect", {width: "100%", height: 22, rx: 2, class: "track"}), bars),
    el("div", {class: "ends quiet"}, el("span", {}, `submitted ${time(begin)}`), el("span", {}, number(job.end_time_ms) ? `ended ${time(end)}` : "now")),
    table("Attempts", [{class: "number", text: "attempt"}, "outcome", "began", "lasted", {class: "number", text: "from step"}, {class: "number", text: "to step"}, "workers", "message"], [...attempts].reverse().map((attempt) => [
      {class: "number", text: attempt.number}, OUTCOMES[attempt.outcome] || "running", {text: ago(attempt.start_time_ms), title: time(attempt.start_time_ms)},
      duration(((number(attempt.end_time_ms) || Date.now()) - number(attempt.start_time_ms)) / 1000), {class: "number", text: number(attempt.resumed_from_step)}, {class: "number", text: number(attempt.last_step)},
      {class: "why", text: [...new Set(attempt.workers || [])].join(", ")}, {class: "why", text: clean(attempt.message)}]))];
}

// As a shell takes it as one word.
const quoted = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${clean(text).replaceAll("'", "'\\''")}'`);

function commands(job, id) {
  const folder = job.checkpoint && job.checkpoint.folder;
  const held_out = (job.job.data && job.job.data.validation) || [];
  const found = [];
  if (folder) {
    found.push(el("p", {}, `The newest checkpoint is of step ${number(job.checkpoint.step)}, ${ago(job.checkpoint.time_ms)}.`),
      command(`galleon generate --model ${quoted(folder)} --prompt "Once upon a time"`), command(`galleon evaluate --model ${quoted(folder)} --data ${(held_out.length ? held_out : ["held-out/*.txt"]).map(quoted).join(" ")}`));
  } else {
    found.push(el("p", {class: "empty"}, "No checkpoint yet."));
  }
  if (job.state === "FAILED" || job.state === "CANCELLED") found.push(command(`galleon resume ${id}`));
  found.push(command(`galleon logs -f ${id}`));
  return found;
}

export function show(main, {segments, query, signal}) {
  const id = segments[0];
  let job = null;
  let card = null;
  let metrics = new Map();
  let range = {first_step: undefined, last_step: undefined};
  const settings = {axis: query.get("axis") || "steps", log: query.get("log") === "1", smooth: Number(query.get("smooth") || 0)};
  const head = el("div", {class: "job-head"});
  const order_place = el("div", {class: "orders"});
  let ordered = "";
  const numbers = el("section", {"aria-label": "Figures"});
  const memory = el("div", {});
  const history = el("div", {});
  const events = el("div", {});
  const files = el("div", {});
  const file = el("pre", {class: "file", tabindex: "0", role: "region", "aria-label": "Job file"});
  const log_place = el("div", {});
  const axis = el("select", {id: "axis"}, ["steps", "tokens", "time"].map((value) => el("option", {value, selected: settings.axis === value}, value)));
  const log_scale = el("input", {type: "checkbox", id: "log-scale", checked: settings.log});
  const smooth = el("input", {type: "range", id: "smooth", min: "0", max: "0.98", step: "0.02", value: settings.smooth});
  const all_steps = el("button", {type: "button", class: "quiet", hidden: true}, "Show all steps");
  const told = el("span", {class: "error", role: "status"});
  const on_range = (from, to) => {
    if (from === null) range = {first_step: undefined, last_step: undefined};
    else {
      // The axis may be of tokens or of time; the scheduler knows steps.
      const points = points_of(metrics, "loss", settings.axis).points.filter((p) => p.x >= from && p.x <= to);
      if (points.length < 2) return;
      range = {first_step: points[0].step, last_step: points[points.length - 1].step};
    }
    all_steps.hidden = range.first_step === undefined;
    fetch_metrics();
  };
  const charts = {
    loss: new Chart("Loss", {height: 300, on_range}), rate: new Chart("Learning rate", {on_range}), norm: new Chart("Gradient norm", {on_range}), speed: new Chart("Throughput", {on_range, note: "tokens/s"}),
    subspace: new Chart("Subspaces", {on_range, note: "overlap of successive bases, energy that they keep"}), wire: new Chart("Sent per step", {on_range, note: "by one rank, beside dense gradients"}),
  };
  const wide = el("div", {class: "wide-chart"}, charts.loss.element);
  const small = el("div", {class: "charts"}, charts.rate.element, charts.norm.element, charts.speed.element, charts.subspace.element, charts.wire.element);
  const section = (title, ...content) => el("section", {}, el("h2", {}, title), content);
  main.append(head, order_place, numbers,
    section("Memory", memory),
    el("section", {}, el("div", {class: "with-tools"}, el("h2", {}, "Curves"),
      el("div", {class: "filters"}, el("label", {class: "inline", for: "axis"}, "over ", axis), el("label", {class: "inline", for: "log-scale"}, log_scale, " log scale"), el("label", {class: "inline", for: "smooth"}, "smooth ", smooth), all_steps,
        el("button", {type: "button", class: "quiet", onclick: () => save(`${id}-loss.svg`, "image/svg+xml", charts.loss.file())}, "SVG"),
        el("button", {type: "button", class: "quiet", onclick: () => save(`${id}.csv`, "text/csv", csv())}, "CSV"), told)), wide, small),
    section("Attempts", history), section("Events", events), section("Log", log_place), section("Job file and checkpoints", el("details", {}, el("summary", {}, "Job file"), file), files));

  const csv = () => {
    const names = [...metrics.keys()];
    const rows = new Map();
    for (const name of names) metrics.get(name).steps.forEach((step, i) => { rows.set(number(step), {...rows.get(number(step)), [name]: metrics.get(name).values[i]}); });
    return ["step," + names.join(","), ...[...rows.keys()].sort((a, b) => a - b).map((step) => [step, ...names.map((name) => rows.get(step)[name] ?? "")].join(","))].join("\n") + "\n";
  };

  const x_look = () => {
    if (settings.axis === "tokens") return {x_label: "tokens", x_format: (x) => count(x)};
    if (settings.axis === "time") {
      const zone = (x) => new Date(x).toLocaleString("en-GB", {month: "short", day: "numeric", hour: "2-digit", minute: "2-digit"});
      return {x_label: "time", x_format: zone, x_ticks: (a, b, most) => ticks(a / 60000, b / 60000, Math.max(2, most / 2)).map((m) => m * 60000)};
    }
    return {x_label: "step"};
  };
  const draw = () => {
    const look = x_look();
    const line = (chart, names, options) => {
      const marks = [];
      let bad = 0;
      const series = names.map(([name, shown, extra], i) => {
        const found = points_of(metrics, name, settings.axis);
        marks.push(...found.marks);
        bad += found.not_finite;
        const thin = extra && extra.plain ? {} : {smooth: settings.smooth > 0 ? smoothed(found.points, settings.smooth) : undefined};
        return {name: shown, points: found.points, color: i, ...thin, ...extra};
      }).filter((s) => s.points.length);
      chart.update({...look, series, marks, ...options});
      return bad;
    };
    const bad = line(charts.loss, [["loss", "training"], ["validation_loss", "validation", {plain: true, dots: true, dashes: "7 3"}]], {log: settings.log, legend: true, empty: "No loss was logged yet."});
    told.textContent = bad ? `${bad} values are no finite numbers; they are marked ▼ and left out of the curves.` : "";
    line(charts.rate, [["learning_rate", "learning rate", {plain: true}]], {});
    line(charts.norm, [["grad_norm", "gradient norm"]], {log: settings.log});
    line(charts.speed, [["tokens_per_second", "tokens/s"]], {y_format: count, from_zero: true});
    line(charts.subspace, [["subspace_overlap", "overlap", {plain: true}], ["captured_energy", "energy", {plain: true, dashes: "7 3"}]], {});
    line(charts.wire, [["communication_bytes", "sent", {plain: true}], ["communication.dense_equivalent", "dense", {plain: true, dashes: "7 3"}]], {y_format: bytes, from_zero: true});
    const has = (name) => (metrics.get(name) || {values: []}).values.some((value) => value !== 0);
    charts.subspace.element.hidden = !(has("subspace_overlap") || has("captured_energy"));
    charts.wire.element.hidden = !has("communication.dense_equivalent");
  };
  const keep = () => {
    const parameters = new URLSearchParams();
    if (settings.axis !== "steps") parameters.set("axis", settings.axis);
    if (settings.log) parameters.set("log", "1");
    if (settings.smooth > 0) parameters.set("smooth", String(settings.smooth));
    window.history.replaceState(null, "", `#/jobs/${encodeURIComponent(id)}${parameters.size ? `?${parameters}` : ""}`);
  };
  axis.addEventListener("change", () => { settings.axis = axis.value; keep(); draw(); });
  log_scale.addEventListener("change", () => { settings.log = log_scale.checked; keep(); draw(); });
  smooth.addEventListener("input", () => { settings.smooth = Number(smooth.value); keep(); draw(); });
  all_steps.addEventListener("click", () => on_range(null, null));

  let asked = "";
  const fetch_metrics = async () => {
    const key = JSON.stringify(range);
    asked = key;
    const answer = await get(`v1/jobs/${encodeURIComponent(id)}/metrics`, {series: SERIES, buckets: 400, ...range}, signal);
    if (asked !== key) return;
    metrics = by_name(answer);
    draw();
  };
  let drawn_step = -1;
  let watched = false;
  let looked = Date.now();
  const fresh = regularly(async () => {
    // One that has ended is not watched any more; somebody may have it go on.
    if (job && !watched && Date.now() - looked > 15000) {
      looked = Date.now();
      const now = await get(`v1/jobs/${encodeURIComponent(id)}`, {fields: "state"}, signal);
      if (!ENDED.includes(now.state)) watch();
    }
    const step = job ? `${number(job.progress && job.progress.step)} ${number(job.evaluation && job.evaluation.step)} ${job.state}` : "";
    if (step === drawn_step) return;
    await fetch_metrics();
    drawn_step = step;
  }, 4000, signal);

  let attempts = [];
  let attempts_of = "";
  const fetch_attempts = async () => {
    const key = `${job.attempts} ${job.state} ${job.etag}`;
    if (key === attempts_of) return;
    attempts_of = key;
    try {
      attempts = (await get(`v1/jobs/${encodeURIComponent(id)}/attempts`, {}, signal)).attempts || [];
    } catch (error) {
      attempts_of = "";
      if (!(error instanceof Refused)) return;
    }
    replace(history, attempts_strip(job, attempts));
  };

  const fetch_card = async () => {
    const limit = number(job.plan && job.plan.available_bytes);
    if (limit) { card = {bytes: limit, name: "limit of a rank (resources.memory_per_rank)"}; return; }
    const worker = job.attempt && (job.attempt.workers || [])[0];
    if (!worker || card) return;
    card = {bytes: 0};
    try {
      const found = await get(`v1/workers/${encodeURIComponent(worker.replace(/^workers\//, ""))}`, {fields: "devices.memory_bytes,devices.name,devices.kind"}, signal);
      const device = (found.devices || [])[0] || {};
      card = number(device.memory_bytes) ? {bytes: number(device.memory_bytes), name: `memory of ${device.name || device.kind || "the device"}`} : {bytes: 0};
      replace(memory, memory_of(job, card.bytes ? card : null));
    } catch {
      // Not every viewer may see workers.
    }
  };

  const told_events = [];
  const tell_events = () => {
    replace(events, told_events.length ? el("ol", {class: "plain events"}, [...told_events].reverse().map((event) => el("li", {}, el("time", {datetime: new Date(number(event.time_ms)).toISOString(), class: "quiet"}, time(event.time_ms)), " ", el("strong", {}, (event.kind || "").replaceAll("_", " ")), " ", clean(event.message), event.actor ? el("span", {class: "quiet"}, ` by ${clean(event.actor)}`) : null)))
      : el("p", {class: "empty"}, "No events are kept."));
  };

  const tell_log = show_log(log_place, id, () => job, signal);
  const take = (record) => {
    job = record;
    replace(head, el("p", {class: "crumbs"}, el("a", {href: "#/jobs"}, "Jobs"), job.group ? [" / ", el("a", {href: `#/compare?group=${encodeURIComponent(job.group)}`}, `sweep ${job.group}`)] : null),
      el("h1", {}, id, " ", state_of(job)),
      job.message ? el("p", {class: job.state === "FAILED" ? "error" : "why"}, clean(job.message)) : null,
      el("p", {class: "quiet"}, [job.owner && `by ${job.owner}`, `in ${job.queue || "default"}`, `submitted ${ago(job.create_time_ms)}`, job.job.note ? clean(job.job.note) : "", ...Object.entries(job.job.labels || {}).map(([k, v]) => `${k}=${v}`)].filter(Boolean).join(" · ")));
    // Who is being asked something must not lose the question.
    const given = `${job.state} ${job.held}`;
    if (given !== ordered && !order_place.querySelector("dialog[open]")) {
      ordered = given;
      order_place.replaceChildren(...orders(job, id, () => { looked = 0; fresh(); }));
    }
    replace(numbers, facts(job));
    replace(memory, memory_of(job, card && card.bytes ? card : null));
    const yaml = job_yaml(job.job);
    if (file.textContent !== yaml) file.textContent = yaml;
    replace(files, commands(job, id));
    fetch_attempts().catch(() => {});
    fetch_card().catch(() => {});
    tell_log(job);
    fresh();
  };
  const gone = (error) => replace(head, el("h1", {}, id), el("p", {class: "error"}, error.message), el("p", {}, el("a", {href: "#/jobs"}, "All jobs")));
  let known = 0;
  // Its past, then what comes, then — where it has ended — nothing more.
  get(`v1/jobs/${encodeURIComponent(id)}`, {}, signal).then(take).catch((error) => { if (error instanceof Refused && error.status !== 401) gone(error); });
  const from = {after_revision: 1};
  const watch = () => {
    if (watched) return;
    watched = true;
    follow(`v1/jobs/${encodeURIComponent(id)}/watch`, from, {
      job: (data) => {
        for (const event of data.events || []) {
          if (number(event.revision) <= known) continue;
          known = number(event.revision);
          told_events.push(event);
        }
        tell_events();
        take(data.job);
      },
      end: () => { watched = false; },
      too_old: () => { from.after_revision = 0; },
      refused: (error) => { if (error.status === 404) gone(error); else if (error.status !== 401) told.textContent = error.message; },
    }, signal);
  };
  watch();
}
