// Looks at the status page in a real browser and writes down what it saw, as one JSON document on standard output.
// node look.mjs '{"url": …, "chromium": …, "out": …, "good": …, "bad": …, "token": …, "xss": …}'

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { chromium } from "playwright-core";

const asked = JSON.parse(process.argv[2]);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const VIEWS = {
  overview: "#/overview", devices: "#/devices", device: "#/devices/urn%3Adev%3Apump-00", records: "#/records",
  found: "#/records?kind=response", anchors: "#/anchors", models: "#/models", quarantine: "#/quarantine",
  record: `#/quarantine/${asked.evil}`, proof: "#/proof", actions: "#/actions",
};
const MODES = [
  { name: "light", colorScheme: "light", viewport: { width: 1280, height: 900 } },
  { name: "dark", colorScheme: "dark", viewport: { width: 1280, height: 900 } },
  { name: "phone-light", colorScheme: "light", viewport: { width: 320, height: 640 } },
  { name: "phone-dark", colorScheme: "dark", viewport: { width: 320, height: 640 } },
];
const ARGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP evil.example 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"];

const seen = { views: {}, console: [], foreign: [], csp: [], pwned: [] };

async function open(browser, mode) {
  const context = await browser.newContext({
    colorScheme: mode.colorScheme, viewport: mode.viewport, deviceScaleFactor: 1, reducedMotion: "reduce", acceptDownloads: true,
  });
  await context.addInitScript(() => {
    window.violations = [];
    addEventListener("securitypolicyviolation", (event) => window.violations.push(`${event.violatedDirective} ${event.blockedURI}`));
  });
  const page = await context.newPage();
  page.on("console", (message) => { if (["error", "warning"].includes(message.type())) seen.console.push(`${mode.name}: ${message.text()}`); });
  page.on("pageerror", (error) => seen.console.push(`${mode.name}: ${error.stack}`));
  await page.route("**/*", (route) => {
    const { origin, protocol } = new URL(route.request().url());
    if (origin !== new URL(asked.url).origin && protocol !== "data:") {
      seen.foreign.push(route.request().url());
      return route.abort();
    }
    return route.continue();
  });
  return page;
}

async function visit(page, view) {
  await page.goto("about:blank");
  await page.goto(asked.url + VIEWS[view]);
  await page.waitForSelector("main[data-view] h1");
  await page.waitForFunction(() => document.getElementById("gateway").textContent === "gw-1");
}

async function audit(page) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  return violations.filter((each) => ["serious", "critical"].includes(each.impact))
    .map((each) => `${each.id}: ${each.nodes.map((node) => `${node.target} ${node.failureSummary}`).join(" | ")}`);
}

async function everyView(browser) {
  for (const mode of MODES.filter((each) => !asked.modes || asked.modes.includes(each.name))) {
    const page = await open(browser, mode);
    for (const view of asked.views ?? Object.keys(VIEWS)) {
      await visit(page, view);
      if (view === "overview") await page.waitForTimeout(mode.name === "light" || mode.name === "phone-dark" ? 12_500 : 2500);
      const found = await page.evaluate(() => ({
        text: document.querySelector("main").innerText, title: document.title,
        wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
        faults: document.querySelectorAll('[role="alert"]').length,
        unlabelled: [...document.querySelectorAll("table")].filter((each) => !each.caption?.textContent).length,
      }));
      found.axe = await audit(page);
      seen.views[`${view} ${mode.name}`] = found;
      await keep(page, `${view}-${mode.name}`, mode);
      seen.csp.push(...await page.evaluate(() => window.violations));
      if (await page.evaluate(() => window.pwned !== undefined)) seen.pwned.push(`${view} ${mode.name}`);
    }
    await page.context().close();
  }
}

async function keep(page, name, mode) {
  if (!asked.out) return;
  await page.screenshot({ path: join(asked.out, `${name}.png`), fullPage: mode.name.startsWith("phone") === false, animations: "disabled" });
}

// Tab through a view: every control that is there must be reached, and show that it is.
async function keyboard(browser) {
  const page = await open(browser, MODES[0]);
  seen.keyboard = {};
  for (const view of ["overview", "devices", "records", "quarantine", "proof", "actions", "record"]) {
    await visit(page, view);
    seen.keyboard[view] = await page.evaluate(() => {
      const wanted = [...document.querySelectorAll("a[href], button:not(:disabled), input, select, [tabindex='0']")]
        .filter((each) => each.offsetParent !== null || each.classList.contains("skip"));
      wanted.forEach((each, place) => { each.dataset.place = place; });
      document.body.focus();
      return { wanted: wanted.length, reached: [], bare: [] };
    });
    const { reached, bare, wanted } = seen.keyboard[view];
    for (let step = 0; step < 2 * wanted + 20 && reached.length < wanted; step += 1) {
      await page.keyboard.press("Tab");
      const now = await page.evaluate(() => {
        const focused = document.activeElement;
        const style = getComputedStyle(focused);
        return { place: focused.dataset?.place, ring: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2 };
      });
      if (now.place !== undefined && !reached.includes(now.place)) {
        reached.push(now.place);
        if (!now.ring) bare.push(now.place);
      }
    }
  }
  await visit(page, "overview");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  seen.skipped = await page.evaluate(() => document.activeElement.id);
  await page.context().close();
}

async function live(browser) {
  const page = await open(browser, MODES[0]);
  await visit(page, "overview");
  await page.waitForFunction(() => /^[0-9]/.test(document.querySelector(".figure .value span").textContent), undefined, { timeout: 15_000 });
  seen.live = await page.evaluate(() => [...document.querySelectorAll(".figure")].map((each) => [
    each.querySelector(".name").textContent, each.querySelector(".value").textContent, each.querySelector("svg").getAttribute("aria-label")]));
  let asks = 0;
  page.on("request", () => { asks += 1; });
  await page.evaluate(() => Object.defineProperty(document, "visibilityState", { get: () => "hidden" }));
  await page.waitForTimeout(500);
  asks = 0;
  await page.waitForTimeout(5000);
  seen.asksWhileHidden = asks;
  await page.context().close();
}

// A gateway that hangs, or a cable that is out: nothing is refused, nothing comes.
async function lost(browser) {
  const page = await open(browser, MODES[2]);
  await visit(page, "overview");
  let hangs = true;
  const held = [];
  await page.route("**/api/status", (route) => { if (hangs) held.push(route); else route.continue(); });
  await page.waitForFunction(() => document.querySelector("#readiness").innerText.includes("does not answer"), undefined, { timeout: 20_000 });
  seen.lost = { text: await page.innerText("#readiness"), state: await page.innerText("#state"), held: held.length, axe: await audit(page) };
  await keep(page, "overview-lost", MODES[2]);
  hangs = false;
  await page.waitForFunction(() => !document.querySelector("#readiness").innerText.includes("does not answer"), undefined, { timeout: 20_000 });
  seen.found = await page.innerText("#readiness");
  await page.context().close();
}

async function proofs(browser) {
  const page = await open(browser, MODES[0]);
  await visit(page, "proof");
  await page.setInputFiles("input[type=file]", asked.good);
  await page.waitForSelector("#result");
  seen.proofGood = await page.innerText("main");
  seen.proofAxe = await audit(page);
  await keep(page, "proof-valid-light", MODES[0]);
  const text = readFileSync(asked.bad, "utf8");
  await page.evaluate((content) => {
    const data = new DataTransfer();
    data.items.add(new File([content], "tampered.json", { type: "application/json" }));
    document.getElementById("drop").dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
  }, text);
  await page.waitForFunction(() => document.getElementById("result")?.innerText.includes("tampered.json"));
  seen.proofBad = await page.innerText("main");
  seen.proofFocus = await page.evaluate(() => document.activeElement.id);
  await page.context().close();
}

async function actions(browser) {
  const page = await open(browser, MODES[0]);
  await visit(page, "actions");
  await page.fill("input[type=password]", asked.token);
  await page.click("button.main");
  await page.getByRole("button", { name: "Anchor now" }).click();
  await page.waitForFunction(() => document.querySelector("main").innerText.includes("size 600 is sealed"));
  seen.action = await page.innerText("main");
  seen.kept = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie, location.href, history.state]));
  await page.reload();
  await page.waitForSelector("main[data-view] h1");
  seen.afterReload = await page.innerText("main");
  await page.context().close();
}

async function forms(browser) {
  const page = await open(browser, MODES[0]);
  await visit(page, "devices");
  await page.fill("#field-q", "pump-1");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.querySelectorAll("tbody tr").length === 2);
  seen.search = { url: page.url(), focus: await page.evaluate(() => document.activeElement.tagName) };
  await visit(page, "records");
  await page.selectOption("#field-verdict", "anomalous");
  await page.getByRole("button", { name: "Find" }).click();
  await page.waitForFunction(() => document.querySelectorAll("tbody tr").length > 0 && location.hash.includes("anomalous"));
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: "Download CSV" }).click()]);
  seen.csv = readFileSync(await download.path(), "utf8").split("\r\n").slice(-3);
  seen.name = download.suggestedFilename();
  await page.context().close();
}

async function rebinding(browser) {
  const page = await (await browser.newContext()).newPage();
  const answer = await page.goto(asked.url.replace("127.0.0.1", "evil.example"));
  seen.rebound = answer.status();
}

const browser = await chromium.launch({ executablePath: asked.chromium, args: ARGS, timeout: 60_000 });
try {
  for (const look of [everyView, keyboard, live, lost, proofs, actions, forms, rebinding]) {
    if (!asked.only || asked.only.includes(look.name)) await look(browser);
  }
} finally {
  await browser.close();
}
process.stdout.write(JSON.stringify(seen));
