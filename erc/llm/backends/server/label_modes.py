"""Three modes in which a server scores a closed set of labels.

- `completions`: the server reads prompt and label and echoes the log-probability of every token; exact.
- `codes`: each label has a one-letter code, and the server gives the log-probabilities of the most probable
  first tokens. Two orders of the labels are averaged against position bias.
- `choice`: the server must answer with one label; its confidence is unknown.
"""

from __future__ import annotations

import math
import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from erc.llm.backends.server.chat import Chat
from erc.llm.backends.server.transport import ServerError, Transport, UnusableError
from erc.llm.prompts.encoding import PromptEncoder
from erc.llm.prompts.template import RenderedPrompt

Mode = Literal["completions", "codes", "choice"]
CODES = string.ascii_uppercase + string.ascii_lowercase
TOP_LOGPROBS = 20
"""The most the interface gives. Of a label whose code is not among them, only a bound is known."""
_LEAST_LEFT = 1e-9
"""Least probability outside the top tokens; servers round, so that theirs may sum to 1 or more."""
_NO_LOGPROBS = (
    "the server's chat answer holds no top log-probabilities that are numbers: CONVEMO_SERVER_MODE=choice "
    "does without them"
)
_NEVER = -9999.0
"""What some servers write for probability 0, where others write minus infinity."""


@dataclass(frozen=True, slots=True)
class PromptScores:
    """Scores of one prompt, (K,). `truncated`: some label's score is only an upper bound."""

    values: tuple[float, ...]
    truncated: bool = False


def echoed(
    transport: Transport, model: str, encoder: PromptEncoder, prompt: RenderedPrompt, labels: Sequence[str]
) -> PromptScores:
    """Exact log-likelihoods by `/v1/completions` with `echo`.

    Prompt and label are sent as token ids, so the server cannot add a second beginning token or merge
    tokens across the boundary. The first label is sent alone; if the server refuses it, no other request is
    sent. The other labels are sent concurrently and can reuse the server's prompt cache.

    Raises:
        ServerError: the server refuses the request, or echoes other tokens.
    """
    prefix = encoder.prompt_ids(prompt)

    def asked(answer: Sequence[int]) -> float:
        body = {
            "model": model,
            "prompt": [*prefix, *answer],
            "max_tokens": 1,
            "echo": True,
            "logprobs": 1,
            "temperature": 0,
        }
        return echoed_sum(transport.post("/completions", body), prefix=len(prefix), answer=len(answer))

    answers = [encoder.answer_ids(label) for label in labels]
    return PromptScores((*map(asked, answers[:1]), *transport.map(asked, answers[1:])))


def echoed_sum(response: dict[str, Any], *, prefix: int, answer: int) -> float:
    """The sum of an answer's token log-probabilities in an echo of `prefix + answer` tokens.

    One generated token may follow.

    Raises:
        UnusableError: the response holds no such log-probabilities.
    """
    try:
        found = response["choices"][0]["logprobs"]["token_logprobs"]
    except (KeyError, IndexError, TypeError):
        raise UnusableError(
            "the server's completion holds no token log-probabilities: start it with them, or use another "
            "mode"
        ) from None
    if not isinstance(found, list) or len(found) not in (prefix + answer, prefix + answer + 1):
        size = len(found) if isinstance(found, list) else 0
        raise UnusableError(
            f"the server echoed {size} tokens where {prefix + answer} were sent: its tokenizer is not the "
            "one given here"
        )
    part = found[prefix : prefix + answer]
    if not all(isinstance(value, int | float) and value < math.inf for value in part):  # False for NaN
        raise UnusableError("the server gave an answer's token no log-probability")
    return float(sum(max(value, _NEVER) for value in part))


def coded(chat: Chat, prompt: RenderedPrompt, labels: Sequence[str]) -> PromptScores:
    """Log-probabilities by one-letter codes, renormalized, averaged over the labels' order and its reverse.

    Raises:
        ServerError: there are more labels than codes, or the server gives no such log-probabilities.
    """
    if len(labels) > len(CODES):
        raise ServerError(
            f"{len(labels)} labels are more than there are one-letter codes ({len(CODES)}): use a server "
            "with echoed completions"
        )
    forward, first_cut = _one_order(chat, prompt, labels)
    backward, second_cut = _one_order(chat, prompt, tuple(reversed(labels)))
    mixed = [_log_sum((a, b)) - math.log(2) for a, b in zip(forward, reversed(backward), strict=True)]
    return PromptScores(tuple(mixed), first_cut or second_cut)


def _one_order(chat: Chat, prompt: RenderedPrompt, labels: Sequence[str]) -> tuple[list[float], bool]:
    codes = CODES[: len(labels)]
    legend = "\n".join(f"{code} = {label}" for code, label in zip(codes, labels, strict=True))
    closing = (
        f"Do not write the word but the letter that stands for it in this list, and nothing else:\n{legend}"
    )
    response = chat.ask(
        prompt, closing=closing, max_tokens=1, temperature=0, logprobs=True, top_logprobs=TOP_LOGPROBS
    )
    try:
        top = response["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
        given = {entry["token"]: max(float(entry["logprob"]), _NEVER) for entry in reversed(top)}
    except (KeyError, IndexError, TypeError, ValueError):
        raise UnusableError(_NO_LOGPROBS) from None
    if not all(value < math.inf for value in given.values()):  # False for NaN
        raise UnusableError(_NO_LOGPROBS)
    found: dict[str, list[float]] = {}
    for token, value in given.items():
        if token.strip() in codes and len(token.strip()) == 1:  # " A" and "A" are two tokens for one code
            found.setdefault(token.strip(), []).append(value)
    if not found:
        raise UnusableError(
            f"none of the codes {codes} is among the server's top tokens: the model does not answer "
            "with a letter; set CONVEMO_SERVER_MODE=choice to constrain it to a label instead"
        )
    left = 1.0 - sum(map(math.exp, given.values()))
    floor = min(
        *given.values(), math.log(max(left, _LEAST_LEFT))
    )  # at most as probable as the last given token, and as all the rest
    raw = [_log_sum(found[code]) if code in found else floor for code in codes]
    total = _log_sum(raw)
    return [value - total for value in raw], len(found) < len(codes)


def chosen(chat: Chat, prompt: RenderedPrompt, labels: Sequence[str]) -> PromptScores:
    """One label by constrained output: 0 for it and minus infinity for the others.

    Raises:
        ServerError: the server refuses the request, or its answer is no label of the set.
    """
    schema = {
        "type": "object",
        "properties": {"emotion": {"type": "string", "enum": list(labels)}},
        "required": ["emotion"],
        "additionalProperties": False,
    }
    constraint = {"type": "json_schema", "json_schema": {"name": "emotion", "strict": True, "schema": schema}}
    response = chat.ask(
        prompt,
        closing='Answer as JSON: {"emotion": "..."}',
        max_tokens=40,
        temperature=0,
        response_format=constraint,
    )
    label = answer_in(response, labels)
    return PromptScores(tuple(0.0 if known == label else -math.inf for known in labels))


def answer_in(response: dict[str, Any], labels: Sequence[str]) -> str:
    """The label of a constrained answer, checked because some servers ignore unknown constraints.

    Raises:
        UnusableError: the answer holds no label of the set.
    """
    import json

    try:
        text = response["choices"][0]["message"]["content"]
        label = json.loads(text)["emotion"]
    except (KeyError, IndexError, TypeError, ValueError):
        raise UnusableError(
            "the server does not keep to the JSON schema it was given: it cannot be used for labels"
        ) from None
    if label not in labels:
        raise UnusableError(
            "the server answered a label outside the set it was given: it does not keep to constraints and "
            "cannot be used for labels"
        )
    return str(label)


def _log_sum(values: Sequence[float]) -> float:
    top = max(values)
    return top + math.log(sum(math.exp(value - top) for value in values))
