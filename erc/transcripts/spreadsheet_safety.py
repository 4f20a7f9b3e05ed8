"""Cells that a spreadsheet would run as formulas, and the apostrophe that stops it.

Quoting does not help: a spreadsheet unquotes first. OWASP ASVS 5.0, 1.2.10 asks for an apostrophe before
cells that open with one of `= + - @`, tab or NUL; carriage return, line feed and the full-width signs are
added here, as some programs take them too.
"""

from __future__ import annotations

import re

_RISKY = "=+\\-@\t\r\n\0＝＋－＠"
_ESCAPE = re.compile(f"'*[{_RISKY}]")
_ESCAPED = re.compile(f"'+[{_RISKY}]")


def defuse(text: str) -> str:
    """`text` with an apostrophe before it where it would be taken for a formula.

    Text that already opens with apostrophes and a risky sign gets one more, so that `restore` is its exact
    inverse.
    """
    return "'" + text if _ESCAPE.match(text) else text


def restore(cell: str) -> str:
    """The text that `defuse` was given."""
    return cell[1:] if _ESCAPED.match(cell) else cell
