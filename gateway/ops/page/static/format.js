// Numbers, times and names as people read them.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const fine = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

export const count = (value) => (value === null || value === undefined ? "–" : whole.format(value));
export const rate = (value) => (value === null ? "–" : value < 100 ? fine.format(value) : whole.format(value));

export function bytes(value) {
  if (value === null || value === undefined) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let place = 0;
  while (value >= 1024 && place < units.length - 1) { value /= 1024; place += 1; }
  return `${place ? fine.format(value) : whole.format(value)} ${units[place]}`;
}

export function span(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const parts = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const at = parts.findIndex(([, size]) => Math.abs(seconds) >= size);
  if (at < 0) return "0 s";
  const [unit, size] = parts[at];
  const [next, smaller] = parts[at + 1] ?? [];
  const rest = smaller ? Math.floor((Math.abs(seconds) % size) / smaller) : 0;
  return `${Math.trunc(seconds / size)} ${unit}${rest ? ` ${rest} ${next}` : ""}`;
}

// UTC, as in the logs: two people in two places read the same.
export function time(ms) {
  if (ms === null || ms === undefined) return "–";
  const date = new Date(ms);
  return Number.isNaN(date.getTime()) ? `${ms} ms` : date.toISOString().replace("T", " ").slice(0, 19) + "Z";
}

export function ago(ms, now = Date.now()) {
  if (ms === null || ms === undefined) return "never";
  const seconds = Math.round((now - ms) / 1000);
  return seconds >= 0 ? `${span(seconds)} ago` : `in ${span(-seconds)}`;
}

export const short = (text, most = 18) => (!text ? "–" : text.length <= most ? text : `${text.slice(0, most - 7)}…${text.slice(-6)}`);
export const score = (value) => (value === null || value === undefined ? "–" : Number(value).toPrecision(3));
export const words = (text) => String(text ?? "").replaceAll("-", " ").replaceAll("_", " ");

const MOODS = {
  good: ["up", "active", "final", "normal", "loaded", "good", "valid", "ready", "running"],
  warn: ["suspended", "mined", "sealed", "signed", "broadcast", "replaced", "reorged", "anomalous", "untrusted", "returned",
    "starting", "not-established", "before", "unregistered", "classified"],
  bad: ["down", "revoked", "failed", "reverted", "refused", "invalid", "misconfigured", "aside", "damaged", "lost"],
};
export const mood = (word) => Object.keys(MOODS).find((name) => MOODS[name].includes(word)) ?? "";
