"""The targets of both services, and the results for them."""

from __future__ import annotations

from product_targets import Target, product_targets
from results import Result
from subjects import SUBJECTS
from tables import MIB

OURS = ("aux-service", "main-api")
NGINX = "nginx-cache"


def targets(results: list[Result]) -> list[Target]:
    """The targets whose scenarios all have results."""
    by_name = {result.scenario: result for result in results}
    found = []

    def cheaper(scenario: str, subject: str, to: str, limit: float) -> None:
        """The ratio of CPU time per request: requests of ours for the cost of one of theirs."""
        value = by_name[scenario].ratio(to, subject, "cpu_us") if scenario in by_name else None
        if value is not None:
            about = f"{scenario}: CPU a request, {SUBJECTS[to].title} ÷ {SUBJECTS[subject].title}"
            found.append(Target(about, f"≥ {limit}", f"{value:.3f}", value >= limit))

    def beside_a_hit(scenario: str, what: str, subject: str, limit: float) -> None:
        """The ratio of CPU time per request to that of a plain hit."""
        if "hit" in by_name and scenario in by_name:
            hit, other = (by_name[name].median(subject, "cpu_us") for name in ("hit", scenario))
            if hit is not None and other is not None:
                about = f"{scenario}: CPU of a {what} ÷ CPU of a hit, {subject}"
                found.append(Target(about, f"≤ {limit}", f"{other / hit:.3f}", other / hit <= limit))

    def below(subject: str, figure: str, what: str, limit: float, unit: str, scale: float = 1) -> None:
        value = by_name["start"].median(subject, figure) if "start" in by_name else None
        if value is not None:
            found.append(Target(f"start: {what}, {subject}", f"< {limit:g} {unit}", f"{value / scale:.1f} {unit}", value / scale < limit))

    for subject in OURS:
        cheaper("hit", subject, NGINX, 2.0)
        cheaper("hit", subject, "nginx-cache-tuned", 1.2)
        cheaper("hit", subject, "hyper", 0.8)
        cheaper("not-modified", subject, NGINX, 1.5)
        beside_a_hit("negative", "negative hit", subject, 1.1)
    cheaper("pass", "main-api-pass", "nginx-pass", 0.5)
    for subject in OURS:
        hit = by_name.get("hit")
        mine, theirs = (hit.median(subject, "p99_us"), hit.median(NGINX, "p99_us")) if hit else (None, None)
        if mine is not None and theirs is not None:
            about = f"hit: 99th percentile, {subject}, no worse than {SUBJECTS[NGINX].title}"
            found.append(Target(about, f"≤ {theirs:.0f} µs", f"{mine:.0f} µs", mine <= theirs))
    for subject in OURS:
        below(subject, "memory_cached_bytes", "memory, 10,000 parameters cached", 30, "MiB", MIB)
    for subject in OURS:
        below(subject, "memory_loaded_bytes", "memory, the same after load", 30, "MiB", MIB)
    for subject in OURS:
        below(subject, "ready_ms", "time to ready", 100, "ms")
    fleet = by_name.get("fleet")
    shared, hit = (fleet.median("fleet-shared", figure) for figure in ("p50_shared_us", "p50_hit_us")) if fleet else (None, None)
    if shared is not None and hit is not None:
        about = "fleet: median of a miss that the shared cache answers − median of a hit, aux-service"
        found.append(Target(about, "< 1000 µs", f"{shared - hit:.0f} µs", shared - hit < 1000))
    waiting = by_name.get("waiting")

    def waits(figure: str, what: str, limit: float, unit: str, scale: float = 1) -> None:
        for subject in ("waiting-aux", "waiting-main"):
            value = waiting.median(subject, figure) if waiting else None
            if value is not None:
                about = f"waiting: {what}, {SUBJECTS[subject].title.partition(',')[0]}"
                found.append(Target(about, f"≤ {limit:g} {unit}", f"{value / scale:.2f} {unit}", value / scale <= limit))

    for clients in (1_000, 10_000):
        waits(f"kib_{clients}", f"memory a client, {clients:,} clients", 16, "KiB")
        waits(f"quiet_{clients}", f"CPU while nothing changes, {clients:,} clients", 2, "%", 0.01)
        waits(f"all_ms_{clients}", f"last response after a change, {clients:,} clients", 1, "s", 1000)
    waits("drain_ms", "drain with 1,000 waits and 1,000 streams", 1, "s", 1000)
    return found + product_targets(by_name)
