// Checks custom resources against their types: reads [{from, manifest}] as JSON from standard input, prints what is wrong.
// validate() finds wrong types and missing fields; a field that does not exist is found only by the compiler.
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { writeFileSync } from "node:fs";

const modules = process.env.GITOPS_NODE_MODULES;
const ts = createRequire(join(modules, "x.js"))("typescript");
const types = {
  "argoproj.io/v1alpha1": "@kubernetes-models/argo-cd/argoproj.io/v1alpha1",
  "monitoring.coreos.com/v1": "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1",
};

const problems = [];
const source = [];
for (const { from, manifest } of JSON.parse(await new Response(process.stdin).text())) {
  const path = types[manifest.apiVersion];
  const label = `${from}: ${manifest.kind} ${manifest.metadata.name}`;
  const Model = path && (await import(pathToFileURL(join(modules, path, "index.js")).href))[manifest.kind];
  if (!Model) {
    problems.push(`${label}: no type is known for ${manifest.apiVersion} ${manifest.kind}, so nothing was checked`);
    continue;
  }
  try {
    new Model(manifest).validate();
  } catch (error) {
    problems.push(`${label}: ${error.message}`);
  }
  // One line each, so that a line's number leads back to its resource.
  source.push({ label, line: `{ const a: import("${path}").I${manifest.kind} = ${JSON.stringify(manifest)}; void a; }` });
}

const file = join(modules, "..", "resources.mts");
writeFileSync(file, source.map(({ line }) => line).join("\n") + "\nexport {};\n");
const program = ts.createProgram([file], {
  noEmit: true, strict: true, skipLibCheck: true, types: [],
  module: ts.ModuleKind.NodeNext, moduleResolution: ts.ModuleResolutionKind.NodeNext, target: ts.ScriptTarget.ES2022,
});
for (const found of ts.getPreEmitDiagnostics(program)) {
  const line = found.file?.getLineAndCharacterOfPosition(found.start).line ?? -1;
  problems.push(`${source[line]?.label ?? "types"}: ${ts.flattenDiagnosticMessageText(found.messageText, " ")}`);
}
for (const problem of problems) console.log(problem);
process.exit(problems.length ? 1 : 0);
