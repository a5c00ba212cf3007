"""Tables in Markdown, which are also readable in a terminal."""

from __future__ import annotations

from results import Result
from subjects import SUBJECTS

MIB = 2**20

# The formats and units of the figures. A figure may have a place, such as a number of replicas, after `@`.
UNITS: dict[str, tuple[str, float]] = {
    "rate": ("{:,.0f}", 1),
    "p50_us": ("{:,.0f} µs", 1),
    "p99_us": ("{:,.0f} µs", 1),
    "p999_us": ("{:,.0f} µs", 1),
    "max_us": ("{:,.0f} µs", 1),
    "cpu_us": ("{:.2f} µs", 1),
    "late": ("{:,.0f}", 1),
    "ready_ms": ("{:.1f} ms", 1),
    "generator": ("{:.0%}", 1),
    "disturbed": ("{:.0%}", 1),
    "memory_bytes": ("{:.1f} MiB", MIB),
    "memory_empty_bytes": ("{:.1f} MiB", MIB),
    "memory_idle_bytes": ("{:.1f} MiB", MIB),
    "memory_start_bytes": ("{:.1f} MiB", MIB),
    "memory_cached_bytes": ("{:.1f} MiB", MIB),
    "memory_loaded_bytes": ("{:.1f} MiB", MIB),
    "p50_shared_us": ("{:,.0f} µs", 1),
    "p50_hit_us": ("{:,.0f} µs", 1),
    "stream_kib": ("{:.1f} KiB", 1),
    "stream_quiet": ("{:.2%}", 1),
    "stream_ms": ("{:,.0f} ms", 1),
    "drain_ms": ("{:,.0f} ms", 1),
    "plain_rate": ("{:,.0f}", 1),
    "plain_cpu_us": ("{:.2f} µs", 1),
    "boto3_rate": ("{:,.0f}", 1),
    "boto3_p50_us": ("{:,.0f} µs", 1),
    "calls": ("{:,.1f}", 1),
    "reads": ("{:,.1f}", 1),
    "again": ("{:.2f}", 1),
    "throttled": ("{:,.1f}", 1),
    "answered": ("{:.1%}", 1),
    "answered_after": ("{:.1%}", 1),
    "second": ("{:.0%}", 1),
    "oldest_s": ("{:,.0f} s", 1),
    "half_ms": ("{:,.0f} ms", 1),
    "last_ms": ("{:,.0f} ms", 1),
    "calls_a_change": ("{:,.0f}", 1),
    "calls_an_hour": ("{:,.0f}", 1),
    "throttled_an_hour": ("{:,.0f}", 1),
}


def written(figure: str, value: float) -> str:
    form, unit = UNITS[figure.partition("@")[0]]
    return form.format(value / unit)


def median(result: Result, subject: str, figure: str) -> str:
    value = result.median(subject, figure)
    return "" if value is None else written(figure, value)


def quotient(value: float | None, to: float | None) -> str:
    return f"{value / to:.2f}" if value is not None and to else ""


def title(subject: str) -> str:
    return bold(subject, SUBJECTS[subject].title)


def bold(subject: str, text: str) -> str:
    return f"**{text}**" if SUBJECTS[subject].ours and text else text


def table(header: list[str], rows: list[list[str]]) -> str:
    """A table with aligned columns, and with numbers on the right."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    right = [all(not row[column] or row[column].strip("*≥< ")[:1].isdigit() for row in rows) for column in range(len(header))]

    def line(cells: list[str]) -> str:
        padded = (cell.rjust(width) if to_right else cell.ljust(width) for cell, width, to_right in zip(cells, widths, right))
        return "| " + " | ".join(padded) + " |"

    rule = "|".join("-" * (width + 1) + (":" if to_right else "-") for width, to_right in zip(widths, right))
    return "\n".join([line(header), f"|{rule}|", *(line(row) for row in rows)])
