#!/usr/bin/env bash
# The real AWS wire of the end-to-end tests: S3 and SSM, served by moto. Only installs it; the tests start it.
source "$(dirname "${BASH_SOURCE[0]}")/tools.sh"

venv moto 'moto[server]==5.2.5'
