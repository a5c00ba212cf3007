// A pod that calls Parameter Store for each request with the AWS SDK for JavaScript and its defaults, and responds over HTTP as
// aux-service does: pod.mjs HOST PORT. The environment configures the SDK.

import { createServer } from "node:http";
import { createRequire } from "node:module";

const require = createRequire(`${process.env.NODE_MODULES}/`);
const { GetParameterCommand, SSMClient } = require("@aws-sdk/client-ssm");
const client = new SSMClient({});

async function read(path) {
  if (path === "/readyz") return [200, {}];
  try {
    const { Parameter } = await client.send(new GetParameterCommand({ Name: path.replace("/param", "") }));
    return [200, { value: Parameter.Value }];
  } catch (error) {
    return [502, { error: error.name }];
  }
}

const server = createServer(async (request, response) => {
  const [status, body] = await read(request.url);
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
});
const [host, port] = process.argv.slice(2);
server.listen(Number(port), host);
