"""Complete training runs, from corpus files and a configuration to a model folder that labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_corpora import SAID, write_corpora

from erc.config import ExperimentConfig, load_config
from erc.data import Conversation, Utterance
from erc.data.corpora import load_corpus
from erc.emotions import load_emotion_set
from erc.errors import ArtefactError, ConfigError
from erc.evaluation.evaluate import evaluate
from erc.evaluation.labelled_data import load_gold
from erc.inference.loading import load_predictor
from erc.inference.scorers.settings import InferenceSettings
from erc.persistence import load_model
from erc.persistence.artefact import Artefact, load_artefact
from erc.resources import resource_dir
from erc.training.emonet.assembly import build_network, make_task
from erc.training.emonet.card import emonet_card
from erc.training.emonet.ingredients import gather
from erc.training.experiment import run_experiment
from erc.training.loop.settings import optim_settings
from erc.training.loop.trainer import train

SMALL = (
    "data.max_tokens=24",
    "optim.epochs=1",
    "optim.batch_size=4",
    "optim.precision=fp32",
    "uncertainty.samples=2",
)
PARTS = ("emonet.context_width=16", "emonet.memory_width=8", "emonet.token_window=50")
CONFIGS = sorted(
    path.stem for path in resource_dir("configs").glob("*.yaml") if path.name.startswith(("compm", "emonet"))
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with a few dialogues in MELD's and EmoryNLP's layouts and comments in GoEmotions'."""
    return write_corpora(tmp_path_factory.mktemp("data"))


def configured(name: str, data: Path, backbone: Path, *changes: str) -> ExperimentConfig:
    given = [*SMALL, f"data.root={data}", f"backbone.name={backbone}", *changes]
    return load_config(resource_dir("configs") / f"{name}.yaml", given)


@pytest.fixture(scope="module")
def emonet_config(data: Path, tiny_encoder_dir: Path, tiny_utterance_artefact: Path) -> ExperimentConfig:
    return configured(
        "emonet-meld",
        data,
        tiny_encoder_dir,
        *PARTS,
        f"artefact.init_from={tiny_utterance_artefact}",
        "artefact.delta=int8",
    )


@pytest.fixture(scope="module")
def emonet_run(emonet_config: ExperimentConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a finished conversation model."""
    run = tmp_path_factory.mktemp("runs") / "emonet"
    assert run_experiment(emonet_config, run, progress=False) == run / "emonet-meld-minilm"
    return run


@pytest.fixture(scope="module")
def emonet(emonet_run: Path) -> Artefact:
    return load_artefact(emonet_run / "emonet-meld-minilm")


def test_run_experiment_emonet_records_its_inputs(emonet: Artefact, tiny_utterance_artefact: Path) -> None:
    info, shared = emonet.info, load_artefact(tiny_utterance_artefact)
    assert (info.kind, info.emotion_set, info.labels) == ("emonet", "meld", load_emotion_set("meld").labels)
    assert info.reads["utterance_sha256"] == shared.sha256
    assert info.reads["utterance_model"] == "tiny-utterance"
    assert info.reads["embedding_width"] == shared.network.embedding_width
    assert info.reads["observed_labels"] == 28
    assert set(info.data) == {"meld/train_sent_emo.csv", "meld/dev_sent_emo.csv"}
    assert info.config["optim"]["epochs"] == 1.0


def test_run_experiment_emonet_predictor_reproduces_the_dev_accuracy(
    emonet_run: Path,
    emonet: Artefact,
    data: Path,
    tiny_utterance_artefact: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The Predictor's dev accuracy equals that of the card, because both read the same past."""
    monkeypatch.setenv("CONVEMO_MODELS", str(tiny_utterance_artefact.parent))
    predictor = load_predictor(
        str(emonet.folder), settings=InferenceSettings(precision="fp32", uncertainty="off")
    )
    dev = load_corpus("meld", "dev", root=data).conversations
    right = [p.emotion == p.utterance.emotions[0] for one in predictor.label(dev) for p in one.predictions]
    assert emonet.metrics["dev"]["scores"]["accuracy"] == pytest.approx(np.mean(right))
    assert predictor.policy is not None


def test_run_experiment_emonet_card_has_the_figures(emonet: Artefact) -> None:
    card, scores = (emonet.folder / "README.md").read_text(encoding="utf-8"), emonet.metrics["dev"]["scores"]
    for expected in (
        f"{scores['weighted']['f1']:.3f}",
        f"{scores['accuracy']:.3f}",
        "`tiny-utterance`",
        "first in conversation",
        "AURC",
        "GPL-3.0",
    ):
        assert expected in card
    assert set(emonet.policy or {}) == {"meld", "ekman", "sentiment"}
    assert emonet.info.uncertainty["mode"] == emonet.metrics["monte_carlo"]["mode"]


@pytest.mark.parametrize(("target", "stated"), [("risk", True), ("coverage", False)])
def test_emonet_card_with_a_risk_policy_states_the_limits_of_its_bound(
    target: str, stated: bool, emonet: Artefact
) -> None:
    fitted = {"target": target, "level": 0.3, "delta": 0.1, "risk": 0.2, "coverage": 0.6}
    card = emonet_card(emonet.info, emonet.metrics, {"meld": {"fitted": fitted}})
    assert ("fitted on the dev split that also chose the checkpoint" in card) is stated
    assert ("15%, 20%, 25%, 30%, 35%, 40%" in card) is stated


@pytest.fixture(scope="module")
def shared_encoder_run(
    data: Path,
    tiny_encoder_dir: Path,
    tiny_utterance_artefact: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The artefact of a conversation model that uses the shared classifier's encoder."""
    changes = [
        "emonet.encoder=shared",
        "emonet.speaker_text=none",
        "data.max_tokens=48",
        f"artefact.init_from={tiny_utterance_artefact}",
    ]
    config = configured("emonet-meld", data, tiny_encoder_dir, *PARTS, *changes)
    return run_experiment(config, tmp_path_factory.mktemp("runs") / "shared", progress=False)


def test_run_experiment_shared_encoder_is_neither_trained_nor_stored(
    shared_encoder_run: Path, tiny_utterance_artefact: Path
) -> None:
    shared = load_artefact(tiny_utterance_artefact)
    loaded = load_artefact(shared_encoder_run, shared=shared)
    assert loaded.network.context.encoder is shared.network.encoder  # type: ignore[union-attr]
    fresh = load_artefact(tiny_utterance_artefact).network.encoder.state_dict()  # type: ignore[union-attr]
    assert all(torch.equal(value, fresh[name]) for name, value in shared.network.encoder.state_dict().items())  # type: ignore[union-attr]
    assert not [name for name in load_file(shared_encoder_run / "weights.safetensors") if "encoder" in name]


def test_run_experiment_shared_encoder_model_needs_the_shared_classifier(shared_encoder_run: Path) -> None:
    with pytest.raises(ArtefactError, match="no encoder of its own: load it together with tiny-utterance"):
        load_artefact(shared_encoder_run)


def test_run_experiment_shared_encoder_model_labels_as_in_training(
    shared_encoder_run: Path, data: Path, tiny_utterance_artefact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The vectors cached for training equal those computed by the shared classifier for labelling."""
    monkeypatch.setenv("CONVEMO_MODELS", str(tiny_utterance_artefact.parent))
    predictor = load_predictor(
        str(shared_encoder_run), settings=InferenceSettings(precision="fp32", uncertainty="off")
    )
    dev = load_corpus("meld", "dev", root=data).conversations
    right = [p.emotion == p.utterance.emotions[0] for one in predictor.label(dev) for p in one.predictions]
    expected = load_model(str(shared_encoder_run)).metrics["dev"]["scores"]["accuracy"]
    assert expected == pytest.approx(np.mean(right))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("emonet.context=turn_causal", r"needs emonet\.context=hierarchical"),
        ("emonet.speaker_text=name", r"emonet\.speaker_text=none"),
        ("emonet.memory_encoder=own", "memory_encoder of shared or none"),
        ("data.max_tokens=40", r"reads turns with head\.pooling=mean_cls and data\.max_tokens=48"),
        ("artefact.init_from=", "it with artefact.init_from"),
    ],
)
def test_run_experiment_shared_encoder_refuses_settings_that_change_its_inputs(
    change: str,
    message: str,
    data: Path,
    tiny_encoder_dir: Path,
    tiny_utterance_artefact: Path,
    tmp_path: Path,
) -> None:
    changes = [
        "emonet.encoder=shared",
        "emonet.speaker_text=none",
        "data.max_tokens=48",
        f"artefact.init_from={tiny_utterance_artefact}",
        change,
    ]
    with pytest.raises(ConfigError, match=message):
        run_experiment(
            configured("emonet-meld", data, tiny_encoder_dir, *PARTS, *changes), tmp_path, progress=False
        )


def test_run_experiment_refuses_the_folder_of_another_configuration(
    emonet_config: ExperimentConfig, emonet_run: Path
) -> None:
    other = emonet_config.model_copy(update={"optim": emonet_config.optim.model_copy(update={"seed": 7})})
    before = (emonet_run / "config.yaml").read_text(encoding="utf-8")
    with pytest.raises(ConfigError, match="holds another configuration"):
        run_experiment(other, emonet_run, progress=False)
    assert (emonet_run / "config.yaml").read_text(encoding="utf-8") == before


def test_run_experiment_saves_a_configuration_that_reproduces_the_run(
    emonet_config: ExperimentConfig, emonet_run: Path
) -> None:
    assert load_config(emonet_run / "config.yaml") == emonet_config


def test_run_experiment_bios_are_refused_before_training(
    data: Path, tiny_encoder_dir: Path, tmp_path: Path
) -> None:
    config = configured("bioserc-encoder-meld", data, tiny_encoder_dir, *PARTS)
    with pytest.raises(ConfigError, match=r"emonet\.bio needs bios"):
        run_experiment(config, tmp_path, progress=False)


def test_run_experiment_utterance_saves_a_model_that_labels(
    data: Path, tiny_encoder_dir: Path, tmp_path: Path
) -> None:
    config = configured(
        "goemotions-minilm", data, tiny_encoder_dir, "distillation=", "head.hidden=16", "optim.batch_size=16"
    )
    folder = run_experiment(config, tmp_path / "run", progress=False)
    artefact = load_artefact(folder)
    assert (artefact.info.kind, artefact.info.licences) == (
        "utterance",
        ("GoEmotions: Apache-2.0 code, CC BY 4.0 data",),
    )
    assert set(artefact.policy or {}) == {"goemotions", "ekman", "sentiment"}
    figure = artefact.metrics["dev"]["tuned"]["cross_fitted"]["macro"]["f1"]
    assert f"{figure:.3f}" in (folder / "README.md").read_text(encoding="utf-8")
    predictor = load_predictor(str(folder), settings=InferenceSettings(precision="fp32"))
    talk = Conversation("c", (Utterance("u", 0, "Ana", SAID["joy"]),))
    assert len(predictor.label([talk])[0].predictions[0].probabilities) == 28


def test_evaluate_reproduces_the_training_figures_and_separates_known_speakers(
    emonet: Artefact, data: Path, tiny_utterance_artefact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONVEMO_MODELS", str(tiny_utterance_artefact.parent))
    assert set(emonet.info.reads["trained_speakers"]) == {"Ross", "Rachel"}
    knows_ross = replace(
        emonet, info=replace(emonet.info, reads={**emonet.info.reads, "trained_speakers": ["Ross"]})
    )
    settings, gold = (
        InferenceSettings(precision="fp32", uncertainty="off"),
        load_gold("meld", model_set="meld", split="dev", root=data),
    )
    report = evaluate(knows_ross, gold, settings=settings, resamples=20).report
    assert report["scores"]["weighted"]["f1"] == pytest.approx(
        emonet.metrics["dev"]["scores"]["weighted"]["f1"], abs=1e-6
    )
    sizes = {name: part["utterances"] for name, part in report["subsets"].items() if "known" in name}
    assert sizes == {"known_speaker": 20, "unknown_speaker": 20}


@pytest.mark.parametrize("name", CONFIGS)
def test_shipped_configuration_trains_from_corpus_files(
    name: str, data: Path, tmp_path: Path, tiny_utterance_artefact: Path, request: pytest.FixtureRequest
) -> None:
    plain = load_config(resource_dir("configs") / f"{name}.yaml")
    family = (
        "roberta"
        if "roberta" in plain.backbone.name
        else "modernbert"
        if "ModernBERT" in plain.backbone.name
        else "encoder"
    )
    start = [f"artefact.init_from={tiny_utterance_artefact}"] if plain.artefact.init_from is not None else []
    shared = plain.emonet is not None and plain.emonet.encoder == "shared"
    length = ["data.max_tokens=48"] if shared else []  # the token limit of the tiny classifier
    config = configured(
        name,
        data,
        request.getfixturevalue(f"tiny_{family}_dir"),
        *PARTS,
        *start,
        *length,
        "optim.epochs=0.25",
    )
    parts = gather(config, cache_dir=tmp_path / "features")
    network = build_network(config, parts)
    figures = train(
        model=network,
        task=make_task(config, parts),
        optim=optim_settings(config),
        run_dir=tmp_path,
        progress=False,
    )
    assert np.isfinite(figures["loss"])
    assert (parts.features is not None) == (
        config.emonet is not None and config.emonet.memory_encoder == "shared"
    )


def test_direct_sum_with_unequal_widths_is_refused(
    data: Path, tiny_encoder_dir: Path, tmp_path: Path
) -> None:
    config = load_config(
        resource_dir("configs") / "compm-meld.yaml",
        [
            f"data.root={data}",
            f"backbone.name={tiny_encoder_dir}",
            "emonet.token_window=60",
            "head.pooling=mean_cls",
        ],
    )
    with pytest.raises(ConfigError, match=r"direct_sum.*are 32 and 64 wide"):
        build_network(config, gather(config, cache_dir=None))


@pytest.mark.parametrize("name", [name for name in CONFIGS if "roberta" in name or "modernbert" in name])
def test_shipped_configuration_of_a_large_backbone_trains_a_model_that_labels(
    name: str, data: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Weights are random, trained and stored whole. The loaded model reproduces the dev accuracy."""
    backbone = request.getfixturevalue("tiny_modernbert_dir" if "modernbert" in name else "tiny_roberta_dir")
    folder = run_experiment(
        configured(name, data, backbone, *PARTS, "optim.epochs=0.5"), tmp_path / "run", progress=False
    )
    artefact = load_artefact(folder)
    assert artefact.network.context.encoder.backbone.config.model_type == (
        "modernbert" if "modernbert" in name else "roberta"
    )  # type: ignore
    before = load_file(backbone / "model.safetensors")
    encoders = {
        key.removeprefix("context.encoder.backbone."): value
        for key, value in artefact.network.state_dict().items()
    }
    moved = [
        key for key, value in before.items() if key in encoders and not torch.equal(value, encoders[key])
    ]
    assert any("embed" in key for key in moved)
    predictor = load_predictor(str(folder), settings=InferenceSettings(precision="fp32", uncertainty="off"))
    dev = load_corpus("emorynlp", "dev", root=data).conversations
    turns = [(one.conversation_id, turn) for one in dev for turn in one]
    found = predictor.predictions(turns, predictor.scorer.score_corpus(dev))  # type: ignore[attr-defined]
    right = [p.emotion == p.utterance.emotions[0] for p in found]
    assert artefact.metrics["dev"]["scores"]["accuracy"] == pytest.approx(np.mean(right))
