"""The model card of an adapter, `README.md` in its folder, generated from its record."""

from __future__ import annotations

from pathlib import Path

import yaml
from jinja2 import Environment, StrictUndefined

from erc.llm.base.adapters import AdapterRecord
from erc.persistence.card import INTENDED_USE, policy_lines

CARD = "README.md"
_OF_THE_RUN = ("seconds", "step")
"""Keys that the Trainer records in addition to its figures."""
_TEMPLATE = """---
library_name: peft
base_model: {{ record.base }}
pipeline_tag: text-generation
language: en
datasets: [{{ corpora | join(", ") }}]
---
# {{ name }}

A LoRA adapter with which a language model labels the emotion of the last turn of a dialogue, trained by the
recipe `{{ config.name }}`. The label is not read from generated text: every label of the set is scored.

| | |
| --- | --- |
| emotions | {{ record.label_set }}: {{ record.labels | join(", ") }} |
| base model | {{ record.base }}, {{ base }} |
| adapter | r {{ lora.r }}, alpha {{ lora.alpha }}, dropout {{ lora.dropout }}, on {{ lora.targets }} |
| prompt | {{ record.prompt }} (hash {{ record.prompt_sha256[:12] }}), at most {{ llm.max_tokens }} tokens |
| shown | {{ shown | join(", ") }} |
| stages | {{ llm.stages | join(", then ") }} |
| libraries | {{ versions }} |

## Figures on dev

Trained on the train split only; the checkpoint was chosen on dev. Figures are those of calibrated decisions,
each calibrated on other dialogues.

| figure | value |
| --- | --- |
{% for figure, value in figures -%}
| {{ figure }} | {{ value }} |
{% endfor -%}
| seed | {{ config.optim.seed }} |

## Decision policies

{{ policies }}

## Trained on

{% for file, sha in record.extra.files.items() -%}
- `{{ config.data.corpus }}/{{ file }}` SHA-256 `{{ sha }}`
{% endfor %}
## Use

`erc label --model llm:FOLDER FILES` labels with it and its calibrator. If the base is in another folder, use
`--model llm:BASE --adapter FOLDER`. vLLM and PEFT load the folder without changes.

{{ use }}

## Configuration

```yaml
{{ yaml }}```
"""


def write_adapter_card(folder: Path, record: AdapterRecord) -> None:
    """Writes the card into an adapter folder, replacing the empty one that PEFT writes."""
    config = record.extra["config"]
    llm = config["llm"]
    weights = (
        f"weights of digest {record.base_weights}" if record.base_weights else f"revision {record.revision}"
    )
    shown = ["the dialogue so far"]
    shown += ["bios of the speakers"] if llm["bios"] else []
    shown += (
        [f"{llm['history']} past turns of the speaker by {llm['retrieval']}"]
        if llm["history"] and llm["retrieval"] != "none"
        else []
    )
    shown += (
        [f"{llm['demonstrations']} labelled turns of the training corpus"] if llm["demonstrations"] else []
    )
    environment = Environment(undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True)
    text = environment.from_string(_TEMPLATE).render(
        name=folder.name,
        record=record,
        figures=[
            (figure.replace("_f1", " F1"), f"{value:.3f}")
            for figure, value in record.extra["figures"].items()
            if figure not in _OF_THE_RUN
        ],
        config=config,
        llm=llm,
        lora=llm["lora"],
        base=weights,
        shown=shown,
        corpora=[config["data"]["corpus"]],
        versions=", ".join(f"{name} {version}" for name, version in record.extra["versions"].items()),
        policies=policy_lines(record.extra["policy"]),
        use=INTENDED_USE,
        yaml=yaml.safe_dump(config, sort_keys=False),
    )
    (folder / CARD).write_text(text, encoding="utf-8")
