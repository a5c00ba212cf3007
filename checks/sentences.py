#!/usr/bin/env python3
"""Counts the sentences in comments that open with a relative or interrogative clause, and fails above 2 in 100.

docs/style.md has the rule: the subject comes first. Rust and the other languages are counted separately.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MOST = 0.02

OPENING = re.compile(
    r"[*`\[\s-]*(Who|Whoever|What|Whatever|Which|That|How|However|None|Of|As|Where|Whose|Nobody|Somebody|Anybody|One that|Those)\b"
)
RUST = re.compile(r"\s*//[/!]? ?(.*)")
# Comments in the other languages, without the key at the beginning of a comment in values.yaml.
OTHER = re.compile(r'\s*(?:#(?!!)|//|--(?!-)|"""|\{\{-? ?/\*) ?(?:[\w.]+: )?(.*)')
GROUPS = {
    "Rust": (RUST, ["*.rs"]),
    "other": (OTHER, ["*.sh", "*.py", "*.mjs", "*.js", "*.lua", "*.yaml", "*.yml", "*.tpl", "*.tf", "*.hcl", "Makefile", ":!checks/charts/snapshots"]),
}
# A sentence ends before a capital letter, a quotation or code.
END = re.compile(r"(?<=[.!?])\s+(?=[A-Z`\"])")


def paragraphs(text: str, comments: re.Pattern[str]) -> Iterator[str]:
    """The paragraphs of a file's comments, without tables, headings and examples."""
    paragraph: list[str] = []
    code = False
    for line in [*text.splitlines(), ""]:
        comment = comments.match(line)
        words = comment[1].strip() if comment else ""
        if words.startswith("```"):
            code = not code
        elif words and not code and not words.startswith(("|", "#")):
            paragraph.append(words)
            continue
        if paragraph:
            yield " ".join(paragraph)
            paragraph = []


def sentences(text: str, comments: re.Pattern[str]) -> Iterator[str]:
    for paragraph in paragraphs(text, comments):
        # Shorter texts are labels.
        yield from (sentence for sentence in END.split(paragraph) if len(sentence.split()) >= 4)


def main() -> None:
    for group, (comments, patterns) in GROUPS.items():
        listed = subprocess.run(["git", "ls-files", "-z", "--", *patterns], cwd=ROOT, check=True, capture_output=True, text=True)
        files = [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]
        found = [(file, sentence) for file in files for sentence in sentences(file.read_text(), comments)]
        if not found:
            sys.exit(f"error: no comment was found in the {group} files")
        clauses = [(file, sentence) for file, sentence in found if OPENING.match(sentence)]
        if len(clauses) > MOST * len(found):
            for file, sentence in clauses:
                print(f"{file.relative_to(ROOT)}: {sentence}", file=sys.stderr)
            sys.exit(f"error: {len(clauses)} of {len(found)} sentences in {group} comments open with a clause; docs/style.md has the rule")
        print(f"{group}: {len(clauses)} of {len(found)} sentences open with a clause")


main()
