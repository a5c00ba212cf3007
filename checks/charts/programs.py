"""The programs of both services, and the variables that they know."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

# Variables of the AWS SDK, which --help does not list.
SDK = {
    "AWS_REGION", "AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ROLE_ARN",
    "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_EC2_METADATA_DISABLED", "AWS_EC2_METADATA_SERVICE_ENDPOINT",
}  # fmt: skip
# Variables of the libraries for logs and traces.
LIBRARIES = {"RUST_LOG", "OTEL_EXPORTER_OTLP_ENDPOINT"}


def binary(service: str) -> Path:
    return Path(os.environ["PROGRAMS"]) / service


def documented(service: str) -> dict[str, str]:
    """The variables in `--help` and their defaults; an empty text for a variable without a default."""
    text = subprocess.run([binary(service), "--help"], capture_output=True, text=True, check=True, env={}).stdout
    options = re.split(r"\n\s+(?=-{1,2}[a-z])", text)
    found = {}
    for option in options:
        if variable := re.search(r"\[env: ([A-Z_]+)[=\]]", option):
            default = re.search(r"^\s*\[default: (.*)\]$", option, re.M)
            found[variable[1]] = default[1] if default else ""
    return found
