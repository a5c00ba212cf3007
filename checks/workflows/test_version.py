"""The version of the project, and the command that sets it."""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
import unittest
from pathlib import Path

from steps import ROOT

SPEC = importlib.util.spec_from_file_location("version", ROOT / "scripts/release/version.py")
assert SPEC and SPEC.loader
version = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(version)


class Version(unittest.TestCase):
    def setUp(self) -> None:
        self.copy = Path(self.enterContext(tempfile.TemporaryDirectory()))
        for path in {path for path, _ in version.found(ROOT)} | {ROOT / "CHANGELOG.md"}:
            target = self.copy / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)

    def test_every_place_has_the_version_of_cargo(self) -> None:
        self.assertEqual(version.wrong(ROOT), [])

    def test_the_version_has_a_section_in_the_changelog(self) -> None:
        self.assertIn(f"\n## [{version.current(ROOT)}] - 20", (ROOT / "CHANGELOG.md").read_text())

    def test_a_place_with_another_version_is_named(self) -> None:
        chart = self.copy / "helm/main-api/Chart.yaml"
        chart.write_text(chart.read_text().replace('appVersion: "', 'appVersion: "9'))
        self.assertEqual([problem.split(" ")[0] for problem in version.wrong(self.copy)], ["helm/main-api/Chart.yaml"])

    def test_a_new_version_replaces_each_mention_of_the_old_one(self) -> None:
        old = version.current(self.copy)
        version.write(self.copy, "98.7.6")
        self.assertEqual(version.wrong(self.copy), [])
        left = [str(path.relative_to(self.copy)) for path in self.copy.rglob("*.*") if path.name != "CHANGELOG.md" and path.is_file() and old in path.read_text()]
        self.assertEqual(left, [])

    def test_the_unreleased_changes_become_those_of_the_new_version(self) -> None:
        changelog = self.copy / "CHANGELOG.md"
        changelog.write_text("# Changelog\n\n## [Unreleased]\n\n### Added\n\n- A thing.\n\n## [0.1.0] - 2026-11-25\n")
        version.begin_section(self.copy, "98.7.6", "2030-01-02")
        self.assertIn("## [Unreleased]\n\n## [98.7.6] - 2030-01-02\n\n### Added\n\n- A thing.\n", changelog.read_text())
        with self.assertRaises(SystemExit):
            version.begin_section(self.copy, "98.7.7", "2030-01-03")
