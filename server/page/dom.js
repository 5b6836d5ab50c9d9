// Elements are made of names, attributes and text. Text that comes from elsewhere goes in as text alone, never as markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, properties, children) {
  for (const [key, value] of Object.entries(properties || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export function el(name, properties, ...children) {
  return fill(document.createElement(name), properties, children);
}

export function svg(name, properties, ...children) {
  return fill(document.createElementNS(SVG, name), properties, children);
}

// Puts other children in an element, and leaves alone what is the same as before: what is being read or typed stays.
export function replace(element, ...children) {
  const wanted = children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
  const fresh = document.createElement("div");
  fresh.append(...wanted);
  if (fresh.childNodes.length === element.childNodes.length && [...fresh.childNodes].every((node, i) => node.isEqualNode(element.childNodes[i]))) return;
  const focused = element.contains(document.activeElement) ? document.activeElement.getAttribute("data-key") || document.activeElement.getAttribute("href") : null;
  element.replaceChildren(...fresh.childNodes);
  if (focused === null) return;
  for (const candidate of element.querySelectorAll("[data-key],[href]")) {
    if ((candidate.getAttribute("data-key") || candidate.getAttribute("href")) === focused) {
      candidate.focus({preventScroll: true});
      return;
    }
  }
}

// A table; each cell is text, an element, or {text, class}.
export function table(caption, header, rows, properties) {
  const cell = (name, value, extra) => {
    const plain = value === null || value === undefined || typeof value !== "object" || value instanceof Node || Array.isArray(value);
    return el(name, {...extra, class: plain ? undefined : value.class, title: plain ? undefined : value.title}, plain ? value : value.text);
  };
  return el("div", {class: "scroll", tabindex: "0", role: "region", "aria-label": caption},
    el("table", properties,
      el("caption", {class: "unseen"}, caption),
      el("thead", {}, el("tr", {}, header.map((value) => cell("th", value, {scope: "col"})))),
      el("tbody", {}, rows.map((row) => el("tr", {}, row.map((value) => cell("td", value)))))));
}

// A copyable command.
export function command(text) {
  const button = el("button", {type: "button", class: "quiet", "aria-label": "Copy: " + text, onclick: async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Not allowed here";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  }}, "Copy");
  return el("div", {class: "command"}, el("code", {}, text), button);
}

// Gives what is to be saved a name.
export function save(name, type, text) {
  const address = URL.createObjectURL(new Blob([text], {type}));
  const link = el("a", {href: address, download: name});
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}
