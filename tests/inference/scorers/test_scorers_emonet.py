"""EmoNet's scorer: predictions do not depend on batching and are equal live and in batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from tiny_emonet import ANA, BEN, HISTORY_LIMIT, save_tiny_emonet, talk

from erc.emotions import load_emotion_map, load_emotion_set
from erc.errors import ArtefactError, ConfigError, InputError
from erc.inference.live.conversation import LiveConversation
from erc.inference.loading import load_predictor
from erc.inference.prediction import Prediction
from erc.inference.predictor import Predictor
from erc.inference.scorers.emonet import EmoNetScorer
from erc.inference.scorers.settings import InferenceSettings
from erc.inference.scorers.utterance import UtteranceScorer
from erc.persistence.artefact import load_artefact

CONTEXTS = ("hierarchical", "turn_causal", "window", "shared")
"""Names of the tiny models: three contexts, and the first over the shared encoder."""
FP32 = InferenceSettings(precision="fp32")


@pytest.fixture(autouse=True)
def shelf(tiny_shelf: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CONVEMO_MODELS", str(tiny_shelf))
    return tiny_shelf


@pytest.fixture(scope="module")
def loaded(tiny_shelf: Path) -> Iterator[dict[str, Predictor]]:
    """One predictor per context mode, in fp32 with the artefact's own sampling."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONVEMO_MODELS", str(tiny_shelf))
        yield {context: load_predictor(f"tiny-{context}", settings=FP32) for context in CONTEXTS}


def predictor(context: str, **changes: Any) -> Predictor:
    return load_predictor(f"tiny-{context}", settings=replace(FP32, **changes))


def numbers(predictions: Iterator[Prediction] | tuple[Prediction, ...] | list[Prediction]) -> np.ndarray:
    """Probabilities and uncertainty, one row per turn."""
    return np.array(
        [
            [
                *(p.probabilities[k] for k in sorted(p.probabilities)),
                p.total,
                p.aleatoric or 0,
                p.epistemic or 0,
            ]
            for p in predictions
        ]
    )


def counts(predictions: Any) -> list[tuple[int, int]]:
    return [(p.past_utterances, p.past_conversations) for p in predictions]


# --- independence of other conversations in the batch
# ------------------------------------------------------------------------------------


@pytest.mark.parametrize("context", CONTEXTS)
def test_emonet_scores_do_not_depend_on_batches_or_order(context: str, loaded: dict[str, Predictor]) -> None:
    alone = numbers(loaded[context].label([talk("a")])[0].predictions)
    company = [talk("b", BEN), talk("a"), talk("c", ANA[::-1])]
    by_name = {one.conversation.conversation_id: one for one in loaded[context].label(company[::-1])}
    np.testing.assert_allclose(numbers(by_name["a"].predictions), alone, atol=1e-5)
    np.testing.assert_allclose(numbers(loaded[context].label(company)[1].predictions), alone, atol=1e-5)
    small = predictor(context, tokens_per_batch=1).label(company)
    np.testing.assert_allclose(numbers(small[1].predictions), alone, atol=1e-5)


def test_emonet_scores_do_not_depend_on_threads(loaded: dict[str, Predictor]) -> None:
    threads = torch.get_num_threads()
    one = numbers(loaded["hierarchical"].label([talk("a")])[0].predictions)
    try:
        torch.set_num_threads(2)
        two = numbers(loaded["hierarchical"].label([talk("a")])[0].predictions)
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_allclose(two, one, atol=1e-5)


@pytest.mark.parametrize("context", CONTEXTS)
def test_emonet_in_bf16_is_within_five_hundredths_of_fp32(context: str, loaded: dict[str, Predictor]) -> None:
    """The documented tolerance of bf16: no probability moves by .05."""
    full = numbers(loaded[context].label([talk("a")])[0].predictions)[:, :7]
    reduced = numbers(predictor(context, precision="bf16").label([talk("a")])[0].predictions)[:, :7]
    assert 0.0 < np.abs(reduced - full).max() < 0.05


@pytest.mark.parametrize("context", CONTEXTS)
def test_emonet_change_of_a_later_turn_leaves_earlier_predictions_unchanged(
    context: str, loaded: dict[str, Predictor]
) -> None:
    turns = [*ANA[:4], ("Ana", "I am angry, and it hurts!"), *ANA[5:]]
    before, after = (
        numbers(loaded[context].label([talk("a", given)])[0].predictions) for given in (ANA, turns)
    )
    np.testing.assert_allclose(after[:4], before[:4], atol=1e-5)
    assert np.abs(after[4:] - before[4:]).max(axis=1).min() > 1e-4  # later turns depend on the change


# --- speaker history
# -----------------------------------------------------------------------------------------------------------


def test_emonet_speakers_of_two_transcripts_with_one_name_share_no_history(
    loaded: dict[str, Predictor],
) -> None:
    first, second = loaded["hierarchical"].label([talk("a"), talk("b", BEN)])
    assert counts(first.predictions) == [(0, 0), (0, 0), (1, 1), (0, 0), (1, 1), (2, 1), (2, 1)]
    assert counts(second.predictions) == [(0, 0), (0, 0), (1, 1), (1, 1), (0, 0)]


def test_emonet_predictions_do_not_depend_on_stream_order_or_window(loaded: dict[str, Predictor]) -> None:
    """Neither the order of a stream nor its windows change a prediction."""
    given = [
        talk("a", corpus="meld"),
        talk("b", BEN),
        talk("c", BEN, corpus="meld"),
        talk("d", ANA, corpus="emorynlp"),
    ]
    streamed = list(predictor("hierarchical", turns_per_window=1).stream(given))
    for one, together in zip(streamed, loaded["hierarchical"].label(given), strict=True):
        alone = loaded["hierarchical"].label([one.conversation])[0]
        np.testing.assert_allclose(numbers(one.predictions), numbers(alone.predictions), atol=1e-5)
        np.testing.assert_allclose(numbers(together.predictions), numbers(alone.predictions), atol=1e-5)
        assert counts(one.predictions) == counts(together.predictions) == counts(alone.predictions)


def test_emonet_on_a_corpus_reads_earlier_conversations_of_speakers(
    loaded: dict[str, Predictor],
) -> None:
    scorer = loaded["hierarchical"].scorer
    assert isinstance(scorer, EmoNetScorer)
    seen = scorer.score_corpus([talk("a", corpus="meld"), talk("b", BEN, corpus="meld")])
    own = [(0, 0), (0, 0), (1, 1), (0, 0), (1, 1), (2, 1), (2, 1)]
    assert [tuple(row) for row in seen.seen.tolist()] == [*own, (3, 1), (3, 1), (4, 2), (4, 2), (1, 1)]
    alone = scorer.score([talk("b", BEN, corpus="meld")])
    assert np.abs(seen.probabilities[7:] - alone.probabilities)[0].max() > 1e-4


def test_emonet_on_transcripts_reads_only_the_same_conversation(loaded: dict[str, Predictor]) -> None:
    scorer = loaded["hierarchical"].scorer
    assert isinstance(scorer, EmoNetScorer)
    together, alone = scorer.score_corpus([talk("a"), talk("b", BEN)]), scorer.score([talk("b", BEN)])
    np.testing.assert_allclose(together.probabilities[7:], alone.probabilities, atol=1e-5)


def trained_to_remember(scorer: EmoNetScorer, kind: str) -> EmoNetScorer:
    """The model as if trained with another kind of history."""
    info = replace(scorer.artefact.info, reads={**scorer.artefact.info.reads, "history": kind})
    return EmoNetScorer(replace(scorer.artefact, info=info), utterance=scorer.utterance, settings=FP32)


def test_emonet_trained_on_dialogue_history_reads_only_the_same_dialogue(
    loaded: dict[str, Predictor],
) -> None:
    scorer = loaded["hierarchical"].scorer
    assert isinstance(scorer, EmoNetScorer)
    within = trained_to_remember(scorer, "dialogue")
    corpus = [talk("a", corpus="meld"), talk("b", BEN, corpus="meld")]
    alone = within.score(corpus[1:])
    np.testing.assert_allclose(within.score_corpus(corpus).probabilities[7:], alone.probabilities, atol=1e-5)
    assert within.score_corpus(corpus).seen[7:].tolist() == alone.seen.tolist() != [[0, 0]] * 5


def test_emonet_trained_without_history_reads_none(loaded: dict[str, Predictor]) -> None:
    scorer = loaded["hierarchical"].scorer
    assert isinstance(scorer, EmoNetScorer)
    without = trained_to_remember(scorer, "off").score([talk("a")])
    assert not without.seen.any()
    assert (
        np.abs(without.probabilities - scorer.score([talk("a")]).probabilities)[2].max() > 1e-4
    )  # Ana's second turn


@pytest.mark.parametrize("kind", ["shuffled_speakers", "other_speaker"])
def test_emonet_trained_on_a_control_history_is_refused(kind: str, loaded: dict[str, Predictor]) -> None:
    scorer = loaded["hierarchical"].scorer
    assert isinstance(scorer, EmoNetScorer)
    with pytest.raises(ArtefactError, match=f"control .history: {kind}."):
        trained_to_remember(scorer, kind)


@pytest.mark.parametrize("context", CONTEXTS)
def test_emonet_treats_spelling_variants_of_a_name_as_one_speaker(
    context: str, loaded: dict[str, Predictor]
) -> None:
    spelled = talk(
        "a", [(name.upper() if i % 2 else f" {name} ", text) for i, (name, text) in enumerate(ANA)]
    )
    plain = loaded[context].label([talk("a")])[0].predictions
    np.testing.assert_allclose(
        numbers(loaded[context].label([spelled])[0].predictions), numbers(plain), atol=1e-5
    )
    live = LiveConversation(loaded[context], conversation_id="a")
    np.testing.assert_allclose(
        numbers([live.append_utterance(turn) for turn in spelled]), numbers(plain), atol=1e-5
    )


@pytest.mark.parametrize("context", CONTEXTS)
def test_emonet_reads_text_with_lone_surrogates(context: str, loaded: dict[str, Predictor]) -> None:
    broken = talk("a", (("Ana", "Okay \ud83d."), ("Ben", "\udc00")))
    whole = loaded[context].label([broken])[0].predictions
    marked = loaded[context].label([talk("a", (("Ana", "Okay ?."), ("Ben", "?")))])[0].predictions
    np.testing.assert_allclose(numbers(whole), numbers(marked), atol=1e-6)


def test_emonet_labels_two_transcripts_with_the_same_name(loaded: dict[str, Predictor]) -> None:
    """Two files may have the same name; each is read separately."""
    first, second = loaded["hierarchical"].label([talk("chat"), talk("chat", BEN)])
    for one, turns in ((first, ANA), (second, BEN)):
        alone = loaded["hierarchical"].label([talk("chat", turns)])[0]
        np.testing.assert_allclose(numbers(one.predictions), numbers(alone.predictions), atol=1e-5)
        assert counts(one.predictions) == counts(alone.predictions)


def test_emonet_of_empty_conversations_returns_no_predictions(loaded: dict[str, Predictor]) -> None:
    assert loaded["hierarchical"].label([]) == []
    labelled = loaded["hierarchical"].label([talk("none", ()), talk("a"), talk("nothing", ())])
    assert [len(one.predictions) for one in labelled] == [0, len(ANA), 0]


# --- reported emotions
# -----------------------------------------------------------------------------------------------------------


def test_emonet_reports_seven_emotions_and_the_shared_classifiers_fine_ones(
    loaded: dict[str, Predictor],
) -> None:
    prediction = loaded["hierarchical"].label([talk("a")])[0].predictions[2]
    fine = load_predictor("tiny-utterance", settings=FP32).label([talk("a")])[0].predictions[2]
    assert set(prediction.probabilities) == set(load_emotion_set("meld").labels)
    assert sum(prediction.probabilities.values()) == pytest.approx(1.0)
    assert [(f.emotion, pytest.approx(f.probability, abs=1e-5)) for f in prediction.fine] == [
        (f.emotion, f.probability) for f in fine.fine
    ]
    assert prediction.model == "tiny-hierarchical@1"
    assert prediction.decision == ("accept" if prediction.confidence >= 0.4 else "review")


def test_emonet_reports_sentiment_through_the_map_of_probabilities(loaded: dict[str, Predictor]) -> None:
    own = loaded["hierarchical"].label([talk("a")])[0].predictions
    mapped = (
        load_predictor("tiny-hierarchical", settings=FP32, emotions="sentiment")
        .label([talk("a")])[0]
        .predictions
    )
    emotion_map = load_emotion_map("meld", "sentiment")
    for before, after in zip(own, mapped, strict=True):
        row = np.array([before.probabilities[label] for label in emotion_map.source.labels])
        assert after.probabilities == pytest.approx(
            dict(zip(emotion_map.target.labels, emotion_map.apply(row), strict=True)), abs=1e-5
        )


def test_emonet_asked_for_the_28_emotions_uses_its_classifier() -> None:
    prediction = (
        load_predictor("tiny-hierarchical", settings=FP32, emotions="goemotions")
        .label([talk("a")])[0]
        .predictions[0]
    )
    assert (prediction.model, len(prediction.probabilities)) == ("tiny-utterance@3", 28)


def test_emonet_with_another_classifier_than_in_training_is_refused(shelf: Path, tmp_path: Path) -> None:
    shared = load_artefact(shelf / "tiny-utterance")
    folder = save_tiny_emonet(tmp_path / "strange", replace(shared, sha256="0" * 64), context="window")
    with pytest.raises(
        ArtefactError, match="was trained with the classifier 'tiny-utterance' with SHA-256 000000000000"
    ):
        load_predictor(str(folder), settings=FP32)


@pytest.mark.parametrize("memory", ["own", "none"])
def test_emonet_with_own_memory_encoder_is_equal_live_and_in_batch(
    memory: Any, shelf: Path, tmp_path: Path
) -> None:
    folder = save_tiny_emonet(
        tmp_path / f"tiny-{memory}",
        load_artefact(shelf / "tiny-utterance"),
        context="hierarchical",
        memory=memory,
    )
    model = load_predictor(str(folder), settings=FP32)
    whole, live = model.label([talk("a")])[0].predictions, LiveConversation(model, conversation_id="a")
    turns = [live.append_utterance(utterance) for utterance in talk("a")]
    np.testing.assert_allclose(numbers(turns), numbers(whole), atol=1e-5)
    assert counts(turns) == counts(whole)
    if memory == "none":
        assert set(counts(whole)) == {(0, 0)}


# --- live conversations
# --------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["off", "head", "top-k", "full"])
@pytest.mark.parametrize("context", CONTEXTS)
def test_live_conversation_equals_batch_labelling(context: str, mode: str) -> None:
    model = predictor(context, uncertainty=mode, samples=2)
    whole = model.label([talk("a")])[0].predictions
    live = LiveConversation(model, conversation_id="a")
    turns = [live.append_utterance(utterance) for utterance in talk("a")]
    np.testing.assert_allclose(numbers(turns), numbers(whole), atol=1e-5)
    assert [(p.emotion, p.decision, p.utterance) for p in turns] == [
        (p.emotion, p.decision, p.utterance) for p in whole
    ]
    assert [[f.emotion for f in p.fine] for p in turns] == [[f.emotion for f in p.fine] for p in whole]
    assert counts(turns) == counts(whole)


@pytest.mark.parametrize(
    ("context", "mode"), [("hierarchical", "head"), ("turn_causal", "full"), ("window", "head")]
)
def test_live_conversation_resumes_from_its_file(context: str, mode: str, tmp_path: Path) -> None:
    model = predictor(context, uncertainty=mode, samples=2)
    whole = model.label([talk("a")])[0].predictions
    live = LiveConversation(model, conversation_id="a")
    for utterance in talk("a").utterances[:4]:
        live.append_utterance(utterance)
    live.save(tmp_path / "live.safetensors")
    resumed = LiveConversation.load(
        tmp_path / "live.safetensors", predictor(context, uncertainty=mode, samples=2)
    )
    assert (len(resumed), resumed.conversation_id, resumed.state_bytes) == (4, "a", live.state_bytes)
    turns = [resumed.append_utterance(utterance) for utterance in talk("a").utterances[4:]]
    np.testing.assert_allclose(numbers(turns), numbers(whole[4:]), atol=1e-5)
    assert counts(turns) == counts(whole[4:])


def test_live_turn_without_words_is_refused_and_not_added(loaded: dict[str, Predictor]) -> None:
    live = LiveConversation(loaded["hierarchical"])
    for text in ("", " \n"):
        with pytest.raises(InputError, match="needs a text"):
            live.append("Ana", text)
    assert (len(live), live.append("Ana", "Okay.").utterance.index) == (0, 0)


def test_live_state_is_saved_to_a_path_given_as_str(loaded: dict[str, Predictor], tmp_path: Path) -> None:
    live, path = LiveConversation(loaded["hierarchical"]), str(tmp_path / "live.safetensors")
    live.append("Ana", "Okay.")
    live.save(path)
    assert len(LiveConversation.load(path, loaded["hierarchical"])) == 1


@pytest.mark.parametrize("context", CONTEXTS)
def test_live_state_has_the_same_size_after_20_and_60_turns(context: str) -> None:
    live = LiveConversation(predictor(context, uncertainty="off"))
    sizes = []
    for number in range(60):
        live.append("AB"[number % 2], "I am so happy to see you again, thank you!")
        sizes.append(live.state_bytes)
    assert sizes[59] == sizes[19]
    assert len(live) == 60


@pytest.mark.parametrize(
    "failure",
    [
        OSError(28, "No space left on device"),
        SafetensorError("I/O error: No space left on device (os error 28)"),
    ],
)
def test_live_state_write_failure_keeps_the_old_file(
    failure: Exception, loaded: dict[str, Predictor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    live, path = LiveConversation(loaded["hierarchical"], conversation_id="a"), tmp_path / "live.safetensors"
    live.append_utterance(talk("a").utterances[0])
    live.save(path)
    before = path.read_bytes()
    live.append_utterance(talk("a").utterances[1])

    def half(tensors: object, file: Path, **_: object) -> None:
        file.write_bytes(b"half a fi")
        raise failure

    monkeypatch.setattr("safetensors.torch.save_file", half)
    with pytest.raises(InputError, match=r"cannot be written \(.*No space left.*\): name another file"):
        live.save(path)
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == [path.name]
    assert path.stat().st_mode & 0o077 == 0  # the file holds conversation text


def test_live_state_of_another_model_is_refused(loaded: dict[str, Predictor], tmp_path: Path) -> None:
    live = LiveConversation(loaded["hierarchical"])
    live.append("Ana", "No.")
    live.save(tmp_path / "live.safetensors")
    with pytest.raises(ArtefactError, match="state of another model"):
        LiveConversation.load(tmp_path / "live.safetensors", loaded["window"])


@pytest.mark.parametrize(
    ("begun", "changes"),
    [
        ("full", {"uncertainty": "full", "seed": 1}),
        ("full", {"uncertainty": "full", "samples": 3}),
        ("head", {"uncertainty": "full"}),
    ],
)
def test_live_state_with_other_sampling_settings_is_refused(
    begun: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    """A sampled state belongs to specific dropout masks and is invalid with others."""
    live = LiveConversation(predictor("hierarchical", uncertainty=begun, samples=2))
    live.append("Ana", "No.")
    live.save(tmp_path / "live.safetensors")
    with pytest.raises(ConfigError, match="was not sampled with mode=full"):
        LiveConversation.load(
            tmp_path / "live.safetensors", predictor("hierarchical", **{"samples": 2, **changes})
        )


def test_live_state_resumes_in_a_mode_without_sampled_state(
    loaded: dict[str, Predictor], tmp_path: Path
) -> None:
    live = LiveConversation(predictor("hierarchical", uncertainty="full", samples=2), conversation_id="a")
    live.append_utterance(talk("a").utterances[0])
    live.save(tmp_path / "live.safetensors")
    resumed = LiveConversation.load(tmp_path / "live.safetensors", loaded["hierarchical"])
    whole = loaded["hierarchical"].label([talk("a")])[0].predictions
    np.testing.assert_allclose(
        numbers([resumed.append_utterance(talk("a").utterances[1])]), numbers(whole[1:2]), atol=1e-5
    )


@pytest.mark.parametrize("content", [None, b"", b"no such state", b"\x02\0\0\0\0\0\0\0{}"])
def test_live_state_file_missing_or_invalid_is_refused_by_name(
    content: bytes | None, loaded: dict[str, Predictor], tmp_path: Path
) -> None:
    path = tmp_path / "live.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises((ArtefactError, InputError), match=r"live\.safetensors"):
        LiveConversation.load(path, loaded["hierarchical"])


def test_live_turn_out_of_order_is_refused_without_a_state_change(loaded: dict[str, Predictor]) -> None:
    live = LiveConversation(loaded["hierarchical"], conversation_id="a")
    live.append_utterance(talk("a").utterances[0])
    for index in (0, 2):
        with pytest.raises(InputError, match=f"next one has index 1, not {index}"):
            live.append_utterance(talk("a").utterances[index])
    with pytest.raises(InputError, match="needs a speaker"):
        live.append("  ", "No.")
    assert len(live) == 1
    whole = loaded["hierarchical"].label([talk("a")])[0].predictions
    np.testing.assert_allclose(
        numbers([live.append_utterance(talk("a").utterances[1])]), numbers(whole[1:2]), atol=1e-5
    )


def test_live_conversation_needs_a_conversation_model(tiny_utterance_artefact: Path) -> None:
    with pytest.raises(ConfigError, match="reads each turn by itself"):
        LiveConversation(load_predictor(str(tiny_utterance_artefact), settings=FP32))


def test_live_prediction_ignores_turns_beyond_the_history_limits(loaded: dict[str, Predictor]) -> None:
    """Pasts that differ only beyond the window and the last observations give the same prediction."""
    answers = []
    for opening in ("I am so happy!", "It hurts, no."):
        live = LiveConversation(loaded["turn_causal"])
        live.append("Ana", opening)
        answers.append([live.append("Ana", "Okay.") for _ in range(HISTORY_LIMIT + 3)])
    first, second = (numbers(one) for one in answers)
    assert np.abs(first[0] - second[0]).max() > 1e-4
    np.testing.assert_allclose(first[-1], second[-1], atol=1e-5)


def test_live_state_resumes_in_another_precision(tmp_path: Path) -> None:
    settings = {"uncertainty": "off"}
    live = LiveConversation(predictor("hierarchical", precision="bf16", **settings), conversation_id="a")
    for utterance in talk("a").utterances[:3]:
        live.append_utterance(utterance)
    live.save(tmp_path / "live.safetensors")
    exact = predictor("hierarchical", precision="fp32", **settings)
    resumed = LiveConversation.load(tmp_path / "live.safetensors", exact)
    answer = resumed.append_utterance(talk("a").utterances[3])
    whole = exact.label([talk("a")])[0].predictions[3]
    np.testing.assert_allclose(
        list(answer.probabilities.values()), [whole.probabilities[k] for k in answer.probabilities], atol=0.05
    )


@pytest.mark.parametrize("uncertainty", [{"mode": "tail"}, {"samples": 0}, {"top_k": 0}, {"samples": "many"}])
def test_conversation_model_with_invalid_sampling_is_refused(
    loaded: dict[str, Predictor], uncertainty: dict[str, Any]
) -> None:
    scorer = loaded["hierarchical"].scorer
    assert isinstance(scorer, EmoNetScorer)
    broken = replace(scorer.artefact, info=replace(scorer.artefact.info, uncertainty=uncertainty))
    with pytest.raises(ArtefactError, match=f"{scorer.identity}.*{next(iter(uncertainty))}"):
        EmoNetScorer(broken, utterance=scorer.utterance, settings=FP32)


def test_emonet_turn_truncated_for_its_speaker_tag_is_marked(shelf: Path) -> None:
    """The classifier reads 48 tokens, the model 32 with the tag; truncation by either is marked."""
    longer = talk("a", (("Ana", "Okay."), ("Ana", "okay " * 40), ("Ben", "Okay.")))
    model = predictor("turn_causal", uncertainty="off")
    assert not model.scorer.utterance.score_texts(["okay " * 40]).truncated[0]  # type: ignore[attr-defined]
    live = LiveConversation(model, conversation_id="a")
    whole = [p.truncated for p in model.label([longer])[0].predictions]
    assert whole == [live.append_utterance(turn).truncated for turn in longer] == [False, True, False]


def test_scorers_of_two_precisions_do_not_affect_each_other(loaded: dict[str, Predictor]) -> None:
    artefact = loaded["hierarchical"].scorer.artefact  # type: ignore[attr-defined]
    utterance = loaded["hierarchical"].scorer.utterance.artefact  # type: ignore[attr-defined]

    def scored(precision: str) -> EmoNetScorer:
        settings = InferenceSettings(precision=precision, uncertainty="off")
        return EmoNetScorer(
            artefact, utterance=UtteranceScorer(utterance, settings=settings), settings=settings
        )

    first = scored("fp32")
    expected = first.score([talk("a")]).probabilities
    assert {one.dtype for one in scored("bf16").network.parameters()} == {torch.bfloat16}
    for scorer in (first, scored("fp32")):
        np.testing.assert_array_equal(scorer.score([talk("a")]).probabilities, expected)


@pytest.mark.parametrize("context", CONTEXTS)
def test_live_state_stores_only_the_text_the_model_rereads(
    context: str, loaded: dict[str, Predictor], tmp_path: Path
) -> None:
    live, path = LiveConversation(loaded[context]), tmp_path / "live.safetensors"
    live.append("Ana", "so angry " * 200_000)
    live.save(path)
    own = loaded[context].scorer.artefact.info.reads["memory_encoder"] == "own"  # type: ignore[attr-defined]
    assert (b"so angry" in path.read_bytes()) == own
    assert path.stat().st_size < 100_000
    assert path.stat().st_size < 2 * live.state_bytes + 10_000


@pytest.mark.parametrize("damage", ["tensor", "shape", "record", "turns", "speakers", "words"])
def test_damaged_live_state_is_refused(damage: str, loaded: dict[str, Predictor], tmp_path: Path) -> None:
    path = tmp_path / "live.safetensors"
    live = LiveConversation(loaded["hierarchical"])
    for utterance in talk("a").utterances[:3]:
        live.append_utterance(utterance)
    live.save(path)
    tensors = load_file(path)
    with safe_open(path, framework="pt") as file:
        record = file.metadata()["live"]
    if damage == "tensor":
        del tensors["state.turn_state"]
    elif damage == "shape":
        tensors["state.turn_state"] = tensors["state.turn_state"][..., :1].contiguous()
    elif damage == "record":
        record = record.replace('"time"', '"tame"')
    elif damage == "turns":
        record = record.replace('"counts": {"/ana": 2', '"counts": {"/ana": 1')
    elif damage == "speakers":
        record = record.replace('"speakers": {"/ana": 0', '"speakers": {"/eve": 0')
    else:
        record = record[:-5]
    whole = path.read_bytes()
    save_file(tensors, path, metadata={"live": record})
    assert path.read_bytes() != whole
    with pytest.raises(InputError, match=r"live\.safetensors: is damaged"):
        LiveConversation.load(path, loaded["hierarchical"])


@pytest.mark.parametrize("folder", ["none", "file"])
def test_live_state_save_to_a_missing_folder_is_refused(
    folder: str, loaded: dict[str, Predictor], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        InputError,
        match=rf"{folder}/live\.safetensors: the state of the conversation cannot be written",
    ):
        LiveConversation(loaded["hierarchical"]).save(tmp_path / folder / "live.safetensors")
