"""BiosERC's encoder variant in the commands: training, and labelling with and without a memory."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from lm_server import Behaviour, running
from tiny_corpora import write_corpora
from tiny_emonet import ANA, BEN, talk
from transformers import PreTrainedModel
from typer.testing import CliRunner

from erc.cli.app import app
from erc.config import load_config
from erc.inference.live.conversation import LiveConversation
from erc.inference.loading import load_predictor
from erc.inference.scorers.bio_vectors import BioVectors
from erc.inference.scorers.settings import InferenceSettings
from erc.memory.predictor import RememberingPredictor
from erc.memory.training_inputs import input_maker
from erc.models.emonet.network import EmoNet
from erc.persistence.artefact import load_artefact
from erc.resources import resource_dir
from erc.training.emonet.assembly import make_task
from erc.training.emonet.ingredients import gather
from speakers import Registry

FAST = InferenceSettings(precision="fp32", uncertainty="off")


@pytest.fixture(scope="module")
def overrides(
    tmp_path_factory: pytest.TempPathFactory, tiny_encoder_dir: Path, tiny_utterance_artefact: Path
) -> list[str]:
    data = write_corpora(tmp_path_factory.mktemp("corpora") / "data")
    small = [
        "data.max_tokens=24",
        "data.train_limit=6",
        "optim.epochs=1",
        "optim.batch_size=4",
        "optim.precision=fp32",
        "uncertainty.samples=2",
    ]
    large = [
        "optim.head_learning_rate=0.05",
        "optim.ema_decay=",
        "artefact.delta=int8",
    ]  # bios affect the output after few steps
    return [
        f"data.root={data}",
        f"backbone.name={tiny_encoder_dir}",
        f"artefact.init_from={tiny_utterance_artefact}",
        *small,
        *large,
    ]


@pytest.fixture(scope="module")
def model(overrides: list[str], tiny_shelf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artefact of `erc train`."""
    run = tmp_path_factory.mktemp("runs") / "bioserc"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONVEMO_MODELS", str(tiny_shelf))
        result = CliRunner().invoke(
            app,
            ["train", "bioserc-encoder-meld", *overrides, "--run", str(run), "--quiet"],
            catch_exceptions=False,
        )
    assert result.exit_code == 0, result.output
    return run / "bioserc-encoder-meld-minilm"


@pytest.fixture(autouse=True)
def shelf(tiny_shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONVEMO_MODELS", str(tiny_shelf))
    monkeypatch.delenv("CONVEMO_MEMORY", raising=False)


def probabilities(predictions) -> np.ndarray:
    return np.array(
        [[one.probabilities[label] for label in sorted(one.probabilities)] for one in predictions]
    )


def test_training_bios_hold_earlier_turns_only(overrides: list[str], tmp_path: Path) -> None:
    config = load_config(resource_dir("configs") / "bioserc-encoder-meld.yaml", overrides)
    with input_maker(config, tmp_path) as maker:
        parts = gather(config, cache_dir=None, inputs=maker)
    task = make_task(config, parts)
    ordered = sorted(range(6), key=lambda i: parts.train.conversations[i].meta["episode"])
    first, last = (task.collate([task.examples[i]]) for i in (ordered[0], ordered[-1]))
    assert "bios" not in first
    assert last["bios"].shape == (4, 2, parts.bio_width)
    assert last["bio_mask"].tolist() == [[True, False], [True, True], [True, True], [True, True]]
    dev = [task.dev_builder.collate([talk]) for talk in task.dev]
    # dev starts with an empty memory
    assert sum(batch.bios is None for batch in dev) == 1


def test_training_with_a_writer_reads_bios_written_by_the_language_model(
    overrides: list[str], tmp_path: Path, tiny_lm: PreTrainedModel, tiny_lm_dir: Path
) -> None:
    path = resource_dir("configs") / "bioserc-encoder-meld.yaml"
    counted, written = (
        load_config(path, [*overrides, *more]) for more in ([], [f"emonet.writer={tiny_lm_dir}"])
    )
    with input_maker(counted, tmp_path / "counted") as maker:
        without = gather(counted, cache_dir=None, inputs=maker)
    with (
        running(Behaviour(model=tiny_lm, completions=False, written="A friend.")) as url,
        input_maker(written, tmp_path / "written", server=url) as maker,
    ):
        parts = gather(written, cache_dir=None, inputs=maker)
    assert str(tiny_lm_dir) in parts.bios_provenance["writer"]
    assert without.bios_provenance == {}
    bios = [
        make_task(config, found).collate(make_task(config, found).examples)["bios"]
        for config, found in ((written, parts), (counted, without))
    ]
    known = bios[0].abs().sum(-1) > 0
    assert bool(known.any())
    same_text = bios[0][known] - bios[0][known][0]  # all speakers have the same bio
    assert float(same_text.abs().max()) < 1e-5
    assert float((bios[0] - bios[1]).abs().max()) > 1e-3


def test_artefact_records_how_the_model_reads_bios(model: Path) -> None:
    artefact = load_artefact(model)
    assert artefact.info.reads["bio"] == "attention"
    assert isinstance(artefact.network, EmoNet)
    assert artefact.network.bio is not None


def test_label_command_reads_bios_only_with_a_memory(model: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("".join(f"{who}: {text}\n" for who, text in ANA), encoding="utf-8")
    (tmp_path / "b.txt").write_text("".join(f"{who}: {text}\n" for who, text in BEN), encoding="utf-8")

    def labelled(*options: str) -> list[float]:
        call = [
            "label",
            str(tmp_path / "b.txt"),
            "--model",
            str(model),
            "--uncertainty",
            "off",
            "--precision",
            "fp32",
            "--json",
            *options,
        ]
        result = CliRunner().invoke(app, call, catch_exceptions=False)
        return [json.loads(line)["confidence"] for line in result.stdout.splitlines()]

    memory = ("--memory", str(tmp_path / "speakers.db"))
    alone = labelled()
    assert len(alone) == len(BEN)
    first = [str(tmp_path / "a.txt"), "--model", str(model), *memory, "--json"]
    assert CliRunner().invoke(app, ["label", *first], catch_exceptions=False).exit_code == 0
    assert np.abs(np.array(labelled(*memory)) - alone).max() > 1e-4
    assert labelled() == pytest.approx(alone)


@pytest.mark.parametrize("known", [len(BEN), 0])
def test_live_conversation_with_bios_equals_batch_labelling(model: Path, tmp_path: Path, known: int) -> None:
    """The result does not depend on how many turns were known at the start."""
    predictor = load_predictor(str(model), settings=FAST)
    with Registry.open(tmp_path / "speakers.db") as registry:
        remembering = RememberingPredictor(predictor, registry)
        remembering.label(talk("a"))
        later = talk("b", BEN)
        live = LiveConversation(predictor, conversation_id="b", past=remembering.past(talk("b", BEN[:known])))
        found = [live.append_utterance(turn) for turn in later.utterances[:3]]
        live.save(tmp_path / "live.safetensors")
        live = LiveConversation.load(
            tmp_path / "live.safetensors", predictor, past=remembering.past(talk("b", BEN[:known]))
        )
        found += [live.append_utterance(turn) for turn in later.utterances[3:]]
        whole = remembering.label(later).predictions
    np.testing.assert_allclose(probabilities(found), probabilities(whole), atol=1e-5)


def test_label_encodes_each_bio_passage_once_for_all_conversations(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor, read = load_predictor(str(model), settings=FAST), list[str]()
    shared = predictor.scorer.utterance  # type: ignore[attr-defined]
    score = shared.score_texts
    monkeypatch.setattr(shared, "score_texts", lambda texts: read.extend(texts) or score(texts))
    with Registry.open(tmp_path / "speakers.db") as registry:
        remembering = RememberingPredictor(predictor, registry)
        for _ in range(3):
            remembering.label(talk("a"))
            remembering.label(talk("b", BEN))
        passages = {
            passage.text
            for person in registry.speakers()
            for bio in registry.bio_versions(person.speaker_id)
            for passage in bio.passages
        }
    found = [text for text in read if text in passages]
    assert len(found) == len(set(found)) > 0


def evaluated(model: Path, overrides: list[str], folder: Path, *more: str) -> dict:
    root = overrides[0].partition("=")[2]
    call = [
        "evaluate",
        str(model),
        "meld",
        "--root",
        root,
        "--uncertainty",
        "off",
        "--precision",
        "fp32",
        "-o",
        str(folder),
        "--json",
        *more,
    ]
    result = CliRunner().invoke(app, call, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_evaluate_command_reproduces_the_dev_figures_of_training(
    model: Path, overrides: list[str], tmp_path: Path, monkeypatch
) -> None:
    trained = json.loads((model.parent / "report.json").read_text(encoding="utf-8"))
    found = evaluated(model, overrides, tmp_path / "with", "--inputs", str(tmp_path / "inputs"))
    for average in ("weighted", "macro", "micro"):
        assert found["scores"][average] == pytest.approx(trained["scores"][average])
    assert found["scores"]["confusion"] == trained["scores"]["confusion"]
    assert found["calibration"]["as_given"]["nll"] == pytest.approx(
        trained["calibration"]["as_given"]["nll"], rel=1e-5
    )
    assert any("evaluated conversations themselves" in note for note in found["notes"])
    assert len(list((tmp_path / "inputs").glob("speakers-*.db"))) == 1
    monkeypatch.setattr(BioVectors, "bios", lambda self, speaker, before: [])
    without = evaluated(model, overrides, tmp_path / "without", "--inputs", str(tmp_path / "inputs"))
    assert without["calibration"]["as_given"]["nll"] != pytest.approx(
        found["calibration"]["as_given"]["nll"], rel=1e-4
    )


def test_evaluate_command_reuses_the_training_inputs(
    model: Path, overrides: list[str], tmp_path: Path
) -> None:
    inputs = model.parent.parent / "inputs"
    before = sorted(inputs.iterdir())
    evaluated(model, overrides, tmp_path, "--inputs", str(inputs))
    assert sorted(inputs.iterdir()) == before


def test_evaluate_command_on_a_transcript_reads_no_bios(
    model: Path, overrides: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "chat.csv"
    path.write_text(
        "speaker,text,emotion\n"
        + "".join(f"Ana,I am happy {i},{('joy', 'anger')[i % 2]}\n" for i in range(12)),
        encoding="utf-8",
    )
    call = [
        "evaluate",
        str(model),
        str(path),
        "--uncertainty",
        "off",
        "-o",
        str(tmp_path / "out"),
        "--json",
        "--inputs",
        str(tmp_path / "none"),
    ]
    result = CliRunner().invoke(app, call, catch_exceptions=False)
    assert any("without bios" in note for note in json.loads(result.stdout)["notes"])
    assert not (tmp_path / "none").exists()
