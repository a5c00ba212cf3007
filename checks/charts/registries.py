"""docs/ecr-credential-provider.yaml: the kubelet asks the provider for every registry that helm/ecr-credentials accepts."""

from __future__ import annotations

from fnmatch import fnmatchcase

import yaml
from accepted import accepted as accepted_values
from rendering import ROOT

# Images of others, for which the provider has no password.
OTHERS = ["docker.io", "public.ecr.aws", "registry.example.com", "123456789012.dkr.ecr.eu-west-2.amazonaws.com.example.com"]


def accepted() -> list[str]:
    settings = [setting for case in accepted_values() for setting in case["set"]]
    return [setting.removeprefix("registry=") for setting in settings if setting.startswith("registry=")]


def problems(hosts: list[str]) -> list[str]:
    file = yaml.safe_load((ROOT / "docs/ecr-credential-provider.yaml").read_text())
    patterns = file["providers"][0]["matchImages"]
    missing = [f"docs/ecr-credential-provider.yaml: no pattern matches {host}" for host in hosts if not _matches(patterns, host)]
    return missing + [f"docs/ecr-credential-provider.yaml: a pattern matches {host}" for host in OTHERS if _matches(patterns, host)]


def _matches(patterns: list[str], host: str) -> bool:
    """The kubelet's rule: as many parts as the pattern, and each part matches."""
    parts = host.split(".")
    return any(
        len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted)) for wanted in (pattern.split(".") for pattern in patterns)
    )
