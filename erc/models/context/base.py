"""The interface of the context encoders: turns to one causal vector a turn, at once or turn by turn.

Shapes: U turns, S drawn networks, P width of a turn's vector.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

from torch import Tensor, nn

from erc.models.context.layers import AnyEncoder
from erc.models.dropout import Draw, drawn
from erc.models.emonet.settings import EmoNetSettings
from erc.models.encoder.pooling import Pooling, pooled_width
from erc.models.turn_batch import TurnBatch


class ContextEncoder(nn.Module, ABC):
    """Encodes each turn with the turns before it in its conversation, never with later ones.

    A pass has two halves, so that Monte-Carlo samples share the layers that are not sampled. `begin` runs the
    encoder's first `split` layers, `complete` the rest for `copies` networks. `append` encodes one more turn
    of a live conversation from the state of the turn before; its result equals that of the batch.
    """

    in_passes = False
    """Whether a batch is encoded in passes of similar length, so that a large batch needs no more memory."""

    def __init__(self, *, encoder: AnyEncoder, pooling: Pooling) -> None:
        super().__init__()
        self.encoder = encoder
        self.pooling: Pooling = pooling
        self.width = pooled_width(encoder.hidden_size, pooling)

    @classmethod
    @abstractmethod
    def from_settings(cls, settings: EmoNetSettings, *, encoder: AnyEncoder) -> Self:
        """Build the context encoder over `encoder` from the fields of `settings` that belong to it.

        Raises:
            ValueError: If the encoder cannot read as many tokens as the settings ask for.
        """

    def forward(self, batch: TurnBatch) -> Tensor:
        """Vectors (U, P) of all turns."""
        return self.complete(self.begin(batch, split=0), split=0, copies=1)

    @abstractmethod
    def begin(self, batch: TurnBatch, *, split: int) -> Any:
        """Run the encoder's layers below `split`; only `complete` reads the result."""

    @abstractmethod
    def complete(self, begun: Any, *, split: int, copies: int) -> Tensor:
        """Run the rest of the pass for `copies` networks, sample-major: (copies * U, P)."""

    @abstractmethod
    def append(
        self, turn: TurnBatch, tensors: Mapping[str, Tensor], *, split: int = 0, draw: Draw | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Encode one more turn of a live conversation.

        Args:
            turn: The turn.
            tensors: What the call for the turn before returned; empty for the first turn.
            split: First layer that is sampled under a `draw`.
            draw: The drawn networks; the same for all turns of a conversation. None for a deterministic pass.

        Returns:
            The turn's vectors (S, P), and the tensors for the next call.
        """


@contextmanager
def maybe_drawn(draw: Draw | None) -> Iterator[None]:
    """Apply `draw` within the block; None applies nothing."""
    if draw is None:
        yield
    else:
        with drawn(draw):
            yield


def copies_of(draw: Draw | None) -> int:
    """Number of networks in a draw; 1 for a deterministic pass."""
    return 1 if draw is None else len(draw.samples)
