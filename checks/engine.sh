#!/usr/bin/env bash
# Installs the engine of the shared cache for the end-to-end tests: Redis, unless Valkey is there. openssl makes its certificate.
source "$(dirname "${BASH_SOURCE[0]}")/tools.sh"
install_engine
