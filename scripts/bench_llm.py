"""Speed of the language-model path against the plain way: label scoring, a live turn, packed training, a cascade.

    python scripts/bench_llm.py [--model FOLDER_OR_ID] [--adapter FOLDER] [--repeats 7] [--conversations 12]
    [--parts scoring live ...]

`--model` and `--adapter` are the second of the cascade; without them it is the newest reference model under
runs/, and where there is none, one with random weights. The other parts run a small Llama with random
weights: speed does not depend on what a model knows. Both ways are held to be equal before they are timed.
Seconds are medians of interleaved rounds; ratios are of processor time, which what else runs on the machine
changes less.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench_common import print_machine, print_table, verdict

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
Times = dict[str, tuple[float, float]]


def main() -> None:
    """Parses arguments and prints figures."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    parts: dict[str, Callable[[argparse.Namespace], None]] = {
        "scoring": scoring,
        "live": live,
        "training": training,
        "cascade": cascade,
    }
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="second model of the cascade, a folder or hub id")
    parser.add_argument("--adapter", type=Path, help="adapter folder over it")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument(
        "--conversations", type=int, default=12, help="dialogues of MELD dev in the cascade (12)"
    )
    parser.add_argument("--parts", nargs="+", choices=parts, default=list(parts))
    given = parser.parse_args()
    print_machine()
    for name in given.parts:
        parts[name](given)


def timed(candidates: Mapping[str, Callable[[], object]], repeats: int) -> Times:
    """Median seconds (clock, processor) of each candidate, round after round, after one to warm up."""
    seen: dict[str, list[tuple[float, float]]] = {name: [] for name in candidates}
    for number in range(repeats + 1):
        for name, candidate in candidates.items():
            clock, cpu = time.perf_counter(), time.process_time()
            candidate()
            if number:
                seen[name].append((time.perf_counter() - clock, time.process_time() - cpu))
    return {
        name: (statistics.median(a for a, _ in values), statistics.median(b for _, b in values))
        for name, values in seen.items()
    }


def ratio(times: Times, slow: str, fast: str) -> float:
    """How many times the processor time of `fast` is in that of `slow`."""
    return times[slow][1] / times[fast][1]


def random_model(vocab: int = 8192) -> Any:
    """A small Llama with random weights, in evaluation mode."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "llama", vocab_size=vocab, max_position_embeddings=4096, bos_token_id=1, eos_token_id=2, **SIZES
    )
    return AutoModelForCausalLM.from_config(config).eval()


def tokens(model: Any, count: int) -> list[int]:
    """Random token ids."""
    import torch

    return torch.randint(10, model.config.vocab_size, (count,)).tolist()


def answers_of(model: Any, count: int) -> list[list[int]]:
    """Labels of one or two tokens and the end of a turn, as emotion words have."""
    return [[*tokens(model, 1 + index % 2), 2] for index in range(count)]


def naive(model: Any, prompt: list[int], answers: list[list[int]]) -> torch.Tensor:
    """One forward pass over prompt and label for every label."""
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
    """A closed set of labels after one prompt: in one pass, and a pass for each label."""
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
    """A turn of a conversation of about 1,000 tokens, through `LiveConversation`: going on, and just resumed, which reads all anew."""
    import numpy as np

    from erc.inference.live.conversation import LiveConversation

    predictor, lines = live_predictor()
    conversation, number = LiveConversation(predictor), 0
    count = predictor.scorer.model.builder.encoder.count  # type: ignore[attr-defined]
    spoken = 0
    while spoken < DIALOGUE_TOKENS:
        speaker, text = lines[number % len(lines)]
        conversation.append(speaker, text)
        spoken += count(f"{speaker}: {text}") + 1
        number += 1
    seen: dict[str, list[tuple[float, float]]] = {"read anew": [], "gone on": []}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(number, number + given.repeats + 1):
            conversation.save(Path(folder) / "live.safetensors")
            resumed = LiveConversation.load(Path(folder) / "live.safetensors", predictor)
            answers = []
            for name, one in (("read anew", resumed), ("gone on", conversation)):
                clock, cpu = time.perf_counter(), time.process_time()
                answers.append(one.append(*lines[turn % len(lines)]).probabilities)
                seen[name].append((time.perf_counter() - clock, time.process_time() - cpu))
            np.testing.assert_allclose(
                *([found[label] for label in sorted(found)] for found in answers), atol=1e-4
            )
    times = {
        name: (statistics.median(a for a, _ in values[1:]), statistics.median(b for _, b in values[1:]))
        for name, values in seen.items()
    }
    rows = [[name, *_milliseconds(values)] for name, values in times.items()]
    title = f"A live turn after {number} turns of {spoken} tokens (with the shared classifier's; state {conversation.state_bytes / 1e6:.1f} MB)"
    print_table(title, ["", "ms", "processor, ms"], rows)
    verdict("a live turn with the cache", ratio(times, "read anew", "gone on"), least=3)


def live_predictor() -> tuple[Predictor, list[tuple[str, str]]]:
    """A random language model over a vocabulary learnt from the corpus, and who says what."""
    from bench_common import conversations
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
        (turn.speaker, turn.text) for talk in dialogues for turn in talk
    ]


def training(given: argparse.Namespace) -> None:
    """Real tokens a second of a forward and backward pass: examples in packed rows, and each in a padded row."""
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
    """A conversation model, a language model, and the second behind the first for the turns that the first would have reviewed."""
    from erc.errors import InputError
    from erc.inference.cascade import CascadePredictor
    from erc.inference.loading import load_predictor
    from erc.inference.scorers.settings import InferenceSettings

    try:
        talks = meld_dev(given.conversations)
    except InputError as error:
        print(f"\ncascade: left out, MELD dev is not here ({error})")
        return
    settings = InferenceSettings(uncertainty="off")
    first = load_predictor(FIRST, settings=settings)
    with tempfile.TemporaryDirectory() as folder:
        name, knows = second_name(given.model, talks, Path(folder))
        second = load_predictor(
            f"llm:{name}", settings=settings, emotions=first.scorer.emotions.name, adapter=given.adapter
        )
        both = CascadePredictor(first, second)
        models = {"first alone": first, "second alone": second, "cascade": both}
        labelled = {which: predictor.label(talks) for which, predictor in models.items()}
        sent = check_cascade(labelled)
        times = timed(
            {which: (lambda p=predictor: p.label(talks)) for which, predictor in models.items()},
            max(1, given.repeats // 3),
        )
    rows = [
        [which, f"{accuracy(labelled[which]):.3f}", *(f"{value:.2f}" for value in times[which])]
        for which in models
    ]
    turns = sum(map(len, talks))
    print(f"\nfirst: {first.scorer.identity}\nsecond: {knows}")
    title = f"Cascade, {len(talks)} dialogues and {turns} turns of MELD dev, {sent / turns:.1%} sent on"
    print_table(title, ["", "accuracy", "s", "processor, s"], rows)


def second_name(model: str | None, talks: Sequence[Conversation], folder: Path) -> tuple[str, str]:
    """The folder of the second model, and a line that says which it is."""
    from reference_lm import NAME, build_model, build_tokenizer, dialogue_texts

    if model is not None:
        return model, model
    trained = sorted(RUNS.glob(f"**/{NAME}/model.safetensors"), key=lambda path: path.stat().st_mtime)
    if trained:
        newest = trained[-1].parent
        return (
            str(newest),
            f"{newest.relative_to(RUNS.parent)}, without an adapter: its accuracy says nothing of larger models",
        )
    tokenizer = build_tokenizer(dialogue_texts(talks))
    build_model(len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(
        folder
    ), f"{NAME} with random weights, for no trained one is at hand: its accuracy is that of guessing"


def meld_dev(count: int) -> list[Conversation]:
    """The first dialogues of MELD dev."""
    from erc.data.corpora import load_corpus

    return list(load_corpus("meld", "dev").conversations[:count])


def check_cascade(labelled: Mapping[str, Sequence[Labelled]]) -> int:
    """How many turns were sent on; holds every answer of the cascade to that of the model which gave it."""
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
        ):  # bf16, in other batches
            sys.exit(
                f"the cascade answers {answer.utterance.utterance_id} otherwise than {expected.model} alone"
            )
    return sent


def accuracy(labelled: Sequence[Labelled]) -> float:
    """The share of turns with one gold emotion that got it."""
    found = [
        p.emotion == p.utterance.emotions[0]
        for one in labelled
        for p in one.predictions
        if len(p.utterance.emotions) == 1
    ]
    return sum(found) / len(found)


def _milliseconds(seconds: tuple[float, float]) -> list[str]:
    return [f"{1000 * value:.1f}" for value in seconds]


if __name__ == "__main__":
    main()
