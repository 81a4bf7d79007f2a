// Records: one form over the log; what is found as a page, as CSV and as JSON.

import { address, get } from "./api.js";
import { badge, card, choice, fault, field, h, heading, table } from "./dom.js";
import { count, mood, score, short, time } from "./format.js";

const NAMES = ["device", "from", "to", "kind", "verdict", "reason"];

function about(row) {
  switch (row.kind) {
    case "message": return [h("a", { class: "mono", href: `#/devices/${encodeURIComponent(row.device_id)}` }, row.device_id),
      h("div", { class: "muted" }, `number ${row.seq} of session `, h("span", { class: "mono" }, row.session))];
    case "rejections": return [Object.entries(row.counts).map(([reason, each]) => `${count(each)} ${reason}`).join(", ") || "nothing",
      row.most_refused.length ? h("div", { class: "muted" }, `most: ${row.most_refused.map(([id, each]) => `${id} (${count(each)})`).join(", ")}`) : null];
    case "model": return [`${row.model_id} version ${row.version}: ${row.event}`, row.reason ? h("div", { class: "muted" }, row.reason) : null];
    case "response": return [`${row.device_id}: ${row.action}`, h("div", { class: "muted" }, row.cause)];
    case "key": return ["The log's key was replaced by ", h("span", { class: "mono" }, short(row.new_key, 24))];
    case "clock": return [`The clock: ${row.event}`, h("div", { class: "muted" }, row.cause)];
    default: return "These bytes are no entry.";
  }
}

export const moment = (text) => (text ? Date.parse(`${text}Z`) : "");

export async function show(root, { params, signal, go }) {
  const query = Object.fromEntries(NAMES.map((name) => [name, params.get(name) ?? ""]));
  const at = (name) => h("input", { type: "datetime-local", step: 1, value: query[name] });
  const inputs = {
    device: h("input", { type: "text", value: query.device, maxlength: 64, spellcheck: "false", autocapitalize: "none", autocomplete: "off" }),
    from: at("from"), to: at("to"),
    kind: choice(["", "message", "rejections", "model", "response", "key", "clock"].map((each) => [each, each || "any"]), query.kind),
    verdict: choice(["", "unscored", "normal", "anomalous", "classified"].map((each) => [each, each || "any"]), query.verdict),
    reason: h("input", { type: "text", value: query.reason, maxlength: 64, spellcheck: "false", autocapitalize: "none", autocomplete: "off" }),
  };
  const form = h("form", { onsubmit: (event) => {
    event.preventDefault();
    go("records", Object.fromEntries(NAMES.map((name) => [name, inputs[name].value.trim()])));
  } },
  field("device", "Device id, in full", inputs.device), field("from", "From (UTC)", inputs.from), field("to", "To (UTC)", inputs.to),
  field("kind", "Kind of entry", inputs.kind), field("verdict", "Verdict", inputs.verdict), field("reason", "Reason of a refusal", inputs.reason),
  h("div", { class: "row" }, h("button", { class: "main" }, "Find"), h("a", { class: "button", href: "#/records" }, "Clear")));
  const asked = { device: query.device, from_ms: moment(query.from), to_ms: moment(query.to), kind: query.kind, verdict: query.verdict, reason: query.reason };
  root.append(heading("Records", "Entries of the log, the newest first. Single refused messages are in the quarantine; the log has their counts."), card(null, form));
  const rows = [], shown = h("div"), state = h("p", { class: "muted small below", role: "status" });
  const more = h("button", { type: "button" }, "Show older");
  const links = h("div", { class: "row below" }, more,
    h("a", { class: "button", href: address("/api/log.csv", asked), download: "" }, "Download CSV"),
    h("a", { class: "button", href: address("/api/log.json", asked), download: "" }, "Download JSON"));
  const draw = (before) => {
    shown.replaceChildren(rows.length ? table(`${count(rows.length)} entries${before === null ? "" : " so far"}`, [
      { name: "Entry", shape: "num", cell: (row) => count(row.index) },
      { name: "Time", shape: "tight", cell: (row) => time(row.time_ms) },
      { name: "Kind", shape: "tight", cell: (row) => row.kind },
      { name: "About", shape: "any", cell: about },
      { name: "Verdict", shape: "any", cell: (row) => (row.verdict ? [badge(mood(row.verdict), row.label ?? row.verdict), row.score === null ? "" : ` ${score(row.score)}`] : null) },
    ], rows) : h("p", {}, before === null ? "Nothing in the log matches." : "Nothing matches so far."));
    more.hidden = before === null;
    state.textContent = before === null ? "That is all there is." : `Looked back as far as entry ${count(before)}.`;
  };
  let before = null;
  const fetch = async () => {
    more.disabled = true;
    try {
      const found = await get("/api/log", { ...asked, before: before ?? "" }, signal);
      rows.push(...found.rows);
      before = found.before;
      draw(before);
    } catch (error) {
      if (error.name === "AbortError") return;
      shown.append(fault(error));
    }
    more.disabled = false;
  };
  more.addEventListener("click", fetch);
  root.append(card(null, shown, state, links, h("p", { class: "small muted below" }, "A download has at most 50,000 rows; its last line says whether it is complete.")));
  await fetch();
}
