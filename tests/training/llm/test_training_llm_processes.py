"""A recipe trained by several processes: one process generates the texts for all."""

from __future__ import annotations

import pytest
from several import together
from tiny_corpora import write_corpora

from erc.config import load_config
from erc.llm.backends.local import LocalScorer
from erc.llm.base.adapters import AdapterRecord
from erc.memory.training_inputs import input_maker
from erc.resources import resource_dir
from erc.training.experiment import run_experiment


@pytest.fixture(scope="module")
def config(tmp_path_factory, tiny_lm_dir):
    data = write_corpora(tmp_path_factory.mktemp("several") / "data")
    small = (
        "llm.max_tokens=1200",
        "llm.turns=3",
        "llm.pack_tokens=",
        "llm.lora.r=2",
        "optim.batch_size=8",
        "optim.epochs=1.0",
        "optim.micro_batch_size=",
    )
    exact = ("llm.precision=fp32", "optim.precision=fp32", "data.train_limit=4", "data.dev_limit=3")
    return load_config(
        resource_dir("configs") / "llm-laercs-meld.yaml",
        [f"data.root={data}", f"llm.base={tiny_lm_dir}", *small, *exact],
    )


def train(rank, config, folder):
    """The adapter, the number of texts this process wrote, and the figures; rank 0's texts are empty."""
    asked = []

    def written(self, prompts, *, settings=None):
        asked.extend(prompts)
        return ["" if rank == 0 and number % 3 == 0 else "They are glad." for number, _ in enumerate(prompts)]

    LocalScorer.generate = written
    with input_maker(config, folder / "inputs") as inputs:
        adapter = run_experiment(config, folder / "run", progress=False, inputs=inputs)
    return adapter, len(asked), AdapterRecord.load(adapter).extra["figures"]


def test_main_process_writes_texts_and_all_processes_train_on_them(config, tmp_path):
    (adapter, asked, figures), (same, unasked, others) = together(train, config, tmp_path, seconds=120)
    assert asked > unasked == 0
    assert (adapter, figures) == (same, others)
