"""Language models in the Predictor and `erc label`: records, calibration, cascade, memory."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
import torch
from label_parts import FAST, LABELS, SHORT, numbers
from lm_server import Behaviour, running
from safetensors.torch import load_file, save_file
from tiny_emonet import ANA, BEN, talk
from typer.testing import CliRunner

from erc.cli.app import app
from erc.data import Conversation, Utterance
from erc.data.conversation import Context
from erc.emotions import load_emotion_map, load_emotion_set
from erc.errors import ArtefactError, ConfigError, NoDropoutError
from erc.inference import llm_loading, loading
from erc.inference.live.conversation import LiveConversation
from erc.inference.loading import load_cascade, load_predictor
from erc.inference.scorers.settings import InferenceSettings
from erc.llm.backends.local import LocalScorer
from erc.llm.backends.server import ServerError
from erc.llm.base.adapters import AdapterRecord
from erc.llm.base.digests import known_weights
from erc.llm.prompts.builder import PromptBuilder
from erc.llm.prompts.template import PromptTemplate
from erc.uncertainty.policy import DecisionPolicy


def test_predictor_subtracts_the_content_free_prior_from_turn_scores(tiny_lm_dir):
    predictor = load_predictor(f"llm:{tiny_lm_dir}", settings=FAST, emotions="meld")
    predictions = predictor.label([SHORT, talk("b", BEN[:2])])[0].predictions
    scorer = LocalScorer.load(str(tiny_lm_dir), precision="fp32")
    builder = PromptBuilder(encoder=scorer.encoder, labels=LABELS)
    asked = [*(builder.emotion(Context.causal(SHORT, index)) for index in range(3)), builder.content_free()]
    *turns, nothing = scorer.score(asked, LABELS).log_likelihood
    relative = np.exp(np.array(turns) - nothing)
    np.testing.assert_allclose(
        numbers(predictions), relative / relative.sum(axis=1, keepdims=True), atol=1e-6
    )


def test_model_without_an_adapter_is_uniform_for_content_free_text(tiny_lm_dir, tiny_lm):
    """Subtracting the prior removes the effect of label length, locally and on a server."""
    nothing = Conversation("n", (Utterance("n0", 0, "Someone", "N/A"),))
    with running(Behaviour(model=tiny_lm)) as url:
        for server in (None, url):
            with closing(
                load_predictor(f"llm:{tiny_lm_dir}", settings=FAST, emotions="meld", server=server)
            ) as predictor:
                np.testing.assert_allclose(
                    numbers(predictor.label([nothing])[0].predictions), 1 / 7, atol=1e-4
                )
                assert not predictor.scorer.calibrated


@pytest.mark.parametrize("served", [False, True])
def test_multilabel_emotions_are_scored_by_yes_or_no_questions(tiny_lm_dir, tiny_lm, served):
    fine = load_emotion_set("goemotions").labels
    with running(Behaviour(model=tiny_lm)) as url:
        given = {"server": url} if served else {}
        with closing(
            load_predictor(f"llm:{tiny_lm_dir}", settings=FAST, emotions="goemotions", **given)
        ) as predictor:
            found = predictor.label([talk("a", ANA[:2])])[0].predictions
            live = LiveConversation(predictor)
            again = [live.append_utterance(turn) for turn in talk("a", ANA[:2])]
    scorer = LocalScorer.load(str(tiny_lm_dir), precision="fp32")
    builder = PromptBuilder(encoder=scorer.encoder, labels=fine, template=PromptTemplate.load("erc_yes_no"))
    for label in ("joy", "anger", "neutral"):
        asked = [
            *(builder.emotion(Context.causal(SHORT, index), label=label) for index in (0, 1)),
            builder.content_free(label),
        ]
        yes, no = scorer.score(asked, ("yes", "no")).log_likelihood.T
        expected = 1 / (1 + np.exp((yes - no)[2] - (yes - no)[:2]))
        np.testing.assert_allclose([one.probabilities[label] for one in found], expected, atol=1e-4)
        np.testing.assert_allclose([one.probabilities[label] for one in again], expected, atol=1e-4)
    for one in found:
        p = np.array(list(one.probabilities.values()))
        assert one.total == pytest.approx(-(p * np.log(p) + (1 - p) * np.log(1 - p)).sum(), abs=1e-6)
        assert (one.emotion, one.decision, len(p)) == (
            max(one.probabilities, key=one.probabilities.get),
            "review",
            28,
        )


@pytest.mark.parametrize(
    ("can", "given"),
    [
        ({"completions": False}, {"emotions": "goemotions"}),
        ({}, {"settings": InferenceSettings(uncertainty="head")}),
    ],
)
def test_connection_is_closed_after_an_unsupported_request(tiny_lm_dir, tiny_lm, monkeypatch, can, given):
    made, opened = [], llm_loading.open_transport
    monkeypatch.setattr(llm_loading, "open_transport", lambda url: made.append(opened(url)) or made[-1])
    with running(Behaviour(model=tiny_lm, **can)) as url, pytest.raises(ConfigError):
        load_predictor(f"llm:{tiny_lm_dir}", **{"settings": FAST, "server": url, **given})
    assert [one._client.is_closed for one in made] == [True]


def test_multilabel_emotions_need_exact_scores(tiny_lm_dir, tiny_lm):
    with (
        running(Behaviour(model=tiny_lm, completions=False)) as url,
        pytest.raises(ConfigError, match="exact scores"),
    ):
        load_predictor(f"llm:{tiny_lm_dir}", settings=FAST, emotions="goemotions", server=url)


def test_predictor_fine_emotions_come_from_the_shared_classifier(tiny_lm_dir):
    found, expected = (
        load_predictor(name, settings=FAST).label([SHORT])[0].predictions
        for name in (f"llm:{tiny_lm_dir}", "tiny-utterance")
    )
    assert [one.fine for one in found] == [one.fine for one in expected]


def test_predictor_without_calibration_marks_every_turn_for_review(tiny_lm_dir):
    predictor = load_predictor(f"llm:{tiny_lm_dir}", settings=FAST)
    assert {one.decision for one in predictor.label([SHORT])[0].predictions} == {"review"}


def test_predictor_of_an_adapter_applies_its_calibrator_and_policy(adapter):
    predictor = load_predictor(f"llm:{adapter}", settings=FAST)
    predictions = predictor.label([SHORT])[0].predictions
    model = predictor.scorer.model
    raw = model.backend.score(
        [question.prompt for question in predictor.scorer.questions(SHORT)], LABELS
    ).log_likelihood
    flat = np.exp(raw / 5.0)
    np.testing.assert_allclose(numbers(predictions), flat / flat.sum(axis=1, keepdims=True), atol=1e-6)
    assert [one.decision for one in predictions] == [
        "accept" if one.confidence >= 0.3 else "review" for one in predictions
    ]


def test_predictor_of_an_adapter_samples_its_dropout(adapter):
    drawn = (
        load_predictor(f"llm:{adapter}", settings=InferenceSettings(precision="fp32", samples=3))
        .label([SHORT])[0]
        .predictions
    )
    plain = load_predictor(f"llm:{adapter}", settings=FAST).label([SHORT])[0].predictions
    assert all(
        one.epistemic > 1e-4 and one.total == pytest.approx(one.aleatoric + one.epistemic) for one in drawn
    )
    assert {one.epistemic for one in plain} == {None}
    np.testing.assert_allclose(numbers(drawn), numbers(plain), atol=1e-6)


def trained_over(adapter, folder, **changes):
    """The adapter with other recorded settings of the section `llm`."""
    shutil.copytree(adapter, folder)
    record = AdapterRecord.load(folder)
    llm = record.extra["config"]["llm"] | changes
    replace(record, extra=record.extra | {"config": {"llm": llm}}).save(folder)
    return folder


@pytest.mark.parametrize(
    ("asked", "trained", "able", "loaded"),
    [
        ("auto", "4bit", True, "4bit"),
        ("auto", "fp32", True, "fp32"),
        ("auto", "auto", True, "auto"),
        ("fp32", "4bit", True, "fp32"),
        ("4bit", "bf16", True, "4bit"),
        ("auto", "4bit", False, "bf16"),
        ("auto", "bf16", False, "auto"),
    ],
)
def test_base_is_loaded_in_the_precision_of_adapter_training(
    adapter, tmp_path, monkeypatch, asked, trained, able, loaded
):
    folder, load, found = trained_over(adapter, tmp_path / "copy", precision=trained), LocalScorer.load, []
    monkeypatch.setattr(llm_loading, "can_four_bit", lambda device: able)
    monkeypatch.setattr(llm_loading, "bf16_is_fast", lambda: able)
    monkeypatch.setattr(llm_loading, "resolve_precision", lambda precision: "bf16")
    monkeypatch.setattr(
        LocalScorer,
        "load",
        lambda *a, precision, **given: found.append(precision) or load(*a, precision="fp32", **given),
    )
    predictor = load_predictor(
        f"llm:{folder}", settings=InferenceSettings(precision=asked, uncertainty="off")
    )
    assert found == [loaded]
    assert len(predictor.scorer.model.remarks) == (trained == "4bit" and not able)


def test_four_bit_precision_is_refused_if_unsupported(adapter):
    four_bit = InferenceSettings(precision="4bit", uncertainty="off")
    with pytest.raises(ConfigError, match="language models"):
        load_predictor("tiny-hierarchical", settings=four_bit)
    with pytest.raises(ConfigError, match="language models"):
        load_predictor("tiny-utterance", settings=four_bit)
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="--precision bf16"):
            load_predictor(f"llm:{adapter}", settings=four_bit)
        with pytest.raises(ConfigError, match="--precision bf16"):
            load_cascade("tiny-hierarchical", f"llm:{adapter}", settings=four_bit)


def test_predictor_ignores_later_turns(adapter):
    predictor = load_predictor(f"llm:{adapter}", settings=FAST)
    whole, start = (predictor.label([one])[0].predictions for one in (talk("a", ANA[:4]), talk("a", ANA[:2])))
    np.testing.assert_allclose(numbers(whole[:2]), numbers(start), atol=1e-6)


def test_predictor_reports_a_mapped_emotion_set(adapter):
    found = (
        load_predictor(f"llm:{adapter}", settings=FAST, emotions="sentiment").label([SHORT])[0].predictions
    )
    own = load_predictor(f"llm:{adapter}", settings=FAST).label([SHORT])[0].predictions
    expected = load_emotion_map("meld", "sentiment").apply(numbers(own))
    np.testing.assert_allclose(
        [[one.probabilities[label] for label in load_emotion_set("sentiment").labels] for one in found],
        expected,
        atol=1e-6,
    )
    assert {one.decision for one in found} == {"review"}  # no policy was fitted for this set


def test_served_model_gives_the_same_records_as_the_local_model(tiny_lm_dir, tiny_lm):
    with (
        running(Behaviour(model=tiny_lm)) as url,
        closing(
            load_predictor(f"llm:{tiny_lm_dir}", settings=FAST, emotions="meld", server=url)
        ) as predictor,
    ):
        served = predictor.label([SHORT])[0].predictions
    local = load_predictor(f"llm:{tiny_lm_dir}", settings=FAST, emotions="meld").label([SHORT])[0].predictions
    np.testing.assert_allclose(numbers(served), numbers(local), atol=1e-4)
    assert url in served[0].model


def trained_again(folder):
    """Replaces an adapter's weights."""
    path = folder / "adapter_model.safetensors"
    save_file({name: values * 1.01 for name, values in load_file(path).items()}, path)


def test_adapters_with_the_same_name_are_different_models(adapter, tmp_path):
    copies = [shutil.copytree(adapter, tmp_path / place / adapter.name) for place in ("here", "there")]
    names = [load_predictor(f"llm:{copy}", settings=FAST).scorer.identity for copy in copies]
    trained_again(copies[1])
    assert names == [names[0]] * 2
    assert (
        load_predictor(f"llm:{copies[1]}", settings=FAST).scorer.identity.partition("#")[0]
        == names[0].partition("#")[0]
    )
    assert load_predictor(f"llm:{copies[1]}", settings=FAST).scorer.identity != names[0]


def test_cached_answers_are_not_used_for_a_retrained_adapter(adapter, tmp_path, tiny_lm):
    folder, behaviour, asked = shutil.copytree(adapter, tmp_path / "copy"), Behaviour(model=tiny_lm), []
    with running(behaviour) as url:
        for again in (False, False, True):
            if again:
                trained_again(folder)
            given = {"adapter": folder, "server": url, "cache": tmp_path / "kept"}
            with closing(load_predictor("llm:served", settings=FAST, **given)) as predictor:
                behaviour.requests = []
                predictor.label([SHORT])
                asked.append(len(behaviour.requests))
    assert asked[0] == asked[2] > asked[1] == 0


def test_choice_mode_of_a_server_has_no_uncertainty_and_no_calibration(adapter, tiny_lm):
    with (
        running(Behaviour(model=tiny_lm, completions=False, top_logprobs=False, preferred="anger")) as url,
        closing(load_predictor("llm:served", settings=FAST, adapter=adapter, server=url)) as predictor,
    ):
        found = predictor.label([SHORT])[0].predictions
    assert {(one.emotion, one.decision, one.to_record()["uncertainty"]["total"]) for one in found} == {
        ("anger", "review", None)
    }


@pytest.mark.parametrize(
    ("name", "settings", "given", "error"),
    [
        ("tiny-hierarchical", FAST, {"server": "http://localhost:1/v1"}, ConfigError),
        ("llm:", FAST, {}, ConfigError),
        ("llm:{adapter}", FAST, {"emotions": "goemotions"}, ConfigError),
        ("llm:{base}", InferenceSettings(uncertainty="head"), {}, ConfigError),
        ("llm:{base}", InferenceSettings(uncertainty="full"), {}, NoDropoutError),
        ("llm:./absent", FAST, {}, ArtefactError),
    ],
)
def test_unsupported_language_model_settings_are_refused(name, settings, given, error, tiny_lm_dir, adapter):
    with pytest.raises(error):
        load_predictor(name.format(base=tiny_lm_dir, adapter=adapter), settings=settings, **given)


@pytest.mark.parametrize("trained", ["0" * 64, None], ids=["another", "none"])
def test_adapter_trained_with_another_chat_template_is_refused(adapter, tmp_path, trained):
    folder = shutil.copytree(adapter, tmp_path / "copy")
    replace(AdapterRecord.load(folder), chat_template_sha256=trained).save(folder)
    with pytest.raises(ArtefactError, match="chat template"):
        load_predictor(f"llm:{folder}", settings=FAST)


@pytest.mark.parametrize(
    ("can", "kind"),
    [
        ({}, "exact"),
        ({"completions": False}, "codes"),
        ({"completions": False, "top_logprobs": False}, "none"),
    ],
)
def test_record_names_the_prompt_and_the_kind_of_scores(adapter, tiny_lm, can, kind):
    with (
        running(Behaviour(model=tiny_lm, preferred="anger", **can)) as url,
        closing(load_predictor("llm:served", settings=FAST, adapter=adapter, server=url)) as predictor,
    ):
        found = predictor.label([SHORT])[0].predictions[0].to_record()
    prompt = AdapterRecord.load(adapter)
    assert (found["score_kind"], found["prompt"]) == (kind, f"{prompt.prompt}@{prompt.prompt_sha256[:12]}")
    assert (
        not {"prompt", "score_kind"}
        & load_predictor("tiny-hierarchical", settings=FAST)
        .label([SHORT])[0]
        .predictions[0]
        .to_record()
        .keys()
    )


# --- cascade


def test_cascade_uses_the_second_model_only_for_turns_under_review(cascade, adapter):
    found = cascade.label([talk("a")])[0].predictions
    first = load_predictor("tiny-hierarchical", settings=FAST).label([talk("a")])[0].predictions
    second = load_predictor(f"llm:{adapter}", settings=FAST).label([talk("a")])[0].predictions
    unsure = [one.confidence < cascade.policy.min_confidence for one in first]
    assert sum(unsure) == 3
    for answer, one, other, passed_on in zip(found, first, second, unsure, strict=True):
        expected = other if passed_on else one
        assert answer.model == expected.model
        np.testing.assert_allclose(numbers([answer]), numbers([expected]), atol=1e-5)


def test_cascade_samples_each_model_with_its_own_settings(adapter):
    made = load_cascade(
        "tiny-hierarchical",
        f"llm:{adapter}",
        settings=InferenceSettings(precision="fp32", uncertainty="head", samples=2),
    )
    made.first.policy = DecisionPolicy(min_confidence=2.0)
    found = made.label([SHORT])[0].predictions
    assert {one.model for one in found} == {made.second.scorer.identity}
    assert all(one.epistemic > 1e-4 for one in found)


def test_cascade_with_two_emotion_sets_is_refused(adapter):
    with pytest.raises(ConfigError):
        load_cascade("tiny-utterance", f"llm:{adapter}", settings=FAST)
    with pytest.raises(ConfigError, match="language model"):
        load_cascade("tiny-hierarchical", "tiny-utterance", settings=FAST)


# --- the command


def test_label_command_with_an_uncalibrated_model_warns(tmp_path, tiny_lm_dir):
    (tmp_path / "chat.txt").write_text("Ana: No.\nBen: Thank you!\n", encoding="utf-8")
    result = CliRunner().invoke(
        app,
        [
            "label",
            str(tmp_path / "chat.txt"),
            "--model",
            f"llm:{tiny_lm_dir}",
            "--precision",
            "fp32",
            "--json",
        ],
    )
    assert result.exit_code == 0, result.output
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert {(one["decision"], one["model"]) for one in found} == {
        ("review", f"llm:{tiny_lm_dir}#{known_weights(str(tiny_lm_dir))}")
    }
    assert "is not calibrated" in result.stderr


def test_label_command_with_a_second_model_names_the_answering_model(tmp_path, adapter, monkeypatch):
    monkeypatch.setattr(
        loading, "policy_for", lambda artefact, emotion_set: DecisionPolicy(min_confidence=2.0)
    )
    (tmp_path / "chat.txt").write_text("Ana: No.\nBen: Thank you!\n", encoding="utf-8")
    call = [
        "label",
        str(tmp_path / "chat.txt"),
        "--model",
        "tiny-hierarchical",
        "--second",
        f"llm:{adapter}",
        "--uncertainty",
        "off",
        "--json",
    ]
    result = CliRunner().invoke(app, call)
    assert result.exit_code == 0, result.output
    base = AdapterRecord.load(adapter).base
    assert {json.loads(line)["model"] for line in result.stdout.splitlines()} == {
        f"llm:{base}+{adapter.name}#{known_weights(base, adapter)}"
    }


def test_label_command_shows_no_library_progress_bars(tmp_path, tiny_lm_dir):
    (tmp_path / "chat.txt").write_text("Ana: No.\n", encoding="utf-8")
    result = CliRunner().invoke(
        app, ["label", str(tmp_path / "chat.txt"), "--model", f"llm:{tiny_lm_dir}", "--json"]
    )
    assert result.exit_code == 0, result.output
    assert "%|" not in result.stderr


def test_label_command_creates_a_private_server_cache(tmp_path, tiny_lm_dir, tiny_lm):
    (tmp_path / "chat.txt").write_text("Ana: No.\nBen: Thank you!\n", encoding="utf-8")
    behaviour, printed, asked = Behaviour(model=tiny_lm, completions=False), [], []
    with running(behaviour) as url:
        call = [
            "label",
            str(tmp_path / "chat.txt"),
            "--model",
            f"llm:{tiny_lm_dir}",
            "--server",
            url,
            "--cache",
            str(tmp_path / "kept"),
            "--json",
        ]
        for _ in range(2):
            result = CliRunner().invoke(app, call)
            assert result.exit_code == 0, result.output
            printed.append(result.stdout)
            asked.append(sum("Thank you" in json.dumps(body) for _, body in behaviour.requests))
    assert asked[0] == asked[1] > 0
    assert printed[0] == printed[1]
    kept = list((tmp_path / "kept").iterdir())
    assert {path.stat().st_mode & 0o777 for path in kept} == {0o600}
    assert not any(b"Thank you" in path.read_bytes() for path in kept)


@pytest.mark.parametrize("server", [[], ["--server", "http://127.0.0.1:9/v1"]])
def test_label_command_with_a_missing_model_folder_reports_it(tmp_path, server):
    (tmp_path / "chat.txt").write_text("Ana: Hello.\n", encoding="utf-8")
    error = (
        CliRunner()
        .invoke(app, ["label", str(tmp_path / "chat.txt"), "--model", "llm:/nowhere", *server])
        .exception
    )
    assert isinstance(error, ArtefactError)
    assert "'/nowhere': there is no such folder" in str(error)


def test_label_command_refuses_a_cache_without_a_server(tmp_path, tiny_lm_dir):
    for model in (f"llm:{tiny_lm_dir}", "tiny-hierarchical"):
        with pytest.raises(ConfigError, match="--cache"):
            load_predictor(model, settings=FAST, cache=tmp_path)


def test_label_command_warns_that_remembered_text_is_sent_to_the_server(tmp_path, tiny_lm_dir, tiny_lm):
    (tmp_path / "chat.txt").write_text("Ana: No.\n", encoding="utf-8")
    with running(Behaviour(model=tiny_lm)) as url:
        call = [
            "label",
            str(tmp_path / "chat.txt"),
            "--model",
            f"llm:{tiny_lm_dir}",
            "--server",
            url,
            "--json",
        ]
        alone, remembering = (
            CliRunner().invoke(app, [*call, *more])
            for more in ((), ("--memory", str(tmp_path / "speakers.db")))
        )
    assert remembering.exit_code == 0, remembering.output
    assert f"is sent to {url}" in remembering.stderr
    assert "is sent to" not in alone.stderr


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"writer": "llm:some/model"}, 1),
        ({"writer": "base", "base": "some/model"}, 1),
        ({"writer": "base", "bios": False}, 0),
        ({}, 0),
    ],
)
def test_label_command_names_the_training_bio_writer_once(tmp_path, adapter, changes, told):
    folder = trained_over(adapter, tmp_path / "adapter", **changes)
    (tmp_path / "chat.txt").write_text("Ana: No.\nBen: Thank you!\n", encoding="utf-8")
    call = ["label", str(tmp_path / "chat.txt"), "--model", f"llm:{folder}", "--uncertainty", "off", "--json"]
    alone, remembering = (
        CliRunner().invoke(app, [*call, *more]) for more in ((), ("--memory", str(tmp_path / "speakers.db")))
    )
    assert remembering.exit_code == 0, remembering.output
    assert remembering.stderr.count("`erc bios write --model llm:some/model`") == told
    assert "erc bios write" not in alone.stderr


def test_label_help_documents_the_exit_code_of_a_server_failure():
    epilog = " ".join(
        CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).stdout.partition("Exit codes:")[2].split()
    )
    assert f"{ServerError.exit_code} no answer from a model server" in epilog
