"""How a run was asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    rounds: int
    # For each subject, in each round.
    seconds: int
    say: Callable[[str], None]
