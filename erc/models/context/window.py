"""Context mode `window`: each target is encoded together with its past, as CoMPM and EmoNet do.

A row is one CLS and the last `token_window` tokens of past and target. Turns are separated by the separator
their token ids end with, if they have one. A turn's vector is pooled from the target's tokens and the CLS.
The cost is one long row a turn; the other modes need one pass a conversation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor

from erc.data.windows import TokenWindow, token_window
from erc.models.context.base import ContextEncoder, copies_of, maybe_drawn
from erc.models.context.encoder_rows import Rows, begin_rows, complete_rows
from erc.models.context.layers import AnyEncoder
from erc.models.dropout import Draw
from erc.models.emonet.settings import EmoNetSettings
from erc.models.encoder.batching import pad_tokens
from erc.models.encoder.pooling import Pooling
from erc.models.turn_batch import TurnBatch


class WindowContext(ContextEncoder):
    """Encodes past and target again for each target; a window holds turns of one conversation only.

    Raises:
        ValueError: If the encoder cannot read `token_window` tokens and a CLS.
    """

    in_passes = True

    def __init__(
        self, *, encoder: AnyEncoder, pooling: Pooling = "mean_cls", token_window: int = 256
    ) -> None:
        super().__init__(encoder=encoder, pooling=pooling)
        if token_window + 1 > encoder.max_tokens:
            raise ValueError(
                f"a token window of {token_window} and one CLS exceed the {encoder.max_tokens} tokens "
                "this encoder can read"
            )
        self.token_window = token_window

    @classmethod
    def from_settings(cls, settings: EmoNetSettings, *, encoder: AnyEncoder) -> Self:
        """See `ContextEncoder.from_settings`."""
        return cls(encoder=encoder, pooling=settings.pooling, token_window=settings.token_window)

    def begin(self, batch: TurnBatch, *, split: int) -> list[Rows]:
        """Run the layers below `split` over the window of each turn."""
        return self._begin(self._windows(batch), batch.input_ids.device, split)

    def complete(self, begun: list[Rows], *, split: int, copies: int) -> Tensor:
        """Vectors (copies * U, P) of the turns."""
        return complete_rows(self.encoder, begun, pooling=self.pooling, split=split, copies=copies)

    def append(
        self, turn: TurnBatch, tensors: Mapping[str, Tensor], *, split: int = 0, draw: Draw | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Encode one more turn; the state is the token ids of the past."""
        target = _token_rows(turn)[0]
        earlier: list[int] = tensors["past"].tolist() if tensors else []
        window = token_window([[0, *earlier]], target, limit=self.token_window)
        begun = self._begin([window], turn.input_ids.device, split)
        with maybe_drawn(draw):
            vectors = self.complete(begun, split=split, copies=copies_of(draw))
        past = [*earlier, *target[1:]][-self.token_window :]
        return vectors, {"past": torch.tensor(past, dtype=torch.long)}

    def _windows(self, batch: TurnBatch) -> list[TokenWindow]:
        windows: list[TokenWindow] = []
        past: list[list[int]] = []
        for ids, turn in zip(_token_rows(batch), batch.turn.tolist(), strict=True):
            if turn == 0:
                past = []
            windows.append(token_window(past, ids, limit=self.token_window))
            past.append(ids)
        return windows

    def _begin(self, windows: list[TokenWindow], device: torch.device, split: int) -> list[Rows]:
        input_ids, mask = pad_tokens(
            [window.ids for window in windows], pad_id=int(self.encoder.config.pad_token_id or 0)
        )
        starts = torch.tensor([window.target_start for window in windows])
        own = mask.bool() & (torch.arange(mask.shape[1]) >= starts[:, None])
        own[:, 0] = True  # the CLS is pooled with the target's tokens, as in a single utterance
        return begin_rows(
            self.encoder,
            input_ids=input_ids.to(device),
            mask=mask.to(device),
            pooled=own.to(device),
            split=split,
        )


def _token_rows(batch: TurnBatch) -> list[list[int]]:
    """Token ids of each turn without padding."""
    lengths = batch.attention_mask.sum(1).tolist()
    return [ids[:length] for ids, length in zip(batch.input_ids.tolist(), lengths, strict=True)]
