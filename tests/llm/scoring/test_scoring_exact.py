"""Scores of closed answer sets equal those of one plain pass per answer, for every family and strategy."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_parts import build_model

from erc.llm.scoring.exact import read_prefixes, score_answers

FAMILIES = {
    "llama": {},
    "qwen2": {},
    "qwen3": {},
    "phi3": {"sliding_window": 12, "rope_theta": 10000.0},
    "gemma2": {"sliding_window": 12, "query_pre_attn_scalar": 8},
    "mistral": {"sliding_window": 12},
}
ANSWERS = [[5, 6, 2], [7, 2], [5, 9, 11, 12, 2], [8]]


def naive(model, prefix, answers):
    scores = []
    for ids in answers:
        with torch.inference_mode():
            logits = (
                model(input_ids=torch.tensor([[*prefix, *ids]]), use_cache=False)
                .logits[0]
                .double()
                .log_softmax(-1)
            )
        scores.append(sum(logits[len(prefix) + i - 1, token].item() for i, token in enumerate(ids)))
    return torch.tensor(scores, dtype=torch.double)


def prompt(length, seed=0):
    return torch.randint(5, 350, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


@pytest.mark.parametrize("strategy", ["tree", "repeat"])
@pytest.mark.parametrize("family", FAMILIES)
def test_scores_equal_naive_passes_in_every_family(family, strategy):
    model = build_model(family, **FAMILIES[family])
    prefixes = [prompt(30, 1), prompt(7, 2), prompt(19, 3)]
    state = read_prefixes(model, prefixes, pad_id=0)
    found = score_answers(model, state, [ANSWERS] * 3, strategy=strategy)
    expected = torch.stack([naive(model, prefix, ANSWERS) for prefix in prefixes])
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    assert expected.std() > 0.5


@settings(deadline=None, max_examples=25)
@given(
    lengths=st.lists(st.integers(1, 25), min_size=1, max_size=4),
    answers=st.lists(st.lists(st.integers(5, 350), min_size=1, max_size=4), min_size=1, max_size=6),
    limit=st.integers(1, 12),
)
def test_scores_do_not_depend_on_batch_or_chunks(tiny_lm, lengths, answers, limit):
    prefixes = [prompt(length, seed) for seed, length in enumerate(lengths)]
    together = score_answers(
        tiny_lm, read_prefixes(tiny_lm, prefixes, pad_id=0), [answers] * len(prefixes), max_row_tokens=limit
    )
    alone = torch.cat(
        [score_answers(tiny_lm, read_prefixes(tiny_lm, [p], pad_id=0), [answers]) for p in prefixes]
    )
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=0)


def test_scores_take_other_answers_for_each_prompt(tiny_lm):
    prefixes, answers = [prompt(9, 1), prompt(14, 2)], [[[5, 6], [7]], [[9], [10, 11, 12]]]
    found = score_answers(tiny_lm, read_prefixes(tiny_lm, prefixes, pad_id=0), answers)
    expected = torch.stack([naive(tiny_lm, p, a) for p, a in zip(prefixes, answers, strict=True)])
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_scores_do_not_change_the_state(tiny_lm):
    state = read_prefixes(tiny_lm, [prompt(12)], pad_id=0)
    first = score_answers(tiny_lm, state, [ANSWERS])
    assert state.cache.get_seq_length() == 12
    assert torch.equal(first, score_answers(tiny_lm, state, [ANSWERS]))


def test_scores_refuse_an_empty_answer(tiny_lm):
    state = read_prefixes(tiny_lm, [prompt(12)], pad_id=0)
    with pytest.raises(ValueError, match="none of them empty"):
        score_answers(tiny_lm, state, [[[5], []]])
