"""The local backend: exact label scores, Monte-Carlo samples, yes-or-no questions, live use."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from lm_parts import build_model, build_tokenizer
from peft import PeftModel

from erc.data.conversation import Context, Conversation, Utterance
from erc.errors import ArtefactError, ConfigError, NoDropoutError
from erc.llm.backends.local import LocalScorer
from erc.llm.base.adapters import AdapterRecord, LoraSettings, attach_lora, load_adapter, save_adapter
from erc.llm.base.loading import load_base
from erc.llm.prompts.builder import PromptBuilder
from erc.llm.prompts.template import PromptTemplate
from erc.llm.scoring.scores import yes_no_odds
from erc.models.dropout import Draw, drawn

LABELS = ("joy", "sadness", "neutral", "mad")


def conversation(turns=6):
    texts = [
        f"This is turn number {i}, said by someone {'angry' if i % 2 else 'happy'}." for i in range(turns)
    ]
    return Conversation(
        "c", tuple(Utterance(f"u{i}", i, "Ross" if i % 2 else "Monica", text) for i, text in enumerate(texts))
    )


def prompts_of(tokenizer, turns=6):
    from erc.llm.prompts.encoding import PromptEncoder

    builder = PromptBuilder(encoder=PromptEncoder(tokenizer), labels=LABELS)
    talk = conversation(turns)
    return [builder.emotion(Context.causal(talk, index)) for index in range(turns)]


def adapted(dropout=0.3):
    model = attach_lora(build_model(), LoraSettings(r=4, alpha=8, dropout=dropout))
    with torch.random.fork_rng():
        torch.manual_seed(1)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.data.normal_(std=0.5)
    return model.eval()


def plain_log_likelihood(model, prefix, ids):
    with torch.inference_mode():
        logits = (
            model(input_ids=torch.tensor([[*prefix, *ids]]), use_cache=False)
            .logits[0]
            .double()
            .log_softmax(-1)
        )
    return sum(logits[len(prefix) + i - 1, token].item() for i, token in enumerate(ids))


@pytest.mark.parametrize("chat", [True, False])
def test_score_equals_separate_passes_over_prompt_and_label(chat, tiny_lm):
    tokenizer = build_tokenizer(chat=chat)
    scorer = LocalScorer(tiny_lm, tokenizer, model_id="tiny", max_tokens=900)
    prompts = prompts_of(tokenizer)
    scores = scorer.score(prompts, LABELS)
    for row, prompt in zip(scores.log_likelihood, prompts, strict=True):
        ids = scorer.encoder.prompt_ids(prompt)
        expected = [plain_log_likelihood(tiny_lm, ids, scorer.encoder.answer_ids(label)) for label in LABELS]
        np.testing.assert_allclose(row, expected, atol=1e-4)
    assert set(scores.best) <= set(LABELS)
    assert scores.score_kind == "exact"


def test_samples_equal_separate_passes_under_the_same_draw(chat_tokenizer):
    model = adapted()
    scorer = LocalScorer(model, chat_tokenizer, model_id="tiny", max_tokens=1500)
    prompts = prompts_of(chat_tokenizer, 3)
    samples = scorer.sample(prompts, LABELS, seed=5, samples=4)
    assert samples.shape == (4, 3, 4)
    for s in (0, 3):
        for b, prompt in enumerate(prompts):
            ids = scorer.encoder.prompt_ids(prompt)
            with drawn(Draw(seed=5, samples=(s,))):
                expected = [
                    plain_log_likelihood(model, ids, scorer.encoder.answer_ids(label)) for label in LABELS
                ]
            np.testing.assert_allclose(samples[s, b], expected, atol=1e-4)
    assert samples.std(axis=0).max() > 0.05


def test_samples_do_not_change_deterministic_scores(chat_tokenizer):
    scorer = LocalScorer(adapted(), chat_tokenizer, model_id="tiny")
    prompts = prompts_of(chat_tokenizer, 2)
    before = scorer.score(prompts, LABELS).log_likelihood
    scorer.sample(prompts, LABELS, seed=1, samples=2)
    np.testing.assert_array_equal(scorer.score(prompts, LABELS).log_likelihood, before)


def test_sample_refuses_a_model_without_dropout(chat_tokenizer):
    scorer = LocalScorer(adapted(dropout=0.0), chat_tokenizer, model_id="tiny")
    with pytest.raises(NoDropoutError, match="Monte-Carlo"):
        scorer.sample(prompts_of(chat_tokenizer, 1), LABELS, seed=1, samples=2)


def test_yes_no_odds_equal_separate_passes(tiny_lm, chat_tokenizer):
    scorer = LocalScorer(tiny_lm, chat_tokenizer, model_id="tiny")
    builder = PromptBuilder(encoder=scorer.encoder, labels=LABELS, template=PromptTemplate.load("erc_yes_no"))
    contexts = [Context.causal(conversation(), index) for index in (1, 4)]
    asked = [[builder.emotion(context, label=label) for label in LABELS] for context in contexts]
    odds = yes_no_odds(scorer, asked)[0]
    for b, of_turn in enumerate(asked):
        for k, prompt in enumerate(of_turn):
            ids = scorer.encoder.prompt_ids(prompt)
            yes, no = (
                plain_log_likelihood(tiny_lm, ids, scorer.encoder.answer_ids(word)) for word in ("yes", "no")
            )
            assert odds[b, k] == pytest.approx(yes - no, abs=1e-4)


def test_live_scores_equal_batch_scores_and_reread_few_tokens(tiny_lm, chat_tokenizer):
    scorer = LocalScorer(tiny_lm, chat_tokenizer, model_id="tiny")
    prompts = prompts_of(chat_tokenizer, 6)
    live = scorer.live()
    rows = [live.score([prompt], LABELS).log_likelihood[0] for prompt in prompts]
    np.testing.assert_allclose(rows, scorer.score(prompts, LABELS).log_likelihood, atol=1e-4)
    assert live.tokens_read < 0.6 * sum(len(scorer.encoder.prompt_ids(prompt)) for prompt in prompts)


def test_live_samples_equal_batch_samples_and_reread_few_tokens(chat_tokenizer):
    scorer = LocalScorer(
        adapted(), chat_tokenizer, model_id="tiny", max_tokens=2048
    )  # two samples per cache, so three need two caches
    prompts = prompts_of(chat_tokenizer, 4)
    live = scorer.live()
    drawn_live = np.concatenate(
        [live.sample([prompt], LABELS, seed=5, samples=3) for prompt in prompts], axis=1
    )
    np.testing.assert_allclose(drawn_live, scorer.sample(prompts, LABELS, seed=5, samples=3), atol=1e-4)
    assert live.tokens_read < 0.7 * 3 * sum(len(scorer.encoder.prompt_ids(prompt)) for prompt in prompts)


def test_live_cache_holds_the_last_prompt_and_reports_its_bytes(tiny_lm, chat_tokenizer):
    scorer = LocalScorer(tiny_lm, chat_tokenizer, model_id="tiny")
    live, prompts = scorer.live(), prompts_of(chat_tokenizer, 6)
    assert live.nbytes == 0
    for prompt in (prompts[5], prompts[0]):
        live.score([prompt], LABELS)
    config, tokens = tiny_lm.config, len(scorer.encoder.prompt_ids(prompts[0]))
    values = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * 4
    assert values * tokens < live.nbytes < values * (tokens + 64) + 16 * config.vocab_size + 16 * tokens


def test_score_of_no_prompts_is_empty(tiny_lm, chat_tokenizer):
    assert LocalScorer(tiny_lm, chat_tokenizer, model_id="tiny").score([], LABELS).log_likelihood.shape == (
        0,
        4,
    )


def record():
    return AdapterRecord("tiny/base", "main", "erc/v1", "ab", None, LABELS, "ekman", {"kind": "identity"})


def test_adapter_round_trip_gives_the_same_scores_and_record(tmp_path, chat_tokenizer):
    model = adapted()
    prompts = prompts_of(chat_tokenizer, 2)
    expected = LocalScorer(model, chat_tokenizer, model_id="a").score(prompts, LABELS).log_likelihood
    save_adapter(model, tmp_path, record())
    loaded = load_adapter(build_model(), tmp_path)
    np.testing.assert_allclose(
        LocalScorer(loaded, chat_tokenizer, model_id="a").score(prompts, LABELS).log_likelihood,
        expected,
        atol=1e-6,
    )
    assert AdapterRecord.load(tmp_path) == record()


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_adapter_folder_loads_with_peft(tmp_path, chat_tokenizer):
    model = adapted()
    save_adapter(model, tmp_path, record())
    plain = PeftModel.from_pretrained(build_model(), str(tmp_path)).eval()
    ids = torch.arange(5, 25)[None]
    torch.testing.assert_close(plain(input_ids=ids).logits, model(input_ids=ids).logits)
    assert plain.peft_config["default"].base_model_name_or_path == "tiny/base"
    assert not list(tmp_path.glob("*.bin"))


def test_adapter_without_weights_is_refused(tmp_path):
    save_adapter(adapted(), tmp_path, record())
    (tmp_path / "adapter_model.safetensors").unlink()
    with pytest.raises(ArtefactError, match="adapter_model"):
        load_adapter(build_model(), tmp_path)


def test_base_loads_from_a_folder_and_scores(tiny_lm_dir, chat_tokenizer):
    scorer = LocalScorer.load(str(tiny_lm_dir), precision="fp32", device="cpu")
    assert scorer.score(prompts_of(chat_tokenizer, 1), LABELS).best[0] in LABELS


def test_missing_base_raises_an_artefact_error(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArtefactError, match="cannot be loaded"):
        load_base(str(tmp_path / "empty"), precision="fp32", device="cpu")


@pytest.mark.parametrize(
    "name",
    [
        "/nowhere",
        "./nowhere",
        "../models/nowhere",
        "~/nowhere",
        "models/small/nowhere",
        "nowhere/",
        "models\\nowhere",
    ],
)
def test_base_given_as_a_missing_folder_is_reported(name):
    with pytest.raises(ArtefactError, match="no such folder"):
        load_base(name, precision="fp32", device="cpu")


def with_code(folder, copy, model_type):
    """A model folder whose configuration names its own classes, in a file that must never be run."""
    shutil.copytree(folder, copy)
    content = json.loads((copy / "config.json").read_text())
    names = {"AutoConfig": "own.C", "AutoModelForCausalLM": "own.M"}
    (copy / "config.json").write_text(json.dumps({**content, "model_type": model_type, "auto_map": names}))
    (copy / "own.py").write_text("raise SystemExit('this was run')\n")
    return str(copy)


def test_base_with_remote_code_is_loaded_by_the_library_class(tiny_lm_dir, tmp_path):
    model, _ = load_base(with_code(tiny_lm_dir, tmp_path / "copy", "llama"), precision="fp32", device="cpu")
    assert type(model).__module__.startswith("transformers.models.llama")


@pytest.mark.parametrize("model_type", ["foreign", "vit"])
def test_base_that_needs_remote_code_is_refused(tiny_lm_dir, tmp_path, model_type):
    with pytest.raises(ArtefactError, match="code of its own"):
        load_base(with_code(tiny_lm_dir, tmp_path / "copy", model_type), precision="fp32", device="cpu")


def test_base_with_damaged_weights_raises_an_artefact_error(tiny_lm_dir, tmp_path):
    copy = shutil.copytree(tiny_lm_dir, tmp_path / "copy")
    (copy / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(ArtefactError, match="cannot be loaded"):
        load_base(str(copy), precision="fp32", device="cpu")


def test_four_bit_without_a_gpu_is_refused(tiny_lm_dir):
    with pytest.raises(ConfigError, match=r"GPU.*--precision bf16"):
        load_base(str(tiny_lm_dir), precision="4bit", device="cpu")
