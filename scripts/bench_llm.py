"""Speed of the language-model path against the plain way: label scoring, live conversations, packed training.

    python scripts/bench_llm.py [--model FOLDER_OR_ID] [--threads 2] [--repeats 5]

Without --model a small Llama with random weights is built (speed does not depend on what a model knows). Prints one line per figure
and JSON with --json. Equality of both ways is checked before anything is timed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from erc.llm.live import LivePrefix
from erc.llm.scoring import read_prefixes, score_answers
from erc.training.llm_batches import LlmExample, collate_examples
from erc.training.llm_task import answer_loss, answer_scores

PROMPT_TOKENS, DIALOGUE_TOKENS, TURN_TOKENS, TAIL_TOKENS = 512, 1000, 20, 40


def main() -> None:
    """Parses arguments and prints figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    model = load(given.model)
    figures = {f"scoring_{labels}_labels": scoring(model, labels, given.repeats) for labels in (7, 28)}
    figures["live_turn"] = live(model, given.repeats)
    figures["training"] = training(model, given.repeats)
    if given.json:
        print(json.dumps(figures, indent=2))
        return
    for name, values in figures.items():
        print(f"{name}: " + ", ".join(f"{key} {value:.4g}" for key, value in values.items()))


def load(name: str | None) -> Any:
    """The model to time, in evaluation mode."""
    if name is not None:
        from erc.llm.loading import load_base

        return load_base(name, precision="fp32")[0]
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = {"vocab_size": 8192, "hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 6, "num_attention_heads": 8}
    return AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **sizes, num_key_value_heads=4, max_position_embeddings=4096)).eval()


def tokens(model: Any, count: int) -> list[int]:
    """Random token ids."""
    return torch.randint(10, model.config.vocab_size, (count,)).tolist()


def answers_of(model: Any, count: int) -> list[list[int]]:
    """Labels of one or two tokens and the end of a turn, as emotion words have."""
    return [[*tokens(model, 1 + index % 2), 2] for index in range(count)]


def timed(function: Callable[[], Any], repeats: int) -> float:
    """The median seconds of a call, after one to warm up."""
    function()
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


@torch.inference_mode()
def naive(model: Any, prompt: list[int], answers: list[list[int]]) -> torch.Tensor:
    """One forward pass over prompt and label for every label."""
    scores = []
    for ids in answers:
        output = model(input_ids=torch.tensor([[*prompt, *ids]]), use_cache=False, logits_to_keep=len(ids) + 1)
        logits = output.logits[0].float().log_softmax(-1)
        scores.append(sum(logits[i, token].item() for i, token in enumerate(ids)))
    return torch.tensor([scores], dtype=torch.double)


def scoring(model: Any, labels: int, repeats: int) -> dict[str, float]:
    """Seconds per prompt of the plain way and of both of ours."""
    prompt, answers = tokens(model, PROMPT_TOKENS), answers_of(model, labels)

    def ours(strategy: Any) -> torch.Tensor:
        return score_answers(model, read_prefixes(model, [prompt], pad_id=0), [answers], strategy=strategy)

    torch.testing.assert_close(ours("tree"), naive(model, prompt, answers), atol=1e-4, rtol=0)
    plain = timed(lambda: naive(model, prompt, answers), repeats)
    tree, repeat = timed(lambda: ours("tree"), repeats), timed(lambda: ours("repeat"), repeats)
    return {"naive_s": plain, "tree_s": tree, "repeat_s": repeat, "speedup_tree": plain / tree, "speedup_repeat": plain / repeat}


def live(model: Any, repeats: int) -> dict[str, float]:
    """Seconds per turn of a dialogue of about 1,000 tokens: read anew, and with the cache of the turn before."""
    answers = answers_of(model, 7)
    dialogue = tokens(model, DIALOGUE_TOKENS + TURN_TOKENS * (repeats + 2))
    prompts = [[*dialogue[: DIALOGUE_TOKENS + TURN_TOKENS * turn], *tokens(model, TAIL_TOKENS)] for turn in range(repeats + 2)]
    prefix, turns = LivePrefix(model), iter(prompts)
    prefix.score(next(turns), answers)
    torch.testing.assert_close(LivePrefix(model).score(prompts[1], answers), naive(model, prompts[1], answers), atol=1e-4, rtol=0)
    reused = timed(lambda: prefix.score(next(turns), answers), repeats)
    reread = timed(lambda: LivePrefix(model).score(prompts[-1], answers), repeats)
    return {"reread_s": reread, "reused_s": reused, "speedup": reread / reused}


def training(model: Any, repeats: int) -> dict[str, float]:
    """Real tokens per second of a forward and backward pass: examples in packed rows, and one padded row each."""
    lengths = [40 + 37 * index % 400 for index in range(16)]
    examples = [LlmExample(tuple(tokens(model, length)), tuple(map(tuple, answers_of(model, 7))), 0) for length in lengths]
    real = sum(example.length for example in examples)

    def step(row_tokens: int | None) -> None:
        batch = collate_examples(examples, pad_id=0, row_tokens=row_tokens)
        scores, counts = answer_scores(model, batch)
        answer_loss(scores, counts, batch, kind="labels", class_weights=None, label_smoothing=0.0).backward()
        model.zero_grad()

    packed, padded = real / timed(lambda: step(1024), repeats), real / timed(lambda: step(None), repeats)
    return {"packed_tokens_per_s": packed, "padded_tokens_per_s": padded, "speedup": packed / padded}


if __name__ == "__main__":
    main()
