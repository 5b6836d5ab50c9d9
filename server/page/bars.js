// What memory is for, as stacked bars: of this job, of the same job at full rank, and the card that it is for.
import {el, svg} from "./dom.js";
import {bytes, number} from "./format.js";

export const CATEGORIES = ["weights", "gradients", "optimizer_states", "subspaces", "activations", "workspace"];
const SHOWN = {optimizer_states: "optimizer states"};
export const shown = (category) => SHOWN[category] || category;

export function sum_of(memory) {
  return CATEGORIES.reduce((sum, key) => sum + number(memory && memory[key]), 0);
}

// rows: [{name, memory, note}]; card: {bytes, name}. Widths are in percent, so that it fits any screen.
export function memory_bars(rows, card) {
  // A card that is far larger would leave nothing of the bars to see.
  const of_rows = Math.max(...rows.map((row) => sum_of(row.memory)), 1);
  const is_drawn = card && card.bytes < of_rows * 3;
  const largest = Math.max(of_rows, is_drawn ? card.bytes : 0);
  const scale = 100 / (largest * 1.02);
  const bars = rows.map((row) => {
    let left = 0;
    const total = sum_of(row.memory);
    const parts = CATEGORIES.map((key, i) => {
      const size = number(row.memory && row.memory[key]);
      const rect = size ? svg("rect", {x: `${left * scale}%`, y: 0, width: `${size * scale}%`, height: 26, class: `m${i}`}, svg("title", {}, `${shown(key)} ${bytes(size)}`)) : null;
      left += size;
      return rect;
    });
    const limit = is_drawn ? svg("line", {x1: `${card.bytes * scale}%`, x2: `${card.bytes * scale}%`, y1: -4, y2: 30, class: "card"}) : null;
    const said = `${row.name}: ${bytes(total)}; ${CATEGORIES.filter((key) => number(row.memory && row.memory[key])).map((key) => `${shown(key)} ${bytes(row.memory[key])}`).join(", ")}`;
    return el("div", {class: "bar"},
      el("div", {class: "bar-name"}, el("span", {}, row.name), el("strong", {class: card && total > card.bytes ? "over" : undefined}, bytes(total), card && total > card.bytes ? " does not fit" : "")),
      svg("svg", {width: "100%", height: 26, role: "img", "aria-label": said, overflow: "visible"}, parts, limit),
      row.note ? el("div", {class: "quiet"}, row.note) : null);
  });
  return el("div", {class: "bars"},
    bars,
    card ? el("p", {class: "quiet card-note"}, is_drawn && svg("svg", {width: 12, height: 14, "aria-hidden": "true"}, svg("line", {x1: 6, x2: 6, y1: 0, y2: 14, class: "card"})), ` ${card.name.charAt(0).toUpperCase()}${card.name.slice(1)}: ${bytes(card.bytes)}${is_drawn ? "" : ", more than is drawn"}`) : null,
    el("ul", {class: "legend"}, CATEGORIES.map((key, i) => el("li", {}, svg("svg", {width: 12, height: 12, "aria-hidden": "true"}, svg("rect", {width: 12, height: 12, rx: 2, class: `m${i}`})), shown(key)))));
}
