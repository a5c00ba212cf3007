"""Checks that each alert can fire with the default values of the charts.

Each scenario is an event with the series that Prometheus scrapes meanwhile. Their numbers come from the rendered charts. promtool
evaluates the rules on these series: the alert has to be silent before the event, and has to fire during it.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dashboards import ROOT, RULES, rules

AUX, MAIN = "aux-service", "main-api"
SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
BYTES = {"": 1, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}

# Each event begins after ten minutes of normal operation and lasts for an hour and a half.
CALM, EVENT = 10 * 60, 90 * 60

# gateway/src/upstream/breaker.rs: the longest pause of an open circuit, in multiples of BREAKER_OPEN_FOR.
LONGEST_PAUSE = 2 * 1.2


def seconds(text: str) -> float:
    return sum(float(number) * SECONDS[unit] for number, unit in re.findall(r"([\d.]+)(ms|[smhd])", text))


def size(text: str) -> float:
    [(number, unit)] = re.findall(r"^([\d.]+)([KMG]i)?B?$", text)
    return float(number) * BYTES[unit]


class Chart:
    """The numbers of a chart with its default values, and with the ServiceMonitor that Prometheus needs."""

    def __init__(self, name: str) -> None:
        command = ["helm", "template", name, ROOT / "helm" / name, "--namespace", name, "--set", "serviceMonitor.enabled=true"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"helm template {name}: {done.stderr}")
        manifests = {item["kind"]: item for item in yaml.safe_load_all(done.stdout) if item}
        deployment = manifests["Deployment"]
        [container] = deployment["spec"]["template"]["spec"]["containers"]
        self.replicas: int = deployment["spec"]["replicas"]
        self.memory = size(container["resources"]["limits"]["memory"])
        self.interval = seconds(manifests["ServiceMonitor"]["spec"]["endpoints"][0]["interval"])
        self.settings = {variable["name"]: variable.get("value", "") for variable in container["env"]}
        job = deployment["metadata"]["labels"][manifests["ServiceMonitor"]["spec"]["jobLabel"]]
        self.pods = [
            {"job": job, "namespace": name, "pod": f"{name}-{number}", "container": container["name"]} for number in range(1, self.replicas + 1)
        ]

    def number(self, variable: str) -> float:
        return float(self.settings[variable])

    def time(self, variable: str) -> float:
        return seconds(self.settings[variable])


@dataclass(frozen=True)
class Scenario:
    alert: str
    series: list[dict[str, str]]
    # The value of the alert's label, if one alert has several scenarios.
    label: str = ""


def scenarios() -> tuple[float, list[Scenario]]:
    """The interval of the samples, and an event for each alert."""
    aux, main = Chart(AUX), Chart(MAIN)
    interval = max(aux.interval, main.interval)

    def samples(time: float) -> int:
        return round(time / interval)

    def series(metric: str, labels: dict[str, str], values: str) -> dict[str, str]:
        return {"series": f"{metric}{{{', '.join(f'{name}={value!r}' for name, value in labels.items())}}}", "values": values}

    def gauge(metric: str, labels: dict[str, str], before: float, during: float | str) -> dict[str, str]:
        return series(metric, labels, f"{before}x{samples(CALM)} {during}x{samples(EVENT)}")

    def counter(metric: str, labels: dict[str, str], before: float, during: float, delay: float = 0, lasts: float = EVENT) -> dict[str, str]:
        """A counter with this many events a second. The event begins after `delay` and ends when it has lasted that long."""
        calm, event = samples(CALM + delay), samples(lasts)
        rest = max(0, samples(EVENT) - samples(delay) - event)
        reached = calm * before * interval
        end = reached + event * during * interval
        return series(metric, labels, f"0+{before * interval}x{calm} {reached}+{during * interval}x{event} {end}+{before * interval}x{rest}")

    def requests(failed: float) -> list[dict[str, str]]:
        """One request a second, of which this share fails."""
        pod = main.pods[0]
        return [
            counter("axum_http_requests_total", pod | {"status": "200"}, 1, 1 - failed),
            counter("axum_http_requests_total", pod | {"status": "503"}, 0, failed),
        ]

    def up(chart: Chart, during: str | float) -> list[dict[str, str]]:
        return [gauge("up", pod, 1, during) for pod in chart.pods]

    def slow(chart: Chart) -> list[dict[str, str]]:
        """One request in twenty takes as long as the timeout permits."""
        source = (ROOT / "shared/service/src/observe/histogram.rs").read_text()
        bounds = re.search(r"const BUCKETS: \[f64; \d+\] = \[(.*?)\]", source, re.DOTALL)
        assert bounds
        limit = chart.time("REQUEST_TIMEOUT")
        return [
            counter("axum_http_requests_duration_seconds_bucket", chart.pods[0] | {"endpoint": "/param/{name}", "le": bound}, 20, 20 if float(bound) >= limit else 19)
            for bound in [*re.findall(r"[\d.]+", bounds[1].replace("_", "")), "+Inf"]
        ]

    def calls(operation: str, pods: int = aux.replicas, **outcomes: float) -> list[dict[str, str]]:
        """Calls to AWS a second of each pod."""
        return [
            counter("aws_requests_total", pod | {"operation": operation, "outcome": outcome}, 0, rate)
            for pod in aux.pods[:pods]
            for outcome, rate in outcomes.items()
        ]

    def lookups(chart: Chart, outcome: str, rate: float, **when: float) -> list[dict[str, str]]:
        return [counter("cache_requests_total", pod | {"outcome": outcome}, 0, rate, **when) for pod in chart.pods]

    def circuit() -> list[dict[str, str]]:
        """Each probe of one route takes an attempt's whole time and fails. The circuit of another route stays closed."""
        labels, other = (main.pods[0] | {"route": route} for route in ("/param/{name}", "/buckets"))
        period = main.time("BREAKER_OPEN_FOR") * LONGEST_PAUSE + main.time("ATTEMPT_TIMEOUT")
        openings = [1 + int(sample * interval / period) for sample in range(samples(EVENT))]
        return [
            gauge("circuit_breaker_state", labels | {"state": "closed"}, 1, 0),
            gauge("circuit_breaker_state", other | {"state": "closed"}, 1, 1),
            series(
                "circuit_breaker_transitions_total", labels | {"from": "half_open", "to": "open"}, f"0x{samples(CALM)} {' '.join(map(str, openings))}"
            ),
        ]

    def memory(chart: Chart) -> list[dict[str, str]]:
        """A full cache uses its memory before the event. During the event the process uses almost its limit."""
        pod = chart.pods[0]
        return [
            gauge("process_resident_memory_bytes", pod, size(chart.settings["CACHE_MAX_BYTES"]), 0.95 * chart.memory),
            gauge("kube_pod_container_resource_limits", pod | {"job": "kube-state-metrics", "resource": "memory"}, chart.memory, chart.memory),
        ]

    def shed(chart: Chart) -> list[dict[str, str]]:
        """Clients send twice as many requests as slow responses permit."""
        served = chart.number("MAX_IN_FLIGHT") / chart.time("REQUEST_TIMEOUT")
        return [counter("requests_shed_total", pod, 0, served) for pod in chart.pods]

    reads, lists = aux.number("AWS_RATE_GET"), aux.number("AWS_RATE_LIST")
    ttl, refreshed, usable = (aux.time(f"CACHE_{name}") for name in ("TTL", "STALE_WHILE_REVALIDATE", "STALE_IF_ERROR"))
    return interval, [
        # aux-service fails, and main-api's cache serves nine requests in ten.
        Scenario("ErrorBudgetBurnsFast", requests(failed=0.1)),
        # One request in five hundred fails, for example at a daily peak.
        Scenario("ErrorBudgetBurnsSlowly", requests(failed=0.002)),
        Scenario("ServiceDown", up(aux, "_") + up(main, 1), AUX),
        Scenario("ServiceDown", up(aux, 1) + up(main, 0), MAIN),
        Scenario("PodDown", up(aux, 1) + up(main, 1)[1:] + [gauge("up", main.pods[0], 1, 0)]),
        Scenario("SlowRequests", slow(aux), AUX),
        Scenario("SlowRequests", slow(main), MAIN),
        Scenario("RequestsRefused", shed(aux), AUX),
        Scenario("RequestsRefused", shed(main), MAIN),
        Scenario("MemoryNearLimit", memory(aux), AUX),
        Scenario("MemoryNearLimit", memory(main), MAIN),
        # Clients request ever new names, as fast as the quota limiter permits.
        Scenario("HitRatioCollapsed", lookups(aux, "hit", 0) + lookups(aux, "miss", reads)),
        # AWS fails. Each entry is served as long as CACHE_STALE_IF_ERROR permits.
        Scenario("StaleAnswers", lookups(aux, "stale_error", 1, delay=ttl + refreshed, lasts=usable - refreshed)),
        # The engine stops, and does not return.
        Scenario("SharedCacheDegraded", [gauge("shared_cache_degraded_since_timestamp_seconds", pod, 0, CALM) for pod in aux.pods]),
        # The queue of changes is deleted.
        Scenario("ChangeQueueDegraded", [gauge("change_queue_degraded_since_timestamp_seconds", pod, 0, CALM) for pod in aux.pods]),
        # Other callers in the account use up the quota.
        Scenario("AwsThrottles", calls("DescribeParameters", throttled=lists)),
        # Each pod makes as many calls as its share of the quota permits.
        Scenario("AwsQuotaNearlyUsed", calls("GetParameter", ok=reads, shielded=0), "reads"),
        Scenario("AwsQuotaNearlyUsed", calls("DescribeParameters", ok=lists, shielded=0), "lists"),
        # One pod needs four times its share, and the other pods need nothing.
        Scenario("AwsCallsRefused", calls("GetParameter", pods=1, ok=reads, shielded=3 * reads)),
        Scenario("AwsCredentialsFail", calls("GetParameter", credentials=reads)),
        # AWS does not respond, and clients send ten times as many requests as the quota limiter permits.
        Scenario("AwsFails", calls("GetParameter", timeout=reads, shielded=9 * reads)),
        Scenario("CircuitOpen", circuit()),
    ]


def reachable() -> Iterator[str]:
    """Each alert can fire with the default values of the charts."""
    interval, given = scenarios()
    alerts = {rule["alert"] for rule in rules() if "alert" in rule}
    for name in alerts ^ {scenario.alert for scenario in given}:
        yield f"{name}: checks/grafana/reachable.py and grafana/rules.yaml do not both have it"
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "rules.yml").write_text(yaml.safe_dump(RULES["spec"], sort_keys=False))
        tests = {"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": [promtool_test(interval, scenario) for scenario in given]}
        (Path(folder) / "tests.yml").write_text(yaml.safe_dump(tests, sort_keys=False, width=10**6))
        done = subprocess.run(["promtool", "test", "rules", "tests.yml"], cwd=folder, capture_output=True, text=True)
    problems = set()
    output = done.stdout + done.stderr
    for expression, time in re.findall(r'expr: "(.*)", time: (\w+)', output):
        [name] = re.findall(r'alertname=\\"(\w+)\\"', expression)
        label = "".join(re.findall(r'(?:job|quota)=\\"([\w-]+)\\"', expression))
        problem = "fires before its event" if time == TIMES[0] else "cannot fire with the default values of the charts"
        problems.add(f"{name}{label and f' ({label})'}: {problem}")
    if done.returncode and not problems:
        problems.add(f"promtool test rules: {output}")
    yield from sorted(problems)
    yield from retained()


# The moments of the two tests of a scenario: before the event, and at its end.
TIMES = [f"{CALM // 60}m", f"{(CALM + EVENT) // 60}m"]


def promtool_test(interval: float, scenario: Scenario) -> dict[str, Any]:
    label = "quota" if scenario.alert.startswith("Aws") else "job"
    of_it = f', {label}="{scenario.label}"' if scenario.label else ""
    alert = f'ALERTS{{alertname="{scenario.alert}", alertstate="firing"{of_it}}}'
    tests = [
        {
            "expr": f"max_over_time((count({alert}) or vector(0))[{duration}s:1m]) > bool 0",
            "eval_time": time,
            "exp_samples": [{"labels": "{}", "value": value}],
        }
        for time, duration, value in zip(TIMES, (CALM, EVENT), (0, 1))
    ]
    return {"name": scenario.alert, "interval": f"{interval:g}s", "input_series": scenario.series, "promql_expr_test": tests}


def retained() -> Iterator[str]:
    """No rule reads further back than Prometheus stores samples."""
    specification = yaml.safe_load((ROOT / "helm/monitoring/values.yaml").read_text())["prometheus"]["prometheusSpec"]
    for rule in rules():
        for window in sorted(set(re.findall(r"\[(\w+)\]", rule["expr"]))):
            if seconds(window) > seconds(specification["retention"]):
                yield f"{rule.get('alert') or rule['record']}: [{window}] is longer than Prometheus's retention of {specification['retention']}"
