"""`window`: the past of every target is read anew together with it, as CoMPM and EmoNet do.

The last `token_window` tokens of past and target stand behind one CLS; a turn's vector is pooled from the
target's own tokens and the CLS. It costs one long row a turn; the other modes cost one pass a conversation.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from erc.data.windows import TokenWindow, token_window
from erc.models.context.base import ContextEncoder, copies_of, maybe_drawn
from erc.models.context.encoder_rows import Rows, begin_rows, complete_rows
from erc.models.context.layers import AnyEncoder
from erc.models.dropout import Draw
from erc.models.encoder.batching import pad_tokens
from erc.models.encoder.pooling import Pooling
from erc.models.turn_batch import TurnBatch


class WindowContext(ContextEncoder):
    """Re-encodes past and target for each target; a window never reaches over the beginning of its conversation."""

    in_passes = True

    def __init__(
        self, *, encoder: AnyEncoder, pooling: Pooling = "mean_cls", token_window: int = 256
    ) -> None:
        super().__init__(encoder=encoder, pooling=pooling)
        if token_window + 1 > encoder.max_tokens:
            raise ValueError(
                f"a token window of {token_window} and one CLS are more than the {encoder.max_tokens} tokens this encoder can read"
            )
        self.token_window = token_window

    def begin(self, batch: TurnBatch, *, split: int) -> list[Rows]:
        return self._begin(self._windows(batch), batch.input_ids.device, split)

    def complete(self, begun: list[Rows], *, split: int, copies: int) -> Tensor:
        return complete_rows(self.encoder, begun, pooling=self.pooling, split=split, copies=copies)

    def append(
        self, turn: TurnBatch, tensors: Mapping[str, Tensor], *, split: int = 0, draw: Draw | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
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
        own[:, 0] = True  # the CLS is pooled with the target's tokens, as in an utterance that stands alone
        return begin_rows(
            self.encoder,
            input_ids=input_ids.to(device),
            mask=mask.to(device),
            pooled=own.to(device),
            split=split,
        )


def _token_rows(batch: TurnBatch) -> list[list[int]]:
    """Each turn's real token ids."""
    lengths = batch.attention_mask.sum(1).tolist()
    return [ids[:length] for ids, length in zip(batch.input_ids.tolist(), lengths, strict=True)]
