"""The Trainer of all tasks: Hugging Face's, with a `Task` that provides batches, losses and figures."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Sampler

from erc.files import load_record, load_whole, save_record, save_whole
from erc.llm.base.four_bit import without_bitsandbytes
from erc.models.encoder.precision import resolve_precision
from erc.training.loop import distributed as processes
from erc.training.loop.ema import WeightAverage
from erc.training.loop.run_folder import BEST_RECORD, BEST_WEIGHTS, EMA_FILE, METRICS_FILE, begin
from erc.training.loop.settings import OptimSettings
from erc.training.loop.task import MixedTask, Task, WeighedTask

with without_bitsandbytes():  # the Trainer imports PEFT, and PEFT imports bitsandbytes
    from transformers import (
        EarlyStoppingCallback,
        PrinterCallback,
        ProgressCallback,
        Trainer,
        TrainerCallback,
        TrainingArguments,
        set_seed,
    )
    from transformers.trainer_pt_utils import LengthGroupedSampler, get_length_grouped_indices


class _Average(TrainerCallback):
    """Updates the weight average, and saves it in each checkpoint so that a killed run can resume with it."""

    def __init__(self, average: WeightAverage) -> None:
        self.average = average

    def on_step_end(
        self, args: Any, state: Any, control: Any, model: nn.Module | None = None, **kwargs: Any
    ) -> None:
        assert model is not None
        self.average.update(model)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            self.average.save(Path(args.output_dir) / f"checkpoint-{state.global_step}" / EMA_FILE)


class _Several(TrainerCallback):
    """Corrects random seeds and the order of the data for several processes."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        # Each process needs its own dropout masks. The weights and the order of the data have already been
        # drawn with the common seed.
        torch.manual_seed(args.seed + args.process_index)

    def on_epoch_begin(
        self, args: Any, state: Any, control: Any, train_dataloader: Any = None, **kwargs: Any
    ) -> None:
        # The library does not pass the epoch's number to the sampler if batches are both split between
        # processes and skipped. A run resumed within an epoch would then use the order of the first epoch.
        batches = train_dataloader.batch_sampler
        while hasattr(batches, "batch_sampler"):
            batches = batches.batch_sampler
        if hasattr(batches.sampler, "set_epoch"):
            batches.sampler.set_epoch(int(state.epoch))


class _MetricsLog(TrainerCallback):
    """Appends every logged figure to metrics.jsonl in the run folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        if state.is_world_process_zero and logs:
            record = {"step": state.global_step, "epoch": state.epoch, **logs}
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(record, default=float) + "\n")


class _Bar(ProgressCallback):
    """The progress bar on standard error; the library's own bar also prints figures to standard output."""

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        shown = {
            key: value for key, value in (logs or {}).items() if isinstance(value, float) and key != "epoch"
        }
        if state.is_world_process_zero and self.training_bar is not None:
            self.training_bar.set_postfix(shown)


class _LengthGrouped(LengthGroupedSampler):
    """Batches examples of similar length, in an order that depends on the seed and the epoch alone.

    With the global generator, a run that is resumed within an epoch would get another order.
    """

    def __init__(self, batch_size: int, lengths: Sequence[int], *, seed: int) -> None:
        super().__init__(batch_size, lengths=list(lengths), generator=torch.Generator())
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the library before each epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        self.generator.manual_seed((self.seed << 16) + self.epoch)
        return super().__iter__()


class _Mixed(_LengthGrouped):
    """Gives every batch its share of each kind of examples; those of one kind are of similar length."""

    def __init__(self, batch_size: int, lengths: Sequence[int], *, kinds: Sequence[int], seed: int) -> None:
        super().__init__(batch_size, lengths, seed=seed)
        self.members = [np.flatnonzero(np.asarray(kinds) == kind) for kind in np.unique(kinds)]

    def __iter__(self) -> Iterator[int]:
        self.generator.manual_seed((self.seed << 16) + self.epoch)
        orders, places = [], []
        for members in self.members:
            share = max(1, int(self.batch_size * len(members) / len(self.lengths)))
            lengths = [self.lengths[i] for i in members]
            orders.append(members[get_length_grouped_indices(lengths, share, generator=self.generator)])
            places.append((np.arange(len(members)) + 0.5) / len(members))
        spread = np.argsort(np.concatenate(places), kind="stable")
        return iter(np.concatenate(orders)[spread].tolist())


class ErcTrainer(Trainer):
    """Hugging Face's Trainer with loss, evaluation and parameter groups of a `Task`."""

    def __init__(
        self, *, task: Task, optim: OptimSettings, average: WeightAverage | None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.task = task
        self.optim = optim
        self.average = average
        self.step_weights: Tensor | None = None

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler | None:
        if not self.optim.length_bucketing:
            return super()._get_train_sampler(train_dataset)
        # The batch of all processes together, so that a step does not depend on how it is split.
        batch = self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        if isinstance(self.task, MixedTask):
            return _Mixed(batch, self.task.lengths, kinds=self.task.kinds, seed=self.optim.seed)
        return _LengthGrouped(batch, self.task.lengths, seed=self.optim.seed)

    def get_batch_samples(
        self, epoch_iterator: Any, num_batches: int, device: torch.device
    ) -> tuple[list[Any], None]:
        """The batches of one step, with the number of items behind each mean, over all processes."""
        parts, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        self.step_weights = None
        if parts and isinstance(self.task, WeighedTask) and (len(parts) > 1 or self.args.world_size > 1):
            own = torch.stack([torch.stack(list(self.task.loss_weights(part))) for part in parts]).sum(dim=0)
            self.step_weights = processes.summed(own.to(device)) / (len(parts) * self.args.world_size)
        return parts, None

    def compute_loss(
        self, model: nn.Module, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Tensor:
        """The task's loss; over several parts or processes, the mean over all their items."""
        if self.step_weights is None:
            return self.task.loss(model, inputs)
        assert isinstance(self.task, WeighedTask)
        # The library averages over parts and processes. Weighted by its share of all items, each mean becomes
        # the mean over all items.
        means, weights = zip(*self.task.loss_terms(model, inputs), strict=True)
        shares = torch.stack(weights) / self.step_weights.clamp_min(torch.finfo(torch.float32).tiny)
        return (torch.stack(means) * shares).sum()

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """AdamW with the task's learning rates and its rules for weight decay."""
        target: nn.Module = self.model if model is None else model  # type: ignore[assignment]
        if self.optimizer is None:
            self.optimizer = torch.optim.AdamW(
                _parameter_groups(target, self.task, self.optim), fused=True, betas=(0.9, 0.999)
            )
        return self.optimizer

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Evaluates the model on dev and returns the same figures in every process."""
        metrics = processes.on_main(self._judge)  # by one process, so that all stop at the same step
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _judge(self) -> dict[str, float]:
        model = self.accelerator.unwrap_model(self.model)
        was_training = model.training
        model.eval()
        started = time.perf_counter()
        if self.average is None:
            figures = self.task.evaluate(model)
        else:
            with self.average.applied(model):
                figures = self.task.evaluate(model)
        model.train(was_training)
        return {f"eval_{key}": value for key, value in figures.items()} | {
            "eval_seconds": time.perf_counter() - started
        }


def _parameter_groups(model: nn.Module, task: Task, optim: OptimSettings) -> list[dict[str, Any]]:
    """Four groups: head or body, with weight decay for matrices and without for vectors."""
    head = task.head_parameters(model)
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups.setdefault((name in head, parameter.dim() >= 2), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": optim.head_learning_rate if is_head else optim.learning_rate,
            "weight_decay": optim.weight_decay if is_matrix else 0.0,
        }
        for (is_head, is_matrix), parameters in groups.items()
    ]


def _arguments(
    optim: OptimSettings, run_dir: Path, steps_per_epoch: int, task: Task, progress: bool
) -> TrainingArguments:
    use_cpu = not torch.cuda.is_available()
    every = max(1, steps_per_epoch // optim.evaluations_per_epoch)
    arguments = TrainingArguments(
        output_dir=str(run_dir),
        num_train_epochs=optim.epochs,
        per_device_train_batch_size=optim.batch_size // optim.parts,
        gradient_accumulation_steps=optim.parts,
        learning_rate=optim.learning_rate,
        warmup_steps=round(optim.warmup_fraction * steps_per_epoch * optim.epochs),
        lr_scheduler_type=optim.schedule,
        max_grad_norm=optim.max_grad_norm,
        bf16=resolve_precision(optim.precision) == "bf16",
        use_cpu=use_cpu,
        seed=optim.seed,
        eval_strategy="steps",
        eval_steps=every,
        save_strategy="steps",
        save_steps=every,
        save_total_limit=2,
        load_best_model_at_end=False,
        metric_for_best_model=f"eval_{task.primary_metric}",
        greater_is_better=task.greater_is_better,
        logging_steps=max(1, min(50, steps_per_epoch // 4)),
        report_to=[],
        disable_tqdm=not progress,
        remove_unused_columns=False,
        dataloader_pin_memory=not use_cpu,
        label_names=[],
    )
    # Without a launcher the library would split batches over all visible GPUs with threads. Batches of tasks
    # cannot be split that way.
    arguments._n_gpu = min(1, arguments.n_gpu)
    return arguments


def train(
    *,
    model: nn.Module,
    task: Task,
    optim: OptimSettings,
    run_dir: Path,
    resume: bool = True,
    progress: bool = True,
) -> dict[str, float]:
    """Trains `model` in place, loads the weights that scored best on dev, and returns their figures.

    The run folder gets `settings.json`, `metrics.jsonl` and checkpoints. With `ema_decay`, averaged weights
    are evaluated and kept instead of the weights themselves.

    A step's `optim.batch_size` examples are computed in `optim.parts` parts, which changes only the memory.

    With N processes, each computes `optim.batch_size` examples per step. So a step has N times as many
    examples, and an epoch has N times fewer steps. Learning rates do not change. The main process evaluates
    and writes, and every process returns with the same weights.

    Args:
        model: The network.
        task: Its task.
        optim: The optimiser's settings.
        run_dir: The run folder.
        resume: Whether a killed run resumes from its last complete checkpoint, with the same order of the
            data. Otherwise the files of an earlier run are deleted.
        progress: Whether to show a progress bar.

    Raises:
        ConfigError: If a run is resumed with another number of processes, or the processes have different
            training examples.
        ArtefactError: If a file of the run folder that is needed to resume is damaged.
    """
    set_seed(optim.seed)
    processes.require_same((len(task.examples), sum(task.lengths)), what="training examples and tokens")
    checkpoint = processes.on_main(lambda: begin(run_dir, optim, processes=processes.count(), resume=resume))
    average = None if optim.ema_decay is None else WeightAverage(model, decay=optim.ema_decay)
    steps_per_epoch = math.ceil(math.ceil(len(task.examples) / optim.batch_size) / processes.count())
    callbacks: list[TrainerCallback] = [_MetricsLog(run_dir / METRICS_FILE)]
    if processes.count() > 1:
        callbacks.append(_Several())
    if average is not None:
        callbacks.append(_Average(average))
    best = _KeepBest(task, average, run_dir)
    callbacks.append(best)
    if optim.early_stopping is not None:
        callbacks.append(EarlyStoppingCallback(early_stopping_patience=optim.early_stopping))
    trainer = ErcTrainer(
        task=task,
        optim=optim,
        average=average,
        model=model,
        args=_arguments(optim, run_dir, steps_per_epoch, task, progress),
        train_dataset=task.examples,
        eval_dataset=task.examples,  # never read, but the library requires it
        data_collator=task.collate,
        callbacks=callbacks,
    )
    for printing in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(printing)
    if progress:
        trainer.add_callback(_Bar)
    if checkpoint is not None and average is not None:
        average.load(checkpoint / EMA_FILE)
    best.restore()
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    processes.wait()  # the main process may still be writing the best weights
    for patched in (
        "forward",
        "_original_forward",
    ):  # the library wraps `forward` in autocast; this restores it
        model.__dict__.pop(patched, None)
    best.load_into(model)
    model.eval()
    return best.figures


class _KeepBest(TrainerCallback):
    """Keeps the (averaged) weights of the best evaluation in the run folder."""

    def __init__(self, task: Task, average: WeightAverage | None, directory: Path) -> None:
        self.task = task
        self.average = average
        self.directory = directory
        self.figures: dict[str, float] = {}

    @property
    def _weights(self) -> Path:
        return self.directory / BEST_WEIGHTS

    @property
    def _record(self) -> Path:
        return self.directory / BEST_RECORD

    def restore(self) -> None:
        """Reads the best figures so far of a run that is resumed."""
        if self._record.exists() and self._weights.exists():
            self.figures = load_record(self._record)

    def on_evaluate(
        self,
        args: Any,
        state: Any,
        control: Any,
        metrics: dict[str, float] | None = None,
        model: nn.Module | None = None,
        **kwargs: Any,
    ) -> None:
        assert metrics is not None
        assert model is not None
        figures = {
            key.removeprefix("eval_"): float(value)
            for key, value in metrics.items()
            if key.startswith("eval_")
        }
        score, best = figures[self.task.primary_metric], self.figures.get(self.task.primary_metric)
        if best is None or (score > best if self.task.greater_is_better else score < best):
            self.figures = {**figures, "step": float(state.global_step)}
            if not state.is_world_process_zero:
                return
            source = (
                {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}
                if self.average is None
                else self.average.average
            )
            save_whole({name: value.contiguous().clone() for name, value in source.items()}, self._weights)
            save_record(self.figures, self._record)

    @torch.no_grad()
    def load_into(self, model: nn.Module) -> None:
        """Copies the best weights into the model."""
        if self._weights.exists():
            parameters = dict(model.named_parameters())
            for name, value in load_whole(self._weights).items():
                parameters[name].copy_(value)
