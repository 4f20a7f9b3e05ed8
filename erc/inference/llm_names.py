"""What `llm:PATH_OR_ID` and an adapter folder name together: a base model, and whether it is the one that the adapter was trained over."""

from __future__ import annotations

from pathlib import Path

from erc.errors import ArtefactError, ConfigError
from erc.llm.adapters import RECORD, AdapterRecord
from erc.llm.digests import weights_digest
from erc.resources import LLM_PREFIX


def named(
    model: str, *, adapter: Path | None = None, server: str | None = None
) -> tuple[str, Path | None, AdapterRecord | None]:
    """Base, adapter folder and adapter's record that `llm:PATH_OR_ID` means; the last two are None for a model without an adapter.

    The name of an adapter folder alone stands for the base it was trained over; with `adapter` a base is
    named that may lie at another place now. Raises ConfigError or ArtefactError where it is another one, or
    is not there. What a server runs is not looked into.
    """
    name = model.removeprefix(LLM_PREFIX)
    if not name:
        raise ConfigError("--model llm: names no model; write llm:FOLDER or llm:ORGANISATION/NAME")
    if adapter is None and server is None and (Path(name) / RECORD).is_file():
        adapter = Path(name)
        name = AdapterRecord.load(adapter).base
    record = None if adapter is None else AdapterRecord.load(adapter)
    if adapter is not None and record is not None and server is None:
        _require_base(name, adapter, record)
    return name, adapter, record


def unproven(name: str, record: AdapterRecord | None) -> tuple[str, ...]:
    """A remark where a folder stands in for the hub model that an adapter was trained over: nothing recorded tells whether it is the same."""
    if record is None or name == record.base or record.base_weights is not None:
        return ()
    return (
        f"the adapter was trained over {record.base}; that {name} holds the same weights is taken on trust",
    )


def _require_base(name: str, adapter: Path, record: AdapterRecord) -> None:
    here = Path(name).is_dir()
    if record.base_weights is None:  # of the hub
        if name != record.base and not here:
            raise ConfigError(
                f"the adapter {adapter} was trained over {record.base}, not over {name}: use --model llm:{adapter}"
            )
        return
    if not here:
        raise ArtefactError(
            f"the adapter {adapter} was trained over a base in the folder {record.base}, and {name} is no folder here: "
            f"say where the base lies, with --model llm:FOLDER --adapter {adapter}"
        )
    if (found := weights_digest(Path(name))) != record.base_weights:
        raise ArtefactError(
            f"the adapter {adapter} was trained over other weights (digest {record.base_weights}) than {name} holds ({found}): its figures and "
            "its calibration say nothing of these; name the base it belongs to, or train it again"
        )
