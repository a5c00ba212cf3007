# The instructions of each part, which do not depend on the machine's load, beside the committed counts: a part that takes over 5 %
# more fails. With --update they are written. With the name of a revision, the change since then.
# `make check` does not include this: the counts contain those of the C library of Debian 12 on x86-64.
need cargo
need python3
debian valgrind valgrind
# Cargo.lock has the same version of the library.
cargo_tool gungraun-runner 0.20.0

# Both sides of a comparison write their counts here.
export GUNGRAUN_HOME=$root/target/gungraun
# count DIRECTORY FLAG…: counts the workspace in DIRECTORY, built with the profile of the images.
count() { (cd "$1" && cargo bench --locked --profile dist --package bench --bench counts -- "${@:2}"); }

if [ -z "${1:-}" ] || [ "$1" = --update ]; then
    count . --output-format=json >"$scratch/counts"
    python3 bench/instructions.py "$scratch/counts" "$@"
    exit
fi

revision=$(git rev-parse --verify --quiet "$1^{commit}") || die "there is no revision '$1'"
git cat-file -e "$revision:bench/benches/counts" 2>/dev/null || die "$1 has no bench/benches/counts to compare with"
say "counting $(git describe --always "$revision")"
before=$tools/microbench
if [ -e "$before/.git" ]; then
    git -C "$before" checkout --quiet --detach --force "$revision"
else
    # The copy starts with the build of this workspace, because dependencies take minutes. The checked-out files are newer
    # than that build, so Cargo compiles all crates of the workspace again.
    cargo bench --locked --profile dist --package bench --bench counts --no-run
    git worktree prune
    git worktree add --quiet --force --detach "$before" "$revision"
    mkdir "$before/target"
    cp -a target/dist "$before/target/"
fi
# A benchmark that the revision does not have must not be compared with the counts of an earlier comparison.
[ ! -d "$GUNGRAUN_HOME" ] || find "$GUNGRAUN_HOME" -name '*.base@before' -delete
count "$before" --save-baseline=before >/dev/null
say "counting the working tree"
count . --baseline=before
