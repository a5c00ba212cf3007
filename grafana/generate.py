#!/usr/bin/env python3
"""Writes the dashboards in dashboards/ from what is said here, once for each panel.

`generate.py` writes them; `generate.py --check` fails if a file is not what would be written.
A dashboard may be changed in Grafana's editor to see how it looks; the change belongs here.
"""

import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
TAG = "cached-gateway"

# The pods that the variables at the top choose. Every expression about the services uses it.
PODS = 'job=~"$job", namespace=~"$namespace", pod=~"$pod"'

# Answers that spared the source a call. /status and the alerts use the same words.
HITS = 'outcome=~"hit|stale|stale_error|coalesced|negative"'
STALE, STALE_ERROR = 'outcome="stale"', 'outcome="stale_error"'
# Calls that our own quota held back never left the pod.
CALLED, SHIELDED, THROTTLED = 'outcome!="shielded"', 'outcome="shielded"', 'outcome="throttled"'
# Operations that share Parameter Store's quota of reads, and the one that has a quota of its own.
READ_CALLS = f'operation=~"GetParameter|GetParameters|GetParametersByPath", {CALLED}'
LIST_CALLS = f'operation="DescribeParameters", {CALLED}'
# What a caller saw as a failure of ours; 499 is the caller's own leaving.
FAILED, UNAVAILABLE, ABANDONED = 'status=~"5.."', 'status="503"', 'status="499"'
OPEN, HALF_OPEN = 'state="open"', 'state="half_open"'
CIRCUIT_OPEN, RETRIED = 'outcome="circuit_open"', 'outcome=~"success|failure"'
OF_AUX = 'job="aux-service"'

GREEN, YELLOW, ORANGE, RED, BLUE, PURPLE, GREY = "green", "yellow", "orange", "red", "blue", "purple", "text"


def rate(metric: str, labels: str = "", window: str = "$__rate_interval") -> str:
    selector = f"{PODS}, {labels}" if labels else PODS
    return f"rate({metric}{{{selector}}}[{window}])"


def selected(metric: str, labels: str = "") -> str:
    selector = f"{PODS}, {labels}" if labels else PODS
    return f"{metric}{{{selector}}}"


def ratio(part: str, whole: str, by: str) -> str:
    """A share, and 0 rather than nothing while no series of the part exists yet."""
    whole = f"sum by ({by}) ({whole})"
    return f"(sum by ({by}) ({part}) or 0 * {whole}) / {whole}"


def quantile(q: float, histogram: str, by: str, labels: str = "") -> str:
    return f"histogram_quantile({q}, sum by (le, {by}) ({rate(histogram + '_bucket', labels)}))"


def steps(*pairs: tuple[str, float | None]) -> dict:
    return {"mode": "absolute", "steps": [{"color": color, "value": value} for color, value in pairs]}


OK = steps((GREEN, None))
FAILING_ABOVE = steps((GREEN, None), (YELLOW, 0.001), (RED, 0.01))
NEEDS_MOST = steps((RED, None), (YELLOW, 0.99), (GREEN, 0.999))


class Panel:
    """One panel. `queries` are (expression, legend); an empty legend names each series by its labels."""

    def __init__(
        self,
        title: str,
        description: str,
        queries: list[tuple[str, str]],
        *,
        kind: str = "timeseries",
        unit: str = "short",
        width: int = 8,
        height: int = 8,
        thresholds: dict = OK,
        options: dict | None = None,
        custom: dict | None = None,
        defaults: dict | None = None,
        overrides: list[dict] | None = None,
        transformations: list[dict] | None = None,
        instant: bool = False,
        table: bool = False,
    ):
        self.size = (width, height)
        defaults = {"unit": unit, "thresholds": thresholds, "color": {"mode": "palette-classic"}} | (defaults or {})
        if custom:
            defaults["custom"] = custom
        self.json: dict = {
            "type": kind,
            "title": title,
            "description": description,
            "datasource": {"type": "prometheus", "uid": "${datasource}"},
            "targets": [
                {
                    "refId": chr(ord("A") + i),
                    "datasource": {"type": "prometheus", "uid": "${datasource}"},
                    "expr": expression,
                    "legendFormat": legend or "__auto",
                    "instant": instant,
                    "range": not instant,
                    "format": "table" if table else "time_series",
                }
                for i, (expression, legend) in enumerate(queries)
            ],
            "fieldConfig": {"defaults": defaults, "overrides": overrides or []},
            "options": options or {},
        }
        if transformations:
            self.json["transformations"] = transformations


def graph(title: str, description: str, queries: list[tuple[str, str]], *, stacked: bool = False, soft_max: float | None = None, **more) -> Panel:
    custom = {
        "drawStyle": "line",
        "lineWidth": 1,
        "fillOpacity": 30 if stacked else 8,
        "showPoints": "never",
        "spanNulls": False,
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": "dashed" if more.get("thresholds", OK) is not OK else "off"},
    }
    if soft_max is not None:
        custom["axisSoftMax"] = soft_max
    options = {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    defaults = {"min": 0} | more.pop("defaults", {})
    return Panel(title, description, queries, custom=custom, options=options, defaults=defaults, **more)


def stat(title: str, description: str, queries: list[tuple[str, str]], **more) -> Panel:
    options = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": more.pop("color", "value"),
        "graphMode": more.pop("graph", "none"),
        "textMode": more.pop("text", "auto"),
        "justifyMode": "auto",
        "orientation": "auto",
        "wideLayout": True,
    }
    defaults = {"color": {"mode": "thresholds"}} | more.pop("defaults", {})
    more = {"instant": True, "width": 4, "height": 4} | more
    return Panel(title, description, queries, kind="stat", options=options, defaults=defaults, **more)


def narrow(**widths: int) -> list[dict]:
    """Widths of columns whose values are short, which leaves the rest to the long names of pods."""
    return [
        {"matcher": {"id": "byName", "options": name}, "properties": [{"id": "custom.width", "value": width}]}
        for name, width in widths.items()
    ]


def table(title: str, description: str, queries: list[tuple[str, str]], columns: dict[str, str], **more) -> Panel:
    """A table of labels: `columns` are the ones to show, in order, with their headings."""
    shown = [
        {"id": "filterFieldsByName", "options": {"include": {"names": list(columns)}}},
        {
            "id": "organize",
            "options": {
                "excludeByName": {},
                "indexByName": {name: i for i, name in enumerate(columns)},
                "renameByName": columns,
            },
        },
    ]
    options = {"showHeader": True, "cellHeight": "sm"}
    custom = {"align": "auto", "cellOptions": {"type": "auto"}, "inspect": False, "filterable": True}
    return Panel(
        title, description, queries, kind="table", options=options, custom=custom,
        transformations=shown, instant=True, table=True, **more,
    )


def words(values: dict[str, tuple[str, str]]) -> list[dict]:
    """Numbers that mean something: each with its word and its colour."""
    options = {number: {"text": text, "color": color, "index": i} for i, (number, (text, color)) in enumerate(values.items())}
    return [{"type": "value", "options": options}]


UP = words({"0": ("DOWN", RED), "1": ("UP", GREEN)})
CIRCUIT = words({"0": ("closed", GREEN), "1": ("half open", YELLOW), "2": ("open", RED)})


def coloured(**colors: str) -> list[dict]:
    """Fixed colours for series by the last word of their legend, so that red is always bad and a colour does not change with what else is there."""
    return [
        {
            "matcher": {"id": "byRegexp", "options": f"/(^| ){name}$/"},
            "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": color}}],
        }
        for name, color in colors.items()
    ]


# The same word has the same colour on every panel.
OUTCOMES = coloured(
    ok=GREEN, hit=GREEN, success=GREEN, coalesced="light-green", negative="super-light-green", not_found=GREY, client_error=GREY,
    miss=BLUE, bypass="light-blue", shielded=PURPLE, stale=YELLOW, budget_exhausted=PURPLE, circuit_open=PURPLE,
    stale_error=ORANGE, throttled=ORANGE, abandoned=GREY, denied="dark-red", credentials="dark-orange",
    timeout="light-red", unreachable="dark-red", invalid="super-light-red", error=RED, failure=RED, server_error=RED,
)
STATUSES = coloured(**{"2..": GREEN, "3..": BLUE, "4..": YELLOW, "499": GREY, "5..": RED, "503": ORANGE})

HEALTH = [
    stat(
        "aux-service", "Whether at least one pod of aux-service answers Prometheus. No targets at all count as DOWN.",
        [('max(up{job="aux-service", namespace=~"$namespace"})', "aux-service")],
        thresholds=steps((RED, None), (GREEN, 1)), color="background",
        defaults={"mappings": UP, "noValue": "DOWN"}, width=3,
    ),
    stat(
        "main-api", "Whether at least one pod of main-api answers Prometheus. No targets at all count as DOWN.",
        [('max(up{job="main-api", namespace=~"$namespace"})', "main-api")],
        thresholds=steps((RED, None), (GREEN, 1)), color="background",
        defaults={"mappings": UP, "noValue": "DOWN"}, width=3,
    ),
    stat(
        "Pods up", "Pods that answer Prometheus, by service.",
        [(f"sum by (job) ({selected('up')})", "{{job}}")],
        thresholds=steps((RED, None), (GREEN, 1)), width=4,
    ),
    stat(
        "Pods down", "Targets that do not answer Prometheus, by service. Anything but 0 deserves a look at the table below.",
        [(f"sum by (job) (1 - {selected('up')})", "{{job}}")],
        thresholds=steps((GREEN, None), (RED, 1)), width=4,
    ),
    stat(
        "Availability", "Share of scrapes that were answered over the time shown, all chosen pods together.",
        [(f"avg by (job) (avg_over_time({selected('up')}[$__range]))", "{{job}}")],
        unit="percentunit", thresholds=NEEDS_MOST, defaults={"decimals": 2}, width=5,
    ),
    stat(
        "Requests without a failure", "Share of requests not answered with 5xx over the time shown. The objective is 99.9 %.",
        [(f"1 - ({ratio(rate('axum_http_requests_total', FAILED, '$__range'), rate('axum_http_requests_total', '', '$__range'), 'job')})", "{{job}}")],
        unit="percentunit", thresholds=NEEDS_MOST, defaults={"decimals": 2}, width=5,
    ),
    table(
        "Service details", "Every target: which pod, in which namespace, behind which endpoint (the port's name), and whether it answers.",
        [(selected("up"), "")],
        {"job": "service", "namespace": "namespace", "pod": "pod", "endpoint": "endpoint", "instance": "address", "Value": "state"},
        width=14,
        overrides=narrow(service=120, namespace=120, endpoint=105, state=85) + [
            {
                "matcher": {"id": "byName", "options": "state"},
                "properties": [
                    {"id": "mappings", "value": UP},
                    {"id": "custom.cellOptions", "value": {"type": "color-background"}},
                    {"id": "thresholds", "value": steps((RED, None), (GREEN, 1))},
                    {"id": "color", "value": {"mode": "thresholds"}},
                ],
            }
        ],
    ),
    table(
        "Versions", "What runs, and on how many pods. Two versions at once are normal only during a rollout.",
        [(f"count by (job, version, revision) ({selected('build_info')})", "")],
        {"job": "service", "version": "version", "revision": "revision", "Value": "pods"}, width=10,
    ),
    graph(
        "Availability over time", "Share of scrapes answered in the five minutes before each moment.",
        [(f"avg by (job) (avg_over_time({selected('up')}[5m]))", "{{job}}")],
        unit="percentunit", defaults={"max": 1}, width=12, thresholds=steps((RED, None), (GREEN, 0.99)),
    ),
    table(
        "Pod-to-node map", "Where the pods run, as kube-state-metrics tells it. All replicas on one node go down with it.",
        [(f"max by (namespace, pod, node, host_ip, pod_ip) (kube_pod_info and on (namespace, pod) {selected('up')})", "")],
        {"namespace": "namespace", "pod": "pod", "node": "node", "host_ip": "node's address", "pod_ip": "pod's address"}, width=12,
        overrides=narrow(namespace=120, node=110) + narrow(**{"node's address": 140, "pod's address": 140}),
    ),
    graph(
        "Scrape duration", "How long a pod takes to tell its metrics. It grows with the number of series, and when the pod is starved of CPU.",
        [(selected("scrape_duration_seconds"), "{{pod}}")],
        unit="s", width=12, thresholds=steps((GREEN, None), (RED, 10)),
    ),
    graph(
        "Seconds since the last scrape", "Grows to the scrape interval (15 s) and falls back to 0. A line that climbs is a target that Prometheus lost.",
        [(f"time() - timestamp({selected('up')})", "{{pod}}")],
        unit="s", width=12, thresholds=steps((GREEN, None), (RED, 60)),
    ),
]

RED_ROW = [
    graph(
        "Requests by route", "Answers a second. `unmatched` is every path that no route has.",
        [(f"sum by (job, endpoint) ({rate('axum_http_requests_total')})", "{{job}} {{endpoint}}")],
        unit="reqps", stacked=True, width=12,
    ),
    graph(
        "Errors by route", "Share of requests answered with 5xx.",
        [(ratio(rate("axum_http_requests_total", FAILED), rate("axum_http_requests_total"), "job, endpoint"), "{{job}} {{endpoint}}")],
        unit="percentunit", thresholds=FAILING_ABOVE, width=12,
    ),
    graph(
        "Latency by route, 99 %", "99 of 100 requests are answered within this time.",
        [(quantile(0.99, "axum_http_requests_duration_seconds", "job, endpoint"), "{{job}} {{endpoint}}")],
        unit="s", thresholds=steps((GREEN, None), (RED, 1)), width=12,
    ),
    graph(
        "Answers by status", "Answers a second. 499 is a client that left before its answer.",
        [(f"sum by (job, status) ({rate('axum_http_requests_total')})", "{{job}} {{status}}")],
        unit="reqps", stacked=True, width=12, overrides=STATUSES,
    ),
    graph(
        "Latency", "How long requests take, over all routes of a service.",
        [(quantile(q, "axum_http_requests_duration_seconds", "job"), f"{{{{job}}}} {name}") for q, name in [(0.5, "50 %"), (0.9, "90 %"), (0.99, "99 %")]],
        unit="s", width=12,
    ),
    graph(
        "In flight, refused, abandoned", "Requests open now; a second: those refused because `MAX_IN_FLIGHT` were open, and those whose client left.",
        [
            (f"sum by (job) ({selected('axum_http_requests_pending')})", "{{job}} in flight"),
            (f"sum by (job) ({rate('requests_shed_total')})", "{{job}} refused"),
            (f"sum by (job) ({rate('axum_http_requests_total', ABANDONED)} or 0 * {selected('requests_shed_total')})", "{{job}} abandoned"),
        ],
        width=12,
    ),
]

PROCESS = [
    graph(
        "CPU", "Cores that each pod uses.",
        [(rate("process_cpu_seconds_total"), "{{pod}}")], width=6, defaults={"decimals": 3},
    ),
    graph(
        "Memory", "Resident memory of each pod. An alert fires near the container's limit.",
        [(selected("process_resident_memory_bytes"), "{{pod}}")], unit="bytes", width=6,
    ),
    graph(
        "Open files", "Mostly connections. The process can open no more than its limit.",
        [(selected("process_open_fds"), "{{pod}}")], width=6,
    ),
    graph(
        "Time since the start", "A fall to 0 is a restart.",
        [(f"time() - {selected('process_start_time_seconds')}", "{{pod}}")], unit="s", width=6,
    ),
]

CACHE_ROW = [
    stat(
        "Hit ratio", "Share of lookups over the time shown that were answered without a call of their own to the source: hits, stale answers, coalesced ones and remembered 404s.",
        [(ratio(rate("cache_requests_total", HITS, "$__range"), rate("cache_requests_total", "", "$__range"), "job"), "{{job}}")],
        unit="percentunit", thresholds=steps((RED, None), (YELLOW, 0.5), (GREEN, 0.8)), width=6,
    ),
    stat(
        "Calls saved", "Lookups over the time shown that asked nobody.",
        [(f"sum by (job) (increase({selected('cache_requests_total', HITS)}[$__range]))", "{{job}}")],
        unit="locale", width=6, defaults={"decimals": 0},
    ),
    stat(
        "Calls to AWS", "Over the time shown; those that our own quota shield held back never left.",
        [(f"sum(increase({selected('aws_requests_total', CALLED)}[$__range]))", "made"),
         (f"sum(increase({selected('aws_requests_total', SHIELDED)}[$__range]))", "held back")],
        unit="locale", width=6, defaults={"decimals": 0},
    ),
    stat(
        "Throttled by AWS", "Calls over the time shown that AWS refused for its quota. Others in the account use the same quota.",
        [(f"sum(increase({selected('aws_requests_total', THROTTLED)}[$__range]))", "throttled")],
        unit="locale", thresholds=steps((GREEN, None), (RED, 1)), width=6, defaults={"decimals": 0},
    ),
    graph(
        "Lookups by outcome", "Lookups a second in the caches of the chosen services.",
        [(f"sum by (job, outcome) ({rate('cache_requests_total')})", "{{job}} {{outcome}}")],
        unit="reqps", stacked=True, width=12, overrides=OUTCOMES,
    ),
    graph(
        "Hit ratio over time", "Share of lookups answered without a call of their own to the source.",
        [(ratio(rate("cache_requests_total", HITS), rate("cache_requests_total"), "job"), "{{job}}")],
        unit="percentunit", defaults={"max": 1}, width=12, thresholds=steps((RED, None), (GREEN, 0.5)),
    ),
    graph(
        "Age of answers", "How old answers are, counted from the origin. More than TTL and stale-while-revalidate together (2 min by default) is a source that fails.",
        [(quantile(q, "cache_served_age_seconds", "job"), f"{{{{job}}}} {name}") for q, name in [(0.5, "50 %"), (0.99, "99 %")]],
        unit="s",
    ),
    graph(
        "Stale answers", "Answers a second past their freshness. `stale` is refreshed in the background; `stale error` stands in for a source that fails.",
        [(f"sum by (job) ({rate('cache_requests_total', STALE)})", "{{job}} stale"),
         (f"sum by (job) ({rate('cache_requests_total', STALE_ERROR)})", "{{job}} stale error")],
        unit="reqps",
    ),
    graph(
        "Evictions", "Entries dropped a second: for want of room (`size`), too old for any use (`expired`), or no longer true (`invalidated`). Many for size ask for more `CACHE_MAX_BYTES`.",
        [(f"sum by (job, cause) ({rate('cache_evictions_total')})", "{{job}} {{cause}}")],
        unit="ops",
    ),
    graph(
        "Entries", "Answers that each pod keeps.", [(selected("cache_entries"), "{{pod}}")], width=12,
    ),
    graph(
        "Bytes", "Memory that each pod's cache holds, bounded by `CACHE_MAX_BYTES`.", [(selected("cache_bytes"), "{{pod}}")], unit="bytes", width=12,
    ),
]

AWS_ROW = [
    graph(
        "Calls by operation", "Calls to AWS a second that left the pods.",
        [(f"sum by (operation) ({rate('aws_requests_total', CALLED)})", "{{operation}}")], unit="reqps", stacked=True,
    ),
    graph(
        "Calls by outcome", "Calls to AWS a second. `shielded` ones were held back by our own quota and never left.",
        [(f"sum by (outcome) ({rate('aws_requests_total')})", "{{outcome}}")], unit="reqps", stacked=True, overrides=OUTCOMES,
    ),
    graph(
        "Latency of AWS, 99 %", "Time of one call, its retries included.",
        [(quantile(0.99, "aws_request_duration_seconds", "operation"), "{{operation}}")], unit="s", thresholds=steps((GREEN, None), (RED, 1)),
    ),
    graph(
        "Quota used", "Calls of all chosen pods against Parameter Store's default quota for the whole account and region: $reads_limit reads, $lists_limit lists a second.",
        [(f"sum({rate('aws_requests_total', READ_CALLS)}) / $reads_limit", "reads"),
         (f"sum({rate('aws_requests_total', LIST_CALLS)}) / $lists_limit", "lists of parameters")],
        unit="percentunit", width=12, thresholds=steps((GREEN, None), (YELLOW, 0.8), (RED, 1)), soft_max=1.1,
    ),
    graph(
        "Lookups against calls", "Lookups a second in aux-service's cache against the calls to AWS that they took.",
        [(f"sum({rate('cache_requests_total', OF_AUX)})", "lookups"),
         (f"sum({rate('aws_requests_total', CALLED)})", "calls to AWS")],
        unit="reqps", width=12,
    ),
]

GATEWAY_ROW = [
    Panel(
        "Circuit", "The circuit of each pod and route to aux-service. Closed: calls flow. Open: calls are refused at once, and responses come from the cache. Half open: one call may probe aux-service.",
        [(f"max by (pod, route) (2 * {selected('circuit_breaker_state', OPEN)}) + max by (pod, route) ({selected('circuit_breaker_state', HALF_OPEN)})", "{{pod}} {{route}}")],
        kind="state-timeline", width=16,
        options={"mergeValues": True, "showValue": "auto", "alignValue": "left", "rowHeight": 0.8,
                 "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False, "calcs": []}, "tooltip": {"mode": "single", "sort": "none"}},
        custom={"lineWidth": 0, "fillOpacity": 70}, defaults={"mappings": CIRCUIT, "color": {"mode": "thresholds"}},
        thresholds=steps((GREEN, None), (YELLOW, 1), (RED, 2)),
    ),
    graph(
        "Transitions", "How often the circuit changed its state in the five minutes before each moment.",
        [(f"sum by (from, to) (increase({selected('circuit_breaker_transitions_total')}[5m]))", "{{from}} → {{to}}")],
    ),
    graph(
        "Attempts by outcome", "Attempts to ask aux-service a second, retries included. `circuit_open` ones were refused by the breaker and never left.",
        [(f"sum by (outcome) ({rate('upstream_requests_total')})", "{{outcome}}")], unit="reqps", stacked=True, width=12, overrides=OUTCOMES,
    ),
    graph(
        "Attempts by route", "Attempts to ask aux-service a second, retries included.",
        [(f"sum by (route) ({rate('upstream_requests_total')})", "{{route}}")], unit="reqps", stacked=True, width=12,
    ),
    graph(
        "Latency of aux-service", "Time of one attempt, until the whole answer is there.",
        [(quantile(q, "upstream_request_duration_seconds", "job"), name) for q, name in [(0.5, "50 %"), (0.9, "90 %"), (0.99, "99 %")]], unit="s", width=12,
    ),
    graph(
        "Latency of aux-service by route, 99 %", "Time of one attempt, until the whole answer is there.",
        [(quantile(0.99, "upstream_request_duration_seconds", "route"), "{{route}}")], unit="s", thresholds=steps((GREEN, None), (RED, 1)), width=12,
    ),
    graph(
        "Retries", "Retries a second by what they came to, and those that the budget forbade.",
        [(f"sum by (outcome) ({rate('upstream_retries_total')})", "{{outcome}}")], unit="reqps", overrides=OUTCOMES,
    ),
    graph(
        "Retry budget used", "Retries as a share of first attempts. The budget allows `RETRY_BUDGET` (0.2 by default) and a few a second besides, so a quiet service may exceed it.",
        [(f"sum by (job) ({rate('upstream_retries_total', RETRIED)}) / (sum by (job) ({rate('upstream_requests_total')}) - sum by (job) ({rate('upstream_retries_total', RETRIED)}))", "{{job}}")],
        unit="percentunit", thresholds=steps((GREEN, None), (RED, 0.2)), soft_max=0.25,
    ),
    graph(
        "Connections to aux-service", "Attempts a second over an existing connection, connections opened a second, and connections that ended before a response. aux-service closes each after `MAX_CONNECTION_AGE`, so that calls spread over its replicas.",
        [(f"sum({rate('upstream_connections_reused_total')})", "reused"),
         (f"sum({rate('upstream_connections_opened_total')})", "opened"),
         (f"sum({rate('upstream_connection_resets_total')})", "reset")],
        unit="reqps",
    ),
    graph(
        "Connections of clients", "Open connections of each pod.",
        [(selected("http_connections_open"), "{{pod}}")],
    ),
    graph(
        "Refusals", "Requests a second that were turned away: by the open circuit, for want of room (`MAX_IN_FLIGHT`), or answered 503 for any reason.",
        [(f"sum({rate('upstream_requests_total', CIRCUIT_OPEN)} or 0 * {selected('requests_shed_total')})", "circuit open"),
         (f"sum({rate('requests_shed_total')})", "overloaded"),
         (f"sum({rate('axum_http_requests_total', UNAVAILABLE)} or 0 * {selected('requests_shed_total')})", "answered 503")],
        unit="reqps",
    ),
]

DASHBOARDS = {
    "gateway-overview": ("overview", ".*", [("Health", HEALTH), ("Requests, errors, duration", RED_ROW), ("Processes", PROCESS)]),
    "gateway-cache-aws": ("cache and AWS", ".*", [("Cache", CACHE_ROW), ("AWS", AWS_ROW)]),
    "gateway-upstream": ("gateway", "main-api", [("From main-api to aux-service", GATEWAY_ROW)]),
}


def query_variable(name: str, label: str, query: str) -> dict:
    return {
        "name": name, "label": label, "type": "query", "hide": 0,
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "query": {"query": query, "refId": f"variable-{name}"},
        "refresh": 2, "sort": 1, "multi": True, "includeAll": True, "allValue": ".*",
        "current": {"text": "All", "value": "$__all"}, "options": [], "regex": "", "skipUrlSync": False,
    }


def constant(name: str, label: str, value: str) -> dict:
    return {
        "name": name, "label": label, "type": "textbox", "hide": 0, "query": value, "skipUrlSync": False,
        "current": {"text": value, "value": value}, "options": [{"text": value, "value": value, "selected": True}],
    }


def dashboard(uid: str) -> dict:
    title, jobs, rows = DASHBOARDS[uid]
    ours = 'service=~"aux-service|main-api"'
    if jobs == "main-api":
        ours = 'service="main-api"'
    variables = [
        {
            "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "hide": 0,
            "current": {"text": "default", "value": "default"}, "options": [], "refresh": 1, "regex": "", "multi": False, "includeAll": False, "skipUrlSync": False,
        },
        query_variable("job", "Service", f"label_values(build_info{{{ours}}}, job)") | {"allValue": "main-api" if jobs == "main-api" else "aux-service|main-api"},
        query_variable("namespace", "Namespace", 'label_values(up{job=~"$job"}, namespace)'),
        query_variable("pod", "Pod", 'label_values(up{job=~"$job", namespace=~"$namespace"}, pod)'),
    ]
    if uid == "gateway-cache-aws":
        variables += [constant("reads_limit", "Quota of reads", "40"), constant("lists_limit", "Quota of lists", "3")]
    panels, y, number = [], 0, 0
    for heading, members in rows:
        number += 1
        panels.append({"id": number, "type": "row", "title": heading, "collapsed": False, "panels": [], "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}})
        x, y, row_height = 0, y + 1, 0
        for panel in members:
            width, height = panel.size
            if x + width > 24:
                x, y, row_height = 0, y + row_height, 0
            number += 1
            panels.append({"id": number, "gridPos": {"x": x, "y": y, "w": width, "h": height}} | panel.json)
            x, row_height = x + width, max(row_height, height)
        y += row_height
    others = [other for other in DASHBOARDS if other != uid]
    return {
        "uid": uid,
        "title": f"Cached gateway: {title}",
        "tags": [TAG],
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "schemaVersion": 41,
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": variables},
        "annotations": {"list": []},
        "links": [
            {
                "type": "link", "title": DASHBOARDS[other][0], "url": f"/d/{other}", "icon": "dashboard", "tags": [], "tooltip": "",
                "includeVars": True, "keepTime": True, "targetBlank": False, "asDropdown": False,
            }
            for other in others
        ],
        "panels": panels,
    }


def main() -> int:
    check = sys.argv[1:] == ["--check"]
    stale = []
    wanted = {f"{uid}.json": json.dumps(dashboard(uid), indent=2, ensure_ascii=False) + "\n" for uid in DASHBOARDS}
    folder = HERE / "dashboards"
    for name, text in wanted.items():
        path = folder / name
        if not path.exists() or path.read_text() != text:
            stale.append(name)
            if not check:
                path.write_text(text)
    stale += [path.name for path in folder.glob("*.json") if path.name not in wanted]
    if check and stale:
        print(f"not what grafana/generate.py writes: {', '.join(stale)}; run it", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
