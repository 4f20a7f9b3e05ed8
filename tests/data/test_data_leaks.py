import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from erc.data.conversation import Conversation, Utterance
from erc.data.corpora.corpus import Corpus
from erc.data.leaks import HeldOut, LeakFilter, load_held_out, normalise, text_hash
from erc.errors import InputError

LONG = "We never agreed on that."


def conversation(name: str, *texts: str, corpus: str | None = "meld", **meta: int) -> Conversation:
    return Conversation(
        name,
        tuple(Utterance(f"{name}-{i}", i, "Ana", text) for i, text in enumerate(texts)),
        corpus=corpus,
        meta=meta,
    )


def held_out(*texts: str, corpus: str = "emorynlp", episodes: frozenset[str] = frozenset()) -> HeldOut:
    return HeldOut(corpus, "test", frozenset(filter(None, map(text_hash, texts))), episodes)


def test_normalise_follows_the_hash_files_rule() -> None:
    assert normalise("  Don’t—ＧＯ…  ‘now’, 2nd\ttime! é") == "don't go 'now' 2nd time"


def test_text_hash_is_sixteen_digits_of_the_normalised_text() -> None:
    assert (
        text_hash("You’re a — GREAT, great friend!")
        == hashlib.sha256(b"you're a great great friend").hexdigest()[:16]
    )


def test_text_hash_ignores_texts_under_five_words() -> None:
    assert text_hash("Oh my God, Ana!") is None
    assert text_hash("Oh my God, Ana, no!") is not None


@settings(deadline=None)
@given(st.text())
def test_normalise_is_idempotent(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


def test_filter_drops_the_whole_conversation_and_counts() -> None:
    conversations = (
        conversation("a", "Hi.", LONG.upper(), "Bye."),
        conversation("b", "Something else was said here today."),
    )
    kept, report = LeakFilter.of([held_out(LONG)]).apply(conversations)
    assert [c.conversation_id for c in kept] == ["b"]
    assert (report.total, report.dropped, report.dropped_utterances, report.reasons) == (
        2,
        1,
        3,
        {"emorynlp/test": 1},
    )
    assert str(report) == "dropped 1 of 2 conversations (3 utterances): 1 for emorynlp/test"


def test_filter_keeps_conversations_with_only_short_texts_in_common() -> None:
    kept, _ = LeakFilter.of([held_out("Hi there.")]).apply((conversation("a", "Hi there."),))
    assert len(kept) == 1


def test_filter_drops_conversations_of_held_out_episodes() -> None:
    chosen = LeakFilter.of([held_out(episodes=frozenset({"s01_e10"}))])
    kept, _ = chosen.apply(
        (
            conversation("a", "x", season=1, episode=10),
            conversation("b", "x", season=1, episode=1),
            conversation("c", "x"),
        )
    )
    assert [c.conversation_id for c in kept] == ["b", "c"]


def test_filter_keeps_the_evaluated_corpus() -> None:
    both = (conversation("a", LONG, corpus="meld"), conversation("b", LONG, corpus="emorynlp"))
    kept, _ = LeakFilter.of([held_out(LONG, corpus="meld")]).apply(both)
    assert [c.conversation_id for c in kept] == ["a"]


def test_filter_rejects_a_conversation_without_a_corpus() -> None:
    with pytest.raises(InputError, match="conversation a has no corpus name"):
        LeakFilter.of([held_out(LONG)]).apply((conversation("a", LONG, corpus=None),))


def test_filter_made_from_a_split_equals_one_made_from_its_hashes() -> None:
    scene = conversation("s01_e15_c01", LONG, "Hi.", corpus="emorynlp", season=1, episode=15)
    corpus = Corpus("emorynlp", "dev", (scene,), "emorynlp", "full", (), ())
    (made,) = LeakFilter.of([corpus]).held_out
    assert made == HeldOut("emorynlp", "dev", frozenset({text_hash(LONG)}), frozenset({"s01_e15"}))


def test_meld_split_holds_out_texts_but_no_episodes() -> None:
    corpus = Corpus("meld", "dev", (conversation("a", LONG, season=1, episode=15),), "meld", "full", (), ())
    assert HeldOut.of(corpus).episodes == frozenset()


def test_load_held_out_reads_lists_and_episodes(tmp_path: Path) -> None:
    path = tmp_path / "h.json"
    path.write_text(
        json.dumps(
            {
                "about": "x",
                "emorynlp_test_episodes": ["s01_e01"],
                "emorynlp_test": ["aa"],
                "meld_test": ["bb"],
            }
        ),
        encoding="utf-8",
    )
    assert load_held_out(path) == (
        HeldOut("emorynlp", "test", frozenset({"aa"}), frozenset({"s01_e01"})),
        HeldOut("meld", "test", frozenset({"bb"})),
    )


@pytest.mark.parametrize("content", ["{}", "[]", "no json", '{"meld_test": [1]}'])
def test_load_held_out_rejects_other_files(tmp_path: Path, content: str) -> None:
    path = tmp_path / "h.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match="hash file"):
        load_held_out(path)
