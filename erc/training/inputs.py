"""Training inputs besides the corpus: notes on speakers, demonstrations, generated texts and bios.

Training does not import the speaker memory. The caller of a run makes these inputs from the run's splits with
the code that is used for labelling. So prompts are the same in training and in labelling.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from erc.config import ExperimentConfig
from erc.data.conversation import Conversation
from erc.data.corpora import Corpus
from erc.data.corpora.splits import load_split

if TYPE_CHECKING:  # so that a run imports only the modules of its own task
    from erc.llm.prompts.demonstrations import Embed
    from erc.llm.prompts.notes import SpeakerNotes
    from erc.models.turn_builder import BioProvider


class TrainingNotes(Protocol):
    """Notes on the speakers of a corpus for prompts: bios and predicted emotions from before each turn."""

    def of(self, conversation: Conversation, index: int) -> SpeakerNotes:
        """The notes for turn `index`."""
        ...


@dataclass(frozen=True, slots=True)
class TrainingInputs:
    """Training inputs of a recipe besides the corpus.

    Attributes:
        notes: Bios and history for prompts.
        embed: Embeds texts to find demonstrations.
        generated: Texts that a language model wrote, by task (for characteristics:
            `speaker_characteristic/oReact`) and then by (conversation id, index).
        bios: Bios of the speakers as vectors, for an encoder.
        provenance: Names and digests of the models that made these inputs; recorded with the model.
    """

    notes: TrainingNotes | None = None
    embed: Embed | None = None
    generated: Mapping[str, Mapping[tuple[str, int], str]] = field(default_factory=dict)
    bios: BioProvider | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)


InputMaker = Callable[[Corpus, Corpus], TrainingInputs]
"""Makes the inputs of a run from its training and dev split.

Every process calls it once before a model is loaded, the main process first.
"""


def no_inputs(train: Corpus, dev: Corpus) -> TrainingInputs:
    """No inputs besides the corpus."""
    return TrainingInputs()


def load_splits(config: ExperimentConfig) -> tuple[Corpus, Corpus]:
    """The training and the dev split of an experiment, within its limits.

    Raises:
        ConfigError: For an unknown corpus or split, or without a data root.
        InputError: For a corpus that cannot be read.
    """
    data, seed = config.data, config.optim.seed
    return (
        load_split(data.corpus, data.train_split, root=data.root, limit=data.train_limit, seed=seed),
        load_split(data.corpus, data.dev_split, root=data.root, limit=data.dev_limit, seed=seed),
    )
