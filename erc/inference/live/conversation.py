"""Live conversations: one turn in, one prediction out, with a state of bounded size.

The state does not grow with the length of the conversation, only by some kilobytes per speaker.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from erc.data import SpeakerPast, Utterance
from erc.errors import ArtefactError, ConfigError, InputError
from erc.files import save_whole
from erc.inference.prediction import Prediction
from erc.inference.predictor import Predictor
from erc.transcripts.assembling import utterance_id

_TENSORS = "tensors"


class LiveConversation:
    """Labels a conversation turn by turn, with the same predictions as labelling it whole.

    The state is bounded: a conversation model keeps its window over the conversation and the last
    observations of each speaker, a language model the part of the dialogue that its prompt holds. A cascade
    keeps both. Models that read each turn by itself are refused.

    Args:
        predictor: The model, as `load_predictor` returns it.
        conversation_id: Id of the conversation in records.
        corpus: Corpus whose speakers the conversation model knows, if it is one of them.
        past: The speakers' past in a speaker memory (`RememberingPredictor.past`, available before the first
            turn).

    Not thread-safe.
    """

    def __init__(
        self,
        predictor: Predictor,
        *,
        conversation_id: str = "live",
        corpus: str | None = None,
        past: SpeakerPast | None = None,
    ) -> None:
        self.predictor = predictor
        self.conversation_id = conversation_id
        self.corpus = corpus
        self._reader = predictor.live(conversation_id, corpus=corpus, past=past)
        self._remembers = past is not None

    def __len__(self) -> int:
        return len(self._reader)

    @property
    def state_bytes(self) -> int:
        """Bytes of the state: the model's tensors, remembered observations, text of the dialogue."""
        return self._reader.nbytes

    def append(
        self,
        speaker: str,
        text: str,
        *,
        timestamp: str | None = None,
        start: float | None = None,
        end: float | None = None,
    ) -> Prediction:
        """Labels the next turn.

        Raises:
            InputError: The turn has no speaker or no words.
        """
        if not speaker.strip():
            raise InputError("a turn needs a speaker")
        if not text.strip():
            raise InputError("a turn needs a text: this one has none; the conversation is unchanged")
        index = len(self)
        utterance = Utterance(
            utterance_id=utterance_id(self.conversation_id, index),
            index=index,
            speaker=speaker,
            text=text,
            start=start,
            end=end,
            timestamp=timestamp,
        )
        return self.append_utterance(utterance)

    def append_utterance(self, utterance: Utterance) -> Prediction:
        """Labels the next turn, whose index must be the number of turns so far.

        If the model fails, for example because its server is down, the turn is not appended and can be
        retried.

        Raises:
            InputError: The index is wrong.
        """
        if utterance.index != len(self):
            raise InputError(
                f"the conversation has {len(self)} turns, so the next one has index {len(self)}, not "
                f"{utterance.index}"
            )
        back = self._reader.snapshot()
        try:
            return self._reader.read(utterance)
        except BaseException:  # both models of a cascade must hold the same turns
            back()
            raise

    def save(self, path: str | Path) -> None:
        """Writes the state to a safetensors file (mode 0600), atomically, to resume it in another process.

        A language model's cache is not written; the first turn after resuming reads the dialogue again.

        Raises:
            InputError: The file cannot be written.
        """
        tensors = {name: value.contiguous().clone() for name, value in self._reader.tensors().items()}
        record = {
            "kind": self._reader.kind,
            "remembers": self._remembers,
            "conversation_id": self.conversation_id,
            "corpus": self.corpus,
            **self._reader.record(),
            _TENSORS: _shapes(tensors),
        }
        path = Path(path)
        try:
            save_whole(tensors, path, metadata={"live": json.dumps(record)}, private=True)
        except (OSError, SafetensorError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise InputError(
                f"the state of the conversation cannot be written ({why}): name another file", path=path
            ) from error

    @classmethod
    def load(
        cls, path: str | Path, predictor: Predictor, *, past: SpeakerPast | None = None
    ) -> LiveConversation:
        """Resumes a conversation that `save` wrote.

        Raises:
            InputError: The file holds no conversation, or is damaged.
            ArtefactError: Another model wrote it.
            ConfigError: The predictions would change: the sampling settings differ, or only one of the two
                runs has a speaker memory.
        """
        path = Path(path)
        record, tensors = _read(path)
        identifier = str(record.get("conversation_id", "live"))
        live = cls(predictor, conversation_id=identifier, corpus=record.get("corpus"), past=past)
        if record.get("kind") != live._reader.kind:
            raise ArtefactError(
                f"{path} holds the state of another kind of model: label the conversation again with "
                f"{predictor.scorer.identity}"
            )
        if bool(record.get("remembers")) != live._remembers:
            begun, now = ("with", "without") if record.get("remembers") else ("without", "with")
            raise ConfigError(
                f"{path} was begun {begun} a speaker memory and would continue {now} one: its answers would "
                "change"
            )
        try:
            live._reader.restore(record, tensors, path=path)
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise _damaged(path) from error
        return live


def _read(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Record and tensors of a saved conversation."""
    try:
        with safe_open(path, framework="pt") as file:
            record = (file.metadata() or {}).get("live")
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"cannot be read as the state of a live conversation: {error}", path=path) from error
    if record is None:
        raise InputError("holds no state of a live conversation", path=path)
    try:
        found = json.loads(record)
        whole = found[_TENSORS] == _shapes(tensors)
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path) from error
    if not whole:
        raise _damaged(path)
    return found, tensors


def _shapes(tensors: Mapping[str, torch.Tensor]) -> dict[str, list[int]]:
    """Names and shapes of the tensors, to detect a missing one."""
    return {name: list(value.shape) for name, value in tensors.items()}


def _damaged(path: Path) -> InputError:
    return InputError(
        "is damaged: what belongs to the state of a live conversation is missing or changed. Label the "
        "conversation again",
        path=path,
    )
