"""A labelled conversation as an HTML table for notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from erc.api.table import printable
from erc.inference.prediction import Prediction
from erc.inference.predictor import Labelled
from erc.uncertainty.policy import REVIEW

_HEADERS = ("speaker", "text", "emotion", "confidence", "finer emotions", "uncertainty", "")
_LEFT = ' style="text-align:left"'


def result_html(conversations: Sequence[Labelled], *, turns: int, summary: str) -> str:
    """The first `turns` turns as tables, one per conversation, without scripts or external resources.

    Text is escaped, and control characters are shown as their codes.
    """
    parts, left = [], turns
    for labelled in conversations:
        if left <= 0:
            break
        title = _text(labelled.conversation.conversation_id)
        head = "".join(f"<th{_LEFT}>{name}</th>" for name in _HEADERS)
        rows = "".join(_row(prediction) for prediction in labelled.predictions[:left])
        parts.append(
            f"<table><caption{_LEFT}>{title}</caption>"
            f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        )
        left -= len(labelled.predictions)
    more = f"<p>{-left} more turns are not shown</p>" if left < 0 else ""
    return f"<div>{''.join(parts)}{more}<p>{_text(summary)}</p></div>"


def _row(prediction: Prediction) -> str:
    finer = [fine for fine in prediction.fine if fine.emotion != prediction.emotion][:2]
    cells = (
        prediction.speaker,
        prediction.text,
        prediction.emotion,
        f"{prediction.confidence:.0%}",
        ", ".join(f"{fine.emotion} {fine.probability:.0%}" for fine in finer),
        f"{prediction.total:.2f}",
        "review" if prediction.decision == REVIEW else "",
    )
    return f"<tr>{''.join(f'<td{_LEFT}>{_text(cell)}</td>' for cell in cells)}</tr>"


def _text(text: str) -> str:
    return escape(printable(text), quote=True)
