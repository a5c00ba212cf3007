#!/usr/bin/env bash
# The Helm charts, checked without a cluster: lint, renders, types, references, refusals, policies, snapshots; then the
# real programs are started with what the charts render.
# checks/charts.sh --update writes the generated schemas and the snapshots instead.
source "$(dirname "${BASH_SOURCE[0]}")/tools.sh"
source "$root/checks/charts/helm.sh"

helm_binaries
venv checkov checkov==3.3.30
venv charts kubernetes-validate==1.37.0 PyYAML==6.0.3
npm_packages chart-types typescript@5.9.3 @kubernetes-models/prometheus-operator@6.0.0 @kubernetes-models/gateway-api@2.0.0 @kubernetes-models/traefik@2.0.0
export CHECKOV=$tools/checkov/bin/checkov CHART_NODE_MODULES=$tools/chart-types/node_modules

"$tools/charts/bin/python" "$root/checks/charts" "$@"
[ $# = 0 ] || exit 0

need cargo "Rust builds the programs that are started with the charts' variables"
need curl "the script of helm test is run"
debian ip iproute2
debian openssl openssl
venv aws-cli awscli==1.46.3
venv moto 'moto[server]==5.2.5'
cargo build --quiet --locked --manifest-path "$root/Cargo.toml" --package aux-service --package main-api
export MOTO_SERVER=$tools/moto/bin/moto_server PROGRAMS=${CARGO_TARGET_DIR:-$root/target}/debug

# sandboxed SCRIPT: with a network and a host table of its own, so that ports and names can be the cluster's.
sandboxed() {
    local as_root=()
    [ "$(id -u)" = 0 ] || as_root=(--map-root-user)
    unshare "${as_root[@]}" --net --mount "$tools/moto/bin/python" "$root/checks/charts/$1"
}
sandboxed renewal.py
sandboxed environment.py
