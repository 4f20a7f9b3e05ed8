"""The shared utterance classifier: one encoder pass, one independent sigmoid per emotion.

Shapes: B utterances, T tokens, D hidden width, P pooled width, C emotions, S samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from erc.models.dropout import Draw, SeededDropout, drawn, require_dropout
from erc.models.encoder import Encoder
from erc.models.pooling import Pooling, pool, pooled_width

McMode = Literal["head", "top-k", "full"]
_HEAD_SITE = 10_000  # head dropouts are numbered apart, so that a deeper encoder does not change their masks

_FEW_ROWS = 32


@dataclass(frozen=True, slots=True)
class UtteranceOutput:
    """What one pass gives: logits (B, C) and the pooled embedding (B, P) the head read."""

    logits: Tensor
    embedding: Tensor


class EmotionHead(nn.Module):
    """Dropout, Linear, GELU, dropout, Linear: pooled (B, P) -> logits (B, C)."""

    def __init__(self, *, width: int, hidden: int, emotions: int, dropout: float, site: int = _HEAD_SITE) -> None:
        super().__init__()
        self.input_dropout = SeededDropout(dropout, site=site)
        self.dense = nn.Linear(width, hidden)
        self.hidden_dropout = SeededDropout(dropout, site=site + 1)
        self.output = nn.Linear(hidden, emotions)

    def forward(self, pooled: Tensor) -> Tensor:
        return self.output(self.hidden_dropout(F.gelu(self.dense(self.input_dropout(pooled)))))

    @torch.no_grad()
    def sample(self, pooled: Tensor, *, n_samples: int, seed: int) -> Tensor:
        """Logits (S, B, C) of S drawn networks over pooled (B, W): those of `forward` under the same draw.

        A network that leaves out few inputs sums all of them less those few. The sum of all is the same for every network, so that only
        the few are multiplied S times; for a handful of rows, or a dropout of more than a third, it would not pay.
        """
        draw = Draw(seed=seed, samples=tuple(range(n_samples)))
        with drawn(draw):
            if len(pooled) < _FEW_ROWS or not 0.0 < self.input_dropout.p < 1 / 3:
                logits = self(pooled.repeat(n_samples, 1))
            else:
                index, real = draw.dropped(site=self.input_dropout.site, features=pooled.shape[1], p=self.input_dropout.p)
                index, scale = index.to(pooled.device), 1.0 / (1.0 - self.input_dropout.p)
                weights = self.dense.weight.t()[index] * (real.to(pooled) * scale).unsqueeze(2)  # (S, K, H)
                everything = F.linear(pooled, self.dense.weight * scale, self.dense.bias).expand(n_samples, -1, -1)
                kept = torch.baddbmm(everything, pooled.t()[index].transpose(1, 2), weights, alpha=-1.0)
                # The masks of the second dropout go into the weights behind it, which are fewer than what it would mask.
                behind = self.hidden_dropout(self.output.weight.repeat(n_samples, 1)).view(n_samples, -1, kept.shape[2])
                logits = torch.baddbmm(self.output.bias, F.gelu(kept), behind.transpose(1, 2))
        return logits.view(n_samples, len(pooled), -1)


class UtteranceClassifier(nn.Module):
    """An encoder, a pooling and a head over C emotions."""

    def __init__(
        self, *, encoder: Encoder, emotions: int, pooling: Pooling = "mean_cls", head_hidden: int | None = None, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.pooling: Pooling = pooling
        width = pooled_width(encoder.hidden_size, pooling)
        self.head = EmotionHead(width=width, hidden=head_hidden or encoder.hidden_size, emotions=emotions, dropout=dropout)

    @property
    def embedding_width(self) -> int:
        """P, the width of `UtteranceOutput.embedding`."""
        return pooled_width(self.encoder.hidden_size, self.pooling)

    def forward(self, *, input_ids: Tensor, attention_mask: Tensor) -> UtteranceOutput:
        """input_ids and attention_mask (B, T) -> logits (B, C), embedding (B, P)."""
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask)
        pooled = pool(hidden, attention_mask, self.pooling)
        return UtteranceOutput(logits=self.head(pooled), embedding=pooled)

    def mc_head(self, embedding: Tensor, *, n_samples: int, seed: int) -> Tensor:
        """Samples of the head alone over an embedding (B, P) already at hand: logits (S, B, C)."""
        require_dropout(self.head, name="this head")
        return self.head.sample(embedding, n_samples=n_samples, seed=seed)

    @torch.no_grad()
    def mc_forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        n_samples: int,
        max_batch_size: int = 256,
        seed: int = 0,
        mode: McMode = "head",
        top_k: int = 1,
    ) -> Tensor:
        """Monte-Carlo-dropout logits, shape (S, B, C), for input_ids and attention_mask of shape (B, T).

        `mode` says what is sampled: `full` every dropout of the encoder's layers and of the head, `top-k` those of the `top_k` upper
        layers and of the head (the layers below are computed once), `head` those of the head. Sample s of a seed is the same network
        for every utterance, so the answer does not depend on the batch, its order or `max_batch_size` (rows per pass). The model must
        be in evaluation mode, and is left as it was. Raises NoDropoutError for a model without dropout, ValueError for an unknown mode
        and for n_samples or top_k below 1.
        """
        if n_samples < 1:
            raise ValueError(f"n_samples={n_samples}: at least one sample is needed")
        if mode not in get_args(McMode):
            raise ValueError(f"mode={mode!r}: use one of {', '.join(get_args(McMode))}")
        if top_k < 1:
            raise ValueError(f"top_k={top_k}: at least one layer must be sampled, or use mode='head'")
        if self.training:
            raise RuntimeError("mc_forward needs the model in evaluation mode: call model.eval() first")
        require_dropout(self.head if mode == "head" else self, name="this model")
        rows = input_ids.shape[0]
        chunk = max(1, min(rows, max_batch_size))
        if mode == "head":
            cuts = [slice(first, first + chunk) for first in range(0, rows, chunk)]
            embedding = torch.cat([self(input_ids=input_ids[cut], attention_mask=attention_mask[cut]).embedding for cut in cuts])
            return self.mc_head(embedding, n_samples=n_samples, seed=seed)
        layers = len(self.encoder.layers)
        split = 0 if mode == "full" else max(0, layers - top_k)
        # Utterances first, then samples: the shared prefix of an utterance chunk is computed once.
        samples_at_once = max(1, max_batch_size // chunk)
        logits = []
        for first in range(0, rows, chunk):
            ids, mask = input_ids[first : first + chunk], attention_mask[first : first + chunk]
            prefix = self.encoder.run(self.encoder.start(input_ids=ids, attention_mask=mask), last=split)
            parts = []
            for start in range(0, n_samples, samples_at_once):
                samples = tuple(range(start, min(n_samples, start + samples_at_once)))
                with drawn(Draw(seed=seed, samples=samples)):
                    hidden = self.encoder.finish(self.encoder.run(prefix.repeat(len(samples)), first=split))
                    pooled = pool(hidden, mask.repeat(len(samples), 1), self.pooling)
                    parts.append(self.head(pooled).view(len(samples), ids.shape[0], -1))
            logits.append(torch.cat(parts))
        return torch.cat(logits, dim=1)
