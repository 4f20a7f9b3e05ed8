"""Train the reference language model from scratch on the dialogues of the training corpora.

    python scripts/train_reference_lm.py --out runs/reference-lm [--corpora meld emorynlp] [--epochs 8]

Writes a plain Hugging Face folder (safetensors, tokenizer, chat template) with the perplexity on dev and the corpora's checksums beside.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

from erc.data.corpora import Corpus, load_corpus
from erc.data.leaks import LeakFilter
from erc.llm.reference import NAME, build_model, build_tokenizer, dialogue_texts
from erc.training.llm_batches import LlmExample
from erc.training.llm_task import LlmTask
from erc.training.settings import OptimSettings
from erc.training.trainer import train

CHUNK = 256
"""Tokens of one training example; a dialogue is cut into as many as it needs."""


def main() -> None:
    """Parses arguments, trains, writes the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--corpora", nargs="+", default=["meld", "emorynlp"])
    parser.add_argument("--epochs", type=float, default=8.0)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    dev = [load_corpus(name, "dev") for name in given.corpora]
    kept, report = LeakFilter.of(dev).apply([talk for name in given.corpora for talk in load_corpus(name, "train").conversations])
    print(report)
    texts = dialogue_texts(kept)
    tokenizer = build_tokenizer(texts)
    model = build_model(len(tokenizer), seed=given.seed)
    judged = [example for corpus in dev for example in examples_of(dialogue_texts(corpus.conversations), tokenizer)]
    task = LlmTask(train=examples_of(texts, tokenizer), dev=judged, labels=(), pad_id=tokenizer.pad_token_id, row_tokens=1024)
    optim = OptimSettings(learning_rate=given.learning_rate, epochs=given.epochs, batch_size=32, weight_decay=0.1, ema_decay=None, seed=given.seed)
    figures = train(model=model, task=task, optim=optim, run_dir=given.out / "run")
    folder = given.out / NAME
    model.save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)
    (folder / "training.json").write_text(json.dumps(record(given, model, figures, dev), indent=2) + "\n", encoding="utf-8")
    print(f"{folder}: dev perplexity {math.exp(figures['loss']):.1f} per token")


def examples_of(texts: list[str], tokenizer: Any) -> list[LlmExample]:
    """Texts as examples whose whole content is learnt: the beginning token is the prompt, a chunk of the text the answer."""
    made = []
    for text in texts:
        ids = [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        made += [LlmExample((tokenizer.bos_token_id,), (tuple(ids[start : start + CHUNK]),), 0) for start in range(0, len(ids), CHUNK)]
    return made


def record(given: argparse.Namespace, model: Any, figures: dict[str, float], dev: list[Corpus]) -> dict[str, Any]:
    """What the folder says of its making."""
    return {
        "name": NAME,
        "purpose": "tests and demonstrations of the language-model path; too small for good labels",
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "corpora": given.corpora,
        "files": {file.name: file.sha256 for corpus in dev for file in corpus.files},
        "epochs": given.epochs,
        "seed": given.seed,
        "dev_loss": figures["loss"],
    }


if __name__ == "__main__":
    main()
