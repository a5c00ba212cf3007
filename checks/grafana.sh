#!/usr/bin/env bash
# Dashboards and alerts: in step with their generator, typed by Grafana's own schema, tested by promtool, and run, every
# expression of them, against a real Prometheus that scrapes both services on a bad day.
source "$(dirname "${BASH_SOURCE[0]}")/tools.sh"
source "$root/checks/charts/helm.sh"

need cargo "it builds the services that Prometheus scrapes; https://rustup.rs installs it"
helm_binaries
kubectl_binary
debian prometheus prometheus
venv moto 'moto[server]==5.2.5'
venv grafana PyYAML==6.0.3
npm_packages grafana-types @grafana/schema@13.2.3 @prometheus-io/lezer-promql@0.315.0 @lezer/common@1.5.5 @lezer/highlight@1.2.5 @lezer/lr@1.4.12 typescript@5.9.3
export GRAFANA_NODE_MODULES=$tools/grafana-types/node_modules

python3 "$root/grafana/generate.py" --check
python3 "$root/checks/grafana/files.py"
cargo build --quiet --locked --manifest-path "$root/Cargo.toml" --bin aux-service --bin main-api --bin bad_day
python3 "$root/checks/grafana/live.py"
