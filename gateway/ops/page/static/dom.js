// Elements from data. Text is only ever put in as text: nothing here reads markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) element.append(child);
  }
  return element;
}

export const h = (tag, props, ...children) => fill(document.createElement(tag), props, children);
export const s = (tag, props, ...children) => fill(document.createElementNS(SVG, tag), props, children);

export function badge(kind, text) {
  return h("span", { class: `badge ${kind}` }, text);
}

export function card(title, ...children) {
  return h("section", { class: "card" }, title ? h("h2", {}, title) : null, ...children);
}

export function facts(pairs) {
  const shown = pairs.filter((pair) => pair && pair[1] !== null && pair[1] !== undefined && pair[1] !== "");
  return h("dl", { class: "facts" }, shown.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

// A table that a screen reader still hears as one when a narrow screen shows it as records.
export function table(caption, columns, rows) {
  const shape = (column) => column.shape ?? null;
  const head = columns.map((column) => h("th", { scope: "col", role: "columnheader", class: shape(column) }, column.name));
  const body = rows.map((row) =>
    h("tr", { role: "row" }, columns.map((column) => {
      const shown = column.cell(row);
      return h("td", { role: "cell", "data-label": column.name, class: shape(column) }, h("div", {}, shown ?? "–"));
    })));
  return h("table", { role: "table" },
    h("caption", {}, caption),
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, head)),
    h("tbody", { role: "rowgroup" }, body));
}

export function copyable(text, shown = text, what = "value") {
  if (!text) return "–";
  const button = h("button", { type: "button", "aria-label": `Copy the ${what}`, onclick: async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      const range = document.createRange();
      range.selectNodeContents(code);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  } }, "Copy");
  const code = h("span", { class: "mono", title: text }, shown);
  return h("span", { class: "copy" }, code, button);
}

export function field(name, label, control) {
  control.id = `field-${name}`;
  control.name = name;
  return h("label", { for: control.id }, label, control);
}

export function choice(options, chosen) {
  return h("select", {}, options.map(([value, text]) =>
    h("option", { value, selected: value === (chosen ?? "") }, text)));
}

export function fault(error) {
  return h("div", { class: "card banner bad", role: "alert" },
    h("h2", {}, `This did not work: ${error.message}`), error.hint ? h("p", {}, error.hint) : null);
}

export function heading(title, text, ...more) {
  return h("div", { class: "head" }, h("div", { class: "title" }, h("h1", { tabindex: "-1" }, title), ...more), text ? h("p", { class: "muted" }, text) : null);
}
