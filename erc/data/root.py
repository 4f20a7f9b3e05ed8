"""Folders of corpora: the setting `CONVEMO_DATA`, else the user's data folder."""

from __future__ import annotations

import os
from pathlib import Path

from erc.errors import InputError

VARIABLE = "CONVEMO_DATA"
_CHECKOUT = Path(__file__).resolve().parents[2]


def user_data_dir() -> Path:
    """The data folder of this user: `$XDG_DATA_HOME/convemo/data`, by default under `~/.local/share`."""
    base = os.environ.get("XDG_DATA_HOME", "")
    home = Path(base) if base and Path(base).is_absolute() else Path.home() / ".local" / "share"
    return home / "convemo" / "data"


def user_cache_dir() -> Path:
    """The folder for files that can be recreated: `$XDG_CACHE_HOME/convemo`, by default under `~/.cache`."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base and Path(base).is_absolute() else Path.home() / ".cache") / "convemo"


def data_root(root: Path | None = None) -> Path:
    """The folder for new corpora: `root`, else `CONVEMO_DATA`, else the user's data folder.

    It need not exist.
    """
    if root is not None:
        return root
    setting = os.environ.get(VARIABLE)
    return Path(setting).expanduser() if setting else user_data_dir()


def search_roots(root: Path | None = None) -> tuple[Path, ...]:
    """The folders to search for corpora, in order.

    This is `root` or `CONVEMO_DATA` alone, if given. Otherwise it is the user's data folder and, in a
    checkout, `../shared/data`.
    """
    first = data_root(root)
    if root is not None or os.environ.get(VARIABLE) or not (_CHECKOUT / "pyproject.toml").is_file():
        return (first,)
    return (first, _CHECKOUT.parent / "shared" / "data")


def corpus_dir(name: str, root: Path | None = None) -> Path:
    """The folder of corpus `name` in the first root that has it.

    Raises:
        InputError: when no root has it; names the command that imports it.
    """
    roots = search_roots(root)
    for place in roots:
        if (place / name).is_dir():
            return place / name
    looked = " or ".join(str(place / name) for place in roots)
    raise InputError(
        f"corpus '{name}' is not in {looked}: run `erc data import {name} --from PATH`, "
        f"or set {VARIABLE} to the data folder"
    )
