#!/usr/bin/env python3
"""Writes the dashboards in dashboards/ from the definitions of panels in this file.

`generate.py` writes the files. `generate.py --check` fails if a file differs from its definition.
Grafana's editor is for trials. Make each lasting change in this file.
"""

import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
TAG = "cached-gateway"

# The selection of the variables at the top of a dashboard. Every expression about the services uses it.
PODS = 'job=~"$job", namespace=~"$namespace", pod=~"$pod"'

# Lookups without a call of their own. /status and the alerts use the same outcomes.
HITS = 'outcome=~"hit|stale|stale_error|coalesced|negative"'
STALE, STALE_ERROR = 'outcome="stale"', 'outcome="stale_error"'
# Calls to the queue of changes load no entry and have no part in the quota. One of them waits 20 s for messages.
QUEUE_CALLS, OTHER_CALLS = 'operation=~"ReceiveMessage|DeleteMessage"', 'operation!~"ReceiveMessage|DeleteMessage"'
# The quota limiter refuses a shielded call before it leaves the pod.
MADE, SHIELDED = 'outcome!="shielded"', 'outcome="shielded"'
CALLED, THROTTLED = f'{OTHER_CALLS}, {MADE}', f'{OTHER_CALLS}, outcome="throttled"'
# The operations that share Parameter Store's quota of reads, and the operation with a quota of its own.
READ_CALLS = f'operation=~"GetParameter|GetParameters|GetParametersByPath", {MADE}'
LIST_CALLS = f'operation="DescribeParameters", {MADE}'
# Statuses of failures. 499 means that the client disconnected before the response.
FAILED, UNAVAILABLE, ABANDONED = 'status=~"5.."', 'status="503"', 'status="499"'
# Requests that wait for a change take as long as the client demands, and streams of changes take minutes.
PROMPT = 'endpoint!~"wait|/changes"'
OPEN, HALF_OPEN = 'state="open"', 'state="half_open"'
# Lookups in the shared cache: `locked` ones wait for another pod's load and are repeated, so they are no loads of their own.
SHARED_HIT, SHARED_LOADS = 'operation="lookup", outcome="hit"', 'operation="lookup", outcome!="locked"'
REPLICA_READS = 'group="reads", scope="replica"'
BUCKET_LISTS = f'operation="ListBuckets", {MADE}'
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
    """A share. It is 0 while the part has no series yet."""
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
    """One panel. `queries` are pairs of expression and legend. With an empty legend, Grafana names each series by its labels."""

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
    """Fixed widths for columns with short values. The long names of pods get the rest."""
    return [
        {"matcher": {"id": "byName", "options": name}, "properties": [{"id": "custom.width", "value": width}]}
        for name, width in widths.items()
    ]


def table(title: str, description: str, queries: list[tuple[str, str]], columns: dict[str, str], **more) -> Panel:
    """A table of labels. `columns` maps each shown label to its heading, in order."""
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
    """Mappings from numbers to words with colours."""
    options = {number: {"text": text, "color": color, "index": i} for i, (number, (text, color)) in enumerate(values.items())}
    return [{"type": "value", "options": options}]


UP = words({"0": ("DOWN", RED), "1": ("UP", GREEN)})
CIRCUIT = words({"0": ("closed", GREEN), "1": ("half open", YELLOW), "2": ("open", RED)})


def coloured(**colors: str) -> list[dict]:
    """Fixed colours for series by the last word of their legend. A colour does not depend on the other series, and red is always bad."""
    return [
        {
            "matcher": {"id": "byRegexp", "options": f"/(^| ){name}$/"},
            "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": color}}],
        }
        for name, color in colors.items()
    ]


# An outcome has the same colour on every panel.
OUTCOMES = coloured(
    ok=GREEN, hit=GREEN, success=GREEN, coalesced="light-green", negative="super-light-green", not_found=GREY, client_error=GREY,
    miss=BLUE, bypass="light-blue", shielded=PURPLE, stale=YELLOW, budget_exhausted=PURPLE, circuit_open=PURPLE,
    stale_error=ORANGE, throttled=ORANGE, abandoned=GREY, denied="dark-red", credentials="dark-orange",
    stored="semi-dark-green", locked="super-light-blue", skipped="semi-dark-purple",
    timeout="light-red", unreachable="dark-red", invalid="super-light-red", error=RED, failure=RED, server_error=RED,
)
MESSAGES = coloured(changed=GREEN, foreign=GREY, failed=ORANGE, poison=RED)
STATUSES = coloured(**{"2..": GREEN, "3..": BLUE, "4..": YELLOW, "499": GREY, "5..": RED, "503": ORANGE})

HEALTH = [
    stat(
        "aux-service", "UP if Prometheus reaches at least one pod of aux-service. A service without targets is DOWN.",
        [('max(up{job="aux-service", namespace=~"$namespace"})', "aux-service")],
        thresholds=steps((RED, None), (GREEN, 1)), color="background",
        defaults={"mappings": UP, "noValue": "DOWN"}, width=3,
    ),
    stat(
        "main-api", "UP if Prometheus reaches at least one pod of main-api. A service without targets is DOWN.",
        [('max(up{job="main-api", namespace=~"$namespace"})', "main-api")],
        thresholds=steps((RED, None), (GREEN, 1)), color="background",
        defaults={"mappings": UP, "noValue": "DOWN"}, width=3,
    ),
    stat(
        "Pods up", "Pods that Prometheus reaches, by service.",
        [(f"sum by (job) ({selected('up')})", "{{job}}")],
        thresholds=steps((RED, None), (GREEN, 1)), width=4,
    ),
    stat(
        "Pods down", "Targets that Prometheus does not reach, by service. The table below shows which pods they are.",
        [(f"sum by (job) (1 - {selected('up')})", "{{job}}")],
        thresholds=steps((GREEN, None), (RED, 1)), width=4,
    ),
    stat(
        "Availability", "Share of successful scrapes over the time shown, all chosen pods together.",
        [(f"avg by (job) (avg_over_time({selected('up')}[$__range]))", "{{job}}")],
        unit="percentunit", thresholds=NEEDS_MOST, defaults={"decimals": 2}, width=5,
    ),
    stat(
        "Requests without a failure", "Share of requests without a 5xx response over the time shown. The objective is 99.9 %.",
        [(f"1 - ({ratio(rate('axum_http_requests_total', FAILED, '$__range'), rate('axum_http_requests_total', '', '$__range'), 'job')})", "{{job}}")],
        unit="percentunit", thresholds=NEEDS_MOST, defaults={"decimals": 2}, width=5,
    ),
    table(
        "Service details", "Every target with its pod, namespace, endpoint (the port's name) and state.",
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
        "Versions", "Running versions, and the number of their pods. Two versions at once are normal only during a rollout.",
        [(f"count by (job, version, revision) ({selected('build_info')})", "")],
        {"job": "service", "version": "version", "revision": "revision", "Value": "pods"}, width=10,
    ),
    graph(
        "Availability over time", "Share of successful scrapes in the five minutes before each moment.",
        [(f"avg by (job) (avg_over_time({selected('up')}[5m]))", "{{job}}")],
        unit="percentunit", defaults={"max": 1}, width=12, thresholds=steps((RED, None), (GREEN, 0.99)),
    ),
    table(
        "Pod-to-node map", "The node of each pod, from kube-state-metrics. If all replicas run on one node, its failure stops the service.",
        [(f"max by (namespace, pod, node, host_ip, pod_ip) (kube_pod_info and on (namespace, pod) {selected('up')})", "")],
        {"namespace": "namespace", "pod": "pod", "node": "node", "host_ip": "node's address", "pod_ip": "pod's address"}, width=12,
        overrides=narrow(namespace=120, node=110) + narrow(**{"node's address": 140, "pod's address": 140}),
    ),
    graph(
        "Scrape duration", "Time of one scrape. It grows with the number of series, and if the pod lacks CPU.",
        [(selected("scrape_duration_seconds"), "{{pod}}")],
        unit="s", width=12, thresholds=steps((GREEN, None), (RED, 10)),
    ),
    graph(
        "Seconds since the last scrape", "A line grows to the scrape interval (15 s) and falls back to 0. A line that keeps growing is a target that Prometheus no longer scrapes.",
        [(f"time() - timestamp({selected('up')})", "{{pod}}")],
        unit="s", width=12, thresholds=steps((GREEN, None), (RED, 60)),
    ),
]

RED_ROW = [
    graph(
        "Requests by route", "Responses a second. `unmatched` covers every path without a route.",
        [(f"sum by (job, endpoint) ({rate('axum_http_requests_total')})", "{{job}} {{endpoint}}")],
        unit="reqps", stacked=True, width=12,
    ),
    graph(
        "Errors by route", "Share of requests with a 5xx response.",
        [(ratio(rate("axum_http_requests_total", FAILED), rate("axum_http_requests_total"), "job, endpoint"), "{{job}} {{endpoint}}")],
        unit="percentunit", thresholds=FAILING_ABOVE, width=12,
    ),
    graph(
        "Latency by route, 99 %", "99 of 100 requests take at most this long. Requests that wait for a change and streams of changes are left out.",
        [(quantile(0.99, "axum_http_requests_duration_seconds", "job, endpoint", PROMPT), "{{job}} {{endpoint}}")],
        unit="s", thresholds=steps((GREEN, None), (RED, 1)), width=12,
    ),
    graph(
        "Responses by status", "Responses a second. 499 is a client that disconnected before the response.",
        [(f"sum by (job, status) ({rate('axum_http_requests_total')})", "{{job}} {{status}}")],
        unit="reqps", stacked=True, width=12, overrides=STATUSES,
    ),
    graph(
        "Latency", "Time of requests, over all routes of a service. Requests that wait for a change and streams of changes are left out.",
        [(quantile(q, "axum_http_requests_duration_seconds", "job", PROMPT), f"{{{{job}}}} {name}") for q, name in [(0.5, "50 %"), (0.9, "90 %"), (0.99, "99 %")]],
        unit="s", width=12,
    ),
    graph(
        "In flight, refused, abandoned", "Requests in progress, without those that wait for a change; requests a second that `MAX_IN_FLIGHT` or `MAX_WAITING` rejected; requests a second whose client disconnected.",
        [
            (f"sum by (job) ({selected('axum_http_requests_pending', PROMPT)})", "{{job}} in flight"),
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
        "Open files", "Open files of each pod, mostly connections. The kernel limits them.",
        [(selected("process_open_fds"), "{{pod}}")], width=6,
    ),
    graph(
        "Time since the start", "Time since each process started. A fall to 0 is a restart.",
        [(f"time() - {selected('process_start_time_seconds')}", "{{pod}}")], unit="s", width=6,
    ),
]

CACHE_ROW = [
    stat(
        "Hit ratio", "Share of lookups over the time shown without a call of their own: hits, stale entries, coalesced loads and negative entries.",
        [(ratio(rate("cache_requests_total", HITS, "$__range"), rate("cache_requests_total", "", "$__range"), "job"), "{{job}}")],
        unit="percentunit", thresholds=steps((RED, None), (YELLOW, 0.5), (GREEN, 0.8)), width=6,
    ),
    stat(
        "Calls saved", "Lookups over the time shown without a call of their own.",
        [(f"sum by (job) (increase({selected('cache_requests_total', HITS)}[$__range]))", "{{job}}")],
        unit="locale", width=6, defaults={"decimals": 0},
    ),
    stat(
        "Calls to AWS", "Calls over the time shown, without those to the queue of changes. The quota limiter refuses `refused` ones before they leave the pod.",
        [(f"sum(increase({selected('aws_requests_total', CALLED)}[$__range]))", "made"),
         (f"sum(increase({selected('aws_requests_total', SHIELDED)}[$__range]))", "refused")],
        unit="locale", width=6, defaults={"decimals": 0},
    ),
    stat(
        "Throttled by AWS", "Calls over the time shown that AWS throttled. All callers in the account share the quota.",
        [(f"sum(increase({selected('aws_requests_total', THROTTLED)}[$__range]))", "throttled")],
        unit="locale", thresholds=steps((GREEN, None), (RED, 1)), width=6, defaults={"decimals": 0},
    ),
    graph(
        "Lookups by outcome", "Lookups a second in the caches of the chosen services.",
        [(f"sum by (job, outcome) ({rate('cache_requests_total')})", "{{job}} {{outcome}}")],
        unit="reqps", stacked=True, width=12, overrides=OUTCOMES,
    ),
    graph(
        "Hit ratio over time", "Share of lookups without a call of their own.",
        [(ratio(rate("cache_requests_total", HITS), rate("cache_requests_total"), "job"), "{{job}}")],
        unit="percentunit", defaults={"max": 1}, width=12, thresholds=steps((RED, None), (GREEN, 0.5)),
    ),
    graph(
        "Age of answers", "Age of served entries since AWS sent the data. If it exceeds the sum of TTL and stale-while-revalidate (2 min by default), loads fail.",
        [(quantile(q, "cache_served_age_seconds", "job"), f"{{{{job}}}} {name}") for q, name in [(0.5, "50 %"), (0.99, "99 %")]],
        unit="s",
    ),
    graph(
        "Stale answers", "Stale entries served a second. A `stale` entry is refreshed in the background. A `stale error` entry is served because its load failed.",
        [(f"sum by (job) ({rate('cache_requests_total', STALE)})", "{{job}} stale"),
         (f"sum by (job) ({rate('cache_requests_total', STALE_ERROR)})", "{{job}} stale error")],
        unit="reqps",
    ),
    graph(
        "Evictions", "Evicted entries a second: the cache was full (`size`), or the entry was `expired` or `invalidated`. If many are evicted for size, raise `CACHE_MAX_BYTES`.",
        [(f"sum by (job, cause) ({rate('cache_evictions_total')})", "{{job}} {{cause}}")],
        unit="ops",
    ),
    graph(
        "Entries", "Cache entries of each pod.", [(selected("cache_entries"), "{{pod}}")], width=12,
    ),
    graph(
        "Bytes", "Size of each pod's cache. `CACHE_MAX_BYTES` bounds it.", [(selected("cache_bytes"), "{{pod}}")], unit="bytes", width=12,
    ),
]

AWS_ROW = [
    graph(
        "Calls by operation", "Calls to S3 and Parameter Store a second, without those that the quota limiter refused.",
        [(f"sum by (operation) ({rate('aws_requests_total', CALLED)})", "{{operation}}")], unit="reqps", stacked=True,
    ),
    graph(
        "Calls by outcome", "Calls to S3 and Parameter Store a second. The quota limiter refuses `shielded` ones before they leave the pod.",
        [(f"sum by (outcome) ({rate('aws_requests_total', OTHER_CALLS)})", "{{outcome}}")], unit="reqps", stacked=True, overrides=OUTCOMES,
    ),
    graph(
        "Latency of AWS, 99 %", "Time of one call to S3 or Parameter Store with its retries.",
        [(quantile(0.99, "aws_request_duration_seconds", "operation", OTHER_CALLS), "{{operation}}")], unit="s", thresholds=steps((GREEN, None), (RED, 1)),
    ),
    graph(
        "Quota used", "Calls of all chosen pods as a share of Parameter Store's default quota for the account and region: $reads_limit reads and $lists_limit lists a second. By default three pods can use at most 75 %.",
        [(f"sum({rate('aws_requests_total', READ_CALLS)}) / $reads_limit", "reads"),
         (f"sum({rate('aws_requests_total', LIST_CALLS)}) / $lists_limit", "lists of parameters")],
        unit="percentunit", width=12, thresholds=steps((GREEN, None), (YELLOW, 0.6), (RED, 1)), soft_max=1.1,
    ),
    graph(
        "Lookups against calls", "Lookups a second in the cache of aux-service, and the calls to AWS that they caused.",
        [(f"sum({rate('cache_requests_total', OF_AUX)})", "lookups"),
         (f"sum({rate('aws_requests_total', CALLED)})", "calls to AWS")],
        unit="reqps", width=12,
    ),
]



def fleet_limit(group: str) -> str:
    """The rate of the whole fleet. A rate of 0 means no limit and has no share."""
    return f"""(max({selected('aws_rate_limit', f'group="{group}", scope="fleet"')}) > 0)"""


# Pods without SHARED_CACHE_URL have no such series, so the sum is empty if no pod has a shared cache.
DEGRADED = "shared_cache_degraded_since_timestamp_seconds"
SHARED = f"sum({selected(DEGRADED)})"

SHARED_ROW = [
    graph(
        "Served by level", "A second: lookups of aux-service that a pod's memory served, loads that the shared cache served, and calls to AWS. A call may fetch ten names. Refreshes in the background are loads too.",
        [(f"sum({rate('cache_requests_total', f'{OF_AUX}, {HITS}')})", "memory"),
         (f"sum({rate('shared_cache_requests_total', SHARED_HIT)}) or 0 * {SHARED}", "shared cache"),
         (f"sum({rate('aws_requests_total', CALLED)}) and on () {SHARED}", "AWS")],
        unit="reqps", stacked=True,
    ),
    graph(
        "Calls to AWS per load", "Calls to AWS for each load of a pod: 1 if the shared cache serves nothing, and less the more the pods share. Ten names in one call lower it, and the pages of a list raise it.",
        [(f"sum({rate('aws_requests_total', CALLED)}) / (sum({rate('shared_cache_requests_total', SHARED_LOADS)}) > 0)", "calls per load")],
        thresholds=steps((GREEN, None), (YELLOW, 1)), defaults={"decimals": 2}, soft_max=1.1,
    ),
    graph(
        "Reads of AWS per entry and minute", "Calls that read parameters, for each entry of the fullest pod. With a TTL of a minute and steady use it is at most about 1, and without sharing up to the number of pods.",
        [(f"60 * sum({rate('aws_requests_total', READ_CALLS)}) / (max({selected('cache_entries', OF_AUX)}) > 0) and on () {SHARED}", "reads")],
        defaults={"decimals": 2},
    ),
    graph(
        "Commands by outcome", "Commands to the engine a second. `locked`: another pod loads the entry. `skipped`: not sent, because the engine did not work just before.",
        [(f"sum by (operation, outcome) ({rate('shared_cache_requests_total')})", "{{operation}} {{outcome}}")],
        unit="reqps", stacked=True, overrides=OUTCOMES,
    ),
    graph(
        "Latency of the engine, 99 %", "Time of one command. `SHARED_CACHE_TIMEOUT` (100 ms by default) bounds the commands that a request waits for.",
        [(quantile(0.99, "shared_cache_request_duration_seconds", "operation"), "{{operation}}")],
        unit="s", thresholds=steps((GREEN, None), (RED, 0.1)),
    ),
    graph(
        "Time without the engine", "Time since each pod continued alone; 0 while the shared cache works. Meanwhile a pod has only its own share of the quota. Pods disagree if the network of one node fails.",
        [(f"(time() - {selected(DEGRADED)}) * ({selected(DEGRADED)} > bool 0)", "{{pod}}")],
        unit="s", thresholds=steps((GREEN, None), (RED, 120)),
    ),
    graph(
        "Quota of the fleet used", "Calls of all pods as a share of the rate that they have together. For pods of several deployments choose one namespace.",
        [(f"sum({rate('aws_requests_total', READ_CALLS)}) / {fleet_limit('reads')}", "reads"),
         (f"sum({rate('aws_requests_total', LIST_CALLS)}) / {fleet_limit('parameter_lists')}", "lists of parameters"),
         (f"sum({rate('aws_requests_total', BUCKET_LISTS)}) / {fleet_limit('bucket_lists')}", "lists of buckets")],
        unit="percentunit", width=12, thresholds=steps((GREEN, None), (YELLOW, 0.8), (RED, 1)), soft_max=1.1,
    ),
    graph(
        "Calls of each pod against its share", "Reads of each pod as a share of the rate that it has without the engine. Above 1 a pod uses what the others leave.",
        [(f"sum by (pod) ({rate('aws_requests_total', READ_CALLS)}) / on (pod) (max by (pod) ({selected('aws_rate_limit', REPLICA_READS)}) > 0)", "{{pod}}")],
        unit="percentunit", width=12, soft_max=1.1,
    ),
]

# Pods without CHANGE_QUEUE_URL have no such series.
UNREAD = "change_queue_degraded_since_timestamp_seconds"

CHANGES_ROW = [
    graph(
        "Changes by source", "Changes of parameters a minute that each pod learns of, by its source: the `queue` of AWS's events, a `refresh` that found another value, or the `fleet`. For main-api the fleet is aux-service.",
        [(f"60 * sum by (job, source) ({rate('changes_total')})", "{{job}} {{source}}")],
    ),
    graph(
        "Waiting requests", "Requests that wait for a change (`wait`), and streams of changes (`stream`). In each pod `MAX_WAITING` (4096 by default) bounds both together; further ones are refused.",
        [(f"sum by (job, kind) ({selected('waiting_requests')})", "{{job}} {{kind}}")], stacked=True,
    ),
    graph(
        "Delay of changes", "Time from the arrival of AWS's event in the queue until its changes are published. The time that AWS needs for the event is not included.",
        [(quantile(q, "change_delay_seconds", "job"), name) for q, name in [(0.5, "50 %"), (0.9, "90 %"), (0.99, "99 %")]],
        unit="s", thresholds=steps((GREEN, None), (RED, 5)),
    ),
    graph(
        "Messages by outcome", "Messages of the queue a minute. `foreign`: an event that changes no parameter. `failed`: its change could not be published, and it arrives again. `poison`: no event; it is deleted at the third receipt.",
        [(f"60 * sum by (outcome) ({rate('change_messages_total')})", "{{outcome}}")], stacked=True, overrides=MESSAGES,
    ),
    graph(
        "Time without the queue", "Time since each pod has not been able to read the queue; 0 while it works. Another pod reads the messages meanwhile, and if none can, changes arrive at the end of the TTL.",
        [(f"(time() - {selected(UNREAD)}) * ({selected(UNREAD)} > bool 0)", "{{pod}}")],
        unit="s", thresholds=steps((GREEN, None), (RED, 120)),
    ),
    graph(
        "Calls to the queue by outcome", "Calls to the queue a second. An idle pod receives three times a minute, and each call waits 20 s for messages.",
        [(f"sum by (operation, outcome) ({rate('aws_requests_total', QUEUE_CALLS)})", "{{operation}} {{outcome}}")],
        unit="reqps", stacked=True, overrides=OUTCOMES,
    ),
]

GATEWAY_ROW = [
    Panel(
        "Circuit", "The circuit of each route to aux-service; the worst state of the chosen pods. Closed: calls flow. Open: calls are refused. Half open: one call at a time probes; a route without requests stays half open.",
        [(f"max by (route) (2 * {selected('circuit_breaker_state', OPEN)} or {selected('circuit_breaker_state', HALF_OPEN)})", "{{route}}")],
        kind="state-timeline", width=12,
        options={"mergeValues": True, "showValue": "auto", "alignValue": "left", "rowHeight": 0.8,
                 "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False, "calcs": []}, "tooltip": {"mode": "single", "sort": "none"}},
        custom={"lineWidth": 0, "fillOpacity": 70}, defaults={"mappings": CIRCUIT, "color": {"mode": "thresholds"}},
        thresholds=steps((GREEN, None), (YELLOW, 1), (RED, 2)),
    ),
    graph(
        "Transitions", "Changes of the state of each route's circuit in the five minutes before each moment, all chosen pods together. Transitions that did not occur are hidden.",
        [(f"sum by (route, from, to) (increase({selected('circuit_breaker_transitions_total')}[5m])) > 0", "{{route}}: {{from}} → {{to}}")],
        width=12, defaults={"noValue": "No transitions"},
    ),
    graph(
        "Attempts by outcome", "Attempts of calls to aux-service a second, retries included. The circuit breaker refuses `circuit_open` ones before they leave the pod.",
        [(f"sum by (outcome) ({rate('upstream_requests_total')})", "{{outcome}}")], unit="reqps", stacked=True, width=12, overrides=OUTCOMES,
    ),
    graph(
        "Attempts by route", "Attempts of calls to aux-service a second, retries included.",
        [(f"sum by (route) ({rate('upstream_requests_total')})", "{{route}}")], unit="reqps", stacked=True, width=12,
    ),
    graph(
        "Latency of aux-service", "Time of one attempt, until the response is complete.",
        [(quantile(q, "upstream_request_duration_seconds", "job"), name) for q, name in [(0.5, "50 %"), (0.9, "90 %"), (0.99, "99 %")]], unit="s", width=12,
    ),
    graph(
        "Latency of aux-service by route, 99 %", "Time of one attempt, until the response is complete.",
        [(quantile(0.99, "upstream_request_duration_seconds", "route"), "{{route}}")], unit="s", thresholds=steps((GREEN, None), (RED, 1)), width=12,
    ),
    graph(
        "Retries", "Retries a second by outcome. `budget_exhausted` ones were not made, because the retry budget was used up.",
        [(f"sum by (outcome) ({rate('upstream_retries_total')})", "{{outcome}}")], unit="reqps", overrides=OUTCOMES,
    ),
    graph(
        "Retry budget used", "Retries as a share of first attempts. The budget allows `RETRY_BUDGET` (0.2 by default) and three retries a second in addition, so a quiet service may exceed that share.",
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
        "Refusals", "Attempts a second that an open circuit refused, requests a second that `MAX_IN_FLIGHT` or `MAX_WAITING` rejected, and 503 responses a second for any reason.",
        [(f"sum({rate('upstream_requests_total', CIRCUIT_OPEN)} or 0 * {selected('requests_shed_total')})", "circuit open"),
         (f"sum({rate('requests_shed_total')})", "overloaded"),
         (f"sum({rate('axum_http_requests_total', UNAVAILABLE)} or 0 * {selected('requests_shed_total')})", "503 responses")],
        unit="reqps",
    ),
]

DASHBOARDS = {
    "gateway-overview": ("overview", ".*", [("Health", HEALTH), ("Requests, errors, duration", RED_ROW), ("Processes", PROCESS)]),
    "gateway-cache-aws": ("cache and AWS", ".*", [("Cache", CACHE_ROW), ("AWS", AWS_ROW), ("Shared cache", SHARED_ROW), ("Changes", CHANGES_ROW)]),
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
        print(f"error: {', '.join(stale)} differ from grafana/generate.py; run it", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
