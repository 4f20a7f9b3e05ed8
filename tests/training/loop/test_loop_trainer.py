"""The Trainer: it learns, records figures, keeps the best weights and resumes after a kill."""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F
from toy_task import ToyNet, ToyTask, run

from erc.errors import ArtefactError
from erc.training.loop.settings import OptimSettings
from erc.training.loop.trainer import _parameter_groups


@pytest.fixture(scope="module", autouse=True)
def _quick_collections() -> Iterator[None]:
    """Skips the full garbage collection at the end of each run, which walks all imports."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def _same(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    return all(torch.equal(value, second.state_dict()[name]) for name, value in first.state_dict().items())


def _records(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


class _Killed(BaseException):
    """Simulates a kill. A BaseException, so `except Exception` cannot catch it."""


def _kill_at(step: int) -> ToyTask:
    def on_step(current: int) -> None:
        if current == step:
            raise _Killed

    return ToyTask(on_step=on_step)


def test_training_lowers_the_loss_and_leaves_the_model_in_evaluation_mode(tmp_path: Path) -> None:
    net, task, figures = run(tmp_path, epochs=10.0)
    losses = [record["eval_loss"] for record in _records(tmp_path) if "eval_loss" in record]
    assert losses[-1] < 0.5 * losses[0]
    assert figures["loss"] == pytest.approx(min(losses))
    assert figures["loss"] == pytest.approx(task.evaluate(net)["loss"], abs=1e-6)
    assert not net.training
    assert net.frozen.tolist() == [1.0, 1.0]


def test_training_with_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    first, _, _ = run(tmp_path / "a")
    second, _, _ = run(tmp_path / "b")
    other, _, _ = run(tmp_path / "c", seed=2)
    assert _same(first, second)
    assert not _same(first, other)


def test_training_writes_its_settings_and_one_line_per_figure(tmp_path: Path) -> None:
    run(tmp_path)
    settings = json.loads((tmp_path / "settings.json").read_text(encoding="utf-8"))
    assert settings["batch_size"] == 4
    assert settings.pop("processes") == 1
    assert OptimSettings(**settings).seed == 1
    evaluations = [record for record in _records(tmp_path) if "eval_score" in record]
    assert [record["step"] for record in evaluations] == [3, 6, 9, 12, 15, 18]
    assert evaluations[1]["epoch"] == 1.0
    assert any("loss" in record and "learning_rate" in record for record in _records(tmp_path))


def test_training_writes_nothing_to_standard_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path, epochs=1.0)
    assert capsys.readouterr().out == ""


def test_training_for_part_of_an_epoch_evaluates_at_the_end(tmp_path: Path) -> None:
    net, task, figures = run(tmp_path, epochs=0.5, evaluations_per_epoch=1)
    assert figures["step"] == 3.0
    assert figures["loss"] == pytest.approx(task.evaluate(net)["loss"], abs=1e-6)


def test_training_in_bf16_returns_a_model_that_computes_in_fp32(tmp_path: Path) -> None:
    net, _, _ = run(tmp_path, epochs=1.0, precision="bf16")
    counts = torch.randn(4, 12)
    hidden = torch.tanh(F.linear(counts, net.body.weight, net.body.bias))
    assert torch.equal(net(counts), F.linear(hidden, net.head.weight, net.head.bias))


# --- resuming after a kill


@pytest.mark.parametrize("step", [2, 5, 8, 14, 18])
@pytest.mark.parametrize("bucketing", [True, False])
def test_resumed_training_ends_with_the_same_weights(tmp_path: Path, step: int, bucketing: bool) -> None:
    """Killed before the first checkpoint, in the middle of epochs and at the last step."""
    whole, whole_task, figures = run(tmp_path / "whole", length_bucketing=bucketing)
    with pytest.raises(_Killed):
        run(tmp_path / "cut", _kill_at(step), length_bucketing=bucketing)
    resumed, task, again = run(tmp_path / "cut", length_bucketing=bucketing)
    assert task.batches == whole_task.batches[-len(task.batches) :]
    assert len(task.batches) == 18 - (step - 1) // 3 * 3
    assert _same(resumed, whole)
    assert {k: v for k, v in again.items() if k != "seconds"} == {
        k: v for k, v in figures.items() if k != "seconds"
    }


def test_resumed_training_writes_each_evaluation_once(tmp_path: Path) -> None:
    with pytest.raises(_Killed):
        run(tmp_path, _kill_at(8))
    run(tmp_path)
    for figure in ("eval_score", "learning_rate"):
        steps = [record["step"] for record in _records(tmp_path) if figure in record]
        assert steps == sorted(set(steps))
        assert steps[-1] == 18


@pytest.mark.crash
def test_training_resumes_after_its_process_was_killed(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:  # pragma: no cover
        run(
            tmp_path / "cut",
            ToyTask(on_step=lambda step: os.kill(os.getpid(), signal.SIGKILL) if step == 11 else None),
        )
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert (tmp_path / "cut" / "checkpoint-9").is_dir()
    resumed, task, _ = run(tmp_path / "cut")
    whole, _, _ = run(tmp_path / "whole")
    assert task.steps == 9
    assert _same(resumed, whole)


@pytest.mark.parametrize("missing", ["trainer_state.json", "ema.safetensors", "optimizer.pt"])
def test_resume_ignores_an_incomplete_checkpoint(tmp_path: Path, missing: str) -> None:
    """A kill during the write of a checkpoint leaves a folder without the last files."""
    whole, _, _ = run(tmp_path / "whole")
    with pytest.raises(_Killed):
        run(tmp_path / "cut", _kill_at(8))
    (tmp_path / "cut" / "checkpoint-6" / missing).unlink()
    (tmp_path / "cut" / "checkpoint-6" / "ema.safetensors").unlink(missing_ok=True)  # written last
    resumed, task, _ = run(tmp_path / "cut")
    assert task.steps == 15
    assert _same(resumed, whole)


@pytest.mark.parametrize("name", ["best.json", "best.safetensors", "checkpoint-6/ema.safetensors"])
def test_resume_from_a_damaged_file_raises_an_error_that_names_the_fresh_option(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(_Killed):
        run(tmp_path, _kill_at(8))
    (tmp_path / name).write_bytes(b"nothing of use")
    with pytest.raises(ArtefactError, match=f"{Path(name).name}.* --fresh"):
        run(
            tmp_path, ToyTask(score=lambda evaluation, loss: -float(evaluation))
        )  # no later evaluation replaces the best weights
    run(tmp_path, resume=False)


def test_resume_of_a_finished_run_trains_nothing(tmp_path: Path) -> None:
    first, _, figures = run(tmp_path)
    again, task, repeated = run(tmp_path)
    assert task.steps == 0
    assert _same(first, again)
    assert repeated["score"] == figures["score"]


def test_training_without_resume_replaces_an_earlier_run(tmp_path: Path) -> None:
    expected, _, figures = run(
        tmp_path / "fresh", ToyTask(score=lambda evaluation, loss: float(evaluation)), seed=3, epochs=1.0
    )
    run(tmp_path / "used", ToyTask(score=lambda evaluation, loss: 100.0))
    net, task, again = run(
        tmp_path / "used",
        ToyTask(score=lambda evaluation, loss: float(evaluation)),
        resume=False,
        seed=3,
        epochs=1.0,
    )
    assert task.steps == 6
    assert again["score"] == figures["score"] == 2.0
    assert _same(net, expected)
    assert sorted(path.name for path in (tmp_path / "used").glob("checkpoint-*")) == [
        "checkpoint-3",
        "checkpoint-6",
    ]
    assert [record["step"] for record in _records(tmp_path / "used") if "eval_score" in record] == [3, 6]


# --- choice of the weights


@pytest.mark.parametrize(
    ("greater", "scores", "best"), [(True, (1, 5, 3, 5, 2, 1), 2), (False, (4, 2, 3, 1, 2, 6), 4)]
)
@pytest.mark.parametrize("ema_decay", [0.9, None])
def test_training_keeps_the_weights_of_the_best_evaluation(
    tmp_path: Path, greater: bool, scores: tuple[int, ...], best: int, ema_decay: float | None
) -> None:
    task = ToyTask(score=lambda evaluation, loss: float(scores[evaluation - 1]), greater_is_better=greater)
    net, task, figures = run(tmp_path, task, ema_decay=ema_decay)
    assert figures["score"] == scores[best - 1]
    assert figures["step"] == 3.0 * best
    assert torch.equal(net.head.bias, task.seen_weights[best - 1])
    assert not torch.equal(net.head.bias, task.seen_weights[-1])


def test_training_evaluates_averaged_weights_but_continues_with_raw_weights(tmp_path: Path) -> None:
    averaged = run(tmp_path / "averaged")[1]
    plain = run(tmp_path / "plain", ema_decay=None)[1]
    assert averaged.batches == plain.batches
    assert not torch.allclose(averaged.seen_weights[0], plain.seen_weights[0], atol=1e-4)
    from safetensors.torch import load_file

    last_averaged = load_file(tmp_path / "averaged" / "checkpoint-18" / "model.safetensors")
    last_plain = load_file(tmp_path / "plain" / "checkpoint-18" / "model.safetensors")
    assert all(torch.equal(value, last_plain[name]) for name, value in last_averaged.items())


def test_training_stops_early_when_dev_no_longer_improves(tmp_path: Path) -> None:
    task = ToyTask(score=lambda evaluation, loss: float(-evaluation))
    _, task, figures = run(tmp_path, task, early_stopping=2)
    assert task.evaluations == 3
    assert figures["step"] == 3.0


# --- batches and groups


def _spread(batches: list[list[int]]) -> float:
    return sum(max(batch) - min(batch) for batch in batches) / len(batches)


def test_training_batches_examples_of_similar_length(tmp_path: Path) -> None:
    bucketed = run(tmp_path / "a", ToyTask(count=96), epochs=2.0)[1]
    shuffled = run(tmp_path / "b", ToyTask(count=96), epochs=2.0, length_bucketing=False)[1]
    assert _spread(bucketed.batches) < 0.6 * _spread(shuffled.batches)
    for task in (bucketed, shuffled):
        assert sorted(length for batch in task.batches[:24] for length in batch) == sorted(task.lengths)
    assert bucketed.batches[:24] != bucketed.batches[24:]  # the order differs between epochs


@pytest.mark.parametrize(
    ("batch", "most", "parts"),
    [(16, None, 1), (16, 16, 1), (16, 99, 1), (16, 8, 2), (16, 6, 4), (15, 4, 5), (7, 3, 7), (1, 1, 1)],
)
def test_micro_batches_are_the_fewest_equal_parts_within_the_limit(
    batch: int, most: int | None, parts: int
) -> None:
    assert OptimSettings(batch_size=batch, micro_batch_size=most).parts == parts


def test_optimizer_uses_the_head_learning_rate_and_no_weight_decay_for_vectors() -> None:
    net = ToyNet()
    groups = _parameter_groups(
        net, ToyTask(), OptimSettings(learning_rate=1.0, head_learning_rate=2.0, weight_decay=0.5)
    )
    found = {id(p): (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}
    assert found == {
        id(net.body.weight): (1.0, 0.5),
        id(net.body.bias): (1.0, 0.0),
        id(net.head.weight): (2.0, 0.5),
        id(net.head.bias): (2.0, 0.0),
    }


def test_learning_rate_warms_up_and_decays_to_zero(tmp_path: Path) -> None:
    run(tmp_path, warmup_fraction=0.34, epochs=3.0)
    rates = [record["learning_rate"] for record in _records(tmp_path) if "learning_rate" in record]
    top = rates.index(max(rates))
    assert 0 < top < len(rates) - 1
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[-1] < 0.02 * max(rates)


def test_run_folder_can_be_moved_and_resumed(tmp_path: Path) -> None:
    whole, _, _ = run(tmp_path / "whole")
    with pytest.raises(_Killed):
        run(tmp_path / "here", _kill_at(8))
    shutil.move(tmp_path / "here", tmp_path / "there")
    assert _same(run(tmp_path / "there")[0], whole)
