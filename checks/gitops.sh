#!/usr/bin/env bash
# What Argo CD would do, without a cluster: its applications are rendered, typed and resolved; their sources are rendered as
# it renders them; Prometheus has to find what they install, and docs/install.md has to work.
# The charts of the Prometheus community are not among what can be installed here. checks/gitops.sh --download fetches them
# from their repository and renders them too.
source "$(dirname "${BASH_SOURCE[0]}")/tools.sh"
source "$root/checks/charts/helm.sh"

need git "Argo CD sees what Git has"
debian openssl openssl
debian ssh-keygen openssh-client
helm_binaries
kubectl_binary
debian amtool prometheus-alertmanager
# The same environment as that of checks/charts.sh, whose modules are used.
venv charts kubernetes-validate==1.37.0 PyYAML==6.0.3
npm_packages gitops-types typescript@5.9.3 @kubernetes-models/argo-cd@4.0.0 @kubernetes-models/prometheus-operator@6.0.0
export GITOPS_NODE_MODULES=$tools/gitops-types/node_modules PYTHONPATH=$root/checks/charts

"$tools/charts/bin/python" "$root/checks/gitops" "$@"
