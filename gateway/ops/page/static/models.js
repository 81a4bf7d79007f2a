// Models: where each came from, step by step, and what became of it here.

import { get } from "./api.js";
import { badge, card, copyable, facts, h, heading, table } from "./dom.js";
import { bytes, count, mood, score, short, time } from "./format.js";

const MARKS = { done: ["good", "done"], open: ["", "open"], failed: ["bad", "failed"], unknown: ["", "not known"] };

function step(mark, title, ...told) {
  const [kind, text] = MARKS[mark];
  return h("li", {}, badge(kind, text), h("div", {}, h("h3", {}, title), told.filter(Boolean).map((each) => h("p", {}, each))));
}

// What the chain has of a publication; the gateway keeps it only while it follows the contract.
function recorded(record, name) {
  if (!record) return [["Publisher, manifest CID and transaction: ", h("code", {}, `securenet model show ${name}`), " asks the chain."]];
  return [
    ["Publisher ", copyable(record.publisher, short(record.publisher, 24), "publisher's account"), record.revoked ? badge("bad", "revoked") : null],
    ["Manifest CID ", copyable(record.manifest_cid, short(record.manifest_cid, 24), "manifest CID")],
    record.tx_hash ? [`Block ${count(record.block_number)}, transaction `, copyable(record.tx_hash, short(record.tx_hash, 24), "transaction hash")] : null,
  ];
}

// The road of a version: published, granted, fetched, opened, in force, scoring.
function provenance(model, version, contract) {
  const { chain, reports } = model;
  const manifest = version?.manifest ?? null;
  const mine = version ? reports.filter((each) => each.version === version.version) : [];
  const loaded = mine.findLast((each) => each.result !== "refused");
  const firstScore = mine.map((each) => each.first_score).filter(Boolean).at(-1);
  const refusal = chain?.reason ?? null;
  const published = chain?.newest ? "done" : version ? "done" : "open";
  const record = (chain?.published ?? []).find((each) => each.version === version?.version);
  return h("ol", { class: "steps" },
    step(published, "Published: the manifest is recorded on the chain",
      chain ? `The contract's newest version is ${chain.newest || "none"}; nothing below ${chain.floor} may run.` : "The chain was not read since the start.",
      version ? ["Manifest ", copyable(version.manifest_sha256, short(version.manifest_sha256, 24), "manifest digest")] : null,
      ...recorded(record, model.model),
      contract ? ["Contract ", copyable(contract, short(contract, 24), "contract address")] : null),
    step(chain ? (chain.granted ? "done" : "failed") : "unknown", "Granted: this gateway may open it",
      chain && !chain.granted ? "The contract has no grant for this gateway: ask the publisher for one." : null),
    step(manifest && !manifest.fault ? "done" : version ? "unknown" : "open", "Enciphered and stored: anybody may carry it, nobody can read it",
      manifest?.ciphertext_cid ? [`Ciphertext, ${bytes(manifest.ciphertext_bytes)}: `, copyable(manifest.ciphertext_cid, short(manifest.ciphertext_cid, 24), "CID")] : null,
      manifest?.fault ? `The kept manifest cannot be read: ${manifest.fault}` : null),
    step(manifest && !manifest.fault ? (manifest.wrapped_for_us ? "done" : "failed") : version ? "unknown" : "open", "Key: wrapped for this gateway, signed by the publisher",
      manifest?.signed_by ? `Signed by ${manifest.signed_by}, for ${count(manifest.recipients)} ${manifest.recipients === 1 ? "gateway" : "gateways"}, on ${time(manifest.created_ms)}; valid until ${time(manifest.expires_ms)}.` : null),
    step(loaded ? "done" : refusal ? "failed" : "open", "Deciphered, checked and loaded",
      manifest?.plaintext_sha256 ? [`Model, ${bytes(manifest.plaintext_bytes)}: `, copyable(manifest.plaintext_sha256, short(manifest.plaintext_sha256, 24), "model digest")] : null,
      loaded ? [`${time(loaded.time_ms)}`, loaded.entry === null ? "" : `, log entry ${count(loaded.entry)}`] : null,
      refusal ? `Version ${chain.refused} is refused (${refusal}): ${chain.detail}` : null),
    step(firstScore ? "done" : loaded ? "unknown" : "open", "Classifies messages",
      firstScore ? [`First: entry ${count(firstScore.index)}, ${time(firstScore.time_ms)}, `, badge(mood(firstScore.verdict), firstScore.label ?? firstScore.verdict), ` ${score(firstScore.score)}`] : null,
      loaded && !firstScore ? "Among the messages right after loading none was judged by it, or they are gone." : null));
}

function one(model, scoring, contract) {
  const running = model.chain?.running ?? null;
  const version = model.versions.find((each) => each.version === running) ?? model.versions.find((each) => each.state === "good") ?? model.versions[0];
  const work = (scoring?.models ?? []).find((each) => each.model === model.model);
  const state = running !== null ? ["good", `version ${running} runs`] : ["warn", "does not run"];
  return h("section", { class: "card" }, h("h2", { class: "verdict" }, model.model, badge(...state), model.chain?.expired ? badge("bad", "its time is over") : null, model.chain?.put_aside ? badge("bad", "put aside") : null),
    work ? facts([["Scored", `${count(work.scored)} messages since the start`], ["Faults", work.faults ? count(work.faults) : null]]) : null,
    provenance(model, version, contract),
    model.versions.length > 1 ? h("div", { class: "below" }, table("Versions that ran here", [
      { name: "Version", shape: "num", cell: (each) => each.version },
      { name: "State", cell: (each) => badge(mood(each.state), { good: "last good one", before: "the good one before", aside: "failed at work" }[each.state] ?? each.state) },
      { name: "Manifest", cell: (each) => copyable(each.manifest_sha256, short(each.manifest_sha256), "manifest digest") },
    ], model.versions)) : null,
    model.reports.length ? h("div", { class: "below" }, table("What was done with its versions, the newest first", [
      { name: "Time", shape: "tight", cell: (each) => time(each.time_ms) },
      { name: "Version", shape: "num", cell: (each) => each.version },
      { name: "Result", cell: (each) => badge(mood(each.result), each.result) },
      { name: "Reason", cell: (each) => each.reason || null },
      { name: "Log entry", shape: "num", cell: (each) => (each.entry === null ? null : count(each.entry)) },
    ], model.reports)) : null);
}

export async function show(root, { signal }) {
  const found = await get("/api/models", {}, signal);
  root.append(heading("Models", "Where each model came from, and what this gateway did with it. Only what the chain, the publisher's signature and the log say is shown as done."));
  if (!found.models.length) root.append(card(null, h("p", {}, "No model is configured (models.enabled), and none ever ran here. Every message is unscored.")));
  if (found.frozen) root.append(h("div", { class: "card banner warn" }, h("h2", {}, "No new version is loaded: the chain's newest final block is too old.")));
  root.append(...found.models.map((each) => one(each, found.scoring, found.contract)));
  if (found.sources.length) root.append(card("Sources", table("Where bundles are fetched from; none is trusted, every block is hashed", [
    { name: "Source", cell: (each) => h("span", { class: "mono" }, each.label) },
    { name: "State", cell: (each) => (each.fault ? [badge("bad", "failed"), h("div", { class: "muted" }, each.fault)] : badge("good", "well")) },
  ], found.sources)));
}
