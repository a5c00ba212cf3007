// A double of `/status`: processes of both services that count evenly, at any time of a scripted day. The page gets their
// responses in the place of the service's, so a check needs no quarter of an hour.
const BOUNDS = ["0.0001", "0.00025", "0.0005", "0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "30", "+Inf"];
const EVERY = 15000;
const STEP = 5000;
const KEPT = 60;

const iso = time => new Date(time).toISOString();

// Cumulative buckets: most of the durations are near `usual` seconds, and one in fifty is near `slow`.
function buckets(total, usual, slow) {
  const within = bound => bound === "+Inf" || bound >= slow ? total : bound >= usual ? total * .98 : 0;
  return Object.fromEntries(BOUNDS.map(bound => [bound, Math.floor(within(bound === "+Inf" ? bound : Number(bound)))]));
}

// A process that began at a time. `rates` returns what happens each second at a time, and counts add it up.
export class Process {
  constructor({ service, instance, start, rates }) {
    Object.assign(this, { service, instance, start, rates, sums: [{}] });
  }

  // The sums of the rates since the start, in steps of five seconds. The last step may be a part. Each whole step is added
  // up once.
  totals(time) {
    const steps = Math.floor((time - this.start) / STEP);
    while (this.sums.length <= steps) this.sums.push(this.added(this.sums.length - 1, STEP));
    return Object.fromEntries(Object.entries(this.added(steps, time - this.start - steps * STEP)).map(([key, sum]) => [key, Math.floor(sum)]));
  }

  // The sums after a number of steps and a part of the next one.
  added(steps, part) {
    const sums = { ...this.sums[steps] };
    for (const [key, rate] of Object.entries(this.rates(this.start + steps * STEP))) sums[key] = (sums[key] ?? 0) + rate * part / 1000;
    return sums;
  }

  counts(time) {
    const { ok = 0, failed = 0, refused = 0, abandoned = 0, hit = 0, stale = 0, rescued = 0, miss = 0, error = 0 } = this.totals(time);
    const total = ok + failed + refused + abandoned;
    const lookups = { hit, stale, stale_error: rescued, miss, error };
    return {
      taken_at: iso(time),
      requests: { total, failed, client_errors: refused, abandoned, duration_seconds: buckets(total, .0005, .05) },
      waiting: { wait: 2, stream: 1 },
      cache: { hit_ratio: .9, entries: 41, bytes: 27340, max_bytes: 64 << 20, requests: lookups },
      ...this.more(this.totals(time)),
    };
  }

  more({ called = 0, uncalled = 0, throttled = 0, lookedUp = 0, found = 0 }) {
    if (this.service === "main-api") {
      return { upstream: { requests: { ok: called, timeout: uncalled }, retries: { success: 0 }, duration_seconds: buckets(called + uncalled, .005, .1) } };
    }
    return {
      aws: {
        requests: { GetParameter: { ok: called, throttled, error: uncalled } },
        quota: { reads: { limit_per_second: 40, available: 38, refused: 0 } },
        duration_seconds: buckets(called + uncalled, .025, .25),
      },
      shared_cache: { state: "ok", degraded_since: null, requests: { lookup: { hit: found, miss: lookedUp - found } }, lookup_duration_seconds: buckets(lookedUp, .0005, .0025) },
    };
  }

  history(time) {
    const samples = [];
    const taken = Math.floor((time - this.start) / EVERY) + 1;
    for (let index = Math.max(0, taken - KEPT); index < taken; index += 1) samples.push(this.counts(this.start + index * EVERY));
    return samples;
  }

  status(time, wantsHistory, more) {
    return {
      service: this.service, version: "0.1.0", instance: this.instance, uptime_seconds: Math.floor((time - this.start) / 1000),
      ...this.counts(time),
      ...(wantsHistory ? { history: this.history(time) } : {}),
      ...more,
    };
  }
}

const CIRCUITS = ["/buckets", "/param/{name}", "/params", "/status"];

// The response of main-api. `aux` is missing while aux-service does not respond. `openings`: [route, opened, closed, probes].
export function statusOf({ main, aux, time, wantsHistory, openings = [] }) {
  const open = openings.filter(([, , closed]) => closed === null).map(([route]) => route);
  const circuits = Object.fromEntries(CIRCUITS.map(route => [route, open.includes(route) ? "open" : "closed"]));
  const dependencies = { "aux-service": aux ? "ok" : "degraded", changes: aux ? "ok" : "degraded", circuit_breaker: open.length ? "open" : "closed", circuits };
  const problem = { type: "about:blank", title: "aux-service is failing", status: 503, detail: "The circuit is open.", code: "circuit-open", retryable: true, request_id: "4bf92f3577b34da6a3ce929d0e0e4736", error: "The circuit is open." };
  return main.status(time, wantsHistory, {
    dependencies,
    circuit_breaker: dependencies.circuit_breaker,
    circuits,
    circuit_openings: openings.map(([route, opened, closed, failed_probes]) => ({ route, opened_at: iso(opened), closed_at: closed && iso(closed), failed_probes })),
    aux_service: aux ? aux.status(time, wantsHistory, { dependencies: { s3: "ok", ssm: "ok", shared_cache: "ok" } }) : null,
    errors: aux ? {} : { aux_service: problem },
  });
}

// Serves responses to the page. `respond` gets whether the page wants the history, and the number of the poll.
export async function serveStatus(page, respond) {
  let polls = 0;
  await page.route(url => url.pathname.endsWith("/status"), route => {
    const body = respond({ wantsHistory: route.request().url().includes("history=true"), poll: polls });
    polls += 1;
    return body ? route.fulfill({ json: body }) : route.abort();
  });
}
