"""Global speaker identity: a row for each known speaker of the training corpus, and one for all others.

Shapes: U turns, P width.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from erc.data.conversation import Conversation
from erc.data.identity import is_stranger, speaker_key

UNKNOWN = 0
"""Row of the unknown speaker."""


@dataclass(frozen=True, slots=True)
class SpeakerVocabulary:
    """Names of one corpus in the order of their rows, which start at 1; row 0 is the unknown speaker.

    A name is known in its own corpus only: a user's "Ross" is unknown.

    Raises:
        ValueError: If two names differ only in case and spacing.
    """

    corpus: str
    names: tuple[str, ...]
    _rows: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        rows = {_key(self.corpus, name): row for row, name in enumerate(self.names, start=1)}
        if len(rows) < len(self.names):
            raise ValueError(f"speaker names of {self.corpus} differ only in case or spacing")
        object.__setattr__(self, "_rows", rows)

    def __len__(self) -> int:
        """Rows of the table, the unknown speaker's included."""
        return 1 + len(self.names)

    def row(self, corpus: str | None, name: str) -> int:
        """The speaker's row; `UNKNOWN` for an unknown name or corpus."""
        return UNKNOWN if is_stranger(corpus, name) else self._rows.get(_key(corpus, name), UNKNOWN)

    @classmethod
    def from_conversations(
        cls, conversations: Iterable[Conversation], *, corpus: str, min_turns: int = 2
    ) -> SpeakerVocabulary:
        """The speakers of `corpus` with at least `min_turns` turns, most turns first.

        Role names, such as "Waiter", are left out: they are different people in each conversation.
        """
        turns: Counter[str] = Counter()
        names: dict[str, str] = {}
        for conversation in conversations:
            if conversation.corpus != corpus:
                continue
            for utterance in conversation:
                key = _key(corpus, utterance.speaker)
                names.setdefault(key, utterance.speaker)
                turns[key] += not is_stranger(corpus, utterance.speaker)
        order = sorted((key for key in turns if turns[key] >= min_turns), key=lambda key: (-turns[key], key))
        return cls(corpus=corpus, names=tuple(names[key] for key in order))


def _key(corpus: str | None, name: str) -> str:
    return speaker_key(corpus, name, "")


class SpeakerTable(nn.Module):
    """An embedding (P,) for each row, which is added to the turn's vector.

    In training, a share `dropout` of the turns gets the unknown speaker's row, so that this row is trained
    too. All rows start at zero.
    """

    def __init__(self, *, rows: int, width: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(rows, width)
        self.dropout = dropout
        nn.init.zeros_(self.embedding.weight)

    def forward(self, rows: Tensor) -> Tensor:
        """Embeddings (U, P) of rows (U,) int64."""
        if self.training and self.dropout > 0.0:
            hidden = torch.rand(rows.shape, device=rows.device) < self.dropout
            rows = rows.masked_fill(hidden, UNKNOWN)
        return self.embedding(rows)
