#!/usr/bin/env bash
# Both images and both charts in a real cluster of their own: built, installed, tested by `helm test` and through their
# NodePorts, also while aux-service is down. It needs Docker, and kind or k3d; the embedded backend replaces AWS.
#   scripts/e2e-cluster.sh               uses kind, or k3d where kind is missing
#   CLUSTER=k3d scripts/e2e-cluster.sh   uses k3d
#   KEEP=1 scripts/e2e-cluster.sh        keeps the cluster and prints its kubeconfig
source "$(dirname "${BASH_SOURCE[0]}")/../checks/tools.sh"
cd "$root"

need docker "https://docs.docker.com/engine/install/"
docker info >/dev/null 2>&1 || die "the Docker daemon is not reachable; start it, or give this user access to it"
need curl "it sends requests to the NodePorts"
need jq "it compares responses"
cluster=${CLUSTER:-$(command -v kind >/dev/null && echo kind || echo k3d)}
case $cluster in
    kind) need kind "https://kind.sigs.k8s.io" ;;
    k3d) need k3d "https://k3d.io" ;;
    *) die "CLUSTER is $cluster; use kind or k3d" ;;
esac
install_helm
install_kubectl

aux=127.0.0.1:30001 main=127.0.0.1:30002
for address in $aux $main; do
    ! curl --silent --output /dev/null "http://$address/" || die "another program listens on $address; end it and try again"
done

name=gateway-e2e-$$
revision=$(git rev-parse --short=7 HEAD)
work=$(mktemp -d)
# The script neither reads nor writes the user's own kubeconfig.
export KUBECONFIG=$work/kubeconfig

finish() {
    local status=$?
    if [ $status != 0 ] && [ -s "$KUBECONFIG" ]; then
        for namespace in aux-service main-api; do
            say "pods, events and logs of $namespace"
            kubectl --namespace "$namespace" get pods --output wide >&2 || true
            kubectl --namespace "$namespace" get events --sort-by .lastTimestamp >&2 || true
            kubectl --namespace "$namespace" logs --selector "app.kubernetes.io/name in ($namespace, $namespace-test)" --prefix --tail 50 >&2 || true
        done
    fi
    if [ -n "${KEEP:-}" ]; then
        say "the cluster $name is kept: export KUBECONFIG=$KUBECONFIG"
        return
    fi
    case $cluster in
        kind) kind delete cluster --quiet --name "$name" || true ;;
        k3d) k3d cluster delete "$name" >/dev/null 2>&1 || true ;;
    esac
    rm -rf "$work"
}
trap finish EXIT

for service in aux-service main-api; do
    say "building the image of $service"
    docker buildx build --quiet --load --target $service --build-arg REVISION="$revision" --tag "kantox-challenge:$service-$revision" . >/dev/null
done

say "making a cluster with $cluster"
case $cluster in
    kind)
        kind create cluster --quiet --name "$name" --wait 3m --config - <<'YAML'
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
nodes:
  - role: control-plane
    extraPortMappings:
      - {containerPort: 30001, hostPort: 30001, listenAddress: 127.0.0.1}
      - {containerPort: 30002, hostPort: 30002, listenAddress: 127.0.0.1}
YAML
        kind load docker-image --name "$name" "kantox-challenge:aux-service-$revision" "kantox-challenge:main-api-$revision"
        ;;
    k3d)
        k3d cluster create "$name" --wait --timeout 3m --kubeconfig-update-default=false \
            --port "$aux:30001@server:0" --port "$main:30002@server:0" >/dev/null
        k3d kubeconfig get "$name" >"$KUBECONFIG"
        k3d image import --cluster "$name" "kantox-challenge:aux-service-$revision" "kantox-challenge:main-api-$revision" >/dev/null
        ;;
esac

# install SERVICE SETTING…: installs the image that was just built, instead of a release's image in the chart's values.
install() {
    local service=$1 settings=()
    shift
    for setting in environment=development image.repository=kantox-challenge "image.tag=$service-$revision" image.digest= image.pullPolicy=Never "$@"; do
        settings+=(--set "$setting")
    done
    say "installing $service"
    helm install "$service" "$root/helm/$service" --namespace "$service" --create-namespace --wait --timeout 3m "${settings[@]}" >/dev/null
    helm test "$service" --namespace "$service" --timeout 2m >/dev/null
}
install aux-service backend=embedded
# One pod has all cached entries, so later requests do not depend on the chosen pod.
install main-api replicas=1 podDisruptionBudget.enabled=false

# expect ADDRESS PATH STATUS FILTER: the response has to have the status, and the jq filter has to hold for its body.
expect() {
    local status
    status=$(curl --silent --show-error --max-time 15 --output "$work/body" --write-out '%{http_code}' "http://$1$2") || die "GET $1$2: no response"
    [ "$status" = "$3" ] || die "GET $1$2: status $status instead of $3: $(cat "$work/body")"
    jq -e "$4" "$work/body" >/dev/null || die "GET $1$2: $4 does not hold for $(cat "$work/body")"
    say "ok: GET $1$2"
}
everything_of_main_api() {
    expect $main /buckets 200 '.main_version and .aux_version and .buckets == ["kantox-challenge-bucket"]'
    expect $main /params 200 '.main_version and .aux_version and .parameters == ["/challenge/kantox"]'
    expect $main /param/challenge/kantox 200 '.main_version and .aux_version and .value == "cloud-engineer"'
}
expect $aux /buckets 200 '.version and .buckets == ["kantox-challenge-bucket"]'
expect $aux /params 200 '.version and .parameters == ["/challenge/kantox"]'
expect $aux /param/challenge/kantox 200 '.version and .value == "cloud-engineer"'
everything_of_main_api
expect $main /inventory 200 '.buckets and .parameters and (.errors | length == 0)'
expect $main /param/no/such/name 404 '.code == "parameter-not-found" and .retryable == false'
for address in $aux $main; do
    curl --silent --max-time 15 "http://$address/metrics" | grep "^build_info{.*revision=\"$revision\"" >/dev/null || die "GET $address/metrics: build_info does not have the revision $revision"
    say "ok: GET $address/metrics has the revision"
done

say "scaling aux-service to 0"
kubectl --namespace aux-service scale deployment/aux-service --replicas=0 >/dev/null
kubectl --namespace aux-service wait --for=delete pod --selector app.kubernetes.io/name=aux-service --timeout 2m >/dev/null
everything_of_main_api
expect $main /param/never/asked/before '502' '.code == "upstream-unavailable"'
expect $main /readyz 200 '.'
say "all requests had the expected responses"
