"""Agreement of the workflows with each other and with the rest of the repository."""

from __future__ import annotations

import re
import subprocess
import unittest
from fnmatch import fnmatch

import yaml
from steps import ROOT, workflow

CI, RELEASE = workflow("ci.yml"), workflow("release.yml")
MAKEFILE = (ROOT / "Makefile").read_text()


def makes(job: dict[str, object]) -> set[str]:
    """The Makefile's targets that a job runs."""
    shell = "\n".join(str(step.get("run", "")) for step in job["steps"])  # type: ignore[attr-defined]
    targets = set(re.findall(r"\bmake ([a-z][a-z0-9-]*)", shell))
    if 'make "$TARGET"' in shell:
        targets |= set(job["strategy"]["matrix"]["target"])  # type: ignore[index]
    return targets


def triggers(path: str) -> bool:
    return any(fnmatch(path, pattern) for pattern in RELEASE["on"]["push"]["paths"])


class Agreement(unittest.TestCase):
    def test_the_required_check_waits_for_every_other_job(self) -> None:
        self.assertEqual(set(CI["jobs"]["ci"]["needs"]), CI["jobs"].keys() - {"ci"})
        self.assertEqual(CI["jobs"]["ci"]["if"], "always()")

    def test_ci_runs_make_test_and_all_of_make_check(self) -> None:
        checks = re.search(r"^check:([^#\n]*)", MAKEFILE, re.M)
        assert checks
        ran = set().union(*(makes(job) for job in CI["jobs"].values()))
        self.assertEqual({"test", *checks[1].split()} - ran, set())

    def test_every_target_that_a_workflow_makes_exists(self) -> None:
        ran = set().union(*(makes(job) for job in CI["jobs"].values()))
        self.assertEqual(ran - set(re.findall(r"^([a-z][a-z0-9-]*):", MAKEFILE, re.M)), set())

    def test_a_commit_of_main_is_tested_once_by_ci_or_by_the_release(self) -> None:
        self.assertEqual(CI["on"]["push"]["paths-ignore"], RELEASE["on"]["push"]["paths"])
        self.assertEqual(RELEASE["jobs"]["ci"]["uses"], "./.github/workflows/ci.yml")

    def test_every_source_of_the_images_starts_a_release(self) -> None:
        files = subprocess.run(["git", "-C", ROOT, "ls-files"], check=True, capture_output=True, text=True).stdout.split()
        allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
        # The build context contains the members `tests` and `bench` only because Cargo reads their manifests; no image contains them.
        built = [path for path in files if path.split("/")[0] in set(allowed) - {"tests", "bench"}]
        self.assertGreater(len(built), 20)
        self.assertEqual([path for path in (*built, "Dockerfile", ".dockerignore") if not triggers(path)], [])

    def test_other_files_start_no_release(self) -> None:
        for path in ("README.md", "helm/aux-service/values.yaml", "terraform/main.tf", "tests/src/moto.rs", ".github/workflows/ci.yml"):
            self.assertFalse(triggers(path), path)

    def test_tests_run_before_the_build_and_the_push_before_the_deployment(self) -> None:
        needs = {name: job.get("needs", []) for name, job in RELEASE["jobs"].items()}
        self.assertEqual(needs, {"ci": [], "scan": [], "build-and-push": ["ci", "scan"], "update-manifests": "build-and-push"})

    def test_permissions_are_none_by_default_and_the_least_in_each_job(self) -> None:
        extra = {"build-and-push": {"id-token": "write"}, "update-manifests": {"contents": "write"}}
        for loaded in (CI, RELEASE):
            self.assertEqual(loaded["permissions"], {})
            for name, job in loaded["jobs"].items():
                expected = {} if job is CI["jobs"]["ci"] else {"contents": "read"} | extra.get(name, {})
                self.assertEqual(job["permissions"], expected, name)

    def test_only_the_pushing_job_keeps_credentials_or_sees_a_secret(self) -> None:
        for loaded in (CI, RELEASE):
            for name, job in loaded["jobs"].items():
                checkouts = [step for step in job.get("steps", []) if step.get("uses", "").startswith("actions/checkout@")]
                for checkout in checkouts:
                    self.assertIs(checkout["with"]["persist-credentials"], name == "update-manifests", name)
                if name != "update-manifests":
                    self.assertNotIn("secrets.", yaml.dump(job))

    def test_every_job_ends_in_time(self) -> None:
        for loaded in (CI, RELEASE):
            for name, job in loaded["jobs"].items():
                self.assertTrue("uses" in job or job["timeout-minutes"] <= 90, name)

    def test_every_action_is_pinned_by_commit_and_says_its_version(self) -> None:
        for path in (ROOT / ".github/workflows").glob("*.yml"):
            for line in re.findall(r"^.*\buses: (?!\./)(.*)$", path.read_text(), re.M):
                self.assertRegex(line, r"^[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+\b")

    def test_dependabot_reads_every_folder_that_has_dependencies(self) -> None:
        read = {
            (u["package-ecosystem"], d)
            for u in yaml.safe_load((ROOT / ".github/dependabot.yml").read_text())["updates"]
            for d in u.get("directories", [u.get("directory")])
        }
        files = subprocess.run(["git", "-C", ROOT, "ls-files"], check=True, capture_output=True, text=True).stdout.split()
        folders = {("cargo", "Cargo.lock"), ("docker", "Dockerfile"), ("docker-compose", "compose.yaml"), ("terraform", "versions.tf")}
        for ecosystem, name in folders:
            for path in (p for p in files if p.split("/")[-1] == name):
                folder = "/" + path.removesuffix(name).rstrip("/")
                self.assertTrue(any(e == ecosystem and fnmatch(folder, d) for e, d in read), f"{ecosystem} in {folder}")
