#!/usr/bin/env bash
# Builds what is measured as the images ship it, installs what it is compared with, and measures: bench/run.sh --help.
source "$(dirname "${BASH_SOURCE[0]}")/../checks/tools.sh"

need cargo "it builds the services; https://rustup.rs installs it"
need cc "Varnish compiles its configuration with it, and cargo links with it"
# Where Debian has servers, and where only root looks.
PATH=$PATH:/usr/sbin
debian taskset util-linux
debian wrk wrk
debian nginx nginx-light
debian varnishd varnish
venv bench matplotlib==3.10.8

# Apart from each other, so that the services are built with the features that they are shipped with.
cargo build --profile dist --locked --manifest-path "$root/Cargo.toml" --package aux-service --package main-api
cargo build --profile dist --locked --manifest-path "$root/Cargo.toml" --package bench --bins
exec python3 "$root/bench/run.py" "$@"
