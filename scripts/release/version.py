#!/usr/bin/env python3
"""Sets the version of the project everywhere, and begins its section of CHANGELOG.md.

version.py 0.2.0    writes the version into the manifests, the charts and the documents
version.py --check  fails if a place has another version than Cargo.toml
"""

from __future__ import annotations

import datetime
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NUMBER = r"\d+\.\d+\.\d+"

# Each place of the version: files, and a pattern whose only group is the version. Cargo.lock and the charts' generated files
# follow from these.
PLACES = [
    ("Cargo.toml", rf'^version = "({NUMBER})"'),
    ("fuzz/Cargo.toml", rf'^version = "({NUMBER})"'),
    ("Dockerfile", rf"kantox-challenge:(?:aux-service|main-api)-({NUMBER})"),
    ("Dockerfile", rf"^ARG VERSION=({NUMBER})"),
    ("helm/*/Chart.yaml", rf"^version: ({NUMBER})"),
    ("helm/*/Chart.yaml", rf'^appVersion: "({NUMBER})"'),
    ("helm/*/Chart.yaml", rf"^ +version: ({NUMBER})"),
    ("README.md", rf'_version":"({NUMBER})"'),
    ("docs/install.md", rf'_version":"({NUMBER})"'),
    ("docs/images.md", rf"kantox-challenge:(?:aux-service|main-api)-({NUMBER})"),
    ("docs/install.md", rf"kantox-challenge:(?:aux-service|main-api)-({NUMBER})"),
    ("docs/images.md", rf"--build-arg VERSION=({NUMBER})"),
    ("shared/service/src/contract/status.rs", rf'#\[schema\(example = "({NUMBER})"\)\]'),
]


def found(root: Path) -> Iterator[tuple[Path, re.Match[str]]]:
    """Each mention of the version, with its file."""
    for files, pattern in PLACES:
        mentions = [(path, match) for path in sorted(root.glob(files)) for match in re.finditer(pattern, path.read_text(), re.MULTILINE)]
        if not mentions:
            sys.exit(f"error: {files} has no text like {pattern}; correct PLACES in {Path(__file__).name}")
        yield from mentions


def current(root: Path) -> str:
    return next(found(root))[1][1]


def wrong(root: Path) -> list[str]:
    """The places with another version than Cargo.toml."""
    version = current(root)
    return [f"{path.relative_to(root)} has {match[0]!r}, and Cargo.toml has {version}" for path, match in found(root) if match[1] != version]


def write(root: Path, version: str) -> None:
    """Writes the version into every place."""

    def replaced(match: re.Match[str]) -> str:
        start, end = match.start(1) - match.start(), match.end(1) - match.start()
        return match[0][:start] + version + match[0][end:]

    for files, pattern in PLACES:
        for path in root.glob(files):
            path.write_text(re.sub(pattern, replaced, path.read_text(), flags=re.MULTILINE))


def begin_section(root: Path, version: str, date: str) -> None:
    """Makes the unreleased changes those of the version."""
    path = root / "CHANGELOG.md"
    before, heading, after = path.read_text().partition("## [Unreleased]\n")
    if f"\n## [{version}]" in after:
        sys.exit(f"error: CHANGELOG.md has a section of {version}")
    if not heading or not after.partition("\n## ")[0].strip():
        sys.exit("error: CHANGELOG.md has no changes below [Unreleased]; write there what changed for users, and try again")
    path.write_text(f"{before}{heading}\n## [{version}] - {date}\n{after}")


def main() -> None:
    match sys.argv[1:]:
        case ["--check"]:
            if problems := wrong(ROOT):
                sys.exit("\n".join(problems))
        case [version] if re.fullmatch(NUMBER, version):
            write(ROOT, version)
            subprocess.run(["cargo", "update", "--quiet", "--workspace", "--offline"], cwd=ROOT, check=True)
            subprocess.run([ROOT / "checks/run.sh", "charts", "--update"], check=True)
            begin_section(ROOT, version, datetime.date.today().isoformat())
            print(f"The version is {version}. Read CHANGELOG.md once more, then commit.")
        case _:
            sys.exit(f"{__doc__}\nThe version has the form 1.2.3.")


if __name__ == "__main__":
    main()
