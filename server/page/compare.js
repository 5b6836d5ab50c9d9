// Several jobs, or a sweep: their curves over one another, the settings in which they differ, the best first.
import {all, get, Refused, regularly} from "./api.js";
import {Chart, dash_of, smoothed} from "./chart.js";
import {el, replace, save, table} from "./dom.js";
import {bytes, clean, count, ENDED, figure, number} from "./format.js";
import {by_name, points_of} from "./series.js";
import {job_link, state_of} from "./states.js";
import {flat} from "./yaml.js";

const MOST = 32;
const SERIES = ["loss", "validation_loss", "tokens", "time"];
// Of a job, not of what it learns.
const NOT_SETTINGS = /^(name|note|labels\..*|scheduling\.after|checkpoint\.directory|tracking\..*)$/;

const last_of = (points) => points.filter((p) => Number.isFinite(p.y)).map((p) => p.y).pop();
const best_of = (points) => points.reduce((best, p) => (Number.isFinite(p.y) && !(best <= p.y) ? p.y : best), undefined);

export function show(main, {query, signal}) {
  const group = query.get("group") || "";
  let ids = (query.get("jobs") || "").split(",").filter(Boolean);
  const settings = {axis: query.get("axis") || "steps", log: query.get("log") === "1", smooth: Number(query.get("smooth") || 0), value: query.get("value") || ""};
  const found = new Map();  // by id: {job, named}
  const axis = el("select", {id: "axis"}, ["steps", "tokens", "time"].map((value) => el("option", {value, selected: settings.axis === value}, value)));
  const value = el("select", {id: "value"}, [["", "validation, else training"], ["loss", "training loss"], ["validation_loss", "validation loss"]].map(([v, word]) => el("option", {value: v, selected: settings.value === v}, word)));
  const log_scale = el("input", {type: "checkbox", id: "log-scale", checked: settings.log});
  const smooth = el("input", {type: "range", id: "smooth", min: "0", max: "0.98", step: "0.02", value: settings.smooth});
  const add = el("input", {type: "text", id: "add", placeholder: "a job's id", spellcheck: "false"});
  const told = el("p", {class: "quiet", role: "status"});
  const chart = new Chart("Loss", {height: 380, level: "h2"});
  const best = el("div", {});
  main.append(el("h1", {}, group ? `Sweep ${group}` : "Compare"),
    el("form", {class: "filters", onsubmit: (event) => { event.preventDefault(); const id = add.value.trim(); if (id && !ids.includes(id)) { ids.push(id); keep(); } add.value = ""; soon(); }},
      el("div", {}, el("label", {for: "value"}, "Curve"), value), el("div", {}, el("label", {for: "axis"}, "Over"), axis),
      el("label", {class: "inline", for: "log-scale"}, log_scale, " log scale"), el("label", {class: "inline", for: "smooth"}, "smooth ", smooth),
      group ? null : el("div", {}, el("label", {for: "add"}, "Add"), add),
      el("button", {type: "button", class: "quiet", onclick: () => save("compare.svg", "image/svg+xml", chart.file(960, 480 + 20 * Math.ceil(found.size / 3)))}, "SVG"),
      el("button", {type: "button", class: "quiet", onclick: () => save("compare.csv", "text/csv", csv())}, "CSV")),
    told, el("div", {class: "wide-chart"}, chart.element), best);
  let rows = [];
  let keys = [];

  const cell = (text) => (/[",\n]/.test(text) || /^[=+\-@]/.test(text) && Number.isNaN(Number(text)) ? `"${String(text).replaceAll('"', '""')}"` : String(text));
  const csv = () => [["job", "state", ...keys, "steps", "training_loss", "validation_loss", "memory_bytes"].map(cell).join(","),
    ...rows.map((row) => [row.id, row.job.state, ...keys.map((key) => row.settings[key] ?? ""), row.step, row.training ?? "", row.validation ?? "", row.memory].map((v) => cell(String(v))).join(","))].join("\n") + "\n";

  const keep = () => {
    const parameters = new URLSearchParams();
    if (group) parameters.set("group", group);
    else parameters.set("jobs", ids.join(","));
    if (settings.axis !== "steps") parameters.set("axis", settings.axis);
    if (settings.log) parameters.set("log", "1");
    if (settings.smooth > 0) parameters.set("smooth", String(settings.smooth));
    if (settings.value) parameters.set("value", settings.value);
    history.replaceState(null, "", `#/compare?${parameters}`);
  };

  const draw = () => {
    const settings_of = new Map([...found].map(([id, {job}]) => [id, Object.fromEntries(Object.entries(flat(job.job)).filter(([key]) => !NOT_SETTINGS.test(key)))]));
    const every = new Set([...settings_of.values()].flatMap((s) => Object.keys(s)));
    keys = [...every].filter((key) => new Set([...settings_of.values()].map((s) => s[key] ?? "")).size > 1);
    rows = [...found].map(([id, {job, named}]) => {
      const training = points_of(named, "loss", settings.axis);
      const validation = points_of(named, "validation_loss", settings.axis);
      const plan = job.plan || {};
      return {id, job, settings: settings_of.get(id), training_points: training.points, validation_points: validation.points, marks: [...training.marks, ...validation.marks],
        training: last_of(training.points) ?? (job.final_train_loss || undefined), validation: last_of(validation.points) ?? (job.evaluation && number(job.evaluation.step) ? job.evaluation.validation_loss : undefined),
        best: best_of(validation.points), step: number(job.progress && job.progress.step), memory: Math.max(0, ...(plan.ranks || []).map((rank) => number(rank.peak_bytes)))};
    });
    const by_validation = rows.length > 0 && rows.every((row) => row.validation !== undefined);
    const rank = (row) => (by_validation ? row.validation : row.training) ?? Infinity;
    rows.sort((a, b) => rank(a) - rank(b) || (a.id < b.id ? -1 : 1));
    const shown = settings.value || (by_validation ? "validation_loss" : "loss");
    const look = settings.axis === "tokens" ? {x_label: "tokens", x_format: count} : settings.axis === "time" ? {x_label: "time", x_format: (x) => new Date(x).toLocaleString("en-GB", {day: "numeric", month: "short", hour: "2-digit", minute: "2-digit"})} : {x_label: "step"};
    chart.update({...look, log: settings.log, legend: true, marks: rows.flatMap((row) => row.marks), empty: rows.length ? "None of them has logged a loss." : "Choose jobs in the list, or add them by their ids.",
      series: rows.map((row, i) => {
        const points = shown === "loss" ? row.training_points : row.validation_points;
        return {name: row.id, href: `#/jobs/${encodeURIComponent(row.id)}`, points, color: i, dashes: dash_of(i), dots: shown === "validation_loss" && points.length < 40, smooth: settings.smooth > 0 && shown === "loss" ? smoothed(points, settings.smooth) : undefined};
      }).filter((line) => line.points.length)});
    replace(best, rows.length ? table("Compared jobs, the best first", ["job", "state", ...keys.map((key) => key.split(".").slice(-2).join(".")), {class: "number", text: "steps"}, {class: "number", text: "training loss"}, {class: "number", text: "validation loss"}, {class: "number", text: "memory of a rank"}, ""],
      rows.map((row, i) => [job_link(row.id), state_of(row.job), ...keys.map((key) => clean(row.settings[key] ?? "–")), {class: "number", text: row.step}, {class: "number", text: row.training === undefined ? "–" : figure(row.training)},
        {class: i === 0 && by_validation ? "number best" : "number", text: row.validation === undefined ? "–" : figure(row.validation)}, {class: "number", text: row.memory ? bytes(row.memory) : "–"},
        group ? "" : el("button", {type: "button", class: "quiet", "data-key": `off-${row.id}`, "aria-label": `Take ${row.id} out`, onclick: () => { ids = ids.filter((id) => id !== row.id); found.delete(row.id); keep(); draw(); }}, "✕")])) : []);
  };
  for (const [control, take] of [[axis, () => { settings.axis = axis.value; }], [value, () => { settings.value = value.value; }], [log_scale, () => { settings.log = log_scale.checked; }], [smooth, () => { settings.smooth = Number(smooth.value); }]])
    control.addEventListener(control === smooth ? "input" : "change", () => { take(); keep(); draw(); });

  const load = async () => {
    const notes = [];
    if (group) {
      try {
        ids = (await all("v1/jobs", "jobs", {group, fields: "next_page_token,jobs.job_id"}, 1000, signal)).map((job) => job.job_id).reverse();
      } catch (error) {
        if (error instanceof Refused) replace(told, el("span", {class: "error"}, error.message));
        throw error;
      }
    }
    if (ids.length > MOST) notes.push(`${ids.length} jobs are more than fit one picture: the first ${MOST} are shown.`);
    for (const id of ids.slice(0, MOST)) {
      const known = found.get(id);
      if (known && ENDED.includes(known.job.state)) continue;
      try {
        const [job, metrics] = await Promise.all([get(`v1/jobs/${encodeURIComponent(id)}`, {}, signal), get(`v1/jobs/${encodeURIComponent(id)}/metrics`, {series: SERIES, buckets: 200}, signal)]);
        found.set(id, {job, named: by_name(metrics)});
      } catch (error) {
        if (!(error instanceof Refused) || error.status === 401) throw error;
        notes.push(error.message);
      }
    }
    told.textContent = notes.join(" ");
    draw();
  };
  const soon = regularly(load, 6000, signal);
}
