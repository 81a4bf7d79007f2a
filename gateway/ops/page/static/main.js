// The shell: which view is shown, and how the gateway is, in the header.

import { get } from "./api.js";
import { fault, h } from "./dom.js";
import * as actions from "./actions.js";
import * as anchors from "./anchors.js";
import * as devices from "./devices.js";
import * as models from "./models.js";
import * as overview from "./overview.js";
import * as proof from "./proof.js";
import * as quarantine from "./quarantine.js";
import * as records from "./records.js";

const VIEWS = { overview, devices, records, anchors, models, quarantine, proof, actions };
const POLL_MS = 2000;
const PATIENCE_MS = 5000; // a gateway that hangs, or a cable that is out, says nothing at all
const main = document.getElementById("main");
let leave = null;
let listener = null;
let first = true;

export function go(view, params = {}) {
  const given = Object.entries(params).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  const query = new URLSearchParams(given).toString();
  location.hash = `#/${view}${query ? `?${query}` : ""}`;
}

function route() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, ...rest] = path.split("/");
  const known = Object.hasOwn(VIEWS, name);
  return { name: known ? name : "overview", rest: known ? rest.map(decoded) : [], params: new URLSearchParams(query ?? "") };
}

function decoded(text) {
  try { return decodeURIComponent(text); } catch { return text; }
}

async function show() {
  leave?.abort();
  leave = new AbortController();
  listener = null;
  const { signal } = leave;
  const { name, rest, params } = route();
  for (const link of document.querySelectorAll("#views a")) {
    if (link.getAttribute("href") === `#/${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const root = h("div", { class: "stack" });
  try {
    await VIEWS[name].show(root, { rest, params, signal, go, onStatus: (each) => { if (!signal.aborted) listener = each; } });
  } catch (error) {
    if (error.name === "AbortError") return;
    root.replaceChildren(fault(error));
  }
  if (signal.aborted) return;
  main.replaceChildren(root);
  const title = root.querySelector("h1");
  document.title = `${title?.textContent ?? "Status"} · SecureNet Gateway`;
  if (!first) title?.focus({ preventScroll: true });
  if (!first) scrollTo(0, 0);
  first = false;
  main.dataset.view = name;
  if (listener) look();
}

// --- the state of the gateway, every two seconds while somebody looks ---

const state = document.getElementById("state");
let said = "";
let turn = 0;
let asking = false;

function say(kind, text) {
  if (said === text) return;
  said = text;
  state.replaceChildren(h("span", { class: `badge ${kind}` }, text));
}

async function look() {
  if (asking || document.visibilityState !== "visible") return;
  asking = true;
  try {
    const told = await get("/api/status", {}, AbortSignal.timeout(PATIENCE_MS));
    const { status } = told;
    document.getElementById("gateway").textContent = status.gateway;
    document.getElementById("fleet").textContent = `fleet ${status.fleet}`;
    document.getElementById("foot").textContent = `SecureNet Gateway ${told.version} · log ${status.origin} · times are UTC`;
    if (!status.ready) say("bad", "Not ready");
    else if (status.warnings.length) say("warn", "Ready, with warnings");
    else say("good", "Ready");
    listener?.(told);
  } catch {
    say("bad", "The gateway does not answer");
    listener?.(null);
  } finally {
    asking = false;
  }
}

document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
addEventListener("hashchange", show);
document.addEventListener("visibilitychange", look);
setInterval(() => {
  turn += 1;
  if (listener || turn % 5 === 0) look(); // a view without live figures needs it less often
}, POLL_MS);
show();
look();
