"""Prompts and answers as batches for training a causal language model.

The prompt is the trunk of a tree and every answer a branch of it, so one row holds an example with all its candidate answers, and,
with packing, as many examples as fit; none sees another. Only answers are learnt from: a prompt's own tokens have no loss.

Shapes: R rows, T tokens in a row, N answer tokens, A answers, E examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from erc.llm.encoding import PromptEncoder
from erc.llm.masks import NO_SEGMENT
from erc.llm.tasks import LabelledPrompt
from erc.training.task import Batch


@dataclass(frozen=True, slots=True)
class LlmExample:
    """Token ids of a prompt and of its answers, the right one at `target`.

    `weight` is that of its task; `emotion` says whether class weights apply; `dialogue` is the number of the conversation it is cut from, None for
    text of its own.
    """

    prompt: tuple[int, ...]
    answers: tuple[tuple[int, ...], ...]
    target: int
    weight: float = 1.0
    emotion: bool = False
    dialogue: int | None = None

    @property
    def length(self) -> int:
        """Tokens that the model reads: an answer's last token is only ever predicted."""
        return len(self.prompt) + sum(len(answer) - 1 for answer in self.answers)


def encode_example(
    made: LabelledPrompt, encoder: PromptEncoder, *, weight: float = 1.0, all_candidates: bool = True, dialogue: int | None = None
) -> LlmExample:
    """The example of a labelled prompt, with all its candidates or with its answer alone."""
    candidates = made.candidates if all_candidates and made.candidates else (made.answer,)
    answers = tuple(tuple(encoder.answer_ids(answer)) for answer in candidates)
    return LlmExample(tuple(encoder.prompt_ids(made.prompt)), answers, candidates.index(made.answer), weight, made.task == "erc", dialogue)


def dialogue_groups(examples: Sequence[LlmExample]) -> np.ndarray:
    """The number of each example's dialogue, (E,); one of its own where an example is of none."""
    return np.array([-1 - index if example.dialogue is None else example.dialogue for index, example in enumerate(examples)], dtype=np.int64)


def pack(lengths: Sequence[int], *, row_tokens: int | None) -> list[list[int]]:
    """Rows of example numbers, longest first into the fullest row that has room; None gives every example a row of its own.

    An example longer than `row_tokens` has its own row.
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


def collate_examples(examples: Sequence[LlmExample], *, pad_id: int, row_tokens: int | None = None) -> Batch:
    """Tensors of a batch.

    `input_ids`, `position_ids`, `segments`, `branches` (R, T); for each answer token `token_row`, `token_column` (whose output
    predicts it), `token_id`, `token_answer` (N,); for each answer `answer_example`, `answer_place` (A,); for each example `target`,
    `weight`, `emotion` (E,).
    """
    rows = pack([example.length for example in examples], row_tokens=row_tokens)
    width = max(sum(examples[index].length for index in row) for row in rows)
    grids = {name: torch.zeros(len(rows), width, dtype=torch.long) for name in ("input_ids", "position_ids", "segments", "branches")}
    grids["input_ids"].fill_(pad_id)
    grids["segments"].fill_(NO_SEGMENT)
    tokens: list[tuple[int, int, int, int]] = []
    owners: list[tuple[int, int]] = []
    for r, row in enumerate(rows):
        start = 0
        for index in row:
            start = _lay(examples[index], index, r, start, grids, tokens, owners)
    found, owned = torch.tensor(tokens).T.contiguous(), torch.tensor(owners).T.contiguous()
    return {
        **grids,
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
    grids: dict[str, Tensor],
    tokens: list[tuple[int, int, int, int]],
    owners: list[tuple[int, int]],
) -> int:
    """Writes one example into its row from column `start` on; returns the column after it."""

    def write(ids: Sequence[int], at: int, position: int, branch: int) -> None:
        part = slice(at, at + len(ids))
        grids["input_ids"][row, part] = torch.tensor(ids, dtype=torch.long)
        grids["position_ids"][row, part] = torch.arange(position, position + len(ids))
        grids["segments"][row, part] = index
        grids["branches"][row, part] = branch

    prompt = len(example.prompt)
    write(example.prompt, start, 0, 0)
    at = start + prompt
    for place, answer in enumerate(example.answers):
        tokens.append((row, start + prompt - 1, answer[0], len(owners)))
        write(answer[:-1], at, prompt, place + 1)
        tokens.extend((row, at + i, token, len(owners)) for i, token in enumerate(answer[1:]))
        owners.append((index, place))
        at += len(answer) - 1
    return at
