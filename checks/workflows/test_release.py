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

from steps import ROOT, run, workflow

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


class Ecr(Steps):
    """moto as ECR, with one image of aux-service."""

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


class Published(Ecr):
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


class Deployed(Ecr):
    """The images that the charts name, in ECR with one tag that never expires."""

    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        (self.folder / "scripts").symlink_to(ROOT / "scripts")

    def mark(self, **images: dict[str, str]) -> subprocess.CompletedProcess[str]:
        for service in ("aux-service", "main-api"):
            file = self.folder / f"deployed/helm/{service}/defaults.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps({"image": {"tag": "", "digest": ""} | images.get(service.replace("-", "_"), {})}))
        return run("release.yml", "build-and-push", "Keep the deployed images from expiry", self.folder, {"ECR_REPOSITORY": "kantox-challenge"}, self.aws)

    def push(self, sha: str) -> str:
        manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [], "annotations": {"sha": sha}}
        put = self.ecr("put-image", "--repository-name", "kantox-challenge", "--image-tag", f"aux-service-{sha}", "--image-manifest", json.dumps(manifest))
        return json.loads(put)["image"]["imageId"]["imageDigest"]

    def tagged(self, tag: str) -> list[str]:
        found = self.ecr("batch-get-image", "--repository-name", "kantox-challenge", "--image-ids", f"imageTag={tag}", "--output", "json")
        return [image["imageId"]["imageDigest"] for image in json.loads(found)["images"]]

    def test_the_deployed_image_keeps_a_tag_of_its_own_through_later_builds(self) -> None:
        deployed = self.push("00000aa")
        for build in range(2):
            done = self.mark(aux_service={"tag": "aux-service-00000aa", "digest": deployed})
            self.assertEqual(done.returncode, 0, done.stderr)
            self.push(f"{build:07x}")
            self.assertEqual(self.tagged("aux-service-deployed"), [deployed])

    def test_the_tag_follows_a_deployment_and_a_rollback(self) -> None:
        first, second = self.push("00000bb"), self.push("00000cc")
        for digest in (first, second, first):
            self.assertEqual(self.mark(aux_service={"tag": "any", "digest": digest}).returncode, 0)
            self.assertEqual(self.tagged("aux-service-deployed"), [digest])
        self.assertEqual(self.mark(aux_service={"tag": "aux-service-00000cc"}).returncode, 0)
        self.assertEqual(self.tagged("aux-service-deployed"), [second])

    def test_charts_without_an_image_in_this_repository_end_no_release(self) -> None:
        done = self.mark(main_api={"tag": "main-api-0a1b2c3", "digest": "sha256:" + "f" * 64})
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("aux-service: the chart names no release yet", done.stdout)
        self.assertIn("does not have the deployed image imageDigest=sha256:ffff", done.stdout)

    def test_the_deployed_images_are_kept_before_new_ones_are_pushed(self) -> None:
        names = [step.get("name") for step in workflow("release.yml")["jobs"]["build-and-push"]["steps"]]
        self.assertLess(names.index("Keep the deployed images from expiry"), names.index("Build and push aux-service"))


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
