#!/usr/bin/env bash
# Runs every fuzz target, or those that are named, for SECONDS_EACH (60) each.
# The corpus of libFuzzer stays in target/fuzz/corpus, and the next run starts with it.
# An input that breaks a target ends the run and is written to target/fuzz/crashes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

# The coverage counters that libFuzzer steers by. Stable Rust has these flags; only the
# sanitizers do not come with it, and without `unsafe` there is nothing for them to find.
flags=(
    -Cpasses=sancov-module
    -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
    -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares
    -Ccodegen-units=1
)
# The versions of the services, and what only the targets need.
cp ../Cargo.lock Cargo.lock
# With a target named, the flags are not used for build scripts and macros.
host=$(rustc -vV | sed -n 's/^host: //p')
RUSTFLAGS="${flags[*]}" nice cargo build --release --target "$host" --target-dir ../target/fuzz

if [ $# = 0 ]; then
    set -- targets/*.rs
fi
for target; do
    target=$(basename "$target" .rs)
    corpus=../target/fuzz/corpus/$target crashes=../target/fuzz/crashes
    mkdir -p "$corpus" "$crashes"
    printf '\n%s\n' "$target"
    nice "../target/fuzz/$host/release/$target" -max_total_time="${SECONDS_EACH:-60}" -timeout=5 -rss_limit_mb=1024 \
        -print_final_stats=1 -artifact_prefix="$crashes/$target-" -dict=dictionary -verbosity=0 "$corpus"
done
