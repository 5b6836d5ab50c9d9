// A log of one rank: its end at first, earlier parts when they are asked for, what comes as it comes; search in what is here.
import {get, regularly} from "./api.js";
import {el, replace} from "./dom.js";
import {clean, number} from "./format.js";

const MOST = 2 << 20;  // characters that are kept on the page

export function show_log(place, id, job_of, signal) {
  let attempt = 0;
  let rank = 0;
  let first = 0;
  let next = 0;
  let text = "";
  const attempts = el("select", {id: "log-attempt", "aria-label": "Attempt"});
  const ranks = el("select", {id: "log-rank", "aria-label": "Rank"});
  const search = el("input", {type: "search", id: "log-search", placeholder: "find in the log", spellcheck: "false", "aria-label": "Find in the log"});
  const follow = el("input", {type: "checkbox", id: "log-follow", checked: true});
  const matches = el("span", {class: "quiet", role: "status"});
  const earlier = el("button", {type: "button", class: "quiet", hidden: true}, "Earlier");
  const lines = el("pre", {class: "log", tabindex: "0", role: "region", "aria-label": "Log"});
  place.append(el("div", {class: "filters"}, attempts, ranks, search, el("label", {class: "inline", for: "log-follow"}, follow, " follow"), earlier, matches), lines);

  const draw = () => {
    const wanted = search.value.toLowerCase();
    const at_end = lines.scrollTop + lines.clientHeight >= lines.scrollHeight - 40;
    if (!text) {
      replace(lines, el("span", {class: "quiet"}, "Nothing was logged yet."));
      matches.textContent = "";
      return;
    }
    const shown = clean(text);
    if (!wanted) {
      lines.textContent = shown;
      matches.textContent = "";
    } else {
      const parts = [];
      let found = 0;
      for (const line of shown.split("\n")) {
        const lower = line.toLowerCase();
        let at = lower.indexOf(wanted);
        if (at < 0) continue;
        ++found;
        let from = 0;
        while (at >= 0) {
          parts.push(line.slice(from, at), el("mark", {}, line.slice(at, at + wanted.length)));
          from = at + wanted.length;
          at = lower.indexOf(wanted, from);
        }
        parts.push(line.slice(from) + "\n");
        if (found >= 2000) break;
      }
      lines.replaceChildren(...parts);
      matches.textContent = found ? `${found}${found >= 2000 ? "+" : ""} lines` : "not in what is shown";
    }
    if (follow.checked && at_end) lines.scrollTop = lines.scrollHeight;
    earlier.hidden = first === 0;
  };

  const begin = () => { text = ""; first = 0; next = -1; };
  begin();
  const load = async () => {
    const job = job_of();
    if (!job || !number(job.attempts)) return draw();
    const wanted = attempt || number(job.attempts);
    const known = `${attempt}/${rank}`;
    for (let i = 0; i < 20; ++i) {
      const part = await get(`v1/jobs/${encodeURIComponent(id)}/log`, {attempt: wanted, rank, ...(next < 0 ? {tail_lines: 400} : {offset: next})}, signal);
      if (known !== `${attempt}/${rank}`) return;
      if (next < 0) first = number(part.offset);
      const before = next;
      next = number(part.next_offset);
      text += part.text;
      if (text.length > MOST) text = text.slice(text.length - MOST);
      if (part.text === "" || next === before) break;
      if (part.text.length < 200000) break;
    }
    draw();
  };
  const soon = regularly(async () => {
    // Only where somebody looks.
    const box = lines.getBoundingClientRect();
    if (next < 0 || (follow.checked && box.top < innerHeight && box.bottom > 0)) await load();
  }, 2000, signal);

  earlier.addEventListener("click", async () => {
    const from = Math.max(0, first - (256 << 10));
    const part = await get(`v1/jobs/${encodeURIComponent(id)}/log`, {attempt: attempt || number(job_of().attempts), rank, offset: from, limit: first - from}, signal);
    text = part.text + text;
    first = from;
    draw();
  });
  let timer;
  search.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(draw, 150); });
  const again = () => { attempt = Number(attempts.value); rank = Number(ranks.value); begin(); load().catch(() => {}); };
  attempts.addEventListener("change", again);
  ranks.addEventListener("change", again);

  let newest = 0;
  return (job) => {
    const options = [el("option", {value: 0}, "newest attempt"), ...Array.from({length: number(job.attempts)}, (_, i) => el("option", {value: i + 1}, `attempt ${i + 1}`))];
    if (attempts.children.length !== options.length) {
      attempts.replaceChildren(...options);
      attempts.value = String(attempt);
    }
    const many = Math.max(1, number(job.job && job.job.parallel && job.job.parallel.ranks));
    if (ranks.children.length !== many) ranks.replaceChildren(...Array.from({length: many}, (_, i) => el("option", {value: i}, `rank ${i}`)));
    if (newest && newest !== number(job.attempts) && attempt === 0) {
      text += `\n— attempt ${number(job.attempts)} —\n`;
      next = 0;
    }
    newest = number(job.attempts);
    soon();
  };
}
