#!/usr/bin/env bash
# Prints the digest that a tag has in ECR, or nothing if there is no such tag. Any other answer is an error.
#   scripts/release/published.sh REPOSITORY TAG
# ECR refuses to write a tag twice, so that a run that is repeated has to take what its first attempt pushed.
set -euo pipefail

answer=$(aws ecr batch-get-image --repository-name "$1" --image-ids "imageTag=$2" --output json \
    --accepted-media-types application/vnd.oci.image.index.v1+json application/vnd.docker.distribution.manifest.list.v2+json)
jq -er --arg tag "$2" '
    if [.failures[] | select(.failureCode != "ImageNotFound")] != [] then error("ECR cannot say what \($tag) is: \(.failures)")
    elif .images == [] then ""
    else .images[0].imageId.imageDigest end' <<<"$answer"
