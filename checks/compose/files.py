"""Checks compose.yaml and its files without starting a program. With --update it writes compose/rules.yaml instead."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import yaml
from model import COMPOSE, ROOT, SERVICES, TEXT, aliases, mounts, program, published
from outcome import all_told

RULES = ROOT / "compose/rules.yaml"
# Ports that no chart has: the second replica's, as in `make run SHARED=1`, and the emulator's.
OTHER_PORTS = {"aux-service-2": 30011, "moto": 5555}


def read(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text())


def rules() -> str:
    """The rules as a file of Prometheus.

    grafana/rules.yaml is the source. It is an object of Kubernetes for the Prometheus operator, and Prometheus itself rejects the
    fields of such an object. The groups below `spec` are its own format.
    """
    _, found, groups = (ROOT / "grafana/rules.yaml").read_text().partition("\nspec:\n")
    if not found:
        raise SystemExit("error: grafana/rules.yaml has no `spec:`")
    return "# Generated from grafana/rules.yaml: checks/run.sh compose --update\n" + re.sub(r"^  ", "", groups, flags=re.M)


def resolved() -> Iterator[str]:
    """Each dependency, network and volume exists, and each condition can be met."""
    for name, service in SERVICES.items():
        dependencies = service.get("depends_on", {})
        if isinstance(dependencies, list):
            dependencies = {other: {"condition": "service_started"} for other in dependencies}
        for other, dependency in dependencies.items():
            wanted = dependency["condition"]
            if other not in SERVICES:
                yield f"{name}: depends_on {other}, which does not exist"
            elif wanted == "service_healthy" and "healthcheck" not in SERVICES[other]:
                yield f"{name}: waits until {other} is healthy, and {other} has no health check"
            elif wanted == "service_completed_successfully" and SERVICES[other].get("restart") != "no":
                yield f"{name}: waits for the end of {other}, which restarts"
        for network in (service.get("networks") or {}).keys() - COMPOSE.get("networks", {}).keys() - {"default"}:
            yield f"{name}: the network {network} does not exist"
    used = {source for service in SERVICES.values() for source, _, _ in mounts(service) if not source.startswith(".")}
    for volume in used ^ COMPOSE.get("volumes", {}).keys():
        yield f"the volume {volume} is not both declared and used"


def mounted() -> Iterator[str]:
    """Each mounted file is in the repository, and no container may change it."""
    listed = subprocess.run(["git", "ls-files", "compose", "grafana"], cwd=ROOT, capture_output=True, text=True, check=True)
    files = listed.stdout.split()
    for name, service in SERVICES.items():
        for source, _, mode in mounts(service):
            path = source.removeprefix("./")
            if source.startswith("./") and mode != "ro":
                yield f"{name}: {source} is not mounted read-only"
            if source.startswith("./") and not any(file == path or file.startswith(f"{path}/") for file in files):
                yield f"{name}: git has no file {source}"


def pinned() -> Iterator[str]:
    """Each image of another project has a version, and each built one is a target of the Dockerfile that runs without root."""
    dockerfile = (ROOT / "Dockerfile").read_text()
    targets = re.findall(r"^FROM .* AS (\S+)$", dockerfile, re.M)
    for name, service in SERVICES.items():
        if built := program(service):
            if built not in targets:
                yield f"{name}: the Dockerfile has no target {built}"
        elif not re.fullmatch(r"[a-z.]+/[a-z-]+/[a-z-]+:v?\d+\.\d+\.\d+(@sha256:[0-9a-f]{64})?", service["image"]):
            yield f"{name}: {service['image']} has no registry or no version of three numbers"
    if "\nUSER 65532:65532\n" not in dockerfile:
        yield "the Dockerfile's images run as another user than 65532"


def restricted() -> Iterator[str]:
    """No container has root, a capability or a writable file system."""
    for name, service in SERVICES.items():
        if service.get("read_only") is not True or service.get("cap_drop") != ["ALL"]:
            yield f"{name}: the file system is writable, or a capability is left"
        if service.get("security_opt") != ["no-new-privileges:true"]:
            yield f"{name}: new privileges are possible"
        if not program(service) and not re.fullmatch(r"[1-9]\d*:\d+", service.get("user", "")):
            yield f"{name}: the user is not a number other than 0"
        if extra := service.keys() & {"privileged", "cap_add", "network_mode", "pid", "ipc", "devices"}:
            yield f"{name}: {', '.join(sorted(extra))} is set"


def ports() -> Iterator[str]:
    """Each published port is the charts' NodePort, is named in the file's first comment, and is open to this machine alone."""
    own = {service: read(f"helm/{service}/values.yaml") for service in ("aux-service", "main-api")}
    monitoring = read("helm/monitoring/values.yaml")
    expected = OTHER_PORTS | {
        "aux-service-1": own["aux-service"]["service"]["nodePort"],
        "main-api": own["main-api"]["service"]["nodePort"],
        "grafana": monitoring["grafana"]["service"]["nodePort"],
        "prometheus": monitoring["prometheus"]["service"]["nodePort"],
    }
    found = {name: published(service) for name, service in SERVICES.items() if service.get("ports")}
    introduction = TEXT.partition("\nname:")[0]
    for name in expected.keys() | found.keys():
        host = [port for _, port, _ in found.get(name, [])]
        if host != [expected.get(name)]:
            yield f"{name}: the ports of the host are {host}, expected {expected.get(name)}"
        for address, port, inside in found.get(name, []):
            if address != "127.0.0.1":
                yield f"{name}: other machines reach the port {port}"
            if not re.search(rf"\b{port}\b", introduction):
                yield f"{name}: the first comment of compose.yaml does not name the port {port}"
            if (built := program(SERVICES[name])) and inside != own[built]["server"]["port"]:
                yield f"{name}: {built} does not listen on {inside}"


def engine() -> Iterator[str]:
    """The engine has the options of helm/valkey/values.yaml."""
    command = SERVICES["valkey"]["command"][1:]
    options = {option.removeprefix("--"): value for option, value in zip(command[::2], command[1::2], strict=True)}
    lines = read("helm/valkey/values.yaml")["valkeyConfig"].splitlines()
    chart = {key: value.strip('"') for key, _, value in (line.partition(" ") for line in lines)}
    if options != chart:
        yield f"the options are {options}, the chart's are {chart}"


def prometheus() -> Iterator[str]:
    """Prometheus accepts its configuration and the rules, and scrapes each container of both services."""
    if not RULES.exists() or RULES.read_text() != rules():
        yield "compose/rules.yaml differs from grafana/rules.yaml; run checks/run.sh compose --update"
        return
    # promtool finds the rules as Prometheus does: beside the configuration.
    inside = {source: target for source, target, _ in mounts(SERVICES["prometheus"])}
    for name in ("prometheus.yaml", "rules.yaml"):
        if inside.get(f"./compose/{name}") != f"/etc/prometheus/{name}":
            yield f"compose/{name} is not mounted at /etc/prometheus/{name}"
    done = subprocess.run(["promtool", "check", "config", ROOT / "compose/prometheus.yaml"], capture_output=True, text=True, check=False)
    if done.returncode or yaml.safe_load(RULES.read_text()) != read("grafana/rules.yaml")["spec"]:
        yield f"promtool check config: {done.stdout}{done.stderr}"
    scraped: dict[str, list[str]] = {}
    for job in read("compose/prometheus.yaml")["scrape_configs"]:
        scraped[job["job_name"]] = [target for group in job["static_configs"] for target in group["targets"]]
    for built in ("aux-service", "main-api"):
        containers = {f"{n}:{published(s)[0][2]}" for n, s in SERVICES.items() if program(s) == built}
        if set(scraped.get(built, [])) != containers:
            yield f"the job {built} scrapes {scraped.get(built)}, expected {sorted(containers)}"


def grafana() -> Iterator[str]:
    """Grafana's files name the Prometheus of this file and the mounted dashboards."""
    inside = {source: target for source, target, _ in mounts(SERVICES["grafana"])}
    provisioning = "/etc/grafana/provisioning"
    for name, kind in (("datasource", "datasources"), ("dashboards", "dashboards")):
        if not inside.get(f"./compose/grafana-{name}.yaml", "").startswith(f"{provisioning}/{kind}/"):
            yield f"compose/grafana-{name}.yaml is not mounted in {provisioning}/{kind}"
    [source] = read("compose/grafana-datasource.yaml")["datasources"]
    address = urlsplit(source["url"])
    reachable = {f"{name}:{port}" for service in SERVICES for name in aliases(service) for _, _, port in published(SERVICES[service])}
    if source["type"] != "prometheus" or source["isDefault"] is not True or address.netloc not in reachable:
        yield f"the data source is not the default, or is not a Prometheus of this file: {source}"
    if source["jsonData"]["timeInterval"] != read("compose/prometheus.yaml")["global"]["scrape_interval"]:
        yield "timeInterval is not the interval of the scrapes"
    [provider] = read("compose/grafana-dashboards.yaml")["providers"]
    folder = inside.get("./grafana/dashboards")
    if provider["type"] != "file" or provider["options"]["path"] != folder:
        yield f"the provider reads {provider['options']['path']}, and the dashboards are in {folder}"
    if provider["folder"] != read("grafana/kustomization.yaml")["generatorOptions"]["annotations"]["grafana_folder"]:
        yield "the folder has another name than in Kubernetes"
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    if not (ROOT / "grafana/dashboards" / home.removeprefix(f"{folder}/")).is_file():
        yield f"the home dashboard {home} does not exist"


def main() -> int:
    if sys.argv[1:] == ["--update"]:
        RULES.write_text(rules())
        return 0
    return all_told((resolved, mounted, pinned, restricted, ports, engine, prometheus, grafana))


if __name__ == "__main__":
    sys.exit(main())
