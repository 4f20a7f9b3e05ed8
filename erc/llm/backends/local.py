"""The local backend: a Hugging Face causal language model, with or without a LoRA adapter.

Shapes: B prompts, K labels, S samples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from erc.errors import ArtefactError
from erc.llm.backends.generate import GenerationSettings, generate
from erc.llm.backends.live import LiveScorer
from erc.llm.base.adapters import load_adapter
from erc.llm.base.architectures import Strategy, Use, best_strategy, positions_of
from erc.llm.base.digests import known_weights
from erc.llm.base.loading import LlmPrecision, load_base
from erc.llm.prompts.encoding import PromptEncoder
from erc.llm.prompts.template import RenderedPrompt
from erc.llm.scoring.exact import DrawSpec, Ids, read_prefixes, score_answers
from erc.llm.scoring.prefix_tree import PASS_TOKENS, PrefixReader, passes
from erc.llm.scoring.scores import LabelScores
from erc.models.dropout import require_dropout
from erc.models.encoder.batching import length_buckets


class LocalScorer:
    """Scores closed label sets exactly. `max_tokens` bounds the padded prompt tokens of one batch.

    The strategy `tree` reads shared prefixes once. `repeat` is for models whose positions depend on the
    place in the row. None takes the best strategy for the model's architecture.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        model_id: str,
        strategy: Strategy | None = None,
        max_tokens: int = 8192,
    ) -> None:
        self.model = model
        self.encoder = PromptEncoder(tokenizer, positions=positions_of(model.config))
        self.model_id = model_id
        self.strategy = best_strategy(model) if strategy is None else strategy
        self.max_tokens = max_tokens

    @classmethod
    def load(
        cls,
        name: str,
        *,
        revision: str | None = None,
        adapter: Path | None = None,
        precision: LlmPrecision = "auto",
        device: str | None = None,
        max_tokens: int = 8192,
        use: Use = "scoring",
    ) -> LocalScorer:
        """Loads the model `name` (folder or hub id), with the adapter in `adapter`.

        Its id ends in a digest of the weights, where they are local folders. A model loaded for `writing` may
        be of a type that cannot score.

        Raises:
            ArtefactError: the model or the adapter cannot be loaded, or not be put to this use.
            ConfigError: the precision is unknown or cannot be used here.
        """
        model, tokenizer = load_base(name, revision=revision, precision=precision, device=device, use=use)
        if adapter is not None:
            model = load_adapter(model, adapter)
        weights = known_weights(name, adapter)
        model_id = (
            "@".join(filter(None, (name, revision)))
            + ("" if adapter is None else f"+{adapter.name}")
            + (f"#{weights}" if weights else "")
        )
        return cls(model, tokenizer, model_id=model_id, max_tokens=max_tokens)

    def score(self, prompts: Sequence[RenderedPrompt], labels: Sequence[str]) -> LabelScores:
        """Exact log-likelihoods of every label after every prompt.

        Raises:
            ArtefactError: the model is of a type whose answers cannot be scored.
        """
        answers = [self.encoder.answer_ids(label) for label in labels]
        rows = [self.encoder.prompt_ids(prompt) for prompt in prompts]
        values = self._run(rows, [answers] * len(rows), draw=None)[0] if rows else np.zeros((0, len(labels)))
        return LabelScores.of(labels, values)

    def sample(
        self, prompts: Sequence[RenderedPrompt], labels: Sequence[str], *, seed: int, samples: int
    ) -> np.ndarray:
        """Log-likelihoods (S, B, K) under `samples` networks drawn by the adapter's dropout.

        One sample is one set of dropout masks, the same for every prompt and batch.

        Raises:
            NoDropoutError: the adapter has no dropout.
            ArtefactError: the model is of a type whose answers cannot be scored.
        """
        require_dropout(self.model, name=f"the language model {self.model_id}")
        answers = [self.encoder.answer_ids(label) for label in labels]
        rows = [self.encoder.prompt_ids(prompt) for prompt in prompts]
        return self._run(rows, [answers] * len(rows), draw=DrawSpec(seed, tuple(range(samples))))

    def generate(
        self, prompts: Sequence[RenderedPrompt], *, settings: GenerationSettings | None = None
    ) -> list[str]:
        """The text the model writes after each prompt."""
        chosen = settings or GenerationSettings()
        return generate(
            self.model,
            self.encoder,
            prompts,
            settings=chosen,
            pad_id=self._pad_id,
            max_tokens=self.max_tokens,
        )

    def live(self) -> LiveScorer | None:
        """A scorer for one live conversation with a key-value cache; None with the strategy `repeat`."""
        return (
            LiveScorer(self.model, self.encoder, model_id=self.model_id, max_tokens=self.max_tokens)
            if self.strategy == "tree"
            else None
        )

    def close(self) -> None:
        """Does nothing: a local model holds no connections."""

    def _run(
        self, rows: Sequence[Ids], answers: Sequence[Sequence[Ids]], *, draw: DrawSpec | None
    ) -> np.ndarray:
        """(S, B, K) with S = 1 without a draw."""
        if self.strategy is None:
            raise ArtefactError(
                f"{self.model_id}: a model of type '{self.model.config.model_type}' can write, but its "
                "answers cannot be scored"
            )
        draws = [None] if draw is None else list(self._draws(draw, max(map(len, rows), default=1)))
        read = self._shared if self.strategy == "tree" else self._batched
        return np.concatenate([read(rows, answers, part) for part in draws])

    def _shared(
        self, rows: Sequence[Ids], answers: Sequence[Sequence[Ids]], draw: DrawSpec | None
    ) -> np.ndarray:
        """Scores prompts, reading shared prefixes once."""
        reader, networks = PrefixReader(self.model, draw=draw), 1 if draw is None else draw.rows
        values = np.zeros((networks, len(rows), len(answers[0]) if answers else 0))
        for chosen in passes(rows, answers, max_tokens=min(PASS_TOKENS, self.max_tokens // networks)):
            values[:, chosen] = reader.score([rows[i] for i in chosen], [answers[i] for i in chosen]).numpy()
        return values

    def _batched(
        self, rows: Sequence[Ids], answers: Sequence[Sequence[Ids]], draw: DrawSpec | None
    ) -> np.ndarray:
        """Scores prompts that are each read whole, batched by length."""
        networks = 1 if draw is None else draw.rows
        values = np.zeros((networks, len(rows), len(answers[0]) if answers else 0))
        for bucket in length_buckets([len(row) * networks for row in rows], max_tokens=self.max_tokens):
            state = read_prefixes(self.model, [rows[i] for i in bucket], pad_id=self._pad_id, draw=draw)
            found = score_answers(self.model, state, [answers[i] for i in bucket], strategy="repeat")
            values[:, bucket] = found.view(networks, len(bucket), -1).numpy()
        return values

    def _draws(self, draw: DrawSpec, longest: int) -> Iterator[DrawSpec]:
        at_once = max(1, self.max_tokens // longest)
        for first in range(0, len(draw.samples), at_once):
            yield DrawSpec(draw.seed, draw.samples[first : first + at_once])

    @property
    def _pad_id(self) -> int:
        pad = self.encoder.tokenizer.pad_token_id
        return 0 if pad is None else int(pad)
