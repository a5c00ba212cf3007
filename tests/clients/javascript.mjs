// Answers questions with the AWS SDK for JavaScript: one JSON document a line from standard input, one result a line to
// standard output. The environment configures the client, as in a program that knows nothing of this project.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const require = createRequire(`${process.env.NODE_MODULES}/`);
const ssm = require("@aws-sdk/client-ssm");
const client = new ssm.SSMClient({});

async function result({ operation, input, pages }) {
  if (!pages) {
    const { $metadata, ...output } = await client.send(new ssm[`${operation}Command`](input));
    return output;
  }
  const parameters = [];
  const pageSize = input.MaxResults;
  for await (const page of ssm[`paginate${operation}`]({ client, pageSize }, input)) parameters.push(...page.Parameters);
  return { Parameters: parameters };
}

for await (const line of createInterface({ input: process.stdin })) {
  let answer;
  try {
    answer = { output: await result(JSON.parse(line)) };
  } catch (error) {
    answer = { error: { code: error.name, status: error.$metadata?.httpStatusCode } };
  }
  console.log(JSON.stringify(answer));
}
