"""The options of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    rounds: int
    # The duration for each subject in each round.
    seconds: int
    # Whether a scenario with a duration of its own takes a short one.
    quick: bool
    say: Callable[[str], None]
