"""The model card, generated from the figures and the configuration of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, StrictUndefined

if TYPE_CHECKING:
    from erc.persistence.info import ArtefactInfo

INTENDED_USE = """\
Intended: text of conversations, in English, to help people read them. A label is a guess about how words
read, not about what a person feels. Not intended: judging people at work or in education, hiring, credit, law
enforcement, or any decision about a person without a human who reads the text. The training texts hold slurs
and the biases of their source."""
"""The intended use, the same in every card."""
_TEMPLATE = """---
license: apache-2.0
language: en
library_name: convemo
pipeline_tag: text-classification
base_model: {{ info.base }}
datasets: [{{ corpora | join(", ") }}]
---
# {{ info.identity }}

{{ summary }}

| | |
| --- | --- |
| emotions | {{ info.emotion_set }}: {{ info.labels | join(", ") }} |
| base encoder | {{ info.base }} ({{ weights }}) |
| uncertainty | Monte-Carlo dropout, {{ sampling }}; dropout {{ info.hidden_dropout }} |
| reads | the first {{ info.max_tokens }} tokens of a turn |
| libraries | {{ versions }} |

## Figures on {{ metrics.split }}

Trained on the train split only; the checkpoint was chosen on dev. What is fitted on dev is reported
**cross-fitted**.

| figure | value |
| --- | --- |
{% for name, value in figures -%}
| {{ name }} | {{ value }} |
{% endfor %}
{{ per_label }}

## Decision policies

{{ policies }}
{% if policy_note %}
{{ policy_note }}
{% endif %}
## Trained on

{% for name, sha in info.data.items() -%}
- `{{ name }}` SHA-256 `{{ sha }}`
{% endfor %}
{% for licence in info.licences -%}
- {{ licence }}
{% endfor %}
## Use

{{ use }}

## Configuration

```yaml
{{ config }}```
"""


def write_card(
    info: ArtefactInfo,
    metrics: Mapping[str, Any],
    *,
    summary: str,
    figures: list[tuple[str, str]],
    per_label: str = "",
    policy: Mapping[str, Any] | None = None,
    policy_note: str = "",
) -> str:
    """A model card in Markdown with the metadata block of the Hugging Face hub.

    Args:
        info: The description of the model.
        metrics: Figures of the run; the card reads `split`.
        summary: The first paragraph.
        figures: Rows of name and value.
        per_label: A Markdown table of figures per label.
        policy: Records of the decision policies by emotion set.
        policy_note: A paragraph on the limits of the policies.
    """
    import yaml

    environment = Environment(
        undefined=StrictUndefined, autoescape=False, trim_blocks=False, keep_trailing_newline=True
    )
    return environment.from_string(_TEMPLATE).render(
        info=info,
        metrics=metrics,
        summary=summary,
        weights="weights stored whole"
        if info.delta == "none"
        else f"weights stored as an {info.delta} difference",
        sampling=f"{info.uncertainty['samples']} samples, mode `{info.uncertainty['mode']}`",
        use=INTENDED_USE,
        figures=figures,
        per_label=per_label,
        policies=policy_lines(policy or {}),
        policy_note=policy_note,
        corpora=sorted({name.partition("/")[0] for name in info.data}),
        versions=", ".join(f"{name} {version}" for name, version in info.versions.items()),
        config=yaml.safe_dump(dict(info.config), sort_keys=False),
    )


def policy_lines(policy: Mapping[str, Any]) -> str:
    """One line per emotion set, with the error rate and the coverage of its policy."""
    lines = []
    for name, record in policy.items():
        fitted = record.get("fitted") or {}
        coverage = f"{fitted.get('coverage', 1.0):.0%} of dev turns are accepted"
        if fitted.get("target") == "risk":
            promise = (
                f"error among accepted turns at most {fitted['level']:.0%} with probability "
                f"{1 - fitted['delta']:.0%}"
            )
            lines.append(f"- `{name}`: {promise}; {coverage}, error among them {fitted['risk']:.1%}")
        else:
            lines.append(
                f"- `{name}`: no error rate could be promised; the surer turns are accepted ({coverage})"
            )
    return "\n".join(lines) or "None: every turn is accepted."
