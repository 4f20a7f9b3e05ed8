"""EmoNet: a context encoder, what is known of the speaker, and a head over exclusive emotions.

CoMPM and BiosERC's encoder variant are configurations of the same parts (`window` with an own memory within
the dialogue; a bio join).

Shapes: B conversations, U turns, T tokens, P width of a turn's vector, C emotions, S drawn networks.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from erc.errors import ArtefactError
from erc.models.context.base import ContextEncoder, maybe_drawn
from erc.models.dropout import Draw, drawn, require_dropout
from erc.models.emonet.fusion import BioJoin, JoinKind, MemoryJoin
from erc.models.emonet.speaker_history import BehaviourMemory, OwnMemory
from erc.models.heads import EmotionHead, HeadKind, LinearHead
from erc.models.mc_modes import McMode, first_sampled_layer
from erc.models.outputs import EmoNetOutput, LiveState
from erc.models.speaker_embedding import SpeakerTable
from erc.models.turn_batch import TurnBatch
from erc.models.utterance import UtteranceClassifier

_HEAD_SITE = 50_000
_ROWS_AT_ONCE = 1024


class EmoNet(nn.Module):
    """Labels every turn of whole conversations from its past and its speaker's past, in one pass or turn by turn."""

    def __init__(
        self,
        *,
        context: ContextEncoder,
        emotions: int,
        memory: BehaviourMemory | None = None,
        join: JoinKind = "sum",
        zero_start: bool = True,
        speakers: SpeakerTable | None = None,
        bio: BioJoin | None = None,
        head: HeadKind = "mlp",
        head_hidden: int | None = None,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.context = context
        self.memory = memory
        self.join = (
            None
            if memory is None
            else MemoryJoin(kind=join, width=context.width, memory=memory.width, zero_start=zero_start)
        )
        self.speakers = speakers
        self.bio = bio
        self.head: EmotionHead | LinearHead
        if head == "linear":
            self.head = LinearHead(width=context.width, emotions=emotions, dropout=dropout, site=_HEAD_SITE)
        else:
            hidden = head_hidden or context.encoder.hidden_size
            self.head = EmotionHead(
                width=context.width, hidden=hidden, emotions=emotions, dropout=dropout, site=_HEAD_SITE
            )

    @property
    def embedding_width(self) -> int:
        """P, the width of `EmoNetOutput.embedding`."""
        return self.context.width

    def forward(self, *, batch: TurnBatch) -> EmoNetOutput:
        """Whole conversations -> logits (U, C), embedding (U, P)."""
        embedding = self._joined(self._begin(batch, 0), 0, 1)
        return EmoNetOutput(logits=self.head(embedding), embedding=embedding)

    def init_from(self, classifier: UtteranceClassifier) -> Self:
        """Takes over a trained utterance classifier: its encoder (also for an own memory) and the head's first layer where it fits.

        The output layer is new, because the emotions are others. Raises ArtefactError for another encoder.
        """
        weights = classifier.encoder.state_dict()
        encoders = [
            self.context.encoder,
            *([self.memory.encoder] if isinstance(self.memory, OwnMemory) else []),
        ]
        for encoder in encoders:
            own = encoder.state_dict()
            differing = sorted(set(own) ^ set(weights)) or [
                name for name in own if own[name].shape != weights[name].shape
            ]
            if differing:
                raise ArtefactError(
                    f"the classifier to start from has another encoder: {len(differing)} weights differ, first {differing[0]}"
                )
            encoder.load_state_dict(weights)
        if (
            isinstance(self.head, EmotionHead)
            and classifier.head.dense.weight.shape == self.head.dense.weight.shape
        ):
            self.head.dense.load_state_dict(classifier.head.dense.state_dict())
        return self

    def live_state(self) -> LiveState:
        """The state of a conversation that has not begun."""
        return LiveState(turns=0, tensors={})

    @torch.no_grad()
    def append(self, state: LiveState, turn: TurnBatch) -> tuple[EmoNetOutput, LiveState]:
        """Answers one more turn, the same as the batch pass over the whole conversation would, and gives the state after it."""
        output, state = self._append(state, turn, split=0, draw=None)
        return output, state

    def mc_head(self, embedding: Tensor, *, n_samples: int, seed: int) -> Tensor:
        """Samples of the head alone over embeddings (U, P) already at hand: logits (S, U, C)."""
        require_dropout(self.head, name="this head")
        parts = embedding.split(_ROWS_AT_ONCE)  # what S networks make of a long conversation would be large
        return torch.cat([self.head.sample(part, n_samples=n_samples, seed=seed) for part in parts], dim=1)

    @torch.no_grad()
    def mc_forward(
        self,
        batch: TurnBatch,
        n_samples: int,
        seed: int = 0,
        mode: McMode = McMode.HEAD,
        top_k: int = 1,
        max_batch_size: int = 256,
    ) -> Tensor:
        """Monte-Carlo-dropout logits (S, U, C): joint samples through context encoder, behaviour memory and head.

        `full` samples every dropout behind the embeddings, `top-k` those of the `top_k` upper layers of each
        encoder and all above them, `head` those of the head. Sample s of a seed is the same network for every
        turn of every conversation, so the answer depends neither on the batch nor on `max_batch_size` (turns
        times samples that share a pass). The model must be in evaluation mode and is left as it was. Raises
        NoDropoutError for a model without dropout, ValueError for n_samples < 1.
        """
        split = self._first_sampled_layer(n_samples, mode, top_k)
        if split is None:
            return self.mc_head(self(batch=batch).embedding, n_samples=n_samples, seed=seed)
        begun = self._begin(
            replace(batch, vectors=None), split
        )  # vectors at hand are those of one network, not of S
        at_once = max(1, max_batch_size // len(batch))
        logits = []
        for start in range(0, n_samples, at_once):
            samples = tuple(range(start, min(n_samples, start + at_once)))
            with drawn(Draw(seed=seed, samples=samples)):
                logits.append(
                    self.head(self._joined(begun, split, len(samples))).view(len(samples), len(batch), -1)
                )
        return torch.cat(logits)

    @torch.no_grad()
    def mc_append(
        self,
        state: LiveState,
        turn: TurnBatch,
        n_samples: int,
        seed: int = 0,
        mode: McMode = McMode.HEAD,
        top_k: int = 1,
    ) -> tuple[Tensor, LiveState]:
        """`mc_forward` turn by turn: logits (S, 1, C) and the state after the turn, which belongs to this seed, mode and S alone.

        In mode `head` the state is the deterministic one; in the others it holds the past of S networks and
        is S times as large.
        """
        split = self._first_sampled_layer(n_samples, mode, top_k)
        if split is None:
            output, state = self.append(state, turn)
            return self.mc_head(output.embedding, n_samples=n_samples, seed=seed), state
        draw = Draw(seed=seed, samples=tuple(range(n_samples)))
        turn = replace(turn, vectors=None)
        output, state = self._append(state, turn, split=split, draw=draw)
        return output.logits.unsqueeze(1), state

    def _append(
        self, state: LiveState, turn: TurnBatch, *, split: int, draw: Draw | None
    ) -> tuple[EmoNetOutput, LiveState]:
        if len(turn) != 1 or int(turn.turn[0]) != state.turns:
            raise ValueError(f"this state awaits turn {state.turns} alone, got turns {turn.turn.tolist()}")
        copies = 1 if draw is None else len(draw.samples)
        vectors, tensors = self.context.append(turn, state.tensors, split=split, draw=draw)
        begun = None if self.memory is None else self.memory.begin(turn, split=split)
        with maybe_drawn(draw):
            embedding = self._add_speaker(vectors, begun, turn, split, copies)
            output = EmoNetOutput(logits=self.head(embedding), embedding=embedding)
        return output, LiveState(turns=state.turns + 1, tensors=tensors)

    def _begin(self, batch: TurnBatch, split: int) -> tuple[TurnBatch, Any, Any]:
        memory = None if self.memory is None else self.memory.begin(batch, split=split)
        return batch, self.context.begin(batch, split=split), memory

    def _joined(self, begun: tuple[TurnBatch, Any, Any], split: int, copies: int) -> Tensor:
        batch, context, memory = begun
        vectors = self.context.complete(context, split=split, copies=copies)
        return self._add_speaker(vectors, memory, batch, split, copies)

    def _add_speaker(self, vectors: Tensor, memory: Any, batch: TurnBatch, split: int, copies: int) -> Tensor:
        """Joins memory, identity and bio to context vectors (S * U, P)."""
        if self.memory is not None and self.join is not None:
            vectors = self.join(vectors, self.memory.complete(memory, split=split, copies=copies))
        if self.speakers is not None:
            vectors = vectors + self.speakers(batch.global_speaker).repeat(copies, 1)
        return vectors if self.bio is None else self.bio(vectors, batch)

    def _first_sampled_layer(self, n_samples: int, mode: McMode, top_k: int) -> int | None:
        split = first_sampled_layer(mode, layers=len(self.context.encoder.layers), top_k=top_k)
        if n_samples < 1:
            raise ValueError(f"n_samples={n_samples}: at least one sample is needed")
        if self.training:
            raise RuntimeError("sampling needs the model in evaluation mode: call model.eval() first")
        require_dropout(self.head if split is None else self, name="this model")
        return split
