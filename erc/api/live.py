"""Live conversations, with a predictor from `erc.load`."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open

from erc.api.predictor import LoadedPredictor
from erc.data import Conversation, SpeakerPast
from erc.inference.live.conversation import LiveConversation as LiveState
from erc.inference.prediction import Prediction


class LiveConversation:
    """Labels a conversation turn by turn, with the same predictions as labelling it whole.

    With a memory, the speakers' earlier conversations are read. The turns themselves are not stored: pass the
    finished conversation to `predictor.label` with the same `conversation_id` to store it. Not thread-safe.
    """

    def __init__(
        self,
        predictor: LoadedPredictor,
        *,
        conversation_id: str = "live",
        begins: str | None = None,
    ) -> None:
        """Starts a conversation without turns.

        Args:
            predictor: A predictor from `erc.load`.
            conversation_id: Names the conversation in predictions and in the memory.
            begins: ISO 8601 start time; only earlier content of the memory is read. None: now.

        Raises:
            ConfigError: When the model reads each turn separately, without context.
            InputError: When `begins` is not an ISO 8601 time.
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
        """Resumes a conversation that `save` wrote, under the same id.

        Raises:
            InputError: When the file holds no conversation or is damaged.
            ArtefactError: When another model wrote it.
            ConfigError: When it was started with a memory and is resumed without one, or the reverse.
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
        """Size of the model's state in bytes."""
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
        """Labels the next turn. A turn that failed, for example because a server is down, can be retried.

        Raises:
            InputError: When the turn has no speaker or no words.
        """
        return self._state.append(speaker, text, timestamp=timestamp, start=start, end=end)

    def save(self, path: str | Path) -> None:
        """Writes the state, so another process can resume. The file is readable by its owner only.

        Raises:
            InputError: When `path` cannot be written.
        """
        self._state.save(path)


def _saved_id(path: str | Path) -> str:
    """The id of a saved conversation; any id for a file without one, because reading it fails later."""
    try:
        with safe_open(path, framework="pt") as file:
            return str(json.loads((file.metadata() or {})["live"])["conversation_id"])
    except (OSError, SafetensorError, ValueError, KeyError, TypeError):
        return "live"


def _past(predictor: LoadedPredictor, conversation_id: str, begins: str | None) -> SpeakerPast | None:
    """The memory's content from before the conversation; None without a memory."""
    if predictor.remembering is None:
        return None
    return predictor.remembering.past(Conversation(conversation_id, ()), begins=begins)
