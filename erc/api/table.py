"""The table of a labelled conversation for terminals: speaker, text, emotion and uncertainty."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from erc.inference.prediction import Prediction
    from erc.inference.predictor import Labelled

_FAMILIES = {
    "yellow": "joy joyful positive amusement excitement admiration gratitude optimism pride relief powerful",
    "magenta": "love caring desire",
    "green": "peaceful approval trust",
    "red": "anger mad negative annoyance disapproval",
    "dark_olive_green3": "disgust",
    "blue": "sadness sad grief remorse disappointment embarrassment pessimism",
    "purple": "fear scared nervousness",
    "cyan": "surprise curiosity confusion realization ambiguous anticipation",
}
_COLOURS = {emotion: colour for colour, family in _FAMILIES.items() for emotion in family.split()}
_WIDE = 110
_BAR = "▏▎▍▌▋▊▉█"


def conversation_table(labelled: Labelled, *, turns: int | None = None, width: int = _WIDE) -> Table:
    """A table of the first `turns` turns; None shows all.

    Columns are speaker, text, emotion with its confidence, finer emotions, uncertainty and a review mark.
    The emotion is always written as a word; colour is only an addition. Control characters and bidirectional
    overrides are shown as their codes, so a transcript cannot change the terminal. Below 110 columns of
    `width` the finer emotions are left out.
    """
    wide = width >= _WIDE
    table = Table(
        title=printable(labelled.conversation.conversation_id),
        title_justify="left",
        header_style="bold",
        expand=True,
        pad_edge=False,
    )
    table.add_column("speaker", no_wrap=True, max_width=16)
    table.add_column("text", ratio=1, overflow="fold", min_width=16)
    table.add_column("emotion", no_wrap=True)
    if wide:
        table.add_column("finer", no_wrap=True, max_width=36)
    table.add_column("unsure", no_wrap=True, justify="right")
    table.add_column("", no_wrap=True, width=6)
    for prediction in labelled.predictions[:turns]:
        table.add_row(*_row(prediction, wide=wide))
    return table


def _row(prediction: Prediction, *, wide: bool) -> tuple[Text, ...]:
    style = _COLOURS.get(prediction.emotion, "")
    finer = [f for f in prediction.fine if f.emotion != prediction.emotion][:2]
    return (
        Text(printable(prediction.utterance.speaker)),
        Text(printable(_shorten(prediction.utterance.text))),
        Text(
            f"{_strength(prediction.confidence)} {prediction.confidence:4.0%} {prediction.emotion}",
            style=style,
        ),
        *([Text(", ".join(f"{f.emotion} {f.probability:.0%}" for f in finer), style="dim")] if wide else []),
        Text(f"{prediction.total:.2f}"),
        Text("review", style="bold reverse") if prediction.decision == "review" else Text(""),
    )


def _strength(probability: float) -> str:
    eighths = round(probability * 24)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (_BAR[rest - 1] if rest else "")).ljust(3)


def _shorten(text: str, limit: int = 240) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def printable(text: str) -> str:
    """`text` with unprintable characters shown as their codes, so it cannot change a terminal."""
    return "".join(c if c.isprintable() else " " if c in "\t\n\r" else f"<U+{ord(c):04X}>" for c in text)
