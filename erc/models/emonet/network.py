"""EmoNet: a context encoder, a speaker memory, and a head over exclusive emotions (EmoNet, 2024).

CoMPM and the encoder variant of BiosERC are configurations of the same parts: `window` with an own memory
within the dialogue, and a bio join.

Shapes: B conversations, U turns, T tokens, P width of a turn's vector, C emotions, S drawn networks.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from erc.errors import ArtefactError
from erc.models.context.base import ContextEncoder, maybe_drawn
from erc.models.dropout import Draw, drawn, has_dropout, require_dropout
from erc.models.emonet.fusion import BioJoin, build_join
from erc.models.emonet.settings import JoinKind
from erc.models.emonet.speaker_history import BehaviourMemory, OwnMemory
from erc.models.heads import EmotionHead, HeadKind, LinearHead, sample_head
from erc.models.mc_modes import McMode, first_sampled_layer
from erc.models.outputs import EmoNetOutput, LiveState
from erc.models.speaker_embedding import SpeakerTable
from erc.models.turn_batch import TurnBatch
from erc.models.utterance import UtteranceClassifier

_HEAD_SITE = 50_000
_HEAD_ROWS = 1024  # turns whose head samples are computed at once in `mc_head`


class EmoNet(nn.Module):
    """Labels each turn of a conversation from the turns before it and its speaker's past, at once or live.

    Args:
        context: Encodes each turn with the turns before it.
        emotions: Number of classes.
        memory: Encodes the speaker's past; None for no memory.
        join: How the memory's state is added to the context vector.
        zero_start: Whether the memory contributes exactly nothing before training.
        speakers: Embeddings of known speakers; None for none.
        bio: Adds the speaker's bio; None for no bios.
        head: `mlp` or `linear`.
        head_hidden: Width of the hidden layer of `mlp`; None for the encoder's width.
        dropout: Rate of the head.

    Raises:
        ValueError: If the join does not allow these widths or this start.
    """

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
            else build_join(join, width=context.width, memory=memory.width, zero_start=zero_start)
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
        """Logits (U, C) and joined vectors (U, P) of whole conversations."""
        embedding = self._joined(self._begin(batch, 0), 0, 1)
        return EmoNetOutput(logits=self.head(embedding), embedding=embedding)

    def init_from(self, classifier: UtteranceClassifier) -> Self:
        """Copy the encoder of a trained utterance classifier, and the head's first layer if its shape fits.

        An own memory's encoder receives the same weights. The output layer is not copied, because the classes
        differ.

        Raises:
            ArtefactError: If the classifier has another encoder.
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
                    "the classifier to start from has another encoder: "
                    f"{len(differing)} weights differ, first {differing[0]}"
                )
            encoder.load_state_dict(weights)
        if (
            isinstance(self.head, EmotionHead)
            and classifier.head.dense.weight.shape == self.head.dense.weight.shape
        ):
            self.head.dense.load_state_dict(classifier.head.dense.state_dict())
        return self

    def live_state(self) -> LiveState:
        """The state before the first turn of a conversation."""
        return LiveState(turns=0, tensors={})

    @torch.no_grad()
    def append(self, state: LiveState, turn: TurnBatch) -> tuple[EmoNetOutput, LiveState]:
        """Label one more turn of a live conversation; the result equals that of the batch pass.

        Returns:
            The output of the turn, and the state for the next one.

        Raises:
            ValueError: If `turn` is not the single turn that follows the state.
        """
        output, state = self._append(state, turn, split=0, draw=None)
        return output, state

    @property
    def sampling_modes(self) -> tuple[McMode, ...]:
        """The Monte-Carlo modes this network allows, cheapest first; `head` needs dropout in the head."""
        modes = (McMode.HEAD, McMode.TOP_K, McMode.FULL)
        return modes if has_dropout(self.head) else modes[1:]

    def mc_head(self, embedding: Tensor, *, n_samples: int, seed: int) -> Tensor:
        """Logits (S, U, C) of samples of the head alone over given joined vectors (U, P).

        Raises:
            NoDropoutError: If the head has no dropout.
        """
        return sample_head(
            self.head,
            embedding,
            n_samples=n_samples,
            seed=seed,
            max_batch_size=min(_HEAD_ROWS, max(1, len(embedding))) * n_samples,
        )

    @torch.no_grad()
    def mc_forward(
        self,
        batch: TurnBatch,
        n_samples: int,
        seed: int = 0,
        mode: McMode = McMode.FULL,
        top_k: int = 1,
        max_batch_size: int = 256,
    ) -> Tensor:
        """Monte-Carlo-dropout logits (S, U, C): joint samples of context encoder, speaker memory and head.

        Sample s of a seed is the same network for every turn of every conversation. So the result does not
        depend on the batch or on `max_batch_size`. The model is left as it was.

        Args:
            batch: The conversations.
            n_samples: S.
            seed: Seed of the samples.
            mode: `full` samples every dropout after the token embeddings; `top-k` those of the `top_k` upper
                layers of each encoder and all after them; `head` those of the head.
            top_k: Sampled encoder layers in mode `top-k`.
            max_batch_size: Most turns times samples in a pass; a pass has at least one sample of all turns.

        Raises:
            NoDropoutError: If the model has no dropout that is sampled.
            ValueError: If `n_samples` is below 1.
            RuntimeError: If the model is in training mode.
        """
        split = self._first_sampled_layer(n_samples, mode, top_k)
        if split is None:
            embedding = self(batch=batch).embedding
            return sample_head(
                self.head, embedding, n_samples=n_samples, seed=seed, max_batch_size=max_batch_size
            )
        # Vectors in the batch were computed by one network, not by S networks.
        begun = self._begin(replace(batch, vectors=None), split)
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
        mode: McMode = McMode.FULL,
        top_k: int = 1,
    ) -> tuple[Tensor, LiveState]:
        """`mc_forward` for one more turn of a live conversation: logits (S, 1, C) and the state after it.

        The state is valid for the same seed, mode and S only. In mode `head` it is the deterministic state;
        in the others it holds the past of S networks and is S times as large.

        Raises:
            NoDropoutError: If the model has no dropout that is sampled.
            ValueError: If `n_samples` is below 1, or `turn` is not the single turn that follows the state.
            RuntimeError: If the model is in training mode.
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
            raise ValueError(f"this state awaits turn {state.turns}, got turns {turn.turn.tolist()}")
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
        """Add memory, identity and bio to context vectors (S * U, P)."""
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
