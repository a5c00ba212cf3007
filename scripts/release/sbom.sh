#!/usr/bin/env bash
# Writes the bill of materials of each service (CycloneDX) into the given folder: what is linked into its program, and
# nothing that only tests or other members of the workspace use.
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
for member in aux gateway; do
    (cd "$copy/$member" && cargo cyclonedx --quiet --format json --describe crate --no-build-deps --override-filename bill)
    name=$(jq -r .metadata.component.name "$copy/$member/bill.json")
    mv "$copy/$member/bill.json" "$folder/$name.cdx.json"
    say "$name: $(jq '.components | length' "$folder/$name.cdx.json") components"
done
