"""Entry point of the check; see checks/documents.sh."""

from __future__ import annotations

import sys

import links
import page
import readme
from outcome import told
from rendering import ROOT


def main() -> int:
    documents = links.documents()
    problems = [*links.broken(documents), *readme.problems()]
    cluster = page.run(ROOT / "README.md", {"ECR_REPOSITORY_URL": "123456789012.dkr.ecr.eu-west-2.amazonaws.com/kantox-challenge"})
    problems += cluster.problems
    return told(f"{len(documents)} documents: every link, and every command of README.md", problems)


if __name__ == "__main__":
    sys.exit(main())
