import numpy as np
import pytest

from erc.data.conversation import Conversation, Utterance
from erc.metrics.subsets import (
    dialogue_ids,
    first_in_conversation,
    first_of_speaker,
    known_speakers,
    position_buckets,
)
from erc.models.speaker_embedding import SpeakerVocabulary


def conversation(name, speakers):
    turns = (Utterance(f"{name}-{i}", i, speaker, "Hm.") for i, speaker in enumerate(speakers))
    return Conversation(name, tuple(turns), corpus="meld")


@pytest.fixture
def scenes():
    return [conversation("a", ["Ross", "Joey", "Ross"]), conversation("b", ["Joey", "Phoebe"])]


def test_masks_are_in_reading_order(scenes):
    assert dialogue_ids(scenes).tolist() == ["a", "a", "a", "b", "b"]
    assert first_of_speaker(scenes).tolist() == [True, True, False, True, True]
    assert first_in_conversation(scenes).tolist() == [True, False, False, True, False]
    assert known_speakers(scenes, SpeakerVocabulary("meld", ("joey",))).tolist() == [
        False,
        True,
        False,
        True,
        False,
    ]
    assert not known_speakers(scenes, SpeakerVocabulary("emorynlp", ("Joey",))).any()


def test_position_buckets_partition_the_turns():
    buckets = position_buckets([conversation("a", ["Ross"] * 15)])
    assert list(buckets) == ["0", "1-2", "3-5", "6-10", "11+"]
    assert [int(mask.sum()) for mask in buckets.values()] == [1, 2, 3, 5, 4]
    np.testing.assert_array_equal(np.sum(list(buckets.values()), axis=0), np.ones(15))


def test_edges_that_do_not_increase_are_refused():
    with pytest.raises(ValueError, match="rising"):
        position_buckets([], edges=(3, 1))


def test_masks_of_no_conversations_are_empty():
    assert (
        first_of_speaker([]).shape
        == first_in_conversation([]).shape
        == known_speakers([], SpeakerVocabulary("meld", ("a",))).shape
        == (0,)
    )
