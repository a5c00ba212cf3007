"""The script of ecr-credentials with the real AWS CLI, moto, and a stand-in for Kubernetes' API.

The API has to receive a pull secret that containerd can use, a rejected apply has to fail the job, and neither the token
nor the Secret may be printed.
"""

from __future__ import annotations

import base64
import json
import os
import ssl
import subprocess
import sys
import tempfile
import threading
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import sandbox
from outcome import told
from rendering import Scenario, manifests, render, scenarios

KUBERNETES = "kubernetes.default.svc"
SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
TOKEN = "the-service-account-token"


class Api(BaseHTTPRequestHandler):
    """Accepts every apply, except in the namespace `forbidden`."""

    applied: list[tuple[str, dict[str, str], dict[str, Any]]] = []

    def do_PATCH(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        refused = "/forbidden/" in self.path
        answer = b'{"message":"secrets is forbidden"}' if refused else body
        if not refused:
            self.applied.append((self.path, dict(self.headers), json.loads(body)))
        self.send_response(403 if refused else 200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


def run_job(scenario: Scenario, account: Path, namespaces: str | None = None) -> subprocess.CompletedProcess[str]:
    job = next(m for m in manifests(render(scenario)) if m["kind"] == "Job")
    container = job["spec"]["template"]["spec"]["containers"][0]
    env = {v["name"]: v.get("value", "test") for v in container["env"] if v["name"] != "AWS_SESSION_TOKEN"}
    env |= {"PATH": os.environ["PATH"], "AWS_ENDPOINT_URL": "http://127.0.0.1:5555"}
    if namespaces:
        env["NAMESPACES"] = namespaces
    script = container["args"][0].replace(SERVICE_ACCOUNT, str(account))
    return subprocess.run([*container["command"], script], env=env, capture_output=True, text=True, check=False)


def problems(folder: Path) -> list[str]:
    scenario = next(s for s in scenarios() if str(s) == "ecr-credentials/default")
    done = run_job(scenario, folder)
    if done.returncode:
        return [f"the job failed: {done.stderr}"]
    found = []
    paths = [path for path, _, _ in Api.applied]
    wanted = [f"/api/v1/namespaces/{n}/secrets/ecr-pull?fieldManager=ecr-credentials&force=true" for n in ("aux-service", "main-api")]
    if paths != wanted:
        found.append(f"applied to {paths}")
    for _, headers, secret in Api.applied:
        if headers["Authorization"] != f"Bearer {TOKEN}" or headers["Content-Type"] != "application/apply-patch+yaml":
            found.append(f"wrong headers: {headers}")
        if secret["type"] != "kubernetes.io/dockerconfigjson":
            found.append(f"wrong type: {secret['type']}")
        config = json.loads(base64.b64decode(secret["data"][".dockerconfigjson"]))
        login = config["auths"]["123456789012.dkr.ecr.eu-west-2.amazonaws.com"]
        if base64.b64decode(login["auth"]).decode() != f"AWS:{login['password']}" or len(login["password"]) < 8:
            found.append(f"the login does not work: {login}")
        if login["password"] in done.stdout + done.stderr or TOKEN in done.stdout + done.stderr:
            found.append("the job printed a secret")
    refused = run_job(scenario, folder, "forbidden")
    if refused.returncode == 0 or "secrets is forbidden" not in refused.stderr:
        found.append(f"a rejection by Kubernetes was not reported: {refused}")
    return found


def main() -> int:
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        folder = Path(temporary)
        sandbox.loopback_up()
        sandbox.host_table(folder, [KUBERNETES])
        _, certificate, key = sandbox.certificate(folder, [KUBERNETES])
        (folder / "token").write_text(TOKEN)
        stack.enter_context(sandbox.aws(folder, 5555))
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)
        server = ThreadingHTTPServer(("127.0.0.1", 443), Api)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        found = problems(folder)
    return told("ecr-credentials applies a pull secret with the real AWS CLI, and reports a rejected apply", found)


if __name__ == "__main__":
    sys.exit(main())
