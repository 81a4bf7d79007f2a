// Anchors: which root of the log is on the chain, and in which transaction.

import { address, get, glossary } from "./api.js";
import { badge, card, choice, copyable, fault, field, h, heading, table } from "./dom.js";
import { ago, count, mood, short, time } from "./format.js";

const gwei = (wei) => (wei === null ? null : `${(Number(wei) / 1e9).toPrecision(3)} gwei`);

export async function show(root, { params, signal, go }) {
  const texts = await glossary();
  const chosen = params.get("state") ?? "";
  const state = choice([["", "any"], ...Object.keys(texts.anchor_states).map((each) => [each, each])], chosen);
  const form = h("form", { onsubmit: (event) => { event.preventDefault(); go("anchors", { state: state.value }); } },
    field("state", "State", state), h("div", { class: "row" }, h("button", { class: "main" }, "Show")));
  root.append(heading("Anchors", "An anchor puts the root of the log on the chain. From then on nobody, not even the gateway, can change what it covers without that showing."), card(null, form));
  const rows = [], shown = h("div"), more = h("button", { type: "button" }, "Show older");
  let before = null;
  const fetch = async () => {
    try {
      const found = await get("/api/anchors", { state: chosen, before: before ?? "" }, signal);
      rows.push(...found.rows);
      before = found.before;
    } catch (error) {
      if (error.name === "AbortError") return;
      shown.append(fault(error));
      return;
    }
    more.hidden = before === null;
    shown.replaceChildren(rows.length ? table("Attempts to anchor, the newest first", [
      { name: "Log size", shape: "num", cell: (row) => count(row.size) },
      { name: "State", shape: "any", cell: (row) => [badge(mood(row.state), row.state), h("div", { class: "muted" }, row.detail || texts.anchor_states[row.state])] },
      { name: "Sealed", cell: (row) => h("span", { title: time(row.sealed_ms) }, ago(row.sealed_ms)) },
      { name: "Transaction", cell: (row) => (row.tx_hash ? copyable(row.tx_hash, short(row.tx_hash), "transaction hash") : null) },
      { name: "Block", shape: "num", cell: (row) => (row.block_number === null ? null : count(row.block_number)) },
      { name: "Gas", shape: "num", cell: (row) => (row.gas_used === null ? null : [count(row.gas_used), h("div", { class: "muted" }, gwei(row.price_wei))]) },
      { name: "Root", cell: (row) => copyable(row.root, short(row.root), "root") },
    ], rows) : h("p", {}, chosen ? "No anchor is in that state." : "Nothing was anchored yet. A gateway without [chain] rpc signs its log and anchors nothing."));
  };
  more.addEventListener("click", fetch);
  root.append(card(null, shown, h("div", { class: "row below" }, more,
    h("a", { class: "button", href: address("/api/anchors.csv", { state: chosen }), download: "" }, "Download CSV"),
    h("a", { class: "button", href: address("/api/anchors.json", { state: chosen }), download: "" }, "Download JSON"))));
  await fetch();
}
