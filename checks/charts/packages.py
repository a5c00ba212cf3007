"""The charts as files and packages: chart-testing's rules for YAML, the content of a package, the commands in README.md.

chart-testing (`ct`) is in no package registry. Its rules that need a repository of charts (a higher version in each change) or
the names of maintainers do not fit here: the release pipeline deploys from Git, and a fork has maintainers of its own.
helm/argocd is not packaged, and an operator edits its values.yaml, so it has no README.md that is made from it.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import yaml
from rendering import CHARTS, HELM, HELMS, ROOT, Refused, helm

# Values of the variables in the commands of README.md.
VARIABLES = {
    "ECR_REGISTRY": "123456789012.dkr.ecr.eu-west-2.amazonaws.com",
    "ECR_REPOSITORY_URL": "123456789012.dkr.ecr.eu-west-2.amazonaws.com/kantox-challenge",
}

# Files for work on a chart, which .helmignore leaves out of its package.
OF_DEVELOPERS = re.compile(r"README\.own\.md|values\.(own|schema|shared)\.yaml|ci/.*")


def yaml_problems() -> list[str]:
    """The problems that yamllint finds with the rules of chart-testing."""
    files = [file for chart in (*CHARTS, "argocd") for file in (HELM / chart).rglob("*.yaml") if "templates" not in file.parts]
    command = [sys.executable, "-m", "yamllint", "--strict", "--format", "parsable", "--config-file", Path(__file__).with_name("yamllint.yaml")]
    done = subprocess.run([*command, *files], capture_output=True, text=True, check=False)
    return [line.removeprefix(f"{HELM}/") for line in (done.stdout + done.stderr).splitlines()]


def about_problems(chart: str) -> Iterator[str]:
    """Chart.yaml has the fields that chart-testing demands of every chart, and Helm's form of a version."""
    about = yaml.safe_load((HELM / chart / "Chart.yaml").read_text())
    for field in ("apiVersion", "name", "version", "description", "type"):
        if not isinstance(about.get(field), str):
            yield f"{chart}/Chart.yaml: {field} is missing, or no text"
    if about.get("name") != chart or not re.fullmatch(r"\d+\.\d+\.\d+(-[\w.]+)?", str(about.get("version"))):
        yield f"{chart}/Chart.yaml: the name is not the folder's, or the version is not semantic"


def package_problems(chart: str) -> Iterator[str]:
    """A package has the README.md that `helm show readme` prints, and no file for work on the chart."""
    readme = (HELM / chart / "README.md").read_text()
    for name, binary in HELMS.items():
        with tempfile.TemporaryDirectory() as folder:
            helm(binary, "package", HELM / chart, "--destination", folder)
            [package] = Path(folder).iterdir()
            with tarfile.open(package) as content:
                files = [path.removeprefix(f"{chart}/") for path in content.getnames()]
            if helm(binary, "show", "readme", package).strip() != readme.strip():
                yield f"{chart}: {name} shows another README.md of the package"
        yield from (f"{chart}: {name} packages {file}" for file in files if OF_DEVELOPERS.fullmatch(file))


def command_problems(chart: str) -> Iterator[str]:
    """The commands in README.md render the chart with the values that they set."""
    text = (HELM / chart / "README.md").read_text().replace("\\\n", " ")
    commands = re.findall(r"^helm install .*", text, re.M)
    if not commands:
        yield f"{chart}/README.md has no command that installs the chart"
    for command in commands:
        for variable, value in VARIABLES.items():
            command = command.replace(f'"${variable}"', value)
        _, _, name, path, *options = command.split()
        options = [option for option in options if option != "--create-namespace"]
        try:
            helm(HELMS["Helm 4"], "template", name, ROOT / path, *options)
        except Refused as refused:
            yield f"{chart}/README.md: {command}: {refused}"


def problems() -> list[str]:
    found = yaml_problems()
    for chart in CHARTS:
        found += [*about_problems(chart), *package_problems(chart), *command_problems(chart)]
    return found
