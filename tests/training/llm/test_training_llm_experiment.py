"""Training a recipe from its configuration to an adapter folder, with a toy corpus and a tiny model."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import huggingface_hub.constants
import numpy as np
import pytest
import torch
import yaml

from erc.config import DataConfig, ExperimentConfig, load_config
from erc.data.conversation import Conversation, Utterance
from erc.data.corpora import Corpus
from erc.errors import ConfigError
from erc.inference import loading
from erc.inference.loading import load_predictor
from erc.inference.scorers.settings import InferenceSettings
from erc.llm.backends.local import LocalScorer
from erc.llm.base.adapters import AdapterRecord
from erc.llm.base.digests import weights_digest
from erc.llm.prompts.builder import PromptBuilder
from erc.llm.prompts.encoding import PromptEncoder
from erc.llm.prompts.tasks import TaskPrompts
from erc.llm.recipes import Recipe, Stage
from erc.llm.scoring.calibration import ContextualCalibrator
from erc.resources import resource_dir
from erc.training.dry_run import plan_training
from erc.training.experiment import run_experiment
from erc.training.inputs import TrainingInputs
from erc.training.llm import experiment as llm_experiment
from erc.training.llm.batches import dialogue_groups
from erc.training.llm.examples import Examples
from erc.training.llm.experiment import check_inputs
from erc.training.llm.settings import llm_recipe
from erc.uncertainty.policy import DecisionPolicy

EMOTIONS = ("joy", "sadness", "neutral")
RECIPES = sorted(path.name for path in resource_dir("configs").glob("llm-*.yaml"))


def toy(split, count):
    talks = []
    for c in range(count):
        turns = tuple(
            Utterance(
                f"{split}{c}-{i}",
                i,
                "AB"[i % 2],
                f"{EMOTIONS[(c + i) % 3]} {i}",
                emotions=(EMOTIONS[(c + i) % 3],),
            )
            for i in range(4)
        )
        talks.append(Conversation(f"{split}{c}", turns, corpus="meld"))
    return Corpus("meld", split, tuple(talks), "meld", "toy", (), ())


def config_of(base, **llm):
    section = {
        "base": str(base),
        "precision": "fp32",
        "lora": {"r": 2},
        "max_tokens": 900,
        "pack_tokens": 2000,
        **llm,
    }
    optim = {"epochs": 1.0, "batch_size": 4, "ema_decay": None, "precision": "fp32"}
    return ExperimentConfig(name="toy", task="llm", data={"corpus": "meld"}, llm=section, optim=optim)


def test_run_experiment_with_two_stages_saves_an_adapter_that_labels(
    tmp_path, tiny_lm_dir, tiny_shelf, monkeypatch
):
    monkeypatch.setenv("CONVEMO_MODELS", str(tiny_shelf))
    monkeypatch.setattr(loading, "SHARED_MODEL", "tiny-utterance")
    monkeypatch.setattr(llm_experiment, "load_splits", lambda config: (toy("train", 3), toy("dev", 2)))
    stages = {
        "first": {"tasks": {"speaker_identification": 1.0}},
        "second": {"tasks": {"erc": 1.0, "emotion_impact": 0.1}},
    }
    folder = run_experiment(config_of(tiny_lm_dir, stages=stages), tmp_path, progress=False)
    assert folder == tmp_path / "toy"
    record = AdapterRecord.load(folder)
    assert (record.prompt, record.label_set) == ("erc/v2+few_shot/v2", "meld")
    assert set(record.extra["policy"]) == {"meld", "ekman", "sentiment"}
    assert (record.revision, record.base_weights) == (None, weights_digest(tiny_lm_dir))
    assert (tmp_path / "first" / "metrics.jsonl").exists()
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert f"| weighted F1 | {record.extra['figures']['weighted_f1']:.3f} |" in card
    assert all(
        said in card
        for said in (
            record.prompt_sha256[:12],
            record.base_weights,
            f"peft {record.extra['versions']['peft']}",
            "then second",
        )
    )
    assert yaml.safe_load(card.split("---")[1])["library_name"] == "peft"
    scorer = LocalScorer.load(str(tiny_lm_dir), adapter=folder, precision="fp32", device="cpu")
    predictor = load_predictor(
        f"llm:{folder}", settings=InferenceSettings(precision="fp32", uncertainty="off")
    )
    assert predictor.policy == DecisionPolicy.from_dict(record.extra["policy"]["meld"])
    assert len(predictor.label(toy("dev", 1).conversations)[0].predictions) == 4
    builder = llm_experiment.PromptBuilder(encoder=scorer.encoder, labels=record.labels)
    assert builder.sha256 == record.prompt_sha256
    scores = ContextualCalibrator.from_dict(record.calibrator).calibrated(
        scorer.score([builder.content_free()], record.labels)
    )
    np.testing.assert_allclose(scores.probabilities.sum(axis=1), 1.0)


@pytest.fixture
def cached(tmp_path, tiny_lm_dir, monkeypatch):
    """The tiny model in the local hub cache, as its model id and the commit of its main branch."""
    commit, place = "0123456789abcdef" * 2 + "01234567", tmp_path / "hub" / "models--made--tiny"
    shutil.copytree(tiny_lm_dir, place / "snapshots" / commit)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(commit, encoding="utf-8")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return "made/tiny", commit


def test_adapter_records_the_commit_of_its_base(cached, tiny_lm_dir, tmp_path, tiny_shelf, monkeypatch):
    name, commit = cached
    monkeypatch.setenv("CONVEMO_MODELS", str(tiny_shelf))
    monkeypatch.setattr(loading, "SHARED_MODEL", "tiny-utterance")
    folder = llm_experiment.run_llm(
        config_of(name),
        tmp_path / "run",
        resume=False,
        progress=False,
        splits=(toy("train", 2), toy("dev", 2)),
    )
    record = AdapterRecord.load(folder)
    assert (record.base, record.revision, record.base_weights) == (name, commit, None)
    assert json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))["revision"] == commit
    shutil.rmtree(tmp_path / "hub" / "models--made--tiny" / "refs")  # main no longer points at this commit
    predictor = load_predictor(
        f"llm:{folder}", settings=InferenceSettings(precision="fp32", uncertainty="off")
    )
    assert len(predictor.label(toy("dev", 1).conversations)[0].predictions) == 4

    elsewhere = tmp_path / "a-copy"  # a machine without access to the hub
    shutil.copytree(tiny_lm_dir, elsewhere)
    predictor = load_predictor(
        f"llm:{elsewhere}", adapter=folder, settings=InferenceSettings(precision="fp32", uncertainty="off")
    )
    assert any("on trust" in remark for remark in predictor.scorer.model.remarks)


def test_initial_adapter_weights_depend_on_the_run_seed_only(tmp_path, tiny_lm_dir, monkeypatch):
    class StopError(Exception):
        pass

    def initial(seed, before):
        found = {}

        def seen(model, *args, **kwargs):
            found.update(
                {name: value.clone() for name, value in model.named_parameters() if "lora_A" in name}
            )
            raise StopError

        monkeypatch.setattr(llm_experiment, "run_stages", seen)
        config = config_of(tiny_lm_dir)
        config = config.model_copy(update={"optim": config.optim.model_copy(update={"seed": seed})})
        torch.rand(before)  # other code in this process may draw random numbers
        with pytest.raises(StopError):
            llm_experiment.run_llm(
                config, tmp_path, resume=False, progress=False, splits=(toy("train", 2), toy("dev", 1))
            )
        return found

    one, again, other = initial(1, 0), initial(1, 7), initial(2, 0)
    assert one
    assert all(torch.equal(value, again[name]) for name, value in one.items())
    assert not any(torch.equal(value, other[name]) for name, value in one.items())


def test_examples_record_their_dialogue(chat_tokenizer):
    """Turns with one label of the set, in order, with the index of their dialogue."""
    emotions = (("joy",), ("joy", "sadness"), (), ("unknown",), ("neutral",))
    talks = [
        Conversation(
            f"c{n}", tuple(Utterance(f"{n}-{i}", i, "A", "x", emotions=e) for i, e in enumerate(emotions))
        )
        for n in range(2)
    ]
    prompts = TaskPrompts(PromptBuilder(encoder=PromptEncoder(chat_tokenizer), labels=EMOTIONS))
    recipe = Recipe((Stage("emotions", {"erc": 1.0}),))
    made = Examples(prompts, recipe, TrainingInputs()).of_stage(
        Corpus("meld", "dev", tuple(talks), "meld", "toy", (), ()), recipe.stages[0], dev=True
    )
    assert dialogue_groups(made).tolist() == [0, 0, 1, 1]


def test_examples_record_their_task(chat_tokenizer):
    turns = tuple(Utterance(str(i), i, "AB"[i % 2], "x", emotions=("joy",)) for i in range(3))
    corpus = Corpus("meld", "train", (Conversation("c", turns),), "meld", "toy", (), ())
    prompts = TaskPrompts(PromptBuilder(encoder=PromptEncoder(chat_tokenizer), labels=EMOTIONS))
    stage = Stage("emotions", {"erc": 1.0, "emotion_impact": 0.1})
    made = Examples(prompts, Recipe((stage,)), TrainingInputs()).of_stage(corpus, stage)
    assert [(one.kind, one.weight, one.emotion) for one in made[:3]] == [(0, 1.0, True)] * 3
    assert made[3:]
    assert {(one.kind, one.weight, one.emotion) for one in made[3:]} == {(1, 0.1, False)}


@pytest.mark.parametrize("name", RECIPES)
def test_shipped_recipe_trains_emotion_recognition_in_its_last_stage(name):
    assert "erc" in llm_recipe(load_config(resource_dir("configs") / name)).stages[-1].tasks


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bios": True}, "speaker memory"),
        ({"history": 3}, "speaker memory"),
        ({"demonstrations": 1}, "embedding"),
        (
            {"stages": {"a": {"tasks": {"speaker_characteristic": 1.0}}, "b": {"tasks": {"erc": 1.0}}}},
            "speaker_characteristic/oReact",
        ),
    ],
)
def test_recipe_with_a_missing_input_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        check_inputs(llm_recipe(config_of("base", **changes)), TrainingInputs())


def test_recipe_with_an_unused_writer_is_refused():
    written = {"a": {"tasks": {"speaker_characteristic": 1.0}}, "b": {"tasks": {"erc": 1.0}}}
    for changes in ({"bios": True}, {"stages": written}):
        assert llm_recipe(config_of("base", writer="llm:other", **changes))
    with pytest.raises(ConfigError, match=r"llm\.writer=llm:other: 'toy' has nothing for it to write"):
        llm_recipe(config_of("base", writer="llm:other"))


def test_recipe_without_emotion_recognition_is_refused():
    with pytest.raises(ConfigError, match="last stage"):
        llm_recipe(config_of("base", stages={"a": {"tasks": {"speaker_identification": 1.0}}}))


def test_multilabel_corpus_is_refused_before_any_file_is_read(tiny_lm_dir, tmp_path, monkeypatch):
    splits = [replace(toy(split, 1), emotion_set="goemotions") for split in ("train", "dev")]
    config = config_of(tiny_lm_dir).model_copy(update={"data": DataConfig(corpus="goemotions")})
    for run in (
        lambda: llm_experiment.run_llm(config, tmp_path, resume=False, progress=False, splits=tuple(splits)),
        lambda: plan_training(config),
    ):
        with pytest.raises(ConfigError, match="labels of the set 'goemotions' may hold at once"):
            run()
