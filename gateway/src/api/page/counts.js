// Counts over time. A service counts from its start, so a rate is the difference of two samples of one process. Samples come
// from polls and from the history that a service keeps; both have the same members.

const SLOT = 15000;
const SLOTS = 60;
const RECENT = 15000;
const MINUTE = 60000;
// Older samples are as far apart as those of the history, which bounds the memory of a page that stays open.
const DENSE = 75000;
const MAX_TRACKS = 6;
const SHORTEST = 1000;

// The counts of main-api that the page shows. An older service does not report all of them.
function countsOfMain({ requests, cache, upstream }) {
  const attempts = upstream?.requests ?? {};
  const worked = (attempts.ok ?? 0) + (attempts.client_error ?? 0);
  return {
    ...countsOfBoth(requests, cache),
    attempts: { ok: worked, failed: sum(attempts) - worked },
    attemptTimes: upstream?.duration_seconds ?? {},
  };
}

const READS = ["GetParameter", "GetParameters", "GetParametersByPath"];

function countsOfAux({ requests, cache, aws, shared_cache: shared }) {
  const calls = { ok: 0, throttled: 0, held: 0, failed: 0 };
  let reads = 0;
  for (const [operation, outcomes] of Object.entries(aws.requests)) {
    const { throttled = 0, shielded = 0, ok = 0, not_found = 0 } = outcomes;
    calls.throttled += throttled;
    calls.held += shielded;
    calls.ok += ok + not_found;
    calls.failed += sum(outcomes) - ok - not_found - throttled - shielded;
    if (READS.includes(operation)) reads += sum(outcomes) - shielded;
  }
  const { hit = 0, timeout = 0, error = 0, skipped = 0, ...others } = shared?.requests.lookup ?? {};
  return {
    ...countsOfBoth(requests, cache),
    calls, reads,
    callTimes: aws.duration_seconds ?? {},
    shared: { hit, miss: sum(others), failed: timeout + error + skipped },
    sharedTimes: shared?.lookup_duration_seconds ?? {},
  };
}

function countsOfBoth({ total, failed, abandoned = 0, client_errors: refused = 0, duration_seconds: times }, cache) {
  const { hit = 0, negative = 0, stale = 0, stale_error: rescued = 0, error = 0, ...loads } = cache.requests;
  return {
    total,
    requests: { ok: total - failed - abandoned - refused, refused, abandoned, failed },
    times,
    lookups: { fresh: hit + negative, stale, rescued, loaded: sum(loads), failed: error },
  };
}

// The same members, each with the result of `combine`. A member that the earlier counts lack was 0.
function combine(later, earlier, combination) {
  if (typeof later === "number") return combination(later, earlier ?? 0);
  return Object.fromEntries(Object.entries(later).map(([key, value]) => [key, combine(value, earlier?.[key], combination)]));
}
const difference = (later, earlier) => combine(later, earlier, (a, b) => Math.max(0, a - b));
const scaled = (counts, factor) => combine(counts, undefined, value => value * factor);

// The quantile is linear within its bucket, as in Prometheus's histogram_quantile().
function quantile(share, cumulative) {
  const buckets = Object.entries(cumulative).map(([bound, amount]) => [bound === "+Inf" ? Infinity : Number(bound), amount]).sort((a, b) => a[0] - b[0]);
  const total = buckets.at(-1)?.[1] ?? 0;
  if (!total) return null;
  let [lower, below] = [0, 0];
  for (const [bound, amount] of buckets) {
    if (amount >= share * total) return bound === Infinity ? lower : lower + (bound - lower) * (share * total - below) / (amount - below);
    [lower, below] = [bound, amount];
  }
  return lower;
}

// The durations that half and 99 of 100 do not exceed.
const quantiles = times => [quantile(.5, times), quantile(.99, times)];

// The samples of one process, oldest first.
class Track {
  constructor(instance) {
    this.instance = instance;
    this.samples = [];
    this.hasHistory = false;
  }

  get first() { return this.samples[0]; }
  get last() { return this.samples.at(-1); }

  add(samples) {
    const known = new Set(this.samples.map(({ at }) => at));
    this.samples.push(...samples.filter(({ at }) => !known.has(at)));
    this.samples.sort((a, b) => a.at - b.at);
    const newest = this.last.at;
    let kept = -Infinity;
    this.samples = this.samples.filter(({ at }, index) => {
      const keeps = newest - at <= SLOT * (SLOTS + 1) && (newest - at <= DENSE || at - kept >= SLOT - SHORTEST || index === 0);
      if (keeps) kept = at;
      return keeps;
    });
  }

  // The counts at a time between the first and the last sample.
  at(time) {
    const index = this.samples.findIndex(({ at }) => at >= time);
    const [before, after] = [this.samples[index - 1], this.samples[index]];
    if (!before || after.at === time) return after.counts;
    const share = (time - before.at) / (after.at - before.at);
    return combine(after.counts, before.counts, (a, b) => b + (a - b) * share);
  }

  // The rates between two times, as far as this process was observed.
  rates(from, to) {
    if (!this.samples.length) return undefined;
    [from, to] = [Math.max(from, this.first.at), Math.min(to, this.last.at)];
    return to - from < SHORTEST ? undefined : scaled(difference(this.at(to), this.at(from)), 1000 / (to - from));
  }

  // The rates of the last time, which is longer if no sample is that young.
  recent(time) {
    const before = this.samples.findLast(({ at }) => this.last.at - at >= time) ?? this.first;
    return this.rates(before.at, this.last.at);
  }
}

// The processes of one service that have responded. Several replicas may stand behind one address.
class Service {
  constructor(countsOf, maxSilence) {
    this.countsOf = countsOf;
    // The time for which the shown process may be silent while another one responds.
    this.maxSilence = maxSilence;
    this.tracks = [];
    this.shown = undefined;
    this.isSilent = true;
  }

  // The service does not respond. The next process that does may be a new one, so the page shows it at once.
  fallSilent() { this.isSilent = true; }

  // Takes a response of `/status`. `asked`: the request was for the history too.
  receive(status, asked) {
    const sample = counts => ({ at: counts.taken_at ? Date.parse(counts.taken_at) : Date.now(), counts: this.countsOf(counts) });
    const newest = sample(status);
    const track = this.trackOf(status, newest);
    track.add([...(status.history ?? []).map(sample), newest]);
    track.hasHistory ||= asked;
    track.uptime = status.uptime_seconds;
    track.heard = performance.now();
    track.status = status;
    // The track has the samples. The rest of the history would only take memory.
    delete status.history;
    if (this.isSilent || !this.tracks.includes(this.shown) || track.heard - this.shown.heard > this.maxSilence) this.shown = track;
    this.isSilent = false;
  }

  // A process without a name is another one if it counts from nothing again, and so is one whose clock was set back.
  trackOf({ instance = "", uptime_seconds: uptime }, { at, counts }) {
    let track = this.tracks.find(track => track.instance === instance);
    if (track && (at <= track.last.at || uptime < track.uptime || counts.total < track.last.counts.total)) {
      this.tracks = this.tracks.filter(other => other !== track);
      track = undefined;
    }
    // The first one is the latest.
    track ??= new Track(instance);
    this.tracks = [track, ...this.tracks.filter(other => other !== track)].slice(0, MAX_TRACKS);
    return track;
  }

  // The rates now.
  get current() { return (this.isSilent ? undefined : this.shown.recent(RECENT)) ?? {}; }

  // The processes that have responded in the last minute.
  get replicas() { return this.tracks.filter(({ heard }) => performance.now() - heard < MINUTE).length; }

  // The time of the service's clock.
  get now() { return this.shown ? this.shown.last.at + performance.now() - this.shown.heard : Date.now(); }

  // The right end of the charts: the end of the slot that has begun.
  get end() { return (Math.floor(this.now / SLOT) + 1) * SLOT; }

  // When the shown process began, if it did so in the time of the charts.
  get start() { return this.shown ? this.shown.last.at - this.shown.uptime * 1000 : undefined; }

  // The rates in each slot of the charts, oldest first. Before its start, the shown process gives way to
  // another one. No slot compares two processes.
  slots() {
    const { end } = this;
    const tracks = this.shown ? [this.shown, ...this.tracks.filter(track => track !== this.shown)] : [];
    return Array.from({ length: SLOTS }, (_, index) => {
      const from = end - (SLOTS - index) * SLOT;
      for (const track of tracks) {
        const rates = track.rates(from, from + SLOT);
        if (rates) return rates;
      }
      return undefined;
    });
  }
}

// Connections to main-api stay with one replica for half a minute, so the page follows. Each poll may come from another
// replica of aux-service, so the page stays with one while that one responds.
const mainApi = new Service(countsOfMain, 0);
const auxService = new Service(countsOfAux, 20000);
