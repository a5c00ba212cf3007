"""compose.yaml as data, for the other checks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
Service = dict[str, Any]

TEXT = (ROOT / "compose.yaml").read_text()
COMPOSE = yaml.safe_load(TEXT)
SERVICES: dict[str, Service] = COMPOSE["services"]


def program(service: Service) -> str | None:
    """The program of this repository that the service runs, or None for an image of another project."""
    target: str | None = service.get("build", {}).get("target")
    return target


def aliases(name: str) -> list[str]:
    """The names of a service in the network."""
    networks = SERVICES[name].get("networks") or {}
    return [name, *(alias for network in networks.values() for alias in network.get("aliases", []))]


def published(service: Service) -> list[tuple[str, int, int]]:
    """The published ports: the address and the port of the host, and the port of the container."""
    found = []
    for port in service.get("ports", []):
        parts = re.fullmatch(r"(?:([\d.]+):)?(\d+):(\d+)", port)
        if not parts:
            raise SystemExit(f"error: compose.yaml: the port {port} has another form than ADDRESS:PORT:PORT")
        found.append((parts[1] or "0.0.0.0", int(parts[2]), int(parts[3])))
    return found


def mounts(service: Service) -> list[tuple[str, str, str]]:
    """The mounted volumes: source, path in the container, and mode."""
    split = [(volume.split(":") + ["rw"])[:3] for volume in service.get("volumes", [])]
    return [(source, target, mode) for source, target, mode in split]
