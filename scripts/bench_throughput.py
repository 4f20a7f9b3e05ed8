"""Measures labelling speed against `transformers.pipeline` with the same weights.

    python scripts/bench_throughput.py [--model NAME] [--repeats N]

Prints utterances per second of `Predictor.label`, and the ratios to the pipeline called with one text at a
time and with a list in batches of 32.
"""

from __future__ import annotations

from typing import Any

from bench_common import (
    arguments,
    conversations,
    interleaved,
    predictor,
    print_machine,
    print_table,
    texts_of,
    verdict,
)


def main() -> None:
    """Print the rates and the ratios."""
    options = arguments(__doc__, repeats=3)
    corpus, dialogues = conversations()
    texts = texts_of(dialogues)
    ours = {f"erc, uncertainty {mode}": predictor(options.model, mode) for mode in ("off", "default")}
    pipe = text_pipeline(options.model)
    print_machine()
    pipe(texts[:8])
    candidates: dict[str, Any] = {name: lambda p=p: p.label(dialogues) for name, p in ours.items()}
    candidates["pipeline, list, batch_size=32"] = lambda: pipe(texts, batch_size=32)
    candidates["pipeline, one text at a time"] = lambda: [pipe(text) for text in texts]
    for p in ours.values():
        p.label(dialogues[:8])
    seconds = interleaved(candidates, options.repeats)
    clock = {name: taken.clock for name, taken in seconds.items()}
    *_, batched, single = clock.values()
    rows = [
        [name, f"{len(texts) / s:,.0f}", f"{single / s:.1f}x", f"{batched / s:.1f}x"]
        for name, s in clock.items()
    ]
    print_table(
        f"Labelling {len(texts):,} utterances ({corpus})",
        ["", "utterances/s", "against one by one", "against batches"],
        rows,
    )
    for name in ours:
        verdict(f"{name}, against one text at a time", single / clock[name], least=10)
        verdict(f"{name}, against batches of 32", batched / clock[name], least=3)


def text_pipeline(model: str) -> Any:
    """Return a stock text-classification pipeline with a model's weights.

    It runs in fp32 with the library's default attention and returns uncalibrated sigmoids.
    """
    from torch import Tensor
    from transformers import (
        AutoConfig,
        AutoModelForSequenceClassification,
        PretrainedConfig,
        PreTrainedModel,
        pipeline,
    )
    from transformers.modeling_outputs import SequenceClassifierOutput

    from erc.persistence import load_model

    artefact = load_model(model)
    network: Any = artefact.network
    network.encoder.backbone.set_attn_implementation("sdpa")

    class Config(PretrainedConfig):
        model_type = "convemo-benchmark"

    class Classifier(PreTrainedModel):
        config_class = Config

        def __init__(self, config: Config) -> None:
            super().__init__(config)
            self.network = network

        def forward(self, input_ids: Tensor, attention_mask: Tensor, **_: Any) -> SequenceClassifierOutput:
            return SequenceClassifierOutput(
                logits=network(input_ids=input_ids, attention_mask=attention_mask).logits
            )

    labels = dict(enumerate(artefact.info.labels))
    config = Config(
        id2label=labels,
        label2id={label: i for i, label in labels.items()},
        problem_type="multi_label_classification",
    )
    AutoConfig.register(Config.model_type, Config)
    AutoModelForSequenceClassification.register(Config, Classifier)
    options = {"truncation": True, "max_length": artefact.info.max_tokens}
    return pipeline(
        "text-classification",
        model=Classifier(config),
        tokenizer=artefact.tokenizer,
        top_k=None,
        device="cpu",
        **options,
    )


if __name__ == "__main__":
    main()
