"""Runs every expression of every dashboard and rule against a real Prometheus.

Prometheus scrapes both services, which share an engine, under load and during faults, with the labels that kube-prometheus-stack attaches.
This check has no Kubernetes, so a stand-in serves the metrics of kube-state-metrics about pods and their limits.
"""

from __future__ import annotations

import http.server
import json
import math
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, IO

import yaml

from dashboards import ROOT, Query, filled, queries, rules

SERVICES = {"aux-service": "aux-service-7c9d5f6b8-x2x4v", "main-api": "main-api-5f4d8c7b9-k8s2p"}

# Faults and their length in seconds. A circuit opens within seconds of a cut, and closes within seconds of its end.
# "engine stopped" is this program's own fault: the engine of the shared cache accepts connections and responds to none.
ENGINE_STOPPED = "engine stopped"
FAULTS = [("calm", 14), ("slow", 8), ("throttled", 10), ("expired credentials", 8), ("calm", 6), (ENGINE_STOPPED, 8), ("calm", 4), ("cut", 12),
          ("calm", 14)]  # fmt: skip

# The window that Grafana uses for a scrape each second.
WINDOW = "10s"

KUBE_STATE = """\
kube_pod_info{{namespace="{job}",pod="{pod}",node="node-1",host_ip="192.0.2.1",pod_ip="198.51.100.{number}",created_by_kind="ReplicaSet"}} 1
kube_pod_container_resource_limits{{namespace="{job}",pod="{pod}",container="{job}",node="node-1",resource="memory",unit="byte"}} 268435456
"""

Series = dict[str, Any]
Expectation = Callable[[float], bool]

# Expectations of the highest value by dashboard, panel and legend (or a part of it). An expression that is always 0 is as
# useless as an empty one.
EXPECTED: dict[tuple[str, str, str], Expectation] = {
    ("gateway-overview", "aux-service", ""): lambda top: top == 1,
    ("gateway-overview", "main-api", ""): lambda top: top == 1,
    ("gateway-overview", "Pods down", ""): lambda top: top == 0,
    ("gateway-overview", "Availability over time", ""): lambda top: 0.9 < top <= 1,
    ("gateway-overview", "Seconds since the last scrape", ""): lambda top: top < 5,
    ("gateway-overview", "Errors by route", ""): lambda top: 0 < top <= 1,
    ("gateway-overview", "Requests without a failure", ""): lambda top: 0 < top < 1,
    ("gateway-overview", "Latency by route, 99 %", ""): lambda top: 0 < top <= 30,
    ("gateway-overview", "In flight, refused, abandoned", "abandoned"): lambda top: top > 0,
    ("gateway-overview", "In flight, refused, abandoned", "refused"): lambda top: top > 0,
    ("gateway-overview", "CPU", ""): lambda top: 0 < top < 2,
    ("gateway-overview", "Memory", ""): lambda top: top > 1e6,
    ("gateway-cache-aws", "Hit ratio", ""): lambda top: 0 < top <= 1,
    ("gateway-cache-aws", "Hit ratio over time", ""): lambda top: 0 < top <= 1,
    ("gateway-cache-aws", "Calls saved", ""): lambda top: top > 0,
    ("gateway-cache-aws", "Lookups against calls", ""): lambda top: top > 0,
    ("gateway-cache-aws", "Calls to AWS", "made"): lambda top: top > 0,
    ("gateway-cache-aws", "Throttled by AWS", ""): lambda top: top > 0,
    ("gateway-cache-aws", "Stale answers", "stale error"): lambda top: top > 0,
    ("gateway-cache-aws", "Age of answers", ""): lambda top: top > 1,
    ("gateway-cache-aws", "Entries", ""): lambda top: top > 0,
    ("gateway-cache-aws", "Bytes", ""): lambda top: top > 0,
    ("gateway-cache-aws", "Quota used", "reads"): lambda top: 0 < top < 2,
    ("gateway-cache-aws", "Latency of AWS, 99 %", ""): lambda top: 0.5 < top < 30,
    ("gateway-cache-aws", "Served by level", "memory"): lambda top: top > 0,
    ("gateway-cache-aws", "Served by level", "AWS"): lambda top: top > 0,
    ("gateway-cache-aws", "Calls to AWS per load", ""): lambda top: top > 0,
    ("gateway-cache-aws", "Reads of AWS per entry and minute", ""): lambda top: top > 0,
    ("gateway-cache-aws", "Commands by outcome", ""): lambda top: top > 0,
    ("gateway-cache-aws", "Latency of the engine, 99 %", ""): lambda top: 0 < top < 2,
    ("gateway-cache-aws", "Time without the engine", ""): lambda top: 2 < top < 30,
    ("gateway-cache-aws", "Quota of the fleet used", "reads"): lambda top: 0 < top < 2,
    ("gateway-cache-aws", "Calls of each pod against its share", ""): lambda top: 0 < top < 2,
    ("gateway-cache-aws", "Changes by source", ""): lambda top: top > 0,
    ("gateway-cache-aws", "Waiting requests", ""): lambda top: top > 0,
    # Two faults in a row take the queue away for 18 s, and the reader pauses for up to 8 s after its failures.
    ("gateway-cache-aws", "Delay of changes", ""): lambda top: 0 < top < 60,
    ("gateway-cache-aws", "Messages by outcome", ""): lambda top: top > 0,
    ("gateway-cache-aws", "Time without the queue", ""): lambda top: 10 < top < 40,
    ("gateway-cache-aws", "Calls to the queue by outcome", ""): lambda top: top > 0,
    ("gateway-upstream", "Circuit", ""): lambda top: top == 2,
    ("gateway-upstream", "Transitions", ""): lambda top: top > 0,
    ("gateway-upstream", "Retries", ""): lambda top: top > 0,
    ("gateway-upstream", "Retry budget used", ""): lambda top: top > 0,
    ("gateway-upstream", "Refusals", "circuit open"): lambda top: top > 0,
    ("gateway-upstream", "Refusals", "overloaded"): lambda top: top > 0,
    ("gateway-upstream", "Latency of aux-service", ""): lambda top: 0 < top < 30,
}


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


class Engine:
    """The engine of the shared cache."""

    def __init__(self, stack: ExitStack, output: IO[bytes]) -> None:
        port = free_port()
        self.url = f"redis://127.0.0.1:{port}"
        command = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--save", ""]
        self.process = stack.enter_context(subprocess.Popen(command, stdout=output, stderr=output))
        # A stopped process would not end at SIGTERM.
        stack.callback(self.process.kill)

    def stop(self, stopped: bool) -> None:
        self.process.send_signal(signal.SIGSTOP if stopped else signal.SIGCONT)


class Services:
    """Both services under load and faults, run by a program of the end-to-end tests."""

    def __init__(self, stack: ExitStack, engine: Engine) -> None:
        binary = Path(os.environ["PROGRAMS"]) / "bad_day"
        # The end of its input ends the program and both services. Leaving the stack closes the input.
        self.process = stack.enter_context(subprocess.Popen([binary, engine.url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        self.addresses: dict[str, str] = json.loads(self.line())

    def cause(self, kind: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(f"{kind}\n")
        self.process.stdin.flush()
        if (line := self.line()) != kind:
            raise RuntimeError(f"bad_day: expected the line {kind!r}, got {line!r}")

    def line(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()


class KubeState(http.server.BaseHTTPRequestHandler):
    """The stand-in for kube-state-metrics."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/plain; version=0.0.4")
        self.end_headers()
        for number, (job, pod) in enumerate(SERVICES.items(), 1):
            self.wfile.write(KUBE_STATE.format(job=job, pod=pod, number=number).encode())

    def log_message(self, *_: object) -> None:
        pass


def honor_labels() -> bool:
    """True if the charts' ServiceMonitor prefers a label of the services to one that Prometheus attaches."""
    template = (ROOT / "helm/common/templates/_servicemonitor.tpl").read_text()
    return "honorLabels: true" in template


def configuration(addresses: dict[str, str], kube_state: str) -> str:
    scrape: list[dict[str, Any]] = [
        {"job_name": "kube-state-metrics", "honor_labels": True, "static_configs": [{"targets": [kube_state]}]}
    ]
    for job, url in addresses.items():
        labels = {"namespace": job, "pod": SERVICES[job], "service": job, "container": job, "endpoint": "http"}
        targets = [{"targets": [url.removeprefix("http://")], "labels": labels}]
        scrape.append({"job_name": job, "honor_labels": honor_labels(), "static_configs": targets})
    return yaml.safe_dump(
        {"global": {"scrape_interval": "1s", "evaluation_interval": "1s"}, "rule_files": ["rules.yml"], "scrape_configs": scrape}
    )


class Prometheus:
    def __init__(self, stack: ExitStack, addresses: dict[str, str], kube_state: str, output: IO[bytes]) -> None:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "prometheus.yml").write_text(configuration(addresses, kube_state))
        rules_file = yaml.safe_load((ROOT / "grafana/rules.yaml").read_text())["spec"]
        for group in rules_file["groups"]:
            group["interval"] = "1s"
        (folder / "rules.yml").write_text(yaml.safe_dump(rules_file))
        address = f"127.0.0.1:{free_port()}"
        command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data", f"--web.listen-address={address}"]
        process = stack.enter_context(subprocess.Popen(command, stdout=output, stderr=output))
        stack.callback(process.terminate)
        self.url = f"http://{address}/api/v1"
        self.began = time.time()
        self.until(lambda: len(self.instant('up{job=~"aux-service|main-api"} == 1')) == 2, "Prometheus scrapes both services")

    def until(self, true: Callable[[], bool], what: str) -> None:
        for _ in range(120):
            try:
                if true():
                    return
            except OSError:
                pass
            time.sleep(0.5)
        raise RuntimeError(f"timeout of a minute: {what}")

    def get(self, path: str, **parameters: object) -> Any:
        url = f"{self.url}/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise ValueError(json.load(error)["error"]) from None

    def instant(self, expression: str) -> list[Series]:
        result: list[Series] = self.get("query", query=expression)["result"]
        return result

    def over_time(self, expression: str) -> list[Series]:
        result: list[Series] = self.get("query_range", query=expression, start=self.began, end=time.time(), step=1)["result"]
        return result


def values(series: list[Series]) -> list[float]:
    pairs = [pair for one in series for pair in one.get("values", [one.get("value")])]
    return [number for number in (float(value) for _, value in pairs) if not math.isnan(number)]


def expectation(query: Query) -> Expectation | None:
    for (dashboard, panel, legend), expected in EXPECTED.items():
        if (query.dashboard, query.panel) == (dashboard, panel) and legend in query.legend:
            if legend or (dashboard, panel, query.legend) not in EXPECTED:
                return expected
    return None


def run_queries(prometheus: Prometheus, table: list[str]) -> list[str]:
    problems = []
    seconds = math.ceil(time.time() - prometheus.began)
    given = {
        "job": "aux-service|main-api", "namespace": ".*", "pod": ".*", "reads_limit": "40", "lists_limit": "3",
        "__rate_interval": WINDOW, "__range": f"{seconds}s",
    }
    for query in queries():
        where = f"{query.dashboard}: {query.panel}: {query.legend}"
        try:
            expression = filled(query.expression, given)
            series = prometheus.instant(expression) if query.instant else prometheus.over_time(expression)
        except ValueError as error:
            problems.append(f"{where}: Prometheus rejects the expression: {error}")
            continue
        numbers = values(series)
        table.append(f"{len(series):4} series, up to {max(numbers, default=math.nan):<12.6g} {where}")
        expected = expectation(query)
        if not series:
            problems.append(f"{where}: empty: {expression}")
        elif not numbers:
            problems.append(f"{where}: every value is NaN: {expression}")
        elif math.isinf(max(numbers)):
            problems.append(f"{where}: infinite: {expression}")
        elif expected and not expected(max(numbers)):
            problems.append(f"{where}: the highest value {max(numbers)} is not as expected: {expression}")
        if "{{endpoint}}" in query.legend and "/param/{name}" not in {one["metric"].get("endpoint") for one in series}:
            problems.append(f"{where}: the endpoints are not routes; does the ServiceMonitor honor labels?")
        if "{{" in query.legend:
            names = set(re.findall(r"{{(\w+)}}", query.legend))
            if any(names - one["metric"].keys() for one in series):
                problems.append(f"{where}: a series lacks a label of its legend")
    return problems


def run_rules(prometheus: Prometheus, table: list[str]) -> list[str]:
    """An alert is silent most of the time, so this checks that each of its selectors finds series."""
    problems = []
    for rule in rules():
        name = rule.get("alert") or rule["record"]
        try:
            count = len(prometheus.instant(rule["expr"]))
        except ValueError as error:
            problems.append(f"{name}: Prometheus rejects the expression: {error}")
            continue
        if "record" in rule and not count:
            problems.append(f"{name}: empty")
        for selector in re.findall(r"[a-z_:0-9]+\{[^}]*\}", rule["expr"]):
            selected = prometheus.instant(f"count(last_over_time({selector}[10m]))")
            found = int(float(selected[0]["value"][1])) if selected else 0
            table.append(f"{found:4} series {name}: {selector}")
            if not found:
                problems.append(f"{name}: the selector finds no series: {selector}")
    evaluated = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
    problems += [f"{rule['name']}: {rule['lastError']}" for rule in evaluated if rule["health"] != "ok"]
    if len(evaluated) != len(rules()):
        problems.append(f"Prometheus evaluates {len(evaluated)} rules of {len(rules())}")
    return problems


def main() -> int:
    with ExitStack() as stack:
        output = stack.enter_context(tempfile.TemporaryFile())
        kube_state = stack.enter_context(http.server.ThreadingHTTPServer(("127.0.0.1", 0), KubeState))
        threading.Thread(target=kube_state.serve_forever, daemon=True).start()
        engine = Engine(stack, output)
        services = Services(stack, engine)
        prometheus = Prometheus(stack, services.addresses, f"127.0.0.1:{kube_state.server_port}", output)
        for kind, seconds in FAULTS:
            engine.stop(kind == ENGINE_STOPPED)
            services.cause("calm" if kind == ENGINE_STOPPED else kind)
            time.sleep(seconds)
        table: list[str] = []
        problems = run_queries(prometheus, table) + run_rules(prometheus, table)
        print(*table, sep="\n")
        if "--keep" in sys.argv:
            print(f"Prometheus listens at {prometheus.url}; press Enter to end it")
            input()
    print(*problems, f"{len(table)} expressions ran, {len(problems)} problems", sep="\n")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
