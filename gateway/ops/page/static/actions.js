// Actions: the few things that this page may ask for, with the token.

import { get, hasToken, post, setToken } from "./api.js";
import { card, facts, fault, field, h, heading } from "./dom.js";
import { words } from "./format.js";

const TEXTS = {
  "anchor-now": ["Anchor now", "Seal the log and put its root on the chain, without waiting for the interval."],
  reload: ["Reload", "Read the configuration and the registry anew, as SIGHUP does."],
};

function done(result) {
  const plain = Object.entries(result).map(([name, value]) => [words(name), typeof value === "object" && value !== null ? JSON.stringify(value) : String(value)]);
  return plain.length ? facts(plain) : h("p", {}, "Done.");
}

export async function show(root, { signal }) {
  const told = await get("/api/status", {}, signal);
  root.append(heading("Actions", "Everything else on this page only reads. These change something, and need the token of this gateway."));
  if (!told.can_act) {
    root.append(card("This page is read-only", h("p", {}, "No token is set. With http.token_file in the configuration (32 characters or more, for instance from ", h("code", {}, "openssl rand -hex 32"), ") actions can be unlocked here.")));
    return;
  }
  const token = h("input", { type: "password", autocomplete: "off", spellcheck: "false", minlength: 32 });
  const state = h("p", { class: "small muted", role: "status" }, hasToken() ? "A token is held in this tab's memory." : "The token stays in this tab's memory, and is gone when the tab is.");
  root.append(card("Token", h("form", { onsubmit: (event) => {
    event.preventDefault();
    setToken(token.value.trim());
    token.value = "";
    state.textContent = hasToken() ? "A token is held in this tab's memory. Whether it is right shows with the first action." : "No token is held.";
  } }, field("token", "Token", token), h("div", { class: "row" }, h("button", { class: "main" }, "Use it"))), h("div", { class: "below" }, state)));
  for (const name of told.actions) {
    const [title, text] = TEXTS[name] ?? [words(name), ""];
    const result = h("div", { class: "below", "aria-live": "polite" });
    const button = h("button", { type: "button", onclick: async () => {
      button.disabled = true;
      try {
        result.replaceChildren(done((await post(`/api/actions/${name}`)).done));
      } catch (error) {
        result.replaceChildren(fault(error));
      }
      button.disabled = false;
    } }, title);
    root.append(card(title, h("p", { class: "muted" }, text), h("div", { class: "below" }, button), result));
  }
}
