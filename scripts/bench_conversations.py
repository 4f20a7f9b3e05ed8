"""Measures the cost of conversation context.

    python scripts/bench_conversations.py [--model NAME] [--dialogues N] [--steps N] [--turns N] [--repeats N]

Prints five tables: labelling and training against CoMPM as published, a live turn early and late in a
conversation, the cost of a turn as conversations grow, and the cost of a speaker memory. Also writes the plot
docs/cost_per_turn.png.

The baseline is `configs/compm-emorynlp.yaml` over the same backbone. It labels one target at a time and
encodes the whole past again. It runs a second encoder over each earlier utterance of the speaker, and caches
nothing. It labels only a sample of the dialogues, because it is slow. Ratios are of wall-clock time.
Processor time is printed as well, because other load on the machine does not change it.
"""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench_common import (
    Seconds,
    Stopwatch,
    arguments,
    interleaved,
    predictor,
    print_machine,
    print_table,
    verdict,
)

if TYPE_CHECKING:
    from erc.data import Conversation
    from erc.inference.predictor import Predictor
    from erc.models.emonet.network import EmoNet
    from erc.models.turn_batch import PreparedTurn
    from erc.training.emonet.ingredients import Ingredients
    from erc.training.emonet.task import EmoNetTask

ROOT = Path(__file__).resolve().parent.parent
PLOT = ROOT / "docs" / "cost_per_turn.png"
LENGTHS = (10, 50, 200, 1_000, 5_000)
SPEAKERS = ("Ana", "Ben", "Cleo", "Dana")  # the same people in every conversation
EARLY, LATE, AROUND = 20, 400, 10


def main() -> None:
    """Print all five tables and write the plot."""
    options = arguments(
        __doc__, model="emonet-emorynlp-minilm", dialogues=8, steps=32, turns=5_000, repeats=3
    )
    ours = {mode: predictor(options.model, mode) for mode in ("off", "default")}
    print_machine()
    with tempfile.TemporaryDirectory() as folder:
        tasks = {name: experiment(name, Path(folder)) for name in ("emonet-emorynlp", "compm-emorynlp")}
    labelling(ours, *tasks["compm-emorynlp"], dialogues=options.dialogues, repeats=options.repeats)
    training(tasks, steps=options.steps)
    live(ours["default"], options.repeats)
    growth(ours["default"], turns=options.turns, repeats=max(1, options.repeats // 2))
    memory(ours["default"], options.repeats)


def experiment(name: str, cache: Path) -> tuple[EmoNet, EmoNetTask, Ingredients]:
    """Build network, task and corpus of a shipped configuration; untrained weights run at the same speed."""
    from erc.config import load_config
    from erc.training.emonet.assembly import build_network, make_task
    from erc.training.emonet.ingredients import gather

    config = load_config(ROOT / "configs" / f"{name}.yaml")
    parts = gather(config, cache_dir=cache)
    return build_network(config, parts), make_task(config, parts), parts


def labelling(
    ours: Mapping[str, Predictor],
    network: EmoNet,
    task: EmoNetTask,
    parts: Ingredients,
    *,
    dialogues: int,
    repeats: int,
) -> None:
    """Print turns per second on EmoryNLP dev."""
    import copy

    import torch

    conversations = parts.dev.conversations
    sample = evenly(task.dev, dialogues)
    turns, sampled = parts.dev.utterance_count, sum(map(len, sample))
    networks = {"fp32": network.eval(), "bf16": copy.deepcopy(network).to(torch.bfloat16).eval()}
    candidates: dict[str, Callable[[], object]] = {
        f"erc, uncertainty {mode}": lambda p=p: p.label(conversations) for mode, p in ours.items()
    }
    candidates |= {
        f"CoMPM as published, {kind}": lambda n=n: one_by_one(n, task, sample) for kind, n in networks.items()
    }
    for p in ours.values():
        p.label(conversations)  # warm-up: kernels are built once per shape
    for n in networks.values():
        one_by_one(n, task, [sample[0][:4]])
    seconds = interleaved(candidates, repeats)
    counts = {name: turns if name.startswith("erc") else sampled for name in seconds}
    drawn = f"CoMPM: {len(sample)} of them, evenly spaced by length"
    title = f"Labelling EmoryNLP dev ({turns:,} turns in {len(conversations)} dialogues; {drawn})"
    print_rates(title, seconds, counts)


def print_rates(title: str, seconds: Mapping[str, Seconds], counts: Mapping[str, int]) -> None:
    """Print turns per second of each candidate, and its ratios to the last two, CoMPM in fp32 and in bf16."""
    per_turn = {
        name: Seconds(taken.clock / counts[name], taken.processor / counts[name])
        for name, taken in seconds.items()
    }
    fp32, bf16 = list(per_turn.values())[-2:]
    rows = [
        [
            name,
            f"{counts[name]:,}",
            f"{1 / taken.clock:,.1f}",
            f"{fp32.clock / taken.clock:.1f}x",
            f"{bf16.clock / taken.clock:.1f}x",
            f"{fp32.processor / taken.processor:.1f}x",
            f"{bf16.processor / taken.processor:.1f}x",
        ]
        for name, taken in per_turn.items()
    ]
    headers = ["", "turns", "turns/s", "against fp32", "against bf16", "processor, fp32", "processor, bf16"]
    print_table(title, headers, rows)
    for name in list(per_turn)[:-2]:
        verdict(f"{name}, against CoMPM in fp32", fp32.clock / per_turn[name].clock, least=20)
        verdict(f"{name}, against CoMPM in bf16", bf16.clock / per_turn[name].clock, least=20)


def evenly(prepared: Sequence[Sequence[PreparedTurn]], count: int) -> list[Sequence[PreparedTurn]]:
    """Sample `count` dialogues, evenly spaced in order of length, so that their lengths match the corpus."""
    ordered = sorted(prepared, key=len)
    step = len(ordered) // count
    return ordered[step // 2 :: step][:count]


def one_by_one(network: EmoNet, task: EmoNetTask, dialogues: Sequence[Sequence[PreparedTurn]]) -> None:
    """Label one target at a time. Between targets, this mode keeps only the token ids of the past."""
    for dialogue in dialogues:
        state = network.live_state()
        for turn in dialogue:
            _, state = network.append(state, task.dev_builder.collate([[turn]]))


def training(tasks: Mapping[str, tuple[EmoNet, EmoNetTask, Ingredients]], *, steps: int) -> None:
    """Print seconds per turn over some optimiser steps, and the time of an epoch extrapolated from them."""
    network, task, parts = tasks["emonet-emorynlp"]
    baseline, other, _ = tasks["compm-emorynlp"]
    turns = parts.train.utterance_count
    names = [
        "erc, 8 dialogues a step, bf16",
        "CoMPM as published, one target a step, fp32",
        "CoMPM as published, one target a step, bf16",
    ]
    names.append("configs/compm-emorynlp.yaml, one dialogue a step, bf16")
    runs = [
        steps_of(network, dialogue_losses(network, task, at_once=8), bf16=True),
        steps_of(baseline, target_losses(baseline, other), bf16=False),
        steps_of(baseline, target_losses(baseline, other), bf16=True),
        steps_of(baseline, dialogue_losses(baseline, other, at_once=1), bf16=True),
    ]
    for run in runs:
        next(run)  # warm-up: the first step also creates the optimiser's state
    seen = [0] * len(runs)
    clocks = [Stopwatch() for _ in runs]
    for _ in range(steps):
        for place, run in enumerate(runs):
            clocks[place].time(lambda place=place, run=run: seen.__setitem__(place, seen[place] + next(run)))
    each = [
        (sum(clock.clock) / count, sum(clock.processor) / count)
        for clock, count in zip(clocks, seen, strict=True)
    ]
    rows = [
        [
            name,
            f"{count:,}",
            f"{1000 * clock:.1f}",
            f"{turns * clock:,.0f}",
            f"{clock / each[0][0]:.1f}x",
            f"{cpu / each[0][1]:.1f}x",
        ]
        for name, count, (clock, cpu) in zip(names, seen, each, strict=True)
    ]
    headers = ["", "turns", "ms/turn", "epoch, s", "of erc's", "processor"]
    print_table(
        f"Training, {steps} steps each; an epoch of EmoryNLP ({turns:,} turns) extrapolated from them",
        headers,
        rows,
    )
    for place in (1, 2):
        verdict(f"epoch of {names[place]}, against erc's", each[place][0] / each[0][0], least=10)


def dialogue_losses(
    network: EmoNet, task: EmoNetTask, *, at_once: int
) -> Iterator[tuple[Callable[[], Any], int]]:
    """Yield batches of dialogues of similar length, as the Trainer does: the loss function and its turns."""
    ordered = sorted(task.examples, key=len)
    starts = [number * at_once for number in range(len(ordered) // at_once)]
    for place in itertools.count():
        start = starts[place * 37 % len(starts)]  # visits all lengths early
        chosen = ordered[start : start + at_once]
        yield lambda chosen=chosen: task.loss(network, task.collate(chosen)), sum(map(len, chosen))


def target_losses(network: EmoNet, task: EmoNetTask) -> Iterator[tuple[Callable[[], Any], int]]:
    """Yield single targets with their past, in random order: the loss function, and 1."""
    import random

    import torch

    from erc.models.outputs import LiveState
    from erc.models.turn_batch import TurnBatch

    places = [(dialogue, number) for dialogue in task.examples for number in range(len(dialogue))]
    random.Random(0).shuffle(places)

    def loss(dialogue: Sequence[PreparedTurn], number: int) -> Any:
        past = [token for turn in dialogue[:number] for token in turn.input_ids[1:]]
        state = LiveState(turns=number, tensors={"past": torch.tensor(past, dtype=torch.long)})
        batch = TurnBatch(**task.collate([dialogue[number : number + 1]]))
        assert batch.labels is not None
        output, _ = network._append(state, batch, split=0, draw=None)
        return torch.nn.functional.cross_entropy(output.logits, batch.labels)

    for dialogue, number in itertools.cycle(places):
        yield lambda dialogue=dialogue, number=number: loss(dialogue, number), 1


def steps_of(
    network: EmoNet, losses: Iterator[tuple[Callable[[], Any], int]], *, bf16: bool
) -> Iterator[int]:
    """Run one optimiser step per iteration; yields its number of turns."""
    import torch

    optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=1e-6, fused=True)
    for loss, turns in losses:
        network.train()
        with torch.autocast("cpu", dtype=torch.bfloat16) if bf16 else nullcontext():
            value = loss()
        value.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        network.zero_grad()
        yield turns


def conversation_of(name: str, turns: int, texts: Sequence[str], first: int = 0) -> Conversation:
    """Make a conversation of four speakers from texts of the corpus, starting at text `first`."""
    from erc.data import Conversation, Utterance

    said = (texts[(first + i) % len(texts)] for i in range(turns))
    return Conversation(
        name,
        tuple(Utterance(f"{name}-{i}", i, SPEAKERS[i % len(SPEAKERS)], text) for i, text in enumerate(said)),
    )


def dev_texts() -> list[str]:
    """Return every text of EmoryNLP dev in order."""
    from erc.data.corpora import load_corpus

    return [
        utterance.text
        for conversation in load_corpus("emorynlp", "dev").conversations
        for utterance in conversation
    ]


def live(p: Predictor, repeats: int) -> None:
    """Print the latency of a live turn, early and late in a conversation, over the same texts."""
    from erc.inference.live.conversation import LiveConversation

    texts = dev_texts()[: 2 * AROUND]  # these repeat, so both windows hold the same texts
    seconds: dict[int, list[float]] = {EARLY: [], LATE: []}
    size: dict[int, int] = {}
    for _ in range(repeats):
        conversation = LiveConversation(p)
        for utterance in conversation_of("live", LATE + AROUND, texts):
            started = time.perf_counter()
            conversation.append_utterance(utterance)
            taken = time.perf_counter() - started
            for turn in seconds:
                if turn - AROUND <= utterance.index < turn + AROUND:
                    seconds[turn].append(taken)
                if utterance.index == turn:
                    size[turn] = conversation.state_bytes
    medians = {turn: statistics.median(values) for turn, values in seconds.items()}
    rows = [[f"turn {turn}", f"{1000 * medians[turn]:.2f}", f"{size[turn]:,}"] for turn in medians]
    title = f"A live turn (median of {len(seconds[EARLY])} around each; {len(SPEAKERS)} speakers)"
    print_table(title, ["", "ms", "state, bytes"], rows)
    verdict(f"a turn at {LATE}, against one at {EARLY}", medians[LATE] / medians[EARLY], most=1.3)


def growth(p: Predictor, *, turns: int, repeats: int) -> None:
    """Print the cost of a turn by conversation length, with the same number of turns for each length."""
    texts = dev_texts()
    lengths = [length for length in LENGTHS if length <= turns]
    conversations = {
        length: [
            conversation_of(f"conversation{number}", length, texts, number * length)
            for number in range(turns // length)
        ]
        for length in lengths
    }
    p.label(conversations[lengths[0]][:50])
    seconds = interleaved(
        {str(length): lambda c=conversations[length]: p.label(c) for length in lengths}, repeats
    )
    clock = [1000 * seconds[str(length)].clock / turns for length in lengths]
    cpu = [1000 * seconds[str(length)].processor / turns for length in lengths]
    rows = [
        [f"{n:,}", f"{turns // n:,}", f"{a:.2f}", f"{b:.2f}", f"{a / clock[0]:.2f}x"]
        for n, a, b in zip(lengths, clock, cpu, strict=True)
    ]
    headers = ["turns", "conversations", "ms/turn", "processor, ms/turn", "against 10"]
    print_table(f"Cost of a turn, {turns:,} turns labelled in one call", headers, rows)
    verdict(
        f"a turn in a conversation of {lengths[-1]:,}, against one of {lengths[0]}",
        clock[-1] / clock[0],
        most=1.3,
    )
    plot(lengths, clock, cpu, turns)


def plot(lengths: Sequence[int], clock: Sequence[float], cpu: Sequence[float], turns: int) -> None:
    """Write docs/cost_per_turn.png."""
    from erc.metrics.figures.canvas import BLUE, GREY, frame, new_figure, save

    figure, axes = new_figure(6.4, 3.6)
    axes.plot(lengths, clock, color=BLUE, marker="o", label="clock")
    axes.plot(lengths, cpu, color=GREY, marker="s", linestyle="--", label="processor time")
    axes.set_xscale("log")
    axes.set_xticks(lengths, [f"{length:,}" for length in lengths])
    axes.minorticks_off()
    axes.set_ylim(0, 1.3 * max(*clock, *cpu))
    axes.legend(frameon=False, fontsize=8.5, loc="lower right")
    frame(
        axes,
        title="Cost of a turn as conversations grow",
        x=f"turns of a conversation ({turns:,} turns labelled in one call)",
        y="ms per turn",
    )
    print(f"plot: {save(figure, PLOT).relative_to(ROOT)}")


def memory(p: Predictor, repeats: int) -> None:
    """Print the added cost of a speaker memory: 40 conversations of 20 turns, each time an empty memory."""
    from erc.memory.predictor import RememberingPredictor
    from speakers import Registry

    texts = dev_texts()
    conversations = [conversation_of(f"conversation{i}", 20, texts, i * 20) for i in range(40)]

    def remember() -> None:
        with tempfile.TemporaryDirectory() as folder, Registry.open(Path(folder) / "speakers.db") as registry:
            list(RememberingPredictor(p, registry).stream(conversations))

    remember()  # warm-up: statements are compiled once
    candidates: dict[str, Callable[[], object]] = {
        "without memory, as the command streams them": lambda: list(p.stream(conversations)),
        "without memory, one conversation at a time": lambda: [p.label([one]) for one in conversations],
        "with memory, one conversation at a time": remember,
    }
    seconds = interleaved(candidates, repeats)
    rows = [[name, f"{clock:.2f}", f"{cpu:.2f}"] for name, (clock, cpu) in seconds.items()]
    print_table("Labelling 40 conversations of 20 turns", ["", "s", "processor, s"], rows)
    (streamed, streamed_cpu), (single, single_cpu), (kept, kept_cpu) = seconds.values()
    verdict(
        "share of the memory, against one conversation at a time",
        100 * (kept - single) / kept,
        most=10,
        unit="%",
    )
    verdict("the same in processor time", 100 * (kept_cpu - single_cpu) / kept_cpu, most=10, unit="%")
    print(
        f"        against the stream: {100 * (kept - streamed) / kept:.1f}%, "
        f"in processor time {100 * (kept_cpu - streamed_cpu) / kept_cpu:.1f}%"
    )


if __name__ == "__main__":
    main()
