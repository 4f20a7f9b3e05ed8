"""Corpora as speaker memories: prompt notes, bios, and bios as vectors."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_emonet import talk

from erc.data import Conversation, Moment, PastBio, Utterance
from erc.emotions import load_emotion_map
from erc.errors import ArtefactError, InputError
from erc.inference.scorers.bio_vectors import BioVectors, bio_vector
from erc.inference.scorers.caching import CachedScorer
from erc.inference.scorers.llm_model import PromptNotes
from erc.inference.scorers.settings import InferenceSettings
from erc.inference.scorers.utterance import UtteranceScorer
from erc.llm.prompts.notes import NO_NOTES
from erc.memory import corpus as module
from erc.memory.bios import NothingWrittenError, refresh_bios
from erc.memory.corpus import CorpusBios, CorpusNotes, corpus_bios, corpus_memory
from erc.memory.past import CorpusPast
from erc.persistence import load_artefact
from speakers import DETERMINISTIC, END, BioWriter, Observation, Passage, Registry

FAST = InferenceSettings(precision="fp32", uncertainty="off")
EMOTIONS = load_emotion_map("goemotions", "meld")


def scene(name, episode, texts, *, gold="joy", speakers="AB"):
    turns = tuple(
        Utterance(f"{name}-{i}", i, speakers[i % len(speakers)], text, emotions=(gold,))
        for i, text in enumerate(texts)
    )
    return Conversation(name, turns, corpus="meld", meta={"season": 1, "episode": episode})


# In file order, which is not the broadcast order: the third scene comes first.
SCENES = (
    scene("late", 3, ("I am angry again", "Okay", "It hurts")),
    scene("first", 1, ("I am so happy to see you", "Why did nobody tell me?")),
    scene("second", 2, ("Thank you!", "No, it hurts", "Let us start")),
)


@pytest.fixture
def scorer(tiny_utterance_artefact):
    return CachedScorer(load_artefact(tiny_utterance_artefact), settings=FAST)


@pytest.fixture
def memory(tmp_path, scorer):
    with corpus_memory(tmp_path, SCENES, scorer) as registry:
        yield registry


def notes_over(registry, scenes, scorer, **shown):
    shown = {"bios": True, "history": 9, "retrieval": "recency"} | shown
    memories = {one.conversation_id: registry for one in scenes}
    shown = PromptNotes(**shown)
    past = CorpusPast(memories, scenes, labels=scorer.fine_emotions.labels, limit=shown.past)
    return CorpusNotes(past, shown=shown, emotions=EMOTIONS, scorer=scorer)


def by_name(name):
    return next(one for one in SCENES if one.conversation_id == name)


def test_notes_show_earlier_conversations_in_broadcast_order_and_earlier_turns(memory, scorer):
    notes = notes_over(memory, SCENES, scorer)
    assert notes.of(by_name("first"), 1) == NO_NOTES
    assert [one.text for one in notes.of(by_name("second"), 0).history] == ["I am so happy to see you"]
    assert [one.text for one in notes.of(by_name("second"), 2).history] == [
        "I am so happy to see you",
        "Thank you!",
    ]
    assert [
        one.text for one in notes_over(memory, SCENES, scorer, history=1).of(by_name("second"), 2).history
    ] == ["Thank you!"]
    assert [one.text for one in notes.of(by_name("late"), 0).history] == [
        "I am so happy to see you",
        "Thank you!",
        "Let us start",
    ]


def test_notes_show_predicted_emotions_and_not_gold_labels(tmp_path, scorer):
    found = []
    for gold in ("joy", "sadness"):
        scenes = [
            scene("first", 1, ("I am so happy", "Okay"), gold=gold),
            scene("second", 2, ("No",), gold=gold),
        ]
        with corpus_memory(tmp_path / gold, scenes, scorer) as registry:
            found.append(notes_over(registry, scenes, scorer).of(scenes[1], 0))
    expected = EMOTIONS.apply(scorer.score_texts(["I am so happy"]).probabilities)[0]
    assert found[0] == found[1]
    assert found[0].history[0].emotion == EMOTIONS.target.labels[expected.argmax()]
    assert found[0].history[0].confidence == pytest.approx(expected.max(), abs=1e-6)


def test_notes_do_not_depend_on_later_turns(tmp_path, scorer, memory):
    changed = [by_name("first"), by_name("second"), scene("late", 3, ("Something else entirely",) * 6)]
    with corpus_memory(tmp_path, changed, scorer) as other:
        for name, index in (("second", 0), ("second", 1), ("second", 2)):
            both = [
                notes_over(registry, SCENES, scorer, retrieval="both").of(by_name(name), index)
                for registry in (memory, other)
            ]
            assert both[0] == both[1]


def test_notes_contain_the_parts_that_the_recipe_selects(memory, scorer):
    late = by_name("late")
    assert notes_over(memory, SCENES, scorer, bios=False).of(late, 2).bios == ()
    assert notes_over(memory, SCENES, scorer, history=1).of(late, 0).history[0].text == "Let us start"
    assert notes_over(memory, SCENES, scorer, bios=False, history=0).of(late, 2) == NO_NOTES
    assert [bio.name for bio in notes_over(memory, SCENES, scorer).of(late, 0).bios] == ["A"]
    assert [bio.name for bio in notes_over(memory, SCENES, scorer).of(late, 1).bios] == ["A", "B"]


def test_corpus_memory_is_made_once(tmp_path, scorer, memory, monkeypatch):
    monkeypatch.setattr(module, "fill", lambda *arguments, **settings: pytest.fail("filled again"))
    with corpus_memory(tmp_path, SCENES, scorer) as again:
        assert again.address == memory.address
    assert not [path.name for path in tmp_path.iterdir() if "part" in path.name]


def test_unfinished_memory_is_not_read(tmp_path, scorer, monkeypatch):
    fill = module.fill

    def killed(registry, conversations, *arguments, **settings):
        fill(registry, conversations[:1], *arguments, **settings)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "fill", killed)
    with pytest.raises(KeyboardInterrupt):
        corpus_memory(tmp_path, SCENES, scorer)
    assert list(tmp_path.iterdir()) == []


def test_corpus_memory_is_readable_by_its_owner_only(tmp_path, scorer):
    with corpus_memory(tmp_path / "inputs", SCENES, scorer):
        kept = list((tmp_path / "inputs").iterdir())
        assert {path.stat().st_mode & 0o777 for path in kept} == {0o600}
    assert (tmp_path / "inputs").stat().st_mode & 0o777 == 0o700


def test_corpus_memory_keeps_the_mode_of_an_existing_folder(tmp_path, scorer):
    tmp_path.chmod(0o755)
    corpus_memory(tmp_path, SCENES, scorer).close()
    assert tmp_path.stat().st_mode & 0o777 == 0o755


def test_corpus_memory_that_cannot_be_written_raises(tmp_path, scorer):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ArtefactError, match="file: cannot be made"):
        corpus_memory(tmp_path / "file", SCENES, scorer)


def test_corpus_memory_that_another_process_finished_first_is_read(tmp_path, scorer, monkeypatch):
    fill = module.fill

    def slow(*args, **kwargs):
        monkeypatch.setattr(module, "fill", fill)
        monkeypatch.setattr(module, "part_of", lambda path: path.with_name("other.part"))
        corpus_memory(tmp_path, SCENES, scorer).close()  # as another process would meanwhile
        finished.extend(path.stat().st_ino for path in tmp_path.glob("speakers-*.db"))
        fill(*args, **kwargs)

    finished = []
    monkeypatch.setattr(module, "fill", slow)
    corpus_memory(tmp_path, SCENES, scorer).close()
    assert [path.stat().st_ino for path in tmp_path.glob("speakers-*.db")] == finished
    assert not list(tmp_path.glob("*.part*"))


def test_corpus_memory_rejects_a_repeated_conversation_id(tmp_path, scorer):
    with pytest.raises(InputError, match="conversation id late is not unique"):
        corpus_memory(tmp_path, [*SCENES, SCENES[0]], scorer)


# --- refreshing bios
# ---


@pytest.fixture
def registry(tmp_path):
    with Registry.open(tmp_path / "speakers.db") as opened:
        yield opened


def say(registry, conversation, count, *, name="Ana"):
    person = registry.resolve(name, conversation_id=conversation).speaker.speaker_id
    turns = [
        Observation(person, conversation, f"{conversation}{i}", i, "The report hurts", weights={"joy": 0.9})
        for i in range(count)
    ]
    registry.record(conversation, turns)
    return person


def test_bio_is_rewritten_after_a_quarter_more_turns(registry):
    ana = say(registry, "a", 8)
    assert [bio.utterances for bio in refresh_bios(registry, [ana], before=END)] == [8]
    say(registry, "b", 1)
    assert refresh_bios(registry, [ana], before=END) == ()
    say(registry, "c", 1)
    assert [bio.utterances for bio in refresh_bios(registry, [ana, ana], before=END)] == [10]


def test_bio_of_the_most_turns_is_rewritten_after_a_quarter_more_turns(registry, monkeypatch):
    for place in ("speakers.bios.MOST_TURNS", "erc.memory.bios.MOST_TURNS"):
        monkeypatch.setattr(place, 8)
    ana = say(registry, "a", 20)
    assert [bio.utterances for bio in refresh_bios(registry, [ana], before=registry.point_for("b", 0))] == [8]
    say(registry, "b", 4)
    assert refresh_bios(registry, [ana], before=registry.point_for("c", 0)) == ()
    say(registry, "c", 1)
    assert [bio.version for bio in refresh_bios(registry, [ana], before=registry.point_for("d", 0))] == [2]
    assert refresh_bios(registry, [ana], before=registry.point_for("d", 0)) == ()


def test_bio_of_a_language_model_is_not_replaced_by_a_counted_one(registry):
    ana = say(registry, "a", 2)
    written = BioWriter("llm:scribe", lambda turns: (Passage("Kind.", len(turns)),))
    registry.write_bio(ana, before=registry.point_for("b", 0), writer=written)
    say(registry, "b", 8)
    assert refresh_bios(registry, [ana], before=END) == ()
    assert [
        bio.writer
        for bio in refresh_bios(registry, [ana], before=END, writer_of=lambda registry, context: written)
    ] == ["llm:scribe"]


def test_language_model_replaces_a_counted_bio(registry):
    ana = say(registry, "a", 2)
    refresh_bios(registry, [ana], before=END)
    written = BioWriter("llm:scribe", lambda turns: (Passage("Kind.", len(turns)),))
    assert [
        bio.version
        for bio in refresh_bios(registry, [ana], before=END, writer_of=lambda registry, context: written)
    ] == [2]


def test_bio_is_counted_or_kept_if_the_writer_writes_nothing(registry):
    def wordless(turns):
        raise NothingWrittenError("nothing about Ana")

    ana, notes = say(registry, "a", 4), []
    silent, model = BioWriter("model", wordless), BioWriter("model", lambda turns: (Passage("Kind.", 1),))
    for bio_writer in (silent, silent, model):
        refresh_bios(registry, [ana], before=END, writer_of=lambda r, c, w=bio_writer: w, note=notes.append)
    say(registry, "b", 4)
    assert refresh_bios(registry, [ana], before=END, writer_of=lambda r, c: silent, note=notes.append) == ()
    assert [bio.writer for bio in registry.bio_versions(ana)] == [DETERMINISTIC.name, "model"]
    assert notes == ["nothing about Ana"] * 3


def test_corpus_memory_notes_bios_that_the_writer_did_not_write(tmp_path, scorer):
    def wordless(turns):
        raise NothingWrittenError("nothing about anybody")

    notes = []
    with corpus_memory(
        tmp_path,
        SCENES,
        scorer,
        writer="w",
        writer_of=lambda r, c: BioWriter("w", wordless),
        note=notes.append,
    ) as registry:
        bios = [bio for person in registry.speakers() for bio in registry.bio_versions(person.speaker_id)]
    assert {bio.writer for bio in bios} == {DETERMINISTIC.name}
    [note] = notes
    assert "nothing about anybody" in note


def test_no_bio_is_written_without_turns(registry):
    ana = say(registry, "a", 3)
    assert refresh_bios(registry, [ana], before=registry.point_for("a", 0)) == ()


# --- bios as vectors
# ---


def at(index, conversation="c"):
    return Moment(1.0, conversation, index)


def test_bio_vectors_return_the_own_bio_first_then_those_heard_in_order():
    found = BioVectors()
    for number, name in enumerate("abc"):
        found.add("c", name, np.full(2, float(number)))
    asked = [
        [float(vector[0]) for vector in found.bios(name, before=at(index))]
        for index, name in enumerate("cabca")
    ]
    assert asked == [[2.0], [0.0, 2.0], [1.0, 2.0, 0.0], [2.0, 0.0, 1.0], [0.0, 2.0, 1.0]]


def test_bio_vectors_of_a_second_pass_equal_those_of_the_first():
    found = BioVectors()
    for number, name in enumerate("ab"):
        found.add("c", name, np.full(2, float(number)))
    first, second = (
        [[list(vector) for vector in found.bios(name, before=at(i))] for i, name in enumerate("abab")]
        for _ in range(2)
    )
    assert first == second


def test_bio_vectors_keep_the_first_place_for_the_speaker_and_skip_others_without_one():
    found = BioVectors()
    found.add("c", "a", np.zeros(2))
    found.add("c", "b", None)
    assert [vector is None for vector in found.bios("b", before=at(0))] == []
    assert [vector is None for vector in found.bios("a", before=at(1))] == [False]
    assert [vector is None for vector in found.bios("b", before=at(2))] == [True, False]
    assert found.bios("b", before=at(0, "another")) == []


def test_bio_vectors_snapshot_restores_who_was_heard():
    found = BioVectors()
    for number, name in enumerate("ab"):
        found.add("c", name, np.full(2, float(number)))
    found.bios("a", before=at(0))
    back = found.snapshot("c")
    found.bios("b", before=at(1))
    back()
    assert len(found.bios("a", before=at(2))) == 1  # the restored state is from before b's turn


def test_bio_vector_is_the_mean_of_its_passages():
    bio = PastBio(("one", "three!"), "w#1")
    vector = bio_vector(bio, lambda texts: np.array([[float(len(text))] for text in texts]))
    assert vector.tolist() == [4.5]
    assert bio_vector(None, lambda texts: np.zeros((0, 1))) is None


def test_corpus_bios_are_read_at_the_beginning_of_each_conversation(memory, scorer):
    memories = {one.conversation_id: memory for one in SCENES}
    past = CorpusPast(memories, SCENES, labels=scorer.fine_emotions.labels, limit=0)
    found = corpus_bios(CorpusBios(past, SCENES), SCENES, scorer.embed)
    assert found.bios("meld/a", before=at(0, "first")) == []
    own = found.bios("meld/a", before=at(0, "late"))
    person = memory.find("A").speaker_id
    expected = memory.context(person, before=memory.point_for("late", 0)).bio
    np.testing.assert_allclose(
        own[0], scorer.embed([passage.text for passage in expected.passages]).mean(axis=0)
    )
    assert expected.writer == DETERMINISTIC.name
    assert expected.utterances == 3


# --- cached scores
# ---


def test_cached_scores_equal_those_of_the_classifier(tiny_utterance_artefact, scorer):
    plain = UtteranceScorer(load_artefact(tiny_utterance_artefact), settings=FAST)
    texts = [turn.text for turn in talk("a")]
    scorer.score_texts(texts[3:])
    found, expected = scorer.score_texts([*texts, texts[0]]), plain.score_texts([*texts, texts[0]])
    np.testing.assert_allclose(found.embedding, expected.embedding, atol=1e-5)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-6)
    np.testing.assert_allclose(found.uncertainty.total, expected.uncertainty.total, atol=1e-5)


def test_cached_scores_call_the_classifier_once(scorer, monkeypatch):
    texts = [turn.text for turn in talk("a")]
    scorer.score_texts(texts)
    encode = "erc.inference.scorers.utterance.encode_utterances"
    monkeypatch.setattr(encode, lambda *given, **named: pytest.fail("read again"))
    assert scorer.embed(texts[:2]).shape == (2, scorer.network.embedding_width)
    assert scorer.embed([]).shape == (0, scorer.network.embedding_width)
