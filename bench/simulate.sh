#!/usr/bin/env bash
# Simulates the policy of both services with up to 100 replicas and 100,000 pods: bench/simulate.sh --help.
#     bench/simulate.sh --aux-replicas 10  the figures of one scenario
#     bench/simulate.sh --validate         the simulation beside the measured points of measured.json; fails beyond 15 %
#     bench/simulate.sh --report           the sweep, and from it the tables of growth.md and the picture; several minutes
source "$(dirname "${BASH_SOURCE[0]}")/../checks/tools.sh"
cd "$root"

need cargo
cargo build --quiet --release --locked --package bench --bin simulate
simulate=${CARGO_TARGET_DIR:-target}/release/simulate
[ "${1:-}" = --report ] || exec "$simulate" "$@"

venv bench matplotlib==3.10.8
"$simulate" --sweep --warm-up 180 --seconds 120 >bench/growth.jsonl
"$simulate" --validate >target/validation.md
exec python3 bench/growth_report.py target/validation.md
