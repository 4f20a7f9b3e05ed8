"""Bios written by a language model from what people said."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from erc.errors import ConfigError
from erc.inference.scorers.scores import SharedClassifier
from erc.llm.backends.generate import GenerationSettings, Generator
from erc.llm.generation.text_store import WrittenTexts
from erc.llm.generation.writer import KeepingWriter, Writer
from erc.llm.prompts.budget import Budget, fit
from erc.llm.prompts.encoding import PromptEncoder
from erc.llm.prompts.sanitize import PromptSanitizer
from erc.llm.prompts.template import PromptTemplate, RenderedPrompt
from erc.llm.prompts.truncation import largest_fitting
from erc.memory.bios import NothingWrittenError, write_bio
from speakers import END, Bio, BioWriter, Observation, Passage, Point, Registry, Speaker, SpeakerContext

_SENTENCE = re.compile(r"(?<=[.!?…。！？])\s+")
MOST_TOKENS = 240
"""Token limit of a bio in a corpus memory: 80 words, with room for scripts that take more tokens."""
_MOST_CHARACTERS = 4000


@dataclass(frozen=True, slots=True)
class LlmBios:
    """Makes writers of bios.

    A prompt shows the last remembered turns of the person that fit `budget` and leave room for the bio within
    the model's positions.

    Attributes:
        generator: The language model.
        template: The prompt.
        settings: How the model generates.
        budget: The token limit of a prompt.
        max_words: The word limit that the prompt asks for.
    """

    generator: Generator
    template: PromptTemplate
    settings: GenerationSettings
    budget: Budget
    max_words: int = 80

    @property
    def name(self) -> str:
        """Model and prompt, stored with every bio."""
        return f"llm:{self.generator.model_id} {self.template.id}@{self.template.sha256[:12]}"

    def writer(self, speaker: str, *, earlier: str | None) -> BioWriter:
        """The writer for the person called `speaker`, whose previous bio is `earlier`."""

        def write(turns: Sequence[Observation]) -> tuple[Passage, ...]:
            return self._write(speaker, earlier, [turn.text for turn in turns if turn.text])

        return BioWriter(self.name, write)

    def writer_of(self, registry: Registry, context: SpeakerContext) -> BioWriter:
        """The writer of a person's next bio, which reads the previous one."""
        name = registry.find(context.speaker).name
        return self.writer(name or "Someone", earlier=None if context.bio is None else context.bio.text)

    def _write(self, speaker: str, earlier: str | None, texts: Sequence[str]) -> tuple[Passage, ...]:
        if not texts:
            return ()
        encoder = self.generator.encoder
        safe = PromptSanitizer.for_tokenizer(encoder.tokenizer)
        name = safe.name(speaker)
        budget = self.budget.within(encoder.positions, answer=self.settings.max_new_tokens)

        def render(kept: Sequence[str], known: str = "") -> RenderedPrompt:
            return self.template.render(speaker=name, earlier=known, dialogue=kept, max_words=self.max_words)

        # A turn and the previous bio take at most a third each, so a prompt always fits.
        share = (budget.max_tokens - len(encoder.prompt_ids(render([])))) // 3
        turns = [
            _within(share, encoder, safe.limits.utterance, partial(_safe_sentences, safe, [text]))
            for text in texts
        ]
        known = _within(
            share,
            encoder,
            safe.limits.passage,
            partial(_safe_sentences, safe, _SENTENCE.split(earlier or "")),
        )
        lines = [f"{name}: {turn}" for turn in turns]
        prompt = fit(lines, lambda kept: render(kept, known), encoder=encoder, budget=budget)
        if prompt is None:
            raise ConfigError(
                f"the prompt for a bio of {name} leaves no room for a turn in {budget.max_tokens} tokens: "
                "allow more"
            )
        # The model wrote the text from people's turns, so it is sanitized like a turn.
        written = safe.line(
            self.generator.generate([prompt], settings=self.settings)[0], cap=_MOST_CHARACTERS
        )
        if not written:
            raise NothingWrittenError(
                f"{self.generator.model_id} wrote nothing about {name}: use an instruction-tuned model"
            )
        return tuple(Passage(sentence, len(texts)) for sentence in _SENTENCE.split(written) if sentence)


def _safe_sentences(safe: PromptSanitizer, sentences: Sequence[str], cap: int) -> str:
    """The sentences, each shortened in the middle to `cap` characters."""
    return " ".join(safe.utterance(sentence, cap=cap) for sentence in sentences)


def _within(tokens: int, encoder: PromptEncoder, limit: int, shortened: Callable[[int], str]) -> str:
    """`shortened(cap)` for the largest `cap` up to `limit` that takes at most `tokens` tokens."""
    whole = shortened(limit)
    if len(whole.encode()) <= tokens or encoder.count(whole) <= tokens:  # a token is at least one byte
        return whole
    return shortened(largest_fitting(limit - 1, lambda cap: encoder.count(shortened(cap)) <= tokens))


def written_bios(writer: Writer, texts: WrittenTexts) -> dict[str, Any]:
    """Arguments of `corpus_memory` for bios written by a language model."""
    kept = KeepingWriter(writer, texts, task="speaker_bio")
    bios = LlmBios(
        kept,
        PromptTemplate.load("speaker_bio"),
        GenerationSettings(max_new_tokens=MOST_TOKENS),
        Budget(max_tokens=2048),
    )
    return {"writer": bios.name, "writer_of": bios.writer_of}


def write_bios(
    registry: Registry,
    bios: LlmBios,
    *,
    classifier: SharedClassifier | None = None,
    speakers: Sequence[Speaker] | None = None,
) -> Iterator[tuple[Speaker, Bio | NothingWrittenError | None]]:
    """Writes the next version of each person's bio from all their remembered turns.

    Only later conversations read it. `classifier` is as in `write_bio`.

    Yields:
        The speaker with the new bio; with None if they have no turns since this writer's last bio; or with an
        error if the model wrote nothing. After an error the old bio is kept, and the other bios are written.
    """
    for speaker in registry.speakers() if speakers is None else speakers:
        context = registry.context(speaker.speaker_id, before=END, limit=1)
        if not context.observations:
            continue
        before = _after(context.observations[-1])
        if context.bio is not None and (context.bio.writer, context.bio.before) == (bios.name, before):
            yield speaker, None
            continue
        try:
            yield (
                speaker,
                write_bio(
                    registry,
                    speaker.speaker_id,
                    before=before,
                    writer=bios.writer_of(registry, context),
                    classifier=classifier,
                ),
            )
        except NothingWrittenError as error:
            yield speaker, error


def _after(turn: Observation) -> Point:
    """The point right after a remembered turn."""
    assert turn.point is not None  # the store sets it
    return replace(turn.point, index=turn.point.index + 1)
