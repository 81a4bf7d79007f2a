// What the page asks of the gateway. The token, if any, lives in this module's memory and nowhere else.

let token = "";

export class Refused extends Error {
  constructor(status, message, hint) {
    super(message);
    this.status = status;
    this.hint = hint;
  }
}

export const setToken = (text) => { token = text; };
export const hasToken = () => token !== "";

async function answer(request) {
  let response;
  try {
    response = await request;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "the gateway does not answer", "Is it running? Look at: systemctl status securenet-gateway");
  }
  let body = {};
  try { body = await response.json(); } catch { /* an answer without a body says enough by its status */ }
  if (!response.ok) throw new Refused(response.status, body.error ?? `status ${response.status}`, body.hint ?? "");
  return body;
}

export function address(path, params = {}) {
  const given = Object.entries(params).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  const query = new URLSearchParams(given).toString();
  return query ? `${path}?${query}` : path;
}

export const get = (path, params, signal) => answer(fetch(address(path, params), { signal, credentials: "omit" }));

export function post(path, body) {
  const headers = { "X-SecureNet-Request": "page" };
  if (path.startsWith("/api/actions/")) headers.Authorization = `Bearer ${token}`;
  return answer(fetch(path, { method: "POST", headers, body, credentials: "omit" }));
}

let known = null;
export function glossary() {
  known ??= get("/api/words").catch((error) => { known = null; throw error; });
  return known;
}
