import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { agree, describesItself } from "./api.mjs";
import { accessible, browser, done, fits, open, picture, quiet, shows, text } from "./browser.mjs";
import { changesAreShown } from "./changes.mjs";
import { historyIsRight } from "./history.mjs";
import { looksRight } from "./looks.mjs";
import { memoryIsBounded } from "./memory.mjs";
import { start, stripping, until } from "./services.mjs";

const aux = await start("aux-service", { BACKEND: "embedded" });
const main = await start("main-api", { AUX_URL: aux.url, RETRY_MAX_ATTEMPTS: "1", BREAKER_OPEN_FOR: "2s" });

const ofAux = await describesItself(aux.url);
const ofMain = await describesItself(main.url);
agree(ofMain.api, ofAux.api);
done(`descriptions: ${ofAux.routes} and ${ofMain.routes} routes, ${ofAux.examples + ofMain.examples} examples, each matches its schema, and so do the responses`);

const asked = path => fetch(main.url + path).then(answer => answer.text());

// main-api's page without faults.
const page = await open(main.url);
await shows(page, "#overall", /all is well/);
await shows(page, "#circuit", /closed/);
await shows(page, "[data-aux=state]", /up/);
await accessible(page, "the page in light");
await picture(page, "page-well");
const before = await text(page, "[data-main=requests]");
for (let i = 0; i < 60; i += 1) await asked("/param/challenge/kantox");
await until("requests are counted live", async () => (await text(page, "[data-main=requests]")) !== before);
await until("the hit ratio is shown", async () => { const shown = await text(page, "[data-main=hits]"); return parseFloat(shown) > 50 || shown; });
await until("the latency is shown", async () => { const shown = await text(page, "[data-main=latency]"); return parseFloat(shown) > 0 || shown; });
done("the page shows requests, hits and latency live");

const dark = await open(main.url, { colorScheme: "dark", viewport: { width: 360, height: 740 } });
await shows(dark, "#overall", /all is well/);
await accessible(dark, "the page in dark, on a phone");
await fits(dark, "the page");
await picture(dark, "page-phone-dark");
await quiet(dark, "the page in dark");
done("the page on a phone, in dark: readable, and no wider than the screen");

// The page with the keyboard alone.
const reached = new Set();
for (let i = 0; i < 12; i += 1) {
  await page.keyboard.press("Tab");
  reached.add(await page.evaluate(() => document.activeElement.textContent.trim()));
}
for (const link of await page.locator("nav a, nav button").allInnerTexts()) assert.ok(reached.has(link), `Tab does not reach ${link}`);
await page.locator("#pause").focus();
await page.keyboard.press("Enter");
assert.equal(await page.locator("#pause").getAttribute("aria-pressed"), "true");
await page.keyboard.press("Enter");
for (const link of await page.locator("nav a").evaluateAll(links => links.map(link => link.href))) assert.equal((await fetch(link)).status, 200, link);
done("the keyboard reaches every link and button of the page, and every link works");

// The page below a prefix, like behind the ingress, with and without a slash at the end.
const ingress = await stripping("/main-api", main.url);
for (const url of [ingress.url, `${ingress.url}/`]) {
  const below = await open(url);
  await shows(below, "#overall", /all is well/);
  await below.locator("nav a").first().click();
  await shows(below, "#title", /main-api/);
  await quiet(below, `the page at ${url}`);
}
ingress.close();
done("the page works below a prefix");

// The documentation of both services.
for (const [name, url, value] of [["main-api", main.url, '"aux_version"'], ["aux-service", aux.url, '"version"']]) {
  const docs = await open(`${url}/docs#param`);
  await shows(docs, "#title", new RegExp(name));
  const form = docs.locator("#param form");
  await form.locator("input[name=name]").focus();
  await docs.keyboard.press("Enter");
  await shows(docs, "#param [role=status]", /200[\s\S]*cloud-engineer/);
  assert.ok((await text(docs, "#param [role=status]")).includes(value));
  docs.down = true;
  await form.locator("input[name=name]").fill("/no/such name?#");
  await form.locator("button").click();
  await shows(docs, "#param [role=status]", /400[\s\S]*invalid-parameter-name/);
  await form.locator("input[name=name]").fill("no/such/name");
  await docs.keyboard.press("Enter");
  await shows(docs, "#param [role=status]", /404[\s\S]*parameter-not-found/);
  await docs.locator("details").evaluateAll(all => all.forEach(details => { details.open = true; }));
  await accessible(docs, `the documentation of ${name}`);
  await docs.setViewportSize({ width: 360, height: 740 });
  await fits(docs, `the documentation of ${name}`);
  await docs.setViewportSize({ width: 1100, height: 900 });
  await docs.locator("details").evaluateAll(all => all.forEach(details => { details.open = details.id === "param"; }));
  await picture(docs, `docs-${name}`);
  await quiet(docs, `the documentation of ${name}`);
}
done("the documentation of both services shows every route and sends requests to it");

// The pages of a service that requires a token.
const folder = mkdtempSync(path.join(tmpdir(), "pages-"));
const token = path.join(folder, "token");
writeFileSync(token, "open-sesame-open-sesame\n", { mode: 0o600 });
const guarded = await start("main-api", { AUX_URL: aux.url, AUTH_TOKEN_FILE: token });
const asking = await open(guarded.url, { down: true });
await shows(asking, "#overall", /a token is needed/);
await shows(asking, "#stream", /a token is needed/);
await asking.locator("#token").fill("open-sesame-open-sesame");
await asking.keyboard.press("Enter");
await shows(asking, "#overall", /all is well/);
await shows(asking, "#stream", /live/);
await asking.goto(`${guarded.url}/docs#buckets`);
await asking.locator("#buckets form button").click();
await shows(asking, "#buckets [role=status]", /401[\s\S]*unauthorized/);
await asking.locator("#token").fill("open-sesame-open-sesame");
await asking.locator("#buckets form button").click();
await shows(asking, "#buckets [role=status]", /200/);
await quiet(asking, "the pages of a service that requires a token");
await guarded.kill();
rmSync(folder, { recursive: true });
done("the pages of a service that requires a token ask for it");

await looksRight(main, ofMain.isStatus);
await historyIsRight(main);
await memoryIsBounded(main);

// aux-service is killed and restarted.
page.down = true;
await aux.kill();
for (let i = 0; i < 12; i += 1) await asked(`/param/not/asked/before/${i}`);
await shows(page, "#circuit", /open/);
await shows(page, "[data-aux=state]", /does not respond/);
assert.equal(await page.locator("[data-aux=uptime]").isVisible(), false, "what aux-service said before is not true now");
await shows(page, "#overall", /degraded/);
await picture(page, "page-circuit-open");
await shows(page, "#openings", /open for \d/);
const late = await open(main.url, { down: true });
await shows(late, "#openings", /\/param\/\{name\}\s+.?\s?(open for|half open until the next request, after) \d/);
await shows(late, "[data-edge=main]", /circuit open/);
await quiet(late, "a page that is opened during the outage");
const back = await start("aux-service", { BACKEND: "embedded" }, aux.port);
// The new process is shown at once, although the old one responded a moment ago.
await shows(page, "[data-aux=uptime]", /^\d+ s$/);
// The circuit of a route stays half open until a call of that route has probed aux-service.
let probes = 0;
await until("#circuit shows closed", async () => {
  await asked(`/param/not/asked/after/${probes += 1}`);
  const shown = await text(page, "#circuit");
  return /closed/.test(shown) || shown;
});
await shows(page, "#overall", /all is well/);
await shows(page, "#openings", /closed after \d/);
done("the page shows the circuit open while aux-service is down, closed after its restart, and for how long it was open");

await main.kill();
await shows(page, "#overall", /main-api does not respond/);
await shows(page, "[data-node=main]", /does not respond/);
await shows(page, "[data-node=aws]", /unknown/);
await shows(page, "[data-edge=clients] .rate", /^–$/);
assert.equal(await page.locator("[data-main=uptime]").isVisible(), false, "what main-api said before is not true now");
await picture(page, "page-main-api-gone");
await quiet(page, "the page");
done("the page shows that main-api is down");

await changesAreShown();

await browser.close();
await back.kill();
process.exit(0);
