# Sourced by every check: installs pinned tools into .tools/ (ignored by git) and puts them on PATH.
# A second run finds the stamp and installs nothing. A tool that cannot be installed ends the check.
# shellcheck shell=bash

set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tools=$root/.tools
mkdir -p "$tools"

say() { printf '\033[1m%s\033[0m\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }
need() { command -v "$1" >/dev/null || die "$1 is needed ($2); install it and try again"; }

# once DIR KEY COMMAND…: runs COMMAND unless DIR was made by the same KEY before. A half-made DIR is thrown away.
once() {
    local dir=$1 key=$2
    shift 2
    [ "$(cat "$dir/.stamp" 2>/dev/null)" = "$key" ] && return 0
    rm -rf "$dir"
    mkdir -p "$dir"
    say "installing $(basename "$dir") into .tools/ (once)"
    "$@" >"$dir.log" 2>&1 || { tail -n 20 "$dir.log" >&2; die "could not install $(basename "$dir"); the whole log: $dir.log"; }
    printf '%s' "$key" >"$dir/.stamp"
}

# venv NAME REQUIREMENT…: a Python environment with these packages, each pinned (package==version).
venv() {
    local dir=$tools/$1
    need python3 "Python 3.10 or newer runs moto and the checks"
    once "$dir" "$*" _venv "$dir" "${@:2}"
    PATH=$dir/bin:$PATH
}
_venv() { python3 -m venv "$1" && "$1/bin/pip" install --quiet --no-input --disable-pip-version-check "${@:2}"; }

# npm NAME PACKAGE…: node_modules with these packages, each pinned (package@version), at .tools/NAME.
npm_packages() {
    local dir=$tools/$1
    need npm "Node 20 or newer runs the checks of pages and custom resources"
    once "$dir" "$*" _npm "$dir" "${@:2}"
    PATH=$dir/node_modules/.bin:$PATH
}
_npm() { (cd "$1" && echo '{"private":true}' >package.json && npm install --silent --no-audit --no-fund --ignore-scripts "${@:2}"); }

# debian COMMAND PACKAGE…: makes sure that COMMAND exists, from Debian's packages if it does not.
debian() {
    command -v "$1" >/dev/null && return 0
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null ||
        die "$1 is needed; install it (on Debian or Ubuntu: sudo apt-get install ${*:2}) and try again"
    say "installing ${*:2} (once)"
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${@:2}"; } >"$tools/apt.log" 2>&1 ||
        { tail -n 20 "$tools/apt.log" >&2; die "could not install ${*:2}"; }
}

# cargo_tool NAME VERSION: a program from crates.io. Compiling it takes minutes, once.
cargo_tool() {
    local dir=$tools/$1
    once "$dir" "$2" cargo install --locked --quiet --root "$dir" "$1@$2"
    PATH=$dir/bin:$PATH
}
