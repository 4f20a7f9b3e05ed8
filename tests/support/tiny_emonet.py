"""Small conversation models over the tiny utterance artefact, saved as training saves them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import AutoTokenizer

from erc.data import Conversation, Utterance
from erc.emotions import load_emotion_set
from erc.models.emonet.build import build_emonet
from erc.models.emonet.settings import EmoNetSettings, MemoryKind
from erc.models.encoder.encoder import load_encoder
from erc.models.utterance import UtteranceClassifier
from erc.persistence.artefact import Artefact, save_artefact
from erc.persistence.info import ArtefactInfo
from erc.uncertainty.calibration import Temperature
from erc.uncertainty.policy import DecisionPolicy

HISTORY_LIMIT = 3
ANA = (
    ("Ana", "I am so happy to see you again, thank you!"),
    ("Ben", "No. I do not want to talk about it now; it hurts."),
    ("Ana", "Why did nobody tell me? I was really worried about him."),
    ("Cleo", "Okay, let us start with the report from yesterday."),
    ("Ben", "This is not what we agreed on and I am angry."),
    ("Ana", "Okay."),
    ("Ben", "She was surprised, then sad, and then she laughed."),
)
BEN = (
    ("Ben", "Let us start."),
    ("Ana", "No."),
    ("Ben", "I am angry and it hurts."),
    ("Ana", "Okay."),
    ("Cleo", "Thank you!"),
)


def talk(name: str, turns: Sequence[tuple[str, str]] = ANA, *, corpus: str | None = None) -> Conversation:
    """A conversation of (speaker, text) pairs."""
    return Conversation(
        name,
        tuple(Utterance(f"{name}-{i}", i, who, text) for i, (who, text) in enumerate(turns)),
        corpus=corpus,
    )


def save_tiny_emonet(
    folder: Path,
    shared: Artefact,
    *,
    context: str,
    memory: MemoryKind = "shared",
    encoder: Literal["own", "shared"] = "own",
    seed: int = 5,
    reads: Mapping[str, Any] | None = None,
) -> Path:
    """A conversation model whose context and memory both contribute: no weights are zero."""
    assert isinstance(shared.network, UtteranceClassifier)
    labels = load_emotion_set("meld").labels
    width = shared.network.embedding_width if memory == "shared" else None
    observed = len(shared.info.labels) if memory == "shared" else None
    settings = EmoNetSettings(
        context=context,  # type: ignore[arg-type]
        encoder=encoder,
        token_window=40,
        turn_window=2,
        context_width=16,
        memory_encoder=memory,
        embedding_width=width,
        observed_labels=observed,
        memory_projection=6,
        memory_width=8,
        zero_start=False,
        head_hidden=24,
        dropout=0.2,
    )
    second = load_encoder(shared.info.base, hidden_dropout=0.1) if memory == "own" else None
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        reader = (
            shared.network.encoder
            if encoder == "shared"
            else load_encoder(shared.info.base, hidden_dropout=0.1)
        )
        network = build_emonet(settings, encoder=reader, emotions=len(labels), memory_encoder=second)
        network.init_from(shared.network)
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                if ".encoder." not in name:
                    parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return save_artefact(
        folder,
        info=ArtefactInfo(
            kind="emonet",
            name=folder.name,
            emotion_set="meld",
            labels=labels,
            base=shared.info.base,
            architecture=asdict(settings),
            delta="int8",
            hidden_dropout=0.1,
            max_tokens=shared.info.max_tokens if encoder == "shared" else 32,
            uncertainty={"mode": "head", "samples": 4, "top_k": 1},
            reads={
                "utterance_model": shared.info.name,
                "utterance_sha256": shared.sha256,
                "memory_encoder": memory,
                "history": "global",
                "history_limit": 0 if memory == "none" else HISTORY_LIMIT,
                "embedding_width": width,
                "observed_labels": observed,
                "speaker_text": "none" if encoder == "shared" else "local_tag",
                "speaker_corpus": "meld",
                "speakers": None,
                **(reads or {}),
            },
        ),
        network=network.eval(),
        tokenizer=AutoTokenizer.from_pretrained(shared.info.base),
        calibrator=Temperature(1.3).to_dict(),
        thresholds=shared.thresholds,
        policy={"meld": DecisionPolicy(min_confidence=0.4).to_dict()},
        metrics={"dev": {"weighted_f1": 0.1}},
        card=f"---\nname: {folder.name}\n---\n# {folder.name}\n",
    )
