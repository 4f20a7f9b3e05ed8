"""How many tokens and turns a prompt may hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from erc.errors import ConfigError
from erc.llm.prompts.encoding import PromptEncoder
from erc.llm.prompts.template import RenderedPrompt


@dataclass(frozen=True, slots=True)
class Budget:
    """How much a prompt may hold.

    Attributes:
        max_tokens: Tokens of the whole prompt.
        max_turns: Past turns; None takes as many as fit.
        block: Turns that are dropped at once, oldest first. Up to `block - 1` more than `max_turns` may
            remain.
        reserve: Share of the tokens beyond the template's own that is kept for the parts that change
            every turn: remembered turns, demonstrations and the question.
    """

    max_tokens: int = 1024
    max_turns: int | None = None
    block: int = 8
    reserve: float = 0.25

    def __post_init__(self) -> None:
        if self.max_tokens < 1 or self.block < 1 or (self.max_turns is not None and self.max_turns < 0):
            raise ConfigError(
                f"a budget of {self.max_tokens} tokens, {self.max_turns} turns in blocks of {self.block}: "
                "all must be positive"
            )
        if not 0 <= self.reserve < 1:
            raise ConfigError(
                f"a budget that reserves {self.reserve} of its room: choose a share from 0 to below 1"
            )

    def within(self, positions: int | None, *, answer: int) -> Budget:
        """The part of this budget that leaves room for an answer of `answer` tokens.

        `positions` is the number of tokens the model has positions for; None means no known limit.

        Raises:
            ConfigError: the answer alone uses all positions.
        """
        if positions is None or self.max_tokens + answer <= positions:
            return self
        if positions <= answer:
            raise ConfigError(
                f"the model has positions for {positions} tokens, all of which an answer of {answer} takes: "
                "use one that reads more"
            )
        return replace(self, max_tokens=positions - answer)


def fit(
    lines: Sequence[str],
    render: Callable[[Sequence[str]], RenderedPrompt],
    *,
    encoder: PromptEncoder,
    budget: Budget,
) -> RenderedPrompt | None:
    """The prompt with as many of the last `lines` as the budget holds; None where not even the last fits.

    Whole blocks are dropped, oldest first, and no more than needed. The result depends only on the lines it
    holds, not on how many there were.
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
        # The costs of single lines are nearly additive, so one step drops most lines. The loops correct the
        # rest.
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
    """How many of `past` turns exceed `max_turns`, in whole blocks."""
    if budget.max_turns is None or past <= budget.max_turns:
        return 0
    return (past - budget.max_turns) // budget.block * budget.block
