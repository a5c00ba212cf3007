#!/usr/bin/env bash
# What each part costs in instructions, which do not depend on how busy a machine is; and with the name of a revision,
# what has changed since. Not part of `make check`: a difference may be worth its price.
source "$(dirname "$0")/tools.sh"
cd "$root"
need cargo "https://rustup.rs installs it"
debian valgrind valgrind
# Of the version of the library, which Cargo.lock names.
cargo_tool gungraun-runner 0.20.0

# Where both sides of a comparison leave their counts.
export GUNGRAUN_HOME=$root/target/gungraun
# count DIRECTORY FLAG…: of the workspace there, as it ships.
count() { (cd "$1" && cargo bench --locked --profile dist --package bench --bench counts -- "${@:2}"); }

if [ -z "${1:-}" ]; then
    count .
    exit
fi

revision=$(git rev-parse --verify --quiet "$1^{commit}") || die "there is no revision '$1'"
git cat-file -e "$revision:bench/benches/counts" 2>/dev/null || die "$1 has no bench/benches/counts to compare with"
say "counting $(git describe --always "$revision")"
before=$tools/microbench
if [ -e "$before/.git" ]; then
    git -C "$before" checkout --quiet --detach --force "$revision"
else
    # It begins with what is built here already: dependencies take minutes. What is checked out is newer than that, so
    # nothing of the workspace's own is taken for built.
    cargo bench --locked --profile dist --package bench --bench counts --no-run
    git worktree prune
    git worktree add --quiet --force --detach "$before" "$revision"
    mkdir "$before/target"
    cp -a target/dist "$before/target/"
fi
# What that revision does not count yet has nothing to be compared with, and not what another one left.
[ ! -d "$GUNGRAUN_HOME" ] || find "$GUNGRAUN_HOME" -name '*.base@before' -delete
count "$before" --save-baseline=before >/dev/null
say "counting what is here"
count . --baseline=before
