"""Training by several processes: equal steps, one writer, errors for all, and torchrun."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from several import together
from tiny_corpora import write_corpora
from torch import Tensor, nn
from torch.nn import functional as F
from toy_task import ToyTask, run

from erc.config import ExperimentConfig, load_config
from erc.errors import ConfigError, InputError, MissingExtraError
from erc.persistence.artefact import load_artefact
from erc.resources import resource_dir
from erc.training.experiment import run_experiment
from erc.training.loop import distributed as processes


class UnequalTask(ToyTask):
    """Its loss is a mean over tokens; batches have different numbers of tokens."""

    def loss(self, model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        losses = F.binary_cross_entropy_with_logits(
            model(batch["counts"]), batch["targets"], reduction="none"
        ).mean(dim=1)
        return (losses * batch["lengths"]).sum() / batch["lengths"].sum()

    def loss_terms(self, model: nn.Module, batch: dict[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
        return [(self.loss(model, batch), batch["lengths"].sum())]

    def loss_weights(self, batch: dict[str, Tensor]) -> list[Tensor]:
        return [batch["lengths"].sum()]


def train_toy(rank: int, folder: Path, kind: type[ToyTask], changes: dict[str, Any]) -> dict[str, Any]:
    return trained(folder, kind(), **changes)


def trained(folder: Path, task: ToyTask, **changes: Any) -> dict[str, Any]:
    """Trained weights, batches seen, evaluations, figures, and the next dropout draw."""
    net, task, figures = run(folder, task, **changes)
    weights = {name: value.tolist() for name, value in net.state_dict().items()}
    return {
        "weights": weights,
        "batches": task.batches,
        "evaluations": task.evaluations,
        "figures": figures,
        "noise": float(torch.rand(1)),
    }


def records(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def assert_close(first: dict[str, Any], second: dict[str, Any]) -> None:
    for name, value in first.items():
        torch.testing.assert_close(torch.tensor(value), torch.tensor(second[name]), atol=2e-5, rtol=1e-4)


# --- the steps


def train_both(rank: int, folder: Path, changes: dict[str, Any]) -> list[dict[str, Any]]:
    """Two runs in sequence, like the stages of a recipe."""
    return [train_toy(rank, folder / kind.__name__, kind, changes) for kind in (ToyTask, UnequalTask)]


def test_two_processes_with_half_batches_equal_one_process(tmp_path: Path) -> None:
    alone = train_both(0, tmp_path / "one", {"dropout": 0.0, "batch_size": 4})
    pairs = together(train_both, tmp_path / "two", {"dropout": 0.0, "batch_size": 2})
    for whole, first, second in zip(alone, *pairs, strict=True):
        assert first["weights"] == second["weights"]
        assert_close(first["weights"], whole["weights"])
        shared = [
            sorted(mine + theirs) for mine, theirs in zip(first["batches"], second["batches"], strict=True)
        ]
        assert shared == [sorted(batch) for batch in whole["batches"]]
        assert first["figures"]["step"] == whole["figures"]["step"]
        assert first["figures"]["score"] == pytest.approx(whole["figures"]["score"], abs=1e-5)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """The folder of a complete run of two processes, and the record of each process."""
    folder = tmp_path_factory.mktemp("pair")
    return folder, together(train_toy, folder, ToyTask, {})


def test_two_processes_share_batches_and_the_main_process_evaluates_and_writes(
    pair: tuple[Path, list[dict[str, Any]]],
) -> None:
    """24 examples, four per process: three steps per epoch, so two evaluations per epoch are one per step."""
    folder, (first, second) = pair
    for epoch in range(3):
        seen = [
            length
            for one in (first, second)
            for batch in one["batches"][3 * epoch : 3 * epoch + 3]
            for length in batch
        ]
        assert sorted(seen) == sorted(ToyTask().lengths)
    assert (first["evaluations"], second["evaluations"]) == (9, 0)
    assert first["figures"] == second["figures"]
    assert first["noise"] != second["noise"]
    assert [record["step"] for record in records(folder) if "eval_score" in record] == list(range(1, 10))
    assert json.loads((folder / "settings.json").read_text(encoding="utf-8"))["processes"] == 2
    assert not list(folder.rglob("*.part"))


def train_adapter(rank: int, folder: Path) -> tuple[bool, dict[str, list[float]]]:
    """Whether training changed a language model's adapter, and its weights."""
    from lm_examples import LABELS, build_model, example

    from erc.llm.base.adapters import LoraSettings, attach_lora
    from erc.training.llm.hooks import enable_checkpointing
    from erc.training.llm.task import LlmTask
    from erc.training.loop.settings import OptimSettings
    from erc.training.loop.trainer import train

    torch.manual_seed(rank)  # initial adapters are random; all processes must use those of the main process
    model = attach_lora(build_model(), LoraSettings(r=2))
    enable_checkpointing(model)
    before = {name: value.clone() for name, value in model.named_parameters() if value.requires_grad}
    examples = [example(seed, 6 + seed, target=seed % 3) for seed in range(8)]
    task = LlmTask(train=examples, dev=examples, labels=LABELS, pad_id=0)
    optim = OptimSettings(epochs=2, batch_size=2, learning_rate=1e-2, precision="fp32", ema_decay=None)
    train(model=model, task=task, optim=optim, run_dir=folder, progress=False)
    weights = {name: value for name, value in model.named_parameters() if value.requires_grad}
    return all(not torch.equal(value, before[name]) for name, value in weights.items()), {
        n: v.flatten().tolist() for n, v in weights.items()
    }


def test_two_processes_train_the_same_language_model_adapter(tmp_path: Path) -> None:
    first, second = together(train_adapter, tmp_path)
    assert first[0]
    assert first == second


def train_unequal(
    rank: int, folder: Path, batch_size: int, at_once: int | None = None
) -> dict[str, dict[str, list[float]]]:
    """An adapter's weights by kind of loss, after batches with unequal numbers of answers and tokens."""
    from lm_examples import LABELS, build_model, unequal

    from erc.llm.base.adapters import LoraSettings, attach_lora
    from erc.training.llm.task import LlmTask
    from erc.training.loop.settings import OptimSettings
    from erc.training.loop.trainer import train

    examples, found = unequal(12), {}
    optim = OptimSettings(
        epochs=1,
        batch_size=batch_size,
        micro_batch_size=at_once,
        learning_rate=1e-3,
        precision="fp32",
        ema_decay=None,
    )
    for kind in ("tokens", "labels", "both"):
        model = attach_lora(build_model(), LoraSettings(r=2, dropout=0.0), seed=3)
        given: dict[str, Any] = {
            "train": examples,
            "dev": examples[:3],
            "labels": LABELS,
            "pad_id": 0,
            "label_smoothing": 0.1,
        }
        task = LlmTask(**given, loss=kind, class_weights=torch.tensor([1.0, 3.0, 0.5]))  # type: ignore[arg-type]
        train(model=model, task=task, optim=optim, run_dir=folder / kind, progress=False)
        found[kind] = {
            name: value.flatten().tolist() for name, value in model.named_parameters() if value.requires_grad
        }
    return found


def test_micro_batches_equal_whole_batches(tmp_path: Path) -> None:
    """Parts may be unequal, and the last batch of an epoch may be short."""
    for kind in (ToyTask, UnequalTask):
        whole, parts = (
            train_toy(
                0,
                tmp_path / f"{kind.__name__}{count}",
                kind,
                {"dropout": 0.0, "batch_size": 6, "micro_batch_size": count},
            )
            for count in (6, 2)
        )
        assert whole["figures"]["step"] == parts["figures"]["step"] == 12
        assert len(parts["batches"]) == 3 * len(whole["batches"])
        assert_close(parts["weights"], whole["weights"])
    whole, parts = (train_unequal(0, tmp_path / f"adapter{count}", 8, count) for count in (None, 2))
    for loss, weights in whole.items():
        assert_close(parts[loss], weights)


def test_two_processes_with_micro_batches_equal_one_process_with_whole_batches(tmp_path: Path) -> None:
    alone = train_unequal(0, tmp_path / "one", 4)
    first, second = together(train_unequal, tmp_path / "two", 2, 1)
    for kind, weights in alone.items():
        assert first[kind] == second[kind]
        assert_close(first[kind], weights)


def test_two_processes_with_half_batches_train_the_adapter_of_one_process(tmp_path: Path) -> None:
    alone = train_unequal(0, tmp_path / "one", 4)
    first, second = together(train_unequal, tmp_path / "two", 2)
    for kind, weights in alone.items():
        assert first[kind] == second[kind]
        assert_close(first[kind], weights)


def train_unlike(rank: int, folder: Path) -> str:
    with pytest.raises(ConfigError) as found:
        trained(folder, ToyTask(count=24 - rank))
    return str(found.value)


def test_processes_with_different_examples_are_refused_before_training(tmp_path: Path) -> None:
    told = together(train_unlike, tmp_path)
    assert told[0] == told[1]
    assert told[0].startswith(
        "the processes have different training examples and tokens ((24, 132), (23, 123))"
    )


# --- errors and deaths


def dying(rank: int, folder: Path) -> dict[str, Any]:
    def on_step(step: int) -> None:
        if rank == 1 and step == 5:
            os.kill(os.getpid(), signal.SIGKILL)

    return trained(folder, ToyTask(on_step=on_step))


@pytest.mark.crash
def test_process_death_ends_the_other_process_and_the_run_can_be_resumed(
    tmp_path: Path, pair: tuple[Path, list[dict[str, Any]]]
) -> None:
    whole = pair[1][0]
    survivor, dead = together(dying, tmp_path / "cut", seconds=30)
    assert dead == -signal.SIGKILL
    assert survivor == 1  # it failed by itself and was not killed for the timeout
    with pytest.raises(ConfigError, match=r"started with 2 process\(es\), now there are 1"):
        run(tmp_path / "cut")
    resumed, other = together(train_toy, tmp_path / "cut", ToyTask, {})
    assert len(resumed["batches"]) == len(other["batches"]) == 9 - 4
    assert resumed["weights"] == other["weights"] == whole["weights"]
    steps = [record["step"] for record in records(tmp_path / "cut") if "eval_score" in record]
    assert steps == [record["step"] for record in records(pair[0]) if "eval_score" in record]


def told(rank: int) -> list[tuple[str, str, Any]]:
    def fail(error: Exception) -> None:
        raise error

    heard = []
    for error in (
        InputError("no such turn", path="a.csv", line=3),
        MissingExtraError("ray", "ray"),
        KeyError("x"),
    ):
        try:
            processes.on_main(lambda error=error: fail(error))
        except Exception as found:
            heard.append((type(found).__name__, str(found), getattr(found, "exit_code", None)))
    heard.append(("value", processes.on_main(lambda: f"of {rank}"), None))
    return heard


def test_on_main_shares_its_result_and_its_errors_with_all_processes() -> None:
    first, second = together(told)
    assert first[:2] == second[:2]
    assert first[0] == ("InputError", "a.csv:3: no such turn", 2)
    assert first[1][2] == 4
    assert first[2] == ("KeyError", "'x'", None)
    assert second[2] == ("RuntimeError", "the main process failed, KeyError: 'x'", None)
    assert first[3] == second[3] == ("value", "of 0", None)


def test_on_main_in_a_single_process_runs_the_work() -> None:
    assert (
        processes.count(),
        processes.is_main(),
        processes.on_main(lambda: 5),
        processes.main_first(lambda: 6),
    ) == (1, True, 5, 6)


# --- the command


@pytest.fixture(scope="module")
def config(
    tmp_path_factory: pytest.TempPathFactory, tiny_encoder_dir: Path, tiny_utterance_artefact: Path
) -> Path:
    """A conversation model that reads the shared classifier's features, over a tiny corpus, as a file."""
    folder = tmp_path_factory.mktemp("several")
    changes = [
        f"data.root={write_corpora(folder / 'data')}",
        f"backbone.name={tiny_encoder_dir}",
        f"artefact.init_from={tiny_utterance_artefact}",
        *("artefact.delta=int8", "data.max_tokens=24", "uncertainty.samples=2", "optim.precision=fp32"),
        *(
            "emonet.context_width=16",
            "emonet.memory_width=8",
            "head.hidden=16",
            "optim.batch_size=2",
            "optim.epochs=2",
        ),
        "optim.evaluations_per_epoch=1",
    ]
    path = folder / "tiny.yaml"
    path.write_text(
        load_config(resource_dir("configs") / "emonet-meld.yaml", changes).to_yaml(), encoding="utf-8"
    )
    return path


@pytest.fixture(scope="module")
def launched(config: Path) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The folder of a run started by torchrun as two processes, and the completed process."""
    run_dir = config.parent / "runs" / "tiny"
    launcher = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "--",
        "erc.cli",
    ]
    done = subprocess.run(
        [*launcher, "train", str(config), "--run", str(run_dir), "--quiet"],
        capture_output=True,
        text=True,
        timeout=240,
    )
    return run_dir, done


def test_train_command_under_torchrun_saves_one_model_that_loads(
    launched: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    run_dir, done = launched
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("the model lies in") == 1
    assert done.stdout == ""
    assert load_artefact(run_dir / "emonet-meld-minilm").info.kind == "emonet"
    assert len(list((run_dir.parent / "features").iterdir())) == 1
    assert not [path for path in run_dir.rglob("*") if path.name.endswith((".part", ".old"))]
    assert sorted(path.name for path in run_dir.iterdir() if path.is_dir()) == [
        "checkpoint-2",
        "checkpoint-4",
        "emonet-meld-minilm",
    ]


def test_train_command_under_accelerate_launch_saves_a_model_that_loads(config: Path, tmp_path: Path) -> None:
    """On a CPU it starts a single process of the same module."""
    launcher = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--cpu",
        "--num_processes",
        "1",
        "--num_machines",
        "1",
        "--mixed_precision",
        "no",
    ]
    command = [
        "--dynamo_backend",
        "no",
        "-m",
        "erc.cli",
        "train",
        str(config),
        "optim.epochs=0.5",
        "--run",
        str(tmp_path / "run"),
        "--quiet",
    ]
    done = subprocess.run([*launcher, *command], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert load_artefact(tmp_path / "run" / "emonet-meld-minilm").info.kind == "emonet"


def test_train_command_under_torchrun_writes_each_figure_once(
    launched: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    """8 dialogues, two in each of two processes: two steps per epoch."""
    found = records(launched[0])
    assert [record["step"] for record in found if "eval_weighted_f1" in record] == [2, 4]
    assert [record["step"] for record in found if "learning_rate" in record] == [1, 2, 3, 4]


def again(rank: int, config: ExperimentConfig, run_dir: Path) -> Path:
    return run_experiment(config, run_dir, progress=False)


def test_run_of_two_processes_resumes_from_its_last_checkpoint(
    launched: tuple[Path, subprocess.CompletedProcess[str]], config: Path, tmp_path: Path
) -> None:
    """A run without its last checkpoint and its model, as after a kill, produces the same model."""
    import shutil

    run_dir = Path(shutil.copytree(launched[0].parent, tmp_path / "runs")) / "tiny"
    shutil.rmtree(run_dir / "checkpoint-4")
    shutil.rmtree(run_dir / "emonet-meld-minilm")
    assert together(again, load_config(config), run_dir) == [run_dir / "emonet-meld-minilm"] * 2
    weights = [load_artefact(folder / "emonet-meld-minilm").sha256 for folder in (launched[0], run_dir)]
    assert weights[0] == weights[1]
    steps = [[record["step"] for record in records(folder)] for folder in (launched[0], run_dir)]
    assert steps[0] == steps[1]
