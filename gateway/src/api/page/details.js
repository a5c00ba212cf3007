// The details of both services, and the state of the whole.

const CIRCUIT = { closed: ["good", "closed"], half_open: ["warn", "half open"], open: ["bad", "open"] };

const detail = (side, name) => document.querySelector(`[data-${side}="${name}"]`);
const degraded = dependencies => Object.keys(dependencies).filter(name => dependencies[name] === "degraded").map(name => name.replaceAll("_", " "));
// The colour and the words of a circuit's state. A later version may have others.
const circuitOf = state => CIRCUIT[state] ?? ["warn", state];

// A replica is named only if there are several.
function nameOf({ replicas }, { version, instance }) {
  return replicas > 1 ? `${version}, process ${instance}, one of ${replicas}` : version;
}

// Old figures of a silent service would look like current ones.
function showDetails(side, isShown) {
  document.querySelector(`section[aria-labelledby=${side}-name] dl`).hidden = !isShown;
}

function showBoth(side, service) {
  const at = name => detail(side, name);
  const { status } = service.shown;
  const rates = service.shown.recent(MINUTE);
  const { requests, cache } = status;
  say(at("version"), nameOf(service, status));
  setText(at("hits"), percent(cache.hit_ratio), `${number.format(sum(cache.requests))} lookups`);
  setText(at("requests"), number.format(requests.total), rates && `${format(rates.total)} a second`);
  const times = rates?.times ?? requests.duration_seconds;
  const [half, most] = quantiles(times);
  setText(at("latency"), latency(half), most === null ? "no requests" : `99 % within ${latency(most)}`);
  setText(at("failed"), number.format(requests.failed), `${number.format(requests.abandoned)} abandoned`);
  setText(at("cache"), count(cache.entries, "entry", "entries"), cache.max_bytes ? `${bytes(cache.bytes)} of ${bytes(cache.max_bytes)}` : "off");
  setText(at("uptime"), duration(status.uptime_seconds));
  // An older aux-service does not report them.
  const { wait, stream } = status.waiting ?? {};
  setText(at("waiting"), wait === undefined ? "–" : number.format(wait), wait === undefined ? undefined : `and ${count(stream, "stream", "streams")}`);
}

function showState(where, { dependencies }) {
  const names = degraded(dependencies);
  mark(where, names.length ? "warn" : "good", names.length ? `up, degraded: ${names.join(", ")}` : "up");
}

function showMain(status) {
  showBoth("main", mainApi);
  const [mood, state] = circuitOf(status.circuit_breaker);
  const affected = Object.keys(status.circuits).filter(route => status.circuits[route] === status.circuit_breaker);
  element("circuit").className = `state ${mood}`;
  setText(element("circuit"), state, mood === "good" ? undefined : affected.join(", "));
  setText(detail("main", "retries"), number.format(sum(status.upstream.retries)), `${number.format(sum(status.upstream.requests))} attempts`);
  const follows = status.dependencies.changes === "ok";
  mark(detail("main", "follows"), follows ? "good" : "warn", follows ? "followed" : "not followed");
  showState(detail("main", "state"), status);
}

function showAux(aux) {
  showBoth("aux", auxService);
  showState(detail("aux", "state"), aux);
  showQueue(aux.dependencies.change_queue);
  showCalls(aux.aws);
  showSharedCache(aux.shared_cache);
}

function showQueue(state) {
  const queue = detail("aux", "queue");
  queue.parentElement.hidden = !state;
  mark(queue, state === "ok" ? "good" : "warn", state === "ok" ? "read" : "cannot be read");
}

function showCalls({ requests, quota }) {
  const all = Object.values(requests);
  const kept = all.reduce((total, { throttled = 0, shielded = 0 }) => total + throttled + shielded, 0);
  setText(detail("aux", "aws"), number.format(all.reduce((total, outcomes) => total + sum(outcomes), 0)), `${number.format(kept)} throttled or held back`);
  const limit = readLimit({ aws: { quota } });
  setText(detail("aux", "quota"), limit ? `${number.format(Math.max(0, quota.reads.available))} of ${number.format(limit)}` : "no limit", limit ? "reads a second" : undefined);
}

function showSharedCache(shared) {
  const where = detail("aux", "shared");
  where.parentElement.hidden = !shared;
  if (!shared) return;
  const { hit = 0, miss = 0, stale = 0 } = shared.requests.lookup ?? {};
  const since = shared.degraded_since;
  setText(where, since ? "does not work" : `${number.format(hit)} hits`, since ? `since ${clock(since)}` : `${number.format(miss + stale)} loads by this replica`);
}

// The reason why the whole is degraded, or nothing.
function troubleOf({ aux_service: aux, circuit_breaker: circuit, dependencies }) {
  if (!aux) return "aux-service does not respond";
  if (circuit !== "closed") return `circuit ${circuitOf(circuit)[1]}`;
  return [...degraded(dependencies), ...degraded(aux.dependencies)].join(", ");
}

function showAll(status, asked) {
  const aux = status.aux_service;
  mainApi.receive(status, asked);
  if (aux) auxService.receive(aux, asked);
  else auxService.fallSilent();
  showMain(status);
  showDetails("main", true);
  showDetails("aux", Boolean(aux));
  if (aux) showAux(auxService.shown.status);
  else mark(detail("aux", "state"), "bad", `does not respond: ${status.errors.aux_service?.title ?? "no reason given"}`);
  showWay(aux ? { ...status, aux_service: auxService.shown.status } : status);
  drawCharts();
  const reason = troubleOf(status);
  mark(element("overall"), reason ? "warn" : "good", reason ? `degraded: ${reason}` : "all is well");
  say(element("when"), new Date().toLocaleTimeString());
}

function showNothing() {
  mainApi.fallSilent();
  auxService.fallSilent();
  showDetails("main", false);
  showDetails("aux", false);
  mark(element("overall"), "bad", "main-api does not respond");
  mark(detail("main", "state"), "bad", "does not respond");
  mark(detail("aux", "state"), "warn", "unknown");
  showEdge("clients", { trouble: "no response" });
  showEdge("main", {});
  showNode("clients", []);
  showUnknown([["main", "does not respond"]], ["aux", "shared", "aws"]);
  drawCharts();
}
