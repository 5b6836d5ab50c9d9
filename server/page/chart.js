// Curves as SVG: a line, the band between the lowest and the highest value of each bucket, gaps where a value is not finite.
import {el, replace, svg} from "./dom.js";
import {figure} from "./format.js";

const MARGIN = {left: 62, right: 14, top: 10, bottom: 30};
// Told apart without colour too: by dashes, from the second on.
const DASHES = ["", "7 3", "2 3", "9 3 2 3", "5 5", "12 4", "3 6", "1 4"];
const PRINT = ["#0072b2", "#d55e00", "#00795a", "#a3447d", "#8a6100", "#3b7ea8", "#6b6b6b", "#000000"];

export const color_class = (index) => `c${index % 8}`;
export const dash_of = (index) => DASHES[(index + Math.floor(index / 8)) % 8] || undefined;

// About `most` round values from `low` to `high`.
export function ticks(low, high, most) {
  if (!(high > low)) return [low];
  const rough = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; ++i) found.push(Number((i * step).toPrecision(12)));
  return found;
}

export function log_ticks(low, high) {
  const found = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); ++power) {
    for (const m of [1, 2, 5]) {
      const value = m * 10 ** power;
      if (value >= low && value <= high) found.push(value);
    }
  }
  if (found.length > 8) return found.filter((value) => Math.abs(Math.log10(value) - Math.round(Math.log10(value))) < 1e-9);
  return found.length >= 2 ? found : ticks(low, high, 4);
}

const finite = (value) => value !== null && value !== undefined && Number.isFinite(value);

// Exponential moving average without the pull of its beginning; what is not finite is passed over.
export function smoothed(points, weight) {
  if (!(weight > 0)) return points;
  let mean = 0;
  let total = 0;
  return points.map((point) => {
    if (!finite(point.y)) return point;
    mean = weight * mean + (1 - weight) * point.y;
    total = weight * total + (1 - weight);
    return {...point, y: mean / total, low: undefined, high: undefined};
  });
}

// The pieces of a curve without gaps.
function pieces(points, is_there) {
  const found = [];
  let piece = [];
  for (const point of points) {
    if (is_there(point)) piece.push(point);
    else if (piece.length) { found.push(piece); piece = []; }
  }
  if (piece.length) found.push(piece);
  return found;
}

// {series: [{name, points: [{x, y, low, high}], smooth: points, dashed}], marks: [x], log, y_format, x_format, x_label}
export function draw(options, width, height, print) {
  const paint = (index, kind) => (print ? {[kind]: PRINT[index % 8]} : {class: `${color_class(index)} ${kind}`});
  const quiet = (kind) => (print ? {[kind]: "#666"} : {class: `quiet-${kind}`});
  const x_values = [];
  const y_values = [];
  const usable = (y) => finite(y) && (!options.log || y > 0);
  for (const line of options.series) {
    for (const point of line.points) {
      if (!finite(point.x)) continue;
      x_values.push(point.x);
      for (const y of [point.y, point.low, point.high]) if (usable(y)) y_values.push(y);
    }
  }
  for (const x of options.marks || []) x_values.push(x);
  const root = svg("svg", {width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true", focusable: "false", ...(print ? {xmlns: "http://www.w3.org/2000/svg", "font-family": "sans-serif", "font-size": "12"} : {})});
  const inner = {w: Math.max(20, width - MARGIN.left - MARGIN.right), h: Math.max(20, height - MARGIN.top - MARGIN.bottom)};
  if (print) root.append(svg("rect", {width, height, fill: "#fff"}));
  if (!y_values.length || !x_values.length) return {root, at: () => null, inner};
  const extent = (values) => values.reduce(([low, high], v) => [Math.min(low, v), Math.max(high, v)], [Infinity, -Infinity]);
  let [x0, x1] = extent(x_values);
  let [y0, y1] = extent(y_values);
  if (x0 === x1) { x0 -= 1; x1 += 1; }
  const scale = options.log ? Math.log10 : (v) => v;
  if (y0 === y1) { [y0, y1] = options.log ? [y0 / 1.5, y1 * 1.5] : [y0 - Math.max(Math.abs(y0) * 0.05, 1e-12), y1 + Math.max(Math.abs(y1) * 0.05, 1e-12)]; }
  let [s0, s1] = [scale(y0), scale(y1)];
  const pad = (s1 - s0) * 0.04;
  // Bytes and counts begin at nothing.
  if (options.from_zero && !options.log) s0 = 0;
  else s0 -= pad;
  s1 += pad;
  const px = (x) => MARGIN.left + ((x - x0) / (x1 - x0)) * inner.w;
  const py = (y) => MARGIN.top + inner.h - ((scale(y) - s0) / (s1 - s0)) * inner.h;
  const y_low = options.log ? 10 ** s0 : s0;
  const y_high = options.log ? 10 ** s1 : s1;
  const y_format = options.y_format || figure;
  for (const y of options.log ? log_ticks(y_low, y_high) : ticks(y_low, y_high, 5)) {
    if (py(y) < MARGIN.top - 1 || py(y) > MARGIN.top + inner.h + 1) continue;
    root.append(svg("line", {x1: MARGIN.left, x2: MARGIN.left + inner.w, y1: py(y).toFixed(1), y2: py(y).toFixed(1), ...(print ? {stroke: "#ddd"} : {class: "grid"})}));
    root.append(svg("text", {x: MARGIN.left - 8, y: (py(y) + 4).toFixed(1), "text-anchor": "end", ...quiet("fill")}, y_format(y)));
  }
  const x_format = options.x_format || ((x) => Math.round(x).toLocaleString("en-US"));
  const room = Math.max(3, Math.floor(inner.w / 90));
  for (const x of options.x_ticks ? options.x_ticks(x0, x1, room) : ticks(x0, x1, room)) {
    if (px(x) < MARGIN.left - 1 || px(x) > MARGIN.left + inner.w + 1) continue;
    root.append(svg("line", {x1: px(x).toFixed(1), x2: px(x).toFixed(1), y1: MARGIN.top + inner.h, y2: MARGIN.top + inner.h + 4, ...(print ? {stroke: "#999"} : {class: "axis"})}));
    const anchor = px(x) > MARGIN.left + inner.w - 20 ? "end" : "middle";
    root.append(svg("text", {x: px(x).toFixed(1), y: MARGIN.top + inner.h + 18, "text-anchor": anchor, ...quiet("fill")}, x_format(x)));
  }
  root.append(svg("line", {x1: MARGIN.left, x2: MARGIN.left + inner.w, y1: MARGIN.top + inner.h, y2: MARGIN.top + inner.h, ...(print ? {stroke: "#999"} : {class: "axis"})}));
  const path = (piece) => piece.map((p, i) => `${i ? "L" : "M"}${px(p.x).toFixed(1)} ${py(p.y).toFixed(1)}`).join("");
  options.series.forEach((line, i) => {
    const index = line.color ?? i;
    const has_band = (p) => usable(p.low) && usable(p.high) && p.high > p.low;
    for (const piece of pieces(line.points, has_band)) {
      if (piece.length < 2) {
        root.append(svg("line", {x1: px(piece[0].x).toFixed(1), x2: px(piece[0].x).toFixed(1), y1: py(piece[0].low).toFixed(1), y2: py(piece[0].high).toFixed(1), ...paint(index, "stroke"), opacity: 0.35}));
        continue;
      }
      const up = piece.map((p) => `${px(p.x).toFixed(1)} ${py(p.high).toFixed(1)}`);
      const down = [...piece].reverse().map((p) => `${px(p.x).toFixed(1)} ${py(p.low).toFixed(1)}`);
      root.append(svg("path", {d: `M${up.join("L")}L${down.join("L")}Z`, ...paint(index, "fill"), opacity: 0.16}));
    }
    const curve = (points, extra) => {
      for (const piece of pieces(points, (p) => usable(p.y))) {
        // A single value between gaps is there too.
        if (piece.length === 1) root.append(svg("circle", {cx: px(piece[0].x).toFixed(1), cy: py(piece[0].y).toFixed(1), r: 2.5, ...paint(index, "fill"), ...extra}));
        else root.append(svg("path", {d: path(piece), fill: "none", ...paint(index, "stroke"), "stroke-width": 1.7, "stroke-linejoin": "round", "stroke-dasharray": line.dashes, ...extra}));
        if (line.dots) for (const p of piece) root.append(svg("circle", {cx: px(p.x).toFixed(1), cy: py(p.y).toFixed(1), r: 3, ...paint(index, "fill")}));
      }
    };
    if (line.smooth) {
      curve(line.points, {opacity: 0.3, "stroke-width": 1});
      curve(line.smooth, {});
    } else {
      curve(line.points, {});
    }
  });
  for (const x of options.marks || []) {
    const at = px(x);
    root.append(svg("path", {d: `M${(at - 5).toFixed(1)} ${MARGIN.top}h10l-5 8z`, ...(print ? {fill: "#b00020"} : {class: "not-finite"})}, svg("title", {}, "not a finite number")));
  }
  return {root, inner, px, from_px: (p) => x0 + ((p - MARGIN.left) / inner.w) * (x1 - x0), x0, x1, y_format, x_format};
}

function nearest(points, x) {
  let low = 0;
  let high = points.length - 1;
  if (high < 0) return null;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (points[middle].x <= x) low = middle;
    else high = middle;
  }
  return Math.abs(points[low].x - x) <= Math.abs(points[high].x - x) ? points[low] : points[high];
}

// A figure that draws itself anew when its data or its width changes. Keys: left and right move the cursor, + and - zoom,
// 0 shows all again.
export class Chart {
  // on_range(from, to) is told what was selected; (null, null): all.
  constructor(title, {height = 220, on_range, note, level = "h3"} = {}) {
    this.title = title;
    this.height = height;
    this.on_range = on_range;
    this.options = {series: []};
    this.readout = el("output", {class: "readout"});
    this.legend = el("ul", {class: "legend"});
    this.stage = el("div", {class: "stage", tabindex: "0", role: "slider", "aria-label": `${title}: cursor`, "aria-valuemin": "0", "aria-valuemax": "0", "aria-valuenow": "0", "aria-valuetext": "no values yet"});
    this.element = el("figure", {class: "chart"}, el("figcaption", {}, el(level, {}, title), note ? el("span", {class: "quiet"}, note) : null, this.readout), this.stage, this.legend);
    this.stage.addEventListener("pointermove", (event) => this.pointer(event));
    this.stage.addEventListener("pointerleave", () => this.cursor_at(null));
    this.stage.addEventListener("pointerdown", (event) => { this.drag = this.drawn && this.drawn.px ? event.offsetX : undefined; });
    this.stage.addEventListener("pointerup", (event) => this.release(event));
    this.stage.addEventListener("dblclick", () => on_range && on_range(null, null));
    this.stage.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => {
      const width = Math.floor(this.stage.clientWidth);
      if (width && width !== this.width) this.render();
    }).observe(this.stage);
  }

  update(options) {
    this.options = options;
    this.render();
    const index = (line, i) => line.color ?? i;
    replace(this.legend, options.series.length < 2 && !options.legend ? [] : options.series.map((line, i) => el("li", {},
      svg("svg", {width: 22, height: 8, "aria-hidden": "true"}, svg("line", {x1: 0, x2: 22, y1: 4, y2: 4, class: `${color_class(index(line, i))} stroke`, "stroke-width": 2.5, "stroke-dasharray": line.dashes})),
      line.href ? el("a", {href: line.href}, line.name) : line.name)));
  }

  render() {
    this.width = Math.floor(this.stage.clientWidth);
    if (!this.width) return;
    this.drawn = draw(this.options, this.width, this.height, false);
    const has = Boolean(this.drawn.px);
    if (has) {
      this.line = svg("line", {class: "cursor", y1: MARGIN.top, y2: this.height - MARGIN.bottom, visibility: "hidden"});
      this.box = svg("rect", {class: "selection", y: MARGIN.top, height: this.height - MARGIN.top - MARGIN.bottom, width: 0});
      this.drawn.root.append(this.box, this.line);
      this.stage.replaceChildren(this.drawn.root);
      this.stage.setAttribute("aria-valuemin", this.drawn.x0);
      this.stage.setAttribute("aria-valuemax", this.drawn.x1);
      if (this.cursor === undefined || this.cursor === null) this.tell(this.drawn.x1, true);
      else this.cursor_at(this.cursor);
    } else {
      this.stage.replaceChildren(el("p", {class: "empty"}, this.options.empty || "No values yet."));
    }
  }

  pointer(event) {
    if (!this.drawn || !this.drawn.px) return;
    this.cursor_at(this.drawn.from_px(event.offsetX));
    if (this.drag !== undefined && event.buttons) {
      this.box.setAttribute("x", Math.min(this.drag, event.offsetX));
      this.box.setAttribute("width", Math.abs(event.offsetX - this.drag));
    }
  }

  release(event) {
    if (this.drag !== undefined && Math.abs(event.offsetX - this.drag) > 8 && this.on_range) {
      const ends = [this.drawn.from_px(this.drag), this.drawn.from_px(event.offsetX)].sort((a, b) => a - b);
      this.on_range(Math.max(this.drawn.x0, ends[0]), Math.min(this.drawn.x1, ends[1]));
    }
    this.drag = undefined;
    if (this.box) this.box.setAttribute("width", 0);
  }

  key(event) {
    if (!this.drawn || !this.drawn.px) return;
    const {x0, x1} = this.drawn;
    const at = this.cursor ?? x1;
    const moves = {ArrowLeft: -0.01, ArrowRight: 0.01, PageDown: -0.1, PageUp: 0.1};
    if (event.key in moves) this.cursor_at(Math.min(x1, Math.max(x0, at + (x1 - x0) * moves[event.key])));
    else if (event.key === "Home") this.cursor_at(x0);
    else if (event.key === "End") this.cursor_at(x1);
    else if ((event.key === "+" || event.key === "-") && this.on_range) {
      const half = ((x1 - x0) * (event.key === "+" ? 0.5 : 2)) / 2;
      this.on_range(Math.max(0, at - half), at + half);
    } else if (event.key === "0" && this.on_range) this.on_range(null, null);
    else return;
    event.preventDefault();
  }

  cursor_at(x) {
    this.cursor = x;
    if (!this.line) return;
    if (x === null) {
      this.line.setAttribute("visibility", "hidden");
      return this.tell(this.drawn.x1, true);
    }
    this.line.setAttribute("visibility", "visible");
    this.line.setAttribute("x1", this.drawn.px(x));
    this.line.setAttribute("x2", this.drawn.px(x));
    this.tell(x, false);
  }

  tell(x, is_end) {
    const {y_format, x_format} = this.drawn;
    const parts = [];
    for (const line of this.options.series.slice(0, 6)) {
      const point = nearest(line.smooth || line.points, x);
      if (!point) continue;
      const range = point.high !== undefined && point.high > point.low ? ` (${y_format(point.low)} to ${y_format(point.high)})` : "";
      parts.push(`${this.options.series.length > 1 ? line.name + " " : ""}${y_format(point.y)}${range}`);
    }
    const text = `${is_end ? "newest" : `${this.options.x_label || "step"} ${x_format(x)}`}: ${parts.join(", ")}`;
    this.readout.textContent = text;
    this.stage.setAttribute("aria-valuenow", x);
    this.stage.setAttribute("aria-valuetext", text);
  }

  // As a file: with colours of its own, and the names of the curves.
  file(width = 960, height = 480) {
    const rows = Math.ceil(this.options.series.length / 3);
    const below = 20 * rows + 34;
    const {root} = draw(this.options, width, height - below, true);
    root.setAttribute("height", height);
    root.setAttribute("viewBox", `0 0 ${width} ${height}`);
    root.prepend(svg("title", {}, this.title));
    root.querySelector("rect").setAttribute("height", height);
    root.append(svg("text", {x: width / 2, y: height - below + 12, "text-anchor": "middle", fill: "#444"}, this.options.x_label || "step"));
    this.options.series.forEach((line, i) => {
      const index = line.color ?? i;
      const x = MARGIN.left + (i % 3) * ((width - MARGIN.left) / 3);
      const y = height - below + 36 + 20 * Math.floor(i / 3);
      root.append(svg("line", {x1: x, x2: x + 22, y1: y - 4, y2: y - 4, stroke: PRINT[index % 8], "stroke-width": 2.5, "stroke-dasharray": line.dashes}), svg("text", {x: x + 28, y, fill: "#222"}, line.name));
    });
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + new XMLSerializer().serializeToString(root);
  }
}
