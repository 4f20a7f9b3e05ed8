"""The stored input description of a conversation model, and the turn builder made from it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conversation_parts import OBSERVATION, OBSERVED_LABELS, FixedBios, conversation, history_of, tokenizer_of

from erc.errors import ArtefactError
from erc.models.emonet.reads import EmoNetReads

READS = EmoNetReads(
    utterance_model="tiny",
    memory_encoder="shared",
    history_limit=2,
    embedding_width=OBSERVATION - OBSERVED_LABELS,
    observed_labels=OBSERVED_LABELS,
    bio="linear",
    speaker_text="global_tag",
    speaker_corpus="tiny",
    speakers=("Ana", "Ben"),
    trained_speakers=("Ana",),
)


def test_reads_round_trip_through_json() -> None:
    assert EmoNetReads.from_dict(json.loads(json.dumps(READS.to_dict()))) == READS


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"utterance_model": "tiny", "observation_width": 796}, "unknown keys: observation_width"),
        ({"history": "global"}, "utterance_model"),
    ],
)
def test_reads_refuse_unknown_and_missing_keys(values: dict[str, object], match: str) -> None:
    with pytest.raises(ArtefactError, match=match):
        EmoNetReads.from_dict(values)


def test_reads_builder_reads_history_bios_and_tags(tiny_encoder_dir: Path) -> None:
    talk = conversation()
    tokenizer = tokenizer_of(tiny_encoder_dir)
    turns = READS.builder(tokenizer=tokenizer, max_tokens=40, history=history_of(talk), bios=FixedBios())
    batch = turns.batch([talk], times={"talk": 0.0})
    assert batch.observations is not None
    assert batch.observations.shape[1] == OBSERVATION
    assert batch.history_mask is not None
    assert batch.history_mask.sum(1).tolist() == [0, 0, 1, 0, 1, 2]
    assert batch.bios is not None
    tag = tokenizer("<s2>", add_special_tokens=False)["input_ids"]
    assert batch.input_ids[1, 1 : 1 + len(tag)].tolist() == tag  # Ben has row 2


@pytest.mark.parametrize(
    ("memory", "history", "reads"),
    [("none", "global", False), ("shared", "off", False), ("shared", "dialogue", True)],
)
def test_reads_builder_reads_history_only_for_a_model_with_memory(
    memory: str, history: str, reads: bool, tiny_encoder_dir: Path
) -> None:
    changed = EmoNetReads.from_dict(
        {**READS.to_dict(), "memory_encoder": memory, "history": history, "bio": "none"}
    )
    talk = conversation()
    turns = changed.builder(
        tokenizer=tokenizer_of(tiny_encoder_dir), max_tokens=40, history=history_of(talk), bios=FixedBios()
    )
    batch = turns.batch([talk], times={"talk": 0.0})
    assert (batch.observations is not None) == reads
    assert batch.bios is None
