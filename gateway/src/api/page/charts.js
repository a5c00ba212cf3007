// The charts of the last 15 minutes. Each is an SVG with axis, unit and legend; colours are doubled by patterns, dashes and text.

const HEIGHT = 170;
const MARGIN = { right: 8, top: 20, bottom: 20 };
const LEFT = 52;
const AGES = [15, 10, 5, 0];

// Patterns for those who do not see the colours.
document.body.append(svg("svg", { width: 0, height: 0, "aria-hidden": "true", style: "position:absolute" }, svg("defs", {},
  pattern("slant", "fill-red", "M-1 1l2-2M0 6l6-6M5 7l2-2"), pattern("bars", "fill-amber", "M0 3h6"))));

function pattern(id, fill, d) {
  return svg("pattern", { id, width: 6, height: 6, patternUnits: "userSpaceOnUse" },
    svg("rect", { width: 6, height: 6, class: fill }), svg("path", { d, stroke: "var(--box)", "stroke-width": 1.4, "stroke-opacity": .75 }));
}

const SERIES = {
  requests: [["ok", "ok", "fill-blue"], ["refused", "client error (4xx)", "fill-grey"], ["abandoned", "abandoned", "fill-pale"], ["failed", "failed (5xx)", "slant"]],
  cache: [["fresh", "fresh", "fill-blue"], ["loaded", "from aux-service", "fill-pale"], ["stale", "stale", "fill-grey"], ["rescued", "stale, because of a failure", "bars"], ["failed", "failed", "slant"]],
  aws: [["ok", "ok", "fill-blue"], ["held", "held back by the limiter", "fill-grey"], ["throttled", "throttled by AWS", "bars"], ["failed", "failed", "slant"]],
};

const painted = fill => fill.startsWith("fill-") ? { class: fill } : { fill: `url(#${fill})` };

class Chart {
  constructor(name, { height = HEIGHT, left = LEFT } = {}) {
    this.figure = document.querySelector(`[data-chart="${name}"]`);
    this.drawing = svg("svg", { role: "img", height });
    this.legend = html("ul", { className: "legend" });
    this.figure.append(this.drawing, this.legend);
    this.height = height;
    this.left = left;
  }

  get width() { return Math.max(240, this.figure.clientWidth - parseFloat(getComputedStyle(this.figure).paddingLeft) * 2); }
  get bottom() { return this.height - MARGIN.bottom; }

  // The place of a share of the 15 minutes.
  x(share) { return this.left + share * (this.width - this.left - MARGIN.right); }
  y(share) { return this.bottom - share * (this.bottom - MARGIN.top); }

  // Draws the content on the axes. `ticks`: shares of the height and their texts.
  draw(ticks, content, summary, start) {
    const { width, height } = this;
    const grid = ticks.flatMap(([share, text]) => [
      svg("line", { class: "axis", x1: this.left, x2: width - MARGIN.right, y1: this.y(share), y2: this.y(share) }),
      svg("text", { x: this.left - 8, y: this.y(share) + 4, "text-anchor": "end" }, text),
    ]);
    const ages = AGES.map(age => svg("text", { x: this.x(1 - age / 15), y: height - 4, "text-anchor": age === 15 ? "start" : age ? "middle" : "end" }, age ? `−${age} min` : "now"));
    this.drawing.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.drawing.setAttribute("height", height);
    this.drawing.replaceChildren(...grid, ...content, ...this.startLine(start), ...ages);
    if (this.drawing.getAttribute("aria-label") !== summary) this.drawing.setAttribute("aria-label", summary);
  }

  // Draws a text in the place of a chart that has no counts.
  drawNone(reason) {
    this.explain([]);
    this.draw([[0, ""]], [svg("text", { class: "unknown", x: this.width / 2, y: this.y(.5), "text-anchor": "middle" }, reason)], reason);
  }

  // The start of the process. To the left of it is another process, or nothing.
  startLine(share) {
    if (!(share > 0 && share < 1)) return [];
    const x = this.x(share);
    const isLate = share > .85;
    return [
      svg("line", { class: "start", x1: x, x2: x, y1: MARGIN.top - 16, y2: this.bottom }),
      svg("text", { x: x + (isLate ? -4 : 4), y: MARGIN.top - 8, "text-anchor": isLate ? "end" : "start" }, "start"),
    ];
  }

  // The legend names each series, and says its value now.
  explain(entries) {
    while (this.legend.childElementCount > entries.length) this.legend.lastElementChild.remove();
    entries.forEach(({ sample, name, value }, index) => {
      const item = this.legend.children[index] ?? this.legend.appendChild(html("li", {}, svg("svg", { "aria-hidden": "true", viewBox: "0 0 14 12" }, sample), html("span"), html("b")));
      say(item.children[1], name);
      say(item.children[2], value);
    });
  }
}

// The least of 1, 2, 4 and 5 times a power of ten that is not smaller.
function niceTop(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 5, 10].find(factor => factor * power >= value * .999) * power;
}

const inChart = (service, time) => time === undefined ? undefined : 1 - (service.end - time) / (SLOT * SLOTS);

// Columns of what happened each second, one above the other. `limit`: a line, if it is near enough to be seen.
function drawColumns(chart, service, series, read, subject, limit) {
  const slots = service.slots().map(rates => rates && read(rates));
  const totals = slots.map(sum);
  const peak = Math.max(...totals);
  const showsLimit = limit && peak * 5 > limit;
  const top = niceTop(Math.max(peak, showsLimit ? limit * 1.05 : 0, .1));
  const step = 1 / SLOTS;
  const paths = Object.fromEntries(series.map(([key]) => [key, ""]));
  slots.forEach((rates, index) => {
    if (!rates) return;
    let below = 0;
    const [left, right] = [chart.x(index * step) + .5, chart.x((index + 1) * step) - .5];
    for (const [key] of series) {
      if (!rates[key]) continue;
      const [from, to] = [chart.y(below / top), chart.y((below + rates[key]) / top)];
      paths[key] += `M${left.toFixed(1)} ${from.toFixed(1)}V${to.toFixed(1)}H${right.toFixed(1)}V${from.toFixed(1)}z`;
      below += rates[key];
    }
  });
  const content = series.filter(([key]) => paths[key]).map(([key, , fill]) => svg("path", { d: paths[key], ...painted(fill) }));
  if (showsLimit) content.push(svg("line", { class: "limit", x1: chart.x(0), x2: chart.x(1), y1: chart.y(limit / top), y2: chart.y(limit / top) }));
  const current = read(service.current);
  const known = value => current ? perSecond(value) : "–";
  chart.explain([
    ...series.map(([key, name, fill]) => ({ sample: svg("rect", { width: 14, height: 12, rx: 2, ...painted(fill) }), name, value: known(current?.[key] ?? 0) })),
    ...(limit ? [{ sample: svg("line", { class: "limit", x2: 14, y1: 6, y2: 6 }), name: showsLimit ? "quota of reads" : "quota of reads, far above", value: perSecond(limit) }] : []),
  ]);
  const seen = series.map(([key, name]) => [name, Math.max(0, ...slots.map(rates => rates?.[key] ?? 0))]).filter(([, most]) => most > 0);
  const parts = seen.map(([name, most]) => `${name} at most ${perSecond(most)}`);
  chart.draw([0, .5, 1].map(share => [share, share ? perSecond(top * share) : "0"]), content,
    `${subject} in the last 15 minutes: now ${current ? perSecond(sum(current)) : "unknown"}; ${parts.length ? parts.join(", ") : "none"}${limit ? `; the quota of reads is ${perSecond(limit)}` : ""}.`, inChart(service, service.start));
}

const QUANTILES = [[.5, "p50: half of the requests take less", "line-blue"], [.99, "p99: 99 of 100 take less", "line-amber"]];

function drawLatency(chart) {
  const slots = mainApi.slots();
  const values = QUANTILES.map(([share]) => slots.map(rates => rates ? quantile(share, rates.times) : null));
  const seen = values.flat().filter(value => value > 0);
  const lowest = Math.floor(Math.log10(Math.min(.001, ...seen)));
  const highest = Math.max(lowest + 2, Math.ceil(Math.log10(Math.max(.001, ...seen)) - 1e-9));
  const at = value => (Math.log10(Math.max(value, 10 ** lowest)) - lowest) / (highest - lowest);
  const lines = values.map((series, index) => {
    let path = "";
    series.forEach((value, slot) => {
      if (value === null) return;
      const isFirst = slot === 0 || series[slot - 1] === null;
      const [x, y] = [chart.x((slot + .5) / SLOTS).toFixed(1), chart.y(at(value)).toFixed(1)];
      // A slot between two without requests is a short line.
      path += isFirst ? `M${x - 2} ${y}h4` : `L${x} ${y}`;
    });
    return svg("path", { class: `line ${QUANTILES[index][2]}`, d: path });
  });
  const ticks = Array.from({ length: highest - lowest + 1 }, (_, index) => [index / (highest - lowest), latency(10 ** (lowest + index))]);
  const times = mainApi.current.times ?? {};
  const now = QUANTILES.map(([share]) => latency(quantile(share, times)));
  const most = latency(Math.max(0, ...values[1].filter(value => value !== null)) || null);
  chart.explain(QUANTILES.map(([, name, line], index) => ({ sample: svg("line", { class: `line ${line}`, x1: 1, x2: 13, y1: 6, y2: 6 }), name, value: now[index] })));
  chart.draw(ticks, lines, `Latency of main-api in the last 15 minutes: now p50 ${now[0]} and p99 ${now[1]}; p99 at most ${most}.`, inChart(mainApi, mainApi.start));
}

const CHARTS = { requests: new Chart("requests"), latency: new Chart("latency"), cache: new Chart("cache"), aws: new Chart("aws") };

const readLimit = ({ aws }) => aws.quota?.reads?.limit_per_second;

function drawCharts() {
  if (!mainApi.shown) return;
  drawColumns(CHARTS.requests, mainApi, SERIES.requests, ({ requests }) => requests, "Requests to main-api");
  drawLatency(CHARTS.latency);
  drawColumns(CHARTS.cache, mainApi, SERIES.cache, ({ lookups }) => lookups, "Lookups in the cache of main-api");
  drawCalls(CHARTS.aws);
  drawCircuits();
}

function drawCalls(chart) {
  const status = auxService.shown?.status;
  if (!status) chart.drawNone("unknown: aux-service does not respond");
  else if (status.dependencies.embedded) chart.drawNone("none: the parameters are in memory");
  else drawColumns(chart, auxService, SERIES.aws, ({ calls }) => calls, "Calls to AWS", readLimit(status));
}

new ResizeObserver(drawCharts).observe(document.querySelector("main"));
