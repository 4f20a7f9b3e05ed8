"""Settings and fixtures for all tests: no network, one thread, and tiny real encoders with random weights."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

# torch and the hub client read these on import, which happens after this file is loaded.
os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", TOKENIZERS_PARALLELISM="false")
os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OMP_WAIT_POLICY="passive")

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tokenizers import Tokenizer
    from transformers import PretrainedConfig

    from erc.models.utterance import UtteranceClassifier


pytest_plugins = ["lm_fixtures", "required_groups"]


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache folder for the test run, so that the user's cache is neither read nor written."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


SENTENCES = (
    "I am so happy to see you again, thank you!",
    "This is not what we agreed on and I am angry.",
    "Why did nobody tell me? I was really worried about him.",
    "Okay, let us start with the report from yesterday.",
    "She was surprised, then sad, and then she laughed.",
    "No. I do not want to talk about it now; it hurts.",
)
"""Training text of the tiny vocabularies; other words are split into characters or bytes."""


@pytest.fixture(scope="session")
def tiny_encoder_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT of two layers and width 32, saved as safetensors with its WordPiece tokenizer."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig

    # Listed here because the library trains a WordPiece vocabulary in random order.
    words = sorted({word for sentence in SENTENCES for word in re.findall(r"[a-z]{2,}", sentence.lower())})
    characters = [chr(code) for code in range(ord("!"), ord("~") + 1)]
    entries = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *characters,
        *(f"##{character}" for character in characters),
        *words,
    ]
    tokenizer = Tokenizer(
        models.WordPiece({entry: index for index, entry in enumerate(entries)}, unk_token="[UNK]")
    )
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        **_sizes(),
        hidden_dropout_prob=0.1,
        attention_probs_dropout_prob=0.1,
        max_position_embeddings=128,
    )
    names = {
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
    }
    return _save(tmp_path_factory.mktemp("tiny") / "bert", config, tokenizer, names)


@pytest.fixture(scope="session")
def tiny_roberta_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a RoBERTa: byte-level BPE, positions that start after the padding index, no segments."""
    from tokenizers import processors
    from transformers import RobertaConfig

    tokenizer = _byte_level_bpe(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    config = RobertaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        **_sizes(),
        hidden_dropout_prob=0.1,
        attention_probs_dropout_prob=0.1,
        max_position_embeddings=130,
        type_vocab_size=1,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
    )
    names = {
        "bos_token": "<s>",
        "cls_token": "<s>",
        "pad_token": "<pad>",
        "eos_token": "</s>",
        "sep_token": "</s>",
    }
    return _save(
        tmp_path_factory.mktemp("tiny") / "roberta",
        config,
        tokenizer,
        {**names, "unk_token": "<unk>", "mask_token": "<mask>"},
    )


@pytest.fixture(scope="session")
def tiny_modernbert_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a ModernBERT: rotary positions, local and global attention layers."""
    from tokenizers import processors
    from transformers import ModernBertConfig

    tokenizer = _byte_level_bpe(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    config = ModernBertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        **_sizes(),
        embedding_dropout=0.1,
        mlp_dropout=0.1,
        attention_dropout=0.1,
        max_position_embeddings=128,
        global_attn_every_n_layers=2,
        local_attention=16,
        pad_token_id=0,
        cls_token_id=2,
        sep_token_id=3,
        bos_token_id=2,
        eos_token_id=3,
    )
    names = {
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
    }
    return _save(tmp_path_factory.mktemp("tiny") / "modernbert", config, tokenizer, names)


def _sizes() -> dict[str, int]:
    return {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


def _byte_level_bpe(specials: list[str]) -> Tokenizer:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=specials, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return tokenizer


def _save(folder: Path, config: PretrainedConfig, tokenizer: Tokenizer, names: dict[str, str]) -> Path:
    """Save a model with weights from a fixed seed and its tokenizer; keeps the caller's random state."""
    import torch
    from transformers import AutoModel, PreTrainedTokenizerFast

    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = AutoModel.from_config(config)
    model.save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=128, **names).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_utterance_artefact(tiny_encoder_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete model folder of an utterance classifier whose encoder differs from the tiny BERT.

    Tests that change the folder copy it first.
    """
    import torch
    from tiny_parts import build_classifier
    from transformers import AutoTokenizer

    from erc.emotions import load_emotion_set
    from erc.persistence.artefact import save_artefact
    from erc.persistence.info import ArtefactInfo
    from erc.uncertainty.calibration import PerLabelPlatt
    from erc.uncertainty.policy import DecisionPolicy
    from erc.uncertainty.thresholds import LabelThresholds

    classifier = build_classifier(tiny_encoder_dir)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(3)
        for parameter in classifier.encoder.layers.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.02)
    labels = load_emotion_set("goemotions").labels
    return save_artefact(
        tmp_path_factory.mktemp("models") / "tiny-utterance",
        info=ArtefactInfo(
            kind="utterance",
            name="tiny-utterance",
            version=3,
            emotion_set="goemotions",
            labels=labels,
            base=str(tiny_encoder_dir),
            architecture={"pooling": "mean_cls", "head_hidden": 24, "dropout": 0.2},
            delta="int8",
            max_tokens=48,
            uncertainty={"samples": 6, "mode": "head", "top_k": 1},
        ),
        network=classifier,
        tokenizer=AutoTokenizer.from_pretrained(tiny_encoder_dir),
        calibrator=PerLabelPlatt(slope=(0.9,) * len(labels), intercept=(0.1,) * len(labels)).to_dict(),
        thresholds=LabelThresholds.constant(0.6, len(labels)).to_dict(),
        policy={"goemotions": DecisionPolicy(min_confidence=0.8).to_dict()},
        metrics={"dev": {"macro_f1": 0.1}},
        card="# tiny-utterance\n",
    )


@pytest.fixture(scope="session")
def tiny_shelf(tiny_utterance_artefact: Path) -> Path:
    """A folder of models for CONVEMO_MODELS: `tiny-utterance` and four conversation models that use it.

    They are `tiny-hierarchical`, `tiny-turn_causal`, `tiny-window` and `tiny-shared`.
    """
    from tiny_emonet import save_tiny_emonet

    from erc.persistence.artefact import load_artefact

    shared, shelf = load_artefact(tiny_utterance_artefact), tiny_utterance_artefact.parent
    for context in ("hierarchical", "turn_causal", "window"):
        save_tiny_emonet(shelf / f"tiny-{context}", shared, context=context)
    save_tiny_emonet(shelf / "tiny-shared", shared, context="hierarchical", encoder="shared")
    return shelf


@pytest.fixture
def tiny_classifier(tiny_encoder_dir: Path) -> UtteranceClassifier:
    """An utterance classifier with 28 labels over the tiny BERT, in evaluation mode."""
    from tiny_parts import build_classifier

    return build_classifier(tiny_encoder_dir)
