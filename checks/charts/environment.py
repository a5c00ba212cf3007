"""The real programs with the variables that the charts render.

The programs ignore unknown variables, so a misspelt name would have no effect: the names are compared with `--help`.
Each program then starts with exactly the rendered variables and with files in the place of the mounted volumes, and the
script of `helm test` runs against it, with moto as AWS and redis-server as the engine of the shared cache.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import sandbox
import yaml
from outcome import told
from programs import LIBRARIES, SDK, binary, documented
from rendering import SERVICES, Manifest, Scenario, manifests, render, scenarios

# Variables whose default in the chart differs from the program's, with the reason.
OTHER_DEFAULTS = {
    "SHUTDOWN_DELAY": "load balancers need time to notice",
    "AWS_RATE_GET": "one pod's part of the account's quota",
    "AWS_RATE_LIST": "one pod's part of the account's quota",
    "AUX_URL": "the Service is in another namespace",
}
# The host names of the scenarios; in the sandbox each resolves to this machine.
NAMES = ["aws.internal.example", "aux-service.aux-service", "parameters.shared.svc.cluster.local", "aws.test",
         "aux-service", "main-api", "parameters", "door", "gate",
         "aux-service-admin", "main-api-admin", "parameters-admin", "door-admin",
         "valkey.valkey", "engine.internal.example"]  # fmt: skip
# The content of every mounted Secret: a bearer token, a password, and a key of at least 32 bytes.
TOKEN = "a-token-of-the-scenario-with-32-bytes"


def container(scenario: Scenario) -> tuple[Manifest, Manifest]:
    """The pod of the scenario's Deployment and its first container."""
    pod = next(m for m in manifests(render(scenario)) if m["kind"] == "Deployment")["spec"]["template"]["spec"]
    return pod, pod["containers"][0]


def name_problems(service: str, of_service: list[Scenario]) -> list[str]:
    known = documented(service)
    if not known:
        return [f"{service} --help lists no variable"]
    rendered: set[str] = set()
    for scenario in of_service:
        extra = {variable["name"] for variable in scenario_values(scenario).get("extraEnv", [])}
        rendered |= {variable["name"] for variable in container(scenario)[1]["env"]} - extra
    problems = [f"{service} does not know {name}" for name in sorted(rendered - known.keys() - SDK - LIBRARIES)]
    problems += [f"{service}: no scenario sets {name}" for name in sorted(known.keys() - rendered)]
    defaults = {v["name"]: v.get("value") for v in container(of_service[0])[1]["env"]}
    for name, default in known.items():
        if name in defaults and default and defaults[name] != default and name not in OTHER_DEFAULTS:
            problems.append(f"{service}: the chart's default of {name} is {defaults[name]}, the program's is {default}")
    return problems


def scenario_values(scenario: Scenario) -> Manifest:
    return yaml.safe_load(scenario.values.read_text()) if scenario.values else {}


def files(scenario: Scenario, pod: Manifest, folder: Path, authority: Path) -> dict[str, Path]:
    """The mount paths and, for each, a folder with the volume's content."""
    volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
    config_maps = {m["metadata"]["name"]: m["data"] for m in manifests(render(scenario)) if m["kind"] == "ConfigMap"}
    mounted = {}
    for mount in pod["containers"][0].get("volumeMounts", []):
        volume = volumes[mount["name"]]
        target = folder / mount["name"]
        target.mkdir()
        if "secret" in volume:
            for item in volume["secret"]["items"]:
                (target / item["path"]).write_text(f"# comment\n{TOKEN}\n" if "auth" in mount["mountPath"] else TOKEN)
        elif "projected" in volume:
            (target / volume["projected"]["sources"][0]["serviceAccountToken"]["path"]).write_text(TOKEN)
        else:
            for key, text in config_maps.get(volume["configMap"]["name"], {"ca.crt": authority.read_text()}).items():
                (target / key).write_text(text)
        mounted[mount["mountPath"]] = target
    return mounted


def variables(spec: Manifest, mounted: dict[str, Path]) -> dict[str, str]:
    """The container's environment as the kubelet builds it."""
    env = {}
    for variable in spec["env"]:
        source = variable.get("valueFrom", {})
        if source.get("secretKeyRef", {}).get("optional"):
            continue  # The scenario's Secret has no session token.
        value = variable.get("value") or ("node-1" if "fieldRef" in source else "test")
        for path, folder in mounted.items():
            if value.startswith(path + "/"):
                value = f"{folder}{value.removeprefix(path)}"
        env[variable["name"]] = value
    return env


def start(scenario: Scenario, folder: Path, authority: Path) -> list[str]:
    """Starts the program with the scenario's variables and runs the chart's own test against it."""
    folder.mkdir()
    pod, spec = container(scenario)
    mounted = files(scenario, pod, folder, authority)
    env = variables(spec, mounted)
    if env.get("BACKEND") == "aws":
        # A scenario's own endpoint exists in the sandbox; the other scenarios use moto in the place of AWS.
        env.setdefault("AWS_ENDPOINT_URL", "http://aws.test:5555")
        if "vpce" in env["AWS_ENDPOINT_URL"]:
            env["AWS_ENDPOINT_URL"] = "http://aws.test:5555"
    if "CHANGE_QUEUE_URL" in env:
        sandbox.new_queue(env["AWS_ENDPOINT_URL"], env["CHANGE_QUEUE_URL"])
    with ExitStack() as stack:
        if scenario.chart == "main-api":
            stack.enter_context(aux_service(env, folder))
        log = folder / "log"
        process = stack.enter_context(sandbox.running([binary(scenario.chart)], log, env))
        problems = [f"{scenario}: {p}" for p in _answers(scenario, pod, env, mounted, process)]
        if scenario.name == "default" and not problems:
            problems += [f"{scenario}: {p}" for p in _stops(scenario, pod, process)]
        if problems:
            problems.append(f"{scenario}: its log ends: {log.read_text()[-600:]}")
    return problems


def aux_service(env: dict[str, str], folder: Path) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """An aux-service at main-api's AUX_URL, which requires main-api's token."""
    tokens = folder / "aux-tokens"
    tokens.write_text(TOKEN + "\n")
    port = re.search(r":(\d+)/?$", env["AUX_URL"])
    aux_env = {"BACKEND": "embedded", "LISTEN_ADDR": f"0.0.0.0:{port[1] if port else 80}"}
    if "AUX_TOKEN_FILE" in env:
        aux_env["AUTH_TOKEN_FILE"] = str(tokens)
    return sandbox.running([binary("aux-service")], folder / "aux-log", aux_env)


def _answers(
    scenario: Scenario, pod: Manifest, env: dict[str, str], mounted: dict[str, Path], process: subprocess.Popen[bytes]
) -> list[str]:
    ports = {p["name"]: p["containerPort"] for p in pod["containers"][0]["ports"]}
    listening = {"http": env["LISTEN_ADDR"], "admin": env.get("ADMIN_ADDR")}
    wrong = [f"the container's port {n} is {p}, the program listens on {listening[n]}" for n, p in ports.items()
             if not (listening[n] or "").endswith(f":{p}")]  # fmt: skip
    if wrong:
        return wrong
    try:
        for port in ports.values():
            sandbox.wait_for_port(port, process)
    except RuntimeError as error:
        return [str(error)]
    test = next(m for m in manifests(render(scenario)) if m["kind"] == "Pod")["spec"]["containers"][0]
    test_env = {"PATH": os.environ["PATH"], **variables(test, mounted)}
    ran = subprocess.run([*test["command"], *test["args"]], env=test_env, capture_output=True, text=True, check=False)
    credentials = scenario_values(scenario).get("aws", {}).get("credentials", {}).get("from")
    if credentials in ("rolesAnywhere", "ambient"):
        # The sandbox has no source of credentials, so the response has to be the problem aws-credentials.
        explained = ran.returncode and '"aws-credentials"' in ran.stdout
        return [] if explained else [f"without a source of credentials the response was: {ran.stdout[-300:]}"]
    if ran.returncode:
        return [f"helm test's script failed with status {ran.returncode}: {(ran.stdout + ran.stderr)[-600:]}"]
    port = ports.get("admin", ports["http"])
    found = _shares(env, port) if "SHARED_CACHE_URL" in env else []
    return found + (_receives(env, port) if "CHANGE_QUEUE_URL" in env else [])


def _shares(env: dict[str, str], port: int) -> list[str]:
    """The program has reached the engine with the scenario's password and certificate authority, and uses its prefix there."""
    state = _dependency(port, "shared_cache")
    if state != "ok":
        return [f"/readyz reports the shared cache as {state}"]
    keys = sandbox.engine_keys(env["SHARED_CACHE_URL"], TOKEN)
    wrong = [key for key in keys if not key.startswith(f"{env['SHARED_CACHE_PREFIX']}:")]
    return [f"the engine has the keys {keys}, and not all begin with {env['SHARED_CACHE_PREFIX']}"] if wrong or not keys else []


def _receives(env: dict[str, str], port: int) -> list[str]:
    """The program receives an event from the queue of the scenario's URL, and the event is a change to it."""
    sandbox.send_change(env["AWS_ENDPOINT_URL"], env["CHANGE_QUEUE_URL"])
    received = r'^change_messages_total\{[^}]*outcome="changed"[^}]*\} [1-9]'
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            if re.search(received, answer.read().decode(), re.M):
                state = _dependency(port, "change_queue")
                return [] if state == "ok" else [f"/readyz reports the queue of changes as {state}"]
        time.sleep(0.2)
    return ["the program has not received the event from the queue of changes within 30 s"]


def _dependency(port: int, name: str) -> str | None:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
        state: str | None = json.load(answer)["dependencies"].get(name)
        return state


def _stops(scenario: Scenario, pod: Manifest, process: subprocess.Popen[bytes]) -> list[str]:
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    try:
        status = process.wait(pod["terminationGracePeriodSeconds"])
    except subprocess.TimeoutExpired:
        return ["has not ended after terminationGracePeriodSeconds"]
    print(f"     {scenario.chart} ended {time.monotonic() - began:.1f} s after SIGTERM")
    return [f"exits with status {status} after SIGTERM"] if status else []


def main() -> int:
    problems, started = [], 0
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        here = Path(folder)
        sandbox.loopback_up()
        sandbox.host_table(here, NAMES)
        authority, certificate, key = sandbox.certificate(here, ["aws.internal.example", "engine.internal.example"])
        stack.enter_context(sandbox.aws(here, 5555))
        stack.enter_context(sandbox.aws(here, 8443, (certificate, key)))
        stack.enter_context(sandbox.engine(here, 6379, TOKEN))
        stack.enter_context(sandbox.engine(here, 6380, TOKEN, (certificate, key)))
        sandbox.seed("http://aws.test:5555")
        sandbox.seed("https://aws.internal.example:8443", authority)
        for service in SERVICES:
            of_service = [s for s in scenarios() if s.chart == service]
            problems += name_problems(service, of_service)
            for scenario in of_service:
                problems += start(scenario, here / f"{service}-{scenario.name}", authority)
                started += 1
    return told(f"{started} scenarios: the programs know the variables, start and pass the script of helm test", problems)


if __name__ == "__main__":
    sys.exit(main())
