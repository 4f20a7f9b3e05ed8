"""Tiny conversation models and conversations for tests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from erc.data.chronology import InMemoryHistory, sequence_numbers
from erc.data.conversation import Conversation, Utterance
from erc.data.history import Moment, PastUtterance
from erc.data.identity import key_of
from erc.data.windows import SpeakerText
from erc.models.context.build import build_context
from erc.models.context.layers import AnyEncoder
from erc.models.context.turn_causal import TurnCausalContext
from erc.models.emcoder import EmCoderConfig, EmCoderEncoder
from erc.models.emonet.fusion import BioJoin
from erc.models.emonet.network import EmoNet
from erc.models.emonet.settings import ContextMode, EmoNetSettings
from erc.models.emonet.speaker_history import OwnMemory, SharedMemory
from erc.models.encoder.encoder import load_encoder
from erc.models.speaker_embedding import SpeakerTable, SpeakerVocabulary
from erc.models.turn_builder import TurnBuilder

FAMILIES = ("bert", "roberta", "modernbert", "emcoder")
MODES: tuple[ContextMode, ...] = ("window", "turn_causal", "hierarchical")
LABELS = ("joy", "anger", "neutral")
OBSERVATION = 12
OBSERVED_LABELS = 4
TINY_EMCODER = EmCoderConfig(
    vocab_size=400,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=48,
    pad_token_id=0,
)

TALK = (
    ("Ana", "I am so happy to see you again, thank you!"),
    ("Ben", "No."),
    ("Ana", "Why did nobody tell me? I was really worried about him, and it hurts."),
    ("Cleo", "Okay."),
    ("Ben", "She was surprised, then sad, and then she laughed."),
    ("Ana", "This is not what we agreed on and I am angry."),
)
OTHER_TALK = (
    ("Ben", "Let us start."),
    ("Ana", "I do not want to talk about it now; it was not what we agreed on yesterday, I am worried."),
)


def conversation(
    turns: tuple[tuple[str, str], ...] = TALK, *, name: str = "talk", corpus: str | None = "tiny"
) -> Conversation:
    utterances = (
        Utterance(utterance_id=f"{name}-{i}", index=i, speaker=who, text=text, emotions=("joy",))
        for i, (who, text) in enumerate(turns)
    )
    return Conversation(conversation_id=name, utterances=tuple(utterances), corpus=corpus)


def encoder_of(folder: Path | None, *, seed: int = 3) -> AnyEncoder:
    """A tiny encoder from a folder, EmCoder's for None, with weights large enough for attention to matter."""
    torch.manual_seed(seed)
    encoder = (
        EmCoderEncoder(TINY_EMCODER) if folder is None else load_encoder(str(folder), hidden_dropout=0.2)
    )
    for parameter in encoder.layers.parameters():
        if parameter.dim() == 2:
            parameter.data.mul_(4.0)
    return encoder


def tokenizer_of(folder: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(folder)


def remembered(
    talk: Conversation, *, time: float, width: int = OBSERVATION
) -> list[tuple[str, PastUtterance]]:
    """Observations of each turn with fixed random values."""
    random = np.random.default_rng(11)
    return [
        (
            key_of(talk, turn),
            PastUtterance(
                moment=Moment(time=time, conversation_id=talk.conversation_id, index=turn.index),
                embedding=random.normal(size=width - OBSERVED_LABELS).astype(np.float16),
                probabilities=random.uniform(size=OBSERVED_LABELS).astype(np.float32),
                text=turn.text,
            ),
        )
        for turn in talk
    ]


def history_of(*talks: Conversation) -> InMemoryHistory:
    history = InMemoryHistory()
    for name, time in sequence_numbers(talks).items():
        talk = next(talk for talk in talks if talk.conversation_id == name)
        for speaker, turn in remembered(talk, time=time):
            history.add(speaker, turn)
    return history


class FixedBios:
    """A bio for each speaker but Cleo."""

    def bios(self, speaker: str, *, before: Moment) -> list[np.ndarray]:
        if speaker.endswith("cleo"):
            return []
        return [np.full(6, len(speaker) + i, dtype=np.float32) for i in range(1 + (before.index > 1))]


def builder(
    folder: Path,
    *,
    history: InMemoryHistory | None = None,
    own: bool = False,
    bios: bool = False,
    speaker_text: SpeakerText = "local_tag",
    separators: bool = True,
) -> TurnBuilder:
    return TurnBuilder(
        tokenizer=tokenizer_of(folder),
        max_tokens=40,
        speaker_text=speaker_text,
        separators=separators,
        speakers=SpeakerVocabulary(corpus="tiny", names=("Ana", "Ben")),
        history=history,
        history_limit=3,
        embedding_width=OBSERVATION - OBSERVED_LABELS,
        observed_labels=OBSERVED_LABELS,
        memory_texts=own,
        bios=FixedBios() if bios else None,
        labels=LABELS,
    )


def open_up(model: torch.nn.Module) -> None:
    """Sets zero-initialised parameters to random values, so that all parts contribute."""
    generator = torch.Generator().manual_seed(5)
    for name, parameter in model.named_parameters():
        if "encoder." not in name and bool((parameter == 0).all()):
            parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
    for module in model.modules():
        if isinstance(module, TurnCausalContext) and module.cross is not None:
            for cross in module.cross:
                cross.gate.data.fill_(1.5)


def shared_memory() -> SharedMemory:
    return SharedMemory(
        embedding_width=OBSERVATION - OBSERVED_LABELS, labels=OBSERVED_LABELS, projection=5, width=8
    )


def emonet(
    mode: ContextMode,
    encoder: AnyEncoder,
    *,
    memory: str = "none",
    own: AnyEncoder | None = None,
    bio: bool = False,
    opened: bool = True,
) -> EmoNet:
    """A tiny model in evaluation mode with windows shorter than the conversation."""
    torch.manual_seed(4)
    settings = EmoNetSettings(context=mode, token_window=30, turn_window=2, context_width=16)
    context = build_context(settings, encoder=encoder)
    part = None
    if memory == "shared":
        part = shared_memory()
    elif memory == "own":
        assert own is not None
        part = OwnMemory(encoder=own)
    model = EmoNet(
        context=context,
        emotions=len(LABELS),
        memory=part,
        speakers=SpeakerTable(rows=3, width=context.width, dropout=0.5) if memory != "none" else None,
        bio=BioJoin(kind="attention", width=context.width, bio_width=6) if bio else None,
        dropout=0.2,
    )
    if opened:
        open_up(model)
    return model.eval()


def changed_last(talk: Conversation) -> Conversation:
    """The conversation with a different last turn."""
    last = replace(
        talk.utterances[-1],
        text="Zebras quietly juggle 42 violins: why not?",
        speaker="Dora",
        speakers=("Dora",),
    )
    return replace(talk, utterances=(*talk.utterances[:-1], last))
