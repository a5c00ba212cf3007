// The list of changes on main-api's page: real changes through both services, and streams that no service sends.
import assert from "node:assert/strict";
import { accessible, done, fits, open, picture, quiet, shows, text } from "./browser.mjs";
import { parameterStore, start, until } from "./services.mjs";

const PATIENT = { RETRY_MAX_ATTEMPTS: "1", BREAKER_OPEN_FOR: "2s" };
const lines = page => page.locator("#changes li").allInnerTexts();
const newest = (page, wanted) => until(`the first line is ${wanted}`, async () => { const all = await lines(page); return wanted.test(all[0]) || all; });

export async function changesAreShown() {
  await realChanges();
  await streamsOfAnyContent();
}

// aux-service reads its two parameters anew each second, and so finds their changes.
async function realChanges() {
  const values = new Map([["/app/key", "first"], ["/app/old", "first"]]);
  const store = await parameterStore(values);
  const variables = {
    AWS_ENDPOINT_URL: store.url, AWS_REGION: "eu-west-2", AWS_ACCESS_KEY_ID: "AKIDEXAMPLE", AWS_SECRET_ACCESS_KEY: "example",
    WARM_UP: "/app/key,/app/old", CACHE_TTL: "1s",
  };
  const aux = await start("aux-service", variables);
  const main = await start("main-api", { ...PATIENT, AUX_URL: aux.url });
  await until("main-api follows aux-service", async () => (await (await fetch(`${aux.url}/metrics`)).text()).includes('waiting_requests{kind="stream"} 1\n'));
  const page = await open(main.url);
  await shows(page, "#stream", /live/);
  await shows(page, "#no-changes", /No parameter has changed/);
  await shows(page, "[data-main=follows]", /followed/);
  await shows(page, "[data-main=waiting]", /^0\s+and 1 stream$/);
  await shows(page, "[data-aux=waiting]", /^0\s+and 1 stream$/);
  await accessible(page, "the page without changes");

  values.set("/app/key", "second");
  await newest(page, /^\/app\/key\s+changed\s+\d/);
  values.delete("/app/old");
  await newest(page, /^\/app\/old\s+deleted\s+\d/);
  await shows(page, "#spoken", /\/app\/old deleted/);
  done("the page lists a changed and a deleted parameter, and says so to a screen reader");

  const { headers } = await fetch(`${main.url}/param/app/key`);
  const waiting = fetch(`${main.url}/param/app/key`, { headers: { "If-None-Match": headers.get("etag"), Prefer: "wait=30" } });
  await shows(page, "[data-main=waiting]", /^1\s/);
  values.set("/app/key", "third");
  assert.equal((await (await waiting).json()).value, "third");
  await shows(page, "[data-main=waiting]", /^0\s/);
  await picture(page, "page-changes");
  done("the page counts requests that wait, and streams");

  // While the page is hidden it has no stream. Then it gets what it has missed.
  const streams = async () => /waiting_requests\{kind="stream"\} (\d+)/.exec(await (await fetch(`${main.url}/metrics`)).text())[1];
  const hide = hidden => page.evaluate(hidden => {
    Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
  }, hidden);
  const before = (await lines(page)).length;
  await hide(true);
  await shows(page, "#stream", /paused/);
  await until("the hidden page has no stream", async () => { const open = await streams(); return open === "0" || open; });
  values.set("/app/key", "fourth");
  await until("main-api has the change", async () => (await (await fetch(`${main.url}/param/app/key`)).json()).value === "fourth");
  assert.equal((await lines(page)).length, before);
  await hide(false);
  await shows(page, "#stream", /live/);
  await until("the missed change is shown once", async () => { const all = await lines(page); return (all.length === before + 1 && /^\/app\/key/.test(all[0])) || all; });
  await page.locator("#pause").click();
  await shows(page, "#stream", /paused/);
  await page.locator("#pause").click();
  await shows(page, "#stream", /live/);
  assert.equal((await lines(page)).length, before + 1, "a stream that continues brings no reset");
  done("the stream ends while the page is hidden or paused, and continues from there");

  page.down = true;
  await main.kill();
  await shows(page, "#stream", /connecting again/);
  // A change that the new process never learns of.
  const found = async () => /changes_total\{source="refresh"\} (\d+)/.exec(await (await fetch(`${aux.url}/metrics`)).text())[1];
  const known = await found();
  values.set("/app/key", "fifth");
  await until("aux-service finds the change", async () => (await found()) !== known);
  const back = await start("main-api", { ...PATIENT, AUX_URL: aux.url }, main.port);
  await shows(page, "#stream", /live/);
  await newest(page, /^everything\s+may have changed/);
  await shows(page, "#overall", /all is well/);
  await accessible(page, "the page with changes");
  for (const colorScheme of ["light", "dark"]) {
    for (const width of [360, 1400]) {
      await page.emulateMedia({ colorScheme });
      await page.setViewportSize({ width, height: 800 });
      await fits(page, `the page with changes, ${colorScheme}`);
      await picture(page, `changes-${width}-${colorScheme}`);
    }
  }
  await accessible(page, "the page with changes, in dark");

  await aux.kill();
  await shows(page, "[data-main=follows]", /not followed/);
  await shows(page, "[data-main=state]", /degraded: .*changes/);
  await quiet(page, "the page with changes");
  await back.kill();
  store.close();
  done("after a restart of main-api the page says that everything may have changed");
}

// Streams as no service sends them, one for each request.
async function streamsOfAnyContent() {
  const main = await start("main-api", PATIENT);
  const names = Array.from({ length: 30 }, (_, index) => `/app/${index}`);
  const events = [...names, "<img src=x onerror=fail()>", "\u202eyek/ppa/", `/${"long/".repeat(400)}`];
  const stream = (id, names) => names.map(name => `id: ${id}\ndata: ${JSON.stringify({ name })}\n\n`).join("");
  const scripts = [
    { status: 503, body: "" },
    { body: `id: first\nretry: 500\n\n: a comment\n\n${stream("second", events)}event: later\ndata: x\n\ndata: [\n\ndata: 1\n\nid: k\u00e4se\nretry: soon\n\nretry: 600\n\n` },
    { body: "id: second\r\n\r\nevent: reset\r\nid: third\r\ndata: {}\r\n\r\n" },
    { body: `data: ${"x".repeat(1 << 17)}` },
  ];
  const asked = [];
  const page = await open(main.url, {
    down: true,
    viewport: { width: 360, height: 740 },
    prepare: page => page.route("**/changes", route => {
      const script = scripts[asked.length] ?? { status: 204, body: "" };
      asked.push({ at: Date.now(), id: route.request().headers()["last-event-id"] });
      return route.fulfill({ status: script.status ?? 200, contentType: "text/event-stream", body: script.body });
    }),
  });
  await until("the last stream was requested", () => asked.length === scripts.length || asked.length);
  assert.deepEqual(asked.slice(0, 4).map(({ id }) => id), [undefined, undefined, "second", "third"]);
  const [, , pause] = asked.slice(1).map(({ at }, index) => at - asked[index].at);
  assert.ok(pause < 3000, `${pause} ms: a stream that ended is continued after the pause that it asks for`);
  const all = await lines(page);
  assert.equal(all.length, 20);
  assert.match(all[0], /^everything\s+may have changed/);
  assert.match(all[1], /^\/long\/[^\n]{80,}…[^\n]{80,}\s+changed/);
  assert.ok(all[2].includes("\u202e"), all[2]);
  assert.match(all[3], /^<img src=x onerror=fail\(\)>/);
  assert.match(all[4], /^\/app\/29\s/);
  assert.equal(await page.locator("#changes img").count(), 0);
  await fits(page, "the page with long names");
  await accessible(page, "the page with names of any form");
  await picture(page, "changes-hostile");
  // An event without an end does not fill the memory: its stream is left, and another one follows.
  await until("a stream without an end of its event is left", () => asked.length > scripts.length || asked.length);
  await quiet(page, "the page with streams of any content");
  await main.kill();
  done("names of any form are text, twenty lines at most, and a stream continues from the last id after its end");
}
