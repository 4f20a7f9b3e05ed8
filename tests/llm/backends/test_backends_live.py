"""A live conversation equals labelling it whole, with a state of bounded size."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.torch import save_file

from erc.data import Conversation, Moment, PastUtterance, SpeakerHistory, Utterance
from erc.errors import ArtefactError, ConfigError, InputError
from erc.inference.cascade import CascadePredictor
from erc.inference.live.conversation import LiveConversation
from erc.inference.live.llm import LiveLlm
from erc.inference.loading import fine_thresholds, load_predictor
from erc.inference.predictor import Predictor
from erc.inference.scorers.llm import LlmScorer
from erc.inference.scorers.llm_model import LanguageModel, PromptNotes
from erc.inference.scorers.prompt_notes import ConversationSpeakers
from erc.inference.scorers.settings import InferenceSettings
from erc.inference.scorers.utterance import UtteranceScorer
from erc.llm.backends.local import LocalScorer
from erc.llm.base.adapters import LoraSettings, attach_lora
from erc.llm.prompts.budget import Budget
from erc.llm.prompts.builder import PromptBuilder
from erc.memory.predictor import RememberingPredictor
from erc.persistence import find_model, load_artefact
from erc.uncertainty.policy import DecisionPolicy
from speakers import Registry

LABELS = ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")
FP32 = InferenceSettings(precision="fp32", uncertainty="off")


def dialogue(turns=14, name="a", corpus=None):
    said = (f"This is turn {i}, {'so very angry ' * (i % 4)}said aloud." for i in range(turns))
    return Conversation(
        name,
        tuple(Utterance(f"{name}{i}", i, "ABC"[i * i % 3], text) for i, text in enumerate(said)),
        corpus=corpus,
    )


@pytest.fixture(autouse=True)
def shelf(tiny_shelf, monkeypatch):
    monkeypatch.setenv("CONVEMO_MODELS", str(tiny_shelf))


@pytest.fixture(scope="module")
def backend():
    return tiny_backend()


def tiny_backend(*, dropout=None):
    import torch
    from lm_parts import build_model, build_tokenizer

    model = build_model()
    if dropout is not None:
        with torch.random.fork_rng():
            torch.manual_seed(1)
            model = attach_lora(model, LoraSettings(r=4, alpha=8, dropout=dropout)).eval()
            for name, parameter in model.named_parameters():
                if "lora_B" in name:
                    parameter.data.normal_(std=0.5)
    return LocalScorer(model, build_tokenizer(chat=True), model_id="tiny")


def predictor_of(
    backend, *, room=400, block=3, max_turns=None, notes=None, settings=FP32, encoder=None, dropout=False
):
    """A predictor whose prompts have `room` tokens for the dialogue."""
    encoder = backend.encoder if encoder is None else encoder
    fixed = len(encoder.prompt_ids(PromptBuilder(encoder=encoder, labels=LABELS).content_free()))
    builder = PromptBuilder(
        encoder=encoder,
        labels=LABELS,
        budget=Budget(max_tokens=fixed + room, max_turns=max_turns, block=block),
    )
    model = LanguageModel(
        "llm:tiny", backend, builder, "ekman", notes=notes or PromptNotes(), dropout=dropout
    )
    shared = load_artefact(find_model("tiny-utterance"))
    scorer = LlmScorer(model, utterance=UtteranceScorer(shared, settings=settings), settings=settings)
    return Predictor(scorer, fine_thresholds=fine_thresholds(shared), settings=settings)


def numbers(predictions):
    return np.array(
        [
            [*(one.probabilities[label] for label in LABELS), one.total, one.epistemic or 0.0]
            for one in predictions
        ]
    )


def counts(predictions):
    return [(one.past_utterances, one.past_conversations) for one in predictions]


@pytest.mark.parametrize("limits", [{}, {"max_turns": 4}, {"room": 10_000}])
def test_live_llm_equals_labelling_the_whole_conversation(backend, limits):
    predictor, talk = predictor_of(backend, **limits), dialogue()
    whole, live = predictor.label([talk])[0].predictions, LiveConversation(predictor, conversation_id="a")
    found = [live.append_utterance(turn) for turn in talk]
    np.testing.assert_allclose(numbers(found), numbers(whole), atol=1e-4)
    assert counts(found) == counts(whole)
    assert [{fine.emotion for fine in one.fine} for one in found] == [
        {fine.emotion for fine in one.fine} for one in whole
    ]


@pytest.mark.parametrize("retrieval", ["recency", "similarity", "both"])
@pytest.mark.parametrize("resumed", [False, True])
def test_live_llm_with_emotion_history_equals_batch_labelling(backend, tmp_path, retrieval, resumed):
    predictor, talk = (
        predictor_of(backend, room=2000, notes=PromptNotes(history=2, retrieval=retrieval)),
        dialogue(9),
    )
    whole, live = predictor.label([talk])[0].predictions, LiveConversation(predictor, conversation_id="a")
    found = [live.append_utterance(turn) for turn in talk.utterances[:5]]
    if resumed:
        live.save(tmp_path / "live.safetensors")
        live = LiveConversation.load(tmp_path / "live.safetensors", predictor)
    found += [live.append_utterance(turn) for turn in talk.utterances[5:]]
    np.testing.assert_allclose(numbers(found), numbers(whole), atol=1e-4)
    bare = predictor_of(backend, room=2000).label([talk])[0].predictions
    assert np.abs(numbers(whole) - numbers(bare)).max() > 1e-3


@pytest.mark.parametrize("live", [False, True])
def test_turn_is_encoded_once_for_demonstrations_and_fine_emotions(backend, monkeypatch, live):
    predictor, talk, found, read = predictor_of(backend), dialogue(5), [], []
    expected = predictor.scorer.utterance.score_texts([turn.text for turn in talk])
    shown = lambda vector, text, origin: found.append(vector) or ()  # noqa: E731
    predictor.scorer.model = replace(predictor.scorer.model, demonstrations=shown)
    score = UtteranceScorer.score_texts
    monkeypatch.setattr(
        UtteranceScorer, "score_texts", lambda self, texts: read.extend(texts) or score(self, texts)
    )
    if live:
        going_on = LiveConversation(predictor)
        for turn in talk:
            going_on.append_utterance(turn)
    else:
        predictor.label([talk])
    assert read == [turn.text for turn in talk]
    np.testing.assert_allclose(found, expected.embedding, atol=1e-5)


def test_live_llm_reads_only_new_tokens(backend):
    predictor, talk = predictor_of(backend, room=10_000), dialogue()
    live, lengths = LiveConversation(predictor), []
    for turn in talk:
        question = predictor.scorer.question(
            live._reader.turns._window, turn, speakers=ConversationSpeakers("live")
        )
        lengths.append(len(backend.encoder.prompt_ids(question.prompt)))
        live.append_utterance(turn)
    assert live._reader.turns.tokens_read < 0.4 * sum(lengths)


def test_live_llm_reads_only_new_tokens_at_the_limit_for_every_speaker(backend):
    """One speaker has a long past and the others have none; the first turn shown must not change."""

    class Remembered:
        """A past of three turns for each speaker named A."""

        def time(self, conversation_id):
            return 5.0

        def person(self, conversation_id, name):
            return name

        def history(self, person, *, before, limit):
            probabilities = np.zeros(28, dtype=np.float32)
            text = "They said something of this length."
            turns = [PastUtterance(Moment(1.0, "x", i), np.zeros(4), probabilities, text) for i in range(3)]
            return SpeakerHistory(tuple(turns if person == "A" else ()), 0, 0)

    predictor = predictor_of(backend, room=900, notes=PromptNotes(history=3))
    live, lengths, starts, before = (
        LiveLlm(predictor.scorer, conversation_id="a", past=Remembered()),
        [],
        [],
        0,
    )
    for turn in dialogue(60):
        prompt = live._question(turn).prompt
        lengths.append(len(backend.encoder.prompt_ids(prompt)))
        starts.append(dict(prompt.segments)["dialogue"].splitlines()[1])
        live.read(turn)
        before = live.tokens_read if turn.index == 29 else before
    assert starts[29] != starts[0]
    assert len(set(starts)) < 30
    assert live.tokens_read - before < 0.5 * sum(lengths[30:])


def test_turn_longer_than_a_prompt_is_labelled_and_marked_truncated(backend):
    talk = Conversation(
        "a",
        (
            Utterance("a0", 0, "A", "Hello."),
            Utterance("a1", 1, "B", "😀🥳" * 150),
            Utterance("a2", 2, "A", "Well."),
        ),
    )
    assert [one.truncated for one in predictor_of(backend).label([talk])[0].predictions] == [
        False,
        True,
        False,
    ]


def test_live_llm_samples_equal_labelling_the_whole_conversation():
    backend = tiny_backend(dropout=0.3)
    predictor = predictor_of(backend, settings=replace(FP32, uncertainty="full", samples=3), dropout=True)
    talk = dialogue(9)
    whole, live = predictor.label([talk])[0].predictions, LiveConversation(predictor)
    found = [live.append_utterance(turn) for turn in talk]
    np.testing.assert_allclose(numbers(found), numbers(whole), atol=1e-4)
    assert max(one.epistemic for one in found) > 1e-3


def test_live_llm_state_has_bounded_size(backend):
    live, sizes = LiveConversation(predictor_of(backend)), []
    for turn in dialogue(60):
        live.append_utterance(turn)
        sizes.append(live.state_bytes)
    assert max(sizes[30:]) <= 1.1 * max(sizes[10:30])
    assert sizes[0] > live._reader.turns._window.nbytes


def test_live_llm_resumed_gives_the_same_predictions_without_a_stored_cache(backend, tmp_path):
    predictor, talk = predictor_of(backend), dialogue(20)
    live = LiveConversation(predictor, conversation_id="a")
    for turn in talk.utterances[:12]:
        live.append_utterance(turn)
    live.save(tmp_path / "live.safetensors")
    assert (tmp_path / "live.safetensors").stat().st_size < 10_000
    resumed = LiveConversation.load(tmp_path / "live.safetensors", predictor)
    rest = [(live.append_utterance(turn), resumed.append_utterance(turn)) for turn in talk.utterances[12:]]
    np.testing.assert_allclose(numbers(b for _, b in rest), numbers(a for a, _ in rest), atol=1e-4)
    assert counts(b for _, b in rest) == counts(a for a, _ in rest)
    assert (resumed.conversation_id, len(resumed)) == ("a", 20)


def test_live_llm_state_of_another_model_prompt_budget_or_kind_is_refused(backend, tmp_path):
    path = tmp_path / "live.safetensors"
    live = LiveConversation(predictor_of(backend))
    live.append("Ana", "Hello.")
    live.save(path)
    with pytest.raises(ArtefactError, match="another budget"):
        LiveConversation.load(path, predictor_of(backend, room=401))
    other = predictor_of(backend)
    other.scorer.model = replace(other.scorer.model, name="llm:other")
    with pytest.raises(ArtefactError, match="another model"):
        LiveConversation.load(path, other)
    with pytest.raises(ArtefactError, match="another kind"):
        LiveConversation.load(path, load_predictor("tiny-hierarchical", settings=FP32))


@pytest.mark.parametrize("missing", ["lines", "spoken", "earlier", "said", "one line"])
def test_damaged_live_llm_state_is_reported(backend, tmp_path, missing):
    predictor, path = predictor_of(backend, notes=PromptNotes(history=2)), tmp_path / "live.safetensors"
    live = LiveConversation(predictor)
    for turn in dialogue(3):
        live.append_utterance(turn)
    live.save(path)
    with safe_open(path, framework="pt") as file:
        record = json.loads(file.metadata()["live"])
    if missing == "one line":
        record["lines"].pop()
    else:
        del record[missing]
    save_file({}, path, metadata={"live": json.dumps(record)})
    with pytest.raises(InputError, match=r"live\.safetensors: is damaged"):
        LiveConversation.load(path, predictor)


@pytest.mark.parametrize("joining", [False, True])
def test_live_llm_with_memory_equals_batch_labelling(backend, tmp_path, joining):
    predictor = predictor_of(backend, notes=PromptNotes(bios=True, history=2))
    with Registry.open(str(tmp_path / "speakers.db")) as registry:
        remembering = RememberingPredictor(predictor, registry)
        remembering.label(dialogue(6, "earlier"))
        talk = dialogue(8, "later")
        past = remembering.past(Conversation("later", ()) if joining else talk)
        live = LiveConversation(predictor, conversation_id="later", past=past)
        found = [live.append_utterance(turn) for turn in talk]
        live.save(tmp_path / "live.safetensors")
        whole = remembering.label(talk).predictions
    np.testing.assert_allclose(numbers(found), numbers(whole), atol=1e-4)
    assert counts(found) == counts(whole)
    assert np.abs(numbers(found) - numbers(predictor.label([talk])[0].predictions)).max() > 1e-3
    with pytest.raises(ConfigError, match="begun with a speaker memory"):
        LiveConversation.load(tmp_path / "live.safetensors", predictor)


def test_live_llm_on_a_server_stores_only_text(backend):
    from lm_server import Behaviour, running

    from erc.llm.backends.server import ServerScorer, Transport

    talk = dialogue(3)
    with running(Behaviour(model=backend.model)) as url:
        served = ServerScorer(Transport(url), model="tiny", encoder=backend.encoder)
        with closing(predictor_of(served, encoder=backend.encoder)) as predictor:
            live = LiveConversation(predictor)
            found = [live.append_utterance(turn) for turn in talk]
            assert live.state_bytes == live._reader.turns._window.nbytes
    np.testing.assert_allclose(
        numbers(found), numbers(predictor_of(backend).label([talk])[0].predictions), atol=1e-4
    )


@pytest.mark.parametrize("history", [0, 2])
@pytest.mark.parametrize("resumed", [False, True])
def test_live_cascade_equals_labelling_the_whole_conversation(backend, tmp_path, resumed, history):
    first = load_predictor("tiny-hierarchical", settings=FP32, emotions="ekman")
    talk = dialogue(10)
    confidence = sorted(one.confidence for one in first.label([talk])[0].predictions)
    first.policy = DecisionPolicy(min_confidence=(confidence[4] + confidence[5]) / 2)
    cascade = CascadePredictor(first, predictor_of(backend, notes=PromptNotes(history=history)))
    whole, live = cascade.label([talk])[0].predictions, LiveConversation(cascade, conversation_id="a")
    found = [live.append_utterance(turn) for turn in talk.utterances[:5]]
    if resumed:
        live.save(tmp_path / "live.safetensors")
        live = LiveConversation.load(tmp_path / "live.safetensors", cascade)
    found += [live.append_utterance(turn) for turn in talk.utterances[5:]]
    np.testing.assert_allclose(numbers(found), numbers(whole), atol=1e-4)
    assert [one.model for one in found] == [one.model for one in whole]
    assert {one.model for one in found} == {"tiny-hierarchical@1", "llm:tiny"}


def test_live_cascade_started_with_a_memory_cannot_resume_without_one(backend, tmp_path):
    first, notes_of = (
        load_predictor("tiny-hierarchical", settings=FP32, emotions="ekman"),
        predictor_of(backend, notes=PromptNotes(bios=True)),
    )
    cascade, path = CascadePredictor(first, notes_of), tmp_path / "live.safetensors"
    with Registry.open(str(tmp_path / "speakers.db")) as registry:
        past = RememberingPredictor(cascade, registry).past(dialogue(2))
        identifier = dialogue(2).conversation_id
        LiveConversation(cascade, conversation_id=identifier, past=past).save(path)
        assert len(LiveConversation.load(path, cascade, past=past)) == 0
    with pytest.raises(ConfigError, match="begun with a speaker memory and would continue without one"):
        LiveConversation.load(path, cascade)


@pytest.mark.parametrize("kind", ["cascade", "tiny-hierarchical", "llm"])
def test_live_turn_can_be_retried_after_an_error(backend, monkeypatch, kind):
    if kind == "llm":
        predictor = predictor_of(backend, notes=PromptNotes(history=2))
    else:
        predictor = load_predictor("tiny-hierarchical", settings=FP32, emotions="ekman")
    if kind == "cascade":
        predictor.policy = DecisionPolicy(min_confidence=2.0)  # every turn reaches the second model
        predictor = CascadePredictor(predictor, predictor_of(backend))
    talk = dialogue(6)
    whole, live = predictor.label([talk])[0].predictions, LiveConversation(predictor, conversation_id="a")
    last, found = getattr(predictor, "second", predictor), []

    def down(turns, scores):
        raise ArtefactError("the server does not answer")

    for turn in talk:
        with monkeypatch.context() as outage:
            outage.setattr(last, "predictions", down)
            with pytest.raises(ArtefactError, match="does not answer"):
                live.append_utterance(turn)
        assert len(live) == turn.index
        found.append(live.append_utterance(turn))
    np.testing.assert_allclose(numbers(found), numbers(whole), atol=1e-4)
    assert counts(found) == counts(whole)
