"""The contract of the context encoders: turns in, one causal vector a turn out, all at once or turn by turn.

Shapes: U turns, S drawn networks, P width of a turn's vector.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from erc.models.context.layers import AnyEncoder
from erc.models.dropout import Draw, drawn
from erc.models.encoder.pooling import Pooling, pooled_width
from erc.models.turn_batch import TurnBatch


class ContextEncoder(nn.Module, ABC):
    """Encodes each turn with what came before it in its conversation, and never with what came after.

    A pass has two halves, so that Monte-Carlo samples can share what is below the sampled layers: `begin`
    runs the encoder's first `split` layers, `complete` the rest for `copies` networks. `append` answers one
    more turn of a live conversation from the tensors the turn before left, the same as the batch would.
    """

    in_passes = False
    """Whether a batch goes through the encoder in passes of similar length: then a large batch costs no memory and less padding."""

    def __init__(self, *, encoder: AnyEncoder, pooling: Pooling) -> None:
        super().__init__()
        self.encoder = encoder
        self.pooling: Pooling = pooling
        self.width = pooled_width(encoder.hidden_size, pooling)

    def forward(self, batch: TurnBatch) -> Tensor:
        """Vectors (U, P) of all turns."""
        return self.complete(self.begin(batch, split=0), split=0, copies=1)

    @abstractmethod
    def begin(self, batch: TurnBatch, *, split: int) -> Any:
        """Runs the encoder's layers below `split`; what it gives is for `complete` alone."""

    @abstractmethod
    def complete(self, begun: Any, *, split: int, copies: int) -> Tensor:
        """The rest of the pass for `copies` networks, sample-major: (copies * U, P)."""

    @abstractmethod
    def append(
        self, turn: TurnBatch, tensors: Mapping[str, Tensor], *, split: int = 0, draw: Draw | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The vector of one more turn, (S, P), and the tensors that the next turn needs; an empty mapping begins a conversation.

        With a `draw`, the layers from `split` on are sampled and S is its number of samples; it must be the
        same all along.
        """


@contextmanager
def maybe_drawn(draw: Draw | None) -> Iterator[None]:
    """Under `draw` where there is one."""
    if draw is None:
        yield
    else:
        with drawn(draw):
            yield


def copies_of(draw: Draw | None) -> int:
    """How many networks a draw holds; a deterministic pass is one."""
    return 1 if draw is None else len(draw.samples)
