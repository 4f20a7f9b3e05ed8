"""Fixtures for the tests of the `erc` command with language models."""

from __future__ import annotations

import csv
from itertools import cycle

import pytest
from recipe_parts import FAST, SAID, invoke
from tiny_emonet import talk

from erc.data.corpora.meld import COLUMNS
from erc.inference import loading
from erc.inference.loading import load_cascade
from erc.llm.generation import text_store
from erc.memory import bio_writer
from erc.training.llm import experiment as llm_experiment
from erc.uncertainty.policy import DecisionPolicy
from speakers import Registry


@pytest.fixture(autouse=True)
def shelf(tiny_shelf, monkeypatch):
    monkeypatch.setenv("CONVEMO_MODELS", str(tiny_shelf))
    monkeypatch.delenv("CONVEMO_MEMORY", raising=False)
    monkeypatch.setattr(loading, "SHARED_MODEL", "tiny-utterance")


@pytest.fixture
def short_texts(monkeypatch):
    """Language models write at most four tokens."""
    monkeypatch.setattr(text_store, "MOST_TOKENS", dict.fromkeys(text_store.MOST_TOKENS, 4))
    monkeypatch.setattr(bio_writer, "MOST_TOKENS", 4)


@pytest.fixture
def cascade(adapter):
    """A cascade whose first model is uncertain about some turns only."""
    made = load_cascade("tiny-hierarchical", f"llm:{adapter}", settings=FAST)
    confidence = sorted(one.confidence for one in made.first.label([talk("a")])[0].predictions)
    made.first.policy = DecisionPolicy(min_confidence=confidence[3])
    return made


@pytest.fixture
def registry(tmp_path):
    with Registry.open(str(tmp_path / "speakers.db")) as opened:
        yield opened


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A data root with a few dialogues of one season in MELD's layout."""
    root = tmp_path_factory.mktemp("data")
    (root / "meld").mkdir()
    for split, count in (("train", 4), ("dev", 3)):
        moods = cycle(SAID)
        with (root / "meld" / f"{split}_sent_emo.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, ["Sr No.", *COLUMNS])
            writer.writeheader()
            for dialogue in reversed(range(count)):  # MELD's dialogue numbers are not in broadcast order
                for turn in range(3):
                    mood = next(moods)
                    row = {
                        "Utterance": f"{SAID[mood]} {split} {dialogue}",
                        "Speaker": ("Ross", "Rachel")[turn % 2],
                        "Emotion": mood,
                        "Sr No.": 1,
                    }
                    place = {
                        "Dialogue_ID": dialogue,
                        "Utterance_ID": turn,
                        "Season": 1,
                        "Episode": 1 + dialogue,
                        "Sentiment": "neutral",
                    }
                    writer.writerow(
                        {**row, **place, "StartTime": f"00:00:0{turn},000", "EndTime": f"00:00:0{turn},900"}
                    )
    return root


@pytest.fixture
def overrides(data, tiny_lm_dir):
    small = (
        "llm.max_tokens=1600",
        "llm.turns=4",
        "llm.pack_tokens=",
        "llm.lora.r=2",
        "llm.neftune=0.0",
        "optim.batch_size=8",
        "optim.epochs=1.0",
        "optim.micro_batch_size=",
    )
    return [
        f"data.root={data}",
        f"llm.base={tiny_lm_dir}",
        "llm.precision=fp32",
        "optim.precision=fp32",
        *small,
    ]


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """The folder of shared runs, and the result of each run."""
    return tmp_path_factory.mktemp("runs"), {}


@pytest.fixture
def trained(runs, overrides, monkeypatch):
    """Trains a recipe once with the command: its adapter, and the arguments of its `finish_llm`."""
    folder, ended = runs
    finish = llm_experiment.finish_llm

    def train(name):
        if name not in ended:
            with monkeypatch.context() as patch:
                patch.setattr(
                    llm_experiment,
                    "finish_llm",
                    lambda *parts: ended.setdefault(name, parts) and finish(*parts),
                )
                invoke("train", f"llm-{name}-meld", *overrides, "--run", folder / name, "--quiet")
        return folder / name / f"{name}-meld", ended[name]

    return train
