// The services, a proxy that strips a prefix like an ingress, and a Parameter Store.
import { spawn } from "node:child_process";
import http from "node:http";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const binaries = process.env.PROGRAMS;
const running = new Set();
process.on("exit", () => running.forEach(child => child.kill("SIGKILL")));

// The log has the port that replaces port 0; a restarted service has to use the same port.
export async function start(name, variables, port = 0) {
  const child = spawn(path.join(binaries, name), {
    env: { LISTEN_ADDR: `127.0.0.1:${port}`, LOG_FORMAT: "json", ...variables },
    stdio: ["ignore", "pipe", "inherit"],
  });
  running.add(child);
  const address = await new Promise((tell, fail) => {
    let output = "";
    child.stdout.on("data", data => {
      output += data;
      const line = output.split("\n").find(line => line.includes('"listening"'));
      if (line) tell(JSON.parse(line).address);
    });
    child.on("exit", code => { running.delete(child); fail(new Error(`${name} ended with ${code}: ${output}`)); });
  });
  return {
    url: `http://${address}`,
    port: Number(address.split(":").at(-1)),
    kill: () => new Promise(done => { child.on("exit", done); child.kill("SIGKILL"); }),
  };
}

export function stripping(prefix, upstream) {
  const server = http.createServer((request, response) => {
    if (!request.url.startsWith(prefix)) return response.writeHead(404).end("not below the prefix");
    const target = new URL(request.url.slice(prefix.length).replace(/^\/*/, "/"), upstream);
    http.get(target, { headers: request.headers }, answer => { response.writeHead(answer.statusCode, answer.headers); answer.pipe(response); })
      .on("error", () => response.writeHead(502).end());
  });
  return new Promise(tell => server.listen(0, "127.0.0.1", () => tell({ url: `http://127.0.0.1:${server.address().port}${prefix}`, close: () => server.close() })));
}

// A Parameter Store with these parameters, which the caller may change.
export function parameterStore(values) {
  const described = name => ({ Name: name, Type: "String", Value: values.get(name), Version: 1, LastModifiedDate: 1.7e9, ARN: `arn:aws:ssm:eu-west-2:123456789012:parameter${name}`, DataType: "text" });
  const server = http.createServer(async (request, response) => {
    const body = JSON.parse(Buffer.concat(await request.toArray()));
    const send = (status, content) => response.writeHead(status, { "content-type": "application/x-amz-json-1.1" }).end(JSON.stringify(content));
    const names = body.Names ?? [body.Name];
    const [found, missing] = [names.filter(name => values.has(name)), names.filter(name => !values.has(name))];
    if (request.headers["x-amz-target"] === "AmazonSSM.GetParameters") send(200, { Parameters: found.map(described), InvalidParameters: missing });
    else if (found.length) send(200, { Parameter: described(found[0]) });
    else send(400, { __type: "ParameterNotFound" });
  });
  return new Promise(tell => server.listen(0, "127.0.0.1", () => tell({ url: `http://127.0.0.1:${server.address().port}`, close: () => server.close() })));
}

export async function until(what, check, seconds = 40) {
  let last;
  for (const end = Date.now() + seconds * 1000; Date.now() < end; await sleep(200)) {
    last = await check();
    if (last === true) return;
  }
  throw new Error(`${what}: not within ${seconds} s; last seen: ${JSON.stringify(last)}`);
}
