#!/usr/bin/env bash
# Known vulnerabilities of what the services depend on; the list comes from GitHub, which `make check` does without.
source "$(dirname "${BASH_SOURCE[0]}")/tools.sh"
cd "$root"

need cargo "https://rustup.rs installs it"
cargo_tool cargo-deny 0.20.2
cargo deny --log-level warn check advisories
