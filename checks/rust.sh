#!/usr/bin/env bash
# The Rust code as text: formatting, lints, documentation, dependencies and their licences.
source "$(dirname "$0")/tools.sh"
cd "$root"
need cargo "https://rustup.rs installs it"

say "rustfmt"
cargo fmt --all --check
say "clippy"
cargo clippy --locked --workspace --all-targets --quiet -- -D warnings
say "sentences of comments"
need python3 "it reads the comments"
python3 checks/sentences.py
say "rustdoc"
RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --document-private-items --quiet
cargo_tool cargo-deny 0.20.2
say "cargo deny: licences, bans, sources"
# cargo deny reads the manifest of every dependency, those of other platforms included, and --offline
# cannot download what no build has needed yet.
cargo fetch --locked
cargo deny --offline --log-level error check licenses bans sources
cargo_tool cargo-machete 0.9.2
say "cargo machete: dependencies that nothing uses"
cargo machete
