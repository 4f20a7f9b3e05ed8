"""A test run fails if a required group is skipped."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SUPPORT = Path(__file__).resolve().parents[1] / "support"

PASSES = "@pytest.mark.wheel\ndef test_a():\n    pass\n"
SKIPS = "@pytest.mark.wheel\ndef test_b():\n    pytest.skip('no server')\n"
SKIPS_IN_FIXTURE = (
    "@pytest.fixture\ndef server():\n    pytest.skip('no server')\n\n"
    "@pytest.mark.wheel\ndef test_c(server):\n    pass\n"
)
SKIPS_BY_MARK = "@pytest.mark.wheel\n@pytest.mark.skipif(True, reason='no server')\ndef test_d():\n    pass\n"
EXPECTED_FAILURE = "@pytest.mark.wheel\n@pytest.mark.xfail(strict=True)\ndef test_e():\n    assert False\n"
SKIPS_UNMARKED = "def test_f():\n    pytest.skip('another day')\n"
FAILS = "@pytest.mark.wheel\ndef test_g():\n    assert False\n"


@pytest.fixture
def run(tmp_path: Path):
    """Runs pytest in a new process on a test file made of `parts`, with some groups required."""

    def run_pytest(required: str, *parts: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "pytest.ini").write_text(
            "[pytest]\nmarkers =\n    wheel: builds the wheel\n    crash: kills processes\n"
        )
        (tmp_path / "test_parts.py").write_text("import pytest\n\n" + "\n\n".join(parts))
        environment = {**os.environ, "PYTHONPATH": str(SUPPORT), "CONVEMO_REQUIRE": required}
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "required_groups",
            "-p",
            "no:cacheprovider",
            str(tmp_path),
        ]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
        )

    return run_pytest


@pytest.mark.parametrize("skipping", [SKIPS, SKIPS_IN_FIXTURE, SKIPS_BY_MARK])
def test_skip_in_a_required_group_fails_the_run_and_is_reported(run, skipping: str) -> None:
    result = run("wheel", PASSES, skipping)
    assert result.returncode == pytest.ExitCode.TESTS_FAILED
    assert "was skipped, but the group 'wheel' is required" in result.stdout


def test_skip_in_an_optional_group_passes(run) -> None:
    assert run("", PASSES, SKIPS).returncode == pytest.ExitCode.OK


def test_required_group_without_tests_fails_the_run(run) -> None:
    result = run("wheel, crash", PASSES)
    assert result.returncode == pytest.ExitCode.TESTS_FAILED
    assert "no test of the required group 'crash' ran" in result.stdout
    assert "'wheel'" not in result.stdout


def test_expected_failure_and_skip_outside_the_group_pass(run) -> None:
    assert run("wheel", PASSES, EXPECTED_FAILURE, SKIPS_UNMARKED).returncode == pytest.ExitCode.OK


def test_failing_test_still_fails_the_run(run) -> None:
    assert run("wheel", PASSES, FAILS).returncode == pytest.ExitCode.TESTS_FAILED


def test_unknown_group_is_a_usage_error(run) -> None:
    result = run("wheels", PASSES)
    assert result.returncode == pytest.ExitCode.USAGE_ERROR
    assert "wheels" in result.stdout + result.stderr
