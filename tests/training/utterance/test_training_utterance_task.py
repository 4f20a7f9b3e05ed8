"""The utterance classifier's task: training of a tiny encoder, losses and figures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score
from tiny_parts import build_classifier
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from erc.models.encoder.tokenizing import encode_texts
from erc.models.utterance import UtteranceClassifier
from erc.training.loop.settings import OptimSettings
from erc.training.loop.trainer import train
from erc.training.utterance.task import LabelledText, UtteranceTask, predict_logits
from erc.uncertainty.calibration import Identity
from erc.uncertainty.crossfit import cross_fitted

WORDS = {"happy": 0, "angry": 1, "worried": 2}
LABELS = ("joy", "anger", "fear")


@pytest.fixture
def tokenizer(tiny_encoder_dir: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(tiny_encoder_dir)


def _examples(tokenizer: PreTrainedTokenizerBase, count: int, seed: int) -> list[LabelledText]:
    """Filler texts that contain each of three words with probability 0.5; each word is a label."""
    generator = np.random.default_rng(seed)
    fillers = ["i", "was", "about", "it", "and", "then", "she", "us", "report"]
    texts, targets = [], []
    for _ in range(count):
        held = generator.random(3) < 0.5
        words = [word for word, label in WORDS.items() if held[label]] + list(
            generator.choice(fillers, size=generator.integers(1, 5))
        )
        texts.append(" ".join(generator.permutation(words)))
        targets.append(held.astype(np.float32))
    return [
        LabelledText(input_ids=ids, targets=t)
        for ids, t in zip(encode_texts(tokenizer, texts, max_tokens=16)[0], targets, strict=True)
    ]


def _classifier(folder: Path) -> UtteranceClassifier:
    torch.manual_seed(0)
    return UtteranceClassifier(encoder=build_classifier(folder).encoder, emotions=3, head_hidden=16)


def test_tiny_encoder_learns_the_utterance_task(
    tiny_encoder_dir: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    task = UtteranceTask(
        train=_examples(tokenizer, 480, 0),
        dev=_examples(tokenizer, 100, 1),
        labels=LABELS,
        pad_id=0,
        positive_weights=None,
        precision="fp32",
    )
    model = _classifier(tiny_encoder_dir)
    before = task.evaluate(model.eval())
    optim = OptimSettings(
        learning_rate=3e-3,
        head_learning_rate=6e-3,
        epochs=4.0,
        batch_size=32,
        precision="fp32",
        ema_decay=0.9,
    )
    figures = train(model=model, task=task, optim=optim, run_dir=tmp_path, progress=False)
    assert figures["step"] <= 60
    assert before["macro_f1_at_half"] < 0.75
    assert figures["macro_f1_at_half"] > 0.9
    assert task.evaluate(model)["macro_f1"] == pytest.approx(figures["macro_f1"])


def test_utterance_task_head_parameters_are_those_of_the_head_only(
    tiny_encoder_dir: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    task = UtteranceTask(
        train=_examples(tokenizer, 2, 0), dev=[], labels=LABELS, pad_id=0, positive_weights=None
    )
    names = {"head.dense.weight", "head.dense.bias", "head.output.weight", "head.output.bias"}
    assert task.head_parameters(_classifier(tiny_encoder_dir)) == names


def test_utterance_task_loss_combines_labels_and_teacher_probabilities(
    tiny_encoder_dir: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    """If teachers equal the labels, the two loss parts differ only by the weight of positives."""
    examples = [LabelledText(e.input_ids, e.targets, soft=e.targets) for e in _examples(tokenizer, 8, 0)]
    model = _classifier(tiny_encoder_dir).eval()

    def loss(weights: torch.Tensor | None, share: float) -> float:
        task = UtteranceTask(
            train=examples, dev=[], labels=LABELS, pad_id=0, positive_weights=weights, soft_share=share
        )
        return task.loss(model, task.collate(examples)).item()

    plain, weighted = loss(None, 0.0), loss(torch.full((3,), 4.0), 0.0)
    assert weighted > 1.3 * plain
    assert loss(torch.full((3,), 4.0), 0.25) == pytest.approx(0.75 * weighted + 0.25 * plain, rel=1e-5)


def test_tokenize_truncates_to_the_limit_and_keeps_special_tokens(tokenizer: PreTrainedTokenizerBase) -> None:
    short, long = encode_texts(tokenizer, ["happy", "happy " * 50], max_tokens=7)[0]
    assert len(long) == 7
    assert (short[0], short[-1]) == (long[0], long[-1]) == (2, 3)


def test_predict_logits_keeps_the_input_order(
    tiny_encoder_dir: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    model = _classifier(tiny_encoder_dir).eval()
    texts = [example.input_ids for example in _examples(tokenizer, 40, 2)]
    together = predict_logits(model, texts, pad_id=0, precision="fp32", max_tokens=64)
    alone = np.concatenate([predict_logits(model, [text], pad_id=0, precision="fp32") for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    with pytest.raises(ValueError, match="no texts"):
        predict_logits(model, [], pad_id=0)


def test_utterance_task_chooses_checkpoints_by_cross_fitted_thresholds(
    tiny_encoder_dir: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Labels are unrelated to texts, so thresholds fitted on the scored texts would give better figures."""
    generator = np.random.default_rng(5)
    dev = [
        replace(one, targets=(generator.random(3) < 0.2).astype(np.float32))
        for one in _examples(tokenizer, 60, 3)
    ]
    model = _classifier(tiny_encoder_dir).eval()
    task = UtteranceTask(train=dev, dev=dev, labels=LABELS, pad_id=0, positive_weights=None, precision="fp32")
    logits = predict_logits(model, [one.input_ids for one in dev], pad_id=0, precision="fp32")
    targets = np.stack([one.targets for one in dev]) > 0.5
    decided = cross_fitted(logits, targets, calibrate=lambda *_: Identity("sigmoid")).decisions
    best_in_sample = np.mean(
        [
            max(f1_score(targets[:, c], logits[:, c] > cut, zero_division=0) for cut in logits[:, c] - 1e-6)
            for c in range(3)
        ]
    )
    found = task.evaluate(model)[task.primary_metric]
    assert found == pytest.approx(f1_score(targets, decided, average="macro", zero_division=0))
    assert found < best_in_sample - 0.05
