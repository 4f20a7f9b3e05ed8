"""The shipped models are complete and small, and reach the scores of their cards."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from erc.data import Conversation, Utterance
from erc.data.corpora import load_corpus
from erc.inference.live.conversation import LiveConversation
from erc.inference.loading import load_predictor
from erc.inference.predictor import Predictor
from erc.inference.scorers.settings import InferenceSettings
from erc.persistence.catalog import SHIPPED, list_models
from erc.persistence.info import load_info
from erc.persistence.layout import check_manifest
from erc.transcripts import read_transcript

pytestmark = pytest.mark.shipped

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NAMES = ("goemotions-minilm", "emonet-meld-minilm", "emonet-emorynlp-minilm")


def one_turn(text: str) -> Conversation:
    return Conversation(
        conversation_id="one",
        utterances=(Utterance(utterance_id="one-0000", index=0, speaker="Ana", text=text),),
    )


@pytest.fixture(scope="module")
def classifier() -> Predictor:
    return load_predictor("goemotions-minilm", settings=InferenceSettings(precision="fp32"))


@pytest.fixture(scope="module")
def emonet() -> Predictor:
    return load_predictor("emonet-meld-minilm", settings=InferenceSettings(precision="fp32"))


@pytest.mark.parametrize("name", NAMES)
def test_shipped_model_is_complete_and_at_most_12_mb(name: str) -> None:
    check_manifest(SHIPPED / name)
    assert sum(path.stat().st_size for path in (SHIPPED / name).rglob("*") if path.is_file()) <= 12_000_000


@pytest.mark.parametrize("name", NAMES)
def test_shipped_model_was_trained_from_the_shipped_configuration(name: str) -> None:
    from erc.config import ExperimentConfig, load_config
    from erc.resources import resource_dir

    files = [path for path in resource_dir("configs").glob("*.yaml") if load_config(path).name == name]
    assert len(files) == 1
    assert ExperimentConfig.model_validate_json(json.dumps(load_info(SHIPPED / name).config)) == load_config(
        files[0]
    )


def test_shipped_models_are_listed() -> None:
    assert set(NAMES) <= {entry.name for entry in list_models() if entry.shipped}


@pytest.mark.parametrize(
    ("text", "emotion"),
    [
        ("Thank you so much, I really appreciate it!", "gratitude"),
        ("I'm so sorry, it was all my fault.", "remorse"),
        ("I love you so much.", "love"),
        ("Haha that is hilarious", "amusement"),
        ("I'm terrified of spiders.", "fear"),
    ],
)
def test_classifier_finds_clear_emotions(classifier: Predictor, text: str, emotion: str) -> None:
    assert classifier.label([one_turn(text)])[0].predictions[0].emotion == emotion


@pytest.mark.parametrize(
    ("text", "emotion"),
    [
        ("That's fantastic! I'm so happy for you!", "joy"),
        ("How dare you! Get out!", "anger"),
        ("What?! Oh my God!", "surprise"),
    ],
)
def test_emonet_finds_clear_emotions(emonet: Predictor, text: str, emotion: str) -> None:
    assert emonet.label([one_turn(text)])[0].predictions[0].emotion == emotion


def test_classifier_is_less_certain_of_nonsense_than_of_thanks(classifier: Predictor) -> None:
    thanks, nonsense = classifier.label(
        [one_turn("Thank you so much!"), one_turn("blorp the wug fandango of seventeen maybes")]
    )
    assert thanks.predictions[0].total < nonsense.predictions[0].total


@pytest.mark.parametrize("file", ["standup.txt", "support.csv", "dinner.vtt", "negotiation.jsonl"])
def test_every_example_is_labelled_turn_by_turn(emonet: Predictor, file: str) -> None:
    transcript = read_transcript(EXAMPLES / file)
    assert not transcript.problems
    for labelled in emonet.label(transcript.conversations):
        for prediction, utterance in zip(labelled.predictions, labelled.conversation, strict=True):
            record = json.loads(json.dumps(prediction.to_record(), allow_nan=False))
            assert record["utterance_id"] == utterance.utterance_id
            assert sum(record["probabilities"].values()) == pytest.approx(1.0, abs=1e-3)
            assert record["uncertainty"]["total"] >= record["uncertainty"]["epistemic"] >= 0


def test_changing_the_last_turn_changes_no_earlier_prediction(emonet: Predictor) -> None:
    conversation = read_transcript(EXAMPLES / "standup.txt").conversations[0]
    last = conversation.utterances[-1]
    changed = Utterance(
        utterance_id=last.utterance_id,
        index=last.index,
        speaker="Somebody",
        text="I hate all of you, this is a disaster!",
    )
    other = Conversation(
        conversation_id=conversation.conversation_id, utterances=(*conversation.utterances[:-1], changed)
    )
    before, after = emonet.label([conversation])[0].predictions, emonet.label([other])[0].predictions
    for one, two in zip(before[:-1], after[:-1], strict=True):
        assert one.probabilities == pytest.approx(two.probabilities, abs=1e-5)


def test_live_conversation_equals_labelling_the_whole_conversation(emonet: Predictor) -> None:
    conversation = read_transcript(EXAMPLES / "dinner.vtt").conversations[0]
    live = LiveConversation(emonet, conversation_id=conversation.conversation_id)
    for utterance, whole in zip(conversation, emonet.label([conversation])[0].predictions, strict=True):
        assert live.append(utterance.speaker, utterance.text).probabilities == pytest.approx(
            whole.probabilities, abs=1e-5
        )


def test_bf16_is_close_to_fp32(emonet: Predictor) -> None:
    conversations = read_transcript(EXAMPLES / "negotiation.jsonl").conversations
    half = load_predictor(
        "emonet-meld-minilm", settings=InferenceSettings(precision="bf16", uncertainty="off")
    )
    exact = np.array(
        [
            [p.probabilities[k] for k in emonet.scorer.emotions.labels]
            for x in emonet.label(conversations)
            for p in x.predictions
        ]
    )
    near = np.array(
        [
            [p.probabilities[k] for k in emonet.scorer.emotions.labels]
            for x in half.label(conversations)
            for p in x.predictions
        ]
    )
    assert np.abs(exact - near).max() < 0.05


@pytest.mark.corpora
def test_classifier_reaches_its_card_on_goemotions_dev(classifier: Predictor) -> None:
    from erc.inference.loading import fine_thresholds
    from erc.inference.scorers.utterance import UtteranceScorer
    from erc.metrics.scores import multilabel_scores
    from erc.training.utterance.task import corpus_targets, corpus_texts

    scorer = classifier.scorer
    assert isinstance(scorer, UtteranceScorer)
    fast = UtteranceScorer(scorer.artefact, settings=InferenceSettings(uncertainty="off"))
    dev = load_corpus("goemotions", "dev")
    thresholds = fine_thresholds(scorer.artefact)
    assert thresholds is not None
    decisions = thresholds.decide(fast.score_texts(corpus_texts(dev)).probabilities)
    scores = multilabel_scores(
        decisions, corpus_targets(dev, scorer.emotions) > 0.5, labels=scorer.emotions.labels
    )
    card = scorer.artefact.metrics["dev"]["tuned"]["in_sample"]["macro"]["f1"]
    assert scores.macro.f1 == pytest.approx(card, abs=0.004)
    assert scores.macro.f1 > 0.53


@pytest.mark.corpora
@pytest.mark.parametrize(
    ("name", "corpus", "least"),
    [("emonet-meld-minilm", "meld", 0.575), ("emonet-emorynlp-minilm", "emorynlp", 0.365)],
)
def test_emonet_reaches_its_card_on_dev(name: str, corpus: str, least: float) -> None:
    from erc.metrics.scores import singlelabel_scores

    predictor = load_predictor(name, settings=InferenceSettings(uncertainty="off"))
    conversations = load_corpus(corpus, "dev").conversations
    labels = predictor.scorer.emotions.labels
    rows = [
        (labels.index(p.emotion), labels.index(p.utterance.emotions[0]))
        for x in predictor.label(conversations)
        for p in x.predictions
        if p.utterance.emotions
    ]
    decided, gold = np.array(rows).T
    found = singlelabel_scores(decided, gold, labels=labels).weighted.f1
    card = predictor.scorer.artefact.metrics["dev"]["scores"]["weighted"]["f1"]  # type: ignore[attr-defined]
    assert found == pytest.approx(card, abs=0.01)
    assert found > least
