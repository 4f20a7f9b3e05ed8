"""Draws the picture of the README: the output of `erc label` for two of the examples.

    python scripts/demo_picture.py [--out FILE]

Writes docs/demo.svg, or FILE.
"""

from __future__ import annotations

import argparse
import io
import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from pathlib import Path

from rich.console import Console

from erc.api.table import conversation_table
from erc.inference.loading import load_predictor
from erc.transcripts import read_transcript

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Label the examples and write the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "demo.svg")
    out = parser.parse_args().out
    predictor = load_predictor()
    console = Console(record=True, width=132, file=io.StringIO())
    console.print("[bold]$ erc label examples/standup.txt examples/dinner.vtt[/bold]")
    for name in ("standup.txt", "dinner.vtt"):
        for labelled in predictor.label(read_transcript(ROOT / "examples" / name).conversations):
            console.print(conversation_table(labelled, turns=14))
    console.save_svg(str(out), title="erc label")


if __name__ == "__main__":
    main()
