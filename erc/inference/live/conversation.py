"""A conversation that is still going on: one turn in, one prediction out, with a state whose size does not grow with its length.

It grows with the number of its speakers, by some kilobytes each, and by nothing else.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from erc.data import Utterance
from erc.errors import ArtefactError, ConfigError, InputError
from erc.files import part_of
from erc.inference.live.emonet import LiveEmoNet
from erc.inference.prediction import Prediction, answered_by
from erc.inference.predictor import Predictor
from erc.inference.scorers.emonet import EmoNetScorer
from erc.inference.scorers.history import StoredPast
from erc.inference.scorers.scores import Scores
from erc.transcripts.assembling import utterance_id
from erc.uncertainty.policy import REVIEW

if TYPE_CHECKING:
    from erc.inference.live.llm import LiveLlm
    from erc.inference.scorers.llm_model import StoredNotes


_TENSORS = "tensors"


class LiveTurns(Protocol):
    """What a kind of model keeps of one conversation; `kind` names it in a file."""

    kind: str

    def __len__(self) -> int:
        """Turns so far."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes kept."""
        ...

    def read(self, utterance: Utterance) -> Scores:
        """Belief about the next turn, which then belongs to the past."""
        ...

    def snapshot(self) -> Callable[[], None]:
        """Takes note of where the conversation stands; what is returned goes back there."""
        ...

    def record(self) -> dict[str, Any]:
        """The state without its tensors, for a JSON file."""
        ...

    def tensors(self) -> dict[str, torch.Tensor]:
        """The tensors of the state that a file keeps."""
        ...

    def restore(self, record: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], *, path: Path) -> None:
        """Goes on from what a file at `path` holds. Raises ArtefactError or ConfigError where that would change the answers.

        KeyError, TypeError or ValueError say that the file is damaged.
        """
        ...


class LiveConversation:
    """Labels a conversation turn by turn, with the answers that labelling it whole would give.

    A conversation model keeps its window over the conversation and the last observations of each speaker; a
    language model what it has read of the dialogue as far as its prompt reaches, or, where it runs on a
    server, the words alone. `state_bytes` tells the size. A model that reads turns by themselves has no state
    at all and is refused. Of a cascade both models follow the conversation. `stored` is what a speaker memory
    knows for a conversation model, `notes` for a language model (`RememberingPredictor.stored_past` and
    `stored_notes` give them, also before the first turn). Not for use from several threads at once.
    """

    def __init__(
        self,
        predictor: Predictor,
        *,
        conversation_id: str = "live",
        corpus: str | None = None,
        stored: StoredPast | None = None,
        notes: StoredNotes | None = None,
    ) -> None:
        self.predictor = predictor
        self.conversation_id = conversation_id
        self.corpus = corpus
        self._second = _second_of(predictor, conversation_id=conversation_id, notes=notes)
        first_notes = notes if self._second is None else None
        self._state = _state_of(
            predictor, conversation_id=conversation_id, corpus=corpus, stored=stored, notes=first_notes
        )
        self._remembers = [
            name for name, memory in (("stored", stored), ("notes", notes)) if memory is not None
        ]

    def __len__(self) -> int:
        return len(self._state)

    @property
    def state_bytes(self) -> int:
        """Bytes of the state: tensors of the model, remembered observations, words of the dialogue."""
        return self._state.nbytes + (0 if self._second is None else self._second.nbytes)

    def append(
        self,
        speaker: str,
        text: str,
        *,
        timestamp: str | None = None,
        start: float | None = None,
        end: float | None = None,
    ) -> Prediction:
        """Labels the next turn. Raises InputError for one without a speaker or without words, which readers of files pass over."""
        if not speaker.strip():
            raise InputError("a turn needs a speaker")
        if not text.strip():
            raise InputError("a turn needs a text: this one has none, and the conversation stands as it was")
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
        """Labels the next turn, given as an utterance whose index is the number of turns so far.

        Where a model fails, such as one on a server that is down, the turn is not taken: it can be given
        again.
        """
        if utterance.index != len(self):
            raise InputError(
                f"the conversation has {len(self)} turns, so the next one has index {len(self)}, not {utterance.index}"
            )
        back = [state.snapshot() for state in (self._state, self._second) if state is not None]
        try:
            return self._read(utterance)
        except BaseException:  # of a cascade both models must hold the same turns, whatever came between
            for undo in back:
                undo()
            raise

    def _read(self, utterance: Utterance) -> Prediction:
        turn = [(self.conversation_id, utterance)]
        prediction = self.predictor.predictions(turn, self._state.read(utterance))[0]
        if self._second is None:
            return prediction
        if prediction.decision != REVIEW:
            self._second.pass_over(utterance)
            return prediction
        answer = self.predictor.second.predictions(turn, self._second.read(utterance))[0]  # type: ignore[attr-defined]
        return answered_by(prediction, answer)

    def save(self, path: str | Path) -> None:
        """Writes the state as safetensors, so that the conversation can go on in another process.

        Of a language model the words are kept and not what it made of them: the first turn afterwards reads
        them again. The file is complete or as it was, and readable by its owner alone. Raises InputError for
        a place that cannot be written to.
        """
        tensors = {name: value.contiguous().clone() for name, value in self._state.tensors().items()}
        record = {
            "kind": self._state.kind,
            "remembers": self._remembers,
            "conversation_id": self.conversation_id,
            "corpus": self.corpus,
            **self._state.record(),
            **({} if self._second is None else {"second": self._second.record()}),
            _TENSORS: _shapes(tensors),
        }
        path = Path(path)
        part = part_of(path)
        try:
            part.touch(mode=0o600)
            save_file(tensors, part, metadata={"live": json.dumps(record)})
            os.replace(part, path)
        except (OSError, SafetensorError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise InputError(
                f"the state of the conversation cannot be written there ({why}): name a file that can be",
                path=path,
            ) from error
        finally:
            with suppress(OSError):  # there may not even be a folder
                part.unlink()

    @classmethod
    def load(
        cls,
        path: str | Path,
        predictor: Predictor,
        *,
        stored: StoredPast | None = None,
        notes: StoredNotes | None = None,
    ) -> LiveConversation:
        """Goes on with a conversation that `save` wrote.

        Raises InputError for a file that holds none or is damaged, ArtefactError where another model wrote
        it, and ConfigError where this predictor samples networks whose past the file does not hold, or where
        a speaker memory (`stored`, `notes`) was read before and now is not, or the reverse.
        """
        path = Path(path)
        record, tensors = _read(path)
        identifier = str(record.get("conversation_id", "live"))
        live = cls(
            predictor, conversation_id=identifier, corpus=record.get("corpus"), stored=stored, notes=notes
        )
        if record.get("kind", LiveEmoNet.kind) != live._state.kind:
            raise ArtefactError(
                f"{path} holds the state of another kind of model: label the conversation again with {predictor.scorer.identity}"
            )
        begun_with = record.get("remembers") or []
        if begun_with != live._remembers:
            given, wanted = (" and ".join(names) or "none" for names in (live._remembers, begun_with))
            raise ConfigError(
                f"{path} was begun with a speaker memory as {wanted}, and would go on with {given}: its answers would change on the way"
            )
        if ("second" in record) != (live._second is not None):
            begun = "with" if "second" in record else "without"
            raise ConfigError(
                f"{path} was begun {begun} a second model: go on {begun} one, or its answers would change on the way"
            )
        try:
            live._state.restore(record, tensors, path=path)
            if live._second is not None:
                live._second.restore(record["second"], {}, path=path)
                if len(live._second) != len(live._state):
                    raise ValueError(f"{path} holds different turns for its two models")
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise _damaged(path) from error
        return live


def _second_of(predictor: Predictor, *, conversation_id: str, notes: StoredNotes | None) -> LiveLlm | None:
    """The state of the language model behind a cascade; None for a single model."""
    if not isinstance(getattr(predictor, "second", None), Predictor):
        return None
    from erc.inference.live.llm import LiveLlm

    return LiveLlm(predictor.second.scorer, conversation_id=conversation_id, notes=notes)  # type: ignore[attr-defined]


def _state_of(
    predictor: Predictor,
    *,
    conversation_id: str,
    corpus: str | None,
    stored: StoredPast | None,
    notes: StoredNotes | None,
) -> LiveTurns:
    """The empty state of the predictor's model. Raises ConfigError for a model without one, and for a memory of the wrong kind."""
    scorer = predictor.scorer
    if isinstance(scorer, EmoNetScorer):
        if notes is not None:
            raise ConfigError(
                f"notes are for a language model; {scorer.identity} reads a speaker memory as `stored`"
            )
        return LiveEmoNet(scorer, conversation_id=conversation_id, corpus=corpus, stored=stored)
    from erc.inference.live.llm import LiveLlm
    from erc.inference.scorers.llm import LlmScorer

    if not isinstance(scorer, LlmScorer):
        raise ConfigError(
            f"{scorer.identity} reads turns by themselves: a live conversation needs a conversation model or a language model"
        )
    if stored is not None:
        raise ConfigError(
            f"{scorer.identity} is a language model, which reads a speaker memory as `notes`, not as `stored`"
        )
    return LiveLlm(scorer, conversation_id=conversation_id, notes=notes)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """The record and the tensors of a saved conversation."""
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
    """Which tensors a file holds: without one of them the conversation would go on as if part of it had never been."""
    return {name: list(value.shape) for name, value in tensors.items()}


def _damaged(path: Path) -> InputError:
    return InputError(
        "is damaged: what belongs to the state of a live conversation is missing or changed. Label the conversation again",
        path=path,
    )
