"""Helpers for the tests of the `erc` command with language models."""

from __future__ import annotations

import numpy as np
from tiny_emonet import ANA, talk

from erc.emotions import load_emotion_set
from erc.inference.scorers.settings import InferenceSettings

LABELS = load_emotion_set("meld").labels


FAST = InferenceSettings(precision="fp32", uncertainty="off")


SHORT = talk("a", ANA[:3])


def nowhere():
    raise AssertionError("no vector is needed")


def numbers(predictions):
    return np.array([[prediction.probabilities[label] for label in LABELS] for prediction in predictions])
