"""Scores one live conversation, keeping keys and values between turns.

The prompt of the next turn shares most of its prefix with the last one (instruction, bios, dialogue so
far). The cache is truncated to the shared prefix, and only the rest is computed.

Shapes: B prompts, K labels, S samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from erc.llm.prompts.encoding import PromptEncoder
from erc.llm.prompts.template import RenderedPrompt
from erc.llm.scoring.exact import DrawSpec
from erc.llm.scoring.prefix_tree import PrefixReader
from erc.llm.scoring.scores import LabelScores

_LONG_PROMPT = 1024
"""Prompt length assumed when deciding how many drawn networks run together."""


class LiveScorer:
    """Scores the prompts of one conversation in sequence; each call reads only new tokens.

    The networks of a Monte-Carlo pass have their own caches, each as large as the model's. A pass holds at
    most `max_tokens` tokens.
    """

    def __init__(self, model: Any, encoder: PromptEncoder, *, model_id: str, max_tokens: int = 8192) -> None:
        self.model_id = model_id
        self.encoder = encoder
        self._model = model
        self._at_once = max(1, max_tokens // _LONG_PROMPT)
        self._reader = PrefixReader(model)
        self._drawn: dict[DrawSpec, PrefixReader] = {}

    @property
    def nbytes(self) -> int:
        """Bytes of all caches."""
        return self._reader.nbytes + sum(reader.nbytes for reader in self._drawn.values())

    @property
    def tokens_read(self) -> int:
        """Prompt tokens computed so far, by all networks together."""
        return self._reader.tokens_read + sum(
            draw.rows * reader.tokens_read for draw, reader in self._drawn.items()
        )

    def score(self, prompts: Sequence[RenderedPrompt], labels: Sequence[str]) -> LabelScores:
        """Exact log-likelihoods of every label after every prompt."""
        answers = [[self.encoder.answer_ids(label) for label in labels]]
        rows = [
            self._reader.score([self.encoder.prompt_ids(prompt)], answers)[0].numpy() for prompt in prompts
        ]
        return LabelScores.of(labels, np.concatenate([np.zeros((0, len(labels))), *rows]))

    def sample(
        self, prompts: Sequence[RenderedPrompt], labels: Sequence[str], *, seed: int, samples: int
    ) -> np.ndarray:
        """Log-likelihoods (S, B, K) of `samples` networks drawn with `seed`.

        Caches of networks with other numbers are dropped.
        """
        answers = [[self.encoder.answer_ids(label) for label in labels]]
        specs = [
            DrawSpec(seed, tuple(range(first, min(first + self._at_once, samples))))
            for first in range(0, samples, self._at_once)
        ]
        self._drawn = {spec: self._drawn.get(spec) or PrefixReader(self._model, draw=spec) for spec in specs}
        values = np.zeros((samples, len(prompts), len(labels)))
        for b, prompt in enumerate(prompts):
            ids = self.encoder.prompt_ids(prompt)
            for spec, reader in self._drawn.items():
                values[list(spec.samples), b] = reader.score([ids], answers)[:, 0].numpy()
        return values
