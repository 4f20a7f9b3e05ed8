"""The shared utterance classifier: one encoder pass, one independent sigmoid per emotion.

Shapes: B utterances, T tokens, D hidden width, P pooled width, C emotions, S samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from erc.models.dropout import Draw, drawn, require_dropout
from erc.models.encoder.encoder import Encoder
from erc.models.encoder.pooling import Pooling, pool, pooled_width
from erc.models.heads import EmotionHead
from erc.models.mc_modes import McMode, first_sampled_layer


@dataclass(frozen=True, slots=True)
class UtteranceOutput:
    """What one pass gives: logits (B, C) and the pooled embedding (B, P) the head read."""

    logits: Tensor
    embedding: Tensor


class UtteranceClassifier(nn.Module):
    """An encoder, a pooling and a head over C emotions."""

    def __init__(
        self,
        *,
        encoder: Encoder,
        emotions: int,
        pooling: Pooling = "mean_cls",
        head_hidden: int | None = None,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.pooling: Pooling = pooling
        width = pooled_width(encoder.hidden_size, pooling)
        self.head = EmotionHead(
            width=width, hidden=head_hidden or encoder.hidden_size, emotions=emotions, dropout=dropout
        )

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
        mode: McMode = McMode.HEAD,
        top_k: int = 1,
    ) -> Tensor:
        """Monte-Carlo-dropout logits, shape (S, B, C), for input_ids and attention_mask of shape (B, T).

        `mode` says what is sampled: `full` every dropout of the encoder's layers and of the head, `top-k`
        those of the `top_k` upper layers and of the head (the layers below are computed once), `head` those
        of the head. Sample s of a seed is the same network for every utterance, so the answer does not depend
        on the batch, its order or `max_batch_size` (rows per pass). The model must be in evaluation mode, and
        is left as it was. Raises NoDropoutError for a model without dropout, ValueError for an unknown mode
        and for n_samples or top_k below 1.
        """
        if n_samples < 1:
            raise ValueError(f"n_samples={n_samples}: at least one sample is needed")
        split = first_sampled_layer(mode, layers=len(self.encoder.layers), top_k=top_k)
        if self.training:
            raise RuntimeError("mc_forward needs the model in evaluation mode: call model.eval() first")
        require_dropout(self.head if split is None else self, name="this model")
        rows = input_ids.shape[0]
        chunk = max(1, min(rows, max_batch_size))
        if split is None:
            cuts = [slice(first, first + chunk) for first in range(0, rows, chunk)]
            embedding = torch.cat(
                [self(input_ids=input_ids[cut], attention_mask=attention_mask[cut]).embedding for cut in cuts]
            )
            return self.mc_head(embedding, n_samples=n_samples, seed=seed)
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
