"""A pytest plugin: fixtures of tiny causal language models with random weights and byte-level tokenizers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from lm_parts import build_model, build_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@pytest.fixture(scope="session")
def plain_tokenizer() -> PreTrainedTokenizerBase:
    return build_tokenizer(chat=False)


@pytest.fixture(scope="session")
def chat_tokenizer() -> PreTrainedTokenizerBase:
    return build_tokenizer(chat=True)


@pytest.fixture(scope="session")
def tiny_lm() -> PreTrainedModel:
    return build_model()


@pytest.fixture(scope="session")
def tiny_lm_dir(
    tmp_path_factory: pytest.TempPathFactory,
    tiny_lm: PreTrainedModel,
    chat_tokenizer: PreTrainedTokenizerBase,
) -> Path:
    folder = tmp_path_factory.mktemp("lm") / "tiny"
    tiny_lm.save_pretrained(folder)
    chat_tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def adapter(
    tmp_path_factory: pytest.TempPathFactory, tiny_lm_dir: Path, chat_tokenizer: PreTrainedTokenizerBase
) -> Path:
    """A trained adapter folder with calibrator and policy; its prompts show bios and history."""
    import torch

    from erc.emotions import load_emotion_set
    from erc.llm.base.adapters import AdapterRecord, LoraSettings, attach_lora, save_adapter
    from erc.llm.base.digests import weights_digest
    from erc.llm.prompts.builder import PromptBuilder
    from erc.llm.prompts.encoding import PromptEncoder
    from erc.llm.scoring.calibration import ContextualCalibrator
    from erc.uncertainty.calibration import Temperature
    from erc.uncertainty.policy import DecisionPolicy

    labels = load_emotion_set("meld").labels
    folder = tmp_path_factory.mktemp("adapter") / "tiny"
    model = attach_lora(build_model(), LoraSettings(r=4, alpha=8, dropout=0.3))
    with torch.random.fork_rng():
        torch.manual_seed(1)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.data.normal_(std=0.5)
    builder = PromptBuilder(encoder=PromptEncoder(chat_tokenizer), labels=labels)
    calibrator = ContextualCalibrator(labels, (0.0,) * 7, Temperature(temperature=5.0, bias=(0.0,) * 7))
    llm = {"bios": True, "history": 2, "retrieval": "recency", "max_tokens": 900}
    training = {
        "config": {"llm": llm},
        "policy": {"meld": DecisionPolicy(min_confidence=0.3).to_dict()},
        "base_weights": weights_digest(tiny_lm_dir),
    }
    record = AdapterRecord(
        base=str(tiny_lm_dir),
        revision=None,
        prompt=builder.prompt_id,
        prompt_sha256=builder.sha256,
        chat_template_sha256=builder.encoder.template_sha256,
        labels=labels,
        label_set="meld",
        calibrator=calibrator.to_dict(),
        extra=training,
    )
    save_adapter(model, folder, record)
    chat_tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_sentence_transformer(tmp_path_factory: pytest.TempPathFactory, tiny_encoder_dir: Path) -> Path:
    """A sentence-transformers model with mean pooling over the tiny encoder."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    encoder = Transformer(str(tiny_encoder_dir))
    folder = tmp_path_factory.mktemp("sentences") / "tiny"
    model = SentenceTransformer(modules=[encoder, Pooling(encoder.get_embedding_dimension())], device="cpu")
    model.save(str(folder))
    return folder
