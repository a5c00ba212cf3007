"""The outcome of a check, in the form that all checks print."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence


def told(what: str, problems: Sequence[str], most: int | None = None) -> bool:
    """Prints whether a check has passed, and its problems, so many at most. Returns whether it has failed."""
    print(f"{'FAIL' if problems else 'ok':4} {what}", flush=True)
    for problem in problems[:most]:
        print(f"     {problem}", file=sys.stderr)
    if most is not None and len(problems) > most:
        print(f"     and {len(problems) - most} more", file=sys.stderr)
    return bool(problems)


def all_told(checks: Iterable[Callable[[], Iterable[str]]]) -> bool:
    """Runs checks that are named by the first line of their documentation. Returns whether one has failed."""
    failures = [told(str(check.__doc__).splitlines()[0], list(check())) for check in checks]
    return any(failures)
