#!/usr/bin/env bash
# Writes the bill of materials of each service (CycloneDX) into the given folder. It lists the crates that are linked into the
# program, and no crates of builds, tests or other members of the workspace. glibc and the certificate authorities come from
# the Dockerfile's base image and are not listed.
#   scripts/release/sbom.sh FOLDER
source "$(dirname "${BASH_SOURCE[0]}")/../../checks/tools.sh"

folder=${1:?usage: sbom.sh FOLDER}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
need cargo
need jq "it reads the bills of materials"
cargo_tool cargo-cyclonedx 0.5.7

# The tool writes a file beside every Cargo.toml, so it runs in a copy.
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
git -C "$root" archive HEAD | tar -x -C "$copy"
cd "$copy"
# amd64 and arm64 link different crates. One bill covers both: it lists the crates of every platform, and misses none.
cargo cyclonedx --quiet --format json --describe binaries --target all --no-build-deps --spec-version 1.5
for service in aux-service main-api; do
    mv "$(find . -name "${service}_bin.cdx.json")" "$folder/$service.cdx.json"
    say "$service: $(jq '.components | length' "$folder/$service.cdx.json") components"
done
