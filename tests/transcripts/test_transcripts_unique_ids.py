import pytest
from hypothesis import given
from hypothesis import strategies as st

from erc.data import Conversation, Utterance
from erc.transcripts.unique_ids import UniqueIds


def talk(identifier, *ids):
    turns = tuple(
        Utterance(utterance_id=given, index=index, speaker="Ana", text="hi")
        for index, given in enumerate(ids or (f"{identifier}-0000",))
    )
    return Conversation(conversation_id=identifier, utterances=turns)


def named(files, identifiers=None):
    unique = UniqueIds(files)
    wanted = identifiers or [[file.rsplit("/", 1)[-1].removesuffix(".txt")] for file in files]
    found = [
        pair for place, ids in enumerate(wanted) for pair in unique.among([talk(one) for one in ids], place)
    ]
    return [conversation.conversation_id for conversation, _ in found], [note for _, note in found if note]


@pytest.mark.parametrize(
    ("files", "ids"),
    [
        (["talk.txt"], ["talk"]),
        (["d1/talk.txt", "d2/talk.txt"], ["talk", "d2/talk"]),
        (["/a/x/talk.txt", "/b/x/talk.txt"], ["talk", "b/x/talk"]),
        (["d1/talk.txt", "talk.txt"], ["talk", "talk-2"]),
        (["talk.txt", "talk.txt", "./talk.txt"], ["talk", "talk-2", "talk-3"]),
        (["d1/talk.txt", "../d2/talk.txt"], ["talk", "d2/talk"]),
    ],
)
def test_ids_of_files_with_one_name_include_the_nearest_folder_or_a_number(files, ids):
    assert named(files)[0] == ids


def test_changed_ids_are_noted_once_per_file():
    found, notes = named(["a.csv", "d/b.csv"], [["x", "y"], ["x", "y", "z"]])
    assert found == ["x", "y", "d/x", "d/y", "z"]
    assert notes == ["d/b.csv: an earlier file has a conversation 'x': this one is 'd/x'"]


def test_generated_turn_ids_change_with_the_conversation_id():
    unique = UniqueIds(["talk.txt", "d/talk.txt"])
    list(unique.among([talk("talk")], 0))
    [(conversation, _)] = unique.among([talk("talk", "talk-0000", "own")], 1)
    assert [turn.utterance_id for turn in conversation] == ["d/talk-0000", "own"]


@given(
    st.lists(
        st.sampled_from(
            ["talk.txt", "d/talk.txt", "e/d/talk.txt", "talk-2.txt", "d/talk-2.txt", "f/d/talk.txt"]
        ),
        max_size=8,
    )
)
def test_ids_of_a_run_are_unique_and_the_first_file_keeps_its_own(files):
    ids, _ = named(files)
    assert len(set(ids)) == len(files)
    assert not files or ids[0] == files[0].rsplit("/", 1)[-1].removesuffix(".txt")
