"""Every scoring strategy of an architecture is correct; a model without one is refused before loading."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from lm_parts import build_tokenizer
from tiny_corpora import write_corpora
from transformers import AutoConfig, AutoModelForCausalLM
from typer.testing import CliRunner

from erc.cli.app import app
from erc.errors import ArtefactError
from erc.llm.backends.generate import GenerationSettings
from erc.llm.backends.local import LocalScorer
from erc.llm.base.architectures import best_strategy, positions_of
from erc.llm.base.loading import load_base
from erc.llm.prompts.template import RenderedPrompt

LABELS = ("joy", "sadness", "anger and fear", "neutral")
SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
}
TOKENS = {"vocab_size": 360, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
WINDOW = {
    **SIZES,
    "head_dim": 8,
    "sliding_window": 16,
    "layer_types": ["sliding_attention", "full_attention"],
}
VISION = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "image_size": 28,
    "patch_size": 14,
}
GPT_2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 4096}
FALCON = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
LLAMA_4 = {
    **SIZES,
    "head_dim": 8,
    "num_local_experts": 1,
    "num_experts_per_tok": 1,
    "attention_chunk_size": 16,
    "intermediate_size_mlp": 48,
}
SCORED = {
    "gpt2": ("tree", "gpt2", GPT_2),
    "gpt_neox": ("tree", "gpt_neox", SIZES),
    "falcon": ("tree", "falcon", FALCON),
    "gemma3_text": ("tree", "gemma3_text", WINDOW),
    "gemma3 that also sees": (
        "tree",
        "gemma3",
        {"text_config": {**TOKENS, **WINDOW}, "vision_config": VISION, "mm_tokens_per_image": 4},
    ),
    "falcon with a linear bias": ("repeat", "falcon", {**FALCON, "alibi": True}),
    "bloom": ("repeat", "bloom", {"n_layer": 2, "n_head": 4, "hidden_size": 32}),
    "mpt": ("repeat", "mpt", {"d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 4096}),
    "gpt_neo": (
        "repeat",
        "gpt_neo",
        {
            "hidden_size": 32,
            "num_layers": 2,
            "num_heads": 4,
            "attention_types": [[["global", "local"], 1]],
            "window_size": 16,
        },
    ),
    "llama4_text": ("repeat", "llama4_text", LLAMA_4),
}
UNSCORED = {
    "lfm2": {**SIZES, "layer_types": ["conv", "full_attention"]},
    "qwen3_next": {**SIZES, "layer_types": ["linear_attention", "full_attention"]},
    "granitemoehybrid": {},
    "mamba": {"hidden_size": 32, "num_hidden_layers": 2},
    "recurrent_gemma": {},
    "bart": {},
    "roberta": {"is_decoder": True},
}


def config_of(kind, sizes):
    return AutoConfig.for_model(kind, **(sizes if "text_config" in sizes else {**TOKENS, **sizes}))


def model_of(kind, sizes):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = AutoModelForCausalLM.from_config(config_of(kind, sizes)).eval()
        for parameter in model.parameters():
            parameter.data.mul_(4.0) if parameter.dim() >= 2 else None
    return model


def prompts():
    """Two prompts with a shared prefix, longer than the windows above."""
    said = (f"Ana: there is nothing to tell\nBo: {last}" for last in ("no", "well, yes"))
    return [
        RenderedPrompt("Which emotion does Bo express?", (("dialogue", lines),), "Answer:", "probe/v1", "")
        for lines in said
    ]


def naive(model, prompt, answer):
    with torch.inference_mode():
        logits = (
            model(input_ids=torch.tensor([[*prompt, *answer]]), use_cache=False)
            .logits[0]
            .double()
            .log_softmax(-1)
        )
    return sum(logits[len(prompt) - 1 + place, token].item() for place, token in enumerate(answer))


@pytest.mark.parametrize("name", SCORED)
def test_scores_by_the_best_strategy_equal_separate_passes(name):
    strategy, kind, sizes = SCORED[name]
    model = model_of(kind, sizes)
    scorer = LocalScorer(model, build_tokenizer(chat=False), model_id="tiny")
    assert scorer.strategy == strategy
    found = scorer.score(prompts(), LABELS).log_likelihood
    encoder = scorer.encoder
    expected = [
        [naive(model, encoder.prompt_ids(prompt), encoder.answer_ids(label)) for label in LABELS]
        for prompt in prompts()
    ]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert np.std(expected) > 0.1


@pytest.mark.parametrize("kind", UNSCORED)
def test_model_without_a_scoring_strategy_is_refused_before_its_weights_are_read(kind, tmp_path):
    config_of(kind, UNSCORED[kind]).save_pretrained(tmp_path / "base")  # the folder has no weights
    with pytest.raises(ArtefactError, match=rf"type '{kind}'.*full or sliding-window attention"):
        load_base(str(tmp_path / "base"))


def test_model_without_a_scoring_strategy_generates_text(tmp_path):
    """A text generated in a batch equals the text generated alone."""
    folder = tmp_path / "base"
    model_of("lfm2", UNSCORED["lfm2"]).save_pretrained(folder)
    build_tokenizer(chat=True).save_pretrained(folder)
    writer, settings = (
        LocalScorer.load(str(folder), precision="fp32", device="cpu", use="writing"),
        GenerationSettings(max_new_tokens=8),
    )
    assert writer.generate(prompts(), settings=settings) == [
        writer.generate([one], settings=settings)[0] for one in prompts()
    ]
    with pytest.raises(ArtefactError, match="'lfm2' can write"):
        writer.score(prompts(), LABELS)


def test_training_refuses_a_base_that_cannot_pack_answers_in_a_row(tmp_path):
    config_of("mpt", SCORED["mpt"][2]).save_pretrained(tmp_path / "base")
    data = write_corpora(tmp_path / "data")
    call = [
        "train",
        "llm-instructerc-meld",
        f"data.root={data}",
        f"llm.base={tmp_path / 'base'}",
        "--run",
        str(tmp_path / "run"),
        "--quiet",
    ]
    result = CliRunner().invoke(app, call)
    assert isinstance(result.exception, ArtefactError)
    assert "type 'mpt', which can label but not be trained" in str(result.exception)


def test_adapter_does_not_change_the_scoring_strategy():
    from erc.llm.base.adapters import LoraSettings, attach_lora

    assert best_strategy(attach_lora(model_of("mpt", SCORED["mpt"][2]), LoraSettings(r=2))) == "repeat"
    assert best_strategy(attach_lora(model_of("gpt_neox", SIZES), LoraSettings(r=2))) == "tree"


@pytest.mark.parametrize(
    ("kind", "sizes", "positions"),
    [
        ("llama", {"max_position_embeddings": 512}, 512),
        ("gpt2", {"n_positions": 512}, 512),
        ("mpt", {"max_seq_len": 512}, 512),
        ("bloom", {}, None),
        ("mamba", {}, None),
        ("gemma3", {"text_config": {"max_position_embeddings": 512}}, 512),
        (
            "llama",
            {
                "max_position_embeddings": 512,
                "rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4},
            },
            2048,
        ),
        (
            "qwen2",
            {
                "max_position_embeddings": 512,
                "rope_parameters": {
                    "rope_type": "yarn",
                    "factor": 4.0,
                    "rope_theta": 1e4,
                    "original_max_position_embeddings": 512,
                },
            },
            2048,
        ),
    ],
)
def test_positions_equal_the_limit_in_the_configuration(kind, sizes, positions):
    assert positions_of(config_of(kind, sizes)) == positions
