// Checks an API description: it is well-formed, its examples match its schemas, and the responses match the description.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import path from "node:path";

const require = createRequire(path.join(process.env.PAGES_NODE_MODULES, "x.js"));
const Ajv = require("ajv/dist/2020").default;
const formats = require("ajv-formats").default;
const { Validator } = await import(require.resolve("@seriousme/openapi-schema-validator"));

function* operations(api) {
  for (const [route, methods] of Object.entries(api.paths)) {
    for (const [method, told] of Object.entries(methods)) yield [route, method, told];
  }
}

// The example of a request: its body, and the first value of each header that has a list of values.
function request(method, told) {
  if (method === "get") return {};
  const [[type, { example }]] = Object.entries(told.requestBody.content);
  const headers = { "content-type": type };
  for (const { name, in: where, schema } of told.parameters) if (where === "header") headers[name] = schema.enum[0];
  return { method, headers, body: JSON.stringify(example) };
}

export async function describesItself(url) {
  const answer = await fetch(`${url}/openapi.json`);
  assert.equal(answer.headers.get("content-type"), "application/json");
  const api = await answer.json();
  const result = await new Validator().validate(structuredClone(api));
  assert.ok(result.valid, `${url}/openapi.json: ${JSON.stringify(result.errors)}`);

  const ajv = new Ajv({ strict: false, allErrors: true });
  formats(ajv);
  ajv.addSchema({ $id: "api", components: api.components });
  const validate = (what, schema, value) => {
    const rooted = JSON.parse(JSON.stringify(schema).replaceAll("#/components", "api#/components"));
    assert.ok(ajv.validate(rooted, value), `${what}: ${ajv.errorsText()}: ${JSON.stringify(value)}`);
  };

  const ids = new Set();
  let examples = 0;
  for (const [route, method, told] of operations(api)) {
    assert.ok(told.summary && told.description && told.tags.length, `${route} says too little`);
    assert.ok(!ids.has(told.operationId), `two operations are called ${told.operationId}`);
    ids.add(told.operationId);
    for (const [status, response] of Object.entries(told.responses)) {
      for (const [type, content] of Object.entries(response.content ?? {})) {
        const shown = [content.example, ...Object.values(content.examples ?? {}).map(({ value }) => value)].filter(value => value !== undefined);
        assert.ok(shown.length || type === "text/plain", `${route} ${status} has no example`);
        for (const value of shown) validate(`${route}: the example for ${status}`, content.schema, value);
        if (type === "application/problem+json") for (const value of shown) assert.equal(value.status, Number(status), route);
        examples += shown.length;
      }
    }

    const target = (told.parameters ?? []).filter(({ in: where }) => where === "path").reduce((all, { name, example }) => all.replace(`{${name}}`, example), route);
    const real = await fetch(url + target, request(method, told));
    const described = told.responses[real.status];
    assert.ok(described, `${target} returned ${real.status}, which is not described`);
    const type = real.headers.get("content-type").split(";")[0];
    assert.ok(described.content[type], `${target} returned ${type}, which is not described`);
    if (type.endsWith("json")) validate(`${target} returned`, described.content[type].schema, await real.json());
    for (const name of Object.keys(described.headers ?? {})) assert.ok(real.headers.has(name), `${target} did not send the header ${name}`);
  }

  const status = api.paths["/status"].get.responses["200"].content["application/json"].schema;
  const full = await (await fetch(`${url}/status?history=true`)).json();
  assert.ok(full.history.length, "/status?history=true has no history");
  validate("/status?history=true returned", status, full);

  const missing = await fetch(`${url}/param/no/such/name`);
  const problem = await missing.json();
  validate("a 404", api.paths["/param/{name}"].get.responses["404"].content["application/problem+json"].schema, problem);
  return { api, routes: ids.size, examples, isStatus: (what, body) => validate(what, status, body) };
}

// main-api forwards the problems of aux-service, so its description has to contain them unchanged.
export function agree(main, aux) {
  for (const [route, { get }] of Object.entries(aux.paths)) {
    if (!get?.tags.includes("API")) continue;
    for (const [status, response] of Object.entries(get.responses)) {
      for (const [code, { value }] of Object.entries(response.content?.["application/problem+json"]?.examples ?? {})) {
        const same = main.paths[route].get.responses[status]?.content["application/problem+json"].examples[code]?.value;
        assert.ok(same, `main-api does not describe ${status} ${code} of ${route}`);
        assert.deepEqual([same.title, same.retryable], [value.title, value.retryable], `${route}: ${code}`);
      }
    }
  }
}
