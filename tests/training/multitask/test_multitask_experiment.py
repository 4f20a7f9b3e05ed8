"""Several models trained with one shared encoder, from corpus files to labelling."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_corpora import SAID, write_corpora

from erc.config import ExperimentConfig, load_config
from erc.data.corpora import Corpus, load_corpus
from erc.data.leaks import LeakFilter, text_hash
from erc.errors import ConfigError
from erc.inference.loading import load_predictor
from erc.inference.scorers.settings import InferenceSettings
from erc.models.emonet.network import EmoNet
from erc.models.turn_batch import TurnBatch
from erc.persistence import load_model
from erc.persistence.artefact import Artefact, load_artefact
from erc.training.emonet.assembly import make_task
from erc.training.emonet.ingredients import features_of, gather
from erc.training.experiment import run_experiment
from erc.training.loop.trainer import _Mixed, train
from erc.training.multitask import experiment as multitask_experiment
from erc.training.multitask.configs import leak_filter, part_configs, record_parts
from erc.training.multitask.experiment import unseen_histories
from erc.training.utterance import experiment as utterance_experiment

CLASSIFIER = (
    "name: tiny-fine\ntask: utterance\ndata: {corpus: goemotions}\nhead: {hidden: 16}\n"
    "loss: {class_weights: emcoder}\n"
)
TALK = """
name: tiny-NAME
task: emonet
data: {corpus: NAME}
head: {hidden: 16}
emonet: {context: hierarchical, encoder: shared, speaker_text: none, context_width: 16, memory_width: 8}
loss: {kind: cross_entropy}
optim: {batch_size: 4, ema_decay: null, epochs: 1.0}
"""
WHOLE = """
name: tiny-together
task: multitask
data: {corpus: goemotions, max_tokens: 24, root: ROOT}
backbone: {name: BACKBONE}
multitask: {parts: PARTS, text_share: 0.5, soft_share: 0.5, head_epochs: 1.0}
optim: {epochs: 1.0, batch_size: 8, precision: fp32, ema_decay: null}
uncertainty: {samples: 2}
artefact: {delta: int8}
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_unlike(tmp_path_factory.mktemp("data"))


def write_unlike(folder: Path) -> Path:
    """Corpora that share no sentence, so the leak filter keeps all of them."""
    root = write_corpora(folder)
    for path in (root / "emorynlp").iterdir():
        text = path.read_text(encoding="utf-8")
        path.write_text(
            text.replace("so happy", "really glad").replace("agreed", "decided").replace("report", "paper"),
            encoding="utf-8",
        )
    return root


def configured(folder: Path, data: Path, backbone: Path, **parts: str) -> ExperimentConfig:
    """The multitask configuration with `parts` (name: YAML), or with the classifier and both corpora."""
    texts = parts or {
        "fine": CLASSIFIER,
        "meld": TALK.replace("NAME", "meld"),
        "emorynlp": TALK.replace("NAME", "emorynlp"),
    }
    paths = {}
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
        paths[str(folder / f"{name}.yaml")] = 1.0 if name == "fine" else 0.5
    whole = (
        WHOLE.replace("ROOT", str(data))
        .replace("BACKBONE", str(backbone))
        .replace("PARTS", json.dumps(paths))
    )
    (folder / "whole.yaml").write_text(whole, encoding="utf-8")
    return load_config(folder / "whole.yaml")


@pytest.fixture(scope="module")
def models(data: Path, tiny_encoder_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of models of a finished run."""
    folder = tmp_path_factory.mktemp("together")
    return run_experiment(configured(folder, data, tiny_encoder_dir), folder / "run", progress=False)


def test_multitask_run_saves_all_models_in_one_folder(models: Path) -> None:
    assert sorted(path.name for path in models.iterdir()) == ["tiny-emorynlp", "tiny-fine", "tiny-meld"]
    fine = load_model(str(models / "tiny-fine"))
    for name in ("tiny-meld", "tiny-emorynlp"):
        talk = load_model(str(models / name))
        assert talk.shared is not None
        assert talk.shared.sha256 == fine.sha256 == talk.info.reads["utterance_sha256"]
        assert not [key for key in load_file(models / name / "weights.safetensors") if ".encoder." in key]


def test_multitask_run_trains_the_encoder(models: Path) -> None:
    start = load_model(str(models.parent / "start" / "tiny-fine")).network.encoder.state_dict()  # type: ignore[union-attr]
    end = load_model(str(models / "tiny-fine")).network.encoder.state_dict()  # type: ignore[union-attr]
    assert any(not torch.allclose(value, end[name], atol=1e-5) for name, value in start.items())


def test_multitask_conversation_model_reproduces_the_accuracy_of_its_card(models: Path, data: Path) -> None:
    """It reads the classifier in the same parent folder, not one from the catalog."""
    predictor = load_predictor(
        str(models / "tiny-meld"), settings=InferenceSettings(precision="fp32", uncertainty="off")
    )
    dev = load_corpus("meld", "dev", root=data).conversations
    right = [
        p.emotion == p.utterance.emotions[0]
        for one in predictor.label(dev)
        for p in one.predictions
        if p.utterance.emotions
    ]
    assert load_model(str(models / "tiny-meld")).metrics["dev"]["scores"]["accuracy"] == pytest.approx(
        np.mean(right)
    )


@pytest.mark.parametrize(("figure", "kept"), [(0.0, False), (1.0, True)])
def test_multitask_keeps_refitted_heads_only_if_better_on_dev(
    figure: float,
    kept: bool,
    models: Path,
    data: Path,
    tiny_encoder_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def ruin(*, model: torch.nn.Module, **_: Any) -> dict[str, float]:
        for name, parameter in model.named_parameters():
            if ".encoder." not in name:
                parameter.data.zero_()
        return {"weighted_f1": figure}

    monkeypatch.setattr(multitask_experiment, "train", ruin)
    config = configured(tmp_path, data, tiny_encoder_dir)
    trained = load_model(str(models / "tiny-meld")).network
    part = next(part for part in part_configs(config) if part.name == "tiny-meld")
    run = multitask_experiment._Run(config, LeakFilter.of([]), tmp_path, resume=False, progress=False)
    start = load_artefact(models.parent / "start" / "tiny-fine")
    assert isinstance(trained, EmoNet)
    multitask_experiment._finish_conversation_model(run, part, start, models / "tiny-fine", trained)
    saved = load_file(tmp_path / "models" / "tiny-meld" / "weights.safetensors")
    assert bool(saved["head.output.weight"].any()) is not kept


def test_multitask_training_histories_use_a_classifier_not_trained_on_them(
    models: Path, data: Path, tiny_encoder_dir: Path, tmp_path: Path
) -> None:
    """The stored encoder was trained on the training turns. Dev histories hold what labelling reads."""
    start, saved = (load_artefact(path / "tiny-fine") for path in (models.parent / "start", models))
    config = configured(tmp_path, data, tiny_encoder_dir)
    part = next(part for part in part_configs(config) if part.name == "tiny-meld")
    part = part.model_copy(
        update={"artefact": part.artefact.model_copy(update={"init_from": str(models / "tiny-fine")})}
    )
    parts = unseen_histories(part, gather(part, cache_dir=None), start, cache_dir=None)
    task = make_task(part, parts)

    def known(artefact: Artefact, corpus: Corpus) -> set[bytes]:
        made = features_of(artefact, (corpus,), config=part, cache_dir=None)
        pairs = zip(made.embeddings, made.probabilities, strict=True)
        return {np.concatenate(pair, dtype=np.float32).tobytes() for pair in pairs}

    def observed(batch: TurnBatch) -> set[bytes]:
        assert batch.observations is not None
        return {row.numpy().tobytes() for row in batch.observations}

    train = observed(TurnBatch(**task.collate(task.examples)))
    dev = observed(task.dev_builder.collate(task.dev))
    assert train <= known(start, parts.train)
    assert not train & known(saved, parts.train)
    assert dev <= known(saved, parts.dev)
    assert train
    assert dev


def test_multitask_refuses_a_classifier_trained_on_the_training_turns(
    data: Path, tiny_utterance_artefact: Path, tiny_encoder_dir: Path, tmp_path: Path
) -> None:
    config = configured(tmp_path, data, tiny_encoder_dir)
    part = next(part for part in part_configs(config) if part.name == "tiny-meld")
    start = load_artefact(tiny_utterance_artefact)
    multitask_experiment._check_unseen(start, part)
    [file] = load_corpus("meld", "train", root=data).files
    seen = replace(start, info=replace(start.info, data={"meld/train_sent_emo.csv": file.sha256}))
    with pytest.raises(ConfigError, match="trained on the training turns of tiny-meld"):
        multitask_experiment._check_unseen(seen, part)


def test_multitask_run_records_the_splits_kept_out_of_training(models: Path) -> None:
    told = json.loads((models.parent / "leaks.json").read_text(encoding="utf-8"))
    assert told == {
        "kept_out": ["goemotions/dev", "meld/dev", "emorynlp/dev"],
        "tests_known": False,
        "start_filtered": True,
    }


def test_multitask_drops_dialogues_that_share_a_text_with_a_test_split(
    data: Path, tiny_encoder_dir: Path, tmp_path: Path
) -> None:
    """A training dialogue with a text of another corpus's test split is dropped as a whole."""
    write_corpora(tmp_path / "data")
    sentence = text_hash(SAID["anger"])
    (tmp_path / "data" / "heldout_hashes.json").write_text(
        json.dumps({"meld_test": [sentence]}), encoding="utf-8"
    )
    parts = part_configs(configured(tmp_path, tmp_path / "data", tiny_encoder_dir))
    train = load_corpus("emorynlp", "train", root=tmp_path / "data").conversations
    kept, report = leak_filter(parts, tmp_path).apply(train)
    assert (
        report.reasons["meld/test"]
        == sum(any(turn.text == SAID["anger"] for turn in talk) for talk in train)
        > 0
    )
    assert not any(turn.text == SAID["anger"] for talk in kept for turn in talk)


LEAKED = "I am happy today and it hurts no more"


def test_multitask_trains_on_no_evaluation_text_of_any_part(
    tiny_encoder_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This holds for the initial classifier and for the layers of the conversation models."""
    data = write_unlike(tmp_path / "data")
    comments, talks = data / "goemotions" / "train.tsv", data / "meld" / "train_sent_emo.csv"
    comments.write_text(comments.read_text(encoding="utf-8") + f"{LEAKED}\t3\tcleaked\n", encoding="utf-8")
    talks.write_text(talks.read_text(encoding="utf-8").replace(SAID["joy"], LEAKED, 1), encoding="utf-8")
    (data / "heldout_hashes.json").write_text(
        json.dumps({"emorynlp_test": [text_hash(LEAKED)]}), encoding="utf-8"
    )
    seen: dict[str, int] = {}

    def watched(*, model: torch.nn.Module, task: Any, run_dir: Path, **settings: Any) -> dict[str, float]:
        seen[run_dir.name] = len(task.examples)
        return train(model=model, task=task, run_dir=run_dir, **settings)

    for module in (multitask_experiment, utterance_experiment):
        monkeypatch.setattr(module, "train", watched)
    run_experiment(configured(tmp_path, data, tiny_encoder_dir), tmp_path / "run", progress=False)
    assert seen == {"start": 56, "together": 28 + 7 + 8, "heads-tiny-meld": 7, "heads-tiny-emorynlp": 8}


def test_multitask_with_init_from_records_an_unfiltered_start(
    data: Path, tiny_encoder_dir: Path, tmp_path: Path
) -> None:
    parts = part_configs(configured(tmp_path, data, tiny_encoder_dir))
    leak_filter(parts, tmp_path, init_from="another")
    assert json.loads((tmp_path / "leaks.json").read_text(encoding="utf-8"))["start_filtered"] is False


def test_multitask_refuses_to_resume_with_another_filter(
    data: Path, tiny_encoder_dir: Path, tmp_path: Path
) -> None:
    parts = part_configs(configured(tmp_path, data, tiny_encoder_dir))
    for _ in range(2):
        leak_filter(parts, tmp_path, resume=True)
    with pytest.raises(ConfigError, match=r"leaks\.json: .* --fresh"):
        leak_filter(parts[:-1], tmp_path, resume=True)
    leak_filter(parts[:-1], tmp_path, resume=False)


def test_multitask_refuses_to_resume_with_other_parts(
    data: Path, tiny_encoder_dir: Path, tmp_path: Path
) -> None:
    parts = part_configs(configured(tmp_path, data, tiny_encoder_dir))
    record_parts(parts, tmp_path)
    record_parts(parts, tmp_path)
    changed = [
        part.model_copy(update={"optim": part.optim.model_copy(update={"batch_size": 3})}) for part in parts
    ]
    with pytest.raises(ConfigError, match="holds another configuration of tiny-fine"):
        record_parts(changed, tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("head.hidden=8", "the section 'head'"),
        ("loss.label_smoothing=0.1", "the section 'loss'"),
        ("distillation.teachers=1", "the section 'distillation'"),
        ("data.corpus=meld", r"data\.corpus is 'meld', but tiny-fine"),
    ],
)
def test_multitask_refuses_a_section_that_no_part_reads(
    change: str, message: str, data: Path, tiny_encoder_dir: Path, tmp_path: Path
) -> None:
    configured(tmp_path, data, tiny_encoder_dir)
    with pytest.raises(ConfigError, match=message):
        part_configs(load_config(tmp_path / "whole.yaml", [change]))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"meld": TALK.replace("NAME", "meld"), "fine": CLASSIFIER}, "one utterance classifier first"),
        ({"fine": CLASSIFIER, "again": CLASSIFIER}, "one utterance classifier first"),
        (
            {"fine": CLASSIFIER, "meld": TALK.replace("NAME", "meld").replace("encoder: shared, ", "")},
            r"tiny-meld has its own encoder",
        ),
        (
            {
                "fine": CLASSIFIER,
                "meld": TALK.replace("NAME", "meld").replace(
                    "encoder: shared", "encoder: shared, join: concat"
                ),
            },
            "its memory",
        ),
        (
            {"fine": CLASSIFIER, "a": TALK.replace("NAME", "meld"), "b": TALK.replace("NAME", "meld")},
            "names must differ",
        ),
        (
            {"fine": CLASSIFIER.replace("tiny-fine", "tiny.fine"), "meld": TALK.replace("NAME", "meld")},
            "hold no dot",
        ),
    ],
)
def test_multitask_refuses_parts_with_incompatible_encoders(
    parts: dict[str, str], message: str, data: Path, tiny_encoder_dir: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        part_configs(configured(tmp_path, data, tiny_encoder_dir, **parts))


def test_multitask_with_a_missing_part_names_it(data: Path, tiny_encoder_dir: Path, tmp_path: Path) -> None:
    configured(tmp_path, data, tiny_encoder_dir)
    with pytest.raises(
        ConfigError, match="'nowhere' is neither a configuration file nor the name of a shipped one"
    ):
        part_configs(load_config(tmp_path / "whole.yaml", ["multitask.parts.nowhere=1.0"]))


def test_multitask_without_parts_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(
        "name: a\ntask: multitask\ndata: {corpus: goemotions}\n", encoding="utf-8"
    )
    with pytest.raises(ConfigError, match="needs the section 'multitask'"):
        load_config(tmp_path / "c.yaml")


def test_mixed_sampler_spreads_every_kind_evenly_and_visits_each_example_once() -> None:
    """With 90 + 10 examples, any 20 in a row hold two of the second kind; the order differs by epoch."""
    kinds = [0] * 90 + [1] * 10
    sampler = _Mixed(20, list(range(1, 101)), kinds=kinds, seed=3)
    first = list(sampler)
    sampler.set_epoch(1)
    assert sorted(first) == list(range(100))
    assert [sum(kinds[i] for i in first[start : start + 20]) for start in range(0, 100, 20)] == [2] * 5
    assert list(sampler) != first
    assert list(_Mixed(20, list(range(1, 101)), kinds=kinds, seed=3)) == first
