"""`erc.load`: loads a model, with or without a speaker memory, that labels any supported input."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from erc.api.inputs import Labelable, ReadOptions, read_input
from erc.api.result import LabelResult
from erc.errors import ConfigError
from erc.inference.loading import load_cascade, load_predictor
from erc.inference.predictor import Predictor
from erc.inference.scorers.settings import InferenceSettings

if TYPE_CHECKING:
    from erc.memory.predictor import RememberingPredictor
    from speakers import Registry


def load(
    model: str = "default",
    *,
    memory: str | Path | None = None,
    tenant: str | None = None,
    names: str | Path | None = None,
    emotions: str | None = None,
    uncertainty: str = "default",
    samples: int | None = None,
    seed: int = 0,
    precision: str = "auto",
    adapter: str | Path | None = None,
    server: str | None = None,
    cache: str | Path | None = None,
    second: str | None = None,
) -> LoadedPredictor:
    """Loads a model that labels conversations.

    Use the result as a context manager if it has a memory or a server, so that both are closed.

    Args:
        model: Name or folder of a model (see `erc models list`), or a language model as `llm:FOLDER_OR_ID`.
        memory: Speaker memory: a file, created if missing, or a `postgresql://` URL. None: no memory.
        tenant: Tenant of the memory; None takes `default`.
        names: YAML file that maps written names to people of the memory.
        emotions: Emotion set to report in, such as `ekman`; None takes the model's own.
        uncertainty: Dropout layers to sample: `off`, `head`, `top-k` or `full`; `default` is the model's.
        samples: Monte-Carlo samples for each turn; None takes the model's number.
        seed: Seed of the samples.
        precision: `bf16`, `fp32`, `auto`, or `4bit` for a language model.
        adapter: Folder of a LoRA adapter over the language model.
        server: Base URL of an OpenAI-compatible server that hosts the language model.
        cache: Folder that stores the server's answers.
        second: Language model (`llm:...`) that labels the turns `model` marks for review.

    Raises:
        ArtefactError: When the model cannot be found or used.
        ConfigError: When an option has no effect, or the model cannot report in `emotions`.
        SpeakersError: When the memory cannot be opened.
    """
    if memory is None and (tenant is not None or names is not None):
        raise ConfigError("tenant and names belong to a speaker memory: pass memory too")
    if samples is not None and uncertainty == "off":
        raise ConfigError("samples has no effect with uncertainty='off': leave one of them out")
    given: dict[str, Any] = {
        "settings": InferenceSettings(
            uncertainty=uncertainty, samples=samples, seed=seed, precision=precision
        ),
        "emotions": emotions,
        "adapter": _path(adapter),
        "server": server,
        "cache": _path(cache),
    }
    predictor = load_predictor(model, **given) if second is None else load_cascade(model, second, **given)
    return LoadedPredictor(predictor, memory=memory, tenant=tenant, names=_path(names))


class LoadedPredictor:
    """Labels conversations, and remembers their speakers if it has a memory. Created by `erc.load`.

    Attributes:
        predictor: The `erc.inference.Predictor` that labels.
        remembering: The same with its speaker memory, or None.
    """

    def __init__(
        self,
        predictor: Predictor,
        *,
        memory: str | Path | None = None,
        tenant: str | None = None,
        names: Path | None = None,
    ) -> None:
        self.predictor = predictor
        self.remembering: RememberingPredictor | None = None
        self._closed = False
        self._notes: list[str] | None = None
        self._registry: Registry | None = None
        self._resources = ExitStack()
        self._resources.enter_context(closing(predictor))
        if memory is not None:
            with self._resources.pop_all() as opened:
                self._remember(opened, memory, tenant or "default", names)
                self._resources = opened.pop_all()

    def label(
        self,
        data: Labelable,
        *,
        columns: Mapping[str, str] | None = None,
        format: str | None = None,
        strict: bool = False,
        conversation_id: str | None = None,
    ) -> LabelResult:
        r"""Labels every turn of `data`.

        `data` is a path, several paths, a text such as `"Ana: hi\nBen: hello"`, a list of
        (speaker, text) pairs, a list of records, a pandas DataFrame, or one or several `erc.Conversation`.
        A string that is the path of an existing file is a path. A string with a line break, or one that
        starts with `NAME: `, is a text. Strings in a list are paths.

        With a memory, each turn reads its speaker's earlier turns and emotions, and the new turns are stored.

        Args:
            data: What to label.
            columns: Field to column for tables, as `{"text": "message", "speaker": "who"}`.
            format: Transcript format of files and texts; None detects it.
            strict: Raise at the first broken line. Without it, broken lines are in `result.problems`.
            conversation_id: Id of a conversation given as text, pairs, records or data frame without one.

        Raises:
            InputError: When `data` cannot be read or holds no turn.
        """
        self._refuse_closed()
        options = ReadOptions(
            format=format,
            columns=columns,
            strict=strict,
            conversation_id=conversation_id,
            # A memory distinguishes conversations of the same name by their text.
            unique=self.remembering is None,
        )
        found = read_input(data, options)
        self._notes = found.notes
        try:
            labelled = list((self.remembering or self.predictor).stream(found.conversations))
        finally:
            self._notes = None
        remarks = self.predictor.remarks(memory=self.remembering is not None)
        return LabelResult(labelled, problems=found.problems, notes=[*remarks, *found.notes])

    @property
    def emotions(self) -> tuple[str, ...]:
        """The emotions the model reports, in the order of its label set."""
        return tuple(self.predictor.scorer.emotions.labels)

    @property
    def memory(self) -> Registry | None:
        """The open speaker memory (`speakers.Registry`), to inspect, correct or erase; None without one."""
        return self._registry

    def close(self) -> None:
        """Closes the memory and the connections to a server. Calling it again does nothing."""
        self._registry = None
        self._closed = True
        self._resources.close()

    def __enter__(self) -> LoadedPredictor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        memory = "" if self._registry is None else f", memory={str(self._registry.address)!r}"
        return f"<LoadedPredictor: {self.predictor.scorer.identity}{memory}>"

    def _refuse_closed(self) -> None:
        if self._closed:
            raise ConfigError("this predictor is closed: load it again with erc.load")

    def _remember(self, resources: ExitStack, memory: str | Path, tenant: str, names: Path | None) -> None:
        from erc.memory.predictor import RememberingPredictor
        from speakers import NameMap, Registry

        self._registry = resources.enter_context(Registry.open(memory, tenant=tenant))
        self.remembering = RememberingPredictor(
            self.predictor,
            self._registry,
            names=None if names is None else NameMap.read(names),
            warn=self._warn,
        )

    def _warn(self, message: str) -> None:
        """Passes on a warning of the memory: as a note of the current result, else as a Python warning."""
        if self._notes is None:
            warnings.warn(message, stacklevel=2)
        else:
            self._notes.append(message)


def _path(value: str | Path | None) -> Path | None:
    return None if value is None else Path(value)
