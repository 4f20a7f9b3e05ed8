"""Fixtures for the training tests of conversation models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from erc.models.utterance import UtteranceClassifier


@pytest.fixture
def tiny_classifier(tiny_encoder_dir: Path) -> UtteranceClassifier:
    """An utterance classifier with 28 labels over the tiny BERT, in evaluation mode."""
    from tiny_parts import build_classifier

    return build_classifier(tiny_encoder_dir)
