"""A conversation that is still going on, over what `erc.load` returns."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open

from erc.api.predictor import LoadedPredictor
from erc.data import Conversation, SpeakerPast
from erc.inference.live.conversation import LiveConversation as LiveState
from erc.inference.prediction import Prediction


class LiveConversation:
    """Labels a conversation turn by turn, with the answers that labelling it whole would give.

    With a memory, the speakers' earlier conversations are read. The turns themselves are not kept: pass the
    finished conversation to `predictor.label` with the same `conversation_id` to remember it. Not for use
    from several threads at once.
    """

    def __init__(
        self,
        predictor: LoadedPredictor,
        *,
        conversation_id: str = "live",
        begins: str | None = None,
    ) -> None:
        """Begins a conversation with no turn.

        Args:
            predictor: What `erc.load` returned.
            conversation_id: Names the conversation in predictions and in the memory.
            begins: ISO 8601 moment at which it begins; only what the memory learnt before is read. None: now.

        Raises:
            ConfigError: When the model reads each turn by itself, so that nothing connects the turns.
            InputError: When `begins` is not an ISO 8601 moment.
        """
        self._state = LiveState(
            predictor.predictor,
            conversation_id=conversation_id,
            past=_past(predictor, conversation_id, begins),
        )

    @classmethod
    def load(
        cls, path: str | Path, predictor: LoadedPredictor, *, begins: str | None = None
    ) -> LiveConversation:
        """Continues a conversation that `save` wrote, under its id.

        Raises:
            InputError: When the file holds no conversation or is damaged.
            ArtefactError: When another model wrote it.
            ConfigError: When it was begun with a memory and is continued without one, or the reverse.
        """
        live = cls.__new__(cls)
        live._state = LiveState.load(
            path, predictor.predictor, past=_past(predictor, _saved_id(path), begins)
        )
        return live

    @property
    def conversation_id(self) -> str:
        """The id of the conversation."""
        return self._state.conversation_id

    @property
    def state_bytes(self) -> int:
        """Bytes the model keeps of the conversation."""
        return self._state.state_bytes

    def __len__(self) -> int:
        return len(self._state)

    def append(
        self,
        speaker: str,
        text: str,
        *,
        timestamp: str | None = None,
        start: float | None = None,
        end: float | None = None,
    ) -> Prediction:
        """Labels the next turn. A turn whose label failed, as on a server that is down, can be given again.

        Raises:
            InputError: When the turn has no speaker or no words.
        """
        return self._state.append(speaker, text, timestamp=timestamp, start=start, end=end)

    def save(self, path: str | Path) -> None:
        """Writes the state, so that another process can continue. The file is readable by its owner alone.

        Raises:
            InputError: When `path` cannot be written.
        """
        self._state.save(path)


def _saved_id(path: str | Path) -> str:
    """The id of a saved conversation; for a file that holds none any id, as reading it will fail."""
    try:
        with safe_open(path, framework="pt") as file:
            return str(json.loads((file.metadata() or {})["live"])["conversation_id"])
    except (OSError, SafetensorError, ValueError, KeyError, TypeError):
        return "live"


def _past(predictor: LoadedPredictor, conversation_id: str, begins: str | None) -> SpeakerPast | None:
    """What the memory holds from before the conversation; None without a memory."""
    if predictor.remembering is None:
        return None
    return predictor.remembering.past(Conversation(conversation_id, ()), begins=begins)
