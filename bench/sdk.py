"""GetParameter by AWS's own protocol: by raw HTTP and by boto3, beside an emulator of AWS and beside plain hits."""

from __future__ import annotations

import json
from typing import Any

import source
from closed_loop import Questions, right_answer
from fake_aws import REGION
from generators import closed_loop, run
from http_client import Answer, ask
from options import Options
from peers import BOTO3_PYTHON
from processes import Failed
from results import Result
from stage import AUTHORIZATION, HERE, TOKEN, Server, Stage
from subjects import SUBJECTS as ALL

EMULATOR = "moto"
SUBJECTS = ("aux-service", "main-api", EMULATOR)

INDEX = 42
PATH = source.path(INDEX)
NAME = PATH.removeprefix("/param")
BODY = json.dumps({"Name": NAME})


# The emulator finds the service in the credential's scope. No subject checks the signature.
SIGNATURE = f"AWS4-HMAC-SHA256 Credential=id/20260101/{REGION}/ssm/aws4_request, SignedHeaders=host;x-amz-date, Signature={'0' * 64}"


def headers(operation: str) -> dict[str, str]:
    return {
        "Authorization": SIGNATURE,
        "Content-Type": "application/x-amz-json-1.1",
        "X-Amz-Target": f"AmazonSSM.{operation}",
        # AWS's own protocol has a header of its own for the token.
        "X-Amz-Security-Token": TOKEN,
    }


def measure(options: Options, stage: Stage, result: Result) -> None:
    truth = ask(stage.start(ALL["aux-service"]).address, PATH, AUTHORIZATION)
    servers = [stage.start(ALL[subject]) for subject in result.figures]
    for server in servers:
        if server.subject == EMULATOR:
            put(server)
    for number in range(1, options.rounds + 1):
        for server in servers:
            expected = read(server)
            elsewhere = stage.elsewhere()
            load = closed_loop(server, expected, "/", headers("GetParameter"), options.seconds, "post.lua", BODY)
            disturbed = stage.disturbed(elsewhere)
            result.add(
                server.subject,
                rate=load.rate,
                p50_us=load.p50_us,
                p99_us=load.p99_us,
                cpu_us=load.cpu_us,
                memory_bytes=server.process.resident_bytes(),
                generator=load.generator,
                disturbed=disturbed,
            )
            if ALL[server.subject].ours:
                expected = right_answer(Questions(PATH), server, AUTHORIZATION, truth)
                plain = closed_loop(server, expected, PATH, AUTHORIZATION, options.seconds, "done.lua")
                result.add(server.subject, plain_rate=plain.rate, plain_cpu_us=plain.cpu_us)
            told = boto3_calls(server, options.seconds)
            result.add(server.subject, boto3_rate=told["rate"], boto3_p50_us=told["p50_us"])
            options.say(
                f"round {number} of {options.rounds}: {server.subject} {load.rate:,.0f}/s by raw HTTP;"
                f" a call of boto3 takes {told['p50_us']:,.0f} µs"
            )
    result.notes.append(
        "Raw HTTP is wrk with 32 connections, which sends the same signed call each time; a plain hit is `GET /param/…` in the"
        " same round. boto3 is one client with its defaults that calls one call after the other; most of its time is its own, and its"
        " core is the other one. moto is the emulator of AWS that tests use; it makes each response anew, and is no cache."
    )


def put(server: Server) -> None:
    """Gives the emulator the parameter."""
    body = json.dumps({"Name": NAME, "Type": "String", "Value": source.value(INDEX)})
    answer = ask(server.address, "/", headers("PutParameter"), body)
    if answer.status != 200:
        raise Failed(f"{server.subject} did not store the parameter: {answer.status} {answer.body[:200]!r}")


def read(server: Server) -> Answer:
    """Reads the parameter twice, because the first read may be a miss, and checks its value."""
    for _ in range(2):
        answer = ask(server.address, "/", headers("GetParameter"), BODY)
        parameter: Any = json.loads(answer.body).get("Parameter", {})
        if answer.status != 200 or (parameter.get("Name"), parameter.get("Value")) != (NAME, source.value(INDEX)):
            raise Failed(f"{server.subject} gave a wrong answer: {answer.status} {answer.body[:200]!r}")
    return answer


def boto3_calls(server: Server, seconds: int) -> dict[str, float]:
    """Calls with boto3, which checks each value."""
    command = [str(BOTO3_PYTHON), str(HERE / "boto3_calls.py"), f"http://{server.address}", TOKEN, NAME, source.value(INDEX), str(seconds)]
    told: dict[str, float] = run(command)
    return told
