"""A conversation that is still going on: one turn in, one prediction out, with a state whose size does not grow with its length."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from erc.data import Moment, PastUtterance, SpeakerHistory, Utterance
from erc.data.chronology import speaker_key
from erc.errors import ArtefactError, ConfigError, InputError
from erc.inference.emonet_scorer import EmoNetScorer, StoredPast
from erc.inference.prediction import Prediction
from erc.inference.predictor import Predictor
from erc.models.outputs import LiveState
from erc.transcripts.assembling import utterance_id


@dataclass(slots=True)
class _Past:
    """The last turns of each speaker of one conversation: a `HistoryProvider` of bounded size."""

    limit: int
    stored: StoredPast | None = None
    turns: dict[str, deque[PastUtterance]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, speaker: str, turn: PastUtterance) -> None:
        self.turns.setdefault(speaker, deque(maxlen=max(1, self.limit))).append(turn)
        self.counts[speaker] = self.counts.get(speaker, 0) + 1

    def history(self, speaker: str, *, before: Moment, limit: int) -> SpeakerHistory:
        count = self.counts.get(speaker, 0)
        recent = tuple(self.turns.get(speaker, ()))[-limit:] if limit else ()
        own = SpeakerHistory(recent, count, min(1, count))
        return own if self.stored is None else self.stored.preceding(own, speaker, before=before, limit=limit)


class LiveConversation:
    """Labels a conversation turn by turn, with the answers that labelling it whole would give.

    The state holds the model's window over the conversation and the last observations of each speaker; `state_bytes` tells its size.
    A model that reads turns by themselves has no state at all. Not for use from several threads at once.
    """

    def __init__(self, predictor: Predictor, *, conversation_id: str = "live", corpus: str | None = None, stored: StoredPast | None = None) -> None:
        scorer = predictor.scorer
        if not isinstance(scorer, EmoNetScorer):
            raise ConfigError(f"{scorer.identity} reads turns by themselves: a live conversation needs a conversation model")
        self.predictor = predictor
        self.conversation_id = conversation_id
        self.corpus = corpus
        self.time = stored.times[conversation_id] if stored is not None else 0.0
        self._scorer: EmoNetScorer = scorer
        self._past = _Past(limit=int(scorer.reads.get("history_limit", 0)), stored=stored)
        self._builder = scorer.builder(self._past)
        self._speakers: dict[str, int] = {}
        self._state = scorer.network.live_state()
        self._sampled = scorer.network.live_state()

    def __len__(self) -> int:
        return self._state.turns

    @property
    def state_bytes(self) -> int:
        """Bytes of the state: tensors of the model and remembered observations."""
        remembered = sum(t.embedding.nbytes + t.probabilities.nbytes for turns in self._past.turns.values() for t in turns)
        return self._state.nbytes + self._sampled.nbytes + remembered

    def append(self, speaker: str, text: str, *, timestamp: str | None = None, start: float | None = None, end: float | None = None) -> Prediction:
        """Labels the next turn."""
        if not speaker.strip():
            raise InputError("a turn needs a speaker")
        index = len(self)
        utterance = Utterance(
            utterance_id=utterance_id(self.conversation_id, index), index=index, speaker=speaker, text=text, start=start, end=end, timestamp=timestamp
        )
        return self.append_utterance(utterance)

    @torch.inference_mode()
    def append_utterance(self, utterance: Utterance) -> Prediction:
        """Labels the next turn, given as an utterance whose index is the number of turns so far."""
        if utterance.index != len(self):
            raise InputError(f"the conversation has {len(self)} turns, so the next one has index {len(self)}, not {utterance.index}")
        scorer = self._scorer
        read = scorer.utterance.score_texts([utterance.text])
        local = self._speakers.setdefault(utterance.speaker, len(self._speakers))
        turn = self._builder.prepare_turn(utterance, conversation_id=self.conversation_id, corpus=self.corpus, local_speaker=local, time=self.time)
        seen = self._past.history(turn.speaker, before=turn.moment, limit=0)
        batch = scorer.cast(self._builder.collate([[turn]]))
        output, self._state = scorer.network.append(self._state, batch)
        samples: np.ndarray | None = None
        if scorer.mode == "head":
            samples = scorer.network.mc_head(output.embedding, n_samples=scorer.samples, seed=scorer.settings.seed).float().cpu().numpy()
        elif scorer.mode != "off":
            drawn, self._sampled = scorer.network.mc_append(
                self._sampled,
                batch,
                scorer.samples,
                seed=scorer.settings.seed,
                mode=scorer.mode,  # type: ignore[arg-type]
                top_k=scorer.top_k,
            )
            samples = drawn.float().cpu().numpy()
        self._remember(turn.moment, utterance, read.embedding[0], read.probabilities[0])
        counts = np.array([[seen.utterances, seen.conversations]]) * (self._past.limit > 0)  # without a memory nothing rests on the past
        scores = scorer.belief(output.logits.float().cpu().numpy(), samples, read, counts)
        return self.predictor.predictions([(self.conversation_id, utterance)], scores)[0]

    @property
    def _drawn(self) -> dict[str, Any] | None:
        """Which networks the sampled state is the past of; None in a mode that keeps no such state."""
        scorer = self._scorer
        if scorer.mode in ("off", "head"):
            return None
        return {"mode": scorer.mode, "samples": scorer.samples, "seed": scorer.settings.seed, "top_k": scorer.top_k}

    def _remember(self, moment: Moment, utterance: Utterance, embedding: np.ndarray, probabilities: np.ndarray) -> None:
        past = PastUtterance(
            moment=moment, embedding=embedding.astype(np.float16), probabilities=probabilities.astype(np.float32), text=utterance.text
        )
        self._past.add(speaker_key(self.corpus, utterance.speaker), past)

    def _on_model(self, state: LiveState) -> LiveState:
        """The state where the model computes and in its precision; a file may come from another machine."""
        scorer = self._scorer
        cast = {n: t.to(scorer.settings.device, scorer.dtype if t.is_floating_point() else t.dtype) for n, t in state.tensors.items()}
        return LiveState(turns=state.turns, tensors=cast)

    def save(self, path: Path) -> None:
        """Writes the state as safetensors, so that the conversation can go on in another process."""
        tensors = {f"state.{name}": value for name, value in self._state.to_tensors().items()}
        tensors |= {f"sampled.{name}": value for name, value in self._sampled.to_tensors().items()}
        turns: dict[str, list[Any]] = {}
        for number, (speaker, past) in enumerate(self._past.turns.items()):
            turns[speaker] = [(t.moment.time, t.moment.index, t.text) for t in past]
            tensors[f"past.{number}.embedding"] = torch.from_numpy(np.stack([t.embedding for t in past]))
            tensors[f"past.{number}.probabilities"] = torch.from_numpy(np.stack([t.probabilities for t in past]))
        record = {
            "model": self._scorer.artefact.sha256,
            "drawn": self._drawn,
            "remembers": self._past.stored is not None,
            "conversation_id": self.conversation_id,
            "corpus": self.corpus,
            "time": self.time,
            "speakers": self._speakers,
            "counts": self._past.counts,
            "turns": turns,
        }
        save_file({name: value.contiguous().clone() for name, value in tensors.items()}, path, metadata={"live": json.dumps(record)})

    @classmethod
    def load(cls, path: Path, predictor: Predictor, *, stored: StoredPast | None = None) -> LiveConversation:
        """Goes on with a conversation that `save` wrote.

        Raises InputError for a file that holds none, ArtefactError where another model wrote it, and ConfigError where this predictor
        samples networks whose past the file does not hold, or where a speaker memory (`stored`) was read before and now is not, or the reverse.
        """
        record, tensors = _read(path)
        live = cls(predictor, conversation_id=str(record.get("conversation_id", "live")), corpus=record.get("corpus"), stored=stored)
        if record.get("model") != live._scorer.artefact.sha256:
            raise ArtefactError(f"{path} holds the state of another model: label the conversation again with {live._scorer.identity}")
        if live._drawn is not None and live._drawn != record.get("drawn"):
            wanted = ", ".join(f"{name}={value}" for name, value in live._drawn.items())
            raise ConfigError(f"{path} was not sampled with {wanted}: go on with the settings it was begun with, or in mode head or off")
        if bool(record.get("remembers")) != (stored is not None):
            begun = "with" if record.get("remembers") else "without"
            raise ConfigError(f"{path} was begun {begun} a speaker memory: go on {begun} one, or its answers would change on the way")
        live.time = float(record["time"])
        live._speakers = dict(record["speakers"])
        live._state = live._on_model(_part(tensors, "state"))
        if live._drawn is not None:
            live._sampled = live._on_model(_part(tensors, "sampled"))
        live._past.counts = dict(record["counts"])
        for number, (speaker, turns) in enumerate(record["turns"].items()):
            embeddings, probabilities = tensors[f"past.{number}.embedding"].numpy(), tensors[f"past.{number}.probabilities"].numpy()
            live._past.turns[speaker] = deque(
                (
                    PastUtterance(Moment(time, live.conversation_id, index), embedding, row, text)
                    for (time, index, text), embedding, row in zip(turns, embeddings, probabilities, strict=True)
                ),
                maxlen=max(1, live._past.limit),
            )
        return live


def _read(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """The record and the tensors of a saved conversation."""
    try:
        with safe_open(path, framework="pt") as file:
            record = (file.metadata() or {}).get("live")
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"cannot be read as the state of a live conversation: {error}", path=path) from error
    if record is None:
        raise InputError("holds no state of a live conversation", path=path)
    return json.loads(record), tensors


def _part(tensors: dict[str, torch.Tensor], name: str) -> LiveState:
    """One of the two states in a file."""
    prefix = f"{name}."
    return LiveState.from_tensors({key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)})
