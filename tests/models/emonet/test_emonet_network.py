"""EmoNet: memory, speaker identity, bios, sampling, live conversations and initial weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conversation_parts import (
    LABELS,
    MODES,
    OBSERVATION,
    OTHER_TALK,
    builder,
    conversation,
    emonet,
    encoder_of,
    history_of,
    open_up,
    remembered,
    shared_memory,
)
from safetensors.torch import load_file, save_file

from erc.data.chronology import InMemoryHistory
from erc.data.history import Moment
from erc.data.identity import speaker_key
from erc.errors import ArtefactError, InputError, NoDropoutError
from erc.models.context.build import build_context
from erc.models.dropout import SeededDropout
from erc.models.emonet import network as emonet_module
from erc.models.emonet import speaker_history as behaviour_module
from erc.models.emonet.build import build_emonet
from erc.models.emonet.fusion import BioJoin, build_join
from erc.models.emonet.network import EmoNet
from erc.models.emonet.settings import BioKind, ContextMode, EmoNetSettings, JoinKind
from erc.models.emonet.speaker_history import SharedMemory
from erc.models.encoder.pooling import pool
from erc.models.mc_modes import McMode
from erc.models.outputs import LiveState
from erc.models.speaker_embedding import SpeakerTable, SpeakerVocabulary
from erc.models.turn_batch import TurnBatch, conversation_buckets
from erc.models.utterance import UtteranceClassifier

EARLIER, TALK = conversation(OTHER_TALK, name="other"), conversation()
TIMES = {"other": 0.0, "talk": 1.0}
MEMORIES = ("shared", "own")


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> ContextMode:
    return request.param


@pytest.fixture(params=MEMORIES)
def memory(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def parts(
    folder: Path, mode: ContextMode, memory: str, *, opened: bool = True
) -> tuple[EmoNet, TurnBatch, list[TurnBatch]]:
    """A model with all parts, a conversation as a batch, and the batches of its single turns."""
    own = encoder_of(folder) if memory == "own" else None
    model = emonet(mode, encoder_of(folder), memory=memory, own=own, bio=True, opened=opened)
    turns = builder(folder, history=history_of(EARLIER, TALK), own=memory == "own", bios=True)
    prepared = turns.prepare(TALK, time=1.0)
    return model, turns.collate([prepared]), [turns.collate([[turn]]) for turn in prepared]


@torch.no_grad()
def test_emonet_live_outputs_with_memory_equal_the_batch(
    mode: ContextMode, memory: str, tiny_encoder_dir: Path
) -> None:
    model, batch, turns = parts(tiny_encoder_dir, mode, memory)
    expected, state = model(batch=batch), model.live_state()
    for row, turn in enumerate(turns):
        output, state = model.append(state, turn)
        torch.testing.assert_close(output.logits[0], expected.logits[row], atol=1e-5, rtol=0)
        torch.testing.assert_close(output.embedding[0], expected.embedding[row], atol=1e-5, rtol=1e-5)


def test_emonet_live_state_can_be_saved_and_reused(
    mode: ContextMode, tmp_path: Path, tiny_encoder_dir: Path
) -> None:
    model, _, turns = parts(tiny_encoder_dir, mode, "shared")
    state = model.live_state()
    for turn in turns[:3]:
        _, state = model.append(state, turn)
    save_file(state.to_tensors(), tmp_path / "state.safetensors")
    expected, _ = model.append(state, turns[3])
    model.append(state, replace(turns[3], input_ids=turns[3].input_ids.flip(1)))
    resumed, after = model.append(LiveState.from_tensors(load_file(tmp_path / "state.safetensors")), turns[3])
    assert torch.equal(resumed.logits, expected.logits)
    assert after.turns == 4


def test_emonet_live_state_refuses_a_turn_out_of_order(tiny_encoder_dir: Path) -> None:
    model, _, turns = parts(tiny_encoder_dir, "hierarchical", "shared")
    with pytest.raises(ValueError, match="awaits turn 0"):
        model.append(model.live_state(), turns[1])


@torch.no_grad()
def test_emonet_memory_changes_only_outputs_of_speakers_with_a_past(
    memory: str, tiny_encoder_dir: Path
) -> None:
    model, batch, _ = parts(tiny_encoder_dir, "hierarchical", memory)
    assert batch.history_mask is not None
    without = model(batch=replace(batch, history_mask=torch.zeros_like(batch.history_mask))).logits
    differs = (model(batch=batch).logits - without).abs().amax(dim=1) > 1e-5
    assert differs.tolist() == [
        True,
        True,
        True,
        False,
        True,
        True,
    ]  # Cleo first speaks in turn 3


@torch.no_grad()
def test_emonet_memory_with_a_closed_gate_contributes_exactly_zero(
    memory: str, tiny_encoder_dir: Path
) -> None:
    model, batch, _ = parts(tiny_encoder_dir, "hierarchical", memory, opened=False)
    alone = emonet("hierarchical", model.context.encoder, opened=False)
    torch.testing.assert_close(model(batch=batch).embedding, alone(batch=batch).embedding, atol=1e-6, rtol=0)


class _OnlyBen:
    """Only Ben has a bio; the turns after his first turn can read it."""

    def bios(self, speaker: str, *, before: Moment) -> list[np.ndarray | None]:
        ben = np.full(6, 2.0, dtype=np.float32)
        return [ben] if speaker.endswith("ben") else [None, ben] if before.index else []


@pytest.mark.parametrize(("kind", "reads"), [("linear", "Ben"), ("attention", "all who have heard of him")])
@torch.no_grad()
def test_only_bio_attention_reads_the_bio_of_another_speaker(
    kind: BioKind, reads: str, tiny_encoder_dir: Path
) -> None:
    turns = builder(tiny_encoder_dir)
    turns.bios = _OnlyBen()
    batch = turns.batch([TALK], times=TIMES)
    torch.manual_seed(6)
    join = BioJoin(kind=kind, width=8, bio_width=6)
    open_up(join)
    context = torch.randn(2 * len(TALK), 8)  # two Monte-Carlo samples
    differs = (join(context, batch) - context).abs().amax(dim=1) > 1e-4
    by_ben = [turn.speaker == "Ben" for turn in TALK]
    assert differs.tolist() == 2 * (by_ben if reads == "Ben" else [False] + [True] * (len(TALK) - 1))


@torch.no_grad()
def test_emonet_history_reads_only_earlier_turns(tiny_encoder_dir: Path) -> None:
    model = emonet("hierarchical", encoder_of(tiny_encoder_dir), memory="shared")
    past_only = builder(tiny_encoder_dir, history=history_of(EARLIER)).batch([EARLIER, TALK], times=TIMES)
    with_future = builder(tiny_encoder_dir, history=history_of(EARLIER, TALK)).batch(
        [EARLIER, TALK], times=TIMES
    )
    rows = len(EARLIER)
    torch.testing.assert_close(
        model(batch=past_only).logits[:rows], model(batch=with_future).logits[:rows], atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("sampling", ["head", "top-k", "full"])
def test_emonet_samples_do_not_depend_on_the_batch(
    mode: ContextMode, sampling: McMode, memory: str, tiny_encoder_dir: Path
) -> None:
    model, batch, _ = parts(tiny_encoder_dir, mode, memory)
    turns = builder(tiny_encoder_dir, history=history_of(EARLIER, TALK), own=memory == "own", bios=True)
    together = model.mc_forward(turns.batch([EARLIER, TALK], times=TIMES), 5, seed=3, mode=sampling)
    alone = model.mc_forward(batch, 5, seed=3, mode=sampling, max_batch_size=12)
    assert alone.shape == (5, len(TALK), len(LABELS))
    torch.testing.assert_close(together[:, len(EARLIER) :], alone, atol=1e-5, rtol=0)
    assert float(alone.std(dim=0).min()) > 0


@pytest.mark.parametrize("sampling", ["head", "top-k", "full"])
def test_emonet_live_samples_equal_the_batch(
    mode: ContextMode, sampling: McMode, tiny_encoder_dir: Path
) -> None:
    model, batch, turns = parts(tiny_encoder_dir, mode, "own")
    expected = model.mc_forward(batch, 3, seed=9, mode=sampling)
    state = model.live_state()
    for row, turn in enumerate(turns):
        logits, state = model.mc_append(state, turn, 3, seed=9, mode=sampling)
        torch.testing.assert_close(logits[:, 0], expected[:, row], atol=1e-5, rtol=0)


def test_emonet_fewer_samples_are_a_prefix_of_more_samples(mode: ContextMode, tiny_encoder_dir: Path) -> None:
    model, batch, _ = parts(tiny_encoder_dir, mode, "shared")
    torch.testing.assert_close(
        model.mc_forward(batch, 1, mode="full"),
        model.mc_forward(batch, 4, mode="full")[:1],
        atol=1e-5,
        rtol=0,
    )


def test_emonet_sampling_restores_the_model(tiny_encoder_dir: Path) -> None:
    model, batch, _ = parts(tiny_encoder_dir, "turn_causal", "shared")
    with torch.no_grad():
        before = model(batch=batch).logits
        model.mc_forward(batch, 2, mode="full")
        assert torch.equal(model(batch=batch).logits, before)
    assert not model.training


def test_emonet_without_dropout_refuses_to_sample(tiny_encoder_dir: Path) -> None:
    model, batch, _ = parts(tiny_encoder_dir, "turn_causal", "shared")
    for module in model.modules():
        if isinstance(module, SeededDropout):
            module.p = 0.0
    for sampling in ("head", "full"):
        with pytest.raises(NoDropoutError):
            model.mc_forward(batch, 2, mode=sampling)  # type: ignore[arg-type]


def test_emonet_refuses_to_sample_zero_times_or_in_training_mode(tiny_encoder_dir: Path) -> None:
    model, batch, _ = parts(tiny_encoder_dir, "turn_causal", "shared")
    with pytest.raises(ValueError, match="at least one"):
        model.mc_forward(batch, 0)
    with pytest.raises(RuntimeError, match="evaluation mode"):
        model.train().mc_forward(batch, 1)


def test_emonet_copies_encoder_and_head_of_a_classifier(tiny_encoder_dir: Path) -> None:
    classifier = UtteranceClassifier(encoder=encoder_of(tiny_encoder_dir), emotions=28)  # type: ignore[arg-type]
    fresh = encoder_of(tiny_encoder_dir)
    for parameter in fresh.parameters():
        parameter.data.zero_()
    context = build_context(EmoNetSettings(context="turn_causal"), encoder=fresh)
    model = EmoNet(context=context, emotions=3).init_from(classifier)
    assert torch.equal(model.head.dense.weight, classifier.head.dense.weight)
    assert model.head.output.weight.shape[0] == 3
    assert torch.equal(fresh.word_embeddings.weight, classifier.encoder.word_embeddings.weight)


def test_emonet_refuses_a_classifier_over_another_encoder(
    tiny_encoder_dir: Path, tiny_roberta_dir: Path
) -> None:
    classifier = UtteranceClassifier(encoder=encoder_of(tiny_roberta_dir), emotions=28)  # type: ignore[arg-type]
    with pytest.raises(ArtefactError, match="another encoder"):
        EmoNet(
            context=build_context(
                EmoNetSettings(context="turn_causal"), encoder=encoder_of(tiny_encoder_dir)
            ),
            emotions=3,
        ).init_from(classifier)


@torch.no_grad()
def test_shared_memory_ignores_padding_but_not_order() -> None:
    torch.manual_seed(0)
    memory = shared_memory().eval()
    seen = torch.randn(1, 2, OBSERVATION)
    padded = torch.cat([seen, torch.randn(1, 3, OBSERVATION)], dim=1)
    empty = torch.zeros(1, dtype=torch.long)

    def state(history: torch.Tensor, real: int) -> torch.Tensor:
        index = torch.arange(history.shape[1])[None]
        return memory(
            TurnBatch(
                empty[None],
                empty[None],
                empty,
                empty,
                empty,
                empty,
                index,
                index < real,
                observations=history[0],
            )
        )

    torch.testing.assert_close(state(padded, 2), state(seen, 2))
    assert torch.equal(state(padded, 0), torch.zeros(1, 8))
    assert not torch.allclose(state(seen, 2), state(seen.flip(1), 2))  # order matters


@torch.no_grad()
def test_shared_memory_normalises_probabilities_separately_from_embeddings() -> None:
    """One LayerNorm over 768 embedding values and 28 log-odds leaves the latter under 1% of the variance."""
    generator = torch.Generator().manual_seed(0)
    embedding = torch.randn(400, 768, generator=generator) * 0.56  # as in the shipped classifier
    log_odds = torch.randn(400, 28, generator=generator) - 4.0
    observations = torch.cat([embedding, log_odds.sigmoid()], dim=1)
    together = torch.nn.functional.layer_norm(observations, [796]).var(dim=0)
    assert together[768:].sum() / together.sum() < 0.01
    torch.manual_seed(0)
    memory = SharedMemory(embedding_width=768, labels=28).eval()
    steps = memory.steps(observations).var(dim=0)
    assert steps.shape == (32 + 28,)
    assert 0.3 < steps[32:].sum() / steps.sum() < 0.9


@torch.no_grad()
def test_shared_memory_log_odds_of_zero_and_one_are_finite() -> None:
    memory = SharedMemory(embedding_width=4, labels=3, projection=2, width=8).eval()
    observations = torch.cat([torch.zeros(1, 4), torch.tensor([[0.0, 0.5, 1.0]])], dim=1)
    # Clamped log-odds -9.21, 0, 9.21 have mean 0 and standard deviation 7.52.
    expected = torch.tensor([-1.2247, 0.0, 1.2247])
    torch.testing.assert_close(memory.steps(observations)[0, 2:], expected, atol=1e-4, rtol=0)
    rounded = memory.bfloat16().steps(observations.bfloat16())[0, 2:]
    torch.testing.assert_close(rounded.float(), expected, atol=1e-2, rtol=0)


def test_direct_sum_adds_the_memory_without_parameters() -> None:
    join = build_join("direct_sum", width=3, memory=3, zero_start=False)
    context, memory = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[0.5, -2.0, 0.0]])
    assert join(context, memory).tolist() == [[1.5, 0.0, 3.0]]
    assert not list(join.parameters())


@pytest.mark.parametrize(
    ("kind", "memory", "zero_start", "match"),
    [
        ("direct_sum", 4, False, "4 and 3 wide"),
        ("direct_sum", 3, True, "zero_start"),
        ("product", 3, False, "use sum, concat, direct_sum"),
    ],
)
def test_build_join_refuses_invalid_settings(
    kind: JoinKind, memory: int, zero_start: bool, match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        build_join(kind, width=3, memory=memory, zero_start=zero_start)


@torch.no_grad()
def test_compm_adds_the_gru_state_to_the_context_vector(tiny_encoder_dir: Path) -> None:
    """The published model: context + last GRU state, one linear layer, no dropout in the head."""
    settings = EmoNetSettings(
        context="window",
        pooling="cls",
        token_window=60,
        memory_encoder="own",
        join="direct_sum",
        zero_start=False,
        head="linear",
        dropout=0.0,
    )
    model = build_emonet(
        settings,
        encoder=encoder_of(tiny_encoder_dir),
        emotions=3,
        memory_encoder=encoder_of(tiny_encoder_dir, seed=8),
    ).eval()
    batch = builder(tiny_encoder_dir, history=history_of(EARLIER, TALK), own=True).batch([TALK], times=TIMES)
    assert model.memory is not None
    expected = model.context(batch) + model.memory(batch)
    torch.testing.assert_close(model(batch=batch).embedding, expected, atol=0, rtol=0)
    weights = model.head.output
    torch.testing.assert_close(
        model(batch=batch).logits, expected @ weights.weight.t() + weights.bias, atol=1e-5, rtol=1e-5
    )
    assert model.sampling_modes == ("top-k", "full")


def test_emonet_with_head_dropout_allows_every_sampling_mode(tiny_encoder_dir: Path) -> None:
    model = emonet("hierarchical", encoder_of(tiny_encoder_dir))
    assert model.sampling_modes == ("head", "top-k", "full")


def test_concat_join_before_training_returns_the_context() -> None:
    join = build_join("concat", width=4, memory=3)
    context = torch.randn(5, 4)
    assert torch.equal(join(context, torch.randn(5, 3)), context)
    assert not torch.allclose(
        build_join("concat", width=4, memory=3, zero_start=False)(context, torch.ones(5, 3)), context
    )


def test_speaker_table_masks_speakers_in_training_only() -> None:
    table = SpeakerTable(rows=3, width=1, dropout=0.25)
    table.embedding.weight.data.copy_(torch.tensor([[0.0], [1.0], [1.0]]))
    rows = torch.tensor([1, 2]).repeat(4000)
    torch.manual_seed(0)
    assert float(table.train()(rows).detach().mean()) == pytest.approx(0.75, abs=0.03)
    assert float(table.eval()(rows).detach().mean()) == 1.0


def test_speaker_vocabulary_knows_only_the_names_of_its_corpus() -> None:
    talks = [conversation(name=f"t{i}") for i in range(2)] + [conversation(corpus="elsewhere", name="x")]
    vocabulary = SpeakerVocabulary.from_conversations(talks, corpus="tiny", min_turns=3)
    assert vocabulary.names == ("Ana", "Ben")
    assert [vocabulary.row("tiny", name) for name in ("Ana", " ana ", "Cleo")] == [1, 1, 0]
    assert vocabulary.row(None, "Ana") == vocabulary.row("elsewhere", "Ana") == 0


def test_turn_builder_with_an_unknown_label_names_it(tiny_encoder_dir: Path) -> None:
    turn = replace(TALK.utterances[0], emotions=("grumpy",))
    with pytest.raises(InputError, match="talk-0: its emotion 'grumpy'"):
        builder(tiny_encoder_dir).prepare(replace(TALK, utterances=(turn,)), time=0.0)


def test_turn_builder_refuses_observations_of_another_width(tiny_encoder_dir: Path) -> None:
    history = InMemoryHistory()
    speaker, turn = remembered(EARLIER, time=0.0, width=OBSERVATION + 2)[0]
    history.add(speaker, turn)
    assert speaker == speaker_key("tiny", "Ben", "any")
    with pytest.raises(InputError, match=r"10 \+ 4 values, this model reads 8"):
        builder(tiny_encoder_dir, history=history).batch([TALK], times=TIMES)


def test_turn_builder_replaces_a_share_of_speakers_by_the_unknown_tag(tiny_encoder_dir: Path) -> None:
    """It replaces the same speakers on every call, for whole conversations."""
    talks = [replace(TALK, conversation_id=f"talk{number}") for number in range(60)]

    def tagged(share: float) -> list[dict[str, set[tuple[int, ...]]]]:
        turns = builder(tiny_encoder_dir, speaker_text="global_tag")
        turns.hidden_speakers = share
        found = []
        for talk in talks:
            tags: dict[str, set[tuple[int, ...]]] = {}
            for turn, utterance in zip(turns.prepare(talk, time=1.0), talk, strict=True):
                plain = turns.tokenizer(f"<s0> {utterance.text}")["input_ids"]
                tags.setdefault(utterance.speaker, set()).add(turn.input_ids == tuple(plain))
            found.append(tags)
        return found

    shown = tagged(0.0)
    assert all(
        tags["Ana"] == tags["Ben"] == {False} and tags["Cleo"] == {True} for tags in shown
    )  # she is unknown in this corpus
    hidden = tagged(0.3)
    assert hidden == tagged(0.3)
    assert all(
        len(one) == 1 for tags in hidden for one in tags.values()
    )  # a speaker is replaced in all turns of a conversation or in none
    share = np.mean([tags[name] == {True} for tags in hidden for name in ("Ana", "Ben")])
    assert 0.15 < share < 0.45


def test_turn_builder_encodes_a_past_text_once(tiny_encoder_dir: Path) -> None:
    batch = builder(tiny_encoder_dir, history=history_of(EARLIER, TALK), own=True).batch(
        [EARLIER, TALK], times=TIMES
    )
    assert batch.memory_ids is not None
    assert batch.history_mask is not None
    assert int(batch.history_mask.sum()) == 0 + 0 + 1 + 1 + 2 + 0 + 2 + 3
    assert batch.memory_ids.shape[0] == 5  # all texts except the last of each speaker


def test_conversation_buckets_stay_within_the_token_budget(tiny_encoder_dir: Path) -> None:
    prepared = [builder(tiny_encoder_dir).prepare(talk, time=0.0) for talk in (TALK, EARLIER, EARLIER, TALK)]
    lengths = [sum(len(turn.input_ids) for turn in turns) for turns in prepared]
    budget = 2 * lengths[1]
    buckets = list(conversation_buckets(prepared, max_tokens=budget))
    assert sorted(i for bucket in buckets for i in bucket) == [0, 1, 2, 3]
    assert all(
        len(bucket) * max(lengths[i] for i in bucket) <= budget or len(bucket) == 1 for bucket in buckets
    )
    assert [1, 2] in buckets


@torch.no_grad()
def test_emonet_live_outputs_in_bf16_are_close_to_the_batch(
    mode: ContextMode, memory: str, tiny_encoder_dir: Path
) -> None:
    model, batch, turns = parts(tiny_encoder_dir, mode, memory)
    exact = model(batch=batch).logits
    with torch.autocast("cpu", dtype=torch.bfloat16):
        together, state = model(batch=batch).logits.float(), model.live_state()
        for row, turn in enumerate(turns):
            output, state = model.append(state, turn)
            torch.testing.assert_close(output.logits[0].float(), together[row], atol=0.1, rtol=0)
        samples, _ = model.mc_append(model.live_state(), turns[0], 2, mode="full")
    assert bool(samples.isfinite().all())
    torch.testing.assert_close(together, exact, atol=0.15, rtol=0)


# --- precomputed turn vectors
# ------------------------------------------------------------------------------


@torch.no_grad()
def test_emonet_with_precomputed_encoder_vectors_gives_the_same_output(
    memory: str, tiny_encoder_dir: Path
) -> None:
    model, batch, turns = parts(tiny_encoder_dir, "hierarchical", memory)
    context = model.context
    alone = pool(
        context.encoder(input_ids=batch.input_ids, attention_mask=batch.attention_mask),
        batch.attention_mask,
        context.pooling,
    )
    expected, state = model(batch=batch), model.live_state()
    given = model(batch=replace(batch, vectors=alone))
    torch.testing.assert_close(given.logits, expected.logits, atol=1e-5, rtol=1e-5)
    for row, turn in enumerate(turns):
        output, state = model.append(state, replace(turn, vectors=alone[row : row + 1]))
        torch.testing.assert_close(output.logits[0], expected.logits[row], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_emonet_with_precomputed_vectors_ignores_the_tokens(tiny_encoder_dir: Path) -> None:
    model, batch, _ = parts(tiny_encoder_dir, "hierarchical", "shared")
    vectors = torch.randn(len(batch), model.context.width, generator=torch.Generator().manual_seed(0))
    first, second = (
        model(batch=replace(batch, vectors=vectors)),
        model(batch=replace(batch, vectors=vectors, input_ids=batch.input_ids.roll(1, 0))),
    )
    assert torch.equal(first.logits, second.logits)
    assert not torch.allclose(first.logits, model(batch=batch).logits, atol=1e-3)


@pytest.mark.parametrize("sampled", ["full", "top-k"])
def test_emonet_that_samples_its_encoder_ignores_precomputed_vectors(
    sampled: McMode, tiny_encoder_dir: Path
) -> None:
    """Precomputed vectors come from the deterministic encoder, so they cannot replace sampled ones."""
    model, batch, _ = parts(tiny_encoder_dir, "hierarchical", "shared")
    with_vectors = replace(batch, vectors=torch.zeros(len(batch), model.context.width))
    expected = model.mc_forward(batch, 3, mode=sampled)
    torch.testing.assert_close(model.mc_forward(with_vectors, 3, mode=sampled), expected, atol=0, rtol=0)


def test_build_emonet_shared_encoder_requires_the_hierarchical_context(tiny_encoder_dir: Path) -> None:
    settings = EmoNetSettings(context="window", encoder="shared", memory_encoder="none", token_window=40)
    with pytest.raises(ValueError, match="use context 'hierarchical'"):
        build_emonet(settings, encoder=encoder_of(tiny_encoder_dir), emotions=3)


def test_turn_builder_stores_a_past_turn_once(tiny_encoder_dir: Path) -> None:
    batch = builder(tiny_encoder_dir, history=history_of(EARLIER, TALK)).batch([EARLIER, TALK], times=TIMES)
    assert batch.observations is not None
    assert batch.history_mask is not None
    assert batch.history_index is not None
    assert batch.observations.shape == (5, OBSERVATION)  # all turns except the last of each speaker
    past = [
        batch.observations[row[mask]]
        for row, mask in zip(batch.history_index, batch.history_mask, strict=True)
    ]
    assert [len(rows) for rows in past] == [0, 0, 1, 1, 2, 0, 2, 3]
    assert torch.equal(past[4][:1], past[2])  # oldest first, the newest at the end


@torch.no_grad()
def test_long_conversation_computed_in_parts_gives_the_same_output(
    memory: str, tiny_encoder_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, batch, _ = parts(tiny_encoder_dir, "hierarchical", memory)

    def answers() -> tuple[torch.Tensor, ...]:
        return (
            model(batch=batch).logits,
            model.mc_forward(batch, 3, mode="head"),
            model.mc_forward(batch, 3, mode="full"),
        )

    whole = answers()
    monkeypatch.setattr(behaviour_module, "_ROWS_AT_ONCE", 2)
    monkeypatch.setattr(emonet_module, "_HEAD_ROWS", 2)
    for one, other in zip(whole, answers(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
