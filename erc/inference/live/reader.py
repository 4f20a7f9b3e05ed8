"""Predictions of a live conversation, one turn at a time, by one model or by a cascade of two."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from erc.data import Utterance
from erc.errors import ConfigError
from erc.inference.prediction import Prediction, answered_by
from erc.inference.scorers.scores import LiveTurns, Scores
from erc.uncertainty.policy import REVIEW

if TYPE_CHECKING:
    from torch import Tensor

Decide = Callable[[Utterance, Scores], Prediction]
"""The prediction for a turn from its scores."""
_SECOND = "second"


class LiveReader(Protocol):
    """Reads a live conversation; the methods are those of `LiveTurns`, with predictions instead of scores."""

    @property
    def kind(self) -> str:
        """Kind of the model, as a saved file names it."""
        ...

    def __len__(self) -> int:
        """Turns so far."""
        ...

    @property
    def nbytes(self) -> int:
        """Size of the state in bytes."""
        ...

    def read(self, utterance: Utterance) -> Prediction:
        """Labels the next turn and appends it to the past."""
        ...

    def snapshot(self) -> Callable[[], None]:
        """Records the state; the returned function restores it."""
        ...

    def record(self) -> dict[str, Any]:
        """The state without its tensors, JSON-able."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """The tensors of the state that a file keeps."""
        ...

    def restore(self, record: Mapping[str, Any], tensors: Mapping[str, Tensor], *, path: Path) -> None:
        """Restores the state that a file at `path` holds; errors as `LiveTurns.restore`."""
        ...


class SingleReader:
    """Reads a live conversation with one model."""

    def __init__(self, turns: LiveTurns, decide: Decide) -> None:
        self.turns = turns
        self._decide = decide

    @property
    def kind(self) -> str:
        """Kind of the model."""
        return self.turns.kind

    def __len__(self) -> int:
        return len(self.turns)

    @property
    def nbytes(self) -> int:
        """Size of the state in bytes."""
        return self.turns.nbytes

    def read(self, utterance: Utterance) -> Prediction:
        """Labels the next turn."""
        return self._decide(utterance, self.turns.read(utterance))

    def snapshot(self) -> Callable[[], None]:
        """Records the state; the returned function restores it."""
        return self.turns.snapshot()

    def record(self) -> dict[str, Any]:
        """The state of the model."""
        return self.turns.record()

    def tensors(self) -> dict[str, Tensor]:
        """The tensors of the model's state."""
        return self.turns.tensors()

    def restore(self, record: Mapping[str, Any], tensors: Mapping[str, Tensor], *, path: Path) -> None:
        """Restores the state of one model.

        Raises:
            ConfigError: A cascade wrote the file.
        """
        if _SECOND in record:
            raise ConfigError(
                f"{path} was begun with a second model: continue with one, or its answers would change"
            )
        self.turns.restore(record, tensors, path=path)


class CascadeReader:
    """Reads a live conversation with two models: `second` labels the turns that `first` marks for review."""

    def __init__(self, first: SingleReader, second: SingleReader) -> None:
        self.first = first
        self.second = second

    @property
    def kind(self) -> str:
        """Kind of the first model."""
        return self.first.kind

    def __len__(self) -> int:
        return len(self.first)

    @property
    def nbytes(self) -> int:
        """Size of both states in bytes."""
        return self.first.nbytes + self.second.nbytes

    def read(self, utterance: Utterance) -> Prediction:
        """Labels the next turn; both models append it to their past."""
        prediction = self.first.read(utterance)
        if prediction.decision != REVIEW:
            self.second.turns.pass_over(utterance)
            return prediction
        return answered_by(prediction, self.second.read(utterance))

    def snapshot(self) -> Callable[[], None]:
        """Records both states; the returned function restores them."""
        backs = [self.first.snapshot(), self.second.snapshot()]

        def back() -> None:
            for undo in backs:
                undo()

        return back

    def record(self) -> dict[str, Any]:
        """Both states."""
        return {**self.first.record(), _SECOND: self.second.record()}

    def tensors(self) -> dict[str, Tensor]:
        """The tensors of the first model's state; the second rebuilds its own from the text."""
        return self.first.tensors()

    def restore(self, record: Mapping[str, Any], tensors: Mapping[str, Tensor], *, path: Path) -> None:
        """Restores both states.

        Raises:
            ConfigError: A single model wrote the file.
            ValueError: The two states differ in their number of turns.
        """
        if _SECOND not in record:
            raise ConfigError(
                f"{path} was begun without a second model: continue without, or its answers would change"
            )
        first = {name: value for name, value in record.items() if name != _SECOND}
        self.first.restore(first, tensors, path=path)
        self.second.restore(record[_SECOND], {}, path=path)
        if len(self.first) != len(self.second):
            raise ValueError(f"{path} holds different turns for its two models")
