// The counts over time: what happened before the page opened, and no rate across two processes.
import assert from "node:assert/strict";
import { done, open, quiet, shows, text } from "./browser.mjs";
import { Process, serveStatus, statusOf } from "./double.mjs";
import { until } from "./services.mjs";

const rate = async (page, edge = "clients") => text(page, `[data-edge=${edge}] .rate`);
const summary = (page, chart) => page.locator(`[data-chart=${chart}] svg[role=img]`).getAttribute("aria-label");

// Each rate that the page shows in its diagram and its charts.
const rates = page => page.evaluate(() => [...document.querySelectorAll(".rate, .legend b")].map(shown => shown.textContent).filter(shown => shown.endsWith("/s")));

export async function historyIsRight(main) {
  await whatHappenedBefore(main);
  await replicasAndRestarts(main);
  await olderServices(main);
  await olderAuxService(main);
}

// The services of the other checks have run for a while, and nothing was requested since the page opened.
async function whatHappenedBefore(main) {
  await until("main-api has taken two samples", async () => {
    const { history } = await (await fetch(`${main.url}/status?history=true`)).json();
    return history.length > 1 || history.length;
  });
  for (let i = 0; i < 150; i += 1) await fetch(`${main.url}/param/challenge/kantox`);
  await until("a sample has these requests", async () => {
    const { history, requests } = await (await fetch(`${main.url}/status?history=true`)).json();
    return history.at(-1).requests.total === requests.total || [history.at(-1).requests.total, requests.total];
  });
  const asked = [];
  const page = await open(main.url, { prepare: page => page.on("request", request => { if (request.url().includes("/status")) asked.push(request.url().includes("history")); }) });
  await until("the charts show the requests before the page opened", async () => {
    const shown = await summary(page, "requests");
    // 150 requests are at least 5 a second in one of two slots. The page's own stream is one request.
    return parseFloat(/ok at most ([\d.]+)/.exec(shown)?.[1]) > 2 || shown;
  });
  await until("the page has polled thrice", () => asked.length >= 3 || asked.length);
  assert.deepEqual(asked.slice(0, 3), [true, false, false], "the history is requested once");
  await quiet(page, "the page with a history");
  done("the page shows what happened before it opened, and requests the history once");
}

// Two replicas of main-api take turns. Each counts 10 requests a second, and one of them has counted for much longer.
async function replicasAndRestarts(main) {
  const now = Date.now();
  const replica = (service, instance, minutes) => new Process({ service, instance, start: now - minutes * 60000, rates: () => ({ ok: 10, hit: 10, called: 1 }) });
  const [old, young] = [replica("main-api", "aaaa0001", 300), replica("main-api", "aaaa0002", 5)];
  const auxes = [replica("aux-service", "bbbb0001", 300), replica("aux-service", "bbbb0002", 5)];
  // After eight polls, both processes end and new ones begin.
  const restarted = now + 16000;
  const [newMain, newAux] = ["main-api", "aux-service"].map((service, index) => new Process({ service, instance: `cccc000${index}`, start: restarted, rates: () => ({ ok: 10, hit: 10, called: 1 }) }));
  let polls = 0;
  const page = await open(main.url, {
    prepare: page => serveStatus(page, ({ wantsHistory, poll }) => {
      polls = poll;
      const time = now + poll * 2000;
      const isNew = time > restarted;
      return statusOf({ main: isNew ? newMain : poll % 2 ? young : old, aux: isNew ? newAux : auxes[poll % 2], time, wantsHistory });
    }),
  });
  const seen = new Set();
  await until("the page has polled 14 times", async () => {
    for (const shown of await rates(page)) seen.add(shown);
    return polls >= 14 || polls;
  }, 120);
  const wrong = [...seen].filter(shown => { const value = parseFloat(shown.replaceAll(",", "")); return !(value >= 0 && value <= 11 || shown === "40 /s"); });
  assert.deepEqual(wrong, [], "a rate that no process had");
  assert.match(await rate(page), /^(9\.\d|10) /);
  assert.match(await summary(page, "requests"), /ok at most (9\.\d|10(\.\d)?) \/s/);
  assert.match(await text(page, "[data-main=version]"), /process cccc0000, one of 3/);
  await quiet(page, "the page before replicas");
  done("rates are those of one process, whatever replica responds and after a restart");
}

// A service without names of processes and times: a restart shows in its counts.
async function olderServices(main) {
  const now = Date.now();
  const start = [now - 3600000, now + 9000];
  const [before, after] = start.map(start => new Process({ service: "main-api", instance: "", start, rates: () => ({ ok: 10, hit: 10 }) }));
  let polls = 0;
  const page = await open(main.url, {
    prepare: page => serveStatus(page, ({ poll }) => {
      polls = poll;
      const time = now + poll * 2000;
      const { instance, taken_at, circuit_openings, waiting, ...older } = statusOf({ main: time > start[1] ? after : before, time });
      const { client_errors, ...requests } = older.requests;
      const { duration_seconds, ...upstream } = older.upstream;
      return { ...older, requests, upstream };
    }),
  });
  await shows(page, "[data-edge=clients] .rate", /^(9|10|11)(\.\d)? /);
  const seen = new Set();
  await until("the page has polled 8 times", async () => {
    for (const shown of await rates(page)) seen.add(shown);
    return polls >= 8 || polls;
  }, 120);
  assert.deepEqual([...seen].filter(shown => !(parseFloat(shown) >= 0 && parseFloat(shown) < 15)), []);
  // The samples before the restart would make the rate 0.
  assert.match(await rate(page), /^(9|10|11)(\.\d)? /);
  await shows(page, "#no-openings", /No circuit has opened/);
  await quiet(page, "the page of an older service");
  done("the page works with a service that reports less");
}

// What aux-service really responds, without what it has reported since then.
async function olderAuxService(main) {
  const page = await open(main.url, {
    prepare: page => page.route(url => url.pathname === "/status", async route => {
      const body = await (await route.fetch()).json();
      const { service, version, uptime_seconds, requests, cache, dependencies, aws } = body.aux_service;
      body.aux_service = { service, version, uptime_seconds, requests, cache, dependencies, aws: { requests: aws.requests, quota: aws.quota } };
      await route.fulfill({ json: body });
    }),
  });
  await shows(page, "#overall", /all is well/);
  await shows(page, "[data-aux=waiting]", /^–/);
  await shows(page, "[data-node=aws]", /in memory/);
  assert.equal(await page.locator("[data-node=shared]").isVisible(), false, "there is no shared cache");
  await quiet(page, "the page of an older aux-service");
  done("the page works with an older aux-service and without a shared cache");
}
