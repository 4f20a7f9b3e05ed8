"""Builds the prompt of a turn within a token budget.

The instruction, the bios and the beginning of the dialogue stay the same from turn to turn, so a back end
reads them once. Which of the oldest turns are left out follows from the dialogue and the bios alone, never
from what else a prompt shows: from turn to turn the beginning only moves forward, several turns at a time.
What changes with every turn has a part of the budget to itself; where it needs more, the demonstrations give
way, the farthest before the nearest, then the remembered turns, and only then more of the dialogue and of the
bios. The target never goes: it stands whole in its line however long it is (the question quotes a long one
without its middle), and only where it is too long alone it loses its middle there, too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from erc.data.conversation import Context, Utterance
from erc.errors import ConfigError
from erc.llm.prompts.encoding import PromptEncoder
from erc.llm.prompts.notes import NO_NOTES, Demonstration, SpeakerBio, SpeakerNotes
from erc.llm.prompts.sanitize import PromptSanitizer, flat
from erc.llm.prompts.template import PromptTemplate, RenderedPrompt
from erc.llm.prompts.truncation import Parts, beyond, giving_way, most, shorter

FORMAT = 2
"""Raised where the same templates are filled with other things than before; part of a prompt's hash."""
_BIO_SHARE = 0.5
"""Of the room beside the template's own words: most that bios may take, so that they never leave a prompt without dialogue."""

_MOST_PER_TOKEN = 16
"""Characters: of a target that is too long alone no more than these for each token of the budget are tried."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How much a prompt may hold.

    `max_tokens` counts the whole prompt; `max_turns` past turns (None: as many as fit); turns are dropped
    from the oldest in blocks of `block`, so up to `block - 1` more than `max_turns` may stand. `reserve` is
    the share of the room beside the template's own words that is kept from the dialogue for what changes with
    every turn: remembered turns, demonstrations, the question.
    """

    max_tokens: int = 1024
    max_turns: int | None = None
    block: int = 8
    reserve: float = 0.25

    def __post_init__(self) -> None:
        if self.max_tokens < 1 or self.block < 1 or (self.max_turns is not None and self.max_turns < 0):
            raise ConfigError(
                f"a budget of {self.max_tokens} tokens, {self.max_turns} turns in blocks of {self.block}: all must be positive"
            )
        if not 0 <= self.reserve < 1:
            raise ConfigError(
                f"a budget that reserves {self.reserve} of its room: choose a share from 0 to below 1"
            )

    def within(self, positions: int | None, *, answer: int) -> Budget:
        """This budget, or as much of it as leaves an answer of `answer` tokens within the model's `positions` (None: no limit is known).

        Raises ConfigError where that is nothing.
        """
        if positions is None or self.max_tokens + answer <= positions:
            return self
        if positions <= answer:
            raise ConfigError(
                f"the model has positions for {positions} tokens, all of which an answer of {answer} takes: use one that reads more"
            )
        return replace(self, max_tokens=positions - answer)


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
        neutraliser: PromptSanitizer | None = None,
    ) -> None:
        self.encoder = encoder
        self.labels = tuple(labels)
        self.template = PromptTemplate.load("erc") if template is None else template
        self.few_shot = PromptTemplate.load("few_shot") if few_shot is None else few_shot
        self.budget = Budget() if budget is None else budget
        self.safe = PromptSanitizer.for_tokenizer(encoder.tokenizer) if neutraliser is None else neutraliser
        # The speakers of a dialogue stay the same for many turns, so the last bios that were fitted, and what
        # they cost, are kept.
        self._fitted: tuple[tuple[SpeakerBio, ...], tuple[SpeakerBio, ...]] = ((), ())
        self._counted: tuple[tuple[SpeakerBio, ...], int] = ((), 0)

    @property
    def prompt_id(self) -> str:
        """The templates by name and version, as a prediction names them."""
        return f"{self.template.id}+{self.few_shot.id}"

    @property
    def sha256(self) -> str:
        """Both templates' hashes in one."""
        return combined_hash(self.template, self.few_shot)

    def emotion(
        self,
        context: Context,
        *,
        notes: SpeakerNotes = NO_NOTES,
        demonstrations: Sequence[Demonstration] = (),
        label: str | None = None,
    ) -> RenderedPrompt:
        """The prompt that asks for the emotion of `context.target`; `label` is the one asked for by a yes-or-no template.

        Whatever a user wrote, there is a prompt. Raises ConfigError where the budget does not even hold the
        template's own words.
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
        """As `emotion`, from the lines of the past and what each costs (None: counted here).

        `earlier` turns, whole blocks of them, stood before these and fit no prompt any more. `heard` names
        the speakers of the past in order of first appearance: the bio of one who is heard for the first time
        stands behind the others'.
        """
        bios = self._bios(notes, (*heard, target.speaker))
        costs = [self.cost(line) for line in past] if costs is None else costs
        dropped = self.dropped([*costs, self.cost(self.line(target))], earlier=earlier, bios=bios)
        shown = [example for example in demonstrations if example.emotion in self.labels]
        whole = Parts(tuple(past[dropped - earlier :]), bios, tuple(self._history(notes)), tuple(shown))
        name, text = self.safe.name(target.speaker), flat(target.text)
        extra = {} if label is None else {"label": label}
        if self._may_fit(name, text, extra):
            for parts in giving_way(whole, block=self.budget.block):
                prompt = self._prompt(parts, name, text, extra)
                if self._fits(prompt):
                    return prompt
        return self._cut(name, text, extra)

    def dropped(self, costs: Sequence[int], *, earlier: int = 0, bios: tuple[SpeakerBio, ...] = ()) -> int:
        """How many of the oldest turns no prompt shows that has these bios, whatever else is in it: whole blocks, or the whole past.

        `costs` are those of the past's lines behind the `earlier` ones, and of the target's. It never falls
        from one turn to the next.
        """
        past = earlier + len(costs) - 1
        own = self._own_cost(bios) if bios else self._fixed
        room = self.budget.max_tokens - own - int(self.budget.reserve * self._room) - costs[-1]
        return max(
            earlier + beyond(costs[:-1], room=room, block=self.budget.block),
            dropped_by_count(past, self.budget),
        )

    def lines(self, context: Context) -> list[str]:
        """The past and the target as they stand in a dialogue."""
        return [self.line(turn) for turn in (*context.past, context.target)]

    def line(self, turn: Utterance) -> str:
        """A past turn as a line `Name: text`."""
        return f"{self.safe.name(turn.speaker)}: {self.text(turn)}"

    def text(self, turn: Utterance) -> str:
        """The text of a turn, at most a third of the room: in scripts that a tokenizer hardly knows every character may be several tokens."""
        text, tokens = self.safe.utterance(turn.text), max(0, self._room) // 3
        if len(text.encode()) <= tokens or self.encoder.count(text) <= tokens:  # no token is less than a byte
            return text
        longest = min(len(text) - 1, self.safe.limits.utterance)
        cap = most(longest, lambda cap: self.encoder.count(self.safe.utterance(turn.text, cap=cap)) <= tokens)
        return self.safe.utterance(turn.text, cap=cap)

    def cost(self, line: str) -> int:
        """Tokens of a line of dialogue, its end included."""
        return self.encoder.count(line) + 1

    def content_free(self, label: str | None = None) -> RenderedPrompt:
        """The prompt with nothing to judge in it, for the prior that the model gives each label anyway (Zhao et al. 2021)."""
        return self._prompt(Parts(), "Someone", "N/A", {} if label is None else {"label": label})

    def _prompt(
        self, parts: Parts, name: str, text: str, extra: dict[str, Any], *, cap: int | None = None
    ) -> RenderedPrompt:
        """The prompt of these parts and a target of which `cap` characters are shown (None: all)."""
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
        """False where a long target is too much alone: it is not tried with ever less beside it."""
        return len(text) <= self.safe.limits.utterance or self._fits(self._prompt(Parts(), name, text, extra))

    def _cut(self, name: str, text: str, extra: dict[str, Any]) -> RenderedPrompt:
        """The prompt of nothing but the target, with as much of the beginning and the end of its text as fits."""

        def prompt(cap: int) -> RenderedPrompt:
            return replace(self._prompt(Parts(), name, text, extra, cap=cap), truncated=cap < len(text))

        if not self._fits(prompt(0)):
            name = self.safe.name("")  # a name may be a user's longest word
        if not self._fits(prompt(0)):
            own = len(self.encoder.prompt_ids(prompt(0)))
            advice = "raise it, or use a model that reads more where it has positions for no more"
            raise ConfigError(
                f"the prompt's own words take {own} tokens, more than max_tokens={self.budget.max_tokens}: {advice}"
            )
        return prompt(
            most(
                min(len(text), _MOST_PER_TOKEN * self.budget.max_tokens), lambda cap: self._fits(prompt(cap))
            )
        )

    @cached_property
    def _fixed(self) -> int:
        """Tokens of the template's own words."""
        return self._own_cost(())

    @property
    def _room(self) -> int:
        """Tokens beside them; less than none where the budget does not even hold these."""
        return self.budget.max_tokens - self._fixed

    def _own_cost(self, bios: tuple[SpeakerBio, ...]) -> int:
        """Tokens of the template's own words and of bios."""
        counted, cost = self._counted
        if not cost or counted != bios:
            extra = {"label": self.labels[0]} if "label" in self.template.variables else {}
            cost = len(self.encoder.prompt_ids(self._prompt(Parts(bios=bios), "", "", extra)))
            self._counted = bios, cost
        return cost

    def _bios(self, notes: SpeakerNotes, heard: Sequence[str]) -> tuple[SpeakerBio, ...]:
        """The bios in the order in which their speakers are heard, less the last passages of the longest where they take more than their share."""
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
                fitted = shorter(fitted)
            self._fitted = known, fitted
        return fitted

    def _history(self, notes: SpeakerNotes) -> list[dict[str, object]]:
        # A label from a store is shown only where the set knows it: a stored text may not enter the prompt by
        # the label's column.
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


def combined_hash(*templates: PromptTemplate) -> str:
    """One hash of several templates, in their order, and of how they are filled."""
    return hashlib.sha256(
        "".join([*(template.sha256 for template in templates), f"format {FORMAT}"]).encode()
    ).hexdigest()


def fit(
    lines: Sequence[str],
    render: Callable[[Sequence[str]], RenderedPrompt],
    *,
    encoder: PromptEncoder,
    budget: Budget,
) -> RenderedPrompt | None:
    """The prompt with as many of the last `lines` as the budget holds, dropping whole blocks from the oldest; None where it does not hold the last.

    As few go as will do: a prompt depends on what it holds, not on how much was there to begin with.
    """
    past = len(lines) - 1
    least = dropped_by_count(past, budget)

    def attempt(dropped: int) -> tuple[RenderedPrompt, int]:
        prompt = render(lines[min(dropped, past) :])
        return prompt, len(encoder.prompt_ids(prompt)) - budget.max_tokens

    dropped = least
    prompt, over = attempt(dropped)
    while over > 0:
        if dropped >= past:
            return None
        # Lines cost about what they cost alone, so most of the way is gone in one step; the loops settle what
        # is left.
        freed, target = 0, dropped
        while target < past and (freed < over or target == dropped):
            freed += sum(encoder.count(line) + 1 for line in lines[target : min(target + budget.block, past)])
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
