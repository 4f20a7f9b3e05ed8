"""The part of a dialogue that prompts show: the lines still in use, and each speaker's number of turns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from erc.data.conversation import Utterance
from erc.llm.prompts.builder import PromptBuilder
from erc.llm.prompts.notes import NO_NOTES, Demonstration, SpeakerNotes
from erc.llm.prompts.template import RenderedPrompt


class DialogueWindow:
    """The past of one conversation, in bounded memory: lines that no later prompt can show are deleted.

    Prompts are the same as with the whole past. Lines are deleted in whole blocks. Besides the lines, only
    the number of turns of each speaker is stored.
    """

    def __init__(self, builder: PromptBuilder) -> None:
        self.builder = builder
        self.earlier = 0
        """Number of deleted turns; a multiple of the budget's block."""
        self.spoken: dict[str, int] = {}
        """Turns so far by speaker as written, in order of first appearance."""
        self._lines: list[str] = []
        self._costs: list[int] = []

    def __len__(self) -> int:
        """Turns so far, deleted ones included."""
        return self.earlier + len(self._lines)

    @property
    def nbytes(self) -> int:
        """Bytes of the text kept."""
        return sum(len(line.encode("utf-8", "replace")) for line in (*self._lines, *self.spoken))

    def prompt(
        self,
        target: Utterance,
        *,
        notes: SpeakerNotes = NO_NOTES,
        demonstrations: Sequence[Demonstration] = (),
        label: str | None = None,
    ) -> RenderedPrompt:
        """The prompt that asks for the emotion of `target`, the turn after those so far.

        `label` is as in `PromptBuilder.emotion`.

        Raises:
            ConfigError: the budget does not hold the template's own words.
        """
        given: Any = {"notes": notes, "demonstrations": demonstrations, "label": label}
        return self.builder.emotion_after(
            self._lines, target, earlier=self.earlier, costs=self._costs, heard=tuple(self.spoken), **given
        )

    def prompts(
        self,
        target: Utterance,
        *,
        notes: SpeakerNotes = NO_NOTES,
        demonstrations: Sequence[Demonstration] = (),
    ) -> tuple[RenderedPrompt, ...]:
        """One prompt for each of the builder's labels. Text they share is stored once.

        Raises:
            ConfigError: the budget does not hold the template's own words.
        """
        pool: dict[str, str] = {}
        found = (
            self.prompt(target, notes=notes, demonstrations=demonstrations, label=label)
            for label in self.builder.labels
        )
        return tuple(
            replace(one, segments=tuple((name, pool.setdefault(text, text)) for name, text in one.segments))
            for one in found
        )

    def append(self, turn: Utterance) -> None:
        """Adds a turn to the past."""
        line = self.builder.line(turn)
        self._lines.append(line)
        self._costs.append(self.builder.cost(line))
        self.spoken[turn.speaker] = self.spoken.get(turn.speaker, 0) + 1
        self._forget()

    def _forget(self) -> None:
        """Deletes lines that no later prompt shows, not even one without bios and with an empty target."""
        block = self.builder.budget.block
        count = self.builder.dropped([*self._costs, 0], earlier=self.earlier) // block * block - self.earlier
        del self._lines[:count], self._costs[:count]
        self.earlier += count

    def snapshot(self) -> Callable[[], None]:
        """Saves the current state; calling the result restores it."""
        earlier, lines, costs, spoken = self.earlier, list(self._lines), list(self._costs), dict(self.spoken)

        def back() -> None:
            self.earlier, self._lines, self._costs, self.spoken = earlier, lines, costs, spoken

        return back

    def record(self) -> dict[str, Any]:
        """The state as JSON values."""
        return {"lines": self._lines, "earlier": self.earlier, "spoken": self.spoken}

    def restore(self, record: Mapping[str, Any]) -> None:
        """Restores the state of `record`, made with the same prompts and budget."""
        self._lines = [str(line) for line in record["lines"]]
        self._costs = [self.builder.cost(line) for line in self._lines]
        self.earlier = int(record["earlier"])
        self.spoken = {str(name): int(count) for name, count in record["spoken"].items()}
