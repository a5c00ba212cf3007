"""The report."""

from __future__ import annotations

from fleet import REPLICAS
from product_tables import TABLES
from results import Result
from scenarios import SCENARIOS
from subjects import SUBJECTS
from summary import summary
from tables import UNITS, bold, median, table, title, written
from targets import targets
from waiting import CLIENTS, STREAMS

LIMIT = "nginx-return"

# Other programs may use this share of a core without a warning: daemons, and this program itself.
QUIET = 0.1

UNITS |= {f"{phase}_{replicas}": ("{:.2f}", 1) for phase in ("cold", "steady") for replicas in REPLICAS}

COLUMNS = {
    "rate": "requests/s",
    "p50_us": "50 %",
    "p99_us": "99 %",
    "p999_us": "99.9 %",
    "max_us": "slowest",
    "late": "sent late",
    "cpu_us": "CPU a request",
    "memory_bytes": "memory",
    "generator": "generator's core",
    "disturbed": "other programs",
    "ready_ms": "ready after",
    "memory_empty_bytes": "memory, nothing cached",
    "memory_idle_bytes": "10,000 cached",
    "memory_start_bytes": "memory, built-in data",
    "memory_cached_bytes": "10,000 cached, without the source",
    "memory_loaded_bytes": "after load, without the source",
    "p50_shared_us": "50 %, from the shared cache",
    "p50_hit_us": "50 %, hit in memory",
    "stream_kib": f"memory a stream, × {STREAMS:,}",
    "stream_quiet": f"CPU, of a core, × {STREAMS:,}",
    "stream_ms": f"last event, × {STREAMS:,}",
    "drain_ms": "drain",
    "plain_rate": "plain hits/s",
    "plain_cpu_us": "CPU a plain hit",
    "boto3_rate": "boto3, calls/s",
    "boto3_p50_us": "boto3, a call",
    "calls": "calls for 1,000 requests",
    "reads": "names read for 1,000 answered",
    "again": "reads a name and TTL after the first one",
    "throttled": "throttled for 1,000 requests",
    "answered": "answered",
    "answered_after": "answered afterwards",
    "second": "answered in a second",
    "oldest_s": "oldest response",
    "half_ms": "half of the pods",
    "last_ms": "all pods",
    "calls_a_change": "calls for a change",
    "calls_an_hour": "calls an hour without a change",
    "throttled_an_hour": "throttled an hour",
}
COLUMNS |= {f"cold_{replicas}": f"cold, × {replicas}" for replicas in REPLICAS}
COLUMNS |= {f"steady_{replicas}": f"a TTL, × {replicas}" for replicas in REPLICAS}
WAITS = {
    "kib": ("memory a client", "{:.1f} KiB"),
    "kib_changed": ("the same after changes", "{:.1f} KiB"),
    "quiet": ("CPU, of a core", "{:.2%}"),
    "polls": ("requests/s", "{:,.0f}"),
    "name_ms": ("last response, one of the names", "{:,.0f} ms"),
    "all_ms": ("last response, all for one name", "{:,.0f} ms"),
}
for clients in CLIENTS:
    UNITS |= {f"{figure}_{clients}": (form, 1) for figure, (_, form) in WAITS.items()}
    COLUMNS |= {f"{figure}_{clients}": f"{what}, × {clients:,}" for figure, (what, _) in WAITS.items()}
# The scenarios whose figures are no requests per second have tables of their own.
OF_THEIR_OWN = ("outage", "start", "fleet", "waiting", *TABLES)


def markdown(results: list[Result], pictures: dict[str, str] | None = None) -> str:
    """The report. The pictures are Markdown by scenario; that of all other scenarios has the name `speed`."""
    pictures = pictures or {}
    # The scenarios may come from several runs.
    facts = {key: dict.fromkeys(result.circumstances[key] for result in results) for key in results[0].circumstances}
    sections = ["# Side by side\n\nWritten by `make bench`; [README.md](README.md) tells what is compared, and how."]
    if told := summary(results):
        sections.append("## In short\n\n" + told)
    sections.append("## The run\n\n" + "\n".join(f"- {fact}: {'; '.join(values)}" for fact, values in facts.items()))
    if reached := targets(results):
        rows = [[target.about, target.limit, target.measured, "yes" if target.met else "**no**"] for target in reached]
        sections.append("## Targets\n\n" + table(["what", "target", "measured", "met"], rows))
    if told := disturbances(results):
        sections.append(told)
    if "speed" in pictures:
        sections.append(pictures["speed"])
    if closed := [result for result in results if result.scenario not in OF_THEIR_OWN]:
        sections.append("## Medians\n\n" + medians(closed))
    for result in results:
        if result.scenario == "outage":
            sections.append(about(result) + figures(result, ["p50_us", "p99_us", "p999_us", "max_us", "late", "cpu_us", "memory_bytes"]))
        if result.scenario == "start":
            columns = COLUMNS | {"memory_bytes": "after load"}
            sections.append(about(result) + figures(result, ["ready_ms", "memory_empty_bytes", "memory_idle_bytes", "memory_bytes", "memory_cached_bytes", "memory_loaded_bytes"], columns))
        if result.scenario == "fleet":
            counted = [f"{phase}_{replicas}" for phase in ("cold", "steady") for replicas in REPLICAS]
            sections.append(about(result) + figures(result, [*counted, "p50_shared_us", "p50_hit_us"]))
        if result.scenario == "waiting":
            sections.append(about(result) + waits(result))
        if result.scenario in TABLES:
            sections.append(about(result) + TABLES[result.scenario](result))
        if result.scenario in pictures:
            sections.append(pictures[result.scenario])
    if told := spread(results):
        sections.append(
            "## Spread\n\nThe lowest and the highest value of each figure that was measured more than once, so that a reader can judge the"
            f" noise.\n\n{told}"
        )
    return "\n\n".join(sections) + "\n"


def disturbances(results: list[Result]) -> str:
    """A warning, if other programs took time from the measurements."""
    shares = [share for result in results for measured in result.figures.values() for share in measured.get("disturbed", [])]
    disturbed = [share for share in shares if share > QUIET]
    if not disturbed:
        return ""
    return (
        f"**The machine was busy with something else**: in {len(disturbed)} of {len(shares)} measurements other programs, or the"
        f" host of this virtual machine, took more than {QUIET:.0%} of a core, at worst {max(disturbed):.0%}."
    )


def about(result: Result) -> str:
    notes = "".join(f"{note}\n" for note in result.notes)
    return f"## {result.scenario}: {SCENARIOS[result.scenario].about}\n\n{notes}\n"


def medians(results: list[Result]) -> str:
    """One table of all scenarios whose figure is requests per second."""
    header = ["scenario", "subject", "requests/s", "× yardstick", "× return 200", "50 %", "99 %", "CPU a request", "memory", "generator's core"]
    rows, legend = [], []
    for result in results:
        assert result.yardstick
        legend.append(f"- *{result.scenario}*: {SCENARIOS[result.scenario].about}; yardstick: {SUBJECTS[result.yardstick].title}")
        for number, subject in enumerate(result.figures):
            rows.append([
                result.scenario if number == 0 else "",
                title(subject),
                ("≥ " if held_back(result, subject) else "") + median(result, subject, "rate"),
                bold(subject, ratio(result, subject, result.yardstick)),
                ratio(result, subject, LIMIT),
                *(median(result, subject, figure) for figure in ("p50_us", "p99_us", "cpu_us", "memory_bytes", "generator")),
            ])
    return table(header, rows) + "\n\n" + "\n".join(legend)


def figures(result: Result, shown: list[str], columns: dict[str, str] = COLUMNS) -> str:
    rows = [[title(subject), *(median(result, subject, figure) for figure in shown)] for subject in result.figures]
    return table(["subject", *(columns[figure] for figure in shown)], rows)


def waits(result: Result) -> str:
    """A table with a row for each number of clients, and one for streams."""
    rows = []
    for subject in result.figures:
        for clients in CLIENTS:
            rows.append([title(subject), f"{clients:,} clients", *(median(result, subject, f"{figure}_{clients}") for figure in WAITS), ""])
        if result.median(subject, "stream_kib") is not None:
            told = [median(result, subject, figure) for figure in ("stream_kib", "stream_quiet", "stream_ms", "drain_ms")]
            rows.append([title(subject), f"{STREAMS:,} streams", told[0], "", told[1], "", "", told[2], told[3]])
    return table(["subject", "", *(what for what, _ in WAITS.values()), "drain"], rows)


def spread(results: list[Result]) -> str:
    rows = []
    for result in results:
        for subject, measured in result.figures.items():
            several = {figure: values for figure, values in measured.items() if len(values) > 1}
            told = [f"{column(figure)} {written(figure, min(values))}…{written(figure, max(values))}" for figure, values in several.items()]
            ratios = result.ratios(subject, result.yardstick)
            if len(ratios) > 1:
                told.insert(1, f"× yardstick {min(ratios):.2f}…{max(ratios):.2f}")
            if told:
                rows.append([result.scenario, title(subject), "; ".join(told)])
    return table(["scenario", "subject", "figures"], rows) if rows else ""


def held_back(result: Result, subject: str) -> bool:
    """Whether the generator limited the rate: it used its whole core, and the subject did not."""
    rate, cpu, generator = (result.median(subject, figure) or 0 for figure in ("rate", "cpu_us", "generator"))
    return generator > 0.95 and rate * cpu / 1e6 < 0.95


def ratio(result: Result, subject: str, to: str | None) -> str:
    value = result.ratio(subject, to)
    return "" if value is None else f"{value:.2f}"


def column(figure: str) -> str:
    name, _, place = figure.partition("@")
    return f"{COLUMNS[name]}, {place}" if place else COLUMNS[name]
