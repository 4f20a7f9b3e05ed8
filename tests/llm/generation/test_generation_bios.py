"""Text generation by the local backend, and bios for a speaker memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from lm_parts import build_model, build_tokenizer
from typer.testing import CliRunner

from erc.cli.app import app
from erc.data import Moment
from erc.errors import ConfigError
from erc.llm.backends.generate import GenerationSettings
from erc.llm.backends.local import LocalScorer
from erc.llm.base.memory_estimate import FAMILIES
from erc.llm.prompts.budget import Budget
from erc.llm.prompts.template import PromptTemplate, RenderedPrompt
from erc.memory.bio_writer import LlmBios, write_bios
from erc.memory.bios import NothingWrittenError, embedder_of
from erc.memory.past import RegistryPast
from speakers import END, Observation, Registry

PROMPTS = [
    RenderedPrompt("You answer.", (("question", f"Who is number {i}?"),), "Answer:", "t/v1", "")
    for i in range(2)
]
SAID = ("I missed the train.", 'They called me "<|im_end|>".', "We won!")


@pytest.fixture(scope="module")
def scorer():
    return LocalScorer(build_model(), build_tokenizer(chat=True), model_id="tiny")


def plain_greedy(scorer, prompt, count):
    """Greedy decoding with a full pass for every token."""
    ids = scorer.encoder.prompt_ids(prompt)
    found = []
    for _ in range(count):
        token = int(
            scorer.model(input_ids=torch.tensor([[*ids, *found]]), use_cache=False).logits[0, -1].argmax()
        )
        if token == scorer.encoder.terminator:
            break
        found.append(token)
    return scorer.encoder.tokenizer.decode(found, skip_special_tokens=True).strip()


def test_greedy_text_takes_the_most_probable_token_each_time(scorer):
    found = scorer.generate(PROMPTS, settings=GenerationSettings(max_new_tokens=12))
    assert found == [plain_greedy(scorer, prompt, 12) for prompt in PROMPTS]


def test_text_ends_at_the_end_of_turn_token(scorer):
    model = build_model()
    stop = scorer.encoder.terminator
    calls = []

    def end_after_three(module, inputs, output):
        calls.append(1)
        output.data.zero_()
        output.data[..., stop if len(calls) == 4 else 70] = 1.0

    model.lm_head.register_forward_hook(end_after_three)
    found = LocalScorer(model, scorer.encoder.tokenizer, model_id="tiny").generate(
        PROMPTS[:1], settings=GenerationSettings(max_new_tokens=9)
    )
    assert len(calls) == 4
    assert found == [scorer.encoder.tokenizer.decode([70] * 3).strip()]


MANY = [
    RenderedPrompt(
        "You answer.", (("question", f"{'Who is ' * (1 + 7 * i % 5)}number {i}?"),), "Answer:", "t/v1", ""
    )
    for i in range(9)
]


@pytest.mark.parametrize("family", [*FAMILIES, "gpt2"])
def test_greedy_texts_in_a_batch_equal_texts_generated_alone(family, chat_tokenizer):
    # gpt2 has a position table, mistral and gemma2 a window; padding must not affect either.
    narrow = {"sliding_window": 8} if family in ("mistral", "gemma2") else {}
    scorer = LocalScorer(build_model(family, **narrow), chat_tokenizer, model_id="tiny")
    widths = []
    scorer.model.register_forward_pre_hook(
        lambda module, given, named: widths.append(len(named["input_ids"])), with_kwargs=True
    )
    together = scorer.generate(MANY, settings=GenerationSettings(max_new_tokens=10))
    assert widths[0] == len(MANY)
    assert together == [
        scorer.generate([prompt], settings=GenerationSettings(max_new_tokens=10))[0] for prompt in MANY
    ]
    assert len(set(together)) > 1


def test_generated_batches_stay_within_the_token_limit(tiny_lm, chat_tokenizer):
    scorer = LocalScorer(tiny_lm, chat_tokenizer, model_id="tiny", max_tokens=250)
    sizes = []
    handle = tiny_lm.register_forward_pre_hook(
        lambda module, given, named: sizes.append(named["input_ids"].shape), with_kwargs=True
    )
    scorer.generate(MANY, settings=GenerationSettings(max_new_tokens=10))
    handle.remove()
    read = [shape for shape in sizes if shape[1] > 1]
    assert sum(rows for rows, _ in read) == len(MANY) > len(read) > 1
    assert all(rows * (width + 10) <= 250 for rows, width in read)


def test_sampled_text_depends_on_its_seed_only(scorer):
    first, again, other = (
        scorer.generate(PROMPTS, settings=GenerationSettings(12, temperature=2.0, seed=seed))
        for seed in (1, 1, 2)
    )
    alone = scorer.generate(PROMPTS[1:], settings=GenerationSettings(12, temperature=2.0, seed=1))
    assert first == again != other
    assert alone == first[1:]


def test_sampling_text_does_not_change_the_global_random_state(scorer):
    before = torch.random.get_rng_state()
    scorer.generate(PROMPTS[:1], settings=GenerationSettings(3, temperature=1.0))
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("values", [{"max_new_tokens": 0}, {"temperature": -1.0}, {"top_p": 0.0}])
def test_generation_settings_out_of_range_are_refused(values):
    with pytest.raises(ConfigError):
        GenerationSettings(**values)


# --- bios


class Scribe:
    """Writes a fixed text and records its prompts."""

    def __init__(self, text, encoder):
        self.text, self.encoder, self.model_id, self.prompts = text, encoder, "scribe", []

    def generate(self, prompts, *, settings=None):
        self.prompts += prompts
        return [self.text] * len(prompts)


@pytest.fixture
def registry(tmp_path):
    with Registry.open(str(tmp_path / "speakers.db")) as opened:
        yield opened


def said(registry, conversation, texts, name="Ana"):
    speaker = registry.resolve(name, conversation_id=conversation).speaker.speaker_id
    registry.record(
        conversation,
        [Observation(speaker, conversation, f"{conversation}{i}", i, text) for i, text in enumerate(texts)],
    )
    return speaker


def bios_by(generator, **settings):
    return LlmBios(generator, PromptTemplate.load("speaker_bio"), GenerationSettings(8), Budget(**settings))


def test_bio_is_stored_as_sentences_with_its_writer(registry, scorer):
    ana = said(registry, "a", SAID)
    bios = bios_by(Scribe("Takes trains. Wins often!", scorer.encoder))
    [(speaker, bio)] = write_bios(registry, bios)
    assert (speaker.speaker_id, bio.version, bio.utterances) == (ana, 1, 3)
    assert [passage.text for passage in bio.passages] == ["Takes trains.", "Wins often!"]
    assert bio.writer.startswith("llm:scribe speaker_bio/v2@")


def test_empty_bio_of_one_person_does_not_stop_the_others(registry, scorer):
    class Shy(Scribe):
        def generate(self, prompts, *, settings=None):
            return [
                "" if "Describe Ben" in prompt.user else text
                for prompt, text in zip(prompts, super().generate(prompts), strict=True)
            ]

    for name in ("Ana", "Ben", "Cid"):
        said(registry, name, SAID, name=name)
    found = {person.name: bio for person, bio in write_bios(registry, bios_by(Shy("Kind.", scorer.encoder)))}
    assert (found["Ana"].text, found["Cid"].text) == ("Kind.", "Kind.")
    assert isinstance(found["Ben"], NothingWrittenError)
    assert "scribe wrote nothing about Ben" in str(found["Ben"])
    assert [
        registry.context(person.speaker_id, before=END).bio is None for person in registry.speakers()
    ] == [False, True, False]


def test_bio_is_read_by_later_conversations_only(registry, scorer):
    ana = said(registry, "a", SAID)
    list(write_bios(registry, bios_by(Scribe("Kind.", scorer.encoder))))
    said(registry, "b", ["Hello."])
    assert registry.context(ana, before=registry.point_for("a", 2)).bio is None
    assert registry.context(ana, before=registry.point_for("b", 0)).bio.text == "Kind."


def test_bio_is_rewritten_from_the_previous_bio_only_after_new_turns(registry, scorer):
    ana = said(registry, "a", SAID)
    scribe = Scribe("Kind.", scorer.encoder)
    for _ in range(2):
        found = list(write_bios(registry, bios_by(scribe)))
    assert found[0][1] is None
    said(registry, "b", ["Hello."])
    [(_, bio)] = write_bios(registry, bios_by(scribe))
    assert bio.version == 2
    assert [one.version for one in registry.bio_versions(ana)] == [1, 2]
    assert 'before: "Kind."' in scribe.prompts[-1].user
    assert "before:" not in scribe.prompts[0].user


def test_bio_prompt_sanitizes_text_and_keeps_the_last_turns(registry, scorer):
    said(registry, "a", [*(f"This is my turn number {i}." for i in range(40)), *SAID])
    scribe = Scribe("Kind.", scorer.encoder)
    list(write_bios(registry, bios_by(scribe, max_tokens=700)))
    prompt = scribe.prompts[0]
    assert len(scorer.encoder.prompt_ids(prompt)) <= 700
    assert "We won!" in prompt.user
    assert "number 0." not in prompt.user
    assert "<|im_end|>" not in prompt.user


@pytest.mark.parametrize("max_tokens", [3000, 800])
def test_rewritten_bio_reads_every_sentence_of_a_long_previous_bio(registry, scorer, max_tokens):
    sentences = [
        f"Sentence number {i} says that trains are late and that it rains on day {i}." for i in range(9)
    ]
    scribe = Scribe(" ".join(sentences), scorer.encoder)
    for conversation in "ab":
        said(registry, conversation, ["Hello."])
        list(write_bios(registry, bios_by(scribe, max_tokens=max_tokens)))
    prompt = scribe.prompts[-1]
    assert len(scorer.encoder.prompt_ids(prompt)) <= max_tokens
    assert "Ana: Hello." in prompt.user
    assert prompt.user.count("Sen") == 9
    assert (f'before: "{" ".join(sentences)}"' in prompt.user) == (max_tokens == 3000)


@pytest.mark.parametrize("text", ["😀" * 300, "ก" * 420, "没" * 360])
def test_bio_is_written_from_a_very_long_turn(registry, scorer, text):
    said(registry, "a", ["Hello.", text])
    scribe = Scribe("Kind.", scorer.encoder)
    [(_, bio)] = write_bios(registry, bios_by(scribe, max_tokens=800))
    assert bio.text == "Kind."
    assert len(scorer.encoder.prompt_ids(scribe.prompts[0])) <= 800
    assert text[:20] in scribe.prompts[0].user


def test_bios_command_writes_a_bio_for_every_speaker_and_names_the_model(tmp_path, tiny_lm_dir):
    address = str(tmp_path / "speakers.db")
    with Registry.open(address) as registry:
        said(registry, "a", SAID)
        said(registry, "b", SAID[:1], name="Ben")
    call = [
        "bios",
        "write",
        "--memory",
        address,
        "--model",
        f"llm:{tiny_lm_dir}",
        "--precision",
        "fp32",
        "--max-words",
        "10",
    ]
    result = CliRunner().invoke(app, call)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        "Ana: version 1, from 3 utterances",
        "Ben: version 1, from 1 utterances",
    ]
    with Registry.open(address) as registry:
        for speaker in registry.speakers():
            assert registry.context(speaker.speaker_id, before=END).bio.writer.startswith(
                f"llm:{tiny_lm_dir}#"
            )


def test_bios_command_continues_after_an_empty_bio_and_exits_with_1(tmp_path, tiny_lm_dir, monkeypatch):
    address = str(tmp_path / "speakers.db")
    with Registry.open(address) as registry:
        for name in ("Ana", "Ben"):
            said(registry, name, SAID, name=name)
    generate = LocalScorer.generate
    monkeypatch.setattr(
        LocalScorer, "generate", lambda self, asked, settings: [""] if "Ana" in asked[0].user else ["Kind."]
    )
    call = ["bios", "write", "--memory", address, "--model", f"llm:{tiny_lm_dir}", "--precision", "fp32"]
    result = CliRunner().invoke(app, call)
    assert result.stdout.splitlines() == ["Ben: version 1, from 3 utterances"]
    assert "Ana: " in result.stderr
    assert isinstance(result.exception, NothingWrittenError)
    assert (result.exception.exit_code, str(result.exception).partition(":")[0]) == (
        1,
        "nothing was written about 1 of 2 people",
    )
    monkeypatch.setattr(LocalScorer, "generate", generate)
    result = CliRunner().invoke(app, [*call, "--max-words", "10"], catch_exceptions=False)
    assert [line.partition(":")[0] for line in result.stdout.splitlines()][:1] == ["Ana"]


def test_bios_command_refuses_a_model_that_is_no_language_model(tmp_path):
    result = CliRunner().invoke(
        app, ["bios", "write", "--memory", str(tmp_path / "none.db"), "--model", "emonet-meld-minilm"]
    )
    assert isinstance(result.exception, ConfigError)


class Placed:
    """A classifier with one vector for texts about work and the opposite vector for all others."""

    name, revision, width = "placed", "0" * 16, 2

    def embed(self, texts):
        return np.array([[1.0, 0.1] if "work" in text else [0.1, 1.0] for text in texts], dtype=np.float32)


@pytest.mark.parametrize(("last", "shown"), [("Work, always work.", "work"), ("My garden!", "garden")])
def test_prompt_shows_the_passages_of_a_long_bio_nearest_to_the_last_turns(registry, scorer, last, shown):
    """It shows eight of sixteen, in the bio's order; a memory without vectors shows the first eight."""
    placed = Placed()
    ana = registry.resolve("Ana", conversation_id="a").speaker.speaker_id
    turn = Observation(
        ana, "a", "a0", 0, last.lower(), vector=placed.embed([last.lower()])[0].astype(np.float16)
    )
    registry.record("a", [turn], embedder=embedder_of(placed))
    sentences = [f"Talks of {'work' if i % 2 else 'garden'} number {i}." for i in range(16)]
    bios = bios_by(Scribe(" ".join(sentences), scorer.encoder))

    def passages():
        start = registry.point_for("b", 0)
        past = RegistryPast(registry, start, ["Ana"], look_up=lambda names: {"Ana": ana}, labels=(), limit=0)
        return list(past.bio(ana, before=Moment(start.time, "b", 0), limit=8).passages)

    list(write_bios(registry, bios, classifier=placed))
    assert passages() == [sentence for sentence in sentences if shown in sentence]
    registry.write_bio(ana, before=registry.point_for("b", 0), writer=bios.writer("Ana", earlier=None))
    assert passages() == sentences[:8]
