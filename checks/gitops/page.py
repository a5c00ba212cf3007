"""docs/install.md: its commands are run without a cluster (page.sh), and its figures are compared with the charts.

README.md's commands for a cluster are run in the same way.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from rendering import ROOT, Manifest

PAGE = ROOT / "docs/install.md"
TEXT = PAGE.read_text()


@dataclass
class Run:
    """The result of the page's commands."""

    problems: list[str] = field(default_factory=list)
    objects: list[Manifest] = field(default_factory=list)

    def secrets(self) -> dict[tuple[str, str], set[str]]:
        """The keys of each Secret, by namespace and name."""
        found: dict[tuple[str, str], set[str]] = {}
        for secret in self.objects:
            if secret["kind"] == "Secret":
                metadata = secret["metadata"]
                found.setdefault((metadata["namespace"], metadata["name"]), set()).update(secret["data"])
        return found


def blocks(text: str = TEXT) -> list[tuple[int, str]]:
    """The blocks of commands with their line numbers, without the indentation of lists."""
    return [
        (text[: match.start(2)].count("\n") + 1, re.sub(rf"^{match[1]}", "", match[2], flags=re.MULTILINE))
        for match in re.finditer(r"^( *)```sh\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL)
    ]


# The ways through the page, each as its sections in the order of reading.
WAYS = {
    "a new machine, with Argo CD": ["k3s", "Cloud resources", "The address of the repository", "Argo CD itself", "A private repository", "Secrets", "Tokens", "A shared cache", "Changes are pushed",
                                    "Images from ECR", "The root application", "Verify the installation", "Upgrade", "Roll back"],
    "a cluster, with Argo CD": ["Cloud resources", "The address of the repository", "Argo CD itself", "A private repository", "Secrets",
                                "The root application", "Verify the installation", "Upgrade", "Roll back", "A sync that does not end", "Uninstall"],
    "a cluster, with Helm": ["Cloud resources", "Secrets", "A shared cache", "Without Argo CD", "Monitoring with Helm", "The shared cache with Helm", "The queue of changes with Helm", "The services with AWS", "Verify the installation",
                             "Remove everything"],
    "a cluster, with Helm, without AWS": ["Secrets", "Without Argo CD", "Monitoring with Helm", "The services without AWS", "Verify the installation",
                                          "Remove everything"],
}  # fmt: skip


def section(line: int) -> str:
    """The heading above a line."""
    return re.findall(r"^##+ (.*)$", "\n".join(TEXT.splitlines()[:line]), re.MULTILINE)[-1]


def unset_variables() -> Iterator[str]:
    """Variables that a command uses and no earlier command of the same way through the page sets."""
    sections: dict[str, list[str]] = {}
    for line, text in blocks():
        sections.setdefault(section(line), []).extend(text.splitlines())
    yield from (f"docs/install.md: no way leads through the section {name}" for name in sections.keys() - {s for way in WAYS.values() for s in way})
    for way, names in WAYS.items():
        known = {"HOME", "PATH"}
        for name in names:
            if name not in sections:
                yield f"docs/install.md has no commands in a section {name}"
            for command in sections.get(name, []):
                yield from (f"docs/install.md: {way}: {name}: ${v} is not set" for v in re.findall(r"\$\{?([A-Z][A-Z_]*)", command) if v not in known)
                known.update(re.findall(r"(?:^|;|\bexport )\s*([A-Z][A-Z_]*)=", command), re.findall(r"\bread -\w+ ([A-Z]+)", command))


def unknown_flags() -> Iterator[str]:
    """Flags of Helm in the text, for conflicts, that Helm 4's upgrade or rollback does not have."""
    text = TEXT.split("### Upgrade and roll back with Helm")[1].split("\n#")[0]
    named = set(re.findall(r"`(--[a-z-]+)", text))
    if "--force-conflicts" not in named:
        yield "docs/install.md does not name the flag for conflicts"
    for command in ("upgrade", "rollback"):
        offered = subprocess.run([os.environ["HELM4"], command, "--help"], capture_output=True, text=True, check=True).stdout
        yield from (f"docs/install.md: helm {command} has no {flag}" for flag in named if f"{flag} " not in offered)


def unlabelled_namespaces() -> Iterator[str]:
    """Without Argo CD a command has to set the label that Argo CD's applications give to their namespaces."""
    labelled = re.findall(r"^kubectl label namespace (.*) pod-security.kubernetes.io/enforce=restricted$", TEXT, re.MULTILINE)
    missing = {"aux-service", "main-api", "valkey"} - set(" ".join(labelled).split())
    yield from (f"docs/install.md: without Argo CD the namespace {name} has no label" for name in missing)


def run(page: Path = PAGE, variables: dict[str, str] | None = None) -> Run:
    """Runs the blocks of a page in one shell, with further variables."""
    name = page.relative_to(ROOT)
    with tempfile.TemporaryDirectory() as folder:
        work, log = Path(folder), Path(folder, "log")
        log.touch()
        checkout = work / "checkout"
        for name in ("docs", "grafana", "helm", "terraform"):
            shutil.copytree(ROOT / name, checkout / name, symlinks=True, ignore=shutil.ignore_patterns(".terraform*"))
        script = [Path(__file__).with_name("page.sh").read_text()]
        script += [f"trap 'echo {name}:{line}: a command of this block fails >&2' ERR\n{text}" for line, text in blocks(page.read_text())]
        (work / "script").write_text("\n".join(script))
        done = subprocess.run(
            ["bash", work / "script"], cwd=checkout, input="a-token\n" * 100, capture_output=True, text=True, check=False,
            env=os.environ | {"HOME": folder, "LOG": str(log), "PAGE": str(name)} | (variables or {}),
        )  # fmt: skip
        failed = Path(f"{log}.failed")
        result = Run(failed.read_text().splitlines() if failed.exists() else [])
        if done.returncode and not result.problems:
            result.problems = done.stderr.splitlines()[-6:]
        result.objects = [manifest for manifest in yaml.safe_load_all(log.read_text()) if manifest]
    return result


def patches() -> Iterator[str]:
    for patch in re.findall(r"patch .* -p '(.*?)'$", TEXT, re.MULTILINE):
        try:
            json.loads(patch)
        except json.JSONDecodeError as error:
            yield f"docs/install.md: the patch {patch} is no JSON: {error}"


def has_label(secret: str, label: str) -> bool:
    return f"label secret {secret} {label}\n" in TEXT


def node_ports() -> list[tuple[str, int]]:
    return [(name, int(port)) for name, port in re.findall(r'patch service (\S+) .*"nodePort": (\d+)', TEXT)]


def versions() -> dict[str, str]:
    """The versions of the charts from chart repositories."""
    return dict(re.findall(r"helm upgrade --install \S+ (\S+) --repo \S+ --version (\S+)", TEXT))


def listed_applications() -> set[str]:
    """The applications in the output that the page shows."""
    table = re.search(r"^NAME +SYNC STATUS.*\n((?:.+\n)*?)```", TEXT, re.MULTILINE)
    return {line.split()[0] for line in table[1].splitlines()} if table else set()
