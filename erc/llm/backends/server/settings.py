"""Settings of a model server from the environment. A key is never in a command line, file or message."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar, get_args

from erc.errors import ConfigError
from erc.llm.backends.server.label_modes import Mode
from erc.llm.backends.server.transport import Transport, TransportSettings

KEY = "CONVEMO_SERVER_KEY"
TIMEOUT = "CONVEMO_SERVER_TIMEOUT"
CONCURRENCY = "CONVEMO_SERVER_CONCURRENCY"
MODE = "CONVEMO_SERVER_MODE"
N = TypeVar("N", int, float)


def open_transport(url: str, *, environ: Mapping[str, str] | None = None) -> Transport:
    """The connection to `url` with the settings of the environment.

    CONVEMO_SERVER_KEY is the key, CONVEMO_SERVER_TIMEOUT the seconds to wait for an answer, and
    CONVEMO_SERVER_CONCURRENCY the most requests at a time.

    Raises:
        ConfigError: the value of a variable, or the address, is invalid.
    """
    given = os.environ if environ is None else environ
    key = given.get(KEY, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise ConfigError(f"{KEY} holds characters that no key has: set it to the key alone")
    plain = TransportSettings()
    settings = replace(
        plain,
        read_timeout=_positive(given, TIMEOUT, float, "seconds", default=plain.read_timeout),
        concurrency=_positive(given, CONCURRENCY, int, "requests", default=plain.concurrency),
    )
    return Transport(url, api_key=key or None, settings=settings)


def asked_mode(*, environ: Mapping[str, str] | None = None) -> Mode | None:
    """The mode that CONVEMO_SERVER_MODE names; None probes the server.

    Raises:
        ConfigError: there is no such mode.
    """
    value = (os.environ if environ is None else environ).get(MODE, "").strip()
    found: Mode | None = next((mode for mode in get_args(Mode) if mode == value), None)
    if value and found is None:
        raise ConfigError(
            f"{MODE}={value}: write {', '.join(get_args(Mode))}, or unset it to probe the server"
        )
    return found


def _positive(given: Mapping[str, str], name: str, number: Callable[[str], N], unit: str, *, default: N) -> N:
    value = given.get(name, "").strip()
    if not value:
        return default
    try:
        found = number(value)
    except ValueError:
        found = number("0")
    if not 0 < found < 1e6:
        raise ConfigError(f"{name}={value}: write a number of {unit} above 0")
    return found
