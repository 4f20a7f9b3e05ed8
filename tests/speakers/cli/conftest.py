"""A small memory for the commands of `erc speakers`."""

from __future__ import annotations

from pathlib import Path

import pytest
from speakers_support import EMBEDDER, make, meet, vectors

from speakers import Registry


@pytest.fixture
def memory(tmp_path: Path) -> str:
    """Ana and Bo speak in two conversations, Bo alone in a third, which has a vector."""
    path = tmp_path / "s.db"
    with Registry.open(path) as registry:
        for number in range(2):
            people = enumerate(["Ana", "Bo"])
            lines = [
                make(meet(registry, name), f"c{number}", index, text=f"[red] {name}", weights={"joy": 0.5})
                for index, name in people
            ]
            registry.record(f"c{number}", lines)
        registry.record("c9", [make(meet(registry, "Bo"), "c9", 0, vector=vectors(1)[0])], embedder=EMBEDDER)
    return str(path)
