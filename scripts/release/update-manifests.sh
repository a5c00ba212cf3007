#!/usr/bin/env bash
# Writes a release into the charts' values, commits it and pushes it; Argo CD brings the commit into the cluster.
#   scripts/release/update-manifests.sh SHORT_SHA SERVICE=DIGEST…
# Run it in a clone with the whole history: it has to see which of two releases is the newer one.
source "$(dirname "${BASH_SOURCE[0]}")/../../checks/tools.sh"
cd "$root"

sha=${1:-}
[[ $sha =~ ^[0-9a-f]{7,40}$ && $# -ge 2 ]] || die "usage: update-manifests.sh SHORT_SHA SERVICE=DIGEST…"
shift
for image; do
    [[ $image =~ ^[a-z0-9-]+=sha256:[0-9a-f]{64}$ ]] || die "$image is not SERVICE=sha256:<64 digits>"
done
git rev-parse --quiet --verify "$sha^{commit}" >/dev/null || die "$sha is not a commit of this clone; fetch the whole history (fetch-depth: 0)"
branch=${BRANCH:-main}
venv release PyYAML==6.0.3

# The commit is made beside the checkout, so that nothing of the checkout changes while it is being run.
work=$(mktemp -d)
trap 'git worktree remove --force "$work/tree" 2>/dev/null || true; rm -rf "$work"' EXIT
git fetch --quiet origin "$branch"
git worktree add --quiet --detach "$work/tree" FETCH_HEAD

# newer_release: whether the charts on the branch run something that was built from a later commit than ours.
newer_release() {
    local image service tag deployed
    for image in "$@"; do
        service=${image%%=*}
        tag=$(python "$root/scripts/release/image.py" "$work/tree/helm/$service/values.yaml")
        deployed=$(git rev-parse --quiet --verify "${tag#"$service"-}^{commit}" 2>/dev/null) || continue
        [ "$deployed" = "$(git rev-parse "$sha^{commit}")" ] && continue
        git merge-base --is-ancestor "$sha" "$deployed" && return 0
    done
    return 1
}

message() {
    printf 'Deploy %s\n\n' "$sha"
    printf '%s\n' "${@/=/@}"
    # The commit holds nothing that has to be built or tested, and must not begin another release.
    printf '\n%s\n' "${RUN_URL:+Built by $RUN_URL}" '[skip ci]'
}

for attempt in 1 2 3 4 5; do
    if newer_release "$@"; then
        say "a newer release than $sha is in the charts already: nothing to do"
        exit 0
    fi
    for image; do
        service=${image%%=*}
        python "$root/scripts/release/image.py" "$work/tree/helm/$service/values.yaml" "$service-$sha" "${image#*=}"
    done
    if git -C "$work/tree" diff --quiet; then
        say "the charts run $sha already: nothing to do"
        exit 0
    fi
    message "$@" | git -C "$work/tree" commit --quiet --all --file -
    if git push --quiet origin "$(git -C "$work/tree" rev-parse HEAD):refs/heads/$branch"; then
        say "deployed $sha"
        exit 0
    fi
    # Somebody was quicker, or we may not push at all. In the first case the same change is made on top of theirs: a
    # rebase that knows what its one change means, so that two releases never conflict.
    base=$(git -C "$work/tree" rev-parse HEAD^)
    git fetch --quiet origin "$branch"
    [ "$base" != "$(git rev-parse FETCH_HEAD)" ] || die "$branch has not moved, and yet it refuses the commit: may this job push there? CONTRIBUTING.md says how to let it"
    say "$branch has moved (attempt $attempt of 5)"
    git -C "$work/tree" reset --quiet --hard "$(git rev-parse FETCH_HEAD)"
done
die "$branch moved five times while $sha was being deployed; run the job again"
