"""The commands that start what the services are compared with."""

from __future__ import annotations

import os
from pathlib import Path

from services import AGENT_TTL, TTL, environment_of_aws
from stage import BINARIES, HERE, ROOT, Stage, fill, program

BOTO3_PYTHON = ROOT / ".tools/boto3/bin/python"
MOTO = ROOT / ".tools/moto/bin/moto_server"
NODE_MODULES = ROOT / ".tools/aws-sdk-js/node_modules"


def nginx_cache(stage: Stage, address: str, folder: Path) -> list[str]:
    return nginx("nginx-cache", stage, address, folder, OPEN_FILES="")


def nginx_cache_tuned(stage: Stage, address: str, folder: Path) -> list[str]:
    # The fastest setting: for a file of a kilobyte, sendfile costs one more system call.
    transfer = "sendfile on;" if stage.data == "names" else "sendfile off;"
    open_files = "open_file_cache max=20000 inactive=1h;"
    return nginx("nginx-cache", stage, address, folder, OPEN_FILES=open_files, TRANSFER=transfer)


def nginx_uncoalesced(stage: Stage, address: str, folder: Path) -> list[str]:
    return nginx("nginx-uncoalesced", stage, address, folder, TTL=f"{max(1, round(TTL / stage.speed))}s")


def nginx_pass(stage: Stage, address: str, folder: Path) -> list[str]:
    return nginx("nginx-pass", stage, address, folder)


def nginx_return(stage: Stage, address: str, folder: Path) -> list[str]:
    return nginx("nginx-return", stage, address, folder, BODY="x" * stage.constant_bytes)


def nginx(site: str, stage: Stage, address: str, folder: Path, **values: str) -> list[str]:
    # nginx of root would start its worker as a user without access to this folder.
    user = "user root;" if os.geteuid() == 0 else ""
    # These settings are Debian's, and common elsewhere.
    values = {"TRANSFER": "sendfile on; tcp_nopush on;", "LISTEN": address, "SOURCE": stage.source.address} | values
    written = fill(f"{site}.conf", folder, FOLDER=str(folder), **values)
    main = fill(
        "nginx.conf", folder, FOLDER=str(folder), USER=user, SITE=str(written), TRANSFER=values["TRANSFER"], CONNECTIONS=str(stage.connections)
    )
    return [program("nginx"), "-p", str(folder), "-e", "stderr", "-c", str(main)]


def varnish(stage: Stage, address: str, folder: Path) -> list[str]:
    host, port = stage.source.address.split(":")
    vcl = fill("varnish.vcl", folder, SOURCE_HOST=host, SOURCE_PORT=port)
    # Without a jail, varnishd needs no user of its own.
    return [program("varnishd"), "-F", "-j", "none", "-n", str(folder), "-a", address, "-s", "malloc,256m", "-f", str(vcl)]


def bare_hyper(stage: Stage, address: str, _: Path) -> list[str]:
    return [str(BINARIES / "bare"), "--listen-addr", address, "--body-bytes", str(stage.constant_bytes)]


def direct_boto3(stage: Stage, address: str, folder: Path) -> list[str]:
    return pod(stage, address)


def direct_boto3_legacy(stage: Stage, address: str, folder: Path) -> list[str]:
    return pod(stage, address, AWS_RETRY_MODE="legacy")


def agent(stage: Stage, address: str, folder: Path) -> list[str]:
    return [*pod(stage, address), f"{AGENT_TTL / stage.speed:g}"]


def pod(stage: Stage, address: str, **environment: str) -> list[str]:
    return [*environment_of_aws(stage, **environment), str(BOTO3_PYTHON), str(HERE / "pod.py"), address]


def direct_javascript(stage: Stage, address: str, folder: Path) -> list[str]:
    environment = environment_of_aws(stage, NODE_MODULES=str(NODE_MODULES))
    return [*environment, program("node"), str(HERE / "pod.mjs"), *address.split(":")]


def moto(stage: Stage, address: str, folder: Path) -> list[str]:
    host, port = address.split(":")
    return [str(MOTO), "--host", host, "--port", port]
