// Texts: numbers with their units, and elements that show them.

const element = id => document.getElementById(id);
const number = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const small = new Intl.NumberFormat("en", { maximumSignificantDigits: 2 });
const format = value => (Math.abs(value) < 10 ? small : number).format(value);
const sum = counts => Object.values(counts ?? {}).reduce((all, count) => all + count, 0);
const percent = ratio => ratio === null || ratio === undefined ? "–" : `${number.format(ratio * 100)} %`;
const perSecond = rate => `${rate >= 100 ? number.format(Math.round(rate)) : format(rate)} /s`;
const clock = time => new Date(time).toLocaleTimeString();
const count = (amount, one, many) => `${number.format(amount)} ${amount === 1 ? one : many}`;

function latency(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const [amount, unit] = seconds >= 1 ? [seconds, "s"] : [seconds * 1000, "ms"];
  return `${amount < 10 ? small.format(amount) : number.format(Math.round(amount))} ${unit}`;
}

function duration(seconds) {
  const parts = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const first = Math.max(0, parts.findIndex(([, size]) => seconds >= size));
  if (seconds < 1) return "0 s";
  return parts.slice(first, first + 2).map(([unit, size], i) => `${Math.floor(i ? seconds % parts[first][1] / size : seconds / size)} ${unit}`).join(" ");
}

function bytes(amount) {
  const units = ["B", "KiB", "MiB", "GiB"];
  let power = 0;
  while (amount >= 1024 && power < units.length - 1) { amount /= 1024; power += 1; }
  return `${number.format(amount)} ${units[power]}`;
}

function html(name, { className = "", ...properties } = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

function svg(name, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// A text that is the same stays, so that nothing that observes the page sees a change.
function say(where, text) {
  if (where.textContent !== text) where.textContent = text;
}

function setText(where, text, note) {
  where.replaceChildren(text);
  if (note) where.append(html("small", { textContent: note }));
}

function mark(where, kind, text) {
  if (where.className !== `state ${kind}`) where.className = `state ${kind}`;
  say(where, text);
}
