"""The release's shell steps, run as GitHub runs them, with moto as ECR."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import tempfile
import time
import unittest
import urllib.request
from pathlib import Path
from typing import ClassVar

from steps import ROOT, run

VARIABLES = {"AWS_REGION": "eu-west-2", "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/kantox-challenge-github", "ECR_REPOSITORY": "kantox-challenge"}
DIGEST = "sha256:" + "a" * 64


class Steps(unittest.TestCase):
    def setUp(self) -> None:
        folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.output = folder / "output"
        self.machine = {"GITHUB_OUTPUT": str(self.output), "GITHUB_SHA": "0a1b2c3d4e5f60718293a4b5c6d7e8f901234567"}

    def step(self, name: str, values: dict[str, str]) -> tuple[subprocess.CompletedProcess[str], dict[str, str]]:
        done = run("release.yml", "build-and-push", name, ROOT, values, self.machine)
        written = self.output.read_text().splitlines() if self.output.exists() else []
        return done, dict(line.split("=", 1) for line in written)


class Naming(Steps):
    def test_a_release_is_named_after_its_commit_and_its_package(self) -> None:
        done, output = self.step("Name the release", VARIABLES)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(output["short_sha"], "0a1b2c3")
        self.assertRegex(output["version"], r"^\d+\.\d+\.\d+")

    def test_every_variable_that_is_not_set_is_named(self) -> None:
        done, output = self.step("Name the release", VARIABLES | {"AWS_ROLE_ARN": "", "ECR_REPOSITORY": ""})
        self.assertEqual((done.returncode, output), (1, {}))
        self.assertIn("variable AWS_ROLE_ARN is not set", done.stdout)
        self.assertIn("variable ECR_REPOSITORY is not set", done.stdout)
        self.assertNotIn("AWS_REGION", done.stdout)


class Digests(Steps):
    def test_digests_are_passed_on(self) -> None:
        done, output = self.step("Take the digests", {"AUX": DIGEST, "MAIN": DIGEST})
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(output, {"aux_digest": DIGEST, "main_digest": DIGEST})

    def test_a_build_without_a_digest_ends_the_release(self) -> None:
        done, output = self.step("Take the digests", {"AUX": DIGEST, "MAIN": ""})
        self.assertEqual((done.returncode, output), (1, {}))


class Published(Steps):
    aws: ClassVar[dict[str, str]]
    digest: ClassVar[str]

    @classmethod
    def setUpClass(cls) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        cls.aws = {
            "AWS_ENDPOINT_URL": url,
            "AWS_DEFAULT_REGION": "eu-west-2",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_CONFIG_FILE": os.devnull,
        }
        server = subprocess.Popen([os.environ["MOTO_SERVER"], "-H", "127.0.0.1", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        cls.addClassCleanup(server.wait)
        cls.addClassCleanup(server.terminate)
        for _ in range(200):
            try:
                urllib.request.urlopen(url, timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)
        cls.ecr("create-repository", "--repository-name", "kantox-challenge")
        # buildx pushes an index for two platforms.
        manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []}
        put = cls.ecr("put-image", "--repository-name", "kantox-challenge", "--image-tag", "aux-service-0a1b2c3", "--image-manifest", json.dumps(manifest))
        cls.digest = json.loads(put)["image"]["imageId"]["imageDigest"]

    @classmethod
    def ecr(cls, *arguments: str) -> str:
        return subprocess.run(["aws", "ecr", *arguments], check=True, capture_output=True, text=True, env=os.environ | cls.aws).stdout

    def published(self, repository: str = "kantox-challenge", sha: str = "0a1b2c3") -> tuple[subprocess.CompletedProcess[str], dict[str, str]]:
        self.machine |= self.aws
        return self.step("Read the digests of an earlier attempt", {"ECR_REPOSITORY": repository, "SHORT_SHA": sha})

    def test_a_tag_that_exists_is_taken_and_one_that_does_not_is_built(self) -> None:
        done, output = self.published()
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(output, {"aux_digest": self.digest, "main_digest": ""})

    def test_a_commit_that_was_never_released_is_built(self) -> None:
        done, output = self.published(sha="1111111")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(output, {"aux_digest": "", "main_digest": ""})

    def test_a_registry_that_refuses_is_no_image_to_build(self) -> None:
        done, output = self.published(repository="no-such-repository")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("RepositoryNotFoundException", done.stderr)
        self.assertEqual(output, {})


class Bills(unittest.TestCase):
    def test_a_bill_lists_the_crates_of_its_own_program(self) -> None:
        folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        subprocess.run([ROOT / "scripts/release/sbom.sh", folder], check=True, capture_output=True)
        self.assertEqual({path.name for path in folder.iterdir()}, {"aux-service.cdx.json", "main-api.cdx.json"})
        listed = {path.name.split(".")[0]: {c["name"] for c in json.loads(path.read_text())["components"]} for path in folder.iterdir()}
        for service, only, others in (("aux-service", "aws-sdk-ssm", "reqwest-retry"), ("main-api", "reqwest-retry", "aws-sdk-ssm")):
            self.assertLessEqual({"service", "axum", "tokio", only}, listed[service])
            # Crates of the other service, and of tests alone.
            self.assertTrue(listed[service].isdisjoint({others, "e2e", "proptest"}), service)
