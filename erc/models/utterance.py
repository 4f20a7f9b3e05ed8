"""The shared utterance classifier: one encoder pass and an independent sigmoid for each emotion.

Shapes: B utterances, T tokens, D hidden width, P pooled width, C emotions, S samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from erc.models.dropout import Draw, drawn, require_dropout
from erc.models.encoder.encoder import Encoder
from erc.models.encoder.pooling import Pooling, pool, pooled_width
from erc.models.heads import EmotionHead, sample_head
from erc.models.mc_modes import McMode, first_sampled_layer


@dataclass(frozen=True, slots=True)
class UtteranceOutput:
    """Logits (B, C), and the pooled embedding (B, P) that the head read."""

    logits: Tensor
    embedding: Tensor


class UtteranceClassifier(nn.Module):
    """An encoder, a pooling and a head over C emotions; `head_hidden` None takes the encoder's width."""

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
        """Logits (B, C) and embedding (B, P) for input_ids and attention_mask (B, T)."""
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask)
        pooled = pool(hidden, attention_mask, self.pooling)
        return UtteranceOutput(logits=self.head(pooled), embedding=pooled)

    def mc_head(self, embedding: Tensor, *, n_samples: int, seed: int) -> Tensor:
        """Logits (S, B, C) of samples of the head alone over a given embedding (B, P).

        Raises:
            NoDropoutError: If the head has no dropout.
        """
        everything = max(1, len(embedding)) * n_samples
        return sample_head(self.head, embedding, n_samples=n_samples, seed=seed, max_batch_size=everything)

    @torch.no_grad()
    def mc_forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        n_samples: int,
        max_batch_size: int = 256,
        seed: int = 0,
        mode: McMode = McMode.FULL,
        top_k: int = 1,
    ) -> Tensor:
        """Monte-Carlo-dropout logits (S, B, C) for input_ids and attention_mask (B, T).

        Sample s of a seed is the same network for every utterance. So the result does not depend on the
        batch, its order or `max_batch_size`. The model is left as it was.

        Args:
            input_ids: Token ids, (B, T).
            attention_mask: 1 for real tokens, (B, T).
            n_samples: S.
            max_batch_size: Most rows times samples in a pass, in every mode.
            seed: Seed of the samples.
            mode: `full` samples every dropout, as EmCoder does; `top-k` those of the `top_k` upper layers and
                of the head, and runs the layers below once; `head` those of the head.
            top_k: Sampled encoder layers in mode `top-k`.

        Raises:
            NoDropoutError: If the model has no dropout that is sampled.
            ValueError: If the mode is unknown, or n_samples or top_k is below 1.
            RuntimeError: If the model is in training mode.
        """
        if n_samples < 1:
            raise ValueError(f"n_samples={n_samples}: at least one sample is needed")
        split = first_sampled_layer(mode, layers=len(self.encoder.layers), top_k=top_k)
        if self.training:
            raise RuntimeError("mc_forward needs the model in evaluation mode: call model.eval() first")
        require_dropout(self.head if split is None else self, name="this model")
        rows = input_ids.shape[0]
        chunk = max(1, min(rows, max_batch_size))
        cuts = [slice(first, first + chunk) for first in range(0, rows, chunk)]
        if split is None:
            embedding = torch.cat(
                [self(input_ids=input_ids[cut], attention_mask=attention_mask[cut]).embedding for cut in cuts]
            )
            return sample_head(
                self.head, embedding, n_samples=n_samples, seed=seed, max_batch_size=max_batch_size
            )
        samples_at_once = max(1, max_batch_size // chunk)
        logits = []
        for cut in cuts:  # outer loop, so that the layers below `split` run once for all samples
            ids, mask = input_ids[cut], attention_mask[cut]
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
