"""The state of a conversation model in a live conversation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from erc.data import Moment, PastUtterance, SpeakerHistory, SpeakerPast, Utterance
from erc.errors import ArtefactError, ConfigError
from erc.inference.scorers.emonet import EmoNetScorer
from erc.inference.scorers.history import preceded
from erc.inference.scorers.parallel import alone
from erc.inference.scorers.scores import Scores
from erc.models.encoder.tokenizing import readable
from erc.models.outputs import LiveState
from erc.models.turn_batch import TurnBatch


@dataclass(slots=True)
class LivePast:
    """A `HistoryProvider` over the last `limit` turns of each speaker of one conversation.

    Its size is bounded by the number of speakers. `remembered` precedes the conversation.
    """

    limit: int
    remembered: SpeakerPast | None = None
    turns: dict[str, tuple[PastUtterance, ...]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, speaker: str, turn: PastUtterance) -> None:
        """Appends a turn of the speaker with this key."""
        self.turns[speaker] = (*self.turns.get(speaker, ()), turn)[-max(1, self.limit) :]
        self.counts[speaker] = self.counts.get(speaker, 0) + 1

    def history(self, speaker: str, *, before: Moment, limit: int) -> SpeakerHistory:
        """At most `limit` turns of a speaker, remembered ones first."""
        count = self.counts.get(speaker, 0)
        recent = self.turns.get(speaker, ())[-limit:] if limit else ()
        own = SpeakerHistory(recent, count, min(1, count))
        return preceded(own, self.remembered, speaker, before=before, limit=limit)


class LiveEmoNet:
    """The state of an `EmoNetScorer` in one conversation; `past` holds remembered turns from before it."""

    kind = "emonet"

    def __init__(
        self,
        scorer: EmoNetScorer,
        *,
        conversation_id: str,
        corpus: str | None = None,
        past: SpeakerPast | None = None,
    ) -> None:
        self.conversation_id = conversation_id
        self.corpus = corpus
        self.time = 0.0 if past is None else past.time(conversation_id)
        self._scorer = scorer
        self._known = scorer.speakers(past)
        self._past = LivePast(scorer.history_limit, remembered=past if scorer.remembers else None)
        self._builder = scorer.builder(self._past, self._known)
        self._speakers: dict[str, int] = {}
        self._names: dict[str, str] = {}  # names as first written, for lookups in the memory
        self._state = scorer.network.live_state()
        self._sampled = scorer.network.live_state()

    def __len__(self) -> int:
        return self._state.turns

    @property
    def nbytes(self) -> int:
        """Bytes of the state.

        The model's tensors, remembered observations, and texts the model reads again.
        """
        remembered = sum(_size(turn) for turns in self._past.turns.values() for turn in turns)
        return self._state.nbytes + self._sampled.nbytes + remembered

    def snapshot(self) -> Callable[[], None]:
        """Records the state; the returned function restores it."""
        state, sampled, speakers, names = self._state, self._sampled, dict(self._speakers), dict(self._names)
        counts, turns = dict(self._past.counts), dict(self._past.turns)
        bios = self._known.bios
        forget = None if bios is None else bios.snapshot(self.conversation_id)

        def back() -> None:
            self._state, self._sampled, self._speakers, self._names = state, sampled, speakers, names
            self._past.counts, self._past.turns = counts, turns
            if forget is not None:
                forget()

        return back

    def read(self, utterance: Utterance) -> Scores:
        """Scores the next turn and appends it to the past."""
        scorer = self._scorer
        read = scorer.utterance.score_texts([utterance.text])
        key = self._key(utterance.speaker)
        local = self._speakers.setdefault(key, 1 + max(self._speakers.values(), default=-1))
        self._names.setdefault(key, utterance.speaker)
        vectors = scorer.vectors(read.embedding)
        turn = self._builder.prepare_turn(
            utterance,
            conversation_id=self.conversation_id,
            corpus=self.corpus,
            local_speaker=local,
            time=self.time,
            vector=None if vectors is None else vectors[0],
        )
        seen = self._past.history(turn.speaker, before=turn.moment, limit=0)
        batch = scorer.cast(self._builder.collate([[turn]]))
        logits, samples = alone(
            lambda: self._answer(batch), device=scorer.settings.device, width=scorer.width
        )
        self._remember(turn.moment, utterance, read.embedding[0], read.probabilities[0])
        counts = np.array([[seen.utterances, seen.conversations]]) * (
            self._past.limit > 0
        )  # without a memory, no output depends on the past
        return scorer.scores(logits, samples, read, counts, np.array([turn.truncated]))

    def pass_over(self, utterance: Utterance) -> None:
        """Appends the next turn; a conversation model must read it to do so."""
        self.read(utterance)

    def _answer(self, batch: TurnBatch) -> tuple[np.ndarray, np.ndarray | None]:
        """Logits (1, C) of the turn, and samples (S, 1, C) or None; advances the states."""
        scorer = self._scorer
        output, self._state = scorer.network.append(self._state, batch)
        logits: np.ndarray = output.logits.float().cpu().numpy()
        if scorer.mode == "off":
            return logits, None
        if scorer.mode == "head":
            return logits, scorer.network.mc_head(
                output.embedding, n_samples=scorer.samples, seed=scorer.settings.seed
            ).float().cpu().numpy()
        drawn, self._sampled = scorer.network.mc_append(
            self._sampled,
            batch,
            scorer.samples,
            seed=scorer.settings.seed,
            mode=scorer.mode,
            top_k=scorer.top_k,
        )
        return logits, drawn.float().cpu().numpy()

    @property
    def _drawn(self) -> dict[str, Any] | None:
        """The sampling settings that the state belongs to; None if the mode keeps no sampled state."""
        scorer = self._scorer
        if scorer.mode in ("off", "head"):
            return None
        return {
            "mode": scorer.mode,
            "samples": scorer.samples,
            "seed": scorer.settings.seed,
            "top_k": scorer.top_k,
        }

    def _remember(
        self, moment: Moment, utterance: Utterance, embedding: np.ndarray, probabilities: np.ndarray
    ) -> None:
        text = (
            readable(utterance.text, max_tokens=self._builder.max_tokens)
            if self._builder.memory_texts
            else None
        )
        past = PastUtterance.observed(moment, embedding, probabilities, text)
        self._past.add(self._key(utterance.speaker), past)

    def _key(self, name: str) -> str:
        return self._known.meet(self.conversation_id, corpus=self.corpus, name=name, time=self.time)

    def _on_model(self, state: LiveState) -> LiveState:
        """Moves a state to the model's device and precision; a file may come from another machine."""
        scorer = self._scorer
        cast = {
            n: t.to(scorer.settings.device, scorer.dtype if t.is_floating_point() else t.dtype)
            for n, t in state.tensors.items()
        }
        return LiveState(turns=state.turns, tensors=cast)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Both states of the network, and each speaker's observations."""
        tensors = {f"state.{name}": value for name, value in self._state.to_tensors().items()}
        tensors |= {f"sampled.{name}": value for name, value in self._sampled.to_tensors().items()}
        for number, past in enumerate(self._past.turns.values()):
            tensors[f"past.{number}.embedding"] = torch.from_numpy(np.stack([t.embedding for t in past]))
            tensors[f"past.{number}.probabilities"] = torch.from_numpy(
                np.stack([t.probabilities for t in past])
            )
        return tensors

    def record(self) -> dict[str, Any]:
        """The model, the sampling settings, and the number of turns per speaker key."""
        return {
            "model": self._scorer.artefact.sha256,
            "drawn": self._drawn,
            "time": self.time,
            "speakers": self._speakers,
            "names": self._names,
            "counts": self._past.counts,
            "turns": {
                speaker: [(t.moment.time, t.moment.index, t.text) for t in past]
                for speaker, past in self._past.turns.items()
            },
        }

    def restore(self, record: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], *, path: Path) -> None:
        """Restores the state of a file.

        Raises:
            ArtefactError: Another model wrote it.
            ConfigError: The sampling settings differ.
            KeyError: The file is damaged; likewise TypeError and ValueError.
        """
        if record.get("model") != self._scorer.artefact.sha256:
            raise ArtefactError(
                f"{path} holds the state of another model: label the conversation again with "
                f"{self._scorer.identity}"
            )
        if self._drawn is not None and self._drawn != record.get("drawn"):
            wanted = ", ".join(f"{name}={value}" for name, value in self._drawn.items())
            raise ConfigError(
                f"{path} was not sampled with {wanted}: continue with its original settings, or in mode head "
                "or off"
            )
        self.time = float(record["time"])
        self._speakers, self._names = dict(record["speakers"]), dict(record["names"])
        self._state = self._on_model(_part(tensors, "state"))
        if self._drawn is not None:
            self._sampled = self._on_model(_part(tensors, "sampled"))
        self._past.counts = dict(record["counts"])
        states = [self._state] if self._drawn is None else [self._state, self._sampled]
        same_turns = all(state.turns == sum(self._past.counts.values()) for state in states)
        if (
            not same_turns
            or not self._speakers.keys()
            == self._names.keys()
            == self._past.counts.keys()
            == record["turns"].keys()
        ):
            raise ValueError(f"{path} has inconsistent numbers of turns per speaker")
        for number, (speaker, turns) in enumerate(record["turns"].items()):
            embeddings, probabilities = (
                tensors[f"past.{number}.embedding"].numpy(),
                tensors[f"past.{number}.probabilities"].numpy(),
            )
            self._past.turns[speaker] = tuple(
                PastUtterance.observed(Moment(time, self.conversation_id, index), embedding, row, text)
                for (time, index, text), embedding, row in zip(turns, embeddings, probabilities, strict=True)
            )
        self._meet_again()
        if self._known.bios is not None:
            self._known.bios.heard(self.conversation_id, self._speakers)

    def _meet_again(self) -> None:
        """Assigns the speakers to their current identities.

        Since the state was saved, a memory may have merged two people or deleted one. Merged names keep the
        number of the first to speak and the turns of all. The network's state is unchanged.
        """
        people: dict[str, list[str]] = {}
        for old in sorted(self._names, key=self._speakers.__getitem__):
            people.setdefault(self._key(self._names[old]), []).append(old)
        past, speakers, names = self._past, self._speakers, self._names
        self._speakers = {person: speakers[old[0]] for person, old in people.items()}
        self._names = {person: names[old[0]] for person, old in people.items()}
        past.counts = {person: sum(past.counts[one] for one in old) for person, old in people.items()}
        turns = {
            person: sorted((turn for one in old for turn in past.turns[one]), key=lambda turn: turn.moment)
            for person, old in people.items()
        }
        past.turns = {person: tuple(said[-max(1, past.limit) :]) for person, said in turns.items()}


def _size(turn: PastUtterance) -> int:
    """Bytes of a remembered turn."""
    return (
        turn.embedding.nbytes + turn.probabilities.nbytes + len((turn.text or "").encode("utf-8", "replace"))
    )


def _part(tensors: Mapping[str, torch.Tensor], name: str) -> LiveState:
    """One of the two states in a file."""
    prefix = f"{name}."
    return LiveState.from_tensors(
        {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    )
