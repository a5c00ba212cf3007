// The list of changes, from the stream `/changes`.

const MAX_LINES = 20;
const MAX_NAME = 200;

function showChange(what, how) {
  // A name that holds a mark of a text's direction changes only itself.
  const name = html("bdi", { textContent: what.length > MAX_NAME ? `${what.slice(0, MAX_NAME / 2)}…${what.slice(-MAX_NAME / 2)}` : what });
  const list = element("changes");
  list.prepend(html("li", {}, name, html("span", { textContent: how }), html("time", { className: "dim", textContent: clock(Date.now()) })));
  while (list.childElementCount > MAX_LINES) list.lastElementChild.remove();
  list.hidden = false;
  element("no-changes").hidden = true;
  speak(`${name.textContent} ${how}`);
}

// A screen reader hears the changes of a few seconds together.
let unspoken = 0;
let latest = "";
function speak(text) {
  unspoken += 1;
  latest = text;
  if (unspoken > 1) return;
  setTimeout(() => {
    element("spoken").textContent = unspoken === 1 ? latest : `${number.format(unspoken)} changes, the latest: ${latest}`;
    unspoken = 0;
  }, 5000);
}

// main-api sends a comment every 15 seconds. Without one the connection is dead.
const SILENCE = 45000;
const MAX_PAUSE = 30000;
const MAX_EVENT = 1 << 16;

// An EventSource could not send the token.
const stream = { lastId: "", retry: 2000, failures: 0, connection: undefined, timer: undefined };

// Starts the stream anew, or ends it. A hidden page has none: a browser opens few connections to a host.
function follow() {
  clearTimeout(stream.timer);
  stream.connection?.abort();
  stream.connection = undefined;
  if (paused || document.hidden) mark(element("stream"), "warn", "paused");
  else read(stream.connection = new AbortController());
}
document.addEventListener("visibilitychange", follow);

async function read(connection) {
  mark(element("stream"), "warn", stream.failures ? "connecting again" : "connecting");
  let silence = setTimeout(() => connection.abort(), SILENCE);
  let hasBegun = false;
  let refused = false;
  try {
    const headers = { Accept: "text/event-stream" };
    if (token) headers.Authorization = `Bearer ${token}`;
    if (stream.lastId) headers["Last-Event-ID"] = stream.lastId;
    const response = await fetch(`${base}changes`, { headers, cache: "no-store", signal: connection.signal });
    refused = response.status === 401;
    if (!response.ok) throw new Error(`main-api responded ${response.status}`);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      // Another stream may have begun meanwhile.
      if (done || stream.connection !== connection) break;
      clearTimeout(silence);
      silence = setTimeout(() => connection.abort(), SILENCE);
      const blocks = (rest + value).replaceAll("\r\n", "\n").split("\n\n");
      rest = blocks.pop();
      if (rest.length > MAX_EVENT) throw new Error("an event is too long");
      for (const block of blocks) receive(block);
      if (!hasBegun && blocks.length) mark(element("stream"), "good", "live");
      hasBegun ||= blocks.length > 0;
    }
  } catch {
    // The state says that the stream has ended. Other failures than an end need no other reaction.
  }
  clearTimeout(silence);
  if (stream.connection !== connection) return;
  connection.abort();
  // Without the right token the next one begins with the form.
  if (refused) return mark(element("stream"), "warn", "a token is needed");
  stream.failures = hasBegun ? 0 : stream.failures + 1;
  const pause = Math.max(stream.retry, Math.min(MAX_PAUSE, 1000 * 2 ** stream.failures)) * (.5 + Math.random());
  mark(element("stream"), "warn", "connecting again");
  stream.timer = setTimeout(follow, pause);
}

function receive(block) {
  const event = { type: "message", data: "" };
  for (const line of block.split("\n")) {
    const [, field, text] = /^(\w*):? ?(.*)$/.exec(line) ?? [];
    if (field === "event") event.type = text;
    else if (field === "data") event.data += text;
    else if (field === "id" && /^[!-~]{1,256}$/.test(text)) stream.lastId = text;
    else if (field === "retry" && /^\d+$/.test(text)) stream.retry = Math.min(MAX_PAUSE, Math.max(500, Number(text)));
  }
  if (event.type === "reset") return showChange("everything", "may have changed");
  if (event.type !== "message" || !event.data) return;
  try {
    const { name, deleted } = JSON.parse(event.data);
    if (typeof name === "string") showChange(name, deleted ? "deleted" : "changed");
  } catch {
    // A later version may send other events.
  }
}
