"""What scoring a closed set of labels gives, and the Protocol of the back ends that do it.

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
"""How scores came about: full label log-likelihoods, log-probabilities of one-token codes, or a bare choice without any."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelScores:
    """Scores of B prompts over K labels.

    `log_likelihood` (B, K): the natural logarithm of the probability of each label's tokens. `probabilities`
    (B, K) sum to 1 over the labels. `entropy` (B,) in nats; NaN for `score_kind` "none", where the chosen
    label has probability 1 only because nothing else is known. `truncated` (B,): some label was not among the
    log-probabilities a server returned and got a bound for its value.
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
        """Scores whose probabilities are the log-likelihoods' softmax over the labels. Raises ValueError for a value that is NaN."""
        values = np.asarray(log_likelihood, dtype=np.float64)
        if values.ndim != 2 or values.shape[1] != len(labels):
            raise ValueError(
                f"log-likelihoods of shape {values.shape} for {len(labels)} labels: expected (B, {len(labels)})"
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
        """The likeliest label of each prompt: always one of `labels`."""
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
        """The scores of several calls over the same labels, as one; the least exact kind stands for all."""
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
    """A back end: a local model or a server."""

    @property
    def model_id(self) -> str:
        """What answered: base model, revision, adapter, as a prediction and a cache key name it."""
        ...

    def score(self, prompts: Sequence[RenderedPrompt], labels: Sequence[str]) -> LabelScores:
        """Scores every prompt over the closed set `labels`, in the order given."""
        ...


class SamplingScorer(LabelScorer, Protocol):
    """A back end that can also draw networks for Monte-Carlo uncertainty."""

    def sample(
        self, prompts: Sequence[RenderedPrompt], labels: Sequence[str], *, seed: int, samples: int
    ) -> np.ndarray:
        """Log-likelihoods (S, B, K) of `samples` networks drawn with `seed`."""
        ...


def yes_no_odds(
    scorer: LabelScorer, prompts: Sequence[Sequence[RenderedPrompt]]
) -> tuple[np.ndarray, ScoreKind]:
    """Log-odds (B, K) of yes against no, and how they came about; `prompts[b][k]` asks of turn b for label k.

    The prompts of a turn differ only at their end, so what they share is read once.
    """
    scores = scorer.score([prompt for of_turn in prompts for prompt in of_turn], YES_NO)
    odds = scores.log_likelihood[:, 0] - scores.log_likelihood[:, 1]
    return odds.reshape(len(prompts), len(prompts[0]) if prompts else 0), scores.score_kind
