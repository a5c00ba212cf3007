#!/usr/bin/env bash
# Builds the services with the profile of the images, installs the programs for comparison, and measures: bench/run.sh --help.
source "$(dirname "${BASH_SOURCE[0]}")/../checks/tools.sh"

need cargo
need cc "Varnish compiles its configuration with it, and cargo links with it"
# Debian installs servers into this folder, which only root has in PATH.
PATH=$PATH:/usr/sbin
debian taskset util-linux
debian wrk wrk
debian nginx nginx-light
debian varnishd varnish
debian redis-server redis-server
install_moto
install_boto3
install_aws_sdk_for_javascript
# The last environment's Python is the one that runs the bench.
venv bench matplotlib==3.10.8

# Two separate builds: in one build, Cargo would add the features that bench needs to the services.
cargo build --profile dist --locked --manifest-path "$root/Cargo.toml" --package aux-service --package main-api
cargo build --profile dist --locked --manifest-path "$root/Cargo.toml" --package bench --bins
exec python3 "$root/bench/run.py" "$@"
