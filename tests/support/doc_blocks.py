"""Code blocks of the documentation, and how they are run.

Fenced blocks of `python` or `sh` are run in page order. A comment above a block changes this:

- `<!-- test: skip, REASON -->` leaves it out.
- `<!-- test: append ARGUMENTS -->` adds arguments to each command, to make it run faster.
- `<!-- test: exit CODE -->` sets the expected exit code of the command.
- `<!-- test: output -->` before a `text` block compares it with the output of the previous block.
"""

from __future__ import annotations

import re
import shlex
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_FENCE = re.compile(
    r"(?:^[ ]*<!-- test: (?P<rule>.*?) -->\n)?"
    r"^(?P<indent>[ ]*)```(?P<language>\w*)[^\n]*\n(?P<code>.*?)^[ ]*```$",
    re.MULTILINE | re.DOTALL,
)
_RULES = ("skip", "append", "exit", "output")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block.

    Attributes:
        line: Number of the line with the opening fence.
        language: The word after the fence.
        code: The text between the fences, without the indentation of the block.
        rule: `skip`, `append`, `exit`, `output`, or nothing.
        value: What follows the rule.
    """

    line: int
    language: str
    code: str
    rule: str = ""
    value: str = ""


def pages() -> list[Path]:
    """The README and every documentation page with code to run."""
    files = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [path for path in files if any(block.language in ("python", "sh") for block in blocks(path))]


def blocks(path: Path) -> list[Block]:
    """The fenced blocks of a page. Raises ValueError for a rule that is unknown or lacks its value."""
    text = path.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        rule, _, value = (match["rule"] or "").replace(",", " ", 1).partition(" ")
        line = text.count("\n", 0, match.start("code"))
        if rule and (rule not in _RULES or (rule != "output" and not value.strip())):
            raise ValueError(f"{path}:{line}: the rule {match['rule']!r} is unknown or lacks its value")
        indent = len(match["indent"])
        code = "".join(
            one[indent:] if one.strip() else one for one in match["code"].splitlines(keepends=True)
        )
        found.append(Block(line, match["language"], code, rule, value.strip()))
    return found


def run_page(path: Path) -> None:
    """Runs the blocks of a page in this process, in the current folder.

    Raises:
        AssertionError: When a block fails or prints something else than the page shows.
    """
    names: dict[str, Any] = {"__name__": "__main__"}
    printed = ""
    for block in blocks(path):
        if block.rule == "skip":
            continue
        place = f"{path.relative_to(ROOT)}:{block.line}"
        if block.rule == "output":
            assert printed.strip() == block.code.strip(), (
                f"{place}: the page shows another output:\n{printed}"
            )
        elif block.language == "python":
            captured = StringIO()
            with redirect_stdout(captured):
                exec(compile("\n" * block.line + block.code, str(path), "exec"), names)
            printed = captured.getvalue()
        elif block.language == "sh":
            printed = "".join(_command(line, block, place) for line in _lines(block.code))


def _lines(code: str) -> list[str]:
    joined = code.replace("\\\n", " ")
    return [line for line in joined.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def _command(line: str, block: Block, place: str) -> str:
    """The output of one `erc` command; other programs need a `skip` rule."""
    from typer.testing import CliRunner

    from erc.cli.app import app

    words = shlex.split(line, comments=True)
    assert words[0] == "erc", f"{place}: {words[0]!r} is not run here: give the block a rule"
    if block.rule == "append":
        words += shlex.split(block.value)
    result = CliRunner().invoke(app, words[1:])
    wanted = int(block.value) if block.rule == "exit" else 0
    code = getattr(result.exception, "exit_code", None) or result.exit_code
    assert code == wanted, f"{place}: {line} ended with {code}\n{result.output}\n{result.exception!r}"
    return result.stdout
