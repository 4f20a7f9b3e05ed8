"""The tiny encoders of conftest.py work offline, have dropout, and do not depend on padding."""

from __future__ import annotations

from pathlib import Path

import pytest

FIXTURES = ("tiny_encoder_dir", "tiny_roberta_dir", "tiny_modernbert_dir")


@pytest.fixture(params=FIXTURES)
def encoder_dir(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(request.param)


def test_tiny_encoder_output_does_not_depend_on_padding(encoder_dir: Path) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(encoder_dir)
    model = AutoModel.from_pretrained(encoder_dir).eval()
    short, long = "I am happy.", "Zebras quietly juggle 42 violins: why not?"
    alone = tokenizer([short], return_tensors="pt")
    both = tokenizer([short, long], padding=True, return_tensors="pt")
    with torch.no_grad():
        first = model(**alone).last_hidden_state[0]
        second = model(**both).last_hidden_state[0, : first.shape[0]]
    assert first.shape[1] == 32
    assert both["attention_mask"][0].sum() < both["attention_mask"][1].sum()
    torch.testing.assert_close(first, second, atol=1e-5, rtol=1e-4)


def test_tiny_encoder_vocabulary_covers_ascii(encoder_dir: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(encoder_dir)
    assert tokenizer.unk_token_id not in tokenizer("Qwxz 9876 ~{}|@# why?!")["input_ids"]


def test_tiny_encoder_has_dropout_in_training_mode(encoder_dir: Path) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    batch = AutoTokenizer.from_pretrained(encoder_dir)(["I was really worried."], return_tensors="pt")
    model = AutoModel.from_pretrained(encoder_dir).train()
    assert not torch.equal(model(**batch).last_hidden_state, model(**batch).last_hidden_state)
