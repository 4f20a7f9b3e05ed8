"""Language models with a speaker memory: the past in prompts, and the recorded predictions."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from label_parts import FAST, LABELS, nowhere, numbers
from tiny_emonet import ANA, BEN, talk

from erc.data import Moment
from erc.emotions import load_emotion_map
from erc.inference.loading import load_predictor
from erc.inference.scorers.llm_model import PromptNotes
from erc.inference.scorers.prompt_notes import ConversationSpeakers
from erc.memory.past import RegistryPast
from erc.memory.predictor import RememberingPredictor
from speakers import END


def test_memory_adds_bio_and_predicted_history_to_the_prompt(adapter, registry):
    remembering = RememberingPredictor(load_predictor(f"llm:{adapter}", settings=FAST), registry)
    before = remembering.label(talk("a")).predictions
    later = talk("b", BEN)
    found = ConversationSpeakers("b", remembering.past(later)).notes(
        "Ana",
        index=1,
        heard=("Ben",),
        said=(),
        vector=nowhere,
        shown=PromptNotes(bios=True, history=2),
        emotions=load_emotion_map("goemotions", "meld"),
    )
    own = [one.utterance.text for one in before if one.utterance.speaker == "Ana"][-2:]
    read = load_emotion_map("goemotions", "meld").apply(
        remembering.predictor.scorer.utterance.score_texts(own).probabilities
    )
    assert [(one.emotion, one.text) for one in found.history] == [
        (LABELS[row.argmax()], text) for row, text in zip(read, own, strict=True)
    ]
    assert [(bio.name, bio.version) for bio in found.bios] == [("Ana", "history/1#1"), ("Ben", "history/1#1")]
    after = remembering.label(later).predictions
    alone = remembering.predictor.label([later])[0].predictions
    assert np.abs(numbers(after) - numbers(alone)).max() > 1e-3
    assert [(one.past_utterances, one.past_conversations) for one in after[:2]] == [(3, 1), (3, 1)]


def test_model_without_an_adapter_reads_the_memory(tiny_lm_dir, registry, monkeypatch):
    predictor = load_predictor(f"llm:{tiny_lm_dir}", settings=FAST)
    remembering = RememberingPredictor(predictor, registry)
    backend, asked = predictor.scorer.model.backend, []
    score = backend.score
    monkeypatch.setattr(
        backend, "score", lambda prompts, labels: asked.append(prompts) or score(prompts, labels)
    )
    for one in (talk("a"), talk("b", BEN)):
        remembering.label(one)
    assert ["seemed to feel before" in prompt.user for prompt in asked[0]] == [
        who in [name for name, _ in ANA[:i]] for i, (who, _) in enumerate(ANA)
    ]
    assert ["How Ben seemed to feel before" in prompt.user for prompt in asked[1]] == [
        who == "Ben" for who, _ in BEN
    ]
    predictor.label([talk("a")])
    assert not any(
        "seemed to feel before" in prompt.user for prompt in asked[2]
    )  # without a memory, the prompt shows only the dialogue


def felt(prompt):
    """The texts under the heading of past emotions."""
    return re.findall(r'^- \w+ \(\d+%\): "(.*)"$', prompt.user, flags=re.MULTILINE)


def test_adapter_prompt_shows_emotions_of_this_and_earlier_conversations(adapter, registry):
    predictor = load_predictor(f"llm:{adapter}", settings=FAST)  # its prompts show two past turns
    said = [text for name, text in ANA if name == "Ana"]
    alone = {question.turn.index: question.prompt for question in predictor.scorer.questions(talk("a"))}
    assert [felt(alone[index]) for index in (0, 2, 5)] == [[], said[:1], said[:2]]
    remembering = RememberingPredictor(predictor, registry)
    remembering.label(talk("a"))
    later = talk("b", BEN)
    asked = predictor.scorer.questions(later, past=remembering.past(later))
    assert [felt(question.prompt) for question in asked if question.turn.speaker == "Ana"] == [
        said[1:],
        [said[2], "No."],
    ]


def test_merged_names_of_one_person_share_past_and_bio(adapter, registry):
    predictor = load_predictor(f"llm:{adapter}", settings=FAST)
    remembering = RememberingPredictor(predictor, registry)
    remembering.label(talk("a"))
    registry.alias("Ana", "Annie")
    found = []
    for names in (("Ana", "Ana", "Ben", "Ana"), ("Ana", "Annie", "Ben", "Annie")):
        one = talk("b", tuple(zip(names, ("No.", "It hurts.", "Okay.", "Thank you!"), strict=True)))
        found.append(predictor.scorer.questions(one, past=remembering.past(one)))
    assert [felt(question.prompt) for question in found[1]] == [
        felt(question.prompt) for question in found[0]
    ]
    assert (
        [question.seen for question in found[1]]
        == [question.seen for question in found[0]]
        == [(3, 1), (4, 2), (3, 1), (5, 2)]
    )
    assert [
        question.prompt.user.count("About Ana:") + question.prompt.user.count("About Annie:")
        for question in found[1]
    ] == [1] * 4


def test_prompt_of_a_turn_does_not_depend_on_the_other_labelled_turns(adapter):
    scorer = load_predictor(f"llm:{adapter}", settings=FAST).scorer
    whole = {question.turn.index: question.prompt for question in scorer.questions(talk("a"))}
    assert [question.prompt for question in scorer.questions(talk("a"), only={5})] == [whole[5]]


def test_later_turns_do_not_change_earlier_prompts(adapter):
    scorer = load_predictor(f"llm:{adapter}", settings=FAST).scorer
    whole, begun = (scorer.questions(talk("a", turns)) for turns in (ANA, ANA[:4]))
    assert [question.prompt for question in whole[:4]] == [question.prompt for question in begun]


def test_memory_retrieval_returns_similar_and_recent_turns_without_duplicates(adapter, registry):
    remembering = RememberingPredictor(load_predictor(f"llm:{adapter}", settings=FAST), registry)
    remembering.label(talk("a"))
    later = talk("b", BEN)
    speakers = ConversationSpeakers("b", remembering.past(later))
    embedding = remembering.predictor.scorer.utterance.score_texts([ANA[0][1]]).embedding[0]

    def texts(retrieval, limit):
        found = speakers.notes(
            "Ana",
            index=0,
            heard=(),
            said=(),
            vector=lambda: embedding,
            shown=PromptNotes(history=limit, retrieval=retrieval),
            emotions=load_emotion_map("goemotions", "ekman"),
        )
        return [one.text for one in found.history]

    said = [text for name, text in ANA if name == "Ana"]
    assert texts("similarity", 1) == [said[0]]
    assert texts("both", 2) == [said[0], said[-1]]
    assert texts("none", 2) == []


def test_memory_similarity_search_encodes_no_turn_twice(adapter, registry, monkeypatch):
    predictor = load_predictor(f"llm:{adapter}", settings=FAST)
    predictor.scorer.model = replace(
        predictor.scorer.model, notes=replace(predictor.scorer.model.notes, retrieval="both")
    )
    remembering, read = RememberingPredictor(predictor, registry), []
    utterance = predictor.scorer.utterance
    score = utterance.score_texts
    monkeypatch.setattr(utterance, "score_texts", lambda texts: read.extend(texts) or score(texts))
    for one in (talk("a"), talk("b", BEN)):
        remembering.label(one)
    turns = [text for _, text in (*ANA, *BEN)]
    assert [text for text in read if text in turns] == turns  # the rest are passages of bios


def past_of(registry, **people):
    start = registry.point_for("c", 0)
    return RegistryPast(registry, start, people, look_up=lambda names: people, labels=(), limit=4)


def test_past_refuses_turns_of_another_conversation(registry):
    with pytest.raises(ValueError, match="not a turn of conversation c"):
        past_of(registry).history("spk_x", before=Moment(0.0, "d", 0), limit=1)


def test_notes_of_a_speaker_without_identity_are_empty(registry):
    speakers = ConversationSpeakers("c", past_of(registry))
    found = speakers.notes(
        "Ana",
        index=2,
        heard=("Ben",),
        said=(),
        vector=nowhere,
        shown=PromptNotes(bios=True, history=4, retrieval="both"),
        emotions=load_emotion_map("goemotions", "ekman"),
    )
    assert (found.bios, found.history, speakers.counts("Ana")) == ((), (), (0, 0))


def test_memory_stores_the_prediction_of_the_answering_model_of_a_cascade(cascade, registry):
    labelled = RememberingPredictor(cascade, registry).label(talk("a")).predictions
    assert len({one.model for one in labelled}) == 2
    for speaker in registry.speakers():
        said = [one for one in labelled if one.speaker_id == speaker.speaker_id]
        kept = registry.context(speaker.speaker_id, before=END).observations
        assert [(one.model, one.label.emotion) for one in kept] == [(one.model, one.emotion) for one in said]
