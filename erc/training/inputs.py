"""What a recipe needs beside the corpus, and how the command hands it in.

Training knows neither the speaker memory nor how labelling reads it. Whoever starts a run makes the supplies
from the splits that the run trains on, with the very parts that label later, so that a prompt in training is
the prompt that labelling would build.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from erc.config import ExperimentConfig
from erc.data.conversation import Conversation
from erc.data.corpora import Corpus
from erc.data.corpora.splits import load_split

if TYPE_CHECKING:  # most runs need neither a language model's parts nor an encoder's
    from erc.llm.prompts.demonstrations import Embed
    from erc.llm.prompts.notes import SpeakerNotes
    from erc.models.turn_builder import BioProvider


class TrainingNotes(Protocol):
    """What the prompts of a corpus may know of its speakers: bios and predicted past emotions, from before each turn only."""

    def of(self, conversation: Conversation, index: int) -> SpeakerNotes:
        """The notes for turn `index`."""
        ...


@dataclass(frozen=True, slots=True)
class TrainingInputs:
    """What a recipe needs beside the corpus.

    `notes` serves bios and history to prompts, `embed` finds demonstrations, `generated` holds texts a
    language model wrote, by task (for characteristics: `speaker_characteristic/oReact`) and by (conversation
    id, index). `bios` gives an encoder the speakers' bios as vectors. `provenance` says by what they were
    made and is recorded with the model.
    """

    notes: TrainingNotes | None = None
    embed: Embed | None = None
    generated: Mapping[str, Mapping[tuple[str, int], str]] = field(default_factory=dict)
    bios: BioProvider | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)


SupplyMaker = Callable[[Corpus, Corpus], TrainingInputs]
"""Makes the supplies of a run from its training and its dev split; called once by each process, the main one first, before any model is loaded."""


def no_supplies(train: Corpus, dev: Corpus) -> TrainingInputs:
    """Nothing beside the corpus."""
    return TrainingInputs()


def load_splits(config: ExperimentConfig) -> tuple[Corpus, Corpus]:
    """The training and the dev split of an experiment, cut to its limits."""
    data, seed = config.data, config.optim.seed
    return (
        load_split(data.corpus, data.train_split, root=data.root, limit=data.train_limit, seed=seed),
        load_split(data.corpus, data.dev_split, root=data.root, limit=data.dev_limit, seed=seed),
    )
