// A page in a real browser, and what each page must be: free of errors, accessible, and as wide as its screen.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { mkdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { until } from "./services.mjs";

const require = createRequire(path.join(process.env.PAGES_NODE_MODULES, "x.js"));
const { chromium } = require("playwright-core");
const axe = require.resolve("axe-core/axe.min.js");
const pictures = process.argv[2] === "--pictures" ? process.argv[3] : undefined;
if (pictures) mkdirSync(pictures, { recursive: true });

export const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});

// A page fails if it writes an error or a warning into the console or sends a request to another host. While a service is
// down, the browser itself reports failed requests, which are expected. `prepare` gets the page before it is loaded.
export async function open(url, { down = false, prepare, ...options } = {}) {
  const context = await browser.newContext({ viewport: { width: 1100, height: 760 }, bypassCSP: false, ...options });
  const page = await context.newPage();
  page.complaints = [];
  page.on("pageerror", error => page.complaints.push(error.message));
  page.on("console", message => {
    if (["error", "warning"].includes(message.type()) && !(page.down && message.text().startsWith("Failed to load resource"))) page.complaints.push(message.text());
  });
  page.on("request", request => { if (!/^(data:|blob:)/.test(request.url()) && new URL(request.url()).origin !== new URL(url).origin) page.complaints.push(`a request to ${request.url()}`); });
  page.down = down;
  await prepare?.(page);
  await page.goto(url);
  return page;
}

export const text = (page, selector) => page.locator(selector).first().innerText();
export const shows = (page, selector, wanted) => until(`${selector} shows ${wanted}`, async () => { const shown = await text(page, selector); return wanted.test(shown) || shown; });
export const picture = async (page, name) => pictures && page.screenshot({ path: path.join(pictures, `${name}.png`), fullPage: true });

// The page's policy forbids other scripts, so axe is evaluated and not added as a script.
export async function accessible(page, what) {
  await page.evaluate(`${readFileSync(axe, "utf8")}; undefined`);
  const { violations } = await page.evaluate(() => globalThis.axe.run());
  assert.deepEqual(violations.map(({ id, nodes }) => `${id}: ${nodes.map(node => node.html).join(" ")}`), [], what);
}

export async function fits(page, what) {
  const [content, window] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
  assert.ok(content <= window, `${what} is ${content} wide on a screen of ${window}`);
}

export async function quiet(page, what) {
  assert.deepEqual(page.complaints, [], what);
  await page.context().close();
}

export function done(what) { console.log(`ok   ${what}`); }
