"""Kills two writing processes with a script, which can also run longer by hand."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "crash_speakers.py"


@pytest.mark.crash
def test_killed_writers_lose_nothing_they_acknowledged() -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--runs", "50", "--seconds", "200"],
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["problems"] == 0
    assert figures["runs"] > 0
    assert figures["conversations_acknowledged"] > 0
