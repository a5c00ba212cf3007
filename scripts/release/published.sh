#!/usr/bin/env bash
# Prints the digest of a tag in ECR, or an empty line if the tag does not exist. Any other response of ECR is an error.
#   scripts/release/published.sh REPOSITORY TAG
# ECR's tags are immutable, so a repeated run has to use the images that its first attempt pushed.
set -euo pipefail

answer=$(aws ecr batch-get-image --repository-name "$1" --image-ids "imageTag=$2" --output json \
    --accepted-media-types application/vnd.oci.image.index.v1+json application/vnd.docker.distribution.manifest.list.v2+json)
jq -er --arg tag "$2" '
    if [.failures[] | select(.failureCode != "ImageNotFound")] != [] then error("ECR has no result for \($tag): \(.failures)")
    elif .images == [] then ""
    else .images[0].imageId.imageDigest end' <<<"$answer"
