"""The state of a language model in a live conversation.

The state holds the recent dialogue, and the cache of a local model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from erc.data import SpeakerPast, Utterance
from erc.errors import ArtefactError
from erc.inference.scorers.llm import LlmScorer
from erc.inference.scorers.llm_model import Question
from erc.inference.scorers.prompt_notes import ConversationSpeakers
from erc.inference.scorers.scores import Scores
from erc.llm.prompts.demonstrations import TurnSource
from erc.llm.prompts.dialogue import DialogueWindow
from erc.llm.prompts.notes import ReadTurn
from erc.llm.scoring.scores import LabelScorer


class LiveLlm:
    """The state of an `LlmScorer` in one conversation; `past` is what is remembered from before it.

    A local model caches the keys and values of its last prompt, one cache per sampled network, and reads only
    what is new in the next prompt. A server receives each prompt whole.
    """

    kind = "llm"

    def __init__(
        self, scorer: LlmScorer, *, conversation_id: str = "live", past: SpeakerPast | None = None
    ) -> None:
        self._scorer = scorer
        self._source = TurnSource(conversation_id)
        self._speakers = ConversationSpeakers(conversation_id, past)
        self._window = DialogueWindow(scorer.model.builder)
        self._said = scorer.said(past)
        self._reader = scorer.model.backend.live()
        self._backend: LabelScorer = self._reader or scorer.model.backend

    def __len__(self) -> int:
        return len(self._window)

    @property
    def nbytes(self) -> int:
        """Bytes of the dialogue, of past turns that prompts show, and of the model's cache."""
        return sum(part.nbytes for part in (self._window, self._said, self._reader) if part is not None)

    @property
    def tokens_read(self) -> int:
        """Prompt tokens the local model has computed rather than found in its cache; 0 for a server."""
        return 0 if self._reader is None else self._reader.tokens_read

    def read(self, utterance: Utterance) -> Scores:
        """Scores the next turn and appends it to the past."""
        question = self._question(utterance)
        scores = self._scorer.answer([question], backend=self._backend)
        self._append(utterance, question.reading.of(utterance))
        return scores

    def snapshot(self) -> Callable[[], None]:
        """Records the dialogue; the returned function restores it. The model's cache stays."""
        backs = [part.snapshot() for part in (self._window, self._said) if part is not None]

        def back() -> None:
            for undo in backs:
                undo()

        return back

    def pass_over(self, utterance: Utterance) -> None:
        """Appends the next turn without a question about it."""
        self._append(utterance, None if self._said is None else self._scorer.read(utterance.text))

    def _append(self, utterance: Utterance, reading: ReadTurn | None) -> None:
        self._window.append(utterance)
        if self._said is not None and reading is not None:
            self._said.append(self._speakers.person(utterance.speaker), reading)

    def _question(self, utterance: Utterance) -> Question:
        return self._scorer.question(
            self._window, utterance, speakers=self._speakers, source=self._source, said=self._said
        )

    def tensors(self) -> dict[str, torch.Tensor]:
        """Empty: the cache is rebuilt from the text."""
        return {}

    def record(self) -> dict[str, Any]:
        """The model, its prompts with their budget, and the text."""
        return {
            **self._asked,
            **self._window.record(),
            **({} if self._said is None else {"said": self._said.record()}),
        }

    @property
    def _asked(self) -> dict[str, Any]:
        builder = self._scorer.model.builder
        budget = [builder.budget.max_tokens, builder.budget.max_turns, builder.budget.block]
        return {"model": self._scorer.identity, "prompt": builder.sha256, "budget": budget}

    def restore(self, record: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], *, path: Path) -> None:
        """Restores the state of a file.

        Raises:
            ArtefactError: Another model, prompt or budget wrote it.
            KeyError: The file is damaged; likewise TypeError and ValueError.
        """
        differing = [name for name, value in self._asked.items() if record.get(name) != value]
        if differing:
            what = (
                "another model"
                if "model" in differing
                else f"this model under another {' and '.join(differing)}"
            )
            raise ArtefactError(
                f"{path} holds the state of {what}: label the conversation again with {self._scorer.identity}"
            )
        self._window.restore(record)
        if len(self) != sum(self._window.spoken.values()):
            raise ValueError(f"{path} has inconsistent numbers of turns per speaker")
        if self._said is not None:
            self._said.restore(record["said"], self._scorer.read)
