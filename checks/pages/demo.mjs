// Writes docs/demo.md's transcript and its three pictures: runs the demonstration, and opens main-api's page beside it.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { browser, done, open } from "./browser.mjs";

const [document, pictures] = ["docs/demo.md", "docs/pictures"];
const LARGEST_PICTURE = 250_000;

// Each picture is taken some seconds after the first line that matches, when the page has the figures of that moment.
const moments = [
  { name: "demo-calm", line: /^── Step 0/, seconds: 15 },
  { name: "demo-outage", line: /^main-api has restarted/, seconds: 2 },
  { name: "demo-change", line: /^The waiting client had/, seconds: 2 },
];

const demo = spawn(path.join(process.env.PROGRAMS, "demo"), { stdio: ["ignore", "pipe", "inherit"] });
process.on("exit", () => demo.kill("SIGTERM"));
const ended = new Promise(tell => demo.on("exit", tell));
const lines = [];
const taken = [];
let page;
for await (const line of createInterface({ input: demo.stdout })) {
  lines.push(line);
  const url = /Open (\S+) now/.exec(line)?.[1];
  // The page reports requests that fail while it is without a main-api, which is expected here.
  if (url) page = open(url, { down: true });
  const moment = moments.find(({ name, line: wanted }) => wanted.test(line) && !taken.some(picture => picture.name === name));
  if (moment) taken.push({ name: moment.name, saved: sleep(moment.seconds * 1000).then(async () => save(await page, moment.name)) });
}
const status = await ended;
assert.equal(status, 0, `the demonstration ended with ${status}:\n${lines.join("\n")}`);
assert.deepEqual(taken.map(({ name }) => name), moments.map(({ name }) => name));
await Promise.all(taken.map(({ saved }) => saved));

const [start, end] = ["<!-- transcript -->", "<!-- end of the transcript -->"];
const text = readFileSync(document, "utf8");
const [before, after] = [text.split(start)[0], text.split(end)[1]];
assert.ok(after !== undefined, `${document} has no place for the transcript`);
writeFileSync(document, `${before}${start}\n\`\`\`text\n${lines.join("\n")}\n\`\`\`\n${end}${after}`);
done(`${document} has the transcript, and ${taken.length} pictures show the page`);
await browser.close();
process.exit(0);

async function save(page, name) {
  const file = path.join(pictures, `${name}.png`);
  await page.screenshot({ path: file, fullPage: true });
  assert.ok(statSync(file).size < LARGEST_PICTURE, `${file} is larger than ${LARGEST_PICTURE} bytes`);
}
