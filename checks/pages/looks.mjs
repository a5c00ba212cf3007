// The page in three widths and both themes, while all is well and during an outage.
import assert from "node:assert/strict";
import { accessible, done, fits, open, picture, quiet, shows, text } from "./browser.mjs";
import { Process, serveStatus, statusOf } from "./double.mjs";
import { until } from "./services.mjs";

const MINUTE = 60000;
const WIDTHS = [360, 800, 1400];
const THEMES = ["light", "dark"];

// A load that swells and ebbs. aux-service fails in the last four minutes of an outage.
function day(now, outage) {
  const began = now - 4 * MINUTE;
  const wave = time => 60 + 25 * Math.sin(time / 97000) + 6 * Math.sin(time / 11000);
  const isOut = time => outage && time >= began;
  const main = time => isOut(time)
    ? { ok: wave(time) * .8, refused: 2, failed: wave(time) * .2, rescued: wave(time) * .8, error: wave(time) * .2, uncalled: 3 }
    : { ok: wave(time), refused: 2, abandoned: .2, hit: wave(time) * .9, stale: wave(time) * .04, miss: wave(time) * .06, called: wave(time) * .06 };
  const aux = time => ({ ok: wave(time) * .06, hit: wave(time) * .03, miss: wave(time) * .03, called: wave(time) * .03, throttled: .1, lookedUp: wave(time) * .05, found: wave(time) * .02 });
  const start = now - 30 * MINUTE;
  const earlier = now - 12 * MINUTE;
  return {
    main: new Process({ service: "main-api", instance: "aaaa0001", start, rates: main }),
    aux: new Process({ service: "aux-service", instance: "bbbb0001", start, rates: aux }),
    openings: [["/param/{name}", earlier, earlier + 40000, 1], ...(outage ? [["/params", began, null, 20], ["/param/{name}", began + 2000, null, 21]] : [])],
  };
}

export async function looksRight(main, validate) {
  for (const outage of [false, true]) {
    const now = Date.now();
    const { openings, ...processes } = day(now, outage);
    let polls = 0;
    const respond = ({ wantsHistory, poll }) => {
      polls = poll;
      // The page opens during the outage.
      const aux = outage ? undefined : processes.aux;
      const body = statusOf({ main: processes.main, aux, time: now + poll * 2000, wantsHistory, openings });
      if (poll === 0) validate(`the double of /status, ${outage ? "outage" : "well"}`, body);
      return body;
    };
    const page = await open(main.url, { prepare: page => serveStatus(page, respond) });
    const name = outage ? "outage" : "well";
    await shows(page, "#overall", outage ? /degraded: aux-service does not respond/ : /all is well/);
    await until("the page has polled twice", () => polls >= 2 || polls);
    for (const colorScheme of THEMES) {
      for (const width of WIDTHS) {
        await page.emulateMedia({ colorScheme });
        await page.setViewportSize({ width, height: 800 });
        await until("the charts have the width of the page", () => page.evaluate(() => {
          const drawing = document.querySelector("[data-chart=requests] svg");
          return Math.abs(drawing.viewBox.baseVal.width - drawing.getBoundingClientRect().width) < 2;
        }));
        const what = `the page, ${name}, ${width} px, ${colorScheme}`;
        await fits(page, what);
        await accessible(page, what);
        await picture(page, `page-${name}-${width}-${colorScheme}`);
      }
    }
    await describesItself(page, outage);
    await quiet(page, `the page, ${name}`);
    done(`the page at ${WIDTHS.join(", ")} px in both themes, ${outage ? "during an outage" : "while all is well"}: fits, accessible, quiet`);
  }
}

// A screen reader gets the diagram as a list of texts, and each chart as a summary.
async function describesItself(page, outage) {
  const way = (await page.locator("#way > li").allTextContents()).map(item => item.replace(/\s+/g, " ").trim());
  assert.match(way[0], /^Clients/);
  assert.match(way[1], /^From clients to main-api:\s?\d+(\.\d)? \/s.*p50 .*p99/, way[1]);
  assert.match(way.at(-1), outage ? /^AWS\s?unknown/ : /^AWS\s?SSM and S3 work/, way.at(-1));
  assert.match(way[3], outage ? /circuit open/ : /no failures/, way[3]);
  const summaries = await page.locator("figure svg[role=img]").evaluateAll(all => all.map(one => one.getAttribute("aria-label")));
  assert.equal(summaries.length, 5);
  assert.match(summaries[0], outage ? /^Requests to main-api in the last 15 minutes: now \d.*failed \(5xx\) at most \d/ : /^Requests to main-api in the last 15 minutes: now \d+(\.\d)? \/s; ok at most \d/, summaries[0]);
  assert.match(summaries[1], /^Latency of main-api in the last 15 minutes: now p50 \d.* ms and p99 \d.* ms/, summaries[1]);
  assert.match(summaries[4], outage ? /\/params is open from/ : /\/param\/\{name\} was open for 40 s from/, summaries[4]);
  // Nothing in the diagram and the charts is announced: it changes with every poll.
  assert.equal(await page.locator("#way [aria-live], #way [role=status], figure [aria-live], figure [role=status]").count(), 0);
  assert.match(await text(page, "#openings"), outage ? /open for 4 min/ : /closed after 40 s, 1 probe failed/);
}
