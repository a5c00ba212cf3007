"""Answers questions with the AWS CLI: one JSON document a line from standard input, one result a line to standard output.

Each question is one command line. All run in this process, because the start of the CLI takes most of a second.
"""

from __future__ import annotations

import json
import re
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from typing import Any

from awscli.botocore import xform_name
from awscli.clidriver import create_clidriver

driver = create_clidriver()


def command(operation: str, arguments: dict[str, Any], pages: bool) -> list[str]:
    words = ["ssm", xform_name(operation, "-"), "--output", "json", "--cli-input-json", json.dumps(arguments)]
    has_pages = operation in ("DescribeParameters", "GetParametersByPath")
    return [*words, "--no-paginate"] if has_pages and not pages else words


def run(words: list[str]) -> tuple[int, str, str]:
    with redirect_stdout(StringIO()) as output, redirect_stderr(StringIO()) as errors:
        try:
            status = driver.main(words)
        except SystemExit as end:
            status = end.code
    return status, output.getvalue(), errors.getvalue()


for line in sys.stdin:
    question = json.loads(line)
    status, output, errors = run(command(question["operation"], question["input"], question["pages"]))
    code = re.search(r"An error occurred \((\w+)\)", errors)
    if status == 0:
        answer = {"output": json.loads(output or "{}")}
    else:
        answer = {"error": {"code": code[1] if code else errors.strip()}}
    print(json.dumps(answer), flush=True)
