"""Every recipe with the `erc` command: training on corpus files, then labelling a transcript."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from lm_server import Behaviour, running
from recipe_parts import FAST, RECIPES, invoke
from typer.testing import CliRunner

from erc.cli.app import app
from erc.config import load_config
from erc.data.conversation import Context
from erc.data.leaks import LeakFilter
from erc.emotions import load_emotion_set
from erc.errors import ArtefactError, ConfigError
from erc.inference.demonstrations import trained_demonstrations
from erc.inference.loading import load_predictor
from erc.inference.scorers.utterance import UtteranceScorer
from erc.llm.base.adapters import AdapterRecord
from erc.llm.base.digests import known_weights
from erc.llm.embedding import SentenceEmbedder
from erc.llm.prompts.demonstrations import DemonstrationIndex, TurnSource
from erc.memory.predictor import RememberingPredictor
from erc.memory.training_inputs import input_maker
from erc.persistence.artefact import load_artefact
from erc.resources import resource_dir
from erc.training.inputs import load_splits
from speakers import END, Observation, Registry

pytestmark = pytest.mark.usefixtures("short_texts")


@pytest.mark.parametrize("name", RECIPES)
def test_train_command_with_each_recipe_saves_an_adapter_that_labels(
    name, trained, data, tmp_path, monkeypatch
):
    adapter, _ = trained(name)
    assert AdapterRecord.load(adapter).label_set == "meld"
    (tmp_path / "chat.txt").write_text("Ross: Okay, let us start\nRachel: I am so happy\n", encoding="utf-8")
    monkeypatch.setenv("CONVEMO_DATA", str(data))
    call = (
        "label",
        tmp_path / "chat.txt",
        "--model",
        f"llm:{adapter}",
        "--memory",
        tmp_path / "speakers.db",
        "--uncertainty",
        "off",
        "--json",
    )
    found = [json.loads(line) for line in invoke(*call).stdout.splitlines()]
    base = AdapterRecord.load(adapter).base
    assert [one["model"] for one in found] == [
        f"llm:{base}+{adapter.name}#{known_weights(base, adapter)}"
    ] * 2


class _Asked:
    """A backend that records the prompts it scores."""

    def __init__(self, backend):
        self.backend, self.prompts = backend, []
        self.encoder = backend.encoder

    def score(self, prompts, labels):
        self.prompts += prompts
        return self.backend.score(prompts, labels)


def test_training_prompts_equal_labelling_prompts_of_the_corpus(overrides, data, tmp_path):
    """Dev labelled in broadcast order has the training prompts: bios, history and demonstrations."""
    invoke("train", "llm-speaker-memory-meld", *overrides, "--run", tmp_path / "runs" / "r", "--quiet")
    config = load_config(resource_dir("configs") / "llm-speaker-memory-meld.yaml", overrides)
    train, dev = load_splits(config)
    predictor = load_predictor(f"llm:{tmp_path / 'runs' / 'r' / 'speaker-memory-meld'}", settings=FAST)
    model = predictor.scorer.model
    asked = _Asked(model.backend)
    object.__setattr__(model, "backend", asked)
    with Registry.open(tmp_path / "dev.db") as registry:
        for talk in sorted(dev.conversations, key=lambda one: one.meta["episode"]):
            RememberingPredictor(predictor, registry).label(talk)
    with input_maker(config, tmp_path / "runs" / "inputs") as maker:
        inputs = maker(train, dev)
        index = DemonstrationIndex.build(
            train.conversations, inputs.embed, leaks=LeakFilter.of([dev]), labels=model.builder.labels
        )
        expected = []
        for talk in sorted(dev.conversations, key=lambda one: one.meta["episode"]):
            for turn in talk:
                shown = index.search(
                    inputs.embed([turn.text])[0], text=turn.text, origin=TurnSource.of(talk), k=2
                )
                notes = inputs.notes.of(talk, turn.index)
                expected.append(
                    model.builder.emotion(Context.causal(talk, turn.index), notes=notes, demonstrations=shown)
                )
    assert [prompt.user for prompt in asked.prompts] == [prompt.user for prompt in expected]
    assert "seemed to feel before" not in expected[0].user
    assert 'About Ross: "Often talks about' in expected[-1].user
    assert "seemed to feel before" in expected[-1].user
    assert "Other dialogues, each with" in expected[-1].user


@pytest.fixture
def shown(tmp_path, data, tiny_lm_dir, tiny_utterance_artefact):
    """The record of an adapter trained with demonstrations, and the classifier it was trained with."""
    scorer = UtteranceScorer(load_artefact(tiny_utterance_artefact), settings=FAST)
    config = load_config(
        resource_dir("configs") / "llm-instructerc-meld.yaml", [f"data.root={data}", "data.train_limit=3"]
    )
    files = {file.name: file.sha256 for corpus in load_splits(config) for file in corpus.files}
    labels = load_emotion_set("meld").labels
    made = {"utterance_model": "tiny-utterance", "utterance_sha256": scorer.artefact.sha256}
    extra = {"config": json.loads(config.model_dump_json()), "files": files, "inputs": made}
    return AdapterRecord(str(tiny_lm_dir), None, "p", "", None, labels, "meld", None, extra), scorer


def test_demonstrations_come_from_the_training_sample_and_another_dialogue(shown, data):
    record, scorer = shown
    found = trained_demonstrations(record, scorer)
    config = load_config(
        resource_dir("configs") / "llm-instructerc-meld.yaml", [f"data.root={data}", "data.train_limit=3"]
    )
    talks = load_splits(config)[0].conversations
    assert {one.conversation_id for one in found.index.demonstrations} == {
        talk.conversation_id for talk in talks
    }
    for talk in talks:
        for turn in talk:
            [one] = found(scorer.score_texts([turn.text]).embedding[0], turn.text, TurnSource.of(talk))
            assert one.conversation_id != talk.conversation_id


@pytest.fixture
def read(monkeypatch):
    """The number of texts in each call of the classifier."""
    counts = []
    score = UtteranceScorer.score_texts
    monkeypatch.setattr(
        UtteranceScorer, "score_texts", lambda self, texts: counts.append(len(texts)) or score(self, texts)
    )
    return counts


def searched(found):
    """The vectors of the searched demonstrations."""
    return np.stack([found.index._index.reconstruct(row) for row in range(len(found.index))])


def test_demonstrations_are_embedded_once_with_a_cache(shown, tmp_path, read):
    record, scorer = shown
    first = trained_demonstrations(record, scorer, cache=tmp_path / "cache")
    assert sum(read) == len(first.index)
    second = trained_demonstrations(record, scorer, cache=tmp_path / "cache")
    assert sum(read) == len(first.index)
    np.testing.assert_array_equal(searched(second), searched(first))
    vector = scorer.score_texts(["I am so happy"]).embedding[0]
    assert second(vector, "I am so happy", TurnSource()) == first(vector, "I am so happy", TurnSource())


@pytest.mark.parametrize("broken", [b"", b"\x08\0\0\0\0\0\0\0{}      ", b"no safetensors at all"])
def test_damaged_demonstration_cache_is_recomputed(broken, shown, tmp_path, read):
    record, scorer = shown
    first = trained_demonstrations(record, scorer, cache=tmp_path)
    [path] = tmp_path.glob("demonstrations/*")
    whole = path.read_bytes()
    path.write_bytes(broken)
    np.testing.assert_array_equal(
        searched(trained_demonstrations(record, scorer, cache=tmp_path)), searched(first)
    )
    assert sum(read) == 2 * len(first.index)
    assert path.read_bytes() == whole


def test_demonstration_cache_separates_texts_and_precisions(shown, tmp_path, read):
    record, scorer = shown
    trained_demonstrations(record, scorer, cache=tmp_path)
    config = {**record.extra["config"], "data": {**record.extra["config"]["data"], "train_limit": 2}}
    fewer = trained_demonstrations(altered(record, config=config), scorer, cache=tmp_path)
    assert len(fewer.index) == 6
    scorer.settings = replace(scorer.settings, precision="bf16")
    trained_demonstrations(record, scorer, cache=tmp_path)
    assert (len(list(tmp_path.glob("demonstrations/*"))), sum(read)) == (3, 9 + 6 + 9)


def test_demonstrations_work_without_a_writable_cache_folder(shown, tmp_path):
    record, scorer = shown
    (tmp_path / "cache").write_text("a file", encoding="utf-8")
    assert len(trained_demonstrations(record, scorer, cache=tmp_path / "cache").index) == 9


def altered(record, **changes):
    return replace(record, extra={**record.extra, **changes})


def test_demonstrations_of_a_missing_corpus_name_its_expected_folder(shown, tmp_path, monkeypatch):
    record, scorer = shown
    config = {
        **record.extra["config"],
        "data": {**record.extra["config"]["data"], "root": str(tmp_path / "gone")},
    }
    monkeypatch.setenv("CONVEMO_DATA", str(tmp_path))
    with pytest.raises(ArtefactError, match=r"train split of meld.*CONVEMO_DATA.*erc data import meld"):
        trained_demonstrations(altered(record, config=config), scorer)


def test_demonstrations_of_another_file_or_classifier_are_refused(shown):
    record, scorer = shown
    with pytest.raises(ArtefactError, match=r"train_sent_emo\.csv"):
        trained_demonstrations(altered(record, files={"train_sent_emo.csv": "0" * 64}), scorer)
    with pytest.raises(ArtefactError, match="train the adapter again"):
        trained_demonstrations(
            altered(record, inputs={"utterance_model": "another", "utterance_sha256": "0" * 64}), scorer
        )


def with_embedder(record, folder, revision):
    """The record of an adapter trained with this embedder."""
    config = record.extra["config"]
    inputs = {**record.extra["inputs"], "embedder": str(folder), "embedder_revision": revision}
    return altered(
        record, config={**config, "llm": {**config["llm"], "embedder": str(folder)}}, inputs=inputs
    )


def test_demonstrations_are_retrieved_with_the_embedder_of_the_adapter(
    shown, tiny_sentence_transformer, tmp_path
):
    record, scorer = shown
    embedder = SentenceEmbedder.load(str(tiny_sentence_transformer))
    own = with_embedder(record, tiny_sentence_transformer, embedder.revision)
    for _ in range(2):  # computed, then read from the cache
        found = trained_demonstrations(own, scorer, cache=tmp_path)
        texts = [shown.turns[-1][1] for shown in found.index.demonstrations]
        vectors = embedder.embed(texts)
        expected = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        np.testing.assert_allclose(searched(found), expected, atol=1e-6)
    text = "Okay, let us begin"
    [one] = found(scorer.score_texts([text]).embedding[0], text, TurnSource())
    assert one.turns[-1][1] == texts[int((expected @ embedder.embed([text])[0]).argmax())]


def test_demonstrations_of_another_embedder_are_refused(shown, tiny_sentence_transformer, tmp_path):
    record, scorer = shown
    own = with_embedder(record, tiny_sentence_transformer, "0" * 12)
    with pytest.raises(ArtefactError, match=r"with digest 000000000000, the one here has .*: train"):
        trained_demonstrations(own, scorer, cache=tmp_path)


def test_instructerc_demonstrations_are_balanced_and_without_names(shown):
    record, scorer = shown
    found = trained_demonstrations(record, scorer).index.demonstrations
    assert {name for one in found for name, _ in one.turns} == {None}
    assert set(Counter(one.emotion for one in found).values()) == {3}


def test_recipe_trains_and_labels_with_a_sentence_transformers_model(
    overrides, tiny_sentence_transformer, tmp_path
):
    changed = (*overrides, f"llm.embedder={tiny_sentence_transformer}")
    invoke("train", "llm-instructerc-meld", *changed, "--run", tmp_path / "run", "--quiet")
    folder = tmp_path / "run" / "instructerc-meld"
    record = AdapterRecord.load(folder)
    embedder = SentenceEmbedder.load(str(tiny_sentence_transformer))
    inputs = record.extra["inputs"]
    assert (inputs["embedder"], inputs["embedder_revision"]) == (embedder.name, embedder.revision)
    model = load_predictor(f"llm:{folder}", settings=FAST).scorer.model
    assert model.demonstrations.embed(["Okay"]).shape == (1, 32)


def test_adapter_without_demonstrations_needs_no_corpus(shown):
    record, scorer = shown
    assert trained_demonstrations(altered(record, config={"llm": {"demonstrations": 0}}), scorer) is None


# --- texts written by a language model


def test_train_command_requests_texts_from_the_server_once(overrides, tmp_path, tiny_lm):
    behaviour = Behaviour(model=tiny_lm, completions=False)
    with running(behaviour) as url:
        invoke(
            "train",
            "llm-laercs-meld",
            *overrides,
            "--run",
            tmp_path / "runs" / "a",
            "--server",
            url,
            "--quiet",
        )
        asked = len(behaviour.requests)
        invoke(
            "train",
            "llm-laercs-meld",
            *overrides,
            "--run",
            tmp_path / "runs" / "b",
            "--server",
            url,
            "--quiet",
        )
    lines = [
        json.loads(line)
        for line in (tmp_path / "runs" / "inputs" / "written.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert len(lines) == asked - 1 == 21  # the turns of seven dialogues, and one probe request
    assert all(line["text"].startswith("You asked: [dialogue]") for line in lines)
    assert len(behaviour.requests) == asked
    assert (
        AdapterRecord.load(tmp_path / "runs" / "a" / "laercs-meld")
        .extra["inputs"]["writer"]
        .partition("#")[0]
        in overrides[1]
    )


def test_train_command_refuses_a_server_with_nothing_to_write(overrides, tmp_path):
    result = CliRunner().invoke(
        app,
        [
            "train",
            "llm-instructerc-meld",
            *overrides,
            "--server",
            "http://localhost:1/v1",
            "--run",
            str(tmp_path / "r"),
        ],
    )
    assert isinstance(result.exception, ConfigError)
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("named", [True, False])
def test_training_bios_are_written_from_earlier_turns_only(overrides, tmp_path, tiny_lm, tiny_lm_dir, named):
    """The writer is the named model, or the base model if the recipe says so."""
    behaviour = Behaviour(model=tiny_lm, completions=False, written="A friend. Says much.")
    more = [f"llm.writer=llm:{tiny_lm_dir}", "llm.base=another"] if named else []
    config = load_config(resource_dir("configs") / "llm-bioserc-meld.yaml", [*overrides, *more])
    train, dev = load_splits(config)
    with running(behaviour) as url, input_maker(config, tmp_path, server=url) as maker:
        notes = maker(train, dev).notes
        ordered = sorted(train.conversations, key=lambda one: one.meta["episode"])
        first, last = notes.of(ordered[0], 2), notes.of(ordered[-1], 2)
    assert first.bios == ()
    assert [(bio.name, bio.passages) for bio in last.bios] == [
        ("Rachel", ("A friend.", "Says much.")),
        ("Ross", ("A friend.", "Says much.")),
    ]
    assert all(bio.version.startswith(f"llm:{tiny_lm_dir}#") for bio in last.bios)
    told = [
        body["messages"][-1]["content"]
        for path, body in behaviour.requests
        if path.endswith("chat/completions")
    ]
    assert not any(
        f"train {ordered[-1].meta['episode'] - 1}" in text for text in told
    )  # no bio holds text of the last dialogue


def test_incomplete_memory_of_a_killed_run_is_removed(overrides, tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left = [tmp_path / f"speakers-0.db.{gone.pid}.part{end}" for end in ("", "-wal")]
    for path in left:
        path.write_bytes(b"half")
        os.utime(path, (0, 0))
    with input_maker(load_config(resource_dir("configs") / "llm-instructerc-meld.yaml", overrides), tmp_path):
        assert not any(path.exists() for path in left)


@pytest.mark.parametrize("sees", [False, True])
def test_dev_history_holds_training_turns_only_with_dev_sees_train(sees, overrides, tmp_path):
    config = load_config(
        resource_dir("configs") / "llm-speaker-memory-meld.yaml",
        [*overrides, f"llm.dev_sees_train={str(sees).lower()}"],
    )
    train, dev = load_splits(config)
    later = max(dev.conversations, key=lambda one: one.meta["episode"])
    with input_maker(config, tmp_path) as maker:
        notes = maker(train, dev).notes
        told = {entry.text.split()[-2] for entry in notes.of(later, 0).history}
        assert {
            entry.text.split()[-2] for talk in train.conversations for entry in notes.of(talk, 0).history
        } == {"train"}
    assert told == ({"train", "dev"} if sees else {"dev"})


def test_bios_command_writes_bios_with_a_server(tmp_path, tiny_lm, tiny_lm_dir):
    with Registry.open(tmp_path / "speakers.db") as registry:
        ana = registry.resolve("Ana", conversation_id="a").speaker.speaker_id
        registry.record("a", [Observation(ana, "a", "a0", 0, "We won!")])
    with running(Behaviour(model=tiny_lm, completions=False, written="Wins.")) as url:
        call = (
            "bios",
            "write",
            "--memory",
            tmp_path / "speakers.db",
            "--model",
            f"llm:{tiny_lm_dir}",
            "--server",
            url,
        )
        assert invoke(*call).stdout.splitlines() == ["Ana: version 1, from 1 utterances"]
    with Registry.open(tmp_path / "speakers.db") as registry:
        assert registry.context(ana, before=END).bio.text == "Wins."
