#!/usr/bin/env bash
# Installs moto, the AWS emulator of the end-to-end tests.
source "$(dirname "${BASH_SOURCE[0]}")/tools.sh"
install_moto
