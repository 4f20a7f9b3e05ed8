"""HTTP to a model server: timeouts, a limit on concurrent requests, and retries with backoff."""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx2

from erc.errors import ConfigError, ConvemoError

T = TypeVar("T")
R = TypeVar("R")
_RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
_UNSUPPORTED = frozenset({400, 404, 405, 406, 415, 422, 501})
_NO_SUCH_MODEL = re.compile(
    r"model_not_found|\bmodels?\b.{0,120}\b(?:not found|(?:does|do)(?: not|n't) exist|no such)",
    re.IGNORECASE | re.DOTALL,
)
_WORDS = 200
"""Characters of a response that an error shows."""


class ServerError(ConvemoError):
    """A model server cannot be reached, refuses a request, or gives an invalid answer."""

    exit_code = 5


class UnreachableError(ServerError):
    """The address gave no response to any attempt."""


class UnusableError(ServerError):
    """The server's response lacks what this mode needs."""


class RefusedError(ServerError):
    """The server refused the request (a 4xx status); a retry would not help.

    `words` is the beginning of the response text.
    """

    def __init__(self, message: str, *, status: int, words: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.words = words

    @property
    def unsupported(self) -> bool:
        """Whether the server does not support this kind of request; False for a wrong model name or key."""
        return self.status in _UNSUPPORTED and not _NO_SUCH_MODEL.search(self.words)


@dataclass(frozen=True, slots=True)
class TransportSettings:
    """Timeouts and retries.

    Attributes:
        connect_timeout: Seconds to wait for a connection.
        read_timeout: Seconds to wait for a response.
        retries: Attempts after the first.
        backoff: Seconds; the wait before retry n is drawn from [0, min(backoff_cap, backoff * 2^n)]. A
            server's Retry-After is the least wait.
        backoff_cap: Maximum of such a wait in seconds.
        concurrency: Maximum number of requests at a time.
    """

    connect_timeout: float = 5.0
    read_timeout: float = 60.0
    retries: int = 4
    backoff: float = 0.5
    backoff_cap: float = 20.0
    concurrency: int = 8


class Transport:
    """Posts JSON to `url`, such as http://localhost:8000/v1. Safe to share among threads.

    `api_key` is sent in the Authorization header only. `sleep` and `jitter` are replaced in tests.

    Raises:
        ConfigError: the address is invalid or contains a password.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        settings: TransportSettings | None = None,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.url = _address(url)
        self.settings = TransportSettings() if settings is None else settings
        self._sleep = sleep
        self._jitter = jitter
        self._slots = threading.BoundedSemaphore(self.settings.concurrency)
        timeout = httpx2.Timeout(self.settings.read_timeout, connect=self.settings.connect_timeout)
        headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        self._client = httpx2.Client(timeout=timeout, headers=headers, follow_redirects=False)

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """The JSON object of the response.

        Raises:
            RefusedError: the status is 4xx.
            ServerError: all retries failed.
        """
        return self._ask("POST", path, body)

    def get(self, path: str) -> dict[str, Any]:
        """As `post`, without a body.

        Raises:
            RefusedError: the status is 4xx.
            ServerError: all retries failed.
        """
        return self._ask("GET", path, None)

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """`function` of every item, several at a time, in order. The first error cancels the rest."""
        if len(items) < 2:
            return [function(item) for item in items]
        with ThreadPoolExecutor(max_workers=min(self.settings.concurrency, len(items))) as pool:
            futures = [pool.submit(function, item) for item in items]
            try:
                return [future.result() for future in futures]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _ask(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        problem = "was not asked"
        reached = False
        for attempt in range(self.settings.retries + 1):
            least = 0.0
            try:
                with self._slots:
                    response = self._client.request(method, f"{self.url}{path}", json=body)
                reached = True
                if response.status_code == 200:
                    return _object(response)
                words = response.text[:_WORDS]
                problem = f"answered {response.status_code}: {words}"
                if response.status_code not in _RETRIED:
                    raise RefusedError(
                        f"{self.url}{path} {problem}", status=response.status_code, words=words
                    )
                least = _retry_after(response)
            except (httpx2.TransportError, httpx2.DecodingError) as error:
                problem = f"failed: {type(error).__name__} {error}".rstrip()
            except _NoAnswerError as error:
                problem = str(error)
            if attempt < self.settings.retries:
                drawn = self._jitter() * min(self.settings.backoff_cap, self.settings.backoff * 2**attempt)
                self._sleep(max(least, drawn))
        raise (ServerError if reached else UnreachableError)(
            f"{self.url}{path} {problem} (asked {self.settings.retries + 1} times): check the address and "
            "that the server is up"
        )


class _NoAnswerError(Exception):
    """Status 200 with a body that is not a JSON object."""


def _object(response: httpx2.Response) -> dict[str, Any]:
    try:
        content = response.json()
    except (ValueError, RecursionError):  # the latter for deeply nested brackets
        raise _NoAnswerError(f"answered something that is no JSON: {response.text[:80]!r}") from None
    if not isinstance(content, dict):
        raise _NoAnswerError("answered JSON that is no object")
    return content


def _retry_after(response: httpx2.Response) -> float:
    """Seconds to wait by Retry-After, at most a minute; 0 without the header or for a date."""
    try:
        return min(60.0, max(0.0, float(response.headers.get("Retry-After", "0"))))
    except ValueError:
        return 0.0


def _address(url: str) -> str:
    """The address without a trailing slash.

    Raises:
        ConfigError: the address is invalid, or contains a user or password, which records would show.
    """
    try:
        found = httpx2.URL(url)
    except httpx2.InvalidURL as error:
        raise ConfigError(
            f"the address of the server cannot be read ({error}): write http://HOST:PORT/v1"
        ) from error
    if found.userinfo:
        raise ConfigError(
            f"the address of the server {found.host} holds a user or password: give the key in "
            "CONVEMO_SERVER_KEY instead"
        )
    if found.scheme not in ("http", "https") or not found.host:
        raise ConfigError(f"the address of the server is '{url}': write http://HOST:PORT/v1")
    return url.rstrip("/")
