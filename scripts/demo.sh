#!/usr/bin/env bash
# Builds both services and the demonstration, and starts it: scripts/demo.sh [--quick] [--help]. Ctrl-C ends everything.
set -euo pipefail
cd "$(dirname "$0")/.."

command -v cargo >/dev/null || { echo "error: cargo is needed; https://rustup.rs installs it" >&2; exit 1; }
checks/moto.sh

engine_is_installed() { command -v valkey-server >/dev/null || command -v redis-server >/dev/null; }
# Only root can install the engine. Without it the demonstration goes on.
if ! engine_is_installed && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    checks/engine.sh || true
fi
engine_is_installed || cat >&2 <<'TEXT'
note: neither valkey-server nor redis-server is installed, so there is no shared cache and only one replica of aux-service.
      With one of them (on Debian or Ubuntu: sudo apt-get install redis-server) there are two.
TEXT

echo "Building (the first build takes a few minutes, because the AWS SDK is large)" >&2
cargo build --locked --bin aux-service --bin main-api --bin demo
# The program takes the place of this shell, so it gets every signal itself.
exec "${CARGO_TARGET_DIR:-target}/debug/demo" "$@"
