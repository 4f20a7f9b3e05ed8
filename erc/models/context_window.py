"""`window`: the past of every target is read anew together with it, as CoMPM and EmoNet do.

The last `token_window` tokens of past and target stand behind one CLS; a turn's vector is pooled from the target's own tokens and the
CLS. It costs one long row a turn; the other modes cost one pass a conversation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from erc.data.windows import TokenWindow, token_window
from erc.models.batching import length_buckets, pad_tokens
from erc.models.context_base import ContextEncoder, copies_of, maybe_drawn
from erc.models.context_parts import AnyEncoder
from erc.models.dropout import Draw
from erc.models.encoder import EncoderState
from erc.models.pooling import Pooling, pool
from erc.models.turns import TurnBatch

_ROW_TOKENS = 8_192  # windows that share a pass


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Windows of similar length: which turns, their tokens under a mask, and which are the target's own.

    `state` is what the layers below the sampled ones made of them; None where none are below, for embeddings of a long conversation's
    windows are not to be held all at once.
    """

    rows: list[int]
    input_ids: Tensor
    mask: Tensor
    own: Tensor
    state: EncoderState | None


class WindowContext(ContextEncoder):
    """Re-encodes past and target for each target; a window never reaches over the beginning of its conversation."""

    def __init__(self, *, encoder: AnyEncoder, pooling: Pooling = "mean_cls", token_window: int = 256) -> None:
        super().__init__(encoder=encoder, pooling=pooling)
        if token_window + 1 > encoder.max_tokens:
            raise ValueError(f"a token window of {token_window} and one CLS are more than the {encoder.max_tokens} tokens this encoder can read")
        self.token_window = token_window

    def begin(self, batch: TurnBatch, *, split: int) -> list[_Chunk]:
        return self._start(self._windows(batch), batch.input_ids.device, split)

    def complete(self, begun: list[_Chunk], *, split: int, copies: int) -> Tensor:
        parts = [self._finish(chunk, split, copies) for chunk in begun]
        rows = torch.tensor([row for chunk in begun for row in chunk.rows], device=parts[0].device)
        vectors = torch.cat(parts, dim=1)  # (S, U, P), turns in order of length
        return vectors.index_select(1, torch.argsort(rows)).flatten(0, 1)

    def append(self, turn: TurnBatch, tensors: Mapping[str, Tensor], *, split: int = 0, draw: Draw | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        target = _token_rows(turn)[0]
        earlier: list[int] = tensors["past"].tolist() if tensors else []
        window = token_window([[0, *earlier]], target, limit=self.token_window)
        begun = self._start([window], turn.input_ids.device, split)
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

    def _start(self, windows: list[TokenWindow], device: torch.device, split: int) -> list[_Chunk]:
        pad_id = int(self.encoder.config.pad_token_id or 0)
        chunks = []
        for rows in length_buckets([len(window.ids) for window in windows], max_tokens=_ROW_TOKENS):
            input_ids, mask = pad_tokens([windows[row].ids for row in rows], pad_id=pad_id)
            starts = torch.tensor([windows[row].target_start for row in rows])
            own = mask.bool() & (torch.arange(mask.shape[1]) >= starts[:, None])
            own[:, 0] = True  # the CLS is pooled with the target's tokens, as in an utterance that stands alone
            input_ids, mask = input_ids.to(device), mask.to(device)
            state = self.encoder.run(self.encoder.start(input_ids=input_ids, attention_mask=mask), last=split) if split else None
            chunks.append(_Chunk(rows=rows, input_ids=input_ids, mask=mask, own=own.to(device), state=state))
        return chunks

    def _finish(self, chunk: _Chunk, split: int, copies: int) -> Tensor:
        state = chunk.state or self.encoder.start(input_ids=chunk.input_ids, attention_mask=chunk.mask)
        hidden = self.encoder.finish(self.encoder.run(state.repeat(copies), first=split))
        own = chunk.own.repeat(copies, 1)
        return pool(hidden, own, self.pooling).view(copies, len(chunk.rows), -1)


def _token_rows(batch: TurnBatch) -> list[list[int]]:
    """Each turn's real token ids."""
    lengths = batch.attention_mask.sum(1).tolist()
    return [ids[:length] for ids, length in zip(batch.input_ids.tolist(), lengths, strict=True)]
