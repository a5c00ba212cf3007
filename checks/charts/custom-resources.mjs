// Checks custom resources against their types: reads [{from, manifest}] as JSON from standard input and prints the problems.
// validate() finds wrong types and missing fields; only the compiler finds unknown fields.
import { writeFileSync } from "node:fs";
import ts from "typescript";
import * as prometheus from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1";
import * as argo from "@kubernetes-models/argo-cd/argoproj.io/v1alpha1";
import * as gateway from "@kubernetes-models/gateway-api/gateway.networking.k8s.io/v1";
import * as traefik from "@kubernetes-models/traefik/traefik.io/v1alpha1";

const types = {
  "argoproj.io/v1alpha1": [argo, "@kubernetes-models/argo-cd/argoproj.io/v1alpha1"],
  "monitoring.coreos.com/v1": [prometheus, "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1"],
  "gateway.networking.k8s.io/v1": [gateway, "@kubernetes-models/gateway-api/gateway.networking.k8s.io/v1"],
  "traefik.io/v1alpha1": [traefik, "@kubernetes-models/traefik/traefik.io/v1alpha1"],
};

const problems = [];
const source = [];
const resources = JSON.parse(await new Response(process.stdin).text());
for (const [index, { from, manifest }] of resources.entries()) {
  const [module, path] = types[manifest.apiVersion] ?? [];
  const label = `${from}: ${manifest.kind} ${manifest.metadata.name}`;
  if (!module?.[manifest.kind]) {
    problems.push(`${label}: no type is known for ${manifest.apiVersion} ${manifest.kind}, so the check has no effect`);
    continue;
  }
  try {
    new module[manifest.kind](manifest).validate();
  } catch (error) {
    problems.push(`${label}: ${error.message}`);
  }
  // Each resource has one line, so that a line's number identifies it.
  source.push({ label, line: `{ const a: import("${path}").I${manifest.kind} = ${JSON.stringify(manifest)}; void a; }` });
}

const file = process.argv[2];
writeFileSync(file, source.map(({ line }) => line).join("\n") + "\nexport {};\n");
const program = ts.createProgram([file], {
  noEmit: true, strict: true, skipLibCheck: true, types: [],
  module: ts.ModuleKind.NodeNext, moduleResolution: ts.ModuleResolutionKind.NodeNext, target: ts.ScriptTarget.ES2022,
});
for (const diagnostic of ts.getPreEmitDiagnostics(program)) {
  const line = diagnostic.file?.getLineAndCharacterOfPosition(diagnostic.start).line ?? 0;
  problems.push(`${source[line]?.label ?? "types"}: ${ts.flattenDiagnosticMessageText(diagnostic.messageText, " ")}`);
}

problems.forEach((problem) => console.error(problem));
console.log(`${resources.length} custom resources`);
process.exit(problems.length ? 1 : 0);
