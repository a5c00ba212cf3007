#!/usr/bin/env bash
# Installs the AWS emulator that the end-to-end tests run against.
source "$(dirname "$0")/tools.sh"
venv moto 'moto[server]==5.2.5'
