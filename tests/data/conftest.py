from pathlib import Path

import pytest

from erc.data.root import search_roots


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder with the real EmoryNLP, MELD and GoEmotions files; skips the test if none exists."""
    needed = ("emorynlp", "meld", "goemotions")
    for root in search_roots():
        if all((root / name).is_dir() for name in needed):
            return root
    looked = ", ".join(str(root) for root in search_roots())
    pytest.skip(f"no data root with {', '.join(needed)} (looked in {looked}); set CONVEMO_DATA")


@pytest.fixture
def own_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data root for one test, set by CONVEMO_DATA."""
    root = tmp_path / "root"
    monkeypatch.setenv("CONVEMO_DATA", str(root))
    return root
