# The Helm charts without a cluster: lint, renders, types, references, rejected values, policies, snapshots. The services are
# then started with the rendered variables.
# checks/run.sh charts --update writes the generated values, schemas, README.md files and snapshots instead.
install_helm
install_checkov
install_custom_resource_types
venv charts kubernetes-validate==1.37.0 PyYAML==6.0.3 yamllint==1.38.0

"$tools/charts/bin/python" checks/charts "$@"
[ $# = 0 ] || exit 0

need curl "the script of helm test uses it"
debian ip iproute2
debian openssl openssl
debian redis-server redis-server
install_aws_cli
install_moto
build_services

# sandboxed SCRIPT: runs it in a network and mount namespace of its own, so that ports and host names can be the cluster's.
sandboxed() {
    local as_root=()
    [ "$(id -u)" = 0 ] || as_root=(--map-root-user)
    unshare "${as_root[@]}" --net --mount "$tools/moto/bin/python" "checks/charts/$1"
}
sandboxed renewal.py
sandboxed environment.py
