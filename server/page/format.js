// Figures and times as people read them.

export const number = (value) => (value === undefined || value === null || value === "" ? 0 : Number(value));

export function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let size = number(value);
  let unit = 0;
  while (Math.abs(size) >= (unit === 0 ? 1024 : 1023.5) && unit < 5) {
    size /= 1024;
    ++unit;
  }
  if (unit === 0) return `${size.toFixed(0)} B`;
  return `${size.toFixed(Math.abs(size) < 9.995 ? 2 : Math.abs(size) < 99.95 ? 1 : 0)} ${units[unit]}`;
}

export function count(value) {
  const units = ["", "k", "M", "G", "T"];
  let size = number(value);
  let unit = 0;
  while (Math.abs(size) >= 999.5 && unit < 4) {
    size /= 1000;
    ++unit;
  }
  return unit === 0 ? size.toFixed(0) : size.toFixed(Math.abs(size) < 99.95 ? 1 : 0) + units[unit];
}

// Of a loss or a rate: as many digits as tell it apart.
export function figure(value) {
  const size = Number(value);
  if (value === undefined || value === null || Number.isNaN(size)) return "NaN";
  if (!Number.isFinite(size)) return size > 0 ? "∞" : "−∞";
  if (size === 0) return "0";
  const abs = Math.abs(size);
  if (abs >= 1e6 || abs < 1e-4) return size.toExponential(2).replace("e+", "e");
  if (abs >= 1000) return size.toFixed(0);
  return String(Number(size.toPrecision(abs >= 1 ? 5 : 3)));
}

export function duration(seconds) {
  const total = Math.max(0, Math.round(seconds));
  if (total < 60) return `${total} s`;
  if (total < 3600) return `${Math.floor(total / 60)} min ${total % 60} s`;
  if (total < 86400) return `${Math.floor(total / 3600)} h ${Math.floor((total % 3600) / 60)} min`;
  return `${Math.floor(total / 86400)} d ${Math.floor((total % 86400) / 3600)} h`;
}

// How long ago, in one unit: it is read at a glance, and changes seldom.
export function ago(milliseconds, now = Date.now()) {
  const seconds = Math.max(0, (now - number(milliseconds)) / 1000);
  if (!number(milliseconds)) return "";
  if (seconds < 60) return "just now";
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86400)} d ago`;
}

// With its zone: a page is read in other places than where the scheduler runs.
export function time(milliseconds) {
  if (!number(milliseconds)) return "";
  return new Date(number(milliseconds)).toLocaleString("en-GB", {year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short"});
}

// Control characters, and those that turn the direction of text, are shown as what they are.
export function clean(text) {
  return String(text ?? "").replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g,
    (c) => (c < " " ? String.fromCharCode(0x2400 + c.charCodeAt(0)) : `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`));
}

export const SHOWN_STATES = {
  QUEUED: "queued", RESERVED: "reserved", STARTING: "starting", RUNNING: "running", SUCCEEDED: "succeeded", FAILED: "failed",
  CANCELLED: "cancelled", PREEMPTING: "handing back", CANCELLING: "being cancelled",
};
export const ENDED = ["SUCCEEDED", "FAILED", "CANCELLED"];
export const ACTIVE = ["RESERVED", "STARTING", "RUNNING", "PREEMPTING", "CANCELLING"];
