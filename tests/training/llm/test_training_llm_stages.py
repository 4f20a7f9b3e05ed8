"""Stages of a recipe are trained once each and in order, also after a crash; sampled splits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from erc.data.conversation import Conversation, Utterance
from erc.data.corpora import Corpus
from erc.data.corpora.splits import sampled
from erc.errors import ArtefactError
from erc.files import save_whole
from erc.llm.base.adapters import LoraSettings, attach_lora
from erc.llm.recipes import Stage
from erc.training.llm import stages as llm_stages
from erc.training.llm.batches import LlmExample
from erc.training.llm.stages import RECORD, WEIGHTS, run_stages
from erc.training.llm.task import LlmTask
from erc.training.loop.settings import OptimSettings
from erc.training.loop.trainer import train

STAGES = (Stage("one", {"speaker_identification": 1.0}), Stage("two", {"erc": 1.0}))
OPTIM = OptimSettings(
    epochs=2, batch_size=4, learning_rate=1e-2, precision="fp32", ema_decay=None, warmup_fraction=0.0
)


class Killed(BaseException):
    """Simulates the end of a process."""


def make_model() -> nn.Module:
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = {
        "vocab_size": 48,
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "intermediate_size": 24,
    }
    with torch.random.fork_rng():
        torch.manual_seed(4)
        base = AutoModelForCausalLM.from_config(
            AutoConfig.for_model("llama", **sizes, pad_token_id=0, bos_token_id=1, eos_token_id=2)
        )
        return attach_lora(base, LoraSettings(r=2, alpha=4, dropout=0.1))


def task_of(stage: Stage) -> LlmTask:
    seed = len(stage.name)
    rows = torch.randint(11, 40, (8, 5), generator=torch.Generator().manual_seed(seed)).tolist()
    examples = [
        LlmExample(tuple(row), ((5, 2), (6, 2)), i % 2, 1.0, "erc" in stage.tasks)
        for i, row in enumerate(rows)
    ]
    return LlmTask(train=examples, dev=examples, labels=("joy", "anger"), pad_id=0)


class Run:
    """Trains in a folder and records which stages made examples. It stops at an evaluation of `dies_at`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made: list[str] = []

    def __call__(
        self, *, dies_at: tuple[str, int] | None = None, resume: bool = True
    ) -> dict[str, torch.Tensor]:
        self.made, seen, model = [], {"stage": "", "evaluations": 0}, make_model()

        def task(stage: Stage) -> LlmTask:
            self.made.append(stage.name)
            made, evaluate = task_of(stage), LlmTask.evaluate
            seen.update(stage=stage.name, evaluations=0)

            def judged(of: nn.Module) -> dict[str, float]:
                if dies_at == (seen["stage"], seen["evaluations"]):
                    raise Killed
                seen["evaluations"] += 1
                return evaluate(made, of)

            made.evaluate = judged  # type: ignore[method-assign]
            return made

        run_stages(
            model,
            STAGES,
            run_dir=self.folder,
            task_of=task,
            optim_of=lambda stage: OPTIM,
            resume=resume,
            progress=False,
        )
        return {
            name: value.detach().clone() for name, value in model.named_parameters() if value.requires_grad
        }


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    return Run(tmp_path_factory.mktemp("whole"))()


def same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
    return found.keys() == expected.keys() and all(
        torch.allclose(value, expected[name], atol=1e-6) for name, value in found.items()
    )


@pytest.mark.parametrize(("dies_at", "left"), [(("one", 1), ["one", "two"]), (("two", 1), ["two"])])
def test_killed_run_resumed_in_its_stage_equals_an_uninterrupted_run(tmp_path, unbroken, dies_at, left):
    run = Run(tmp_path)
    with pytest.raises(Killed):
        run(dies_at=dies_at)
    found = run()
    assert run.made == left
    assert same(found, unbroken)


def test_run_killed_between_stages_resumes_at_the_next_stage(tmp_path, monkeypatch, unbroken):
    run = Run(tmp_path)

    def dying(**settings):
        if settings["run_dir"].name == "two":
            raise Killed
        return train(**settings)

    monkeypatch.setattr(llm_stages, "train", dying)
    with pytest.raises(Killed):
        run()
    monkeypatch.setattr(llm_stages, "train", train)
    assert same(run(), unbroken)
    assert run.made == ["two"]


def test_finished_run_trains_nothing_and_keeps_its_weights_and_figures(tmp_path, monkeypatch, unbroken):
    run = Run(tmp_path)
    run()
    monkeypatch.setattr(llm_stages, "train", lambda **settings: pytest.fail("trained again"))
    assert same(run(), unbroken)
    assert run.made == []


def test_fresh_run_trains_every_stage_again(tmp_path, unbroken):
    run = Run(tmp_path)
    run()
    assert same(run(resume=False), unbroken)
    assert run.made == ["one", "two"]


def test_finished_stage_of_another_adapter_is_refused(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / RECORD).write_text('{"figures": {}}', encoding="utf-8")
    save_whole({"another": torch.zeros(2)}, tmp_path / "one" / WEIGHTS)
    with pytest.raises(ArtefactError, match="--fresh"):
        run_stages(
            make_model(),
            STAGES,
            run_dir=tmp_path,
            task_of=task_of,
            optim_of=lambda stage: OPTIM,
            resume=True,
            progress=False,
        )


DAMAGED = {
    *((WEIGHTS, content) for content in (b"", b"no safetensors at all", b"\x08\0\0\0\0\0\0\0{}      ")),
    *((RECORD, content) for content in (b"", b"[]", b"{}", b"\xff")),
}


@pytest.mark.parametrize(("name", "content"), sorted(DAMAGED))
def test_damaged_finished_stage_error_names_the_fresh_option(tmp_path, name, content):
    one = tmp_path / "one"
    one.mkdir()
    (one / RECORD).write_text('{"figures": {"loss": 1.0}}', encoding="utf-8")
    save_whole(
        {key: value.detach() for key, value in make_model().named_parameters() if value.requires_grad},
        one / WEIGHTS,
    )
    (one / name).write_bytes(content)
    with pytest.raises(ArtefactError, match=r"one.* --fresh"):
        run_stages(
            make_model(),
            STAGES[:1],
            run_dir=tmp_path,
            task_of=task_of,
            optim_of=lambda stage: OPTIM,
            resume=True,
            progress=False,
        )


# --- splits

WHOLE = Corpus(
    "meld",
    "train",
    tuple(Conversation(f"c{i}", (Utterance(f"c{i}-0", 0, "A", "x"),)) for i in range(20)),
    "meld",
    "toy",
    (),
    (),
)


def test_split_sample_keeps_the_order_and_depends_on_the_seed():
    first, again, other = (sampled(WHOLE, 6, seed=seed).conversations for seed in (1, 1, 2))
    assert first == again != other
    assert list(first) == [talk for talk in WHOLE.conversations if talk in first]
    assert len(first) == 6


@pytest.mark.parametrize("limit", [None, 20, 50])
def test_split_sample_of_a_small_split_is_the_whole_split(limit):
    assert sampled(WHOLE, limit) is WHOLE
