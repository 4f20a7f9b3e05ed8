"""The configuration tree: defaults, differences, overrides, and refusals that name the place and the mend."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from erc.config import EmoNetConfig, ExperimentConfig, load_config
from erc.errors import ConfigError

MINIMAL = "name: run\ntask: utterance\ndata: {corpus: goemotions}\n"


@pytest.fixture
def write(tmp_path: Path):
    def to_file(text: str) -> Path:
        path = tmp_path / "experiment.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return to_file


def refusal(path: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides)
    return str(caught.value)


def test_minimal_file_takes_every_default(write) -> None:
    config = load_config(write(MINIMAL))
    assert config == ExperimentConfig(name="run", task="utterance", data={"corpus": "goemotions"})
    assert (config.optim.learning_rate, config.optim.head_learning_rate, config.optim.epochs) == (
        1e-4,
        3e-4,
        3.0,
    )
    assert config.emonet is None


def test_file_states_differences_only(write) -> None:
    config = load_config(write(MINIMAL + "optim:\n  epochs: 1\n"))
    assert config.optim.epochs == 1
    assert config.optim.batch_size == 32


@pytest.mark.parametrize(
    ("written", "value"), [("1e-4", 1e-4), ("2E5", 2e5), (".5e-3", 5e-4), ("3.0e-4", 3e-4), ("1", 1.0)]
)
def test_number_in_any_usual_spelling_is_a_number(write, written: str, value: float) -> None:
    assert load_config(write(MINIMAL + f"optim: {{learning_rate: {written}}}\n")).optim.learning_rate == value


def test_words_that_merely_resemble_numbers_stay_words(write) -> None:
    assert load_config(write(MINIMAL + "artefact: {init_from: e5}\n")).artefact.init_from == "e5"


def test_data_root_becomes_a_path(write) -> None:
    assert load_config(write(MINIMAL), ["data.root=some/folder"]).data.root == Path("some/folder")


def test_later_override_wins_over_earlier_and_file(write) -> None:
    path = write(MINIMAL + "optim: {epochs: 5}\n")
    assert load_config(path, ["optim.epochs=1", "optim.epochs=0.5"]).optim.epochs == 0.5


def test_override_reaches_a_section_the_file_does_not_have(write) -> None:
    assert load_config(write(MINIMAL), ["head.hidden=64"]).head.hidden == 64


def test_override_without_a_value_sets_null(write) -> None:
    assert load_config(write(MINIMAL), ["optim.ema_decay="]).optim.ema_decay is None


def test_emonet_task_gets_its_section_and_others_refuse_it(write) -> None:
    path = write(MINIMAL)
    assert load_config(path, ["task=emonet"]).emonet == EmoNetConfig()
    assert load_config(path, ["task=emonet", "emonet.turn_window=3"]).emonet == EmoNetConfig(turn_window=3)
    assert "task is 'utterance'" in refusal(path, "emonet.turn_window=3")


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["optim.ema_decay=", "optim.learning_rate=1e-5", "data.root=a b/c"],
        ["task=emonet", "emonet.bio=linear"],
    ],
)
def test_yaml_of_a_resolved_tree_reads_back_equal(write, overrides: list[str]) -> None:
    config = load_config(write(MINIMAL), overrides)
    assert load_config(write(config.to_yaml())) == config


def test_config_cannot_be_changed_after_reading(write) -> None:
    config = load_config(write(MINIMAL))
    with pytest.raises(ValidationError, match="frozen"):
        config.optim.epochs = 4  # type: ignore[misc]


def test_unknown_key_is_named_with_line_nearest_key_and_known_keys(write) -> None:
    message = refusal(write(MINIMAL + "optim:\n  epochs: 1\n  learning_rte: 1e-4\n"))
    assert "experiment.yaml:6: unknown key 'optim.learning_rte' (did you mean 'learning_rate'?)" in message
    assert "head_learning_rate" in message
    assert "turn_window" not in message


def test_unknown_section_is_named_with_nearest_section(write) -> None:
    assert "unknown key 'backbon' (did you mean 'backbone'?)" in refusal(write(MINIMAL + "backbon: {}\n"))


def test_unknown_key_below_an_optional_section_lists_that_sections_keys(write) -> None:
    message = refusal(write(MINIMAL), "task=emonet", "emonet.turn_windw=3")
    assert (
        "override 'emonet.turn_windw=3': unknown key 'emonet.turn_windw' (did you mean 'turn_window'?)"
        in message
    )
    assert "speaker_dropout" in message


def test_every_fault_is_told_at_once(write) -> None:
    message = refusal(write("name: run\ntask: utterance\noptim: {epochs: 0}\nloss: {kind: bcee}\n"))
    assert message.count("\n") == 2
    assert "the key 'data' is required" in message
    assert "'optim.epochs' is 0" in message
    assert "'loss.kind' is 'bcee'" in message
    assert "did you mean 'bce'" in message


@pytest.mark.parametrize(
    "override",
    [
        "backbone.hidden_dropout=1",
        "backbone.hidden_dropout=-0.1",
        "head.dropout=.nan",
        "head.hidden=0",
        "optim.learning_rate=0",
        "optim.weight_decay=-1",
        "optim.epochs=.inf",
        "optim.batch_size=2.5",
        "optim.batch_size=true",
        "optim.epochs='3'",
        "optim.ema_decay=1.0",
        "optim.warmup_fraction=1",
        "optim.early_stopping=0",
        "optim.length_bucketing=1",
        "optim.precision=fp16",
        "uncertainty.samples=0",
        "uncertainty.mode=all",
        "data.max_tokens=0",
        "data.corpus=''",
        "name=../escape",
        "schema_version=2",
        "task=emo",
        "head=3",
    ],
)
def test_value_of_wrong_type_or_range_is_refused_naming_the_override(write, override: str) -> None:
    message = refusal(write(MINIMAL), override)
    assert f"override '{override}'" in message
    assert override.partition("=")[0] in message


@pytest.mark.parametrize(
    "override", ["optim.epochs", "=3", "optim.=3", ".epochs=3", "optim.epochs={", "name.first=x"]
)
def test_malformed_override_is_refused(write, override: str) -> None:
    assert refusal(write(MINIMAL), override).startswith(f"override '{override}': ")


def test_key_that_stands_twice_is_refused_with_both_lines(write) -> None:
    message = refusal(write(MINIMAL + "optim:\n  epochs: 1\n  seed: 3\n  epochs: 2\n"))
    assert "experiment.yaml:7: the key 'epochs' is repeated in one section (first in line 5)" in message


def test_merged_keys_may_be_stated_again(write) -> None:
    text = "name: run\ntask: utterance\ndata:\n  <<: {corpus: meld, max_tokens: 64}\n  corpus: goemotions\n"
    data = load_config(write(text)).data
    assert (data.corpus, data.max_tokens) == ("goemotions", 64)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("- a\n- b\n", "mapping of keys to values"),
        ("", "the key 'name' is required"),
        ("name: [\n", ":2: "),
        ("name: !!python/object/apply:os.getcwd []\n", ":1: could not determine a constructor"),
        ("? [a, b]\n: 1\n", "unhashable"),
        ("a: 1\n---\nb: 2\n", "expected a single document"),
    ],
)
def test_file_that_is_no_configuration_is_refused(write, text: str, complaint: str) -> None:
    message = refusal(write(text))
    assert "experiment.yaml" in message
    assert complaint in message


def test_missing_and_undecodable_files_are_refused(tmp_path: Path) -> None:
    assert "no such configuration file" in refusal(tmp_path / "absent.yaml")
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"name: \xff\xfe")
    assert "UTF-8" in refusal(binary)


@pytest.mark.parametrize(
    ("task", "change", "message"),
    [
        ("emonet", "loss.class_weights=emcoder", r"loss\.class_weights 'emcoder' is for independent labels"),
        ("llm", "loss.class_weights=emcoder", r"loss\.class_weights 'emcoder' is for independent labels"),
        (
            "utterance",
            "loss.class_weights=inverse",
            r"loss\.class_weights 'inverse' is for exclusive emotions",
        ),
        ("utterance", "loss.label_smoothing=0.1", r"loss\.label_smoothing is for exclusive emotions"),
        ("utterance", "loss.kind=cross_entropy", r"loss\.kind is 'cross_entropy', but task utterance"),
        ("emonet", "loss.kind=bce", r"loss\.kind is 'bce', but task emonet"),
        ("emonet", "distillation.teachers=2", r"the section 'distillation' is for task 'utterance'"),
        ("emonet", "backbone.attention_dropout=0.1", r"backbone\.attention_dropout must be 0"),
        ("llm", "backbone.name=roberta-base", r"the section 'backbone' is for encoders.*llm\.base"),
        ("llm", "head.dropout=0.5", r"the section 'head' is for encoders"),
        ("llm", "uncertainty.samples=3", r"the section 'uncertainty' is for encoders.*--samples"),
        ("llm", "artefact.init_from=goemotions-minilm", r"the section 'artefact' is for encoders"),
        ("llm", "data.max_tokens=8", r"data\.max_tokens is for encoders.*llm\.max_tokens"),
        ("llm", "optim.head_learning_rate=1e-3", r"optim\.head_learning_rate is for encoders"),
        (
            "llm",
            "llm.retrieval=similarity",
            r"llm\.retrieval 'similarity' selects from past turns, but llm\.history is 0",
        ),
    ],
)
def test_config_refuses_what_its_task_would_pass_over(tmp_path, task, change, message):
    path = tmp_path / "one.yaml"
    path.write_text(f"name: one\ntask: {task}\ndata: {{corpus: meld}}\n")
    load_config(path)
    with pytest.raises(ConfigError, match=message):
        load_config(path, [change])


@pytest.mark.parametrize(
    ("task", "kind"), [("utterance", "bce"), ("emonet", "cross_entropy"), ("llm", "cross_entropy")]
)
def test_config_learns_what_its_task_says_and_reads_itself_back(tmp_path, task, kind):
    path = tmp_path / "one.yaml"
    path.write_text(f"name: one\ntask: {task}\ndata: {{corpus: meld}}\n")
    config = load_config(path)
    assert config.loss.kind == kind
    path.write_text(config.to_yaml())
    assert load_config(path) == config


def test_unknown_section_of_an_override_is_not_laid_at_the_files_door(write) -> None:
    message = refusal(write(MINIMAL), "foo.bar=1")
    assert message.startswith("override 'foo.bar=1': unknown key 'foo'")


def test_unknown_section_that_the_file_opens_is_the_files(write) -> None:
    path = write(MINIMAL + "foo: {}\n")
    assert refusal(path, "foo.bar=1").startswith(f"{path}:")
