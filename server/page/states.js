// The states of jobs: a mark with a shape, a colour and a word, so that none of them is needed alone.
import {el} from "./dom.js";
import {SHOWN_STATES} from "./format.js";

const MARKS = {QUEUED: "○", RESERVED: "◔", STARTING: "◔", RUNNING: "●", SUCCEEDED: "✓", FAILED: "✕", CANCELLED: "–", PREEMPTING: "◑", CANCELLING: "◑"};

export function state_of(job) {
  const state = job.state || "STATE_UNSPECIFIED";
  const word = job.held && state === "QUEUED" ? "held" : SHOWN_STATES[state] || state.toLowerCase();
  return el("span", {class: `state ${state.toLowerCase()}`}, el("span", {"aria-hidden": "true"}, MARKS[state] || "?"), ` ${word}`);
}

export const job_link = (id) => el("a", {href: `#/jobs/${encodeURIComponent(id)}`}, id);
