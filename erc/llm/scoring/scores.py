"""Scores of a closed label set, and the Protocol of the backends that compute them.

Shapes: B prompts, K labels, S samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from scipy.special import softmax

from erc.llm.prompts.template import RenderedPrompt
from erc.uncertainty.decomposition import categorical_entropy

YES_NO = ("yes", "no")
"""The answers where each label is asked for alone."""
ScoreKind = Literal["exact", "codes", "none"]
"""How scores were made.

`exact`: full label log-likelihoods. `codes`: log-probabilities of one-token codes. `none`: a bare choice.
"""


@dataclass(frozen=True, slots=True, eq=False)
class LabelScores:
    """Scores of B prompts over K labels.

    Attributes:
        labels: The labels in order.
        log_likelihood: (B, K) natural logarithm of the probability of each label's tokens.
        probabilities: (B, K), summing to 1 over the labels.
        entropy: (B,) in nats; NaN for the score kind `none`, which has no real probabilities.
        score_kind: How the scores were computed.
        truncated: (B,) whether some label was not among the log-probabilities a server returned and got a
            bound.
    """

    labels: tuple[str, ...]
    log_likelihood: np.ndarray
    probabilities: np.ndarray
    entropy: np.ndarray
    score_kind: ScoreKind
    truncated: np.ndarray

    @classmethod
    def of(
        cls,
        labels: Sequence[str],
        log_likelihood: np.ndarray,
        *,
        kind: ScoreKind = "exact",
        truncated: np.ndarray | None = None,
    ) -> LabelScores:
        """Scores whose probabilities are the softmax of log-likelihoods (B, K) over the labels.

        Raises:
            ValueError: the shape is wrong, a value is NaN, or every label of a prompt has probability 0.
        """
        values = np.asarray(log_likelihood, dtype=np.float64)
        if values.ndim != 2 or values.shape[1] != len(labels):
            raise ValueError(
                f"log-likelihoods of shape {values.shape} for {len(labels)} labels: expected (B, "
                f"{len(labels)})"
            )
        if np.isnan(values).any() or (values.size and np.isneginf(values).all(axis=1).any()):
            raise ValueError("log-likelihoods hold NaN, or a prompt gives every label probability 0")
        probabilities = softmax(values, axis=1)
        entropy = np.full(len(values), np.nan) if kind == "none" else categorical_entropy(probabilities)
        flags = np.zeros(len(values), dtype=bool) if truncated is None else np.asarray(truncated, dtype=bool)
        return cls(tuple(labels), values, probabilities, entropy, kind, flags)

    def __len__(self) -> int:
        return len(self.log_likelihood)

    @property
    def best(self) -> tuple[str, ...]:
        """The most probable label of each prompt."""
        return tuple(self.labels[index] for index in self.probabilities.argmax(axis=1))

    def row(self, index: int) -> LabelScores:
        """The scores of one prompt."""
        at = slice(index, index + 1)
        return LabelScores(
            self.labels,
            self.log_likelihood[at],
            self.probabilities[at],
            self.entropy[at],
            self.score_kind,
            self.truncated[at],
        )

    @classmethod
    def stack(cls, parts: Sequence[LabelScores]) -> LabelScores:
        """Concatenates scores over the same labels; the result has the least exact kind.

        Raises:
            ValueError: the labels differ.
        """
        first = parts[0]
        if any(part.labels != first.labels for part in parts):
            raise ValueError("scores over different labels cannot be stacked")
        kinds: tuple[ScoreKind, ...] = ("none", "codes", "exact")
        kind = min((part.score_kind for part in parts), key=kinds.index)
        return cls(
            labels=first.labels,
            log_likelihood=np.concatenate([part.log_likelihood for part in parts]),
            probabilities=np.concatenate([part.probabilities for part in parts]),
            entropy=np.concatenate([part.entropy for part in parts]),
            score_kind=kind,
            truncated=np.concatenate([part.truncated for part in parts]),
        )


class LabelScorer(Protocol):
    """A backend: a local model or a server."""

    @property
    def model_id(self) -> str:
        """The model in predictions and cache keys: base, revision and adapter."""
        ...

    def score(self, prompts: Sequence[RenderedPrompt], labels: Sequence[str]) -> LabelScores:
        """Scores every prompt over the closed set `labels`, in the order given."""
        ...


def yes_no_odds(
    scorer: LabelScorer, prompts: Sequence[Sequence[RenderedPrompt]]
) -> tuple[np.ndarray, ScoreKind]:
    """Log-odds (B, K) of yes against no, and the kind of scores.

    `prompts[b][k]` asks about label k of turn b. The prompts of a turn differ only at their end, so their
    shared prefix is read once.
    """
    scores = scorer.score([prompt for of_turn in prompts for prompt in of_turn], YES_NO)
    odds = scores.log_likelihood[:, 0] - scores.log_likelihood[:, 1]
    return odds.reshape(len(prompts), len(prompts[0]) if prompts else 0), scores.score_kind
