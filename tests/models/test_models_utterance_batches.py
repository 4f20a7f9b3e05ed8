"""Batched passes of the utterance classifier: input order, precision, samples and runners."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

from erc.models.mc_modes import SAMPLED_MODES, McMode, first_sampled_layer
from erc.models.utterance import UtteranceClassifier
from erc.models.utterance_batches import McDraw, encode_utterances

TEXTS = [(2, *range(30, 30 + length), 3) for length in (9, 1, 5, 12, 2, 5, 1)]


def _mean(logits: torch.Tensor) -> dict[str, np.ndarray]:
    return {"mean": logits.mean(dim=0).numpy(), "count": np.full(logits.shape[1], logits.shape[0])}


def test_encode_utterances_returns_results_in_input_order(tiny_classifier: UtteranceClassifier) -> None:
    found = encode_utterances(tiny_classifier, TEXTS, pad_id=0, batch_tokens=24)
    for row, text in enumerate(TEXTS):
        ids = torch.tensor([text])
        with torch.no_grad():
            alone = tiny_classifier(input_ids=ids, attention_mask=torch.ones_like(ids))
        np.testing.assert_allclose(found.logits[row], alone.logits[0], atol=1e-5)
        np.testing.assert_allclose(found.embedding[row], alone.embedding[0], atol=1e-5)
    assert found.drawn == {}


@pytest.mark.parametrize("mode", SAMPLED_MODES)
def test_encode_utterances_samples_equal_those_of_mc_forward(
    mode: McMode, tiny_classifier: UtteranceClassifier
) -> None:
    draw = McDraw(mode, 3, _mean, seed=5)
    found = encode_utterances(tiny_classifier, TEXTS, pad_id=0, batch_tokens=24, draw=draw)
    for row, text in enumerate(TEXTS):
        ids = torch.tensor([text])
        alone = tiny_classifier.mc_forward(ids, torch.ones_like(ids), 3, seed=5, mode=mode)
        np.testing.assert_allclose(found.drawn["mean"][row], alone.mean(dim=0)[0], atol=1e-5)
    assert found.drawn["count"].tolist() == [3] * len(TEXTS)


def test_encode_utterances_passes_every_text_to_its_runner_once(tiny_classifier: UtteranceClassifier) -> None:
    seen: list[int] = []

    def backwards(work: Callable[[list[int]], None], batches: Sequence[list[int]]) -> None:
        with torch.inference_mode():
            for batch in reversed(batches):
                seen.extend(batch)
                work(batch)

    found = encode_utterances(tiny_classifier, TEXTS, pad_id=0, batch_tokens=24, run=backwards)
    expected = encode_utterances(tiny_classifier, TEXTS, pad_id=0, batch_tokens=24)
    assert sorted(seen) == list(range(len(TEXTS)))
    np.testing.assert_array_equal(found.logits, expected.logits)


def test_encode_utterances_restores_training_mode(tiny_classifier: UtteranceClassifier) -> None:
    expected = encode_utterances(tiny_classifier, TEXTS, pad_id=0, batch_tokens=24).logits
    found = encode_utterances(tiny_classifier.train(), TEXTS, pad_id=0, batch_tokens=24).logits
    assert tiny_classifier.training
    np.testing.assert_array_equal(found, expected)


def test_encode_utterances_of_no_texts_is_empty(tiny_classifier: UtteranceClassifier) -> None:
    found = encode_utterances(tiny_classifier, [], pad_id=0, batch_tokens=24)
    assert found.logits.shape == (0, 28)
    assert found.embedding.shape == (0, tiny_classifier.embedding_width)


@pytest.mark.parametrize(
    ("mode", "top_k", "expected"), [("head", 2, None), ("top-k", 2, 4), ("top-k", 9, 0), ("full", 2, 0)]
)
def test_first_sampled_layer_of_six(mode: str, top_k: int, expected: int | None) -> None:
    assert first_sampled_layer(McMode(mode), layers=6, top_k=top_k) == expected


def test_first_sampled_layer_refuses_a_mode_without_sampling() -> None:
    with pytest.raises(ValueError, match="mode='off': use one of head, top-k, full"):
        first_sampled_layer(McMode.OFF, layers=6, top_k=1)
