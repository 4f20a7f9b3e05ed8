"""Prompt and answer stay within the positions of a model, in labelling, training and writing."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import pytest
from lm_parts import build_model
from lm_server import Behaviour, running
from tiny_corpora import write_corpora
from tiny_emonet import talk
from typer.testing import CliRunner

from erc.cli.app import app
from erc.config import ExperimentConfig
from erc.errors import ConfigError
from erc.inference import loading
from erc.inference.loading import load_predictor
from erc.inference.scorers.settings import InferenceSettings
from erc.llm.backends.generate import GenerationSettings
from erc.llm.backends.local import LocalScorer
from erc.llm.base.adapters import AdapterRecord
from erc.llm.generation import text_store as writing
from erc.llm.generation.text_store import WrittenTexts, generated_answers
from erc.llm.generation.writer import open_text_writer
from erc.llm.prompts.budget import Budget
from erc.llm.prompts.encoding import PromptEncoder
from erc.llm.prompts.template import PromptTemplate
from erc.llm.recipes import Recipe, Stage
from erc.memory.bio_writer import LlmBios
from erc.training.dry_run import plan_training
from erc.training.experiment import run_experiment
from speakers import Observation

POSITIONS = 600
FAST = InferenceSettings(precision="fp32", uncertainty="off")
LONG = talk("long", [("Ana", f"hello there number {number} and some more words") for number in range(30)])
GPT_2 = {"n_embd": 32, "n_layer": 2, "n_head": 4}


@pytest.fixture(autouse=True)
def shelf(tiny_shelf, monkeypatch):
    monkeypatch.setenv("CONVEMO_MODELS", str(tiny_shelf))
    monkeypatch.setattr(loading, "SHARED_MODEL", "tiny-utterance")


@pytest.fixture(scope="module")
def short(tmp_path_factory, chat_tokenizer):
    """Tiny models with few positions: one counts them in a table, one would exceed them silently."""
    folder = tmp_path_factory.mktemp("short")

    def made(family):
        if not (folder / family).exists():
            sizes = {**GPT_2, "n_positions": POSITIONS} if family == "gpt2" else {}
            build_model(family, max_position_embeddings=POSITIONS, **sizes).save_pretrained(folder / family)
            chat_tokenizer.save_pretrained(folder / family)
        return folder / family

    return made


def longest_row(model):
    """A list that gets the largest position of each call, plus one."""
    seen = []
    model.register_forward_pre_hook(
        lambda module, given, named: seen.append(int(named["position_ids"].max()) + 1), with_kwargs=True
    )
    return seen


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_prompts_of_a_long_dialogue_stay_within_the_positions(short, family):
    predictor = load_predictor(f"llm:{short(family)}", settings=FAST)
    read = longest_row(predictor.scorer.model.backend.model)
    assert len(predictor.label([LONG])[0].predictions) == len(LONG)
    assert POSITIONS - 100 < max(read) <= POSITIONS
    [remark] = predictor.scorer.model.remarks
    assert (
        remark == f"the model has positions for {POSITIONS} tokens: prompts hold at most "
        f"{POSITIONS - longest_label(predictor)} of them, not 1024"
    )


def longest_label(predictor):
    model = predictor.scorer.model
    return max(len(model.builder.encoder.answer_ids(label)) for label in model.builder.labels)


def test_command_says_once_that_prompts_are_shorter(short, tmp_path):
    (tmp_path / "talk.txt").write_text("".join(f"Ana: {turn.text}\n" for turn in LONG))
    result = CliRunner().invoke(
        app,
        [
            "label",
            str(tmp_path / "talk.txt"),
            "--model",
            f"llm:{short('gpt2')}",
            "--precision",
            "fp32",
            "--json",
        ],
    )
    assert result.exit_code == 0, result.output
    assert result.stderr.count(f"positions for {POSITIONS} tokens") == 1


def test_model_with_positions_enough_or_without_a_limit_is_left_alone(tiny_lm_dir):
    scorer = load_predictor(f"llm:{tiny_lm_dir}", settings=FAST).scorer
    assert scorer.model.builder.budget == Budget()
    assert not scorer.model.remarks
    assert Budget().within(None, answer=10_000) == Budget()


def test_adapter_asks_for_no_more_than_its_base_has(short, adapter, tmp_path, chat_tokenizer):
    """Its record asks for longer prompts than this base can read."""
    own = tmp_path / "own"
    own.mkdir()
    for file in adapter.iterdir():
        (own / file.name).write_bytes(file.read_bytes())
    record = AdapterRecord.load(own)
    replace(record, base=str(short("llama")), extra={**record.extra, "base_weights": None}).save(own)
    scorer = load_predictor(f"llm:{own}", settings=FAST).scorer
    encoder = PromptEncoder(chat_tokenizer)
    assert scorer.model.builder.budget.max_tokens == POSITIONS - max(
        len(encoder.answer_ids(label)) for label in record.labels
    )
    assert "not 900" in scorer.model.remarks[0]


def test_served_model_that_is_known_here_is_asked_within_its_positions(short, tiny_lm):
    with (
        running(Behaviour(model=tiny_lm)) as url,
        closing(load_predictor(f"llm:{short('llama')}", settings=FAST, server=url)) as predictor,
    ):
        assert predictor.scorer.model.builder.budget.max_tokens < POSITIONS
        assert f"positions for {POSITIONS}" in predictor.scorer.model.remarks[0]


def test_budget_of_a_model_with_fewer_positions_than_an_answer_is_refused():
    with pytest.raises(ConfigError, match=r"positions for 90 tokens.*answer of 96"):
        Budget().within(90, answer=96)


# --- training


def config_of(base, *, max_tokens, **llm):
    section = {"base": str(base), "precision": "fp32", "lora": {"r": 2}, "max_tokens": max_tokens, **llm}
    return ExperimentConfig(name="toy", task="llm", data={"corpus": "meld"}, llm=section)


CHARACTERISTICS = {"first": {"tasks": {"interlocutor_commonsense": 1.0}}, "second": {"tasks": {"erc": 1.0}}}


@pytest.mark.parametrize(
    ("stages", "most"), [({}, POSITIONS - 16), ({"stages": CHARACTERISTICS}, POSITIONS - 96)]
)
def test_dry_run_refuses_prompts_longer_than_the_base_can_read(short, stages, most):
    with pytest.raises(
        ConfigError,
        match=rf"llm\.max_tokens={most + 1}: .*positions for {POSITIONS} tokens.*"
        rf"set llm\.max_tokens={most} or less",
    ):
        plan_training(config_of(short("llama"), max_tokens=most + 1, **stages))
    assert plan_training(config_of(short("llama"), max_tokens=most, **stages)).memory.total > 0


def test_training_refuses_prompts_longer_than_the_base_can_read(short, tmp_path, monkeypatch):
    config = config_of(short("gpt2"), max_tokens=1024)
    config = config.model_copy(
        update={"data": config.data.model_copy(update={"root": write_corpora(tmp_path / "data")})}
    )
    with pytest.raises(ConfigError, match=rf"llm\.max_tokens=1024: .*positions for {POSITIONS} tokens"):
        run_experiment(config, tmp_path / "run", progress=False)


# --- writing


class Counting:
    """Writes a word, and records the length of each prompt."""

    model_id = "counting"

    def __init__(self, encoder):
        self.encoder = encoder
        self.read = []

    def generate(self, prompts, *, settings=None):
        self.read += [len(self.encoder.prompt_ids(prompt)) + settings.max_new_tokens for prompt in prompts]
        return ["word"] * len(prompts)


def test_writer_knows_the_positions_of_its_model_before_it_is_loaded(short):
    assert open_text_writer(str(short("gpt2"))).encoder.positions == POSITIONS
    assert (
        LocalScorer.load(str(short("gpt2")), precision="fp32", use="writing").encoder.positions == POSITIONS
    )


def test_bio_has_room_after_its_prompt(chat_tokenizer):
    said = [
        Observation("ana", "c", f"u{number}", number, f"I missed train number {number} and some more words")
        for number in range(200)
    ]
    for positions, most in ((None, 2048 + 240), (1000, 1000)):
        writer = Counting(PromptEncoder(chat_tokenizer, positions=positions))
        bios = LlmBios(
            writer,
            PromptTemplate.load("speaker_bio"),
            GenerationSettings(max_new_tokens=240),
            Budget(max_tokens=2048),
        )
        bios.writer("Ana", earlier=None).write(said)
        assert most - 250 < writer.read[0] <= most


def test_other_texts_have_room_after_their_prompts(chat_tokenizer, tmp_path):
    writer = Counting(PromptEncoder(chat_tokenizer, positions=1000))
    recipe = Recipe((Stage("first", {"interlocutor_commonsense": 1.0}), Stage("second", {"erc": 1.0})))
    with WrittenTexts(tmp_path / "texts.jsonl") as texts:
        found = generated_answers(writer, recipe, [LONG], texts=texts, budget=Budget(max_tokens=2000))
    assert len(found["interlocutor_commonsense"]) == len(LONG)
    assert 1000 - 250 < max(writer.read) <= 1000


def test_train_command_says_once_that_its_writer_gets_shorter_prompts(
    short, tiny_lm_dir, tmp_path, monkeypatch
):
    monkeypatch.setattr(writing, "MOST_TOKENS", dict.fromkeys(writing.MOST_TOKENS, 4))
    quick = [
        "data.train_limit=2",
        "data.dev_limit=2",
        "llm.max_tokens=1600",
        "llm.turns=1",
        "llm.lora.r=2",
        "optim.epochs=1.0",
        "llm.precision=fp32",
    ]
    places = [
        f"data.root={write_corpora(tmp_path / 'data')}",
        f"llm.base={tiny_lm_dir}",
        f"llm.writer=llm:{short('llama')}",
    ]
    call = ["train", "llm-ckerc-meld", *places, *quick, "--run", str(tmp_path / "run"), "--quiet"]
    result = CliRunner().invoke(app, call, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert (
        result.stderr.count(
            f"positions for {POSITIONS} tokens: it is shown at most {POSITIONS - 4} of llm.max_tokens=1600"
        )
        == 1
    )
