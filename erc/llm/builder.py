"""Builds the prompt of a turn within a token budget.

The instruction, the bios and the beginning of the dialogue stay the same from turn to turn, so a back end reads them once. Where a
prompt is too long its demonstrations go first, the farthest before the nearest, and only then the oldest turns, several at a time: a prompt
then keeps its beginning for as many turns. The target never goes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from erc.data.conversation import Context, Utterance
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

        Demonstrations give way first, then the oldest turns: a prompt that shows one holds every turn that `max_turns` allows.
        Raises ConfigError where the budget does not even hold the target.
        """
        return self.emotion_after(self.lines(context)[:-1], context.target, notes=notes, demonstrations=demonstrations, label=label)

    def emotion_after(
        self,
        past: Sequence[str],
        target: Utterance,
        *,
        earlier: int = 0,
        notes: SpeakerNotes = NO_NOTES,
        demonstrations: Sequence[Demonstration] = (),
        label: str | None = None,
    ) -> RenderedPrompt:
        """As `emotion`, from the lines of the past. `earlier` turns, whole blocks of them, stood before these and fit no prompt any more."""
        lines = [*past, self.line(target)]
        values = {
            "labels": self.labels,
            "bios": self._bios(notes),
            "speaker": self.safe.name(target.speaker),
            "history": self._history(notes),
            "text": self.safe.utterance(target.text),
            **({} if label is None else {"label": label}),
        }

        def render(kept: Sequence[str], shown: Sequence[Demonstration]) -> RenderedPrompt:
            return self.template.render(dialogue=kept, examples=self._examples(shown), **values)

        for dropped in range(len(demonstrations) + 1):  # the nearest stands last, next to the question, and goes last
            shown = demonstrations[dropped:]
            fitted = fit(lines, partial(render, shown=shown), encoder=self.encoder, budget=self.budget, earlier=earlier, shorten=not shown)
            if fitted is not None:
                return fitted
        raise ConfigError(f"one turn needs more than max_tokens={self.budget.max_tokens}: raise it, or show fewer bio passages and history entries")

    def lines(self, context: Context) -> list[str]:
        """The past and the target as they stand in the dialogue."""
        return [self.line(turn) for turn in (*context.past, context.target)]

    def line(self, turn: Utterance) -> str:
        """A turn as a line `Name: text`."""
        return f"{self.safe.name(turn.speaker)}: {self.safe.utterance(turn.text)}"

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
    lines: Sequence[str],
    render: Callable[[Sequence[str]], RenderedPrompt],
    *,
    encoder: PromptEncoder,
    budget: Budget,
    protected: int = 1,
    earlier: int = 0,
    shorten: bool = True,
) -> RenderedPrompt | None:
    """The prompt with as many of the last `lines` as the budget holds, dropping whole blocks from the oldest; None where it holds too few.

    Without `shorten` no line goes but those beyond `max_turns`: None where the others do not fit all together.

    The last `protected` lines (the target) always stand. Blocks are counted from the dialogue's beginning, `earlier` lines before
    the first one given, and as few go as will do: a prompt depends on what it holds, not on how much was there to begin with,
    and consecutive turns of a dialogue mostly share their beginning.
    """
    past = earlier + len(lines) - protected
    least = max(earlier, dropped_by_count(past, budget))

    def attempt(dropped: int) -> tuple[RenderedPrompt, int]:
        prompt = render(lines[min(dropped, past) - earlier :])
        return prompt, len(encoder.prompt_ids(prompt)) - budget.max_tokens

    dropped = least
    prompt, over = attempt(dropped)
    while over > 0:
        if dropped >= past or not shorten:
            return None
        # Lines cost about what they cost alone, so most of the way is gone in one step; the loops settle what is left.
        freed, target = 0, dropped
        while target < past and (freed < over or target == dropped):
            freed += sum(encoder.count(line) + 1 for line in lines[target - earlier : min(target + budget.block, past) - earlier])
            target += budget.block
        dropped = target
        prompt, over = attempt(dropped)
    while dropped > least:
        fuller, over = attempt(dropped - budget.block)
        if over > 0:
            break
        prompt, dropped = fuller, dropped - budget.block
    return prompt


def dropped_by_count(past: int, budget: Budget) -> int:
    """How many of `past` turns are too many for `max_turns`, whatever they cost."""
    if budget.max_turns is None or past <= budget.max_turns:
        return 0
    return (past - budget.max_turns) // budget.block * budget.block
