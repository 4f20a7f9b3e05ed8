"""Networks over the tiny encoders of conftest.py, the same weights at every call."""

from __future__ import annotations

from pathlib import Path

import torch

from erc.models.encoder.encoder import load_encoder
from erc.models.utterance import UtteranceClassifier


def build_classifier(
    folder: Path, *, dropout: float = 0.2, hidden_dropout: float = 0.1
) -> UtteranceClassifier:
    """An utterance classifier over a tiny encoder folder, in evaluation mode; its head is strong enough that probabilities differ."""
    encoder = load_encoder(str(folder), hidden_dropout=hidden_dropout)
    with torch.random.fork_rng():
        torch.manual_seed(11)
        classifier = UtteranceClassifier(encoder=encoder, emotions=28, head_hidden=24, dropout=dropout)
    with torch.no_grad():
        classifier.head.output.weight.mul_(4.0)
    return classifier.eval()
