"""Answers questions with boto3: one JSON document a line from standard input, one result a line to standard output.

The environment configures the client, as in a program that knows nothing of this project.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import boto3
from botocore import xform_name
from botocore.exceptions import BotoCoreError, ClientError

ssm = boto3.client("ssm")


def result(operation: str, arguments: dict[str, Any], pages: bool) -> dict[str, Any]:
    if not pages:
        output = getattr(ssm, xform_name(operation))(**arguments)
        output.pop("ResponseMetadata")
        return output
    paginator = ssm.get_paginator(xform_name(operation))
    return {"Parameters": [item for page in paginator.paginate(**arguments) for item in page["Parameters"]]}


for line in sys.stdin:
    question = json.loads(line)
    try:
        answer = {"output": result(question["operation"], question["input"], question["pages"])}
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        answer = {"error": {"code": error.response["Error"]["Code"], "status": status}}
    except BotoCoreError as error:
        answer = {"error": {"code": type(error).__name__}}
    print(json.dumps(answer, default=lambda date: date.timestamp()), flush=True)
