"""Training a language model: masks, packing, losses, weights and noise."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_examples import ANSWERS, LABELS, build_model, example, unequal

from erc.llm.base.adapters import LoraSettings, attach_lora
from erc.llm.scoring.masks import SHARED
from erc.metrics.evaluators import SingleLabelEvaluator
from erc.training.llm.answers import answer_losses, answer_scores, predict_answers
from erc.training.llm.batches import LlmExample, collate_examples, common_beginning, pack
from erc.training.llm.hooks import embedding_noise, enable_checkpointing
from erc.training.llm.task import LlmTask, as_labelled
from erc.training.loop.settings import OptimSettings
from erc.training.loop.task import MixedTask
from erc.training.loop.trainer import _Mixed, train
from erc.uncertainty.calibration import Temperature


def naive(model, one):
    rows = []
    for ids in one.answers:
        logits = model(input_ids=torch.tensor([[*one.prompt, *ids]])).logits[0].log_softmax(-1)
        rows.append(sum(logits[len(one.prompt) + i - 1, token] for i, token in enumerate(ids)))
    return torch.stack(rows)


@pytest.mark.parametrize("row_tokens", [None, 30, 200])
@pytest.mark.parametrize(
    ("family", "extra"),
    [
        ("llama", {}),
        ("gemma2", {"sliding_window": 6, "query_pre_attn_scalar": 8}),
        ("mistral", {"sliding_window": 6}),
    ],
)
@torch.no_grad()
def test_scores_of_a_packed_row_equal_separate_passes(family, extra, row_tokens):
    model = build_model(family, **extra)
    examples = [example(1, 12), example(2, 5), example(3, 17), example(4, 8, answers=ANSWERS[:2])]
    scores, counts = answer_scores(model, collate_examples(examples, pad_id=0, row_tokens=row_tokens))
    for row, one in zip(scores, examples, strict=True):
        torch.testing.assert_close(row[: len(one.answers)], naive(model, one), atol=1e-4, rtol=0)
    assert scores[3, 2] == -math.inf
    assert counts[0].tolist() == [3, 2, 4]


@torch.no_grad()
def test_logits_are_computed_for_answer_tokens_only():
    """Columns needed by one row are not computed for the other rows."""
    model, seen = build_model(), []
    model.lm_head.register_forward_hook(lambda module, inputs, output: seen.append(tuple(output.shape)))
    batch = collate_examples([example(1, 12), example(2, 5), example(3, 17)], pad_id=0)
    answer_scores(model, batch)
    assert seen == [(1, 3 * (3 + 2 + 4), 64)]
    assert model(input_ids=batch["input_ids"]).logits.shape[:2] == batch["input_ids"].shape


def alike(seed, length, beginning=20, **settings):
    """An example whose prompt starts with the shared prefix."""
    head = torch.randint(11, 60, (beginning,), generator=torch.Generator().manual_seed(99)).tolist()
    one = example(seed, length, **settings)
    return replace(one, prompt=(*head, *one.prompt))


@pytest.mark.parametrize("row_tokens", [60, 120, 1000])
@pytest.mark.parametrize(("family", "extra"), [("llama", {}), ("mistral", {"sliding_window": 9})])
@torch.no_grad()
def test_scores_after_a_shared_prefix_equal_separate_passes(family, extra, row_tokens):
    model = build_model(family, **extra)
    examples = [
        alike(1, 12),
        alike(2, 5),
        example(3, 17),
        alike(4, 8, answers=ANSWERS[:2]),
        alike(2, 5, target=0),
        example(5, 9),
    ]
    batch = collate_examples(examples, pad_id=0, row_tokens=row_tokens)
    scores, _ = answer_scores(model, batch)
    for row, one in zip(scores, examples, strict=True):
        torch.testing.assert_close(row[: len(one.answers)], naive(model, one), atol=1e-4, rtol=0)
    assert (batch["segments"] == SHARED).sum() >= 20


def test_gradients_after_a_shared_prefix_equal_those_of_separate_rows():
    model, examples = build_model(), [alike(1, 12, target=0), alike(2, 5), alike(3, 9, target=2)]
    gradients = []
    for row_tokens in (None, 500):
        batch = collate_examples(examples, pad_id=0, row_tokens=row_tokens)
        model.zero_grad()
        answer_loss(
            *answer_scores(model, batch), batch, kind="both", class_weights=None, label_smoothing=0.0
        ).backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    for plain, packed in zip(*gradients, strict=True):
        torch.testing.assert_close(packed, plain, atol=1e-5, rtol=1e-3)


def test_shared_prefix_is_stored_once_per_row():
    examples = [alike(i, 6, beginning=50) for i in range(8)]
    batch = collate_examples(examples, pad_id=0, row_tokens=400)
    assert batch["input_ids"].shape == (1, 50 + 8 * (examples[0].length - 50))


@given(
    prompts=st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=8).map(tuple), min_size=2, max_size=6)
)
@settings(deadline=None)
def test_common_beginning_is_the_longest_shared_prefix_shorter_than_every_prompt(prompts):
    length = common_beginning(prompts)
    fits = [
        n for n in range(9) if n < min(map(len, prompts)) and len({prompt[:n] for prompt in prompts}) == 1
    ]
    assert length == max(fits)


@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=30), row=st.integers(10, 60))
@settings(deadline=None)
def test_packing_keeps_every_example_once_and_within_a_row(lengths, row):
    rows = pack(lengths, row_tokens=row)
    assert sorted(index for part in rows for index in part) == list(range(len(lengths)))
    assert all(sum(lengths[i] for i in part) <= row or len(part) == 1 for part in rows)


def test_packing_reduces_padding():
    examples = [example(i, length) for i, length in enumerate([40, 5, 6, 7, 8, 5])]
    packed, plain = (
        collate_examples(examples, pad_id=0, row_tokens=size)["input_ids"].numel() for size in (60, None)
    )
    assert packed < 0.6 * plain


def answer_loss(*given, **settings):
    """The loss as the sum of its means."""
    return sum(mean for mean, _ in answer_losses(*given, **settings))


def batch_of(*examples):
    return collate_examples(examples, pad_id=0)


def test_token_loss_is_the_mean_over_answer_tokens():
    examples = [example(1, target=0), example(2, target=1)]
    scores = torch.tensor([[-3.0, -9.0, -9.0], [-9.0, -1.0, -9.0]])
    counts = torch.tensor([[3.0, 2, 4], [3, 2, 4]])
    loss = answer_loss(
        scores, counts, batch_of(*examples), kind="tokens", class_weights=None, label_smoothing=0.0
    )
    assert loss.item() == pytest.approx((3 + 1) / 5)


def test_label_loss_is_the_class_weighted_cross_entropy_over_the_set():
    examples = [example(1, target=0, emotion=True), example(2, target=1, emotion=True)]
    scores, counts = torch.tensor([[0.0, -1.0, -2.0], [-2.0, -2.0, 0.0]]), torch.ones(2, 3)
    found = answer_loss(
        scores,
        counts,
        batch_of(*examples),
        kind="labels",
        class_weights=torch.tensor([1.0, 3.0, 1.0]),
        label_smoothing=0.1,
    )
    expected = torch.nn.CrossEntropyLoss(reduction="none", label_smoothing=0.1)(scores, torch.tensor([0, 1]))
    assert found.item() == pytest.approx(((expected[0] + 3 * expected[1]) / 4).item(), rel=1e-5)


def test_class_weights_do_not_apply_to_auxiliary_tasks():
    examples = [example(1, target=0), example(2, target=1)]
    scores, counts = torch.tensor([[0.0, -1.0, -2.0], [-2.0, -2.0, 0.0]]), torch.ones(2, 3)
    settings = {"kind": "labels", "label_smoothing": 0.0}
    weighted = answer_loss(
        scores, counts, batch_of(*examples), class_weights=torch.tensor([1.0, 9.0, 1.0]), **settings
    )
    assert (
        weighted.item()
        == answer_loss(scores, counts, batch_of(*examples), class_weights=None, **settings).item()
    )


@pytest.mark.parametrize("kind", ["tokens", "labels", "both"])
def test_dev_loss_does_not_depend_on_batches(kind):
    """Every token or closed example has the same weight, in one batch or example by example."""
    model = build_model()
    parts = {
        "train": [],
        "dev": [replace(one, emotion=False) for one in unequal(6)],
        "labels": LABELS,
        "pad_id": 0,
        "loss": kind,
    }
    whole, single = (LlmTask(**parts, max_tokens=tokens) for tokens in (10_000, 1))
    with torch.no_grad():
        expected = float(whole.loss(model, whole.collate(parts["dev"])))
    assert whole.evaluate(model)["loss"] == pytest.approx(expected, rel=1e-5)
    assert single.evaluate(model)["loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", ["tokens", "labels", "both"])
def test_task_weight_does_not_depend_on_the_rest_of_the_batch(kind):
    """Dividing by the weights would cancel them in a batch of a single task."""
    scores, counts = torch.tensor([[-0.5, -1.0], [-5.0, -0.2]]), torch.ones(2, 2)
    given = {"kind": kind, "class_weights": None, "label_smoothing": 0.0}
    full, tenth = ([example(1, target=0), example(2, target=0, weight=weight)] for weight in (1.0, 0.1))
    alone = [answer_loss(scores[1:], counts[1:], batch_of(one[1]), **given).item() for one in (full, tenth)]
    assert alone[1] == pytest.approx(0.1 * alone[0], rel=1e-5)
    beside = [answer_loss(scores, counts, batch_of(*both), **given).item() for both in (full, tenth)]
    assert beside[0] - beside[1] == pytest.approx(0.9 * alone[0] / 2, rel=1e-5)


def test_every_batch_holds_the_same_share_of_each_task():
    """This holds even if the lengths, by which batches are filled, differ between tasks."""
    made = [example(i, length=30) for i in range(80)] + [
        example(i, length=8, weight=0.1, kind=1) for i in range(40)
    ]
    task = LlmTask(train=made, dev=[], labels=("a",), pad_id=0)
    assert isinstance(task, MixedTask)
    order = list(_Mixed(12, task.lengths, kinds=task.kinds, seed=3))
    assert sorted(order) == list(range(120))
    assert {sum(task.kinds[i] for i in order[start : start + 12]) for start in range(0, 120, 12)} == {4}


@pytest.mark.parametrize("kind", ["tokens", "labels", "both"])
def test_free_text_loss_is_the_mean_over_tokens(kind):
    free = example(1, target=0, answers=((5, 6, 2),))
    scores, counts = torch.tensor([[-3.0]]), torch.tensor([[3.0]])
    found = answer_loss(scores, counts, batch_of(free), kind=kind, class_weights=None, label_smoothing=0.2)
    assert found.item() == pytest.approx(1.0)


def test_label_loss_with_free_text_is_the_sum_of_both_means():
    """3 tokens of -3 nats in all cost 1 per token; two equal labels cost ln 2; the means are summed."""
    free, closed = example(1, target=0, answers=((5, 6, 2),)), example(2, target=1, answers=ANSWERS[:2])
    scores, counts = torch.tensor([[-3.0, -torch.inf], [-4.0, -4.0]]), torch.tensor([[3.0, 0.0], [2.0, 2.0]])
    found = answer_loss(
        scores, counts, batch_of(free, closed), kind="labels", class_weights=None, label_smoothing=0.0
    )
    assert found.item() == pytest.approx(1.0 + math.log(2))


@pytest.mark.parametrize("kind", ["tokens", "labels", "both"])
def test_gradients_are_finite_with_unequal_numbers_of_candidates(kind):
    model = build_model()
    scores, counts = answer_scores(
        model,
        batch_of(example(1), example(2, answers=ANSWERS[:2]), example(3, target=0, answers=ANSWERS[:1])),
    )
    answer_loss(
        scores,
        counts,
        batch_of(example(1), example(2), example(3, target=0)),
        kind=kind,
        class_weights=None,
        label_smoothing=0.1,
    ).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def noise_of(model, batch, alpha):
    """The noise added to the input embeddings of a training batch, (R, T, D)."""
    seen = []
    handle = model.model.layers[0].register_forward_pre_hook(
        lambda module, inputs, keywords: seen.append((*inputs, keywords.get("hidden_states"))[0]),
        with_kwargs=True,
    )
    answer_scores(model, batch, neftune=alpha)
    handle.remove()
    return (seen[0] - model.get_input_embeddings()(batch["input_ids"])).detach()


@pytest.mark.parametrize("row_tokens", [None, 400])
def test_noise_is_scaled_by_the_length_of_the_example(row_tokens):
    model, examples = build_model().train(), [example(1, 12), example(2, 40), example(3, 90)]
    batch = collate_examples(examples, pad_id=0, row_tokens=row_tokens)
    assert len(batch["input_ids"]) == (3 if row_tokens is None else 1)
    noise = noise_of(model, batch, 5.0)
    for number, one in enumerate(examples):
        found = noise[batch["segments"] == (0 if row_tokens is None else number)].abs()
        if row_tokens is None:
            found = noise[number, : one.length].abs()
        assert len(found) == one.length
        size = 5.0 / math.sqrt(one.length * 32)
        assert 0.95 * size < found.max() <= size * (1 + 1e-4)
    assert not noise[batch["example_tokens"] == 0].any()


def test_noise_of_a_shared_prefix_is_scaled_by_the_mean_length():
    batch = collate_examples([alike(1, 10), alike(2, 40)], pad_id=0, row_tokens=200)
    noise = noise_of(build_model().train(), batch, 5.0)
    mean = (alike(1, 10).length + alike(2, 40).length) / 2
    size = 5.0 / math.sqrt(mean * 32)
    assert 0.95 * size < noise[batch["segments"] == SHARED].abs().max() <= size * (1 + 1e-4)


def test_noise_is_added_in_training_mode_only():
    model, batch = build_model(), collate_examples([example(1)], pad_id=0)
    assert not noise_of(model, batch, 50.0).any()
    model.train()
    assert noise_of(model, batch, 50.0).any()
    assert not noise_of(model, batch, 0.0).any()
    with torch.no_grad():
        assert not noise_of(model, batch, 50.0).any()
    with embedding_noise(model, batch["example_tokens"], alpha=50.0):
        pass
    quiet = model(input_ids=batch["input_ids"]).logits
    assert torch.equal(quiet, model(input_ids=batch["input_ids"]).logits)


def test_task_trains_with_the_given_noise():
    losses = []
    for alpha in (0.0, 50.0):
        task = LlmTask(train=[example(1)], dev=[example(1)], labels=LABELS, pad_id=0, neftune=alpha)
        losses.append(task.loss(build_model().train(), task.collate(task.examples)).item())
    assert losses[0] != losses[1]


def test_gradient_checkpointing_gives_the_same_gradients():
    gradients = []
    for checkpointing in (False, True):
        model = attach_lora(build_model(), LoraSettings(r=2, dropout=0.0)).train()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "lora_" in name:
                    parameter.fill_(0.05)
        if checkpointing:
            enable_checkpointing(model)
        task = LlmTask(train=[example(1)], dev=[example(1)], labels=LABELS, pad_id=0)
        task.loss(model, task.collate(task.examples)).backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    assert gradients[0]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("extra", [{}, {"sliding_window": 6}])
def test_dev_scores_equal_separate_passes(extra):
    model, examples = (
        build_model("mistral" if extra else "llama", **extra),
        [example(i, length) for i, length in enumerate((4, 9, 30))],
    )
    grown = [
        replace(examples[2], prompt=examples[2].prompt[:cut]) for cut in (12, 25)
    ]  # prompts of one dialogue share a prefix
    every = [*examples, *grown]
    expected = torch.stack([naive(model, one) for one in every]).double().detach()
    for limit in (40, 1024):
        torch.testing.assert_close(
            predict_answers(model, every, max_tokens=limit), expected, atol=1e-4, rtol=0
        )


def planted(count, seed):
    """One token of the prompt determines the emotion."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for i in range(count):
        prompt = torch.randint(20, 60, (8,), generator=generator).tolist()
        prompt[int(torch.randint(0, 8, (1,), generator=generator))] = 11 + i % 3
        made.append(LlmExample(tuple(prompt), ANSWERS, i % 3, emotion=True))
    return made


@pytest.mark.parametrize(("loss", "learning_rate", "epochs"), [("labels", 2e-2, 5), ("tokens", 5e-3, 12)])
def test_adapter_learns_a_planted_signal(loss, learning_rate, epochs, tmp_path):
    model = attach_lora(build_model(), LoraSettings(r=8, alpha=32, dropout=0.05), seed=2)
    task = LlmTask(
        train=planted(120, 1), dev=planted(45, 2), labels=LABELS, pad_id=0, loss=loss, row_tokens=256
    )
    optim = OptimSettings(
        learning_rate=learning_rate,
        epochs=epochs,
        batch_size=12,
        ema_decay=None,
        precision="fp32",
        warmup_fraction=0.1,
        weight_decay=0.0,
    )
    figures = train(model=model, task=task, optim=optim, run_dir=tmp_path, progress=False)
    assert figures["accuracy"] > 0.9


def test_dev_figures_correct_for_label_length():
    """Scores separate the classes, but a cost per label token makes the shortest label the top one."""
    targets = np.arange(300) % 3
    scores = 3.0 * np.eye(3)[targets] - np.array([8.0, 4.0, 10.0])
    assert set(scores.argmax(axis=1)) == {1}
    assert (as_labelled(scores, targets, groups=np.arange(300)).argmax(axis=1) == targets).all()


def test_dev_figures_of_uninformative_scores_stay_at_chance():
    generator = np.random.default_rng(0)
    targets, scores = np.arange(300) % 3, generator.normal(size=(300, 3))
    assert (as_labelled(scores, targets, groups=np.arange(300)).argmax(axis=1) == targets).mean() < 0.45


def test_dev_figures_of_a_dialogue_are_calibrated_on_other_dialogues():
    """Each of two dialogues is calibrated on the other, even if their turns alternate."""
    generator = np.random.default_rng(1)
    groups = generator.permutation(np.arange(60) % 2)
    targets = np.where(
        groups == 0, np.arange(60) % 3, np.arange(60) % 2
    )  # the second never has the third label
    scores = generator.normal(size=(60, 3)) + 2.0 * np.eye(3)[targets]
    found = as_labelled(scores, targets, groups=groups)
    for own, other in ((groups == 0, groups == 1), (groups == 1, groups == 0)):
        expected = Temperature.fit(scores[other], targets[other], bias=True)(scores[own])
        np.testing.assert_allclose(np.exp(found[own]), expected, atol=1e-9)
    assert (as_labelled(scores, targets, groups=np.zeros(60)) == scores).all()


def test_task_calibrates_dev_scores_across_dialogues():
    """Scores of a single dialogue are not calibrated."""
    model, examples = build_model(), [example(seed, target=seed % 3, emotion=True) for seed in range(12)]
    scores, targets = predict_answers(model, examples).numpy(), np.array([one.target for one in examples])
    for groups in (np.zeros(12, dtype=int), np.arange(12) % 3):
        dev = [replace(one, dialogue=int(group)) for one, group in zip(examples, groups, strict=True)]
        expected = SingleLabelEvaluator(LABELS)(as_labelled(scores, targets, groups=groups), targets)
        assert LlmTask(train=[], dev=dev, labels=LABELS, pad_id=0).evaluate(model) == pytest.approx(expected)


def test_token_loss_gradients_equal_those_of_a_causal_language_model_loss():
    """Compares packed rows with all candidates to one padded row per prompt with only its answer."""
    model = attach_lora(build_model(), LoraSettings(r=4, dropout=0.0)).train()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(torch.linspace(-0.1, 0.1, parameter.numel()).view_as(parameter))
    examples = planted(9, 1)
    task = LlmTask(train=examples, dev=examples, labels=LABELS, pad_id=0, loss="tokens", row_tokens=64)
    task.loss(model, task.collate(examples)).backward()
    found = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    rows = [[*one.prompt, *one.answers[one.target]] for one in examples]
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    hidden = [[-100] * len(one.prompt) + list(one.answers[one.target]) for one in examples]
    labels = torch.tensor([row + [-100] * (width - len(row)) for row in hidden])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    model(input_ids=ids, attention_mask=mask, labels=labels).loss.backward()
    expected = [p.grad for p in model.parameters() if p.grad is not None]
    assert max(float(grad.abs().max()) for grad in expected) > 1e-3
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-3)
