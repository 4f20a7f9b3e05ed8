"""From a corpus to the examples of a recipe's stages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from erc.data.conversation import Context, Conversation, Utterance
from erc.data.corpora import Corpus
from erc.llm.prompts.demonstrations import DemonstrationIndex, TurnSource
from erc.llm.prompts.notes import NO_NOTES, Demonstration
from erc.llm.prompts.tasks import LabelledPrompt, TaskName, TaskPrompts
from erc.llm.recipes import GENERATED, Recipe, Stage, answers_of
from erc.training.inputs import TrainingInputs
from erc.training.llm.batches import LlmExample, encode_example


@dataclass(frozen=True, slots=True)
class Examples:
    """Makes the examples of a recipe's stages.

    Attributes:
        prompts: Makes the prompts.
        recipe: What prompts show.
        inputs: Notes, embeddings and generated texts.
        demonstrations: Demonstrations of the training split, if the recipe shows any.
    """

    prompts: TaskPrompts
    recipe: Recipe
    inputs: TrainingInputs
    demonstrations: DemonstrationIndex | None = None
    _vectors: dict[str, np.ndarray] = field(default_factory=dict)

    def of_stage(self, corpus: Corpus, stage: Stage, *, dev: bool = False) -> list[LlmExample]:
        """Every example of the stage's tasks; on dev only emotions, if the stage trains them."""
        tasks: Mapping[TaskName, float] = (
            {"erc": stage.tasks["erc"]} if dev and "erc" in stage.tasks else stage.tasks
        )
        if "erc" in tasks:
            self._embed(
                [turn.text for conversation in corpus.conversations for turn in self._labelled(conversation)]
            )
        encoder = self.prompts.builder.encoder
        return [
            encode_example(made, encoder, weight=weight, dialogue=number, kind=kind)
            for kind, (task, weight) in enumerate(tasks.items())
            for number, conversation in enumerate(corpus.conversations)
            for made in self._made(conversation, task, stage)
        ]

    def _made(self, conversation: Conversation, task: TaskName, stage: Stage) -> Iterator[LabelledPrompt]:
        if task in GENERATED:
            texts = self.inputs.generated[answers_of(task, stage)]
            for turn in conversation:
                text = texts.get((conversation.conversation_id, turn.index))
                if text:
                    yield self._written(Context.causal(conversation, turn.index), task, stage, text)
        elif task != "erc":
            yield from self.prompts.of_conversation(conversation, task)
        else:
            for turn in self._labelled(conversation):
                notes = (
                    NO_NOTES if self.inputs.notes is None else self.inputs.notes.of(conversation, turn.index)
                )
                shown = self._shown(conversation, turn.text)
                yield self.prompts.emotion(
                    Context.causal(conversation, turn.index),
                    turn.emotions[0],
                    notes=notes,
                    demonstrations=shown,
                )

    def _labelled(self, conversation: Conversation) -> list[Utterance]:
        """The turns with exactly one label of the set."""
        return [
            turn
            for turn in conversation
            if len(turn.emotions) == 1 and turn.emotions[0] in self.prompts.builder.labels
        ]

    def _written(self, context: Context, task: TaskName, stage: Stage, text: str) -> LabelledPrompt:
        if task == "speaker_characteristic":
            return self.prompts.generated(
                task, self.prompts.characteristic_prompt(context, stage.characteristic), text
            )
        return self.prompts.generated(
            "interlocutor_commonsense", self.prompts.commonsense_prompt(context), text
        )

    def _embed(self, texts: Sequence[str]) -> None:
        """Computes the vectors of all texts of a corpus at once, in full batches."""
        fresh = [text for text in dict.fromkeys(texts) if text not in self._vectors]
        if fresh and self.demonstrations is not None and self.inputs.embed is not None:
            self._vectors.update(zip(fresh, self.inputs.embed(fresh), strict=True))

    def _shown(self, conversation: Conversation, text: str) -> tuple[Demonstration, ...]:
        if self.demonstrations is None:
            return ()
        return self.demonstrations.search(
            self._vectors[text], text=text, origin=TurnSource.of(conversation), k=self.recipe.demonstrations
        )
