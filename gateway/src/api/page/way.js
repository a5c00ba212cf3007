// The way of a request: what each part does at this moment, and what passes between two of them.

const node = name => document.querySelector(`[data-node="${name}"]`);
const FAILING = .05;

// An arrow from left to right, and one from top to bottom. The style shows one of them.
function wire() {
  const line = (name, direction) => svg("line", { class: `${name} ${direction}`, ...(direction === "across" ? { x1: 0, x2: "100%", y1: "50%", y2: "50%" } : { x1: "50%", x2: "50%", y1: 0, y2: "100%" }) });
  const head = (direction, x, y, d) => svg("svg", { class: direction, x, y, overflow: "visible" }, svg("path", { class: "head", d }));
  return svg("svg", { "aria-hidden": "true" },
    line("wire", "across"), line("flow", "across"), head("across", "100%", "50%", "M-9-5.5L0 0L-9 5.5z"),
    line("wire", "down"), line("flow", "down"), head("down", "50%", "100%", "M-5.5-9L0 0L5.5-9z"));
}

for (const edge of document.querySelectorAll(".edge")) {
  edge.append(html("p", { className: "rate" }), wire(), html("div", {}, html("p", { className: "latency" }, html("span"), " ", html("span")), html("p", { className: "outcome" })));
}

// `times`: the durations of what passed. `failed`: the part of it that failed. `trouble`: a text that is worse than any share.
function showEdge(name, { rate, times = {}, failed, trouble, what = "failed" }) {
  const edge = document.querySelector(`[data-edge="${name}"]`);
  const known = rate !== undefined;
  const share = rate ? failed / rate : 0;
  const [kind, outcome] = trouble ? ["bad", trouble] : !rate ? ["good", ""] : share === 0 ? ["good", "no failures"] : [share < FAILING ? "warn" : "bad", `${percent(share)} ${what}`];
  const [half, most] = quantiles(times);
  say(edge.querySelector(".rate"), known ? perSecond(rate) : "–");
  const [first, second] = edge.querySelectorAll(".latency span");
  say(first, most !== null ? `p50 ${latency(half)} ` : known && !rate ? "no requests" : "");
  say(second, most !== null ? `p99 ${latency(most)}` : "");
  const outcomeText = edge.querySelector(".outcome");
  outcomeText.className = `outcome ${kind}`;
  say(outcomeText, outcome);
  edge.classList.toggle("idle", !rate);
  edge.classList.toggle("failing", kind === "bad");
  // Ten times the rate is twice the speed, within bounds that an eye can follow.
  edge.style.setProperty("--pace", `${Math.min(2, Math.max(.35, 1.2 / 2 ** Math.log10(rate || 1))).toFixed(2)}s`);
}

// The facts of a node are lines of text: `{ text }`, `{ text, kind }` with a state, or `{ text, share }` with a bar.
function showNode(name, facts, { broken = false, absent = false } = {}) {
  const where = node(name);
  where.classList.toggle("broken", broken);
  where.classList.toggle("absent", absent);
  const lines = [...where.querySelectorAll("p")];
  facts.forEach(({ text, kind, share }, index) => {
    const line = lines[index] ?? where.appendChild(html("p"));
    line.className = kind ? `state ${kind}` : "dim";
    const hasBar = share !== undefined;
    if (!line.firstChild || Boolean(line.querySelector(".share")) !== hasBar) {
      line.replaceChildren(html("span"), ...(hasBar ? [html("span", { className: "share" }, html("i"))] : []));
    }
    say(line.firstChild, text);
    if (hasBar) line.querySelector("i").style.width = `${Math.min(100, share * 100).toFixed(1)}%`;
  });
  lines.slice(facts.length).forEach(line => line.remove());
}

function cacheFact(lookups, text) {
  const total = sum(lookups);
  const { fresh = 0, stale = 0, rescued = 0 } = lookups ?? {};
  return total ? { text: `${percent((fresh + stale + rescued) / total)} ${text}`, share: (fresh + stale + rescued) / total } : { text: "no lookups" };
}

function showWay(status) {
  const rates = mainApi.current;
  const { wait = 0, stream = 0 } = status.waiting ?? {};
  showNode("clients", [{ text: `${count(wait, "request waits", "requests wait")} for a change` }, { text: `${count(stream, "stream", "streams")} of changes` }]);
  showEdge("clients", { rate: sum(rates.requests), times: rates.times, failed: rates.requests?.failed });
  const [mood, circuit] = circuitOf(status.circuit_breaker);
  showNode("main", [stateFact(status), { text: `circuit ${circuit}`, kind: mood }, cacheFact(rates.lookups, "from its cache")]);
  const aux = status.aux_service;
  showEdge("main", {
    rate: sum(rates.attempts), times: rates.attemptTimes, failed: rates.attempts?.failed,
    trouble: status.circuit_breaker === "open" ? "circuit open" : aux ? undefined : "no response",
  });
  if (aux) showBehind(aux);
  else showUnknown([["aux", "does not respond"]], ["shared", "aws"]);
}

function stateFact({ dependencies }) {
  return degraded(dependencies).length ? { text: "degraded", kind: "warn" } : { text: "up", kind: "good" };
}

function showBehind(aux) {
  const rates = auxService.current;
  showNode("aux", [stateFact(aux), cacheFact(rates.lookups, "from its cache")]);
  showShared(aux.shared_cache, rates);
  showAws(aux, rates);
}

function showShared(shared, { shared: lookups, sharedTimes }) {
  element("way").classList.toggle("alone", !shared);
  if (!shared) return;
  const works = shared.state !== "degraded";
  const total = sum(lookups);
  showNode("shared", [
    works ? { text: "works", kind: "good" } : { text: `does not work since ${clock(shared.degraded_since)}`, kind: "bad" },
    total ? { text: `${percent(lookups.hit / total)} of lookups hit`, share: lookups.hit / total } : { text: "no lookups" },
  ], { broken: !works });
  showEdge("shared", { rate: total, times: sharedTimes, failed: lookups?.failed, trouble: works ? undefined : "skipped" });
}

const AWS_PARTS = { s3: "S3", ssm: "SSM", credentials: "credentials" };

function showAws({ dependencies, aws }, { calls, callTimes, reads = 0 }) {
  if (dependencies.embedded) {
    showNode("aws", [{ text: "not used: the parameters are in memory" }], { absent: true });
    return showEdge("aws", { rate: 0 });
  }
  const bad = Object.keys(AWS_PARTS).filter(part => dependencies[part] === "degraded").map(part => AWS_PARTS[part]);
  const limit = readLimit({ aws });
  const facts = [bad.length ? { text: `degraded: ${bad.join(", ")}`, kind: "warn" } : { text: "SSM and S3 work", kind: "good" }];
  if (limit) facts.push({ text: `${percent(reads / limit)} of the quota of reads`, share: reads / limit });
  showNode("aws", facts, { broken: bad.length > 0 });
  const { throttled = 0, held = 0, failed = 0 } = calls ?? {};
  const what = throttled && !failed ? "throttled" : held && !failed && !throttled ? "held back" : "failed";
  showEdge("aws", { rate: sum(calls), times: callTimes, failed: throttled + held + failed, what });
}

// Parts that do not respond, and parts of which nothing is known because of that.
function showUnknown(broken, unknown) {
  for (const [name, text] of broken) showNode(name, [{ text, kind: "bad" }], { broken: true });
  for (const name of unknown) showNode(name, [{ text: "unknown" }], { absent: true });
  for (const name of ["shared", "aws"]) showEdge(name, {});
}
