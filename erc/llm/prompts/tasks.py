"""Training prompts of a language model, with their answers.

Emotions are the main task. The auxiliary tasks are speaker identification and emotion impact (InstructERC),
speaker characteristics (LaERC-S) and commonsense about speaker and listeners (CKERC). They are used in
training only and add no cost when labelling.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from erc.data.conversation import Context, Conversation
from erc.errors import ConfigError
from erc.llm.prompts.budget import fit
from erc.llm.prompts.builder import PromptBuilder
from erc.llm.prompts.notes import NO_NOTES, Demonstration, SpeakerNotes
from erc.llm.prompts.template import PromptTemplate, RenderedPrompt

TaskName = Literal[
    "erc", "speaker_identification", "emotion_impact", "speaker_characteristic", "interlocutor_commonsense"
]
TASKS: tuple[TaskName, ...] = get_args(TaskName)
Characteristic = Literal[
    "xIntent", "xReact", "oReact", "xWant", "oWant", "xEffect", "oEffect", "xNeed", "xAttr"
]
CHARACTERISTICS: tuple[Characteristic, ...] = get_args(Characteristic)
SPEAKERS = tuple(f"Speaker_{number}" for number in range(9))
"""The closed label set of the speaker-identification task, as published."""


@dataclass(frozen=True, slots=True)
class LabelledPrompt:
    """A prompt and its answer. `candidates` is the closed set of answers, empty for free text."""

    task: TaskName
    prompt: RenderedPrompt
    answer: str
    candidates: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.candidates and self.answer not in self.candidates:
            raise ValueError(f"the answer {self.answer!r} is not among the candidates {self.candidates}")


class TaskPrompts:
    """Makes the training prompts of one label set, with the budget and sanitizer of the emotion prompt."""

    def __init__(self, builder: PromptBuilder) -> None:
        self.builder = builder
        self._templates: dict[TaskName, PromptTemplate] = {
            task: PromptTemplate.load(task) for task in TASKS if task != "erc"
        }

    @property
    def sha256(self) -> str:
        """One hash of all templates and of the version of their format."""
        parts = [
            self.builder.sha256,
            *(f"{task} {template.sha256}" for task, template in sorted(self._templates.items())),
        ]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def emotion(
        self,
        context: Context,
        label: str,
        *,
        notes: SpeakerNotes = NO_NOTES,
        demonstrations: Sequence[Demonstration] = (),
    ) -> LabelledPrompt:
        """The emotion of the target.

        Raises:
            ConfigError: the prompt does not fit the budget.
        """
        prompt = self.builder.emotion(context, notes=notes, demonstrations=demonstrations)
        return LabelledPrompt("erc", prompt, label, self.builder.labels)

    def speaker_identification(self, context: Context) -> LabelledPrompt | None:
        """Asks which of `SPEAKERS` says the target, from its text alone; None after the ninth speaker.

        Speakers are numbered by first appearance in the dialogue (InstructERC, stage 1).

        Raises:
            ConfigError: the prompt does not fit the budget.
        """
        order = list(dict.fromkeys(turn.speaker for turn in (*context.past, context.target)))
        place = order.index(context.target.speaker)
        if place >= len(SPEAKERS):
            return None
        template = self._templates["speaker_identification"]
        prompt = template.render(speakers=SPEAKERS, text=self.builder.text(context.target))
        self._require_room("speaker_identification", prompt)
        return LabelledPrompt("speaker_identification", prompt, SPEAKERS[place], SPEAKERS)

    def emotion_impact(self, context: Context, label: str) -> LabelledPrompt | None:
        """The emotion of the unseen target, from the past; None for the first turn of a conversation.

        Raises:
            ConfigError: the prompt does not fit the budget.
        """
        if not context.past:
            return None
        values = {"labels": self.builder.labels, "speaker": self.builder.safe.name(context.target.speaker)}
        return LabelledPrompt(
            "emotion_impact",
            self._fit("emotion_impact", context, values, target=False),
            label,
            self.builder.labels,
        )

    def characteristic_prompt(self, context: Context, kind: Characteristic) -> RenderedPrompt:
        """Asks for one speaker characteristic, in free words.

        Raises:
            ConfigError: `kind` is unknown, or the prompt does not fit the budget.
        """
        if kind not in CHARACTERISTICS:
            raise ConfigError(f"no speaker characteristic '{kind}'; there are {', '.join(CHARACTERISTICS)}")
        return self._fit(
            "speaker_characteristic", context, {**self._target(context), "characteristic": kind}, target=True
        )

    def commonsense_prompt(self, context: Context) -> RenderedPrompt:
        """Asks what the speaker intends and how the listeners take it, in free words.

        Raises:
            ConfigError: the prompt does not fit the budget.
        """
        speaker = self.builder.safe.name(context.target.speaker)
        others = tuple(
            dict.fromkeys(
                name for turn in context.past if (name := self.builder.safe.name(turn.speaker)) != speaker
            )
        )
        return self._fit(
            "interlocutor_commonsense", context, {**self._target(context), "listeners": others}, target=True
        )

    def generated(
        self,
        task: Literal["speaker_characteristic", "interlocutor_commonsense"],
        prompt: RenderedPrompt,
        text: str,
    ) -> LabelledPrompt:
        """A generated answer as a training example: one line, at most 300 characters."""
        return LabelledPrompt(task, prompt, self.builder.safe.line(text, cap=300))

    def of_conversation(self, conversation: Conversation, task: TaskName) -> Iterator[LabelledPrompt]:
        """Yields the examples of a closed task, without notes.

        The tasks `erc` and `emotion_impact` take the turns with one gold label of the set.

        Raises:
            ConfigError: a prompt does not fit the budget.
        """
        for turn in conversation:
            context = Context.causal(conversation, turn.index)
            label = (
                turn.emotions[0]
                if len(turn.emotions) == 1 and turn.emotions[0] in self.builder.labels
                else None
            )
            made: LabelledPrompt | None = None
            if task == "speaker_identification":
                made = self.speaker_identification(context)
            elif task == "emotion_impact" and label is not None:
                made = self.emotion_impact(context, label)
            elif task == "erc" and label is not None:
                made = self.emotion(context, label)
            if made is not None:
                yield made

    def _target(self, context: Context) -> dict[str, object]:
        return {
            "speaker": self.builder.safe.name(context.target.speaker),
            "text": self.builder.text(context.target),
        }

    def _fit(
        self, task: TaskName, context: Context, values: Mapping[str, object], *, target: bool
    ) -> RenderedPrompt:
        """The task's prompt with as many past turns as fit; `target` adds the target's line."""
        lines = self.builder.lines(context)
        template = self._templates[task]
        prompt = fit(
            lines if target else lines[:-1],
            lambda kept: template.render(dialogue=kept, **values),
            encoder=self.builder.encoder,
            budget=self.builder.budget,
        )
        if prompt is None:
            raise self._too_long(task)
        return prompt

    def _require_room(self, task: TaskName, prompt: RenderedPrompt) -> None:
        if len(self.builder.encoder.prompt_ids(prompt)) > self.builder.budget.max_tokens:
            raise self._too_long(task)

    def _too_long(self, task: TaskName) -> ConfigError:
        limit = self.builder.budget.max_tokens
        return ConfigError(f"one turn of task {task} needs more than max_tokens={limit}: raise it")
