"""A tiny conversation model, and a working folder for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHAT = "Ana: I am so happy to see you again!\nBen: No.\nAna: Why did nobody tell me?\n"
OPTIONS: dict[str, Any] = {"samples": 2, "precision": "fp32"}


@pytest.fixture(scope="session")
def models(tiny_shelf: Path) -> Path:
    """The folder of tiny models, found through CONVEMO_MODELS."""
    return tiny_shelf


@pytest.fixture(autouse=True)
def place(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with one transcript, chat.txt."""
    monkeypatch.setenv("CONVEMO_MODELS", str(models))
    monkeypatch.delenv("CONVEMO_MEMORY", raising=False)
    monkeypatch.setenv("COLUMNS", "130")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "chat.txt").write_text(CHAT, encoding="utf-8")
    return tmp_path


@pytest.fixture(scope="session")
def predictor(models: Path) -> Iterator[Any]:
    """The tiny conversation model without a memory, loaded once."""
    import erc

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONVEMO_MODELS", str(models))
        loaded = erc.load("tiny-hierarchical", **OPTIONS)
    with loaded:
        yield loaded
