"""`erc evaluate` with language models: training figures, memories and writers of bios."""

from __future__ import annotations

import json

import numpy as np
import pytest
from lm_server import Behaviour, running
from recipe_parts import FAST, RECIPES, invoke
from typer.testing import CliRunner

from erc.cli.app import app
from erc.config import load_config
from erc.emotions import load_emotion_set
from erc.errors import ConfigError, InputError
from erc.evaluation.labelled_data import load_gold
from erc.evaluation.memory import evaluated_memory
from erc.inference.scorers.caching import CachedScorer
from erc.llm.backends.local import LocalScorer
from erc.llm.base.adapters import AdapterRecord
from erc.llm.prompts.encoding import PromptEncoder
from erc.llm.scoring.calibration import ContextualCalibrator
from erc.llm.scoring.scores import LabelScores
from erc.memory.training_inputs import input_maker
from erc.persistence.artefact import load_artefact
from erc.resources import resource_dir
from erc.training.inputs import load_splits
from erc.training.llm.answers import predict_answers
from speakers import END

pytestmark = pytest.mark.usefixtures("short_texts")


@pytest.fixture
def heard(monkeypatch):
    """The prompts that local models score."""
    prompts = []
    score = LocalScorer.score
    monkeypatch.setattr(
        LocalScorer, "score", lambda self, asked, labels: prompts.extend(asked) or score(self, asked, labels)
    )
    return prompts


def evaluated(model, data, folder, *more):
    call = (
        "evaluate",
        model,
        "meld",
        "--root",
        data,
        "--uncertainty",
        "off",
        "--precision",
        "fp32",
        "-o",
        folder,
        "--json",
        *more,
    )
    return json.loads(invoke(*call).stdout)


@pytest.mark.parametrize("name", RECIPES)
def test_evaluate_command_uses_the_dev_prompts_and_scores_of_training(
    name, trained, data, tmp_path, monkeypatch, heard
):
    """Notes, demonstrations and calibrated scores equal those of the last dev evaluation of training."""
    adapter, (_, _, model, tokenizer, _, splits, examples, _, _) = trained(name)
    heard.clear()
    monkeypatch.setenv("CONVEMO_DATA", str(data))
    report = evaluated(f"llm:{adapter}", data, tmp_path / "out", "--inputs", adapter.parent.parent / "inputs")
    encoder = PromptEncoder(tokenizer)
    assert [tuple(encoder.prompt_ids(prompt)) for prompt in heard] == [
        tuple(example.prompt) for example in examples
    ]
    record = AdapterRecord.load(adapter)
    scores = LabelScores.of(record.labels, predict_answers(model, examples).numpy())
    calibrated = ContextualCalibrator.from_dict(record.calibrator).calibrated(scores).probabilities
    gold = [record.labels.index(turn.emotions[0]) for talk in splits[1].conversations for turn in talk]
    assert report["calibration"]["as_given"]["nll"] == pytest.approx(
        -np.log(calibrated[np.arange(9), gold]).mean(), abs=1e-4
    )
    assert report["scores"]["accuracy"] == pytest.approx((calibrated.argmax(axis=1) == gold).mean())
    assert (report["model"]["kind"], report["model"]["emotion_set"], report["map"]) == ("llm", "meld", None)
    assert report["seen_in_training"] == {"files": ["meld/dev_sent_emo.csv"], "as": "tuned"}
    assert {"weighted", "macro"} <= set(report["scores"])
    assert {"entropy", "max_probability"} <= set(report["selective"]["zero_one"])


def test_evaluate_command_accepts_a_language_model_without_an_adapter(data, tiny_lm_dir, tmp_path, heard):
    report = evaluated(
        f"llm:{tiny_lm_dir}", data, tmp_path / "out", "--limit", "6", "--inputs", tmp_path / "inputs"
    )
    assert report["labels"] == list(load_emotion_set("meld").labels)
    assert (report["map"], report["seen_in_training"], report["evaluated_on"]["turns"]) == (None, None, 6)
    assert any("is not calibrated" in note for note in report["notes"])
    assert not (tmp_path / "inputs").exists()
    assert len(heard) == 7  # the turns, and the prompt without content


def test_evaluate_command_refuses_a_language_model_with_multilabel_data(tiny_lm_dir, tmp_path):
    path = tmp_path / "test.tsv"
    path.write_text("".join(f"I am happy {i}\t{i % 28}\tc{i}\n" for i in range(30)), encoding="utf-8")
    result = CliRunner().invoke(app, ["evaluate", f"llm:{tiny_lm_dir}", str(path)])
    assert isinstance(result.exception, InputError)


def test_evaluate_command_refuses_a_server_without_a_language_model():
    result = CliRunner().invoke(
        app, ["evaluate", "tiny-utterance", "meld", "--server", "http://localhost:1/v1"]
    )
    assert isinstance(result.exception, ConfigError)


def test_evaluation_memory_holds_training_turns_with_dev_sees_train(
    overrides, data, tmp_path, tiny_utterance_artefact
):
    config = load_config(
        resource_dir("configs") / "llm-speaker-memory-meld.yaml", [*overrides, "llm.dev_sees_train=true"]
    )
    train, dev = load_splits(config)
    files = {file.name: file.sha256 for corpus in (train, dev) for file in corpus.files}
    scorer = CachedScorer(load_artefact(tiny_utterance_artefact), settings=FAST)
    gold = load_gold("meld", model_set="meld", root=data)
    made = {"config": json.loads(config.model_dump_json()), "section": "llm", "files": files}
    with evaluated_memory(gold, scorer, tmp_path, **made) as registry:
        texts = [
            registry.texts(talk.conversation_id) for corpus in (train, dev) for talk in corpus.conversations
        ]
        told = {text.split()[-2] for by_id in texts for text in by_id.values()}
    assert told == {"train", "dev"}


@pytest.mark.parametrize("writer", ["base", "TINY"])
def test_evaluation_reads_bios_of_the_training_writer(
    overrides, data, tmp_path, tiny_lm, tiny_lm_dir, tiny_utterance_artefact, writer
):
    more = [*overrides, f"llm.writer={writer.replace('TINY', str(tiny_lm_dir))}"]
    config = load_config(resource_dir("configs") / "llm-bioserc-meld.yaml", more)
    with (
        running(Behaviour(model=tiny_lm, completions=False, written="A friend.")) as url,
        input_maker(config, tmp_path, server=url) as maker,
    ):
        maker(*load_splits(config))
    scorer = CachedScorer(load_artefact(tiny_utterance_artefact), settings=FAST)
    made = {"config": json.loads(config.model_dump_json()), "section": "llm", "files": {}}
    with evaluated_memory(
        load_gold("meld", model_set="meld", root=data), scorer, tmp_path, **made
    ) as registry:
        assert {
            registry.context(person.speaker_id, before=END).bio.text for person in registry.speakers()
        } == {"A friend."}
    assert len(list(tmp_path.glob("speakers-*.db"))) == 2


def test_evaluate_command_with_a_writer_server_rewrites_the_training_bios(
    trained, data, tmp_path, tiny_lm, heard
):
    """Without the training inputs, bios are written again and equal those of training."""
    adapter, _ = trained("bioserc")
    behaviour = Behaviour(model=tiny_lm, completions=False, written="A friend.")
    with running(behaviour) as url:
        more = ("--inputs", tmp_path / "inputs", "--writer-server", url)
        report = evaluated(f"llm:{adapter}", data, tmp_path / "out", *more)
    assert any("A friend." in prompt.user for prompt in heard)
    assert report["evaluated_on"]["turns"] == 9
