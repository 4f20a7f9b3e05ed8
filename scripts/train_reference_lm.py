"""Train the reference language model from scratch: dialogues, prompts about them, and chats about the emotions of comments.

    python scripts/train_reference_lm.py --out runs/reference-lm [--corpora meld emorynlp] [--chats 20000] [--comments 2000]

First it reads, every token of it: dialogues; prompts about them without anybody's label; chats that answer the shipped emotion prompt
about GoEmotions comments, with the emotions of the training split mapped to the label sets of MELD (Ekman's) and EmoryNLP. Then it
learns to answer such prompts one by one, as a language model is trained here. So it answers emotion prompts at all, as a large
instruction-tuned one would; no emotion of a dialogue corpus is ever shown to it. Dialogues that hold a text of another corpus's dev or
test split are left out (test splits are known by their hashes).

Writes a plain Hugging Face folder (bf16 safetensors, tokenizer, chat template) with the perplexity on dev beside that of a unigram model,
the weighted F1 on GoEmotions dev, and the corpora's checksums. Dev perplexity is over plain dialogues alone, at the end of the first part.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np

from erc.data.conversation import Conversation
from erc.data.corpora import Corpus, load_corpus
from erc.data.leaks import LeakFilter, known_held_out
from erc.emotions import load_emotion_set
from erc.llm.builder import Budget, PromptBuilder
from erc.llm.encoding import PromptEncoder
from erc.llm.prompts import PromptTemplate, prompt_names
from erc.llm.reference import (
    NAME,
    build_model,
    build_tokenizer,
    comment_chats,
    comment_prompts,
    dialogue_texts,
    labelled_comments,
    prompt_texts,
    unigram_perplexity,
)
from erc.llm.tasks import TaskPrompts
from erc.training.llm_batches import LlmExample, encode_example
from erc.training.llm_task import LlmTask
from erc.training.settings import OptimSettings
from erc.training.trainer import train

CHUNK = 448
"""Tokens of one training example; a dialogue is cut into as many as it needs. Longer ones would spend the time on attention."""
EXCHANGES = 3
"""Answered prompts of one chat, which fit an example: under one instruction they cost little more than half of what they cost alone."""
SETS = ("ekman", "emorynlp")
"""Label sets that the chats are about, in turn."""


def main() -> None:
    """Parses arguments, trains, writes the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--corpora", nargs="+", default=["meld", "emorynlp"])
    parser.add_argument("--readings", type=int, default=1, help="how often each dialogue is read (1)")
    parser.add_argument("--prompts", type=int, default=1, help="prompts made of each dialogue, beside the dialogue itself (1)")
    parser.add_argument("--chats", type=int, default=20_000, help="comments whose emotion the chats tell (20,000)")
    parser.add_argument("--comments", type=int, default=2_000, help="comments it then learns to answer about one by one (2,000)")
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    dev = [load_corpus(name, "dev") for name in given.corpora]
    corpora = [load_corpus(name, "train") for name in given.corpora]
    kept, report = LeakFilter.of([*dev, *known_held_out()]).apply([talk for corpus in corpora for talk in corpus.conversations])
    print(report, flush=True)
    started = time.process_time()
    model, tokenizer, made = read(given, kept, corpora, dev)
    made["kept_out"] = str(report)
    if given.comments:
        made |= answer_comments(given, model, tokenizer)
    folder = given.out / NAME
    model.bfloat16().save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)
    made["cpu_seconds"] = round(time.process_time() - started)
    (folder / "training.json").write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")
    print(f"{folder}: dev perplexity {made['dev_perplexity']:.1f} per token, of a unigram model {made['dev_perplexity_unigram']:.1f}")


def read(
    given: argparse.Namespace, kept: tuple[Conversation, ...], corpora: list[Corpus], dev: list[Corpus]
) -> tuple[Any, Any, dict[str, Any]]:
    """The first part: model, tokenizer, and the record of the run."""
    texts = dialogue_texts(kept)
    comments = load_corpus("goemotions", "train")
    words = [text for text, _ in labelled_comments(comments)]
    tokenizer = build_tokenizer([*texts, *words, *template_texts() * 50])  # often enough that a word of a prompt becomes one token
    model = build_model(len(tokenizer), seed=given.seed)
    plain = examples_of(texts, tokenizer)
    asked = examples_of(asked_texts(kept, corpora, tokenizer, given), tokenizer)
    chats = examples_of(chat_texts(comments, tokenizer, given), tokenizer)
    judged = examples_of(dialogue_texts([talk for corpus in dev for talk in corpus.conversations]), tokenizer)
    unigram = unigram_perplexity(tokens_of(plain), tokens_of(judged), vocab=len(tokenizer))
    counts = [sum(map(len, tokens_of(part))) for part in (plain, asked, chats)]
    print("{:,} tokens of dialogue, {:,} of prompts, {:,} of chats".format(*counts), flush=True)
    examples = [*plain * given.readings, *asked, *chats]
    task = LlmTask(train=examples, dev=judged, labels=(), pad_id=tokenizer.pad_token_id, row_tokens=CHUNK)
    optim = OptimSettings(learning_rate=given.learning_rate, epochs=1.0, batch_size=16, weight_decay=0.1, ema_decay=None, seed=given.seed)
    figures = train(model=model, task=task, optim=optim, run_dir=given.out / "run", resume=False, progress=False)
    return model, tokenizer, record(given, model, [*corpora, *dev], figures["loss"], unigram)


def chat_texts(comments: Corpus, tokenizer: Any, given: argparse.Namespace) -> list[str]:
    """Chats about comments, one label set after the other."""
    encoder, texts = PromptEncoder(tokenizer), []
    for place, name in enumerate(SETS):
        labels = load_emotion_set(name).labels
        prompts = TaskPrompts(PromptBuilder(encoder=encoder, labels=labels, budget=Budget(max_tokens=4 * CHUNK)))
        labelled = labelled_comments(comments, name)
        made = comment_prompts(labelled, prompts, count=given.chats // len(SETS), seed=given.seed + place, before=1)
        texts += comment_chats(made, encoder, exchanges=EXCHANGES)
    return texts


def answer_comments(given: argparse.Namespace, model: Any, tokenizer: Any) -> dict[str, Any]:
    """The second part; returns what it adds to the record."""
    labels, encoder = load_emotion_set("ekman").labels, PromptEncoder(tokenizer)
    prompts = TaskPrompts(PromptBuilder(encoder=encoder, labels=labels, budget=Budget(max_tokens=4 * CHUNK)))
    splits = [load_corpus("goemotions", split) for split in ("train", "dev")]
    examples = []
    for corpus, count in zip(splits, (given.comments, 500), strict=True):
        asked = comment_prompts(labelled_comments(corpus), prompts, count=count, seed=given.seed)
        examples.append([encode_example(made, encoder) for made in asked])
    task = LlmTask(train=examples[0], dev=examples[1], labels=labels, pad_id=tokenizer.pad_token_id, loss="labels")
    optim = OptimSettings(learning_rate=1e-3, epochs=1.0, batch_size=32, weight_decay=0.1, ema_decay=None, seed=given.seed, evaluations_per_epoch=4)
    figures = train(model=model, task=task, optim=optim, run_dir=given.out / "answers", resume=False, progress=False)
    return {
        "comments": len(examples[0]),
        "comment_files": {file.name: file.sha256 for corpus in splits for file in corpus.files},
        "comments_dev_weighted_f1": figures["weighted_f1"],
    }


def template_texts() -> list[str]:
    """The instructions and questions of all shipped prompts, as they stand in the files."""
    templates = [PromptTemplate.load(name, version) for name, version in prompt_names()]
    return [template.system + "\n" + "\n".join(template.user.values()) for template in templates]


def asked_texts(kept: tuple[Conversation, ...], corpora: list[Corpus], tokenizer: Any, given: argparse.Namespace) -> list[str]:
    """Prompts about the dialogues, each corpus's with its own labels to choose from."""
    encoder, rng, texts = PromptEncoder(tokenizer), np.random.default_rng(given.seed), []
    for corpus in corpora:
        labels = load_emotion_set(corpus.emotion_set).labels
        prompts = TaskPrompts(PromptBuilder(encoder=encoder, labels=labels, budget=Budget(max_tokens=CHUNK - 8, max_turns=12, block=4)))
        talks = [talk for talk in kept if talk.corpus == corpus.name]
        texts += prompt_texts(talks, prompts, per_dialogue=given.prompts, rng=rng)
    return texts


def examples_of(texts: list[str], tokenizer: Any) -> list[LlmExample]:
    """Texts as examples whose whole content is learnt: the beginning token is the prompt, a chunk of the text the answer."""
    made = []
    for text in texts:
        ids = [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        made += [LlmExample((tokenizer.bos_token_id,), (tuple(ids[start : start + CHUNK]),), 0) for start in range(0, len(ids), CHUNK)]
    return made


def tokens_of(examples: list[LlmExample]) -> list[tuple[int, ...]]:
    """What is learnt of each example."""
    return [example.answers[0] for example in examples]


def record(given: argparse.Namespace, model: Any, corpora: list[Corpus], loss: float, unigram: float) -> dict[str, Any]:
    """What the folder says of its making."""
    return {
        "name": NAME,
        "purpose": "tests and demonstrations of the language-model path; too small for good labels",
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "corpora": given.corpora,
        "files": {file.name: file.sha256 for corpus in corpora for file in corpus.files},
        "readings": given.readings,
        "chats": given.chats,
        "prompts_per_dialogue": given.prompts,
        "seed": given.seed,
        "dev_loss": loss,
        "dev_perplexity": math.exp(loss),
        "dev_perplexity_unigram": unigram,
    }


if __name__ == "__main__":
    main()
