"""A stand-in for the AWS provider that tells Terraform the real provider's schema and can do nothing else.

With it `terraform validate` and `terraform test` (with `mock_provider`) run where no registry can be reached,
and Terraform itself compares every block, argument, type and reference with the schema.

Usage: provider.py FOLDER COMMAND…   serves the types that FOLDER's Terraform files use while COMMAND runs.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import schema

# Found beside this file, which is where Python looks for a script's own modules. Their types are made as this runs.
messages: Any
services: Any
messages, services = grpc.protos_and_services("tfplugin6.proto")

BLOCK = re.compile(r'^(resource|data) "(aws_\w+)"', re.MULTILINE)


class Provider(services.ProviderServicer):  # type: ignore[misc]
    def __init__(self, known: schema.ProviderSchema) -> None:
        self.known = known

    def GetProviderSchema(self, request: Any, context: Any) -> Any:  # noqa: N802 (the protocol's name)
        return messages.GetProviderSchema.Response(
            provider=_schema(self.known.provider),
            resource_schemas={name: _schema(block) for name, block in self.known.resources.items()},
            data_source_schemas={name: _schema(block) for name, block in self.known.data.items()},
        )

    def ValidateProviderConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        return messages.Validate.Response()

    ValidateResourceConfig = ValidateDataResourceConfig = ValidateProviderConfig


def _schema(block: schema.Block) -> Any:
    return messages.Schema(block=_block(block))


def _block(block: schema.Block) -> Any:
    return messages.Schema.Block(
        attributes=[
            messages.Schema.Attribute(
                name=a.name,
                type=schema.type_as_json(a.type),
                required=a.required,
                optional=a.optional,
                computed=a.computed,
                write_only=a.write_only,
            )
            for a in block.attributes
        ],
        block_types=[
            messages.Schema.NestedBlock(
                type_name=b.name,
                block=_block(b.block),
                nesting=b.nesting,
                min_items=int(b.required and b.nesting != "SINGLE"),
                max_items=int(b.single and b.nesting != "SINGLE"),
            )
            for b in block.blocks
        ],
    )


def used_types(folder: Path) -> tuple[set[str], set[str]]:
    """The resource types and data source types in every Terraform file below the folder."""
    types: dict[str, set[str]] = {"resource": set(), "data": set()}
    for file in folder.rglob("*.tf"):
        for kind, name in BLOCK.findall(file.read_text()):
            types[kind].add(name)
    return types["resource"], types["data"]


def main() -> int:
    folder, command = Path(sys.argv[1]), sys.argv[2:]
    known = schema.read(*used_types(folder))
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
    services.add_ProviderServicer_to_server(Provider(known), server)
    with tempfile.TemporaryDirectory() as sockets:
        socket = f"{sockets}/provider"
        server.add_insecure_port(f"unix://{socket}")
        server.start()
        reattach = {
            "registry.terraform.io/hashicorp/aws": {
                "Protocol": "grpc",
                "ProtocolVersion": 6,
                "Pid": os.getpid(),
                "Test": True,
                "Addr": {"Network": "unix", "String": socket},
            }
        }
        try:
            return subprocess.run(command, env=os.environ | {"TF_REATTACH_PROVIDERS": json.dumps(reattach)}).returncode
        finally:
            server.stop(grace=None)


if __name__ == "__main__":
    sys.exit(main())
