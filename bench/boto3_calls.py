"""Calls GetParameter with boto3's defaults, one call after the other: boto3_calls.py URL SESSION_TOKEN NAME VALUE SECONDS.

It prints the median latency and the rate as JSON.
"""

from __future__ import annotations

import json
import statistics
import sys
import time

import boto3

url, token, name, value, seconds = sys.argv[1:]
ssm = boto3.client(
    "ssm", endpoint_url=url, region_name="eu-west-2", aws_access_key_id="id", aws_secret_access_key="key", aws_session_token=token
)
latencies: list[float] = []
# The first call connects.
ssm.get_parameter(Name=name)
begin = time.perf_counter()
while (sent := time.perf_counter()) < begin + float(seconds):
    read = ssm.get_parameter(Name=name)["Parameter"]["Value"]
    latencies.append(time.perf_counter() - sent)
    if read != value:
        sys.exit(f"boto3 read a wrong value: {read[:40]}")
took = time.perf_counter() - begin
print(json.dumps({"rate": len(latencies) / took, "p50_us": statistics.median(latencies) * 1e6}))
