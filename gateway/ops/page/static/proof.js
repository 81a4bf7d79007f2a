// Proof checker: a file goes to this gateway, which says step by step what it shows and what it does not.

import { post } from "./api.js";
import { badge, card, copyable, facts, fault, field, h, heading } from "./dom.js";
import { count, mood, short, time } from "./format.js";

const MOST = 2 << 20;
const RESULTS = {
  valid: "Every step that can be tried here holds, under keys of this gateway's registry.",
  untrusted: "The steps hold, but only under keys that the file itself brings. Nobody vouches for them.",
  invalid: "A step that must hold does not. This proof shows nothing.",
  "not-established": "Nothing speaks against it, but a step is open.",
};
const LABELS = { valid: "holds here", untrusted: "nobody vouches for it", invalid: "invalid", "not-established": "not established" };
const HELD = { true: ["good", "holds"], false: ["bad", "fails"], null: ["", "open"] };
const SOURCES = { registry: "the key that this gateway's registry has", file: "only in the file itself" };

const sentences = (title, told) => (told.length ? [h("h3", {}, title), h("ul", { class: "plain" }, told.map((each) => h("li", {}, each)))] : null);

function whose(key) {
  return [`${key.alg}, ${SOURCES[key.by]} `, copyable(key.key, short(key.key, 24), "key")];
}

function anchored(anchor) {
  const said = anchor.recorded === null ? "this gateway has no record of that transaction"
    : anchor.agrees ? `this gateway recorded the same root and size; state: ${anchor.recorded}`
      : "this gateway recorded that transaction with another root or size";
  return facts([["Chain", String(anchor.chain_id)], ["Log size", count(anchor.size)], ["Block", count(anchor.block_number)],
    ["Transaction", copyable(anchor.tx_hash, short(anchor.tx_hash, 24), "transaction hash")], ["Own record", said]]);
}

function told(name, found) {
  return [
    h("section", { class: `card banner ${mood(found.result)}`, tabindex: -1, id: "result" },
      h("h2", { class: "verdict" }, name, badge(mood(found.result), LABELS[found.result] ?? found.result)), h("p", {}, RESULTS[found.result] ?? "")),
    card("Steps", h("ol", { class: "steps" }, found.steps.map((each) => {
      const [kind, mark] = HELD[String(each.held)];
      return h("li", {}, badge(kind, mark), h("div", {}, h("h3", {}, each.title), h("p", { class: "muted" }, each.sentence)));
    }))),
    found.about ? card("Whose message, whose log", facts([
      ["Device", found.about.device], ["Device key", whose(found.about.device_key)], ["Log", found.about.origin], ["Log key", whose(found.about.log_key)],
      ["Entry", count(found.about.index)], ["Logged", time(found.about.logged_ms)],
      ["Checkpoint", [`size ${count(found.about.checkpoint.size)}, root `, copyable(found.about.checkpoint.root, short(found.about.checkpoint.root, 24), "root")]],
    ]), h("h3", {}, "On chain"), found.anchor ? anchored(found.anchor) : h("p", { class: "muted" }, "The file names no anchor.")) : null,
    card("What follows", sentences("It proves", found.proves), sentences("It does not prove", found.does_not_prove), sentences("About this page", found.caveats)),
  ];
}

export async function show(root) {
  const picker = h("input", { type: "file", accept: ".json,application/json" });
  const results = h("div", { class: "stack", "aria-live": "polite" });
  const check = async (file) => {
    if (!file) return;
    results.replaceChildren(h("p", { class: "muted" }, `Checking ${file.name} …`));
    try {
      if (file.size > MOST) throw Object.assign(new Error("the file is too large for a proof"), { hint: "A proof has at most 2 MiB." });
      const found = await post("/api/proof/verify", file);
      results.replaceChildren(...told(file.name, found).filter(Boolean));
      document.getElementById("result")?.focus();
    } catch (error) {
      results.replaceChildren(fault(error));
    }
  };
  picker.addEventListener("change", () => check(picker.files[0]));
  const zone = h("div", { class: "drop", id: "drop" }, field("proof", "Drop a proof file here, or choose one", picker),
    h("p", { class: "small muted" }, "It is checked by this gateway, and not kept."));
  const over = (event, is) => { event.preventDefault(); zone.classList.toggle("over", is); };
  zone.addEventListener("dragover", (event) => over(event, true));
  zone.addEventListener("dragleave", (event) => over(event, false));
  zone.addEventListener("drop", (event) => { over(event, false); check(event.dataTransfer.files[0]); });
  root.append(
    heading("Proof", "A proof file shows that a device said something and that this log holds it."),
    h("div", { class: "card banner warn" }, h("p", {}, "This page belongs to the gateway whose log is judged. An auditor does not rely on it, and runs "),
      h("p", {}, h("code", {}, "securenet proof verify FILE --registry REGISTRY --rpc URL")), h("p", {}, "on a machine of their own, with keys and endpoints that they trust.")),
    zone, results);
}
