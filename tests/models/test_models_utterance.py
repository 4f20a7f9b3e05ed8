"""The utterance classifier; Monte-Carlo samples do not depend on the batch."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_parts import build_classifier
from transformers import AutoTokenizer

from erc.errors import NoDropoutError
from erc.models.encoder.batching import pad_tokens
from erc.models.mc_modes import SAMPLED_MODES, McMode
from erc.models.utterance import UtteranceClassifier
from erc.uncertainty.decomposition import binary_decomposition

MODES = SAMPLED_MODES
SENTENCES = (
    "I am so happy to see you again!",
    "This is not what we agreed on.",
    "Why did nobody tell me?",
    "Okay, let us start with the report from yesterday.",
    "She was surprised, then sad, and then she laughed.",
    "No. It hurts.",
)
TEXTS = (*SENTENCES, "Hi!", " ".join(SENTENCES))  # 4 to 60 tokens: one text is longer than a block of masks
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(scope="module")
def classifier(tiny_encoder_dir: Path) -> UtteranceClassifier:
    return build_classifier(tiny_encoder_dir)


@pytest.fixture(scope="module")
def tokens(tiny_encoder_dir: Path) -> list[list[int]]:
    return AutoTokenizer.from_pretrained(tiny_encoder_dir)(list(TEXTS))["input_ids"]


@pytest.fixture(scope="module")
def batch(tokens: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    return pad_tokens(tokens, pad_id=0)


Batch = tuple[torch.Tensor, torch.Tensor]


def _forward(model: UtteranceClassifier, batch: Batch) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=batch[0], attention_mask=batch[1]).logits


def test_classifier_returns_logits_and_the_head_input_embedding(
    classifier: UtteranceClassifier, batch: Batch
) -> None:
    with torch.no_grad():
        output = classifier(input_ids=batch[0], attention_mask=batch[1])
        assert output.logits.shape == (8, 28)
        assert output.embedding.shape == (8, classifier.embedding_width) == (8, 64)
        assert torch.equal(classifier.head(output.embedding), output.logits)


@pytest.mark.parametrize(("pooling", "width"), [("mean", 32), ("cls", 32), ("mean_cls", 64)])
def test_classifier_embedding_width_follows_the_pooling(
    tiny_encoder_dir: Path, batch: Batch, pooling: str, width: int
) -> None:
    encoder = build_classifier(tiny_encoder_dir).encoder
    model = UtteranceClassifier(encoder=encoder, emotions=3, pooling=pooling).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        output = model(input_ids=batch[0], attention_mask=batch[1])
    assert output.embedding.shape[1] == model.embedding_width == width
    assert output.logits.shape == (8, 3)


# --- Monte-Carlo dropout
# --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_mc_forward_returns_samples_by_utterances_by_emotions(
    classifier: UtteranceClassifier, batch: Batch, mode: McMode
) -> None:
    logits = classifier.mc_forward(*batch, 5, mode=mode)
    assert logits.shape == (5, 8, 28)
    assert not logits.requires_grad
    assert len({round(float(v), 6) for v in logits[:, 0, 0]}) == 5


@pytest.mark.parametrize("mode", MODES)
def test_mc_forward_leaves_the_deterministic_pass_bit_identical(
    classifier: UtteranceClassifier, batch: Batch, mode: McMode
) -> None:
    before = _forward(classifier, batch)
    state = {name: value.clone() for name, value in classifier.state_dict().items()}
    classifier.mc_forward(*batch, 3, mode=mode)
    assert torch.equal(_forward(classifier, batch), before)
    assert all(torch.equal(value, state[name]) for name, value in classifier.state_dict().items())
    assert not any(module.training for module in classifier.modules())


@pytest.mark.parametrize("mode", MODES)
@settings(deadline=None, max_examples=12, derandomize=True)
@given(data=st.data())
def test_mc_forward_does_not_depend_on_batching(
    classifier: UtteranceClassifier, batch: Batch, tokens: list[list[int]], mode: McMode, data: st.DataObject
) -> None:
    """Batch, order, padding and sub-batches are random; samples always equal those of the whole batch."""
    chosen = data.draw(st.lists(st.sampled_from(range(len(TEXTS))), min_size=1, unique=True))
    rows = data.draw(st.integers(1, 50))
    padding = data.draw(st.integers(0, 20))
    ids, mask = pad_tokens([tokens[i] for i in chosen], pad_id=0)
    ids, mask = torch.nn.functional.pad(ids, (0, padding)), torch.nn.functional.pad(mask, (0, padding))
    expected = classifier.mc_forward(*batch, 4, seed=5, mode=mode)[:, chosen]
    torch.testing.assert_close(
        classifier.mc_forward(ids, mask, 4, max_batch_size=rows, seed=5, mode=mode), expected, **CLOSE
    )


@pytest.mark.parametrize("fixture", ["tiny_roberta_dir", "tiny_modernbert_dir"])
def test_mc_forward_of_other_families_does_not_depend_on_the_batch(
    request: pytest.FixtureRequest, fixture: str
) -> None:
    folder: Path = request.getfixturevalue(fixture)
    model, tokenizer = build_classifier(folder), AutoTokenizer.from_pretrained(folder)
    tokens = tokenizer(list(SENTENCES))["input_ids"]
    together = model.mc_forward(*pad_tokens(tokens, pad_id=tokenizer.pad_token_id), 3, mode="full")
    alone = [
        model.mc_forward(*pad_tokens([row], pad_id=tokenizer.pad_token_id), 3, mode="full") for row in tokens
    ]
    torch.testing.assert_close(torch.cat(alone, dim=1), together, **CLOSE)
    assert together.std(dim=0).min() > 0


@pytest.mark.parametrize("mode", MODES)
def test_mc_forward_with_fewer_samples_is_a_prefix_of_more(
    classifier: UtteranceClassifier, batch: Batch, mode: McMode
) -> None:
    torch.testing.assert_close(
        classifier.mc_forward(*batch, 6, mode=mode)[:2], classifier.mc_forward(*batch, 2, mode=mode), **CLOSE
    )


@pytest.mark.parametrize("mode", MODES)
def test_mc_forward_depends_on_the_seed_only(
    classifier: UtteranceClassifier, batch: Batch, mode: McMode
) -> None:
    first = classifier.mc_forward(*batch, 3, seed=1, mode=mode)
    assert torch.equal(classifier.mc_forward(*batch, 3, seed=1, mode=mode), first)
    assert not torch.allclose(classifier.mc_forward(*batch, 3, seed=2, mode=mode), first, atol=1e-3)


def test_mc_forward_does_not_use_the_global_generator(classifier: UtteranceClassifier, batch: Batch) -> None:
    torch.manual_seed(1)
    first = classifier.mc_forward(*batch, 2, mode="full")
    after = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), after)
    assert torch.equal(classifier.mc_forward(*batch, 2, mode="full"), first)


def test_mc_forward_and_deterministic_passes_run_in_two_threads(
    classifier: UtteranceClassifier, batch: Batch
) -> None:
    plain, sampled = _forward(classifier, batch), classifier.mc_forward(*batch, 3, seed=4, mode="full")
    wrong: list[str] = []

    def work(first: int) -> None:
        for turn in range(12):
            if (turn + first) % 2:
                if not torch.equal(_forward(classifier, batch), plain):
                    wrong.append(f"deterministic pass {turn}")
            elif not torch.equal(classifier.mc_forward(*batch, 3, seed=4, mode="full"), sampled):
                wrong.append(f"sampled pass {turn}")

    threads = [threading.Thread(target=work, args=(first,)) for first in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_mc_forward_with_one_sample_has_zero_epistemic_uncertainty(
    classifier: UtteranceClassifier, batch: Batch
) -> None:
    for mode in MODES:
        samples = torch.sigmoid(classifier.mc_forward(*batch, 1, mode=mode)).double().numpy()
        assert (binary_decomposition(samples).epistemic == 0.0).all()


def test_mc_forward_splits_entropy_into_parts_that_add_up(
    classifier: UtteranceClassifier, batch: Batch
) -> None:
    parts = binary_decomposition(
        torch.sigmoid(classifier.mc_forward(*batch, 8, mode="full")).double().numpy()
    )
    assert parts.total.shape == (8, 28)
    assert parts.epistemic.max() > 1e-4
    np.testing.assert_allclose(parts.aleatoric + parts.epistemic, parts.total, atol=1e-12)


def test_mc_forward_mean_of_many_samples_is_the_expectation(tiny_encoder_dir: Path, batch: Batch) -> None:
    """With dropout before the linear output layer only, the expectation is the deterministic logit."""
    model = build_classifier(tiny_encoder_dir)
    model.head.input_dropout.p = 0.0
    samples = model.mc_forward(*batch, 3000, mode="head")
    error = samples.std(dim=0) / 3000**0.5
    distance = (samples.mean(dim=0) - _forward(model, batch)).abs() / error
    assert distance.max() < 5.0  # 224 correlated numbers, in standard errors
    assert error.min() > 0


def test_mc_forward_top_k_with_all_layers_equals_full(classifier: UtteranceClassifier, batch: Batch) -> None:
    full = classifier.mc_forward(*batch, 3, mode="full")
    assert torch.equal(classifier.mc_forward(*batch, 3, mode="top-k", top_k=2), full)
    assert torch.equal(classifier.mc_forward(*batch, 3, mode="top-k", top_k=9), full)


def test_mc_forward_top_k_samples_only_the_upper_layers(tiny_encoder_dir: Path, batch: Batch) -> None:
    lower_is_noisy, lower_is_not = build_classifier(tiny_encoder_dir), build_classifier(tiny_encoder_dir)
    for part in lower_is_not.encoder.layers[0].modules():
        if hasattr(part, "site"):
            part.p = 0.0  # type: ignore[assignment]
    top_one = lower_is_noisy.mc_forward(*batch, 3, mode="top-k", top_k=1)
    torch.testing.assert_close(top_one, lower_is_not.mc_forward(*batch, 3, mode="top-k", top_k=2), **CLOSE)
    assert not torch.allclose(top_one, lower_is_noisy.mc_forward(*batch, 3, mode="head"), atol=1e-4)
    assert not torch.allclose(top_one, lower_is_noisy.mc_forward(*batch, 3, mode="full"), atol=1e-4)


def test_mc_forward_head_equals_sampling_the_head_over_the_embedding(
    classifier: UtteranceClassifier, batch: Batch
) -> None:
    with torch.no_grad():
        embedding = classifier(input_ids=batch[0], attention_mask=batch[1]).embedding
    torch.testing.assert_close(
        classifier.mc_head(embedding, n_samples=4, seed=9),
        classifier.mc_forward(*batch, 4, seed=9, mode="head"),
        **CLOSE,
    )


def test_mc_forward_encodes_at_most_max_batch_size_utterances_at_once(
    classifier: UtteranceClassifier, batch: Batch
) -> None:
    seen: list[int] = []
    handle = classifier.encoder.layers[0].register_forward_pre_hook(
        lambda module, args: seen.append(args[0].shape[0])
    )
    try:
        for mode in MODES:
            classifier.mc_forward(*batch, 4, max_batch_size=3, mode=mode)
    finally:
        handle.remove()
    assert max(seen) <= 3


def test_mc_forward_head_samples_at_most_max_batch_size_rows_at_once(
    classifier: UtteranceClassifier, batch: Batch
) -> None:
    seen: list[int] = []
    handle = classifier.head.output.register_forward_pre_hook(
        lambda module, args: seen.append(args[0].shape[0])
    )
    with handle:
        expected = classifier.mc_forward(*batch, 4, mode="head")
        assert max(seen) > 3
        seen.clear()
        found = classifier.mc_forward(*batch, 4, max_batch_size=3, mode="head")
    assert max(seen) <= 3
    torch.testing.assert_close(found, expected, **CLOSE)


def test_mc_forward_samples_every_dropout_by_default(classifier: UtteranceClassifier, batch: Batch) -> None:
    ids, mask = batch
    expected = classifier.mc_forward(ids, mask, 3, mode="full")
    assert torch.equal(
        classifier.mc_forward(input_ids=ids, attention_mask=mask, n_samples=3, max_batch_size=256), expected
    )
    assert not torch.allclose(classifier.mc_forward(ids, mask, 3, mode="head"), expected, atol=1e-4)


@pytest.mark.parametrize("mode", MODES)
def test_mc_forward_refuses_a_model_without_dropout(
    tiny_encoder_dir: Path, batch: Batch, mode: McMode
) -> None:
    with pytest.raises(NoDropoutError, match="every sample would be the same"):
        build_classifier(tiny_encoder_dir, dropout=0.0, hidden_dropout=0.0).mc_forward(*batch, 2, mode=mode)


def test_mc_forward_head_mode_refuses_a_head_without_dropout(tiny_encoder_dir: Path, batch: Batch) -> None:
    model = build_classifier(tiny_encoder_dir, dropout=0.0, hidden_dropout=0.1)
    with pytest.raises(NoDropoutError):
        model.mc_forward(*batch, 2, mode="head")
    assert model.mc_forward(*batch, 2, mode="full").std(dim=0).max() > 0


def test_mc_forward_refuses_training_mode(tiny_encoder_dir: Path, batch: Batch) -> None:
    with pytest.raises(RuntimeError, match="evaluation mode"):
        build_classifier(tiny_encoder_dir).train().mc_forward(*batch, 2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"n_samples": 0},
        {"n_samples": -1},
        {"n_samples": 2, "mode": "tail"},
        {"n_samples": 2, "mode": "top-k", "top_k": 0},
    ],
)
def test_mc_forward_refuses_invalid_settings(
    classifier: UtteranceClassifier, batch: Batch, wrong: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=next(reversed(wrong))):
        classifier.mc_forward(*batch, **wrong)
