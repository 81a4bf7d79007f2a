// Devices: a search among all of them, and one with its history.

import { get, glossary } from "./api.js";
import { badge, card, choice, copyable, facts, fault, field, h, heading, table } from "./dom.js";
import { ago, count, mood, score, short, time } from "./format.js";
import { scores } from "./plot.js";

const most = (value, bound) => (value >= bound ? `${count(bound)}+` : count(value));
const link = (id) => h("a", { class: "mono", href: `#/devices/${encodeURIComponent(id)}` }, id);

function newest(last) {
  if (!last) return h("span", { class: "muted" }, "never heard");
  return [badge(mood(last.verdict), last.label ?? last.verdict), last.score === null ? null : ` ${score(last.score)}`];
}

async function list(root, { params, signal, go }) {
  const query = { q: params.get("q") ?? "", status: params.get("status") ?? "", page: Number(params.get("page") ?? 0) || 0 };
  const search = h("input", { type: "search", value: query.q, maxlength: 64, autocomplete: "off", spellcheck: "false", autocapitalize: "none" });
  const state = choice([["", "any"], ["active", "active"], ["suspended", "suspended"], ["revoked", "revoked"]], query.status);
  const form = h("form", { role: "search", onsubmit: (event) => {
    event.preventDefault();
    go("devices", { q: search.value.trim(), status: state.value });
  } }, field("q", "Id, or a part of it", search), field("status", "Status", state), h("div", { class: "row" }, h("button", { class: "main" }, "Search")));
  root.append(heading("Devices"), card(null, form));
  try {
    const found = await get("/api/devices", { q: query.q, status: query.status, page: query.page || "" }, signal);
    const first = found.page * found.limit;
    const range = found.devices.length ? `${count(first + 1)} to ${count(first + found.devices.length)} of ${count(found.total)}` : "none";
    const pages = h("nav", { class: "row below", "aria-label": "Pages" },
      h("button", { type: "button", disabled: found.page === 0, onclick: () => go("devices", { ...query, page: query.page - 1 || "" }) }, "Before"),
      h("button", { type: "button", disabled: first + found.devices.length >= found.total, onclick: () => go("devices", { ...query, page: query.page + 1 }) }, "Next"));
    root.append(card(null, found.devices.length ? table(`Registered devices: ${range}`, [
      { name: "Device", shape: "any", cell: (each) => link(each.id) },
      { name: "Status", shape: "tight", cell: (each) => badge(mood(each.status), each.status) },
      { name: "Fleet", cell: (each) => each.fleet },
      { name: "Last heard", cell: (each) => (each.last ? h("span", { title: time(each.last.time_ms) }, ago(each.last.time_ms)) : null) },
      { name: "Messages", shape: "num", cell: (each) => most(each.messages, found.counted_to) },
      { name: "Newest verdict", shape: "any", cell: (each) => newest(each.last) },
    ], found.devices) : h("p", {}, "No registered device matches. An id that is not registered can be opened by its link: ",
      query.q ? link(query.q) : "search for it first", "."), pages));
  } catch (error) {
    if (error.name === "AbortError") throw error;
    root.append(fault(error));
  }
}

function history(found) {
  const scored = found.scores.filter((each) => each.score !== null);
  if (!scored.length) return card("Scores", h("p", { class: "muted" }, "None of the newest messages was scored by a model."));
  const values = scored.map((each) => each.score);
  const odd = scored.filter((each) => each.verdict !== "normal").length;
  const told = `${count(scored.length)} scores from ${time(scored[0].time_ms)} to ${time(scored.at(-1).time_ms)}: lowest ${score(Math.min(...values))}, highest ${score(Math.max(...values))}, newest ${score(values.at(-1))}; ${odd ? `${count(odd)} out of the ordinary (rings)` : "none out of the ordinary"}.`;
  return card("Scores", scores(scored, told));
}

function refused(found, texts) {
  const rows = found.refused, sums = found.summaries;
  const told = sums.length ? h("div", { class: "below" }, table("Summaries in the log that count it among the most refused", [
    { name: "Entry", shape: "num", cell: (each) => count(each.index) },
    { name: "From", shape: "tight", cell: (each) => time(each.from_ms) },
    { name: "To", shape: "tight", cell: (each) => time(each.to_ms) },
    { name: "Refused", shape: "num", cell: (each) => count(each.most_refused.find(([id]) => id === found.id)?.[1]) },
    { name: "Reasons of all", shape: "any", cell: (each) => Object.entries(each.counts).map(([reason, many]) => `${count(many)} ${reason}`).join(", ") },
  ], sums)) : null;
  if (!rows.length) return card("Why refused", h("p", { class: "muted" }, "The quarantine holds no message that names this device."), told);
  const reasons = [...new Set(rows.map((each) => each.reason))];
  return card("Why refused",
    h("ul", { class: "plain" }, reasons.map((each) => h("li", {}, h("strong", {}, each), ": ", texts.reasons[each]?.means, " ", h("span", { class: "muted" }, texts.reasons[each]?.do)))),
    h("div", { class: "below" }, table("Newest refused messages that name this device; the name is not verified", [
      { name: "Time", shape: "tight", cell: (each) => time(each.time_ms) },
      { name: "Reason", shape: "tight", cell: (each) => each.reason },
      { name: "From", shape: "any", cell: (each) => `${each.transport} ${each.peer}` },
      { name: "Detail", shape: "any", cell: (each) => each.detail },
      { name: "Record", shape: "num", cell: (each) => h("a", { href: `#/quarantine/${each.id}` }, String(each.id)) },
    ], rows)), told);
}

async function one(root, id, { signal }) {
  const [found, texts] = await Promise.all([get("/api/device", { id }, signal), glossary()]);
  root.append(
    heading(id, null, badge(mood(found.status), found.status)),
    card("Registration", facts([
      ["Status", found.status === "unregistered" ? "not registered: its messages are refused as device-unknown" : found.status],
      ["Fleet", found.fleet],
      ["Key", found.public_key ? [`${found.alg} `, copyable(found.public_key, short(found.public_key, 24), "public key")] : null],
      ["Last heard", found.last ? `${ago(found.last.time_ms)}, ${time(found.last.time_ms)}` : "never, as far as the log goes back"],
      ["Messages", `${most(found.messages, found.counted_to)} in the log`],
    ]), h("p", { class: "row below" }, h("a", { href: `#/records?device=${encodeURIComponent(id)}` }, "All its log entries"),
      h("a", { href: `#/quarantine?device=${encodeURIComponent(id)}` }, "All that was refused"))),
    history(found), refused(found, texts),
    card("Newest messages", found.newest.length ? table("The newest entries of this device in the log", [
      { name: "Entry", shape: "num", cell: (each) => count(each.index) },
      { name: "Time", shape: "tight", cell: (each) => time(each.time_ms) },
      { name: "Number", shape: "num", cell: (each) => each.seq },
      { name: "Verdict", shape: "any", cell: (each) => badge(mood(each.verdict), each.label ?? each.verdict) },
      { name: "Score", shape: "num", cell: (each) => score(each.score) },
    ], found.newest) : h("p", { class: "muted" }, "The log has none.")));
}

export const show = (root, context) => (context.rest[0] ? one(root, context.rest[0], context) : list(root, context));
