"""Stands in for a program while docs/install.md is run: does what can be done without a cluster, and notes the rest in $LOG."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import yaml


def note(**entry: Any) -> None:
    with open(os.environ["LOG"], "a") as log:
        log.write(json.dumps(entry) + "\n")


def fail(message: str) -> NoReturn:
    """Noted too, because bash goes on after a failure inside of "$(…)"."""
    problem = f"{' '.join(sys.argv[1:])}: {message}"
    note(failed=problem)
    sys.exit(problem)


def real(name: str, *arguments: str) -> str:
    # The page hands files over as descriptors: --from-env-file=<(…).
    program = os.environ[f"{name.upper()}_REAL"]
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False, close_fds=False)
    if done.returncode:
        fail(done.stderr.strip())
    return done.stdout


def option(arguments: list[str], *names: str) -> str | None:
    for index, argument in enumerate(arguments):
        if argument in names:
            return arguments[index + 1]
        for name in names:
            if argument.startswith(f"{name}="):
                return argument.partition("=")[2]
    return None


def kubectl(arguments: list[str]) -> None:
    namespace = option(arguments, "-n", "--namespace") or "default"
    verbs = [a for a in arguments if a in VERBS]
    if not verbs:
        fail("no verb that this stand-in knows")
    match verbs[0]:
        case "create":
            note(made=json.loads(real("kubectl", *arguments, "--dry-run=client", "--output=json", "--validate=false")))
        case "label":
            position = arguments.index("label")
            labels = dict(a.split("=", 1) for a in arguments[position + 3 :])
            note(labelled=[namespace, arguments[position + 2], labels])
        case "apply" | "delete" if folder := option(arguments, "-k"):
            note(applied=list(yaml.safe_load_all(real("kubectl", "kustomize", folder))))
        case "apply" if option(arguments, "-f") == "-":
            note(applied=[document for document in yaml.safe_load_all(sys.stdin) if document])
        case "patch":
            patch_file, patch = option(arguments, "--patch-file"), option(arguments, "-p")
            parsed = yaml.safe_load(Path(patch_file).read_text() if patch_file else patch or "")
            if not isinstance(parsed, dict):
                fail("the patch is no object")
            ports = parsed.get("spec", {}).get("ports", []) if "service" in arguments else []
            note(node_ports=[(arguments[arguments.index("service") + 1], port["nodePort"]) for port in ports])
        case "get" if jsonpath := option(arguments, "-o"):
            if ".data." in jsonpath:
                print(base64.b64encode(b"a-password").decode(), end="")
            elif "addresses" in jsonpath:
                print("192.0.2.10", end="")
            elif "crd" in arguments:
                print("customresourcedefinition.apiextensions.k8s.io/prometheuses.monitoring.coreos.com")


VERBS = ("annotate", "apply", "create", "delete", "get", "label", "logs", "patch", "rollout", "wait")


def helm(arguments: list[str]) -> None:
    if arguments[0] == "template":
        print(real("helm", *arguments))
    elif arguments[0] == "upgrade":
        if arguments[1] != "--install":
            fail("upgrade without --install fails the first time")
        release, chart, rest = arguments[2], arguments[3], arguments[4:]
        if option(rest, "--repo"):
            note(versions={chart: option(rest, "--version")})
            for name in filter(None, [option(rest, "--values")]):
                yaml.safe_load(Path(name).read_text())
        else:
            real("helm", "template", release, chart, *rest)
    elif arguments[0] not in ("test", "uninstall"):
        fail("nothing that this stand-in knows")


def terraform(arguments: list[str]) -> None:
    folder = next(a.partition("=")[2] for a in arguments if a.startswith("-chdir="))
    name = arguments[-1]
    if "output" not in arguments or not re.search(rf'^output "{name}"', Path(folder, "outputs.tf").read_text(), re.MULTILINE):
        fail("Terraform has no such output")
    print("123456789012.dkr.ecr.eu-west-2.amazonaws.com/kantox-challenge" if "repository_url" in name else "a-user", end="")


def aws(arguments: list[str]) -> None:
    if arguments[:2] == ["iam", "create-access-key"]:
        print("AKIAEXAMPLE\tsecret")


def git(arguments: list[str]) -> None:
    if arguments[:2] == ["remote", "get-url"]:
        print("https://git.example.com/team/cached-gateway.git")
    elif arguments[0] == "add" and not all(Path(name).exists() for name in arguments[1:]):
        fail("no such file")


def main() -> None:
    name, arguments = sys.argv[1], sys.argv[2:]
    handlers = {"kubectl": kubectl, "helm": helm, "terraform": terraform, "aws": aws, "git": git}
    if handler := handlers.get(name):
        try:
            handler(arguments)
        except OSError as error:
            fail(f"{error.filename}: {error.strerror}")


main()
