"""Label scores from a model server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from erc.llm.backends.server.cache import AnswerCache, cache_key
from erc.llm.backends.server.chat import Chat, no_system_role
from erc.llm.backends.server.label_modes import Mode, PromptScores, chosen, coded, echoed
from erc.llm.backends.server.transport import RefusedError, ServerError, Transport, UnusableError
from erc.llm.prompts.encoding import PromptEncoder
from erc.llm.prompts.template import RenderedPrompt
from erc.llm.scoring.scores import LabelScores, ScoreKind

Probe = tuple[RenderedPrompt, Sequence[str]]
"""A prompt and the labels to score after it."""
PROBE: Probe = (
    RenderedPrompt(
        "Answer the question.", (("question", "Is the sky blue on a clear day?"),), "Answer:", "probe/v1", ""
    ),
    ("yes", "no"),
)


_KINDS: dict[Mode, ScoreKind] = {"completions": "exact", "codes": "codes", "choice": "none"}


class ServerScorer:
    """Scores labels on an OpenAI-compatible server.

    Args:
        transport: The connection. It is closed if the constructor fails.
        model: Name of the model on the server.
        encoder: The tokenizer of the server's model. Exact scores (mode `completions`) need it; a chat
            uses it to find out whether the model accepts a system message.
        mode: The scoring mode; None probes the server once, from exact scores to a bare choice.
        probe: A prompt and labels like those of later requests.
        cache: File that stores answers.
        weights: Digest of the served weights, if known. Cached answers of other weights are not used.

    Raises:
        ServerError: the server offers no usable mode or cannot be reached.
        ArtefactError: the cache file cannot be used.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        model: str,
        encoder: PromptEncoder | None = None,
        mode: Mode | None = None,
        probe: Probe = PROBE,
        cache: Path | None = None,
        weights: str | None = None,
    ) -> None:
        self.transport = transport
        self.model = model
        self.encoder = encoder
        self.weights = weights
        self.cache: AnswerCache | None = None
        self._chat = Chat(transport, model, encoder=encoder)
        try:
            self.cache = None if cache is None else AnswerCache(cache)
            self.mode: Mode = self.probe(probe) if mode is None else mode
            if self.mode == "completions" and encoder is None:
                raise ServerError(
                    "exact scores need the tokenizer of the server's model: give its folder or id, or use "
                    "mode codes"
                )
        except BaseException:
            self.close()  # the caller gets no object to close
            raise

    @property
    def model_id(self) -> str:
        """Model, address and, where known, a digest of the weights."""
        return f"{self.model}@{self.transport.url}" + ("" if self.weights is None else f"#{self.weights}")

    def probe(self, probe: Probe = PROBE) -> Mode:
        """The most exact mode in which the server answers `probe`.

        Raises:
            ServerError: no mode works (the message lists what was tried), or a request failed for a reason
                that does not depend on the mode, such as a wrong key.
        """
        modes: tuple[Mode, ...] = (
            ("codes", "choice") if self.encoder is None else ("completions", "codes", "choice")
        )
        problems = []
        for mode in modes:
            problem = lacking(partial(self._ask, *probe, mode))
            if problem is None:
                return mode
            problems.append(f"{mode}: {problem}")
        raise ServerError(f"{self.transport.url} offers no way to score labels.\n" + "\n".join(problems))

    def score(self, prompts: Sequence[RenderedPrompt], labels: Sequence[str]) -> LabelScores:
        """Scores every prompt over `labels`, several requests at a time; cached answers need no request.

        Raises:
            ServerError: the server returns no scores.
        """
        found = self.transport.map(lambda prompt: self._cached(prompt, labels), prompts)
        values = np.array([scores.values for scores in found], dtype=np.float64).reshape(
            len(prompts), len(labels)
        )
        return LabelScores.of(
            labels,
            values,
            kind=_KINDS[self.mode],
            truncated=np.array([scores.truncated for scores in found], dtype=bool),
        )

    def live(self) -> None:
        """None: a server does its own caching and gets each prompt whole."""

    def close(self) -> None:
        """Closes connections and cache."""
        self.transport.close()
        if self.cache is not None:
            self.cache.close()

    def _cached(self, prompt: RenderedPrompt, labels: Sequence[str]) -> PromptScores:
        if self.cache is None:
            return self._ask(prompt, labels, self.mode)
        key = cache_key(
            prompt_sha256=prompt.sha256,
            model_id=self.model_id,
            mode=self._way,
            labels=labels,
            tokens=self._tokens(prompt, labels),
        )
        kept = self.cache.get(key)
        if kept is not None:
            return PromptScores(tuple(map(float, kept["values"])), bool(kept["truncated"]))
        scores = self._ask(prompt, labels, self.mode)
        self.cache.put(key, {"values": scores.values, "truncated": scores.truncated})
        return scores

    def _ask(self, prompt: RenderedPrompt, labels: Sequence[str], mode: Mode) -> PromptScores:
        if mode == "completions":
            assert self.encoder is not None
            return echoed(self.transport, self.model, self.encoder, prompt, labels)
        return (coded if mode == "codes" else chosen)(self._chat, prompt, labels)

    @property
    def _way(self) -> str:
        """The mode, and whether a chat puts the instruction into the user's message; part of cache keys."""
        return (
            f"{self.mode}, no system role"
            if self.mode != "completions" and no_system_role(self.encoder)
            else self.mode
        )

    def _tokens(self, prompt: RenderedPrompt, labels: Sequence[str]) -> list[list[int]]:
        """Token ids of the prompt and of each label; empty without an encoder."""
        return (
            []
            if self.encoder is None
            else [self.encoder.prompt_ids(prompt), *(self.encoder.answer_ids(label) for label in labels)]
        )


def lacking(ask: Callable[[], object]) -> ServerError | None:
    """None where `ask` succeeds; else why the server does not support this request.

    All other failures are raised, because a busy server, a wrong key or a wrong model name does not depend
    on the mode.

    Raises:
        ServerError: `ask` failed for another reason.
    """
    try:
        ask()
    except UnusableError as error:
        return error
    except RefusedError as error:
        if not error.unsupported:
            raise
        return error
    return None
