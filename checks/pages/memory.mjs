// The memory of a page that stays open: a minute of polling, and an hour on a clock that runs faster.
import assert from "node:assert/strict";
import { done, open, quiet } from "./browser.mjs";
import { Process, serveStatus, statusOf } from "./double.mjs";
import { until } from "./services.mjs";

const POLL = 2000;
// The clock of the services is faster than that of the page, so that an hour is 600 polls.
const STEP = 3 * POLL;
// A minute adds 30 samples of each service, which are thinned out later, and the browser still compiles.
const MAX_GROWTH = 400 << 10;
const MAX_NODES = 40;

async function used(page) {
  const session = await page.context().newCDPSession(page);
  for (let i = 0; i < 3; i += 1) await session.send("HeapProfiler.collectGarbage");
  const [{ usedSize }, { nodes, jsEventListeners }] = [await session.send("Runtime.getHeapUsage"), await session.send("Memory.getDOMCounters")];
  await session.detach();
  return { usedSize, nodes, jsEventListeners };
}

function bounded(what, before, after) {
  const growth = after.usedSize - before.usedSize;
  const figures = `${what}: ${growth >> 10} KiB more than ${before.usedSize >> 10} KiB, ${after.nodes - before.nodes} more nodes than ${before.nodes}`;
  assert.ok(growth < MAX_GROWTH && after.nodes - before.nodes <= MAX_NODES && after.jsEventListeners <= before.jsEventListeners, figures);
  return figures;
}

export async function memoryIsBounded(main) {
  done((await Promise.all([aMinute(main), anHour(main)])).join("; "));
}

// The page follows the real services.
async function aMinute(main) {
  let polls = 0;
  const page = await open(main.url, { prepare: page => page.on("response", response => { if (response.url().includes("/status")) polls += 1; }) });
  const ask = setInterval(() => fetch(`${main.url}/param/challenge/kantox`).catch(() => {}), 50);
  await until("the page has polled 5 times", () => polls >= 5 || polls);
  const before = await used(page);
  await until("the page has polled for a minute", () => polls >= 35 || polls, 90);
  const after = await used(page);
  clearInterval(ask);
  await quiet(page, "the page after a minute");
  return bounded("after 60 s", before, after);
}

// The clocks jump from poll to poll. After 20 minutes each list is as long as it gets.
async function anHour(main) {
  const start = Date.now() - 3600000;
  const time = Date.now();
  let polls = 0;
  const rates = () => ({ ok: 50, hit: 45, miss: 5, called: 5, lookedUp: 5, found: 2 });
  const processes = { main: new Process({ service: "main-api", instance: "aaaa0001", start, rates }), aux: new Process({ service: "aux-service", instance: "bbbb0001", start, rates }) };
  const page = await open(main.url, {
    prepare: async page => {
      await page.clock.install();
      await page.route("**/changes", route => route.fulfill({ status: 204, body: "" }));
      await serveStatus(page, ({ wantsHistory, poll }) => { polls = poll; return statusOf({ ...processes, time: time + poll * STEP, wantsHistory }); });
    },
  });
  const pollUntil = async wanted => { while (polls < wanted) await page.clock.runFor(POLL); };
  await pollUntil(20 * 60000 / STEP);
  const before = await used(page);
  await pollUntil(60 * 60000 / STEP);
  const after = await used(page);
  await quiet(page, "the page after an hour");
  return bounded("from minute 20 to minute 60", before, after);
}
