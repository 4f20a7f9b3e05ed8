"""Prompts read as a tree, together or in turn, have the scores of one plain pass per answer."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_parts import build_model
from test_scoring_exact import ANSWERS, FAMILIES, naive, prompt

from erc.llm.base.adapters import LoraSettings, attach_lora
from erc.llm.scoring.exact import DrawSpec
from erc.llm.scoring.prefix_tree import PrefixReader, common_prefix, passes
from erc.models.dropout import Draw, drawn


def growing(dialogue, tails):
    """Prompts of a dialogue that grows: (tokens so far, what follows them)."""
    return [[*dialogue[:end], *tail] for end, tail in tails]


TAILS = ((20, [300, 301]), (26, [302]), (25, [303, 304]), (40, []), (40, []), (3, [9, 9]))


@pytest.mark.parametrize("family", FAMILIES)
def test_tree_scores_equal_naive_passes_in_every_family(family):
    model = build_model(family, **FAMILIES[family])
    prompts = growing(prompt(40), TAILS)
    expected = torch.stack([naive(model, ids, ANSWERS) for ids in prompts])
    together = PrefixReader(model).score(prompts, [ANSWERS] * len(prompts))[0]
    torch.testing.assert_close(together, expected, atol=1e-4, rtol=0)
    reader = PrefixReader(model)
    one_by_one = torch.cat([reader.score([ids], [ANSWERS])[0] for ids in prompts])
    torch.testing.assert_close(one_by_one, expected, atol=1e-4, rtol=0)


@settings(deadline=None, max_examples=25)
@given(
    cuts=st.lists(
        st.tuples(st.integers(0, 30), st.lists(st.integers(5, 350), min_size=1, max_size=5)),
        min_size=1,
        max_size=7,
    ),
    limit=st.integers(1, 90),
)
def test_tree_scores_do_not_depend_on_order_or_passes(tiny_lm, cuts, limit):
    prompts = growing(prompt(30), cuts)
    answers = [[[5 + i, 6, 2], [7, 2], [8]] for i in range(len(prompts))]
    reader, found = PrefixReader(tiny_lm), torch.full((len(prompts), 3), float("nan"), dtype=torch.double)
    for chosen in passes(prompts, answers, max_tokens=limit):
        found[chosen] = reader.score([prompts[i] for i in chosen], [answers[i] for i in chosen])[0]
    torch.testing.assert_close(
        found,
        torch.stack([naive(tiny_lm, p, a) for p, a in zip(prompts, answers, strict=True)]),
        atol=1e-4,
        rtol=0,
    )


def test_tree_of_drawn_networks_equals_their_plain_passes():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = attach_lora(build_model(), LoraSettings(r=4, alpha=8, dropout=0.3)).eval()
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.data.normal_(std=0.5)
    prompts = growing(prompt(40), TAILS)
    found = PrefixReader(model, draw=DrawSpec(5, (0, 2))).score(prompts, [ANSWERS] * len(prompts))
    for row, sample in enumerate((0, 2)):
        with drawn(Draw(seed=5, samples=(sample,))):
            expected = torch.stack([naive(model, ids, ANSWERS) for ids in prompts])
        torch.testing.assert_close(found[row], expected, atol=1e-4, rtol=0)
    assert (found[0] - found[1]).abs().max() > 0.05


def test_reader_reads_only_what_is_new(tiny_lm):
    reader, dialogue = PrefixReader(tiny_lm), prompt(100)
    reader.score([[*dialogue[:90], 300, 301]], [ANSWERS])
    assert reader.tokens_read == 92
    reader.score([[*dialogue[:96], 302], [*dialogue[:97], 303]], [ANSWERS] * 2)
    assert reader.tokens_read == 92 + 7 + 2


def test_reader_that_failed_starts_afresh(tiny_lm, monkeypatch):
    reader, ids = PrefixReader(tiny_lm), prompt(30)
    reader.score([ids], [ANSWERS])
    with monkeypatch.context() as broken:
        broken.setattr(reader, "_pass", lambda row, cache: cache.crop(-3) or 1 / 0)
        with pytest.raises(ZeroDivisionError):
            reader.score([[*ids, 9]], [ANSWERS])
    torch.testing.assert_close(
        reader.score([[*ids, 9]], [ANSWERS])[0, 0], naive(tiny_lm, [*ids, 9], ANSWERS), atol=1e-4, rtol=0
    )


def test_reader_refuses_a_prompt_or_answer_without_tokens(tiny_lm):
    with pytest.raises(ValueError, match="prompt without tokens"):
        PrefixReader(tiny_lm).score([[]], [ANSWERS])
    with pytest.raises(ValueError, match="none of them empty"):
        PrefixReader(tiny_lm).score([[5]], [[[5], []]])


def test_passes_put_like_prompts_together_within_the_limit():
    prompts, answers = [[1, 2, 3, 9], [4, 5, 6, 7], [1, 2, 3, 8, 8]], [[[5, 2]]] * 3
    assert list(passes(prompts, answers, max_tokens=8)) == [
        [2, 0],
        [1],
    ]  # 5 + 1 for the longer, 1 + 1 for what the other adds
    assert list(passes(prompts, answers, max_tokens=7)) == [[2], [0, 1]]
    assert list(passes([], [], max_tokens=5)) == []


@pytest.mark.parametrize(
    ("a", "b", "shared"), [([], [1], 0), ([1, 2, 3], [1, 2, 4, 3], 2), ([1, 2], [1, 2, 3], 2), ([4], [5], 0)]
)
def test_common_prefix_counts_equal_beginnings(a, b, shared):
    assert common_prefix(a, b) == shared
