#!/usr/bin/env bash
# Installs the AWS clients of the end-to-end tests: boto3, the AWS CLI and the AWS SDK for JavaScript.
source "$(dirname "${BASH_SOURCE[0]}")/tools.sh"
install_boto3
install_aws_cli
install_aws_sdk_for_javascript
