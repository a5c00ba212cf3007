"""Fills the emulator of AWS with one bucket and a few parameters, and changes nothing that exists.

With two arguments, NAME and VALUE, it sets one parameter instead.
"""

import os
import sys

import boto3

BUCKET = "kantox-challenge-bucket"
PARAMETERS = [
    ("/challenge/kantox", "String", "cloud-engineer"),
    ("/challenge/regions", "StringList", "eu-west-1,eu-west-2"),
    # The services refuse to show a SecureString unless ALLOW_SECURE_STRINGS is set.
    ("/challenge/password", "SecureString", "only-in-the-emulator"),
]

# boto3 does not read AWS_REGION.
session = boto3.Session(region_name=os.environ["AWS_REGION"])
s3, ssm = session.client("s3"), session.client("ssm")

if len(sys.argv) == 3:
    ssm.put_parameter(Name=sys.argv[1], Value=sys.argv[2], Type="String", Overwrite=True)
elif len(sys.argv) == 1:
    if BUCKET not in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]:
        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": session.region_name})
    for name, kind, value in PARAMETERS:
        try:
            ssm.put_parameter(Name=name, Type=kind, Value=value)
        except ssm.exceptions.ParameterAlreadyExists:
            pass
else:
    sys.exit("usage: seed.py [NAME VALUE]")
