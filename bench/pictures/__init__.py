"""The pictures of the report: a file for each of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pictures import aws_calls, change, failures, fleet, outage, sdk, speed, waiting
from results import Result


@dataclass(frozen=True)
class Picture:
    # The name of the scenario, or `speed` for those with requests a second.
    name: str
    file: str
    # A description for readers who do not see the picture.
    about: str
    # Returns False if there are no results for it.
    draw: Callable[[list[Result], Path], bool]


PICTURES = (
    Picture("speed", "results.svg", "Requests a second of each subject, as multiples of nginx's cache", speed.draw),
    Picture("sdk", "sdk.svg", "Requests a second by AWS's own protocol, and the time of a call of boto3", sdk.draw),
    Picture("fleet", "fleet.svg", "Reads of AWS for each name and TTL, by the number of replicas", fleet.draw),
    Picture("waiting", "waiting.svg", "Memory, CPU and the last response of waiting clients", waiting.draw),
    Picture("aws-calls", "aws_calls.svg", "Calls to AWS for 1,000 requests, by the numbers of replicas and names", aws_calls.draw),
    Picture("aws-outage", "outage.svg", "The share of requests that are answered right during an outage of AWS", outage.draw),
    Picture("change", "change.svg", "The time until all pods have seen a change, and the calls to AWS without a change", change.draw),
    Picture("failures", "failures.svg", "Latency while aux-service fails, by the way in which it fails", failures.draw),
)


def draw_all(results: list[Result], folder: Path) -> dict[str, str]:
    """Draws the pictures that have results. Returns the Markdown of each by its name."""
    drawn = [picture for picture in PICTURES if picture.draw(results, folder / picture.file)]
    return {picture.name: f"![{picture.about}]({picture.file})" for picture in drawn}
