"""Builds the prompt of a turn within a token budget.

The instruction, the bios and the beginning of the dialogue stay the same from turn to turn, so a back end reads them once. Where the
dialogue is too long its oldest turns go, several at a time: a prompt then keeps its beginning for as many turns. The target never goes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from erc.data.conversation import Context
from erc.errors import ConfigError
from erc.llm.encoding import PromptEncoder
from erc.llm.notes import NO_NOTES, Demonstration, SpeakerNotes
from erc.llm.prompts import PromptTemplate, RenderedPrompt
from erc.llm.safety import Neutraliser


@dataclass(frozen=True, slots=True)
class Budget:
    """How much a prompt may hold.

    `max_tokens` counts the whole prompt; `max_turns` past turns (None: as many as fit); turns are dropped from the oldest in blocks of
    `block`, so up to `block - 1` more than `max_turns` may stand.
    """

    max_tokens: int = 1024
    max_turns: int | None = None
    block: int = 8

    def __post_init__(self) -> None:
        if self.max_tokens < 1 or self.block < 1 or (self.max_turns is not None and self.max_turns < 0):
            raise ConfigError(f"a budget of {self.max_tokens} tokens, {self.max_turns} turns in blocks of {self.block}: all must be positive")


class PromptBuilder:
    """Makes the prompts of one label set for one tokenizer. Everything a user wrote passes through the neutraliser here."""

    def __init__(
        self,
        *,
        encoder: PromptEncoder,
        labels: Sequence[str],
        template: PromptTemplate | None = None,
        few_shot: PromptTemplate | None = None,
        budget: Budget | None = None,
        neutraliser: Neutraliser | None = None,
    ) -> None:
        self.encoder = encoder
        self.labels = tuple(labels)
        self.template = PromptTemplate.load("erc") if template is None else template
        self.few_shot = PromptTemplate.load("few_shot") if few_shot is None else few_shot
        self.budget = Budget() if budget is None else budget
        self.safe = Neutraliser.for_tokenizer(encoder.tokenizer) if neutraliser is None else neutraliser

    @property
    def prompt_id(self) -> str:
        """The templates by name and version, as a prediction names them."""
        return f"{self.template.id}+{self.few_shot.id}"

    @property
    def sha256(self) -> str:
        """Both templates' hashes in one."""
        return combined_hash(self.template, self.few_shot)

    def emotion(
        self, context: Context, *, notes: SpeakerNotes = NO_NOTES, demonstrations: Sequence[Demonstration] = (), label: str | None = None
    ) -> RenderedPrompt:
        """The prompt that asks for the emotion of `context.target`; `label` is the one asked for by a yes-or-no template.

        Demonstrations give way first, then the oldest turns. Raises ConfigError where the budget does not even hold the target.
        """
        lines = self.lines(context)
        values = {
            "labels": self.labels,
            "bios": self._bios(notes),
            "speaker": self.safe.name(context.target.speaker),
            "history": self._history(notes),
            "text": self.safe.utterance(context.target.text),
            **({} if label is None else {"label": label}),
        }

        def render(kept: Sequence[str], shown: Sequence[Demonstration]) -> RenderedPrompt:
            return self.template.render(dialogue=kept, examples=self._examples(shown), **values)

        for count in range(len(demonstrations), -1, -1):
            fitted = fit(lines, lambda kept, count=count: render(kept, demonstrations[:count]), encoder=self.encoder, budget=self.budget)  # type: ignore[misc]
            if fitted is not None:
                return fitted
        raise ConfigError(f"one turn needs more than max_tokens={self.budget.max_tokens}: raise it, or show fewer bio passages and history entries")

    def lines(self, context: Context) -> list[str]:
        """`Name: text` lines of the past and the target."""
        return [f"{self.safe.name(turn.speaker)}: {self.safe.utterance(turn.text)}" for turn in (*context.past, context.target)]

    def content_free(self) -> RenderedPrompt:
        """The prompt with nothing to judge in it, for the prior that the model gives each label anyway (Zhao et al. 2021)."""
        values = {"labels": self.labels, "bios": [], "history": [], "examples": "", "speaker": "Someone", "text": "N/A"}
        return self.template.render(dialogue=["Someone: N/A"], **values)

    def _bios(self, notes: SpeakerNotes) -> list[dict[str, object]]:
        return [{"name": self.safe.name(bio.name), "passages": [self.safe.passage(p) for p in bio.passages]} for bio in notes.bios if bio.passages]

    def _history(self, notes: SpeakerNotes) -> list[dict[str, object]]:
        # A label from a store is shown only where the set knows it: a stored text may not enter the prompt by the label's column.
        return [
            {"emotion": entry.emotion, "percent": round(100 * min(max(entry.confidence, 0.0), 1.0)), "text": self.safe.history(entry.text)}
            for entry in notes.history
            if entry.emotion in self.labels
        ]

    def _examples(self, demonstrations: Sequence[Demonstration]) -> str:
        shown = [
            {"lines": [f"{self.safe.name(name)}: {self.safe.utterance(text)}" for name, text in example.turns], "emotion": example.emotion}
            for example in demonstrations
            if example.emotion in self.labels
        ]
        return self.few_shot.render(demonstrations=shown).user


def combined_hash(*templates: PromptTemplate) -> str:
    """One hash of several templates, in their order."""
    return hashlib.sha256("".join(template.sha256 for template in templates).encode()).hexdigest()


def fit(
    lines: Sequence[str], render: Callable[[Sequence[str]], RenderedPrompt], *, encoder: PromptEncoder, budget: Budget, protected: int = 1
) -> RenderedPrompt | None:
    """The prompt with as many of the last `lines` as the budget holds, dropping whole blocks from the oldest; None where it holds too few.

    The last `protected` lines (the target) always stand. How many go depends on the number of lines and their cost alone, in steps
    of a block, so consecutive turns of a dialogue mostly share their beginning.
    """
    past = len(lines) - protected
    dropped = 0
    if budget.max_turns is not None and past > budget.max_turns:
        dropped = (past - budget.max_turns) // budget.block * budget.block
    while True:
        prompt = render(lines[min(dropped, past) :])
        over = len(encoder.prompt_ids(prompt)) - budget.max_tokens
        if over <= 0:
            return prompt
        if dropped >= past:
            return None
        # Lines cost about what they cost alone, so most of the way is gone in one step; the loop settles what is left.
        freed, target = 0, dropped
        while target < past and (freed < over or target == dropped):
            freed += sum(encoder.count(line) + 1 for line in lines[target : min(target + budget.block, past)])
            target += budget.block
        dropped = target
