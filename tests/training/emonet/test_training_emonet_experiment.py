"""Training conversation models: task, histories, controls, stored features, several tasks, configurations."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from erc.config import ExperimentConfig, load_config
from erc.config.emonet import EmoNetConfig
from erc.data.chronology import sequence_numbers
from erc.data.conversation import Conversation, Utterance
from erc.data.history import HistoryProvider, Moment
from erc.data.identity import speaker_key
from erc.errors import ConfigError, InputError
from erc.models.dropout import SeededDropout
from erc.models.emonet.build import build_emonet
from erc.models.emonet.network import EmoNet
from erc.models.emonet.reads import HistoryKind
from erc.models.emonet.settings import EmoNetSettings
from erc.models.encoder.encoder import Encoder, load_encoder, load_tokenizer
from erc.models.speaker_embedding import SpeakerVocabulary
from erc.models.turn_batch import TurnBatch
from erc.models.turn_builder import TurnBuilder
from erc.models.utterance import UtteranceClassifier
from erc.resources import resource_dir
from erc.training.emonet.features import Features, corpus_features, module_digest
from erc.training.emonet.settings import emonet_settings
from erc.training.emonet.task import EmoNetTask, corpus_history, predict_turns
from erc.training.loop.settings import OptimSettings
from erc.training.loop.trainer import train
from erc.training.multitask.task import MultiTask, MultiTaskModel

LABELS = ("joy", "anger")
LINES = {
    "joy": "I am so happy to see you again, thank you!",
    "anger": "This is not what we agreed on and I am angry.",
}


def talk(name: str, moods: str, *, episode: int, speakers: str = "AB") -> Conversation:
    """A conversation whose turns are happy (j), angry (a) or unlabelled (-)."""
    words = {"j": "joy", "a": "anger"}
    turns = []
    for i, mood in enumerate(moods):
        labels = (words[mood],) if mood in words else ()
        text = LINES[labels[0]] if labels else "Okay."
        turns.append(Utterance(f"{name}-{i}", i, speakers[i % len(speakers)], text, emotions=labels))
    return Conversation(name, tuple(turns), corpus="tiny", meta={"season": 1, "episode": episode})


TRAIN = [talk("t1", "ja-j", episode=1), talk("t3", "aajj", episode=3), talk("t4", "ja", episode=4)]
DEV = [talk("d2", "ajj", episode=2), talk("d5", "j-a", episode=5)]


def encoder(folder: Path) -> Encoder:
    torch.manual_seed(1)
    return load_encoder(str(folder), hidden_dropout=0.1)


def tiny_classifier(folder: Path) -> UtteranceClassifier:
    torch.manual_seed(2)
    return UtteranceClassifier(encoder=encoder(folder), emotions=4).eval()


def widths(features: Features) -> dict[str, int]:
    return {
        "embedding_width": features.embeddings.shape[1],
        "observed_labels": features.probabilities.shape[1],
    }


def make_builder(
    folder: Path, history: HistoryProvider, *, features: Features | None = None, own: bool = False
) -> TurnBuilder:
    return TurnBuilder(
        tokenizer=load_tokenizer(str(folder)),
        max_tokens=40,
        speakers=SpeakerVocabulary(corpus="tiny", names=("A", "B")),
        history=history,
        **({} if features is None else widths(features)),
        memory_texts=own,
        labels=LABELS,
    )


@pytest.fixture
def features(tiny_encoder_dir: Path) -> Features:
    return corpus_features(
        tiny_classifier(tiny_encoder_dir),
        load_tokenizer(str(tiny_encoder_dir)),
        [*TRAIN, *DEV],
        cache_dir=None,
        precision="fp32",
    )


def make_task(
    folder: Path,
    features: Features,
    *,
    dev: list[Conversation] = DEV,
    history: HistoryKind = "global",
    dev_sees_train: bool = False,
) -> EmoNetTask:
    builder = partial(make_builder, folder, features=features)
    return EmoNetTask(
        train=TRAIN,
        dev=dev,
        builder=builder,
        features=features,
        history=history,
        dev_sees_train=dev_sees_train,
        precision="fp32",
        batch_tokens=64,
    )


def make_model(folder: Path, features: Features) -> EmoNet:
    torch.manual_seed(3)
    settings = EmoNetSettings(
        context="hierarchical",
        context_width=16,
        **widths(features),
        memory_width=8,
        speaker_rows=3,
    )
    return build_emonet(settings, encoder=encoder(folder), emotions=len(LABELS))


def test_trainer_trains_the_emonet_task(tiny_encoder_dir: Path, features: Features, tmp_path: Path) -> None:
    task, model = make_task(tiny_encoder_dir, features), make_model(tiny_encoder_dir, features)
    optim = OptimSettings(
        epochs=8,
        batch_size=2,
        learning_rate=2e-3,
        head_learning_rate=5e-3,
        precision="fp32",
        ema_decay=None,
        warmup_fraction=0.0,
    )
    before = task.evaluate(model.eval())
    figures = train(model=model, task=task, optim=optim, run_dir=tmp_path, progress=False)
    assert figures["weighted_f1"] == 1.0
    assert figures["loss"] < before["loss"]


def test_emonet_task_trains_on_labelled_turns_only(tiny_encoder_dir: Path, features: Features) -> None:
    task, model = make_task(tiny_encoder_dir, features), make_model(tiny_encoder_dir, features).eval()
    batch = task.collate(task.examples)
    assert batch["labels"].tolist() == [0, 1, -100, 0, 1, 1, 0, 0, 0, 1]
    with torch.no_grad():
        logits, labels = model(batch=TurnBatch(**batch)).logits, batch["labels"]
        expected = torch.nn.functional.cross_entropy(logits[labels >= 0], labels[labels >= 0])
        torch.testing.assert_close(task.loss(model, batch), expected)


@pytest.mark.parametrize("weights", [None, torch.tensor([0.3, 2.0])])
def test_emonet_task_partial_losses_weighted_by_turns_sum_to_the_whole_loss(
    weights: torch.Tensor | None, tiny_encoder_dir: Path, features: Features
) -> None:
    """A conversation is weighted by its number of labelled turns, as distributed steps require."""
    builder = partial(make_builder, tiny_encoder_dir, features=features)
    task = EmoNetTask(
        train=TRAIN, dev=DEV, builder=builder, features=features, class_weights=weights, precision="fp32"
    )
    model = make_model(tiny_encoder_dir, features).eval()
    batches = [task.collate([conversation]) for conversation in task.examples]
    with torch.no_grad():
        shares = torch.stack([task.loss_weights(batch)[0] for batch in batches])
        losses = torch.stack([task.loss(model, batch) for batch in batches])
        torch.testing.assert_close(
            (losses * shares).sum() / shares.sum(), task.loss(model, task.collate(task.examples))
        )
    assert shares[0] != shares[1]


def test_emonet_task_inputs_are_the_same_in_every_epoch(tiny_encoder_dir: Path, features: Features) -> None:
    task, model = make_task(tiny_encoder_dir, features), make_model(tiny_encoder_dir, features)
    first = [task.collate([conversation]) for conversation in task.examples]
    task.evaluate(model.eval())
    for before, conversation in zip(first, task.examples, strict=True):
        again = task.collate([conversation])
        assert before.keys() == again.keys()
        assert all(torch.equal(value, again[name]) for name, value in before.items())


def test_emonet_task_uses_the_head_learning_rate_outside_encoders(
    tiny_encoder_dir: Path, features: Features
) -> None:
    task, model = make_task(tiny_encoder_dir, features), make_model(tiny_encoder_dir, features)
    head = task.head_parameters(model)
    assert {name.split(".")[0] for name in head} == {"context", "memory", "join", "speakers", "head"}
    assert not any(name.startswith("context.encoder.") for name in head)
    body = {name for name, _ in model.named_parameters()} - head
    assert body == {f"context.encoder.{name}" for name, _ in model.context.encoder.named_parameters()}


def test_predict_turns_keeps_input_order_for_every_token_budget(
    tiny_encoder_dir: Path, features: Features
) -> None:
    model = make_model(tiny_encoder_dir, features).eval()
    builder = make_builder(
        tiny_encoder_dir,
        corpus_history("global", TRAIN, sequence_numbers(TRAIN), features),
        features=features,
    )
    prepared = [builder.prepare(conversation, time=float(i)) for i, conversation in enumerate(TRAIN)]
    small, large = (
        predict_turns(model, builder, prepared, max_tokens=budget, precision="fp32") for budget in (1, 10_000)
    )
    assert [len(rows) for rows in small] == [4, 4, 2]
    for first, second in zip(small, large, strict=True):
        np.testing.assert_allclose(first, second, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "dev_sees_train", "expected"),
    [
        ("off", False, [0] * 6),
        ("dialogue", False, [0, 0, 1, 0, 0, 1]),
        ("global", False, [0, 0, 1, 2, 1, 3]),
        ("global", True, [2, 2, 3, 7, 6, 8]),
    ],
)
def test_emonet_task_dev_history_is_chronological(
    kind: HistoryKind, dev_sees_train: bool, expected: list[int], tiny_encoder_dir: Path, features: Features
) -> None:
    asked: list[tuple[str, Moment, int]] = []

    class Watching:
        def __init__(self, inner: HistoryProvider) -> None:
            self.inner = inner

        def history(self, speaker: str, *, before: Moment, limit: int):  # type: ignore[no-untyped-def]
            found = self.inner.history(speaker, before=before, limit=limit)
            assert all(turn.moment < before for turn in found.turns)
            asked.append((before.conversation_id, before, found.utterances))
            return found

    task = EmoNetTask(
        train=TRAIN,
        dev=DEV,
        builder=lambda history: make_builder(tiny_encoder_dir, Watching(history), features=features),
        features=features,
        history=kind,
        dev_sees_train=dev_sees_train,
        precision="fp32",
    )
    task.evaluate(make_model(tiny_encoder_dir, features).eval())
    assert [count for _, _, count in sorted(asked)] == expected


def test_control_histories_have_the_length_of_the_speakers_own_history(features: Features) -> None:
    times = sequence_numbers(TRAIN)
    before = Moment(9.0, "end", 0)
    own, other = (corpus_history(kind, TRAIN, times, features) for kind in ("global", "other_speaker"))
    a, b = (speaker_key("tiny", name, "any") for name in "AB")

    def moments(history: HistoryProvider, speaker: str) -> list[Moment]:
        return [turn.moment for turn in history.history(speaker, before=before, limit=99).turns]

    assert moments(own, a) == moments(other, b) != moments(own, b)
    shuffled = corpus_history("shuffled_speakers", TRAIN, times, features, seed=1)
    assert len(moments(shuffled, a)) == len(moments(own, a))
    assert moments(shuffled, a) != moments(own, a)


def test_emonet_task_figures_leave_out_unlabelled_turns(
    tiny_encoder_dir: Path, features: Features, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DEV has the labels a j j and j - a; the turn without a label is left out."""
    task = make_task(tiny_encoder_dir, features)
    right, wrong = [2.0, 0.0], [0.0, 2.0]  # joy is class 0
    logits = [np.array([wrong, right, wrong]), np.array([right, [5.0, 0.0], wrong])]
    monkeypatch.setattr("erc.training.emonet.task.predict_turns", lambda *_, **__: logits)
    figures = task.evaluate(make_model(tiny_encoder_dir, features))
    assert figures["accuracy"] == pytest.approx(4 / 5)
    assert figures["weighted_f1"] == pytest.approx(4 / 5)  # F1 of joy (3 turns) and anger (2 turns): 4/5 each
    likely, unlikely = np.log1p(np.exp(-2.0)), np.log1p(np.exp(2.0))
    assert figures["loss"] == pytest.approx((4 * likely + unlikely) / 5)


def test_emonet_task_refuses_a_dev_split_without_labels(tiny_encoder_dir: Path, features: Features) -> None:
    task = make_task(tiny_encoder_dir, features, dev=[talk("d2", "---", episode=2)])
    with pytest.raises(ValueError, match="no labelled turn"):
        task.evaluate(make_model(tiny_encoder_dir, features).eval())


def test_emonet_task_histories_hold_the_history_features(tiny_encoder_dir: Path, features: Features) -> None:
    other = Features(
        embeddings=features.embeddings + np.float16(1),
        probabilities=features.probabilities / 2,
        rows=features.rows,
    )
    task = EmoNetTask(
        train=TRAIN,
        dev=DEV,
        builder=partial(make_builder, tiny_encoder_dir, features=features),
        features=features,
        history_features=other,
        precision="fp32",
    )
    observed = task.collate(task.examples)["observations"].numpy()
    rows = {
        tuple(np.concatenate([e, p], dtype=np.float32))
        for e, p in zip(other.embeddings, other.probabilities, strict=True)
    }
    assert len(observed) > 0
    assert all(tuple(row) in rows for row in observed)


def test_replacing_features_changes_only_the_given_utterances(features: Features) -> None:
    one = TRAIN[1].conversation_id
    other = Features(
        embeddings=np.full((2, features.embeddings.shape[1]), 7, dtype=np.float16),
        probabilities=np.full((2, features.probabilities.shape[1]), 0.25, dtype=np.float32),
        rows={(one, 0): 1, ("elsewhere", 0): 0},
    )
    found = features.replaced_by(other)
    row = features.rows[one, 0]
    assert (found.embeddings[row] == 7).all()
    assert (found.probabilities[row] == 0.25).all()
    rest = [place for place in features.rows.values() if place != row]
    assert (found.embeddings[rest] == features.embeddings[rest]).all()
    assert (features.embeddings[row] != 7).any()  # the features given are not changed
    with pytest.raises(ValueError, match="wide"):
        features.replaced_by(Features(other.embeddings[:, 1:], other.probabilities, rows=other.rows))


def test_features_refuse_a_duplicate_conversation_id(tiny_encoder_dir):
    twice = [*TRAIN, TRAIN[1]]
    with pytest.raises(InputError, match=f"two conversations have the id {TRAIN[1].conversation_id}"):
        corpus_features(
            tiny_classifier(tiny_encoder_dir),
            load_tokenizer(str(tiny_encoder_dir)),
            twice,
            cache_dir=None,
            precision="fp32",
        )


def test_features_are_read_from_the_cache_on_the_second_call(tiny_encoder_dir: Path, tmp_path: Path) -> None:
    classifier, tokenizer = tiny_classifier(tiny_encoder_dir), load_tokenizer(str(tiny_encoder_dir))
    first = corpus_features(classifier, tokenizer, TRAIN, cache_dir=tmp_path, precision="fp32")
    classifier.forward = None  # type: ignore[method-assign, assignment]
    second = corpus_features(classifier, tokenizer, TRAIN, cache_dir=tmp_path, precision="fp32")
    assert first.embeddings.dtype == np.float16
    assert (first.embeddings == second.embeddings).all()
    assert (first.probabilities == second.probabilities).all()
    assert [path.suffix for path in tmp_path.iterdir()] == [".safetensors"]


@pytest.mark.parametrize("content", [b"", b"no safetensors at all", b"\x08\0\0\0\0\0\0\0{}      "])
def test_features_with_a_damaged_cache_file_are_recomputed(
    content: bytes, tiny_encoder_dir: Path, tmp_path: Path
) -> None:
    classifier, tokenizer = tiny_classifier(tiny_encoder_dir), load_tokenizer(str(tiny_encoder_dir))
    first = corpus_features(classifier, tokenizer, TRAIN, cache_dir=tmp_path, precision="fp32")
    [path] = tmp_path.iterdir()
    whole = path.read_bytes()
    path.write_bytes(content)
    second = corpus_features(classifier, tokenizer, TRAIN, cache_dir=tmp_path, precision="fp32")
    assert (first.embeddings == second.embeddings).all()
    assert path.read_bytes() == whole


def test_features_equal_the_classifiers_outputs(tiny_encoder_dir: Path, features: Features) -> None:
    classifier, tokenizer = tiny_classifier(tiny_encoder_dir), load_tokenizer(str(tiny_encoder_dir))
    encoded = tokenizer(DEV[1].utterances[2].text, return_tensors="pt")
    with torch.no_grad():
        output = classifier(input_ids=encoded["input_ids"], attention_mask=encoded["attention_mask"])
    row = features.rows["d5", 2]
    np.testing.assert_allclose(features.embeddings[row], output.embedding[0].numpy(), atol=2e-3)
    np.testing.assert_allclose(
        features.probabilities[row], torch.sigmoid(output.logits)[0].numpy(), atol=1e-5
    )


@pytest.mark.parametrize("change", ["text", "checksum", "weights"])
def test_features_with_changed_inputs_are_recomputed(
    change: str, tiny_encoder_dir: Path, tmp_path: Path
) -> None:
    classifier, tokenizer = tiny_classifier(tiny_encoder_dir), load_tokenizer(str(tiny_encoder_dir))
    corpus_features(classifier, tokenizer, TRAIN, cache_dir=tmp_path, precision="fp32")
    talks, checksums = list(TRAIN), []
    if change == "text":
        talks[0] = replace(
            talks[0], utterances=(replace(talks[0].utterances[0], text="No."), *talks[0].utterances[1:])
        )
    elif change == "checksum":
        checksums = ["abc"]
    else:
        before = module_digest(classifier)
        classifier.head.output.bias.data[0] += 1.0
        assert module_digest(classifier) != before
    corpus_features(classifier, tokenizer, talks, cache_dir=tmp_path, checksums=checksums, precision="fp32")
    assert len(list(tmp_path.iterdir())) == 2


def test_multitask_loss_is_weighted_by_task(tiny_encoder_dir: Path, features: Features) -> None:
    """A batch of three expects 1.5 examples of each task; here the first task has 1 and the second has 2."""
    shared = encoder(tiny_encoder_dir)
    settings = EmoNetSettings(context="turn_causal", turn_window=2, memory_encoder="none")
    model = MultiTaskModel(
        {name: build_emonet(settings, encoder=shared, emotions=2) for name in ("one", "two")}
    ).eval()
    first, second = make_task(tiny_encoder_dir, features), make_task(tiny_encoder_dir, features)
    both = MultiTask({"one": first, "two": second}, weights={"one": 1.0, "two": 0.25})
    assert len(both.examples) == len(both.lengths) == 6
    assert both.kinds == [0, 0, 0, 1, 1, 1]
    batch = both.collate([both.examples[0], both.examples[4], both.examples[5]])
    with torch.no_grad():
        one = first.loss(model.parts["one"], first.collate(first.examples[:1]))
        two = second.loss(model.parts["two"], second.collate(second.examples[1:]))
        torch.testing.assert_close(both.loss(model, batch), one * (1 / 1.5) + 0.25 * two * (2 / 1.5))
    figures = both.evaluate(model)
    assert figures["mean_primary"] == pytest.approx(
        (figures["one_weighted_f1"] + figures["two_weighted_f1"]) / 2
    )


def test_multitask_trains_the_shared_encoder_and_every_head(
    tiny_encoder_dir: Path, features: Features, tmp_path: Path
) -> None:
    shared = encoder(tiny_encoder_dir)
    settings = EmoNetSettings(context="turn_causal", turn_window=2, memory_encoder="none")
    model = MultiTaskModel(
        {name: build_emonet(settings, encoder=shared, emotions=2) for name in ("one", "two")}
    )
    task = MultiTask({name: make_task(tiny_encoder_dir, features) for name in ("one", "two")})
    before = {name: value.clone() for name, value in model.named_parameters()}
    optim = OptimSettings(epochs=1, batch_size=3, precision="fp32", ema_decay=None, warmup_fraction=0.0)
    train(model=model, task=task, optim=optim, run_dir=tmp_path, progress=False)
    moved = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    assert {"parts.one.head.output.weight", "parts.two.head.output.weight"} <= moved
    assert any(name.startswith("parts.one.context.encoder.") for name in moved)
    assert not any(
        name.startswith("parts.two.context.encoder.") for name in before
    )  # shared weights are listed once


def test_multitask_state_stores_shared_weights_once(tiny_encoder_dir: Path) -> None:
    shared = encoder(tiny_encoder_dir)
    settings = EmoNetSettings(context="turn_causal", turn_window=2, memory_encoder="none")
    model = MultiTaskModel(
        {name: build_emonet(settings, encoder=shared, emotions=2) for name in ("one", "two")}
    )
    state = {name: value.clone() for name, value in model.state_dict().items()}
    assert len({value.data_ptr() for value in model.state_dict().values()}) == len(state)
    for parameter in model.parameters():
        parameter.data.zero_()
    model.load_state_dict(state)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert model.parts["two"].context.encoder is shared


class _Bios:
    def bios(self, speaker: str, *, before: Moment) -> list[np.ndarray]:
        return [np.ones(6, dtype=np.float32)]


CONFIGS = sorted(
    path.name
    for path in resource_dir("configs").glob("*.yaml")
    if "task: emonet" in path.read_text(encoding="utf-8")
)


def shrunk(name: str) -> ExperimentConfig:
    """A shipped configuration with windows short enough for a tiny encoder."""
    small = [
        "emonet.token_window=60",
        "data.max_tokens=30",
        "emonet.context_width=16",
        "emonet.memory_width=8",
    ]
    return load_config(resource_dir("configs") / name, small)


@pytest.mark.parametrize("name", CONFIGS)
def test_emonet_configuration_trains_and_samples_on_a_tiny_backbone(
    name: str, features: Features, request: pytest.FixtureRequest
) -> None:
    config = shrunk(name)
    assert config.emonet is not None
    family = (
        "roberta"
        if "roberta" in config.backbone.name
        else "modernbert"
        if "ModernBERT" in config.backbone.name
        else "encoder"
    )
    folder: Path = request.getfixturevalue(f"tiny_{family}_dir")
    settings = emonet_settings(config, **widths(features), speaker_rows=3, bio_width=6)
    model = build_emonet(
        settings,
        encoder=encoder(folder),
        emotions=2,
        memory_encoder=encoder(folder) if settings.memory_encoder == "own" else None,
    )

    def builder(history: HistoryProvider) -> TurnBuilder:
        made = make_builder(folder, history, features=features, own=settings.memory_encoder == "own")
        made.bios = _Bios() if settings.bio != "none" else None
        return made

    task = EmoNetTask(
        train=TRAIN,
        dev=DEV,
        builder=builder,
        features=features,
        history=config.emonet.history,
        precision="fp32",
    )
    batch = task.collate(task.examples[: config.optim.batch_size])
    loss = task.loss(model.train(), batch)
    loss.backward()
    assert torch.isfinite(loss)
    assert all(p.grad is None or bool(torch.isfinite(p.grad).all()) for p in model.parameters())
    assert set(task.evaluate(model.eval())) == {"weighted_f1", "macro_f1", "accuracy", "loss"}
    samples = model.mc_forward(TurnBatch(**batch), 2, mode="full")
    assert float(samples.std(dim=0).min()) > 0
    assert any(isinstance(module, SeededDropout) for module in model.context.encoder.modules())


def test_emonet_settings_defaults_equal_the_configuration_defaults() -> None:
    """Fields are copied by name, so fields with the same name must have the same default."""
    shared = {one.name for one in fields(EmoNetSettings)} & set(EmoNetConfig.model_fields)
    assert shared >= {"context", "memory_projection", "memory_width", "join", "gate_bias", "bio"}
    for name in shared:
        assert getattr(EmoNetSettings(), name) == EmoNetConfig.model_fields[name].default, name


def test_emonet_settings_copy_changed_configuration_values() -> None:
    config = load_config(
        resource_dir("configs") / "emonet-meld.yaml",
        ["emonet.memory_projection=7", "emonet.gate_bias=-3", "emonet.join=concat", "head.dropout=0.4"],
    )
    settings = emonet_settings(config, embedding_width=10, observed_labels=4, speaker_rows=9, bio_width=6)
    assert (settings.memory_projection, settings.gate_bias, settings.join) == (7, -3.0, "concat")
    assert (settings.dropout, settings.embedding_width, settings.observed_labels) == (0.4, 10, 4)
    assert (settings.speaker_rows, settings.bio_width) == (0, None)  # the configuration sets neither


def test_compm_configurations_have_the_published_parts() -> None:
    for corpus in ("meld", "emorynlp"):
        config = load_config(resource_dir("configs") / f"compm-{corpus}.yaml")
        settings = emonet_settings(config)
        assert (settings.join, settings.head, settings.dropout) == ("direct_sum", "linear", 0.0)
        assert (settings.context, settings.pooling, settings.token_window) == ("window", "cls", 511)
        assert config.emonet is not None
        assert not config.emonet.separators
        assert config.data.max_tokens == 512  # CLS and the 511 tokens of the window


@pytest.mark.parametrize(
    ("name", "change", "match"),
    [
        ("compm-meld.yaml", "emonet.zero_start=true", "zero_start"),
        ("emonet-meld-shared.yaml", "emonet.separators=false", "separators"),
        ("emonet-meld-shared.yaml", "emonet.context=window", "hierarchical"),
        ("compm-meld.yaml", "head.hidden=8", "leave head.hidden out"),
    ],
)
def test_emonet_settings_refuse_contradictions(name: str, change: str, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        emonet_settings(load_config(resource_dir("configs") / name, [change]))


def test_emonet_settings_with_a_missing_input_name_it() -> None:
    with pytest.raises(ConfigError, match=r"artefact\.init_from"):
        emonet_settings(shrunk("emonet-meld.yaml"))
    with pytest.raises(ConfigError, match="needs bios"):
        emonet_settings(shrunk("bioserc-encoder-meld.yaml"))
    with pytest.raises(ConfigError, match="no section 'emonet'"):
        emonet_settings(load_config(resource_dir("configs") / "goemotions-minilm.yaml"))
