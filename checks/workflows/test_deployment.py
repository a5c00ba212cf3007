"""The step that commits a release, in clones of a scratch repository."""

from __future__ import annotations

import fnmatch
import json
import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

import yaml
from steps import ROOT, run, workflow

SERVICES = ("aux-service", "main-api")
# The files that a release changes.
FILES = ("values.yaml", "defaults.json")
# A developer's own settings of git must not change the result.
os.environ |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
SOMEBODY = ("-c", "user.name=Somebody", "-c", "user.email=somebody@example.com")


def digest(letter: str) -> str:
    return "sha256:" + letter * 64


class Deployment(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.clones = 0
        self.remote = self.folder / "remote.git"
        subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch", "main", self.remote], check=True)
        first = self.clone()
        for path in ("checks/tools.sh", "scripts/release/image.py", "scripts/release/update-manifests.sh", *(f"helm/{s}/{f}" for s in SERVICES for f in FILES)):
            (first / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, first / path)
        for service in SERVICES:
            # Without this reset the test would start with the image of the last release.
            for file in FILES:
                values = first / f"helm/{service}/{file}"
                image = yaml.safe_load(values.read_text())["image"]
                text = values.read_text()
                for key in ("tag", "digest"):
                    text = text.replace(f'{key}: "{image[key]}"', f'{key}: ""', 1).replace(f'"{key}": "{image[key]}"', f'"{key}": ""', 1)
                values.write_text(text)
        (first / ".gitignore").write_text(".tools\n")
        self.commit(first, "the charts")
        self.charts = {service: (first / f"helm/{service}/values.yaml").read_text() for service in SERVICES}

    def git(self, folder: Path, *arguments: str) -> str:
        return subprocess.run(["git", "-C", folder, *SOMEBODY, *arguments], check=True, capture_output=True, text=True).stdout.strip()

    def clone(self) -> Path:
        self.clones += 1
        path = self.folder / f"clone-{self.clones}"
        subprocess.run(["git", "clone", "--quiet", self.remote, path], check=True, capture_output=True)
        # The script uses the tools that this checkout has installed.
        (path / ".tools").symlink_to(ROOT / ".tools")
        return path

    def commit(self, clone: Path, message: str) -> str:
        """A developer's commit on main; returns its short SHA."""
        self.git(clone, "add", "--all")
        self.git(clone, "commit", "--quiet", "--allow-empty", "--message", message)
        self.git(clone, "push", "--quiet", "origin", "HEAD:main")
        return self.git(clone, "rev-parse", "HEAD")[:7]

    def source(self, message: str) -> str:
        """A commit that starts a release."""
        clone = self.clone()
        (clone / "code").write_text(message)
        return self.commit(clone, message)

    def deploy(self, sha: str, letter: str, clone: Path | None = None) -> subprocess.CompletedProcess[str]:
        values = {"SHORT_SHA": sha, "AUX": digest(letter), "MAIN": digest(letter), "RUN_URL": "https://example.com/runs/1"}
        return run("release.yml", "update-manifests", "Write the images into the charts, commit, push", clone or self.clone(), values)

    def succeeds(self, done: subprocess.CompletedProcess[str], says: str) -> None:
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(says, done.stderr)

    def fails(self, done: subprocess.CompletedProcess[str], says: str) -> None:
        self.assertNotEqual(done.returncode, 0)
        self.assertIn(says, done.stderr)

    def meanwhile(self, clone: Path, moment: str, command: str) -> None:
        """Runs the command once: after this clone's commit, or, at the last moment, when its push has begun."""
        hook = clone / ".git/hooks" / moment
        # git sets variables for its hooks, which must not reach another repository.
        hook.write_text(f"#!/bin/sh\nrm -f '{hook}'\nunset $(git rev-parse --local-env-vars)\n{command}\n")
        hook.chmod(0o755)

    def running(self) -> dict[str, tuple[str, str]]:
        """The images in the charts on main; every other value has to be unchanged."""
        found = {}
        for service in SERVICES:
            text = self.git(self.remote, "show", f"main:helm/{service}/values.yaml") + "\n"
            image = yaml.safe_load(text)["image"]
            found[service] = (image["tag"], image["digest"])
            self.assertEqual(json.loads(self.git(self.remote, "show", f"main:helm/{service}/defaults.json"))["image"], image)
            written = self.charts[service].replace('  tag: ""', f'  tag: "{image["tag"]}"').replace('  digest: ""', f'  digest: "{image["digest"]}"')
            self.assertEqual(text, written)
        return found

    def runs(self, sha: str, letter: str) -> None:
        self.assertEqual(self.running(), {service: (f"{service}-{sha}", digest(letter)) for service in SERVICES})

    def log(self) -> list[str]:
        return self.git(self.remote, "log", "--format=%s", "main").splitlines()

    def test_the_first_release_is_one_commit_that_names_the_images(self) -> None:
        sha = self.source("code")
        self.succeeds(self.deploy(sha, "a"), f"deployed {sha}")
        self.runs(sha, "a")
        self.assertEqual(self.log(), [f"Deploy {sha}", "code", "the charts"])
        message = self.git(self.remote, "log", "-1", "--format=%B", "main")
        for service in SERVICES:
            self.assertIn(f"{service}@{digest('a')}", message)
        self.assertIn("https://example.com/runs/1", message)
        self.assertEqual(self.git(self.remote, "log", "-1", "--format=%an %cn", "main"), "github-actions[bot] github-actions[bot]")

    def test_the_commit_begins_no_other_release(self) -> None:
        self.deploy(self.source("code"), "a")
        changed = self.git(self.remote, "diff", "--name-only", "main~1", "main").splitlines()
        self.assertEqual(changed, [f"helm/{service}/{file}" for service in SERVICES for file in sorted(FILES)])
        filters = workflow("release.yml")["on"]["push"]["paths"]
        self.assertEqual([(path, f) for path in changed for f in filters if fnmatch.fnmatch(path, f)], [])
        self.assertIn("[skip ci]", self.git(self.remote, "log", "-1", "--format=%B", "main"))

    def test_the_second_release_takes_the_place_of_the_first(self) -> None:
        first = self.source("code")
        self.deploy(first, "a")
        second = self.source("more code")
        self.succeeds(self.deploy(second, "b"), f"deployed {second}")
        self.runs(second, "b")
        self.assertEqual(self.log()[0], f"Deploy {second}")

    def test_the_same_release_again_commits_nothing(self) -> None:
        sha = self.source("code")
        self.deploy(sha, "a")
        before = self.log()
        self.succeeds(self.deploy(sha, "a"), "nothing to do")
        self.assertEqual(self.log(), before)

    def test_other_commits_on_main_are_kept(self) -> None:
        sha = self.source("code")
        clone, other = self.clone(), self.clone()
        self.source("a commit since the checkout")
        self.git(other, "pull", "--quiet", "origin", "main")
        values = other / "helm/main-api/values.yaml"
        self.charts["main-api"] = self.charts["main-api"].replace("replicas: 3", "replicas: 5", 1)
        values.write_text(self.charts["main-api"])
        self.git(other, "commit", "--quiet", "--all", "--message", "more replicas")
        self.meanwhile(clone, "post-commit", f"git -C '{other}' push --quiet origin HEAD:main")
        done = self.deploy(sha, "a", clone)
        self.succeeds(done, f"deployed {sha}")
        self.assertIn("main has moved", done.stderr)
        self.runs(sha, "a")
        self.assertEqual(self.log(), [f"Deploy {sha}", "more replicas", "a commit since the checkout", "code", "the charts"])

    def two_releases_at_once(self, slow: str, slow_letter: str, quick: str, quick_letter: str) -> subprocess.CompletedProcess[str]:
        """The quick release finishes while the slow one is about to push."""
        clone, other = self.clone(), self.clone()
        arguments = " ".join([quick, *(f"{service}={digest(quick_letter)}" for service in SERVICES)])
        names = " ".join(f"GIT_{role}_{part}={part}" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL"))
        self.meanwhile(clone, "pre-push", f"cd '{other}' && {names} scripts/release/update-manifests.sh {arguments} >&2")
        done = self.deploy(slow, slow_letter, clone)
        self.assertIn(f"deployed {quick}", done.stderr)
        self.assertIn("main has moved", done.stderr)
        return done

    def test_the_newer_of_two_concurrent_releases_wins_when_it_pushes_last(self) -> None:
        older, newer = self.source("code"), self.source("more code")
        self.succeeds(self.two_releases_at_once(newer, "b", older, "a"), f"deployed {newer}")
        self.runs(newer, "b")
        self.assertEqual(self.log()[:2], [f"Deploy {newer}", f"Deploy {older}"])

    def test_the_older_of_two_concurrent_releases_steps_back_when_it_pushes_last(self) -> None:
        older, newer = self.source("code"), self.source("more code")
        self.succeeds(self.two_releases_at_once(older, "a", newer, "b"), f"a newer release than {older}")
        self.runs(newer, "b")
        self.assertEqual(self.log()[0], f"Deploy {newer}")

    def test_a_release_after_one_was_rolled_back_goes_ahead(self) -> None:
        self.deploy(self.source("code"), "a")
        self.deploy(self.source("bad code"), "b")
        clone = self.clone()
        self.git(clone, "revert", "--no-edit", "HEAD")
        self.git(clone, "push", "--quiet", "origin", "HEAD:main")
        third = self.source("good code")
        self.succeeds(self.deploy(third, "c"), f"deployed {third}")
        self.runs(third, "c")

    def test_a_branch_that_refuses_is_reported_and_not_tried_again(self) -> None:
        sha = self.source("code")
        hook = self.remote / "hooks/pre-receive"
        hook.write_text("#!/bin/sh\necho 'protected branch' >&2\nexit 1\n")
        hook.chmod(0o755)
        done = self.deploy(sha, "a")
        self.fails(done, "may lack the permission to push")
        self.assertEqual(done.stderr.count("protected branch"), 1)
        self.assertEqual(self.log()[0], "code")

    def test_an_invalid_digest_is_rejected_before_anything_is_written(self) -> None:
        sha = self.source("code")
        values = {"SHORT_SHA": sha, "AUX": digest("a"), "MAIN": "", "RUN_URL": ""}
        done = run("release.yml", "update-manifests", "Write the images into the charts, commit, push", self.clone(), values)
        self.fails(done, "main-api= is not SERVICE=sha256:")
        self.assertEqual(self.log()[0], "code")

    def test_a_clone_without_its_history_is_refused(self) -> None:
        sha = self.source("code")
        self.source("more code")
        clone = self.folder / "shallow"
        subprocess.run(["git", "clone", "--quiet", "--depth", "1", f"file://{self.remote}", clone], check=True, capture_output=True)
        (clone / ".tools").symlink_to(ROOT / ".tools")
        self.fails(self.deploy(sha, "a", clone), "fetch the whole history")

    def test_a_chart_without_a_digest_is_named(self) -> None:
        clone = self.clone()
        values = clone / "helm/main-api/values.yaml"
        values.write_text(values.read_text().replace('  digest: ""\n', "", 1))
        sha = self.commit(clone, "no digest")
        self.fails(self.deploy(sha, "a"), "helm/main-api/values.yaml: image.digest is not")
        self.assertEqual(self.log()[0], "no digest")
