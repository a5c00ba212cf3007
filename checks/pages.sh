#!/usr/bin/env bash
# The pages of both services in a real browser, and their descriptions of the API against what they answer.
# checks/pages.sh --pictures FOLDER also saves what was seen.
source "$(dirname "${BASH_SOURCE[0]}")/tools.sh"

need cargo "it builds the services; https://rustup.rs installs it"
debian chromium chromium
npm_packages pages playwright-core@1.65.1 axe-core@4.14.1 ajv@8.20.0 ajv-formats@3.0.1 @seriousme/openapi-schema-validator@2.11.0
export PAGES_NODE_MODULES=$tools/pages/node_modules

cargo build --quiet --locked --manifest-path "$root/Cargo.toml" --bin aux-service --bin main-api
node "$root/checks/pages/main.mjs" "$@"
