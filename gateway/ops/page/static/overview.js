// Overview: is it ready, how much comes in and how fast, what is refused and why, and what everything rests on.

import { get, glossary } from "./api.js";
import { badge, card, copyable, facts, h, heading, table } from "./dom.js";
import { ago, bytes, count, mood, rate, short, span, time, words } from "./format.js";
import { meter, spark } from "./plot.js";

const KEPT = 90; // three minutes

const sum = (counts) => Object.values(counts ?? {}).reduce((all, each) => all + each, 0);

function quantile(bounds, counts, share) {
  const rank = share * counts.reduce((all, each) => all + each, 0);
  let seen = 0;
  for (const [place, each] of counts.entries()) {
    seen += each;
    if (each && seen >= rank) return place < bounds.length ? bounds[place] : 2 * bounds.at(-1);
  }
  return null;
}

function figure(name, unit) {
  const value = h("span", {}, "–"), plot = spark(name);
  const note = h("p", { class: "small muted" }, " ");
  const past = [];
  return {
    node: h("section", { class: "card figure" },
      h("h3", { class: "name" }, name), h("p", { class: "value" }, value, h("small", {}, unit)), plot.svg, note),
    add(next, text, told) {
      past.push(next);
      if (past.length > KEPT) past.shift();
      value.textContent = text;
      note.textContent = told;
      const most = Math.max(0, ...past.filter((each) => each !== null));
      plot.draw(past, `now ${text} ${unit}, most ${rate(most)} in the last ${span(2 * past.length)}`);
    },
  };
}

function live() {
  const shown = {
    received: figure("Received", "/s"), accepted: figure("Accepted", "/s"), rejected: figure("Rejected", "/s"),
    p50: figure("Median answer", "ms"), p99: figure("99 of 100 within", "ms"),
  };
  let last = null;
  const node = h("div", { class: "grid figures" }, Object.values(shown).map((each) => each.node));
  return {
    node,
    update({ status, latency }) {
      const now = {
        at: performance.now(), received: sum(status.received), accepted: status.accepted, rejected: sum(status.rejected), counts: latency.counts,
      };
      if (last && now.at - last.at < 1000) return; // too near to tell a rate
      if (last && now.received >= last.received && now.at - last.at < 60_000) {
        const seconds = (now.at - last.at) / 1000;
        for (const name of ["received", "accepted", "rejected"]) {
          const value = Math.max(0, now[name] - last[name]) / seconds;
          shown[name].add(value, rate(value), `${count(now[name])} since the start`);
        }
        const recent = now.counts.map((each, place) => each - last.counts[place]);
        for (const [name, share, whole] of [["p50", 0.5, status.p50_ms], ["p99", 0.99, status.p99_ms]]) {
          const value = quantile(latency.bounds_ms, recent, share);
          shown[name].add(value, value === null ? "–" : `≤ ${rate(value)}`, whole === null ? "nothing answered yet" : `≤ ${rate(whole)} ms since the start`);
        }
      } else {
        for (const name of ["received", "accepted", "rejected"]) shown[name].add(null, "–", `${count(now[name])} since the start`);
        shown.p50.add(null, "–", status.p50_ms === null ? "nothing answered yet" : `≤ ${rate(status.p50_ms)} ms since the start`);
        shown.p99.add(null, "–", status.p99_ms === null ? "nothing answered yet" : `≤ ${rate(status.p99_ms)} ms since the start`);
      }
      last = now;
    },
  };
}

function readiness(status) {
  const kind = !status.ready ? "bad" : status.warnings.length ? "warn" : "good";
  const title = { bad: "Not ready: messages are not taken", warn: "Ready; somebody should look", good: "Ready: messages are taken" }[kind];
  const told = [...status.problems, ...status.warnings];
  return h("section", { class: `card banner ${kind}`, id: "readiness" }, h("h2", {}, title),
    told.length ? h("ul", {}, told.map((each) => h("li", {}, each))) : h("p", { class: "muted" }, `Up for ${span(status.uptime_s)}; nothing stands in the way.`));
}

function lost(seen) {
  return h("section", { class: "card banner bad", id: "readiness" }, h("h2", {}, "The gateway does not answer"),
    h("p", {}, `What is below is as it was at ${time(seen)}. The page asks again by itself. Look on the box: `, h("code", {}, "systemctl status securenet-gateway")));
}

function refusals(status, texts) {
  const rows = Object.entries(status.rejected).filter(([, each]) => each > 0).sort((a, b) => b[1] - a[1]);
  if (!rows.length) return card("Refused, by reason", h("p", { class: "muted" }, "Nothing was refused since the start."));
  return card("Refused, by reason", table("Refused messages since the start, the most frequent reason first", [
    { name: "Reason", shape: "tight", cell: ([reason]) => h("a", { href: `#/quarantine?reason=${reason}` }, reason) },
    { name: "Count", shape: "num", cell: ([, each]) => count(each) },
    { name: "What it means", cell: ([reason]) => texts.reasons[reason]?.means },
    { name: "What to do", cell: ([reason]) => texts.reasons[reason]?.do },
  ], rows));
}

function verdicts(status, texts) {
  const known = status.verdicts ?? {};
  const all = Math.max(1, sum(known));
  return card("Verdicts", sum(known) ? table("What detection said of accepted messages since the start", [
    { name: "Verdict", shape: "tight", cell: ([name]) => h("a", { href: `#/records?kind=message&verdict=${name}` }, badge(mood(name), name)) },
    { name: "Count", shape: "num", cell: ([, each]) => count(each) },
    { name: "Share", cell: ([name, each]) => [meter(each / all, `${Math.round(100 * each / all)} % of all`), h("div", { class: "muted" }, texts.verdicts[name] ?? "")] },
  ], Object.entries(known)) : h("p", { class: "muted" }, "Nothing was accepted since the start."));
}

function transports(status) {
  const rows = Object.entries(status.transports);
  return card("Links and queues", rows.length ? table("How messages come in", [
    { name: "Link", cell: ([name]) => name },
    { name: "State", cell: ([, link]) => [badge(mood(link.state), link.state), link.detail ? h("div", { class: "muted" }, link.detail) : null] },
    { name: "Received", shape: "num", cell: ([name]) => count(status.received[name] ?? 0) },
    { name: "Restarts", shape: "num", cell: ([, link]) => count(link.restarts) },
  ], rows) : h("p", { class: "muted" }, "No transport is switched on."), h("h3", {}, "Queues"), facts([
    ["Waiting", `${count(status.waiting)}${status.queue_messages ? ` of ${count(status.queue_messages)}` : ""}`],
    ["Held back", `${count(status.pushed_back)} asked to come again`],
    ["Commit faults", count(status.commit_faults)],
    ["Not taken in", count(status.not_taken)],
  ]));
}

function store(status) {
  const share = status.disk_bytes === null ? null : status.disk_bytes / status.budget_bytes;
  return card("Store and registry", facts([
    ["Log", `${count(status.log_size)} entries`],
    ["Disk", share === null ? "not measured yet" : [`${bytes(status.disk_bytes)} of ${bytes(status.budget_bytes)}`, meter(share, `${Math.round(100 * share)} % of the budget is used`)]],
    ["Quarantined", status.quarantined === undefined ? null : `${count(status.quarantined)} since the start`],
    ["Devices", `${count(status.registry.active)} active of ${count(status.registry.devices)}`],
    ["Suspended", status.registry.suspended ? count(status.registry.suspended) : null],
    ["Revoked", status.registry.revoked ? count(status.registry.revoked) : null],
    ["Registry seen", [ago(status.registry.as_of_ms), h("div", { class: "small muted" }, time(status.registry.as_of_ms))]],
  ]));
}

function anchoring(status) {
  const { anchors, chain } = status;
  if (!chain) return card("Anchors", h("p", { class: "muted" }, "No chain is configured: the log's roots are signed, and not anchored."));
  const open = Object.entries(anchors?.counts ?? {}).filter(([, each]) => each);
  return card("Anchors", facts([
    ["Chain", [badge(mood(chain.state), chain.state), ` ${chain.id}`, chain.detail ? h("div", { class: "muted small" }, chain.detail) : null]],
    ["State", anchors ? anchors.state : "anchoring is switched off"],
    ["Last final", anchors?.final_size ? `size ${count(anchors.final_size)}, ${ago(anchors.final_ms)}` : "none yet"],
    ["Not anchored", anchors ? `${count(anchors.unanchored)} entries` : null],
    ["Next", anchors?.next_at_ms ? ago(anchors.next_at_ms) : null],
    ["By state", open.length ? open.map(([name, each]) => `${each} ${name}`).join(", ") : null],
    ["Account", anchors?.account ? copyable(anchors.account, short(anchors.account), "account") : null],
  ]), h("p", { class: "below" }, h("a", { href: "#/anchors" }, "All anchors")));
}

function trust(status) {
  const certificates = status.certificates ?? [];
  const { clock } = status;
  return card("Clock and certificates", facts([
    ["Clock", clock ? [badge(clock.trusted ? "good" : "warn", clock.trusted ? "trusted" : "not trusted"), h("div", { class: "muted small" }, clock.why ?? "")] : "nothing is known of it"],
    ["Offset", clock?.offset_ms === null || clock?.offset_ms === undefined ? null : `${count(clock.offset_ms)} ms`],
    ["Steps", clock ? count(clock.steps) : null],
    ...(certificates.length ? certificates.map((each) => {
      const days = Math.floor((each.not_after_ms - Date.now()) / 86_400_000);
      const kind = days < 1 ? "bad" : days < 30 ? "warn" : "good";
      return [each.name, [badge(kind, days < 0 ? "expired" : `${count(days)} days left`), h("div", { class: "small muted" }, time(each.not_after_ms))]];
    }) : [["Certificates", "none is watched"]]),
  ]));
}

function models(status) {
  const known = Object.entries(status.models?.models ?? {});
  return card("Models in force", known.length ? table("Models that this gateway is to run", [
    { name: "Model", cell: ([name]) => h("a", { href: "#/models" }, name) },
    { name: "Runs", shape: "num", cell: ([, each]) => (each.running === null ? "none" : `version ${each.running}`) },
    { name: "State", cell: ([, each]) => [each.running === null ? badge("warn", "not loaded") : badge("good", "running"),
      each.reason ? h("div", { class: "muted" }, `version ${each.refused} refused: ${words(each.reason)}`) : null] },
  ], known) : h("p", { class: "muted" }, "No model is configured; every message is unscored."));
}

export async function show(root, { signal, onStatus }) {
  const [told, texts] = await Promise.all([get("/api/status", {}, signal), glossary()]);
  const figures = live();
  const ready = h("div", { role: "status", "aria-live": "polite" });
  const rest = h("div", { class: "wide" });
  let drawn = "", seen = Date.now();
  root.append(heading("Overview"), ready, figures.node, rest);
  const draw = (each) => {
    if (!each) { // what was drawn is no longer known to be so
      if (ready.dataset.said !== "lost") ready.replaceChildren(lost(seen));
      ready.dataset.said = "lost";
      return;
    }
    seen = Date.now();
    figures.update(each);
    const { uptime_s: _, ...status } = each.status;
    const now = JSON.stringify(status);
    const kept = ready.firstChild && ready.dataset.said === JSON.stringify([status.problems, status.warnings]);
    if (!kept) {
      ready.replaceChildren(readiness(each.status));
      ready.dataset.said = JSON.stringify([status.problems, status.warnings]);
    }
    if (now === drawn || rest.contains(document.activeElement)) return; // never pull the ground from under a reader
    drawn = now;
    const refused = refusals(status, texts);
    refused.classList.add("full");
    rest.replaceChildren(verdicts(status, texts), transports(status), store(status), anchoring(status), trust(status), models(status), refused);
  };
  draw(told);
  onStatus(draw);
}
