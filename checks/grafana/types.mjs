// Checks dashboards against Grafana's own types, panel options included, and their expressions against PromQL's grammar.
// It reads [{name, dashboard, expressions}] as JSON from standard input and prints the problems.
import { createRequire } from "node:module";
import { join } from "node:path";
import { readFileSync, writeFileSync } from "node:fs";

const modules = process.env.GRAFANA_NODE_MODULES;
const require = createRequire(join(modules, "x.js"));
const ts = require("typescript");
const { parser } = require("@prometheus-io/lezer-promql");

const OPTIONS = {
  stat: "stat/panelcfg/x/StatPanelCfg_types.gen",
  "state-timeline": "statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen",
  table: "table/panelcfg/x/TablePanelCfg_types.gen",
  timeseries: "timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen",
};

const problems = [];
const dashboards = JSON.parse(readFileSync(0, "utf8"));

for (const { name, expressions } of dashboards) {
  for (const expression of expressions) {
    parser.parse(expression).iterate({
      enter(node) {
        if (node.type.isError) problems.push(`${name}: PromQL cannot read this at ${node.from}: ${expression}`);
      },
    });
  }
}

// In JSON the members of an enumeration are plain strings.
const source = [
  'import type { Dashboard } from "@grafana/schema";',
  "type Plain<T> = T extends string ? (string extends T ? T : `${T}`) : T extends object ? { [K in keyof T]: Plain<T[K]> } : T;",
  ...Object.entries(OPTIONS).map(([kind, path]) => `import type { Options as ${kind.replace("-", "_")} } from "@grafana/schema/dist/esm/raw/composable/${path}";`),
];
const labels = [];
for (const { name, dashboard } of dashboards) {
  labels[source.length] = name;
  source.push(`export const d${source.length}: Plain<Dashboard> = ${JSON.stringify(dashboard)};`);
  for (const panel of dashboard.panels) {
    if (panel.type === "row") continue;
    if (!OPTIONS[panel.type]) { problems.push(`${name}: no type is known for a panel of type ${panel.type}`); continue; }
    labels[source.length] = `${name}: ${panel.title}`;
    source.push(`export const p${source.length}: Partial<Plain<${panel.type.replace("-", "_")}>> = ${JSON.stringify(panel.options)};`);
  }
}
const file = join(modules, "..", "dashboards.ts");
writeFileSync(file, source.join("\n"));
const program = ts.createProgram([file], {
  noEmit: true, strict: true, skipLibCheck: true, types: [],
  target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext, moduleResolution: ts.ModuleResolutionKind.Bundler,
});
for (const found of ts.getPreEmitDiagnostics(program)) {
  const line = found.file?.fileName === file ? found.file.getLineAndCharacterOfPosition(found.start).line : -1;
  problems.push(`${labels[line] ?? "types"}: ${ts.flattenDiagnosticMessageText(found.messageText, " ")}`);
}

for (const problem of problems) console.log(problem);
process.exit(problems.length ? 1 : 0);
