#!/usr/bin/env bash
# Writes the bill of materials of each service (CycloneDX) into the given folder: the crates that its program is linked
# from, and none that only builds, tests or other members of the workspace use. glibc and the certificate authorities, which
# come from the Dockerfile's base image, are not in it.
#   scripts/release/sbom.sh FOLDER
source "$(dirname "${BASH_SOURCE[0]}")/../../checks/tools.sh"

folder=${1:?usage: sbom.sh FOLDER}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
need cargo "https://rustup.rs installs it"
need jq "it reads what was made"
cargo_tool cargo-cyclonedx 0.5.7

# The tool writes beside every Cargo.toml, so it works on a copy.
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
git -C "$root" archive HEAD | tar -x -C "$copy"
cd "$copy"
# amd64 and arm64 link different crates. One bill for both lists those of every platform: some too many, none too few.
cargo cyclonedx --quiet --format json --describe binaries --target all --no-build-deps --spec-version 1.5
for service in aux-service main-api; do
    mv "$(find . -name "${service}_bin.cdx.json")" "$folder/$service.cdx.json"
    say "$service: $(jq '.components | length' "$folder/$service.cdx.json") components"
done
