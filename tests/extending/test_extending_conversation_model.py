"""A new kind of conversation model, added only through the tables named in docs/extending.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_emonet import ANA, BEN, talk
from torch import nn
from transformers import AutoTokenizer

from erc.data import Conversation, SpeakerPast, Utterance
from erc.emotions import load_emotion_map, load_emotion_set
from erc.evaluation.candidates import of_artefact
from erc.inference.kinds import CONVERSATION_MODELS, ConversationModel
from erc.inference.live.conversation import LiveConversation
from erc.inference.loading import load_predictor
from erc.inference.scorers.scores import PastRead, Scores
from erc.inference.scorers.settings import InferenceSettings
from erc.inference.scorers.utterance import UtteranceScorer
from erc.memory.predictor import RememberingPredictor
from erc.models.encoder.encoder import Encoder
from erc.persistence.artefact import Artefact, load_artefact, save_artefact
from erc.persistence.info import ArtefactInfo
from erc.persistence.networks import MODEL_KINDS, ModelKind
from erc.uncertainty.calibration import Temperature
from erc.uncertainty.decomposition import Uncertainty, categorical_entropy
from speakers import Registry

FAST = InferenceSettings(precision="fp32", uncertainty="off")


class Blend(nn.Module):
    """The toy network: the share of the previous turn in a turn's emotion."""

    def __init__(self, encoder: Encoder, *, share: float) -> None:
        super().__init__()
        self.encoder = encoder
        self.share = share


class BlendScorer:
    """Scores a turn by the classifier's emotions for it, mixed with those of the previous turn."""

    kind = "blend"
    in_context = True
    past_read = PastRead()
    remarks: tuple[str, ...] = ("blend is a toy",)
    memory_remarks: tuple[str, ...] = ()

    def __init__(
        self,
        artefact: Artefact,
        *,
        utterance: UtteranceScorer,
        settings: InferenceSettings | None = None,
        target: str | None = None,
    ) -> None:
        assert isinstance(artefact.network, Blend)
        self.identity = artefact.info.identity
        self.share = artefact.network.share
        self.utterance = utterance
        self.emotions = load_emotion_set(target or artefact.info.emotion_set)
        self.fine_emotions = utterance.fine_emotions
        self.sampling: dict[str, Any] = {"mode": "off", "samples": 0}
        self._map = load_emotion_map(self.fine_emotions.name, self.emotions.name)

    def single(self, texts: list[str]) -> Any:
        return self.utterance.score_texts(texts)

    def mixed(self, fine: np.ndarray, before: np.ndarray | None) -> np.ndarray:
        """Emotion probabilities (C,) from the fine probabilities (F,) of a turn and of the previous one."""
        own = self._map.apply(fine)
        own = own / own.sum()
        if before is None:
            return own
        previous = self._map.apply(before)
        return (1 - self.share) * own + self.share * previous / previous.sum()

    def score(self, conversations: Any, *, past: SpeakerPast | None = None) -> Scores:
        read = self.single([turn.text for one in conversations for turn in one])
        rows, start = [], 0
        for conversation in conversations:
            fine = read.probabilities[start : start + len(conversation)]
            rows += [self.mixed(fine[i], fine[i - 1] if i else None) for i in range(len(fine))]
            start += len(conversation)
        return self.scores(np.array(rows).reshape(-1, len(self.emotions)), read)

    score_corpus = score

    def scores(self, probabilities: np.ndarray, read: Any) -> Scores:
        nothing = np.full(len(probabilities), np.nan)
        return Scores(
            probabilities=probabilities,
            uncertainty=Uncertainty(categorical_entropy(probabilities), nothing, nothing),
            fine=read.probabilities,
            fine_epistemic=None,
            embedding=read.embedding,
            seen=np.zeros((len(probabilities), 2), dtype=np.int64),
            truncated=read.truncated,
        )

    def close(self) -> None:
        pass


class BlendLive:
    """The toy's state in a live conversation: the fine probabilities of the last turn."""

    kind = "blend"

    def __init__(
        self, scorer: BlendScorer, *, conversation_id: str, corpus: str | None, past: SpeakerPast | None
    ) -> None:
        self.scorer = scorer
        self.last: np.ndarray | None = None
        self.turns = 0

    def __len__(self) -> int:
        return self.turns

    @property
    def nbytes(self) -> int:
        return 0 if self.last is None else self.last.nbytes

    def read(self, utterance: Utterance) -> Scores:
        read = self.scorer.single([utterance.text])
        probabilities = self.scorer.mixed(read.probabilities[0], self.last)
        self.last, self.turns = read.probabilities[0], self.turns + 1
        return self.scorer.scores(probabilities[None], read)

    def pass_over(self, utterance: Utterance) -> None:
        self.read(utterance)

    def snapshot(self) -> Any:
        last, turns = self.last, self.turns

        def back() -> None:
            self.last, self.turns = last, turns

        return back

    def record(self) -> dict[str, Any]:
        return {"turns": self.turns, "last": None if self.last is None else self.last.tolist()}

    def tensors(self) -> dict[str, Any]:
        return {}

    def restore(self, record: Any, tensors: Any, *, path: Path) -> None:
        self.turns, self.last = record["turns"], np.array(record["last"], dtype=np.float32)


@pytest.fixture
def model(tiny_utterance_artefact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a toy model; the tables have its entries during the test."""
    build = ModelKind(lambda encoder, info: Blend(encoder, **info.architecture))
    monkeypatch.setitem(MODEL_KINDS, "blend", build)
    monkeypatch.setitem(CONVERSATION_MODELS, "blend", ConversationModel(live=BlendLive, scorer=BlendScorer))
    monkeypatch.setenv("CONVEMO_MODELS", str(tiny_utterance_artefact.parent))
    shared = load_artefact(tiny_utterance_artefact)
    info = ArtefactInfo(
        kind="blend",
        name="toy",
        emotion_set="meld",
        labels=load_emotion_set("meld").labels,
        base=shared.info.base,
        architecture={"share": 0.25},
        delta="int8",
        reads={"utterance_model": shared.info.name, "utterance_sha256": shared.sha256},
    )
    return save_artefact(
        tmp_path / "toy",
        info=info,
        network=Blend(shared.network.encoder, share=0.25).eval(),
        tokenizer=AutoTokenizer.from_pretrained(shared.info.base),
        calibrator=Temperature(1.0).to_dict(),
        thresholds=None,
        policy={},
        metrics={},
        card="# toy\n",
    )


def test_toy_model_labels_from_its_folder(model: Path) -> None:
    predictor = load_predictor(str(model), settings=FAST)
    found = predictor.label([talk("a"), talk("b", BEN)])
    emotion_map = load_emotion_map("goemotions", "meld")
    fine = predictor.scorer.utterance.score_texts([text for _, text in ANA]).probabilities
    own = emotion_map.apply(fine)
    own /= own.sum(axis=1, keepdims=True)
    expected = np.vstack([own[0], 0.75 * own[1:] + 0.25 * own[:-1]])
    labels = load_emotion_set("meld").labels
    made = [[one.probabilities[label] for label in labels] for one in found[0].predictions]
    np.testing.assert_allclose(made, expected, atol=1e-5)
    assert {one.model for one in found[1].predictions} == {"toy@1"}
    assert predictor.remarks(memory=True) == ("blend is a toy",)


def test_toy_model_live_equals_batch_and_resumes(model: Path, tmp_path: Path) -> None:
    predictor = load_predictor(str(model), settings=FAST)
    live = LiveConversation(predictor, conversation_id="a")
    turns = [live.append_utterance(turn) for turn in talk("a").utterances[:4]]
    live.save(tmp_path / "live.safetensors")
    live = LiveConversation.load(tmp_path / "live.safetensors", predictor)
    turns += [live.append_utterance(turn) for turn in talk("a").utterances[4:]]
    whole = predictor.label([talk("a")])[0].predictions
    assert [one.emotion for one in turns] == [one.emotion for one in whole]
    assert [one.confidence for one in turns] == pytest.approx([one.confidence for one in whole], abs=1e-5)


def test_toy_model_labels_with_a_memory(model: Path, tmp_path: Path) -> None:
    with Registry.open(str(tmp_path / "speakers.db")) as registry:
        RememberingPredictor(load_predictor(str(model), settings=FAST), registry).label(talk("a"))
        assert {one.name for one in registry.speakers()} == {"Ana", "Ben", "Cleo"}


def test_toy_model_can_be_evaluated(model: Path) -> None:
    assert of_artefact(load_artefact(model)).kind == "blend"


def test_toy_model_of_an_empty_conversation_returns_no_predictions(model: Path) -> None:
    predictor = load_predictor(str(model), settings=FAST)
    assert predictor.label([Conversation("none", ())])[0].predictions == ()
