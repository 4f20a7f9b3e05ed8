"""Compares the speed of the language-model path with a simple implementation of the same.

    python scripts/bench_llm.py [--model FOLDER_OR_ID] [--adapter FOLDER] [--repeats 7] [--conversations 12]
        [--parts scoring live training cascade]

Each part prints a table:

    scoring   a label set in one forward pass, against one pass per label
    live      a live turn with a key-value cache, against reading the conversation again
    training  packed rows, against one padded row per example
    cascade   a conversation model, a language model, and the cascade of both

`--model` and `--adapter` name the language model of the cascade. The default is the newest reference model
under runs/, or random weights if there is none. The other parts use a small Llama with random weights,
because speed does not depend on the weights. Each part first checks that both implementations give the same
result. Seconds are medians of interleaved rounds. Ratios are of processor time, which other load on the
machine affects less.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench_common import (
    Seconds,
    Stopwatch,
    conversations,
    interleaved,
    print_machine,
    print_table,
    set_environment,
    verdict,
)

if TYPE_CHECKING:
    import torch

    from erc.data import Conversation
    from erc.inference.predictor import Labelled, Predictor

PROMPT_TOKENS, DIALOGUE_TOKENS = 512, 1000
SIZES = {
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
}
FIRST = "emonet-meld-minilm"
RUNS = Path(__file__).resolve().parent.parent / "runs"
Times = dict[str, Seconds]


def main() -> None:
    """Parse the options and run the parts."""
    set_environment()
    parts: dict[str, Callable[[argparse.Namespace], None]] = {
        "scoring": scoring,
        "live": live,
        "training": training,
        "cascade": cascade,
    }
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="language model of the cascade: a folder or hub id")
    parser.add_argument("--adapter", type=Path, help="folder of its adapter")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument(
        "--conversations", type=int, default=12, help="dialogues of MELD dev in the cascade (default: 12)"
    )
    parser.add_argument("--parts", nargs="+", choices=parts, default=list(parts))
    given = parser.parse_args()
    print_machine()
    for name in given.parts:
        parts[name](given)


def timed(candidates: Mapping[str, Callable[[], object]], repeats: int) -> Times:
    """Time each candidate in interleaved rounds, after one call to warm up."""
    for candidate in candidates.values():
        candidate()
    return interleaved(candidates, repeats)


def ratio(times: Times, slow: str, fast: str) -> float:
    """Return the processor time of `slow` divided by that of `fast`."""
    return times[slow].processor / times[fast].processor


def random_model(vocab: int = 8192) -> Any:
    """Return a small Llama with random weights, in evaluation mode."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "llama", vocab_size=vocab, max_position_embeddings=4096, bos_token_id=1, eos_token_id=2, **SIZES
    )
    return AutoModelForCausalLM.from_config(config).eval()


def tokens(model: Any, count: int) -> list[int]:
    """Draw random token ids."""
    import torch

    return torch.randint(10, model.config.vocab_size, (count,)).tolist()


def answers_of(model: Any, count: int) -> list[list[int]]:
    """Draw answers of one or two tokens and an end of turn, as emotion words have."""
    return [[*tokens(model, 1 + index % 2), 2] for index in range(count)]


def naive(model: Any, prompt: list[int], answers: list[list[int]]) -> torch.Tensor:
    """Score each answer with its own forward pass over prompt and answer: (1, 1, answers)."""
    import torch

    scores = []
    for ids in answers:
        with torch.inference_mode():
            output = model(
                input_ids=torch.tensor([[*prompt, *ids]]), use_cache=False, logits_to_keep=len(ids) + 1
            )
        logits = output.logits[0].float().log_softmax(-1)
        scores.append(sum(logits[i, token].item() for i, token in enumerate(ids)))
    return torch.tensor([[scores]], dtype=torch.double)


def scoring(given: argparse.Namespace) -> None:
    """Compare one pass for a whole label set with one pass per label."""
    import torch

    from erc.llm.scoring.prefix_tree import PrefixReader

    model, rows, ratios = random_model(), [], []
    for labels in (7, 28):
        prompt, answers = tokens(model, PROMPT_TOKENS), answers_of(model, labels)

        def shared(prompt: list[int] = prompt, answers: list[list[int]] = answers) -> torch.Tensor:
            return PrefixReader(model).score([prompt], [answers])

        def plain(prompt: list[int] = prompt, answers: list[list[int]] = answers) -> torch.Tensor:
            return naive(model, prompt, answers)

        torch.testing.assert_close(shared(), plain(), atol=1e-4, rtol=0)
        times = timed({"a pass per label": plain, "one pass": shared}, given.repeats)
        rows.extend([f"{labels} labels, {name}", *_milliseconds(times[name])] for name in times)
        ratios.append((labels, ratio(times, "a pass per label", "one pass")))
    print_table(f"Scores of a label set after {PROMPT_TOKENS} tokens", ["", "ms", "processor, ms"], rows)
    for (labels, found), least in zip(ratios, (5, 15), strict=True):
        verdict(f"{labels} labels in one pass", found, least=least)


def live(given: argparse.Namespace) -> None:
    """Compare a live turn with a cache to the same turn after loading, which reads everything again.

    The conversation has about 1,000 tokens and runs through `LiveConversation`.
    """
    import numpy as np

    from erc.inference.live.conversation import LiveConversation

    predictor, lines = live_predictor()
    conversation, number = LiveConversation(predictor), 0
    count = predictor.scorer.model.builder.encoder.count
    spoken = 0
    while spoken < DIALOGUE_TOKENS:
        speaker, text = lines[number % len(lines)]
        conversation.append(speaker, text)
        spoken += count(f"{speaker}: {text}") + 1
        number += 1
    watches = {"read again": Stopwatch(), "with the cache": Stopwatch()}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(number, number + given.repeats + 1):
            conversation.save(Path(folder) / "live.safetensors")
            resumed = LiveConversation.load(Path(folder) / "live.safetensors", predictor)
            if turn == number + 1:  # the first turn warms up
                watches = {name: Stopwatch() for name in watches}
            answers = []
            for watch, one in zip(watches.values(), (resumed, conversation), strict=True):
                line = lines[turn % len(lines)]
                answers.append(watch.time(lambda one=one, line=line: one.append(*line)).probabilities)
            np.testing.assert_allclose(
                *([found[label] for label in sorted(found)] for found in answers), atol=1e-4
            )
    times = {name: watch.medians() for name, watch in watches.items()}
    rows = [[name, *_milliseconds(values)] for name, values in times.items()]
    title = (
        f"A live turn after {number} turns of {spoken} tokens, including the shared classifier "
        f"(state {conversation.state_bytes / 1e6:.1f} MB)"
    )
    print_table(title, ["", "ms", "processor, ms"], rows)
    verdict("a live turn with the cache", ratio(times, "read again", "with the cache"), least=3)


def live_predictor() -> tuple[Predictor, list[tuple[str, str]]]:
    """Return a predictor with a random language model, and (speaker, text) of each benchmark turn.

    The vocabulary is learnt from the benchmark texts.
    """
    from reference_lm import build_tokenizer, dialogue_texts

    from erc.emotions import load_emotion_set
    from erc.inference.predictor import Predictor
    from erc.inference.scorers.llm import LlmScorer
    from erc.inference.scorers.llm_model import LanguageModel
    from erc.inference.scorers.settings import InferenceSettings
    from erc.inference.scorers.utterance import UtteranceScorer
    from erc.llm.backends.local import LocalScorer
    from erc.llm.prompts.budget import Budget
    from erc.llm.prompts.builder import PromptBuilder
    from erc.persistence import find_model, load_artefact
    from erc.resources import SHARED_MODEL

    _, dialogues = conversations()
    tokenizer = build_tokenizer(dialogue_texts(dialogues))
    backend = LocalScorer(random_model(len(tokenizer)), tokenizer, model_id="random")
    settings = InferenceSettings(uncertainty="off", precision="fp32")
    labels = load_emotion_set("meld").labels
    model = LanguageModel(
        "llm:random",
        backend,
        PromptBuilder(encoder=backend.encoder, labels=labels, budget=Budget(max_tokens=2048)),
        "meld",
    )
    scorer = LlmScorer(
        model,
        utterance=UtteranceScorer(load_artefact(find_model(SHARED_MODEL)), settings=settings),
        settings=settings,
    )
    return Predictor(scorer, settings=settings), [
        (turn.speaker, turn.text) for dialogue in dialogues for turn in dialogue
    ]


def training(given: argparse.Namespace) -> None:
    """Compare tokens per second, forward and backward, of packed rows with one padded row per example.

    Padding does not count as tokens.
    """
    import torch

    from erc.training.llm.answers import answer_losses, answer_scores
    from erc.training.llm.batches import LlmExample, collate_examples

    model = random_model()
    examples = [
        LlmExample(tuple(tokens(model, 40 + 37 * i % 400)), tuple(map(tuple, answers_of(model, 7))), 0)
        for i in range(16)
    ]
    real = sum(example.length for example in examples)

    def step(row_tokens: int | None) -> float:
        batch = collate_examples(examples, pad_id=0, row_tokens=row_tokens)
        scores, counts = answer_scores(model, batch)
        terms = answer_losses(scores, counts, batch, kind="labels", class_weights=None, label_smoothing=0.0)
        loss = torch.stack([mean for mean, _ in terms]).sum()
        loss.backward()
        model.zero_grad()
        return loss.item()

    assert abs(step(512) - step(None)) < 1e-4
    torch.manual_seed(0)
    times = timed(
        {"a padded row each": lambda: step(None), "packed rows of 512": lambda: step(512)}, given.repeats
    )
    rows = [[name, f"{real / clock:,.0f}", f"{real / cpu:,.0f}"] for name, (clock, cpu) in times.items()]
    print_table(
        f"Training, {len(examples)} prompts of {real} tokens", ["", "tokens/s", "per processor second"], rows
    )
    verdict("tokens/s in packed rows", ratio(times, "a padded row each", "packed rows of 512"), least=1)


def cascade(given: argparse.Namespace) -> None:
    """Measure a conversation model, a language model, and the cascade of both.

    The cascade asks the language model only about turns that the first model would send to review.
    """
    from erc.errors import InputError
    from erc.inference.cascade import CascadePredictor
    from erc.inference.loading import load_predictor
    from erc.inference.scorers.settings import InferenceSettings

    try:
        dialogues = meld_dev(given.conversations)
    except InputError as error:
        print(f"\ncascade: skipped, MELD dev is not installed ({error})")
        return
    settings = InferenceSettings(uncertainty="off")
    first = load_predictor(FIRST, settings=settings)
    with tempfile.TemporaryDirectory() as folder:
        name, knows = second_name(given.model, dialogues, Path(folder))
        second = load_predictor(
            f"llm:{name}", settings=settings, emotions=first.scorer.emotions.name, adapter=given.adapter
        )
        both = CascadePredictor(first, second)
        models = {"first alone": first, "second alone": second, "cascade": both}
        labelled = {which: predictor.label(dialogues) for which, predictor in models.items()}
        sent = check_cascade(labelled)
        times = timed(
            {which: (lambda p=predictor: p.label(dialogues)) for which, predictor in models.items()},
            max(1, given.repeats // 3),
        )
    rows = [
        [which, f"{accuracy(labelled[which]):.3f}", *(f"{value:.2f}" for value in times[which])]
        for which in models
    ]
    turns = sum(map(len, dialogues))
    print(f"\nfirst: {first.scorer.identity}\nsecond: {knows}")
    title = f"Cascade, {len(dialogues)} dialogues ({turns} turns) of MELD dev, {sent / turns:.1%} sent on"
    print_table(title, ["", "accuracy", "s", "processor, s"], rows)


def second_name(model: str | None, dialogues: Sequence[Conversation], folder: Path) -> tuple[str, str]:
    """Return the folder or id of the language model, and a line that describes it."""
    from reference_lm import NAME, build_model, build_tokenizer, dialogue_texts

    if model is not None:
        return model, model
    trained = sorted(RUNS.glob(f"**/{NAME}/model.safetensors"), key=lambda path: path.stat().st_mtime)
    if trained:
        newest = trained[-1].parent
        return (
            str(newest),
            f"{newest.relative_to(RUNS.parent)}, without an adapter (not comparable to larger models)",
        )
    tokenizer = build_tokenizer(dialogue_texts(dialogues))
    build_model(len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder), f"{NAME} with random weights (none is trained): its accuracy is that of guessing"


def meld_dev(count: int) -> list[Conversation]:
    """Return the first dialogues of MELD dev."""
    from erc.data.corpora import load_corpus

    return list(load_corpus("meld", "dev").conversations[:count])


def check_cascade(labelled: Mapping[str, Sequence[Labelled]]) -> int:
    """Return how many turns were sent to the language model.

    Compares each answer with that of the model that gave it. Exits with a message if they differ by more than
    other batch sizes in bf16 can explain.
    """
    first, second, both = (
        [p for one in labelled[name] for p in one.predictions]
        for name in ("first alone", "second alone", "cascade")
    )
    sent = 0
    for a, b, answer in zip(first, second, both, strict=True):
        expected = b if a.decision == "review" else a
        sent += expected is b
        if (
            answer.model != expected.model
            or abs(answer.probabilities[expected.emotion] - expected.confidence) > 0.02
        ):
            sys.exit(f"the cascade and {expected.model} alone differ on {answer.utterance.utterance_id}")
    return sent


def accuracy(labelled: Sequence[Labelled]) -> float:
    """Return the share of turns with one gold emotion that were labelled with it."""
    found = [
        p.emotion == p.utterance.emotions[0]
        for one in labelled
        for p in one.predictions
        if len(p.utterance.emotions) == 1
    ]
    return sum(found) / len(found)


def _milliseconds(seconds: Seconds) -> list[str]:
    return [f"{1000 * value:.1f}" for value in seconds]


if __name__ == "__main__":
    main()
