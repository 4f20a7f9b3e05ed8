"""The inputs of a conversation model from a turn and its speaker, as its artefact stores them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self

from transformers import PreTrainedTokenizerBase

from erc.data.history import HistoryProvider
from erc.data.windows import SpeakerText
from erc.errors import ArtefactError
from erc.models.emonet.settings import MemoryKind
from erc.models.speaker_embedding import SpeakerVocabulary
from erc.models.turn_builder import BioProvider, Person, TurnBuilder, own_key

HistoryKind = Literal["off", "dialogue", "global", "shuffled_speakers", "other_speaker"]
"""Whose turns the memory reads: none, of this conversation or of all; the last two are controls."""


@dataclass(frozen=True, slots=True)
class EmoNetReads:
    """The inputs of a conversation model besides its weights; training and inference build turns from it.

    Attributes:
        utterance_model: Name of the shared classifier.
        utterance_sha256: Hash of the shared classifier's weights, if the model was trained with it.
        utterance_paths: Paths of its folder in training; empty if it is beside the model or shipped.
        memory_encoder: What encodes the speaker's past turns.
        history: Whose turns the memory was trained with.
        history_limit: Most recent turns of the speaker that are read.
        embedding_width: Width of an observed embedding, for a shared memory.
        observed_labels: Number of observed probabilities, for a shared memory.
        bio: How a speaker's bio is added.
        speaker_text: How the speaker is written in front of a turn's text.
        separators: Whether a turn's tokens end with the tokenizer's separator.
        speaker_corpus: Corpus of `speakers`.
        speakers: Names with a row in the global speaker table, in order; None without a table.
        trained_speakers: Names of the training split's speakers.
    """

    utterance_model: str
    utterance_sha256: str | None = None
    utterance_paths: tuple[str, ...] = ()
    memory_encoder: MemoryKind = "none"
    history: HistoryKind = "global"
    history_limit: int = 0
    embedding_width: int | None = None
    observed_labels: int | None = None
    bio: Literal["none", "linear", "attention"] = "none"
    speaker_text: SpeakerText = "none"
    separators: bool = True
    speaker_corpus: str | None = None
    speakers: tuple[str, ...] | None = None
    trained_speakers: tuple[str, ...] = ()

    @property
    def has_memory(self) -> bool:
        """Whether a speaker's past turns are read."""
        return self.memory_encoder != "none" and self.history != "off"

    @property
    def vocabulary(self) -> SpeakerVocabulary | None:
        """The speakers of the global table; None without one."""
        if self.speakers is None or self.speaker_corpus is None:
            return None
        return SpeakerVocabulary(corpus=self.speaker_corpus, names=self.speakers)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able, for `ArtefactInfo.reads`."""
        return {
            name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what `to_dict` gave.

        Raises:
            ArtefactError: If a key is unknown, or the shared classifier is not named.
        """
        known = {one.name for one in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ArtefactError(f"the model's `reads` has unknown keys: {', '.join(unknown)}")
        if "utterance_model" not in values:
            raise ArtefactError("the model's `reads` does not name its utterance_model")
        given: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
        }
        return cls(**given)

    def builder(
        self,
        *,
        tokenizer: PreTrainedTokenizerBase,
        max_tokens: int,
        history: HistoryProvider | None,
        bios: BioProvider | None = None,
        labels: Sequence[str] = (),
        hidden_speakers: float = 0.0,
        person: Person = own_key,
    ) -> TurnBuilder:
        """The `TurnBuilder` of this model; see there for the arguments.

        `history` and `bios` are ignored by a model that does not read them.

        Raises:
            ValueError: If the memory reads observations and their widths are not stored.
        """
        return TurnBuilder(
            tokenizer=tokenizer,
            max_tokens=max_tokens,
            speaker_text=self.speaker_text,
            separators=self.separators,
            speakers=self.vocabulary,
            history=history if self.has_memory else None,
            history_limit=self.history_limit,
            embedding_width=self.embedding_width,
            observed_labels=self.observed_labels,
            memory_texts=self.memory_encoder == "own",
            bios=None if self.bio == "none" else bios,
            labels=labels,
            hidden_speakers=hidden_speakers,
            person=person,
        )
