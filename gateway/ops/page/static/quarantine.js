// Quarantine: refused messages, kept as evidence; their bytes are shown as numbers and never run.

import { address, get, glossary } from "./api.js";
import { card, choice, facts, fault, field, h, heading, table } from "./dom.js";
import { bytes, count, time } from "./format.js";

async function list(root, { params, signal, go }) {
  const [held, texts] = await Promise.all([get("/api/quarantine/counts", {}, signal), glossary()]);
  const query = { reason: params.get("reason") ?? "", device: params.get("device") ?? "" };
  const reason = choice([["", "any"], ...Object.keys(texts.reasons).map((each) => [each, `${each}${held.counts[each] ? ` (${count(held.counts[each])})` : ""}`])], query.reason);
  const device = h("input", { type: "text", value: query.device, maxlength: 64, spellcheck: "false", autocapitalize: "none", autocomplete: "off" });
  const form = h("form", { onsubmit: (event) => { event.preventDefault(); go("quarantine", { reason: reason.value, device: device.value.trim() }); } },
    field("reason", "Reason", reason), field("device", "Device id, as it was claimed", device), h("div", { class: "row" }, h("button", { class: "main" }, "Show")));
  root.append(heading("Quarantine", "Refused messages, kept as evidence. The oldest go when the quarantine is full; the names in them are not verified."), card(null, form));
  const meaning = texts.reasons[query.reason];
  if (meaning) root.append(card(query.reason, h("p", {}, meaning.means), h("p", { class: "muted" }, meaning.do)));
  const rows = [], shown = h("div"), more = h("button", { type: "button" }, "Show older");
  let before = null;
  const fetch = async () => {
    try {
      const found = await get("/api/quarantine", { ...query, before: before ?? "" }, signal);
      rows.push(...found.rows);
      before = found.before;
    } catch (error) {
      if (error.name === "AbortError") return;
      shown.append(fault(error));
      return;
    }
    more.hidden = before === null;
    shown.replaceChildren(rows.length ? table("Refused messages, the newest first", [
      { name: "Record", shape: "num", cell: (row) => h("a", { href: `#/quarantine/${row.id}` }, String(row.id)) },
      { name: "Time", shape: "tight", cell: (row) => time(row.time_ms) },
      { name: "Reason", shape: "tight", cell: (row) => row.reason },
      { name: "Claimed device", shape: "any", cell: (row) => (row.device ? h("span", { class: "mono" }, row.device) : null) },
      { name: "From", shape: "any", cell: (row) => `${row.transport} ${row.peer}` },
      { name: "Size", shape: "num", cell: (row) => bytes(row.bytes) },
      { name: "Detail", shape: "any", cell: (row) => row.detail || null },
    ], rows) : h("p", {}, "No refused message matches."));
  };
  more.addEventListener("click", fetch);
  root.append(card(null, shown, h("div", { class: "row below" }, more,
    h("a", { class: "button", href: address("/api/quarantine.csv", query), download: "" }, "Download CSV"),
    h("a", { class: "button", href: address("/api/quarantine.json", query), download: "" }, "Download JSON"))));
  await fetch();
}

async function one(root, id, { signal }) {
  const [found, texts] = await Promise.all([get("/api/quarantine/record", { id }, signal), glossary()]);
  const meaning = texts.reasons[found.reason];
  root.append(heading(`Refused message ${found.id}`),
    card(found.reason, meaning ? [h("p", {}, meaning.means), h("p", { class: "muted" }, meaning.do)] : null),
    card("Facts", facts([
      ["Received", time(found.time_ms)], ["Claimed device", found.device ? h("a", { class: "mono", href: `#/devices/${encodeURIComponent(found.device)}` }, found.device) : "none could be read"],
      ["From", `${found.transport} ${found.peer}`], ["Detail", found.detail], ["Size", bytes(found.bytes)],
    ])),
    card("Bytes", h("p", { class: "small muted" }, `The first ${count(found.dumped_bytes)} of ${count(found.bytes)}. All of them: securenet quarantine export ${found.id} --out FILE`),
      h("pre", { class: "below", tabindex: 0, role: "region", "aria-label": "Bytes in hexadecimal" }, found.dump.join("\n"))));
}

export const show = (root, context) => (context.rest[0] ? one(root, context.rest[0], context) : list(root, context));
