"""Protects CSV cells from being run as formulas by a spreadsheet.

Quoting does not help, because a spreadsheet removes the quotes first. OWASP ASVS 5.0, 1.2.10 requires an
apostrophe before cells that open with `=`, `+`, `-`, `@`, tab or NUL. Carriage return, line feed and the
full-width signs are added here because some programs accept them too.
"""

from __future__ import annotations

import re

_RISKY = "=+\\-@\t\r\n\0＝＋－＠"
_ESCAPE = re.compile(f"'*[{_RISKY}]")
_ESCAPED = re.compile(f"'+[{_RISKY}]")


def defuse(text: str) -> str:
    """`text` with an apostrophe in front if a spreadsheet could read it as a formula.

    Text that already opens with apostrophes and a risky sign gets one more, so `restore` is the exact
    inverse.
    """
    return "'" + text if _ESCAPE.match(text) else text


def restore(cell: str) -> str:
    """The original text of a cell that `defuse` made."""
    return cell[1:] if _ESCAPED.match(cell) else cell
