"""Builds the prompt of a turn within a token budget.

The instruction, the bios and the beginning of the dialogue stay the same from turn to turn, so a backend
reads them once. Which of the oldest turns are dropped depends on the dialogue and the bios alone. The start
of the shown dialogue therefore only moves forward, several turns at a time.

A part of the budget is reserved for the parts that change every turn. If they need more, parts are dropped
in this order: demonstrations (least similar first), remembered turns, dialogue, bios. The target is always
shown, without its middle if it does not fit whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from erc.data.conversation import Context, Utterance
from erc.errors import ConfigError
from erc.llm.prompts.budget import Budget, dropped_by_count
from erc.llm.prompts.encoding import PromptEncoder
from erc.llm.prompts.notes import NO_NOTES, Demonstration, SpeakerBio, SpeakerNotes
from erc.llm.prompts.sanitize import PromptSanitizer, flat
from erc.llm.prompts.template import PromptTemplate, RenderedPrompt
from erc.llm.prompts.truncation import Parts, largest_fitting, oldest_beyond, shorten_bios, truncations

FORMAT = 2
"""Increase when the same templates are filled differently; it is part of a prompt's hash."""
_BIO_SHARE = 0.5
"""Largest share of the tokens beside the template's own that bios may take."""

_MOST_PER_TOKEN = 16
"""Characters per token of the budget beyond which a long target is not tried."""


class PromptBuilder:
    """Builds the prompts of one label set for one tokenizer, and sanitizes user text."""

    def __init__(
        self,
        *,
        encoder: PromptEncoder,
        labels: Sequence[str],
        template: PromptTemplate | None = None,
        few_shot: PromptTemplate | None = None,
        budget: Budget | None = None,
        sanitizer: PromptSanitizer | None = None,
    ) -> None:
        self.encoder = encoder
        self.labels = tuple(labels)
        self.template = PromptTemplate.load("erc") if template is None else template
        self.few_shot = PromptTemplate.load("few_shot") if few_shot is None else few_shot
        self.budget = Budget() if budget is None else budget
        self.safe = PromptSanitizer.for_tokenizer(encoder.tokenizer) if sanitizer is None else sanitizer
        # The speakers of a dialogue stay the same for many turns, so the last fitted bios are cached.
        self._fitted: tuple[tuple[SpeakerBio, ...], tuple[SpeakerBio, ...]] = ((), ())
        self._counted: tuple[tuple[SpeakerBio, ...], int] = ((), 0)

    @property
    def prompt_id(self) -> str:
        """The templates by name and version, as a prediction names them."""
        return f"{self.template.id}+{self.few_shot.id}"

    @property
    def sha256(self) -> str:
        """One hash of both templates and of the version of their format."""
        parts = f"{self.template.sha256}{self.few_shot.sha256}format {FORMAT}"
        return hashlib.sha256(parts.encode()).hexdigest()

    def emotion(
        self,
        context: Context,
        *,
        notes: SpeakerNotes = NO_NOTES,
        demonstrations: Sequence[Demonstration] = (),
        label: str | None = None,
    ) -> RenderedPrompt:
        """The prompt that asks for the emotion of `context.target`.

        `label` is the label asked for by a yes-or-no template.

        Raises:
            ConfigError: the budget does not hold the template's own words.
        """
        past, heard = (
            [self.line(turn) for turn in context.past],
            tuple(dict.fromkeys(turn.speaker for turn in context.past)),
        )
        return self.emotion_after(
            past, context.target, heard=heard, notes=notes, demonstrations=demonstrations, label=label
        )

    def emotion_after(
        self,
        past: Sequence[str],
        target: Utterance,
        *,
        earlier: int = 0,
        costs: Sequence[int] | None = None,
        heard: Sequence[str] = (),
        notes: SpeakerNotes = NO_NOTES,
        demonstrations: Sequence[Demonstration] = (),
        label: str | None = None,
    ) -> RenderedPrompt:
        """The prompt of `target`, from the lines of the past.

        Args:
            past: Lines of the past turns, oldest first.
            target: The turn asked about.
            earlier: Turns before `past` that fit no prompt any more, in whole blocks.
            costs: Tokens of each line of `past`; None counts them here.
            heard: Speakers of the past in order of first appearance, which is the order of their bios.
            notes: Bios and remembered turns.
            demonstrations: Labelled turns, the most similar last.
            label: The label asked for by a yes-or-no template.

        Raises:
            ConfigError: the budget does not hold the template's own words.
        """
        bios = self._bios(notes, (*heard, target.speaker))
        costs = [self.cost(line) for line in past] if costs is None else costs
        dropped = self.dropped([*costs, self.cost(self.line(target))], earlier=earlier, bios=bios)
        shown = [example for example in demonstrations if example.emotion in self.labels]
        whole = Parts(tuple(past[dropped - earlier :]), bios, tuple(self._history(notes)), tuple(shown))
        name, text = self.safe.name(target.speaker), flat(target.text)
        extra = {} if label is None else {"label": label}
        if self._may_fit(name, text, extra):
            for parts in truncations(whole, block=self.budget.block):
                prompt = self._prompt(parts, name, text, extra)
                if self._fits(prompt):
                    return prompt
        return self._cut(name, text, extra)

    def dropped(self, costs: Sequence[int], *, earlier: int = 0, bios: tuple[SpeakerBio, ...] = ()) -> int:
        """How many of the oldest turns no prompt with these bios shows, in whole blocks or all of them.

        `costs` are the tokens of the lines after the `earlier` ones, and of the target's line. The result
        never decreases from one turn to the next.
        """
        past = earlier + len(costs) - 1
        own = self._own_cost(bios) if bios else self._fixed
        room = self.budget.max_tokens - own - int(self.budget.reserve * self._room) - costs[-1]
        return max(
            earlier + oldest_beyond(costs[:-1], room=room, block=self.budget.block),
            dropped_by_count(past, self.budget),
        )

    def lines(self, context: Context) -> list[str]:
        """The past and the target as lines of a dialogue."""
        return [self.line(turn) for turn in (*context.past, context.target)]

    def line(self, turn: Utterance) -> str:
        """A past turn as a line `Name: text`."""
        return f"{self.safe.name(turn.speaker)}: {self.text(turn)}"

    def text(self, turn: Utterance) -> str:
        """The text of a turn, at most a third of the available tokens.

        A limit in characters alone is not enough: in some scripts one character is several tokens.
        """
        text, tokens = self.safe.utterance(turn.text), max(0, self._room) // 3
        if len(text.encode()) <= tokens or self.encoder.count(text) <= tokens:  # a token is at least a byte
            return text
        longest = min(len(text) - 1, self.safe.limits.utterance)
        cap = largest_fitting(
            longest, lambda cap: self.encoder.count(self.safe.utterance(turn.text, cap=cap)) <= tokens
        )
        return self.safe.utterance(turn.text, cap=cap)

    def cost(self, line: str) -> int:
        """Tokens of a line of dialogue, including its line break."""
        return self.encoder.count(line) + 1

    def content_free(self, label: str | None = None) -> RenderedPrompt:
        """The prompt without content, for the model's prior over labels (Zhao et al. 2021)."""
        return self._prompt(Parts(), "Someone", "N/A", {} if label is None else {"label": label})

    def _prompt(
        self, parts: Parts, name: str, text: str, extra: dict[str, Any], *, cap: int | None = None
    ) -> RenderedPrompt:
        """The prompt of these parts, with at most `cap` characters of the target (None: all)."""
        shown = len(text) if cap is None else cap
        whole, limit = self.safe.utterance(text, cap=shown), self.safe.limits.utterance
        return self.template.render(
            labels=self.labels,
            bios=[{"name": bio.name, "passages": bio.passages} for bio in parts.bios],
            dialogue=[*parts.lines, f"{name}: {whole}"],
            speaker=name,
            history=parts.history,
            examples=self._examples(parts.demonstrations),
            text=whole if shown <= limit else self.safe.utterance(text, cap=limit),
            **extra,
        )

    def _fits(self, prompt: RenderedPrompt) -> bool:
        return len(self.encoder.prompt_ids(prompt)) <= self.budget.max_tokens

    def _may_fit(self, name: str, text: str, extra: dict[str, Any]) -> bool:
        """False if a long target does not fit even alone, so no smaller context is tried."""
        return len(text) <= self.safe.limits.utterance or self._fits(self._prompt(Parts(), name, text, extra))

    def _cut(self, name: str, text: str, extra: dict[str, Any]) -> RenderedPrompt:
        """The prompt of the target alone, with as much of the beginning and end of its text as fits."""

        def prompt(cap: int) -> RenderedPrompt:
            return replace(self._prompt(Parts(), name, text, extra, cap=cap), truncated=cap < len(text))

        if not self._fits(prompt(0)):
            name = self.safe.name("")  # the name alone may exceed the budget
        if not self._fits(prompt(0)):
            own = len(self.encoder.prompt_ids(prompt(0)))
            advice = "raise it, or use a model that reads more where it has positions for no more"
            raise ConfigError(
                f"the prompt's own words take {own} tokens, more than max_tokens={self.budget.max_tokens}: "
                f"{advice}"
            )
        return prompt(
            largest_fitting(
                min(len(text), _MOST_PER_TOKEN * self.budget.max_tokens), lambda cap: self._fits(prompt(cap))
            )
        )

    @cached_property
    def _fixed(self) -> int:
        """Tokens of the template's own words."""
        return self._own_cost(())

    @property
    def _room(self) -> int:
        """Tokens left after the template's own words; negative if the budget does not hold those."""
        return self.budget.max_tokens - self._fixed

    def _own_cost(self, bios: tuple[SpeakerBio, ...]) -> int:
        """Tokens of the template's own words and of `bios`."""
        counted, cost = self._counted
        if not cost or counted != bios:
            extra = {"label": self.labels[0]} if "label" in self.template.variables else {}
            cost = len(self.encoder.prompt_ids(self._prompt(Parts(bios=bios), "", "", extra)))
            self._counted = bios, cost
        return cost

    def _bios(self, notes: SpeakerNotes, heard: Sequence[str]) -> tuple[SpeakerBio, ...]:
        """The bios in order of their speakers' first appearance.

        Bios that exceed their share lose passages from the end of the longest one.
        """
        place = {name: index for index, name in enumerate(dict.fromkeys(heard))}
        known = tuple(
            sorted(
                (bio for bio in notes.bios if bio.passages), key=lambda bio: place.get(bio.name, len(place))
            )
        )
        asked, fitted = self._fitted
        if asked != known:
            fitted = tuple(
                replace(
                    bio, name=self.safe.name(bio.name), passages=tuple(map(self.safe.passage, bio.passages))
                )
                for bio in known
            )
            while fitted and self._own_cost(fitted) > self._fixed + _BIO_SHARE * self._room:
                fitted = shorten_bios(fitted)
            self._fitted = known, fitted
        return fitted

    def _history(self, notes: SpeakerNotes) -> list[dict[str, object]]:
        # Only labels of the set are shown: stored text must not enter the prompt as a label.
        return [
            {
                "emotion": entry.emotion,
                "percent": round(100 * min(max(entry.confidence, 0.0), 1.0)),
                "text": self.safe.history(entry.text),
            }
            for entry in notes.history
            if entry.emotion in self.labels
        ]

    def _examples(self, demonstrations: Sequence[Demonstration]) -> str:
        shown = [
            {
                "lines": [
                    self.safe.utterance(text)
                    if name is None
                    else f"{self.safe.name(name)}: {self.safe.utterance(text)}"
                    for name, text in example.turns
                ],
                "emotion": example.emotion,
            }
            for example in demonstrations
        ]
        return self.few_shot.render(demonstrations=shown).user
