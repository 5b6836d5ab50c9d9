// A job as a job file would have it, without what has no value. For reading and copying: galleon get -o yaml is the source.

const PLAIN = /^[A-Za-z/.][A-Za-z0-9_./+:-]*$/;
const WORDS = /^(null|true|false|yes|no|on|off|y|n)$/i;
const INTERNAL = ["shape", "sweep", "train_weights"];

function scalar(value) {
  if (typeof value !== "string") return String(value);
  // 64-bit numbers come as text.
  if (/^-?[0-9]+$/.test(value)) return value;
  return PLAIN.test(value) && !WORDS.test(value) && !value.endsWith(":") ? value : JSON.stringify(value);
}

function is_empty(value) {
  return value === null || value === undefined || value === "" || (Array.isArray(value) ? value.length === 0 : typeof value === "object" && Object.keys(value).every((key) => is_empty(value[key])));
}

export function job_yaml(job, indent = "") {
  let out = "";
  for (const [key, value] of Object.entries(job || {})) {
    if (is_empty(value) || INTERNAL.includes(key)) continue;
    if (Array.isArray(value)) out += `${indent}${key}: [${value.map(scalar).join(", ")}]\n`;
    else if (typeof value === "object") out += `${indent}${key}:\n${job_yaml(value, indent + "  ")}`;
    else out += `${indent}${key}: ${scalar(value)}\n`;
  }
  return out;
}

// {"optimizer.galore.rank": "128", …}
export function flat(job, prefix = "") {
  const found = {};
  for (const [key, value] of Object.entries(job || {})) {
    if (INTERNAL.includes(key) || value === null || value === undefined) continue;
    if (typeof value === "object" && !Array.isArray(value)) Object.assign(found, flat(value, `${prefix}${key}.`));
    else found[prefix + key] = Array.isArray(value) ? value.join(", ") : String(value);
  }
  return found;
}
