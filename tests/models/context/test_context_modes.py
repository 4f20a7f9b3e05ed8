"""Each context mode over each encoder family: causal, independent of the batch, equal live and in a batch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conversation_parts import (
    FAMILIES,
    MODES,
    OTHER_TALK,
    builder,
    changed_last,
    conversation,
    emonet,
    encoder_of,
)

from erc.models.context import encoder_rows
from erc.models.context import hierarchical as context_hierarchical
from erc.models.context.build import build_context
from erc.models.context.turn_causal import TurnCausalContext
from erc.models.dropout import SeededDropout
from erc.models.emonet.settings import ContextMode, EmoNetSettings
from erc.models.utterance import UtteranceClassifier

TIMES = {"talk": 0.0, "other": 1.0, "third": 2.0}


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def tokens_dir(family: str, request: pytest.FixtureRequest) -> Path:
    """A folder with a tokenizer for the encoder family."""
    return request.getfixturevalue(
        {"roberta": "tiny_roberta_dir", "modernbert": "tiny_modernbert_dir"}.get(family, "tiny_encoder_dir")
    )


@pytest.fixture
def weights_dir(family: str, tokens_dir: Path) -> Path | None:
    """The same folder, or None for EmCoder, which has no saved weights."""
    return None if family == "emcoder" else tokens_dir


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> ContextMode:
    return request.param


@torch.no_grad()
def test_context_change_of_a_later_turn_leaves_earlier_outputs_unchanged(
    mode: ContextMode, weights_dir: Path | None, tokens_dir: Path
) -> None:
    model, turns = emonet(mode, encoder_of(weights_dir)), builder(tokens_dir)
    talk = conversation()
    first = model(batch=turns.batch([talk], times=TIMES)).logits
    second = model(batch=turns.batch([changed_last(talk)], times=TIMES)).logits
    torch.testing.assert_close(first[:-1], second[:-1], atol=1e-5, rtol=0)
    assert (first[-1] - second[-1]).abs().max() > 1e-3


@torch.no_grad()
def test_context_output_depends_on_an_earlier_turn_within_the_window(
    mode: ContextMode, weights_dir: Path | None, tokens_dir: Path
) -> None:
    model, turns = emonet(mode, encoder_of(weights_dir)), builder(tokens_dir)
    talk = conversation()
    shorter = conversation(
        (("Ana", "Zebras juggle violins."), *[(turn.speaker, turn.text) for turn in talk.utterances[1:]])
    )
    first = model(batch=turns.batch([talk], times=TIMES)).logits
    second = model(batch=turns.batch([shorter], times=TIMES)).logits
    assert (first[1] - second[1]).abs().max() > 1e-4


@torch.no_grad()
def test_context_outputs_do_not_depend_on_the_batch(
    mode: ContextMode, weights_dir: Path | None, tokens_dir: Path
) -> None:
    model, turns = emonet(mode, encoder_of(weights_dir)), builder(tokens_dir)
    talk, other, third = (
        conversation(),
        conversation(OTHER_TALK, name="other"),
        conversation(OTHER_TALK[::-1], name="third"),
    )
    alone = model(batch=turns.batch([talk], times=TIMES))
    together = model(batch=turns.batch([other, talk, third], times=TIMES))
    torch.testing.assert_close(together.logits[2:8], alone.logits, atol=1e-5, rtol=0)
    torch.testing.assert_close(together.embedding[2:8], alone.embedding, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_context_live_outputs_equal_the_batch(
    mode: ContextMode, weights_dir: Path | None, tokens_dir: Path
) -> None:
    model, turns = emonet(mode, encoder_of(weights_dir)), builder(tokens_dir)
    prepared = turns.prepare(conversation(), time=0.0)
    expected = model(batch=turns.collate([prepared]))
    state = model.live_state()
    for row, turn in enumerate(prepared):
        output, state = model.append(state, turns.collate([[turn]]))
        torch.testing.assert_close(output.logits[0], expected.logits[row], atol=1e-5, rtol=0)


@torch.no_grad()
def test_context_before_training_equals_the_utterance_model(
    mode: ContextMode, weights_dir: Path | None, tokens_dir: Path
) -> None:
    encoder = encoder_of(weights_dir)
    classifier = UtteranceClassifier(encoder=encoder, emotions=28).eval()  # type: ignore[arg-type]
    batch = builder(tokens_dir).batch([conversation()], times=TIMES)
    expected = classifier(input_ids=batch.input_ids, attention_mask=batch.attention_mask).embedding
    found = emonet(mode, encoder, opened=False)(batch=batch).embedding
    rows = slice(0, 1) if mode == "window" else slice(None)  # a window reads past turns before training too
    torch.testing.assert_close(found[rows], expected[rows], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_context_without_window_equals_the_encoder(weights_dir: Path | None, tokens_dir: Path) -> None:
    encoder = encoder_of(weights_dir).eval()
    batch = builder(tokens_dir).batch([conversation()], times=TIMES)
    context = TurnCausalContext(encoder=encoder, pooling="cls", turn_window=0)
    expected = encoder(input_ids=batch.input_ids, attention_mask=batch.attention_mask)[:, 0]
    torch.testing.assert_close(context(batch), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_context_sigmoid_gate_starts_nearly_closed(tiny_encoder_dir: Path) -> None:
    encoder = encoder_of(tiny_encoder_dir)
    batch = builder(tiny_encoder_dir).batch([conversation()], times=TIMES)
    closed, ajar, wide = (
        build_context(EmoNetSettings(context="turn_causal", gate_bias=gate), encoder=encoder).eval()(batch)
        for gate in (None, -3.0, 3.0)
    )
    assert 0 < (ajar - closed).abs().max() < 0.25 * (wide - closed).abs().max()


@torch.no_grad()
def test_context_turn_causal_ignores_turns_beyond_its_receptive_field(tiny_encoder_dir: Path) -> None:
    model, turns = emonet("turn_causal", encoder_of(tiny_encoder_dir)).double(), builder(tiny_encoder_dir)
    long = tuple(
        ("Ana", f"I am number {i}.") for i in range(8)
    )  # 2 layers that look back 2 turns each: turn 4 is within the receptive field, turn 5 is not
    first = model(batch=turns.batch([conversation(long)], times=TIMES)).logits
    second = model(batch=turns.batch([conversation((("Ana", "Zebras!"), *long[1:]))], times=TIMES)).logits
    assert (first[4] - second[4]).abs().max() > 1e-6
    torch.testing.assert_close(first[5:], second[5:], atol=1e-12, rtol=0)


@torch.no_grad()
def test_context_same_speaker_bias_distinguishes_speakers(tiny_encoder_dir: Path) -> None:
    model, turns = (
        emonet("turn_causal", encoder_of(tiny_encoder_dir)),
        builder(tiny_encoder_dir, speaker_text="none"),
    )
    same = conversation((("Ana", "I am happy."), ("Ben", "No."), ("Ana", "Why?")))
    other = conversation((("Ana", "I am happy."), ("Ben", "No."), ("Cleo", "Why?")))
    first, second = (model(batch=turns.batch([talk], times=TIMES)).logits for talk in (same, other))
    torch.testing.assert_close(first[:2], second[:2], atol=1e-6, rtol=0)
    assert (first[2] - second[2]).abs().max() > 1e-5


def test_context_live_state_has_constant_size(mode: ContextMode, tiny_encoder_dir: Path) -> None:
    model, turns = emonet(mode, encoder_of(tiny_encoder_dir)), builder(tiny_encoder_dir)
    state, sizes = model.live_state(), []
    for turn in turns.prepare(
        conversation(tuple(("Ana" if i % 2 else "Ben", "I am happy to see you.") for i in range(24))),
        time=0.0,
    ):
        _, state = model.append(state, turns.collate([[turn]]))
        sizes.append(state.nbytes)
    assert sizes[-1] == sizes[11] > 0


def test_context_closed_gates_receive_a_gradient(tiny_encoder_dir: Path) -> None:
    context = build_context(EmoNetSettings(context="turn_causal"), encoder=encoder_of(tiny_encoder_dir))
    batch = builder(tiny_encoder_dir).batch([conversation()], times=TIMES)
    context.eval()(batch).square().sum().backward()
    assert isinstance(context, TurnCausalContext)
    assert context.cross is not None
    assert all(float(layer.gate.grad.abs().sum()) > 0 for layer in context.cross)  # type: ignore[union-attr]


def test_context_window_longer_than_the_encoder_limit_is_refused(tiny_encoder_dir: Path) -> None:
    with pytest.raises(ValueError, match="exceed the 128 tokens"):
        build_context(
            EmoNetSettings(context="window", token_window=128), encoder=encoder_of(tiny_encoder_dir)
        )


@torch.no_grad()
def test_window_without_separators_reads_one_cls_and_text_tokens_only(
    tiny_encoder_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As published for CoMPM: CLS, then the concatenated texts with speaker tags."""
    talk = conversation((("Ana", "No."), ("Ben", "Okay."), ("Ana", "Why did nobody tell me?")))
    turns = builder(tiny_encoder_dir, separators=False)
    tokenizer = turns.tokenizer
    context = emonet("window", encoder_of(tiny_encoder_dir)).context
    rows: list[list[int]] = []

    def begin(
        encoder: object, *, input_ids: torch.Tensor, mask: torch.Tensor, **rest: object
    ) -> list[object]:
        rows.extend(ids[real.bool()].tolist() for ids, real in zip(input_ids, mask, strict=True))
        return []

    monkeypatch.setattr("erc.models.context.window.begin_rows", begin)
    context.begin(turns.batch([talk], times=TIMES), split=0)

    def tokens(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    cls, texts = tokenizer.cls_token_id, ("<s1> No.", "<s2> Okay.", "<s1> Why did nobody tell me?")
    whole = [cls, *tokens(texts[0]), *tokens(texts[1]), *tokens(texts[2])]
    assert rows == [[cls, *tokens(texts[0])], [cls, *tokens(texts[0]), *tokens(texts[1])], whole]
    assert tokenizer.sep_token_id not in whole


def test_context_dropout_sites_are_distinct(mode: ContextMode, tiny_encoder_dir: Path) -> None:
    model = emonet(mode, encoder_of(tiny_encoder_dir), memory="own", own=encoder_of(tiny_encoder_dir))
    sites = [module.site for module in model.modules() if isinstance(module, SeededDropout)]
    assert len(set(sites)) == len(sites)


@torch.no_grad()
def test_hierarchical_context_encoded_in_parts_gives_the_same_output(
    tiny_encoder_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, turns = emonet("hierarchical", encoder_of(tiny_encoder_dir)), builder(tiny_encoder_dir)
    batch = turns.batch([conversation(), conversation(OTHER_TALK, name="other")], times=TIMES)
    answers = []
    for tokens in (1_000_000, 20):
        monkeypatch.setattr(encoder_rows, "_CPU_TOKENS", tokens)
        answers.append(
            (
                len(model.context.begin(batch, split=0)[0]),
                model(batch=batch).logits,
                model.mc_forward(batch, 3, mode="top-k"),
            )
        )
    (whole, logits, samples), (parts, cut_logits, cut_samples) = answers
    assert whole == 1 < parts
    torch.testing.assert_close(cut_logits, logits, atol=1e-5, rtol=0)
    torch.testing.assert_close(cut_samples, samples, atol=1e-5, rtol=0)


@torch.no_grad()
def test_context_window_embeds_the_rows_of_one_pass_at_a_time(
    tiny_encoder_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A conversation has one window per turn; embedding all windows at once needs unbounded memory."""
    model, turns = emonet("window", encoder_of(tiny_encoder_dir)), builder(tiny_encoder_dir)
    batch = turns.batch([conversation()], times=TIMES)
    expected = model(batch=batch).logits
    encoder, order = model.context.encoder, []
    for name in ("start", "finish"):
        original = getattr(encoder, name)
        monkeypatch.setattr(
            encoder,
            name,
            lambda *given, name=name, original=original, **named: (
                order.append(name) or original(*given, **named)
            ),
        )
    monkeypatch.setattr(encoder_rows, "_CPU_TOKENS", 40)
    torch.testing.assert_close(model(batch=batch).logits, expected, atol=1e-5, rtol=0)
    assert len(order) > 4
    assert order == ["start", "finish"] * (len(order) // 2)


@pytest.mark.parametrize("copies", [1, 3])
def test_groups_of_different_sizes_run_separately_with_little_padding(
    monkeypatch: pytest.MonkeyPatch, copies: int
) -> None:
    """One speaker has 60 turns and 40 have one or two; padding all to 60 gives 2,460 rows instead of 120."""
    torch.manual_seed(0)
    gru, padded = torch.nn.GRU(4, 3, batch_first=True), []
    group = (
        torch.cat([torch.zeros(60), torch.arange(1, 41), torch.arange(1, 21)]).long()[torch.randperm(120)] * 7
    )
    inputs = torch.randn(copies, 120, 4)
    forward = torch.nn.GRU.forward
    monkeypatch.setattr(
        torch.nn.GRU,
        "forward",
        lambda self, rows, *states: padded.append(rows.shape[:2].numel()) or forward(self, rows, *states),
    )
    found = context_hierarchical._run_groups(gru, inputs, group)
    assert sum(padded) < 2 * copies * 120
    for number in group.unique():
        own = group == number
        torch.testing.assert_close(found[:, own], gru(inputs[:, own])[0])
