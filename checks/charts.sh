#!/usr/bin/env bash
# The Helm charts, checked without a cluster: lint, renders, types, references, refusals, snapshots, policies.
# checks/charts.sh --update writes the generated schemas and the snapshots instead.
source "$(dirname "${BASH_SOURCE[0]}")/tools.sh"
source "$root/checks/charts/helm.sh"

helm_binaries
venv charts kubernetes-validate==1.37.0 PyYAML==6.0.3
npm_packages chart-types typescript@5.9.3 @kubernetes-models/prometheus-operator@6.0.0 @kubernetes-models/gateway-api@2.0.0 @kubernetes-models/traefik@2.0.0
export CHART_NODE_MODULES=$tools/chart-types/node_modules

python3 "$root/checks/charts" "$@"
