#!/usr/bin/env bash
# Moves the tag SERVICE-deployed in ECR to the image that the service's chart names, because ECR never expires that tag.
#   scripts/release/mark-deployed.sh REPOSITORY FOLDER
# FOLDER is a checkout of the deployed branch. A release runs this before it pushes: ECR expires the oldest images after a push,
# and any number of builds may follow a deployment, for example while the next deployment waits for its approval.
set -euo pipefail

repository=$1 folder=$2
for service in aux-service main-api; do
    image=$(jq -r '.image | if .digest != "" then "imageDigest=\(.digest)" elif .tag != "" then "imageTag=\(.tag)" else "" end' \
        "$folder/helm/$service/defaults.json")
    if [ -z "$image" ]; then
        echo "$service: the chart names no release yet"
        continue
    fi
    answer=$(aws ecr batch-get-image --repository-name "$repository" --image-ids "$image" --output json \
        --accepted-media-types application/vnd.oci.image.index.v1+json application/vnd.docker.distribution.manifest.list.v2+json)
    if jq -e '.images == [] and all(.failures[]; .failureCode == "ImageNotFound")' <<<"$answer" >/dev/null; then
        # The charts of a fork, or of a new account, name the image of another repository.
        echo "::warning::$service: $repository does not have the deployed image $image"
        continue
    fi
    digest=$(jq -er '.images[0].imageId.imageDigest' <<<"$answer")
    if [ "$("$(dirname "$0")/published.sh" "$repository" "$service-deployed")" = "$digest" ]; then
        echo "$service: $service-deployed is $digest already"
        continue
    fi
    aws ecr put-image --repository-name "$repository" --image-tag "$service-deployed" --output json \
        --image-manifest "$(jq -er '.images[0].imageManifest' <<<"$answer")" \
        --image-manifest-media-type "$(jq -er '.images[0].imageManifestMediaType' <<<"$answer")" >/dev/null
    echo "$service: $service-deployed is $digest now"
done
