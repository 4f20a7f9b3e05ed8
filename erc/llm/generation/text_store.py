"""Stores generated texts on disk, such as those that CKERC and LaERC-S train on.

The file has one JSON object per line and is append-only, so several runs may write to it. After a crash, the
next run starts after the last complete line. An unreadable line is skipped and its text is generated again.
The key consists of prompt, model, task and settings, so many runs can share one file.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType

from erc.data.conversation import Context, Conversation
from erc.errors import ArtefactError
from erc.files import private_file
from erc.llm.backends.generate import GenerationSettings, Generator
from erc.llm.prompts.budget import Budget
from erc.llm.prompts.builder import PromptBuilder
from erc.llm.prompts.tasks import TaskName, TaskPrompts
from erc.llm.prompts.template import RenderedPrompt
from erc.llm.recipes import GENERATED, Recipe, Stage, answers_of

MOST_TOKENS: dict[TaskName, int] = {"speaker_characteristic": 32, "interlocutor_commonsense": 96}
"""Most tokens of an answer: ten words, and two short sentences."""
WRITTEN = "written.jsonl"
"""Name of the file in a folder of training inputs."""
_AT_ONCE = 32
"""Texts generated between two writes: enough to fill a batch, few enough to lose."""


class WrittenTexts:
    """The texts of one file by key, readable by its owner only (0600), because they quote conversations.

    Thread-safe. Each process opens the file itself and does not see texts that others add later.

    Raises:
        ArtefactError: the file cannot be read or appended to.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        try:
            # Split at newlines only: a text may contain other line ends.
            lines = private_file(path).read_bytes().split(b"\n")
            self._file = path.open("a+b", buffering=0)
        except OSError as error:
            raise ArtefactError(
                f"{path}: not usable as a file of written texts ({error}): remove it or name another"
            ) from None
        self._texts = dict(one for one in map(_read_line, lines) if one is not None)

    def get(self, key: str) -> str | None:
        """The text under `key`; None without one."""
        with self._lock:
            return self._texts.get(key)

    def put(self, key: str, text: str) -> None:
        """Stores `text`; it has been passed to the operating system on return.

        Raises:
            ArtefactError: the file cannot be written.
        """
        line = json.dumps({"key": key, "text": text}, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        with self._lock:
            try:
                self._append(line)
            except OSError as error:
                raise ArtefactError(
                    f"{self.path}: a text cannot be stored ({error}): free disk space and start again; "
                    "stored texts are kept"
                ) from None
            self._texts[key] = text

    def _append(self, line: bytes) -> None:
        # One write per line, so lines of several processes do not mix. A partial line is terminated first.
        if end := self._file.seek(0, os.SEEK_END):
            self._file.seek(end - 1)
            line = line if self._file.read(1) == b"\n" else b"\n" + line
        if (written := self._file.write(line)) != len(line):
            raise OSError(errno.ENOSPC, f"{written} of {len(line)} bytes were written")

    def __len__(self) -> int:
        with self._lock:
            return len(self._texts)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def __enter__(self) -> WrittenTexts:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def text_key(prompt: RenderedPrompt, *, model_id: str, task: str, settings: GenerationSettings) -> str:
    """The key of one text. `model_id` identifies the weights and the tokenizer (`open_text_writer`)."""
    asked = [prompt.sha256, model_id, task, asdict(settings)]
    return hashlib.sha256(json.dumps(asked, ensure_ascii=False, sort_keys=True).encode()).hexdigest()


def write_texts(
    generator: Generator,
    prompts: Sequence[RenderedPrompt],
    *,
    task: str,
    settings: GenerationSettings,
    texts: WrittenTexts,
    advance: Callable[[int], None] = lambda count: None,
) -> list[str]:
    """The model's text after each prompt; texts found in `texts` are reused, new ones are added.

    `advance` gets the number of finished texts. An empty text is returned but not stored, so a later run
    generates it again. Prompts are sorted by length to reduce padding.

    Raises:
        ArtefactError: the file cannot be written.
    """
    keys = [text_key(prompt, model_id=generator.model_id, task=task, settings=settings) for prompt in prompts]
    missing = list(
        {key: prompt for key, prompt in zip(keys, prompts, strict=True) if not texts.get(key)}.items()
    )
    missing.sort(key=lambda one: len(one[1].user))
    advance(len(prompts) - len(missing))
    for first in range(0, len(missing), _AT_ONCE):
        part = missing[first : first + _AT_ONCE]
        for (key, _), text in zip(
            part, generator.generate([prompt for _, prompt in part], settings=settings), strict=True
        ):
            if text:
                texts.put(key, text)
        advance(len(part))
    return [texts.get(key) or "" for key in keys]


def generated_answers(
    generator: Generator,
    recipe: Recipe,
    conversations: Sequence[Conversation],
    *,
    texts: WrittenTexts,
    budget: Budget,
    advance: Callable[[int], None] = lambda count: None,
) -> dict[str, dict[tuple[str, int], str]]:
    """Answers of the recipe's generated tasks, by `answers_of` and by (conversation id, turn index).

    Each text is made from its turn and those before it. Turns without text are left out. Prompts use the
    part of `budget` that leaves room for the longest text within the writer's positions.

    Raises:
        ArtefactError: the file cannot be written.
        ConfigError: a prompt does not fit the budget.
    """
    within = budget.within(generator.encoder.positions, answer=max(MOST_TOKENS.values()))
    prompts = TaskPrompts(PromptBuilder(encoder=generator.encoder, labels=(), budget=within))
    turns = [
        (conversation, turn.index)
        for conversation in conversations
        for turn in conversation
        if turn.text.strip()
    ]
    found: dict[str, dict[tuple[str, int], str]] = {}
    for stage in recipe.stages:
        for task in stage.tasks:
            name = answers_of(task, stage)
            if task not in GENERATED or name in found:
                continue
            asked = [
                _asked(prompts, task, stage, Context.causal(conversation, index))
                for conversation, index in turns
            ]
            settings = GenerationSettings(max_new_tokens=MOST_TOKENS[task])
            written = write_texts(
                generator, asked, task=name, settings=settings, texts=texts, advance=advance
            )
            places = ((conversation.conversation_id, index) for conversation, index in turns)
            found[name] = {place: text for place, text in zip(places, written, strict=True) if text}
    return found


def _asked(prompts: TaskPrompts, task: TaskName, stage: Stage, context: Context) -> RenderedPrompt:
    return (
        prompts.characteristic_prompt(context, stage.characteristic)
        if task == "speaker_characteristic"
        else prompts.commonsense_prompt(context)
    )


def _read_line(line: bytes) -> tuple[str, str] | None:
    """Key and text of a line; None for an incomplete or other line."""
    try:
        record = json.loads(line) if line else None
    except (ValueError, RecursionError):
        return None
    if (
        not isinstance(record, dict)
        or not isinstance(record.get("key"), str)
        or not isinstance(record.get("text"), str)
    ):
        return None
    return record["key"], record["text"]
