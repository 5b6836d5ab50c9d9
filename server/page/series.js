// From the answer of /metrics to points of a chart, over steps, tokens or time.
import {number} from "./format.js";

export const AXES = {
  steps: {label: "step", format: undefined},
  tokens: {label: "tokens"},
  time: {label: "time"},
};

export function by_name(metrics) {
  return new Map((metrics.series || []).map((series) => [series.name, series]));
}

const finite = (value) => (typeof value === "number" ? value : Number.NaN);

// What stands at a step on the axis: of series that are not told at that step, between the nearest two.
function axis_of(named, axis) {
  if (axis === "steps") return (step) => step;
  const series = named.get(axis === "tokens" ? "tokens" : "time");
  if (!series) return () => Number.NaN;
  const steps = series.steps.map(number);
  const values = series.values.map((value) => finite(value) * (axis === "time" ? 1000 : 1));
  return (step) => {
    let low = 0;
    let high = steps.length - 1;
    if (step <= steps[low]) return values[low];
    if (step >= steps[high]) return values[high];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (steps[middle] <= step) low = middle;
      else high = middle;
    }
    return values[low] + ((values[high] - values[low]) * (step - steps[low])) / (steps[high] - steps[low]);
  };
}

// {points, marks}: marks are where a value is no finite number.
export function points_of(named, name, axis, factor = 1) {
  const series = named.get(name);
  if (!series) return {points: [], marks: [], not_finite: 0};
  const x_of = axis_of(named, axis);
  const has_band = (series.low || []).length > 0;
  const points = (series.steps || []).map((step, i) => ({
    x: x_of(number(step)), step: number(step), y: finite(series.values[i]) * factor,
    low: has_band ? finite(series.low[i]) * factor : undefined, high: has_band ? finite(series.high[i]) * factor : undefined,
  }));
  const marks = (series.not_finite_steps || []).map(number);
  // A gap where they stand.
  for (const step of marks) points.push({x: x_of(step), step, y: Number.NaN});
  if (marks.length) points.sort((a, b) => a.x - b.x);
  return {points, marks: marks.map(x_of), not_finite: number(series.not_finite)};
}
