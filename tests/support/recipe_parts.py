"""Helpers for the tests of recipes with the `erc` command."""

from __future__ import annotations

from typer.testing import CliRunner

from erc.cli.app import app
from erc.inference.scorers.settings import InferenceSettings

RECIPES = ("bioserc", "ckerc", "instructerc", "laercs", "speaker-memory")
SAID = {
    "joy": "I am so happy, thank you",
    "anger": "This is not what we agreed on",
    "neutral": "Okay, let us start",
}


FAST = InferenceSettings(precision="fp32", uncertainty="off")


def invoke(*arguments):
    result = CliRunner().invoke(app, [str(one) for one in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result
