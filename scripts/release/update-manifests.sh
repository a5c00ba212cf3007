#!/usr/bin/env bash
# Writes a release into the charts' values, commits it and pushes it; Argo CD deploys the commit.
#   scripts/release/update-manifests.sh SHORT_SHA SERVICE=DIGEST…
# It needs a clone with the whole history, because it compares the order of two releases.
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

# A separate worktree holds the commit, so that the running checkout does not change.
work=$(mktemp -d)
trap 'git worktree remove --force "$work/tree" 2>/dev/null || true; rm -rf "$work"' EXIT
git fetch --quiet origin "$branch"
git worktree add --quiet --detach "$work/tree" FETCH_HEAD

# newer_release: succeeds if the charts on the branch have an image of a later commit than ours.
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
    # The commit needs no build and no test, and must not start another release.
    printf '\n%s\n' "${RUN_URL:+Built by $RUN_URL}" '[skip ci]'
}

for attempt in 1 2 3 4 5; do
    if newer_release "$@"; then
        say "the charts already have a newer release than $sha: nothing to do"
        exit 0
    fi
    for image; do
        service=${image%%=*}
        # defaults.json has the values again, for the templates (helm/common/README.md).
        for file in values.yaml defaults.json; do
            python "$root/scripts/release/image.py" "$work/tree/helm/$service/$file" "$service-$sha" "${image#*=}"
        done
    done
    if git -C "$work/tree" diff --quiet; then
        say "the charts already have $sha: nothing to do"
        exit 0
    fi
    message "$@" | git -C "$work/tree" commit --quiet --all --file -
    if git push --quiet origin "$(git -C "$work/tree" rev-parse HEAD):refs/heads/$branch"; then
        say "deployed $sha"
        exit 0
    fi
    # The branch has moved, or this job may not push. If it has moved, the loop writes the same change on top of it. Unlike a
    # rebase, this cannot conflict with another release.
    base=$(git -C "$work/tree" rev-parse HEAD^)
    git fetch --quiet origin "$branch"
    [ "$base" != "$(git rev-parse FETCH_HEAD)" ] || die "$branch has not moved, but rejects the commit: this job may lack the permission to push; CONTRIBUTING.md describes how to grant it"
    say "$branch has moved (attempt $attempt of 5)"
    git -C "$work/tree" reset --quiet --hard "$(git rev-parse FETCH_HEAD)"
done
die "$branch moved five times while $sha was being deployed; run the job again"
