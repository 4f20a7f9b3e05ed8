"""The table of conversation models: how each kind scores, and how it reads a live conversation.

A new kind is one entry here; `docs/extending.md` lists its other entries.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from erc.data import SpeakerPast
from erc.errors import ConfigError
from erc.inference.live.emonet import LiveEmoNet
from erc.inference.scorers.emonet import EmoNetScorer
from erc.inference.scorers.scores import ConversationScorer, LiveTurns
from erc.inference.scorers.settings import InferenceSettings
from erc.inference.scorers.utterance import UtteranceScorer

if TYPE_CHECKING:
    from erc.persistence.artefact import Artefact


class MakeScorer(Protocol):
    """Makes the scorer of an artefact; `target` names the emotion set to report in."""

    def __call__(
        self,
        artefact: Artefact,
        *,
        utterance: UtteranceScorer,
        settings: InferenceSettings | None = None,
        target: str | None = None,
    ) -> ConversationScorer:
        """The scorer over the shared classifier `utterance`."""
        ...


class MakeLive(Protocol):
    """Makes the empty state of a scorer in one live conversation."""

    def __call__(
        self, scorer: Any, *, conversation_id: str, corpus: str | None, past: SpeakerPast | None
    ) -> LiveTurns:
        """The state before the first turn."""
        ...


@dataclass(frozen=True, slots=True)
class ConversationModel:
    """A kind of conversation model. `scorer` is None if it is not made from an artefact folder."""

    live: MakeLive
    scorer: MakeScorer | None = None


def _live_llm(
    scorer: Any, *, conversation_id: str, corpus: str | None, past: SpeakerPast | None
) -> LiveTurns:
    # Imported here because the language-model path needs more packages than the small models.
    from erc.inference.live.llm import LiveLlm

    return LiveLlm(scorer, conversation_id=conversation_id, past=past)


CONVERSATION_MODELS: dict[str, ConversationModel] = {
    "emonet": ConversationModel(live=LiveEmoNet, scorer=EmoNetScorer),
    "llm": ConversationModel(live=_live_llm),
}
"""By kind, as an artefact's description and `ConversationScorer.kind` name it."""


def make_scorer(
    artefact: Artefact,
    *,
    utterance: UtteranceScorer,
    settings: InferenceSettings | None = None,
    target: str | None = None,
) -> ConversationScorer:
    """The scorer of a conversation model's artefact.

    Raises:
        ConfigError: No conversation model of this kind is made from an artefact.
        ArtefactError: The artefact cannot be used.
    """
    entry = CONVERSATION_MODELS.get(artefact.info.kind)
    if entry is None or entry.scorer is None:
        known = ", ".join(sorted(kind for kind, one in CONVERSATION_MODELS.items() if one.scorer is not None))
        raise ConfigError(f"{artefact.info.identity} is of kind '{artefact.info.kind}', not one of: {known}")
    return entry.scorer(artefact, utterance=utterance, settings=settings, target=target)


def live_turns(
    scorer: ConversationScorer, conversation_id: str, *, corpus: str | None, past: SpeakerPast | None
) -> LiveTurns:
    """The empty state of a scorer in one live conversation.

    Raises:
        ConfigError: The scorer reads each turn by itself.
    """
    entry = CONVERSATION_MODELS.get(scorer.kind)
    if entry is None:
        raise ConfigError(
            f"{scorer.identity} reads each turn by itself: a live conversation needs a conversation model or "
            "a language model"
        )
    return entry.live(scorer, conversation_id=conversation_id, corpus=corpus, past=past)
