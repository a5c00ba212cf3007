#!/usr/bin/env bash
# Builds and starts both services on the embedded backend, without AWS and without a cluster. Ctrl-C ends both.
# With SHARED=1 there are two replicas of aux-service, which share a cache on a local Valkey or Redis.
set -euo pipefail
cd "$(dirname "$0")/.."

command -v cargo >/dev/null || { echo "error: cargo is needed; https://rustup.rs installs it" >&2; exit 1; }
command -v curl >/dev/null || { echo "error: curl is needed; it polls the services until they are ready" >&2; exit 1; }

engine=
if [ -n "${SHARED:-}" ]; then
    engine=$(command -v valkey-server || command -v redis-server) ||
        { echo "error: SHARED=1 needs valkey-server or redis-server; install one of them and try again" >&2; exit 1; }
fi

echo "Building (the first build takes a few minutes, because the AWS SDK is large)"
cargo build --locked --bin aux-service --bin main-api

# These are the NodePorts, so that the same commands work with a cluster. Browsers block main-api's own port, 6000.
aux=127.0.0.1:30001 main=127.0.0.1:30002 second=127.0.0.1:30011 shared=127.0.0.1:30012
addresses=("$aux" "$main")
[ -z "$engine" ] || addresses+=("$second" "$shared")
for address in "${addresses[@]}"; do
    if (exec 3<>"/dev/tcp/${address/://}") 2>/dev/null; then
        echo "error: another program listens on $address; end it and try again" >&2
        exit 1
    fi
done

trap 'trap - EXIT; kill $(jobs -p) 2>/dev/null; wait' EXIT
trap 'echo; exit 0' INT TERM
binaries=${CARGO_TARGET_DIR:-target}/debug
if [ -n "$engine" ]; then
    "$engine" --bind 127.0.0.1 --port "${shared#*:}" --save '' --appendonly no --loglevel warning &
    export SHARED_CACHE_URL=redis://$shared
    LISTEN_ADDR=$second BACKEND=embedded "$binaries/aux-service" &
fi
LISTEN_ADDR=$aux BACKEND=embedded "$binaries/aux-service" &
LISTEN_ADDR=$main AUX_URL=http://$aux "$binaries/main-api" &

programs=$(jobs -p | wc -l)
ready() {
    for _ in $(seq 100); do
        curl -sf -o /dev/null "http://$1/readyz" && return 0
        [ "$(jobs -rp | wc -l)" -eq "$programs" ] || break
        sleep 0.1
    done
    echo "error: the service on $1 did not become ready; its log is above" >&2
    exit 1
}
ready $aux
ready $main
[ -z "$engine" ] || ready $second

cat <<TEXT

Both services are ready. Open http://$main/ in a browser, or, in another terminal, try:

  curl http://$main/buckets                   # main-api, through aux-service
  curl http://$main/params
  curl http://$main/param/challenge/kantox
  curl http://$main/values/challenge
  curl http://$main/inventory
  curl http://$main/status
  curl http://$aux/param/challenge/kantox      # aux-service itself
  curl http://$main/param/no/such/name         # an error: application/problem+json
  curl http://$main/metrics

TEXT
[ -z "$engine" ] || cat <<TEXT
Two replicas of aux-service share a cache on $shared. The second one finds what the first one loaded:

  curl -i http://$aux/param/challenge/kantox
  curl -i http://$second/param/challenge/kantox   # Cache-Status: shared-cache; hit

TEXT
printf 'Ctrl-C ends everything.\n\n'
wait -n || true
echo "error: a service has ended; its log is above" >&2
exit 1
