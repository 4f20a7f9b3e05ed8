"""Trains the reference language model from scratch (see `reference_lm.py`).

    python scripts/train_reference_lm.py --out runs/reference-lm [--corpora meld emorynlp]
        [--questions 34000] [--comments 5000]

Part 1 reads dialogues and prompts about them, without emotion labels. Part 2 answers emotion prompts about
GoEmotions training comments, with labels mapped to the label sets of MELD (Ekman) and EmoryNLP: first the
last question of the prompt alone, which is a third as long, then whole prompts. After that the model answers
emotion prompts as an instruction-tuned model would. It sees no emotion label of a dialogue corpus. Dialogues
that contain a text of another corpus's dev or test split are left out (test splits are known by hashes).

Writes a Hugging Face folder (bf16 safetensors, tokenizer, chat template) with `training.json`: dev perplexity
and that of a unigram model (plain dialogues, after part 1), weighted F1 on GoEmotions dev, checksums of the
corpora, and a digest of the prompts.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
from reference_lm import (
    NAME,
    build_model,
    build_tokenizer,
    comment_prompts,
    dialogue_texts,
    labelled_comments,
    prompt_texts,
    question_alone,
    unigram_perplexity,
)
from study_cells import prompts_digest

from erc.data.conversation import Conversation
from erc.data.corpora import Corpus, load_corpus
from erc.data.leaks import LeakFilter, known_held_out
from erc.emotions import load_emotion_set
from erc.llm.prompts.budget import Budget
from erc.llm.prompts.builder import PromptBuilder
from erc.llm.prompts.encoding import PromptEncoder
from erc.llm.prompts.tasks import TaskPrompts
from erc.llm.prompts.template import PromptTemplate, prompt_names
from erc.training.llm.batches import LlmExample, encode_example
from erc.training.llm.task import LlmTask
from erc.training.loop.settings import OptimSettings
from erc.training.loop.trainer import train
from erc.training.provenance import corpora_provenance

CHUNK = 448
"""Tokens per training example; dialogues are split. Attention makes longer examples slow."""
ROW = 512
"""Tokens per packed row of prompts."""
SETS = ("ekman", "emorynlp")
"""Label sets of the prompts about comments."""


def main() -> None:
    """Parse the options, train and write the folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--corpora", nargs="+", default=["meld", "emorynlp"])
    parser.add_argument(
        "--readings",
        type=float,
        default=0.5,
        help="epochs over dialogues and prompts in part 1 (default: 0.5)",
    )
    parser.add_argument("--prompts", type=int, default=1, help="prompts per dialogue in part 1 (default: 1)")
    parser.add_argument(
        "--questions",
        type=int,
        default=34_000,
        help="comments asked about with the last question alone (default: 34,000)",
    )
    parser.add_argument(
        "--comments",
        type=int,
        default=5_000,
        help="comments asked about with whole prompts; 0 skips part 2 (default: 5,000)",
    )
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    dev = [load_corpus(name, "dev") for name in given.corpora]
    corpora = [load_corpus(name, "train") for name in given.corpora]
    kept, report = LeakFilter.of([*dev, *known_held_out()]).apply(
        [conversation for corpus in corpora for conversation in corpus.conversations]
    )
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
    print(
        f"{folder}: dev perplexity {made['dev_perplexity']:.1f} per token, "
        f"unigram model {made['dev_perplexity_unigram']:.1f}"
    )


def read(
    given: argparse.Namespace, kept: tuple[Conversation, ...], corpora: list[Corpus], dev: list[Corpus]
) -> tuple[Any, Any, dict[str, Any]]:
    """Part 1: dialogues and prompts about them. Returns model, tokenizer and the record of the run."""
    texts = dialogue_texts(kept)
    words = [text for text, _ in labelled_comments(load_corpus("goemotions", "train"))]
    tokenizer = build_tokenizer(
        [*texts, *words, *template_texts() * 50]  # repeated, so that words of a prompt become one token
    )
    model = build_model(len(tokenizer), seed=given.seed)
    plain = examples_of(texts, tokenizer)
    asked = examples_of(asked_texts(kept, corpora, tokenizer, given), tokenizer)
    judged = examples_of(dialogue_texts([one for corpus in dev for one in corpus.conversations]), tokenizer)
    unigram = unigram_perplexity(tokens_of(plain), tokens_of(judged), vocab=len(tokenizer))
    print(
        f"{sum(map(len, tokens_of(plain))):,} tokens of dialogues, "
        f"{sum(map(len, tokens_of(asked))):,} of prompts",
        flush=True,
    )
    task = LlmTask(
        train=[*plain, *asked], dev=judged, labels=(), pad_id=tokenizer.pad_token_id, row_tokens=CHUNK
    )
    optim = OptimSettings(
        learning_rate=given.learning_rate,
        epochs=given.readings,
        batch_size=16,
        weight_decay=0.1,
        ema_decay=None,
        seed=given.seed,
    )
    figures = train(
        model=model, task=task, optim=optim, run_dir=given.out / "run", resume=False, progress=False
    )
    return model, tokenizer, record(given, model, [*corpora, *dev], figures["loss"], unigram)


def answer_comments(given: argparse.Namespace, model: Any, tokenizer: Any) -> dict[str, Any]:
    """Part 2. Returns its figures for the record."""
    splits = [load_corpus("goemotions", split) for split in ("train", "dev")]
    judged = asked_about(splits[1], SETS[0], tokenizer, count=500, seed=given.seed)
    figures: dict[str, float] = {}
    lessons = {"questions": (given.questions, 2e-3, 32), "answers": (given.comments, 1e-3, 16)}
    for place, (name, (count, rate, batch)) in enumerate(lessons.items()):
        bare = name == "questions"
        seeds = [given.seed + len(SETS) * place + i for i in range(len(SETS))]
        parts = [
            asked_about(splits[0], one, tokenizer, count=count // len(SETS), seed=s, bare=bare)
            for one, s in zip(SETS, seeds, strict=True)
        ]
        examples = [example for part in parts for example in part]
        task = LlmTask(
            train=examples,
            dev=judged,
            labels=load_emotion_set(SETS[0]).labels,
            pad_id=tokenizer.pad_token_id,
            loss="labels",
            row_tokens=ROW,
        )
        optim = OptimSettings(
            learning_rate=rate,
            epochs=1.0,
            batch_size=batch,
            weight_decay=0.1,
            ema_decay=None,
            seed=given.seed,
        )
        figures = train(
            model=model, task=task, optim=optim, run_dir=given.out / name, resume=False, progress=False
        )
    return {
        "questions": given.questions,
        "comments": given.comments,
        "comment_sets": list(SETS),
        "comment_files": corpora_provenance(splits),
        "comments_dev_weighted_f1": figures["weighted_f1"],
    }


def asked_about(
    comments: Corpus, emotion_set: str, tokenizer: Any, *, count: int, seed: int, bare: bool = False
) -> list[LlmExample]:
    """Build emotion prompts about comments with one label set; `bare` keeps the last question alone."""
    encoder = PromptEncoder(tokenizer)
    prompts = TaskPrompts(
        PromptBuilder(
            encoder=encoder, labels=load_emotion_set(emotion_set).labels, budget=Budget(max_tokens=4 * CHUNK)
        )
    )
    made = comment_prompts(
        labelled_comments(comments, emotion_set), prompts, count=count, seed=seed, before=0 if bare else 2
    )
    return [encode_example(question_alone(one) if bare else one, encoder) for one in made]


def template_texts() -> list[str]:
    """Return the instructions and questions of all shipped prompts, unrendered."""
    templates = [PromptTemplate.load(name, version) for name, version in prompt_names()]
    return [template.system + "\n" + "\n".join(template.user.values()) for template in templates]


def asked_texts(
    kept: tuple[Conversation, ...], corpora: list[Corpus], tokenizer: Any, given: argparse.Namespace
) -> list[str]:
    """Return prompts about the dialogues, with the label set of each corpus."""
    encoder, rng, texts = PromptEncoder(tokenizer), np.random.default_rng(given.seed), []
    for corpus in corpora:
        labels = load_emotion_set(corpus.emotion_set).labels
        prompts = TaskPrompts(
            PromptBuilder(
                encoder=encoder, labels=labels, budget=Budget(max_tokens=CHUNK - 8, max_turns=12, block=4)
            )
        )
        conversations = [one for one in kept if one.corpus == corpus.name]
        texts += prompt_texts(conversations, prompts, per_dialogue=given.prompts, rng=rng)
    return texts


def examples_of(texts: list[str], tokenizer: Any) -> list[LlmExample]:
    """Split texts into examples whose prompt is the start token and whose answer is a chunk of text."""
    made = []
    for text in texts:
        ids = [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        made += [
            LlmExample((tokenizer.bos_token_id,), (tuple(ids[start : start + CHUNK]),), 0)
            for start in range(0, len(ids), CHUNK)
        ]
    return made


def tokens_of(examples: list[LlmExample]) -> list[tuple[int, ...]]:
    """Return the learnt tokens of each example."""
    return [example.answers[0] for example in examples]


def record(
    given: argparse.Namespace, model: Any, corpora: list[Corpus], loss: float, unigram: float
) -> dict[str, Any]:
    """Return the record for `training.json`."""
    return {
        "name": NAME,
        "purpose": "tests and demonstrations of the language-model path; too small for good labels",
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "corpora": given.corpora,
        "files": corpora_provenance(corpora),
        "readings": given.readings,
        "prompts": prompts_digest(),
        "prompts_per_dialogue": given.prompts,
        "seed": given.seed,
        "dev_loss": loss,
        "dev_perplexity": math.exp(loss),
        "dev_perplexity_unigram": unigram,
    }


if __name__ == "__main__":
    main()
