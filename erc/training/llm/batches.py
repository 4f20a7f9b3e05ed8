"""Prompts and answers as batches for training a causal language model.

A row has the shape of a tree: the prompt is the trunk, and every answer is a branch. So one row holds an
example with all its candidate answers. With packing it holds as many examples as fit, and no example attends
to another. A common beginning of the prompts is in the row once. Only answer tokens have a loss.

Shapes: R rows, T tokens in a row, N answer tokens, A answers, E examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from erc.llm.prompts.encoding import PromptEncoder
from erc.llm.prompts.tasks import LabelledPrompt
from erc.llm.scoring.masks import NO_SEGMENT, SHARED
from erc.training.loop.task import Batch

_HEAD = 16
"""Prompts with this many equal first tokens are packed together."""


@dataclass(frozen=True, slots=True)
class LlmExample:
    """Token ids of a prompt and of its answers.

    Attributes:
        prompt: Ids of the prompt.
        answers: Ids of each answer.
        target: Index of the right answer.
        weight: Weight of the task's loss.
        emotion: Whether class weights apply.
        dialogue: Number of the conversation; None for text of its own.
        kind: Number of the task among those of the stage.
    """

    prompt: tuple[int, ...]
    answers: tuple[tuple[int, ...], ...]
    target: int
    weight: float = 1.0
    emotion: bool = False
    dialogue: int | None = None
    kind: int = 0

    @property
    def length(self) -> int:
        """Tokens that the model reads; the last token of an answer is only predicted."""
        return len(self.prompt) + sum(len(answer) - 1 for answer in self.answers)


def encode_example(
    made: LabelledPrompt,
    encoder: PromptEncoder,
    *,
    weight: float = 1.0,
    all_candidates: bool = True,
    dialogue: int | None = None,
    kind: int = 0,
) -> LlmExample:
    """The example of a labelled prompt, with all candidates or with its answer alone."""
    candidates = made.candidates if all_candidates and made.candidates else (made.answer,)
    answers = tuple(tuple(encoder.answer_ids(answer)) for answer in candidates)
    prompt, right = tuple(encoder.prompt_ids(made.prompt)), candidates.index(made.answer)
    return LlmExample(
        prompt, answers, right, weight, emotion=made.task == "erc", dialogue=dialogue, kind=kind
    )


def dialogue_groups(examples: Sequence[LlmExample]) -> np.ndarray:
    """The number of each example's dialogue, (E,); an example without one gets a unique number."""
    return np.array(
        [
            -1 - index if example.dialogue is None else example.dialogue
            for index, example in enumerate(examples)
        ],
        dtype=np.int64,
    )


def pack(lengths: Sequence[int], *, row_tokens: int | None) -> list[list[int]]:
    """Rows of example numbers: longest first, into the fullest row that has room.

    `row_tokens` None gives every example its own row, and so does an example longer than `row_tokens`.
    """
    if row_tokens is None:
        return [[index] for index in range(len(lengths))]
    rows: list[list[int]] = []
    room: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        fitting = [row for row in range(len(rows)) if room[row] >= lengths[index]]
        if fitting:
            row = min(fitting, key=lambda r: (room[r], r))
        else:
            row = len(rows)
            rows.append([])
            room.append(row_tokens)
        rows[row].append(index)
        room[row] -= lengths[index]
    return rows


@dataclass(frozen=True, slots=True)
class Row:
    """Examples that share a row, and the number of prompt tokens that they share at the beginning."""

    examples: tuple[int, ...]
    shared: int

    def width(self, examples: Sequence[LlmExample]) -> int:
        """Tokens of the row."""
        return self.shared + sum(examples[index].length - self.shared for index in self.examples)


def rows_of(examples: Sequence[LlmExample], *, row_tokens: int | None) -> list[Row]:
    """Packed rows of prompts with a common beginning."""
    alike: dict[tuple[int, ...], list[int]] = {}
    for index, example in enumerate(examples):
        alike.setdefault(example.prompt[:_HEAD], []).append(index)
    single = [members[0] for members in alike.values() if len(members) == 1]
    groups = [members for members in alike.values() if len(members) > 1] + ([single] if single else [])
    rows = []
    for members in groups:
        common = (
            0
            if row_tokens is None or members is single
            else common_beginning([examples[index].prompt for index in members])
        )
        room = None if row_tokens is None else max(1, row_tokens - common)
        for packed in pack([examples[index].length - common for index in members], row_tokens=room):
            rows.append(Row(tuple(members[place] for place in packed), common if len(packed) > 1 else 0))
    return rows


def common_beginning(prompts: Sequence[tuple[int, ...]]) -> int:
    """The number of equal first tokens of all prompts, without the last token of the shortest prompt."""
    first, last = min(prompts), max(prompts)  # the common prefix of these two is common to all
    limit = min(map(len, prompts)) - 1
    return next((i for i in range(limit) if first[i] != last[i]), max(0, limit))


def collate_examples(examples: Sequence[LlmExample], *, pad_id: int, row_tokens: int | None = None) -> Batch:
    """The tensors of a batch.

    `input_ids`, `position_ids`, `segments`, `branches` and `example_tokens` (the length of a token's
    example; 0 for padding) are (R, T). For each answer token, (N,): `token_row`, `token_column` (whose
    output predicts it), `token_id`, `token_answer`. For each answer, (A,): `answer_example`,
    `answer_place`. For each example, (E,): `target`, `weight`, `emotion`.
    """
    rows = rows_of(examples, row_tokens=row_tokens)
    width = max(row.width(examples) for row in rows)
    grids = {
        name: torch.zeros(len(rows), width, dtype=torch.long)
        for name in ("input_ids", "position_ids", "segments", "branches")
    }
    example_tokens = torch.zeros(len(rows), width)
    grids["input_ids"].fill_(pad_id)
    grids["segments"].fill_(NO_SEGMENT)
    tokens: list[tuple[int, int, int, int]] = []
    owners: list[tuple[int, int]] = []
    for r, row in enumerate(rows):
        if row.shared:
            _write(
                grids,
                r,
                examples[row.examples[0]].prompt[: row.shared],
                at=0,
                position=0,
                segment=SHARED,
                branch=0,
            )
        lengths = [examples[index].length for index in row.examples]
        example_tokens[r, : row.shared] = sum(lengths) / len(lengths)
        start = row.shared
        for index, length in zip(row.examples, lengths, strict=True):
            example_tokens[r, start : start + length - row.shared] = length
            start = _lay(examples[index], index, r, start, row.shared, grids, tokens, owners)
    found, owned = torch.tensor(tokens).T.contiguous(), torch.tensor(owners).T.contiguous()
    return {
        **grids,
        "example_tokens": example_tokens,
        **{f"token_{name}": found[i] for i, name in enumerate(("row", "column", "id", "answer"))},
        **{f"answer_{name}": owned[i] for i, name in enumerate(("example", "place"))},
        "target": torch.tensor([example.target for example in examples]),
        "weight": torch.tensor([example.weight for example in examples], dtype=torch.float32),
        "emotion": torch.tensor([example.emotion for example in examples]),
    }


def _lay(
    example: LlmExample,
    index: int,
    row: int,
    start: int,
    shared: int,
    grids: dict[str, Tensor],
    tokens: list[tuple[int, int, int, int]],
    owners: list[tuple[int, int]],
) -> int:
    """Writes an example into its row from column `start`; returns the next column.

    The `shared` first tokens of its prompt are left out, because the row already has them.
    """
    _write(grids, row, example.prompt[shared:], at=start, position=shared, segment=index, branch=0)
    at = start + len(example.prompt) - shared
    last = at - 1
    for place, answer in enumerate(example.answers):
        tokens.append((row, last, answer[0], len(owners)))
        _write(grids, row, answer[:-1], at=at, position=len(example.prompt), segment=index, branch=place + 1)
        tokens.extend((row, at + i, token, len(owners)) for i, token in enumerate(answer[1:]))
        owners.append((index, place))
        at += len(answer) - 1
    return at


def _write(
    grids: dict[str, Tensor],
    row: int,
    ids: Sequence[int],
    *,
    at: int,
    position: int,
    segment: int,
    branch: int,
) -> None:
    part = slice(at, at + len(ids))
    grids["input_ids"][row, part] = torch.tensor(ids, dtype=torch.long)
    grids["position_ids"][row, part] = torch.arange(position, position + len(ids))
    grids["segments"][row, part] = segment
    grids["branches"][row, part] = branch
