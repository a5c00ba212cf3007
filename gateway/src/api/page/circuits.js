// The history of the circuits: when each was open in the last 15 minutes, and the latest openings as a list.

const ROW = 24;
const MAX_ROWS = 5;
const MAX_OPENINGS = 6;
const circuits = new Chart("circuits", { left: 2 });

// An opening in milliseconds. One without an end lasts until now.
const span = ({ opened_at: from, closed_at: to }) => [Date.parse(from), to ? Date.parse(to) : mainApi.now];

function drawCircuits() {
  const openings = mainApi.shown.status.circuit_openings ?? [];
  const begin = mainApi.end - SLOT * SLOTS;
  const seen = openings.filter(opening => span(opening)[1] > begin);
  const routes = [...new Set(seen.map(({ route }) => route))].slice(-MAX_ROWS);
  const rows = routes.length ? routes : ["all routes"];
  circuits.height = rows.length * (ROW + 14) + MARGIN.bottom + 4;
  const x = time => circuits.x(Math.min(1, Math.max(0, inChart(mainApi, time))));
  const content = rows.flatMap((route, row) => {
    const top = row * (ROW + 14) + 16;
    const open = seen.filter(opening => opening.route === route).map(span);
    return [
      svg("text", { x: x(begin), y: top - 4 }, open.length ? route : `${route}: closed`),
      svg("rect", { class: "closed", x: x(begin), width: x(mainApi.end) - x(begin), y: top, height: ROW - 8, rx: 3 }),
      ...open.map(([from, to]) => svg("rect", { x: x(from), width: Math.max(3, x(to) - x(from)), y: top, height: ROW - 8, rx: 2, fill: "url(#slant)" })),
    ];
  });
  circuits.draw([], content, `Circuits to aux-service in the last 15 minutes: ${seen.length ? seen.map(describe).join("; ") : "all closed"}.`);
  circuits.explain([
    { sample: svg("rect", { class: "closed", width: 14, height: 12, rx: 2 }), name: "closed: calls flow", value: "" },
    { sample: svg("rect", { width: 14, height: 12, rx: 2, fill: "url(#slant)" }), name: "open or half open: calls are refused, except for a probe", value: "" },
  ]);
  listOpenings(openings);
}

// A half-open circuit stays so until a request probes aux-service.
const awaitsProbe = ({ route, closed_at: closed }) => !closed && mainApi.shown.status.circuits[route] === "half_open";

const failedProbes = ({ failed_probes: failed }) => failed ? `, ${count(failed, "probe", "probes")} failed` : "";

function describe(opening) {
  const [from, to] = span(opening);
  return `${opening.route} ${opening.closed_at ? `was open for ${duration((to - from) / 1000)}` : awaitsProbe(opening) ? "is half open until a request probes it," : "is open"} from ${clock(from)}${failedProbes(opening)}`;
}

function listOpenings(openings) {
  const list = element("openings");
  const latest = openings.slice(-MAX_OPENINGS).reverse();
  while (list.childElementCount > latest.length) list.lastElementChild.remove();
  latest.forEach((opening, index) => {
    const item = list.children[index] ?? list.appendChild(html("li", {}, html("bdi"), html("span"), html("time", { className: "dim" })));
    const [from, to] = span(opening);
    const [name, what, when] = item.children;
    say(name, opening.route);
    const state = opening.closed_at ? ["good", "closed after"] : awaitsProbe(opening) ? ["warn", "half open until the next request, after"] : ["bad", "open for"];
    mark(what, state[0], `${state[1]} ${duration((to - from) / 1000)}${failedProbes(opening)}`);
    say(when, clock(from));
  });
  list.hidden = !latest.length;
  element("no-openings").hidden = Boolean(latest.length);
}
