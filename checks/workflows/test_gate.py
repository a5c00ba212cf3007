"""The check that a branch rule requires: it passes only when every job has succeeded."""

from __future__ import annotations

import json
import unittest
from pathlib import Path

from steps import run, workflow

NEEDED = workflow("ci.yml")["jobs"]["ci"]["needs"]


class Gate(unittest.TestCase):
    def passes(self, results: dict[str, str]) -> bool:
        needs = json.dumps({job: {"result": result, "outputs": {}} for job, result in results.items()})
        done = run("ci.yml", "ci", "Every job has succeeded, and none was skipped", Path.cwd(), {"RESULTS": needs})
        self.assertIn(done.returncode, (0, 1), done.stderr)
        return done.returncode == 0

    def test_it_passes_when_every_job_has_succeeded(self) -> None:
        self.assertTrue(self.passes(dict.fromkeys(NEEDED, "success")))

    def test_it_fails_when_one_job_has_not(self) -> None:
        for job in NEEDED:
            for result in ("failure", "cancelled", "skipped"):
                with self.subTest(job=job, result=result):
                    self.assertFalse(self.passes(dict.fromkeys(NEEDED, "success") | {job: result}))

    def test_it_fails_without_any_job(self) -> None:
        self.assertFalse(self.passes({}))
