"""Builds networks over the tiny encoders of conftest.py, with the same weights on every call."""

from __future__ import annotations

from pathlib import Path

import torch

from erc.models.encoder.encoder import load_encoder
from erc.models.utterance import UtteranceClassifier


def build_classifier(
    folder: Path, *, dropout: float = 0.2, hidden_dropout: float = 0.1
) -> UtteranceClassifier:
    """Build an utterance classifier with 28 labels over a tiny encoder folder, in evaluation mode.

    The head's weights are scaled up so that probabilities differ clearly.
    """
    encoder = load_encoder(str(folder), hidden_dropout=hidden_dropout)
    with torch.random.fork_rng():
        torch.manual_seed(11)
        classifier = UtteranceClassifier(encoder=encoder, emotions=28, head_hidden=24, dropout=dropout)
    with torch.no_grad():
        classifier.head.output.weight.mul_(4.0)
    return classifier.eval()
