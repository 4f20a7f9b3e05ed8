"""Embedders for retrieval: the shared classifier's vectors, or those of a sentence-transformers model."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from erc.errors import ArtefactError
from erc.llm.embedding import SHARED, SentenceEmbedder, SharedEmbedder, open_embedder

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
SHARED_ONE = SharedEmbedder(lambda texts: np.ones((len(texts), 3)), name="tiny", revision="1" * 64, width=3)


def test_sentence_embedder_gives_the_vectors_of_its_model(tiny_sentence_transformer):
    from sentence_transformers import SentenceTransformer

    texts = ["I am so happy", "No.", "why was she surprised"]
    embedder = SentenceEmbedder.load(str(tiny_sentence_transformer), device="cpu")
    found = embedder.embed(texts)
    expected = SentenceTransformer(str(tiny_sentence_transformer), device="cpu").encode(texts)
    assert (found.shape, found.dtype, embedder.width) == ((3, 32), np.float32, 32)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert embedder.embed([]).shape == (0, 32)


def test_revision_of_a_folder_depends_on_its_pooling_and_not_on_its_place(
    tiny_sentence_transformer, tmp_path
):
    import shutil

    moved = shutil.copytree(tiny_sentence_transformer, tmp_path / "moved")
    first = SentenceEmbedder.load(str(tiny_sentence_transformer), device="cpu")
    same = SentenceEmbedder.load(str(moved), device="cpu")
    assert first.revision == same.revision
    assert (first.name, same.name) == (str(tiny_sentence_transformer), str(moved))
    pooling = moved / "1_Pooling" / "config.json"
    pooling.write_text(json.dumps({**json.loads(pooling.read_text()), "pooling_mode": "cls"}))
    assert SentenceEmbedder.load(str(moved), device="cpu").revision != first.revision


def test_minilm_comes_from_its_package_without_a_network():
    embedder = SentenceEmbedder.load(MINILM, device="cpu")
    happy, glad, train = embedder.embed(["I am so happy", "I feel really glad", "The train leaves at nine"])
    assert (embedder.name, embedder.width) == (MINILM, 384)
    assert happy @ glad > 0.5 > happy @ train


def test_embedder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ArtefactError, match="there is no such folder"):
        SentenceEmbedder.load(str(tmp_path / "gone"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArtefactError, match=r"the embedder .*empty. cannot be loaded"):
        SentenceEmbedder.load(str(tmp_path / "empty"))


def test_embedder_without_safetensors_is_refused(tiny_sentence_transformer, tmp_path):
    import shutil

    import torch
    from safetensors.torch import load_file

    copy = shutil.copytree(tiny_sentence_transformer, tmp_path / "pickled")
    torch.save(load_file(copy / "model.safetensors"), copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    with pytest.raises(ArtefactError, match="cannot be loaded"):
        SentenceEmbedder.load(str(copy), device="cpu")


def test_word_shared_names_the_shared_classifier(tiny_sentence_transformer):
    assert open_embedder(SHARED, shared=SHARED_ONE) is SHARED_ONE
    assert open_embedder(str(tiny_sentence_transformer), shared=SHARED_ONE).width == 32
    assert SHARED_ONE.embed(["a", "b"]).dtype == np.float32


def test_sentence_transformers_is_imported_only_when_a_model_is_loaded():
    script = "import sys, erc.llm.embedding, erc.llm.recipes; print('sentence_transformers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
