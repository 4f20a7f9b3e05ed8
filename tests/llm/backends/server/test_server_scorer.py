"""The server backend with a real HTTP server: equal scores, modes, faults and the cache."""

from __future__ import annotations

import math
import threading
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from lm_parts import build_tokenizer
from lm_server import Behaviour, running

from erc.errors import ArtefactError, ConfigError
from erc.llm.backends.local import LocalScorer
from erc.llm.backends.server import (
    ServerError,
    ServerGenerator,
    ServerScorer,
    Transport,
    TransportSettings,
    asked_mode,
    open_transport,
)
from erc.llm.backends.server.cache import AnswerCache
from erc.llm.backends.server.label_modes import coded, echoed_sum
from erc.llm.backends.server.transport import RefusedError, UnreachableError
from erc.llm.prompts.encoding import PromptEncoder
from erc.llm.prompts.template import RenderedPrompt

LABELS = ("joy", "sadness", "neutral")
PROMPTS = [
    RenderedPrompt("Judge.", (("dialogue", f"A: hi number {i}"),), "Emotion:", "t/v1", "00") for i in range(5)
]
FAST = TransportSettings(
    connect_timeout=5.0, read_timeout=10.0, retries=3, backoff=1.0, backoff_cap=3.0, concurrency=3
)


@pytest.fixture
def behaviour(tiny_lm):
    return Behaviour(model=tiny_lm)


@pytest.fixture
def server(behaviour):
    with running(behaviour) as url:
        yield url


@pytest.fixture
def waits():
    return []


@pytest.fixture
def transport(server, waits):
    made = Transport(server, settings=FAST, sleep=waits.append, jitter=lambda: 0.5)
    yield made
    made.close()


@pytest.fixture
def encoder(chat_tokenizer):
    return PromptEncoder(chat_tokenizer)


def test_echoed_scores_equal_the_local_backend(transport, encoder, tiny_lm, chat_tokenizer):
    scorer = ServerScorer(transport, model="tiny", encoder=encoder)
    assert scorer.mode == "completions"
    found, expected = (
        scorer.score(PROMPTS, LABELS),
        LocalScorer(tiny_lm, chat_tokenizer, model_id="tiny").score(PROMPTS, LABELS),
    )
    np.testing.assert_allclose(found.log_likelihood, expected.log_likelihood, atol=1e-4)
    assert found.score_kind == "exact"


def test_codes_average_two_label_orders(transport, behaviour):
    scorer = ServerScorer(transport, model="tiny")
    scores = scorer.score(PROMPTS[:1], LABELS)
    assert scorer.mode == "codes"
    # joy first: exp(-0.7), exp(-2.0), exp(-2.4); reversed, with joy last: exp(-0.7), exp(-2.0) for sadness,
    # exp(-1.6) for neutral
    first = np.exp([-0.7, -2.0, -2.4])
    second = np.exp([-0.7, -2.0, -1.6])
    np.testing.assert_allclose(
        scores.probabilities[0], 0.5 * (first / first.sum() + second / second.sum()), atol=1e-9
    )
    assert scores.score_kind == "codes"
    assert not scores.truncated[0]


def test_codes_outside_the_top_tokens_are_bounded_and_flagged(transport):
    labels = tuple(f"label{i}" for i in range(28))
    scores = ServerScorer(transport, model="tiny", mode="codes").score(PROMPTS[:1], labels)
    assert scores.truncated[0]
    assert np.isfinite(scores.log_likelihood).all()


def test_choice_scores_have_no_probabilities(transport, behaviour):
    behaviour.completions = behaviour.top_logprobs = False
    behaviour.preferred = "sadness"
    scorer = ServerScorer(transport, model="tiny")
    scores = scorer.score(PROMPTS[:2], LABELS)
    assert (scorer.mode, scores.score_kind, scores.best) == ("choice", "none", ("sadness", "sadness"))
    assert np.isnan(scores.entropy).all()


def test_server_that_ignores_constraints_is_refused(transport, behaviour):
    behaviour.completions = behaviour.top_logprobs = behaviour.constrained = False
    with pytest.raises(ServerError, match="no way to score"):
        ServerScorer(transport, model="tiny")


class Answering:
    """A chat whose first token always has these probabilities."""

    def __init__(self, **likeliest):
        self.entries = [{"token": token, "logprob": math.log(value)} for token, value in likeliest.items()]

    def ask(self, prompt, **settings):
        return {"choices": [{"logprobs": {"content": [{"top_logprobs": self.entries}]}}]}


@pytest.mark.parametrize(
    ("likeliest", "bound"),
    [
        ({"A": 0.6, "The": 0.3}, 0.1),  # 0.1 remains for all unnamed tokens
        ({"A": 0.6, "The": 0.05}, 0.05),  # unnamed tokens are at most as probable as the last named one
    ],
)
def test_label_outside_the_top_tokens_gets_the_bound_of_the_rest(likeliest, bound):
    scores = coded(Answering(**likeliest), PROMPTS[0], LABELS)
    named, other = 0.6 / (0.6 + 2 * bound), bound / (0.6 + 2 * bound)
    # A is the first label in one order and the last in the other.
    np.testing.assert_allclose(np.exp(scores.values), [(named + other) / 2, other, (named + other) / 2])
    assert scores.truncated


def test_scorer_probes_the_server_with_the_given_prompt_and_labels(transport, behaviour):
    ServerScorer(transport, model="tiny", probe=(PROMPTS[3], LABELS))
    assert all(PROMPTS[3].user in body["messages"][-1]["content"] for _, body in behaviour.requests)
    assert {
        line for _, body in behaviour.requests for line in body["messages"][-1]["content"].splitlines()
    } >= {"A = joy", "A = neutral"}


def test_mode_is_read_from_the_environment():
    assert asked_mode(environ={}) is None
    assert asked_mode(environ={"CONVEMO_SERVER_MODE": " choice "}) == "choice"
    with pytest.raises(ConfigError, match=r"CONVEMO_SERVER_MODE=chat: write completions, codes, choice"):
        asked_mode(environ={"CONVEMO_SERVER_MODE": "chat"})


@pytest.mark.parametrize("fault", [500, 503, 429, "garbage", "nested", "drop"])
def test_busy_server_raises_an_error_instead_of_a_mode_change(transport, behaviour, encoder, fault):
    behaviour.faults = [fault] * (FAST.retries + 1)
    with pytest.raises(ServerError, match="asked 4 times"):
        ServerScorer(transport, model="tiny", encoder=encoder)
    assert len(behaviour.requests) == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"key": "secret"}, "answered 401"),
        ({"served": "Other-1.5B"}, r"answered 404.*`tiny-1\.5B` does not exist"),
    ],
)
def test_wrong_key_and_wrong_model_are_reported_at_once(transport, behaviour, encoder, changes, message):
    for name, value in changes.items():
        setattr(behaviour, name, value)
    with pytest.raises(RefusedError, match=message):
        ServerScorer(transport, model="tiny-1.5B", encoder=encoder)
    assert len(behaviour.requests) == 1


@pytest.mark.parametrize("status", [400, 404, 405, 422, 501])
def test_server_that_refuses_a_mode_is_used_in_the_next_mode(transport, behaviour, encoder, status):
    behaviour.faults = [status]
    assert ServerScorer(transport, model="tiny", encoder=encoder).mode == "codes"


@pytest.mark.parametrize("making", [ServerScorer, ServerGenerator])
def test_connection_to_an_unusable_server_is_closed(behaviour, server, encoder, making):
    behaviour.key = "secret"
    transport = Transport(server, settings=FAST)
    with pytest.raises(RefusedError):
        making(transport, model="tiny", encoder=encoder)
    assert transport._client.is_closed


@pytest.mark.parametrize("never", [-9999.0, -math.inf, -800.0])
@pytest.mark.parametrize("preferred", ["joy", "neutral"])
def test_codes_with_near_zero_probability_give_finite_scores(transport, behaviour, never, preferred):
    behaviour.never, behaviour.preferred = never, preferred
    scores = ServerScorer(transport, model="tiny", mode="codes").score(PROMPTS[:1], LABELS)
    assert scores.best == (preferred,)
    assert np.isfinite(scores.log_likelihood).all()
    np.testing.assert_allclose(scores.probabilities.sum(), 1.0)


def test_chat_disables_thinking_and_omits_the_option_if_refused(transport, behaviour):
    ServerScorer(transport, model="tiny", mode="choice").score(PROMPTS[:1], LABELS)
    assert [body.get("chat_template_kwargs") for _, body in behaviour.requests] == [
        {"enable_thinking": False}
    ]
    behaviour.strict, behaviour.requests = True, []
    scorer = ServerScorer(transport, model="tiny", mode="choice")
    assert [scorer.score(PROMPTS[i : i + 1], LABELS).best for i in (0, 1)] == [("joy",), ("joy",)]
    assert ["chat_template_kwargs" in body for _, body in behaviour.requests] == [True, False, False]


def test_exact_scores_need_a_tokenizer(transport):
    with pytest.raises(ServerError, match="tokenizer"):
        ServerScorer(transport, model="tiny", mode="completions")


@pytest.mark.parametrize("fault", [500, 503, "garbage", "drop", "hang"])
def test_transient_fault_is_retried(server, behaviour, encoder, waits, fault):
    patience = (
        replace(FAST, read_timeout=0.8) if fault == "hang" else FAST
    )  # it hangs longer than the timeout
    with closing(Transport(server, settings=patience, sleep=waits.append, jitter=lambda: 0.5)) as transport:
        scorer = ServerScorer(transport, model="tiny", encoder=encoder, mode="completions")
        expected = scorer.score(PROMPTS[:1], LABELS).log_likelihood
        behaviour.faults = [fault, fault]
        np.testing.assert_array_equal(scorer.score(PROMPTS[:1], LABELS).log_likelihood, expected)
    assert waits == [0.5, 1.0]


def test_rate_limit_waits_for_the_time_in_retry_after(transport, behaviour, encoder, waits):
    behaviour.faults = [429]
    ServerScorer(transport, model="tiny", encoder=encoder, mode="completions").score(PROMPTS[:1], LABELS)
    assert waits == [7.0]


def test_lasting_fault_raises_an_error_after_all_retries(transport, behaviour, encoder):
    behaviour.faults = [500] * 50
    with pytest.raises(ServerError, match=r"answered 500.*asked 4 times"):
        ServerScorer(transport, model="tiny", encoder=encoder, mode="completions").score(PROMPTS[:1], LABELS)
    assert len(behaviour.requests) == 4


def test_refusal_is_not_retried(transport, behaviour, encoder, waits):
    behaviour.faults = [400]
    with pytest.raises(RefusedError, match="answered 400"):
        ServerScorer(transport, model="tiny", encoder=encoder, mode="completions").score(PROMPTS[:1], LABELS)
    assert (len(behaviour.requests), waits) == (1, [])


def test_unreachable_address_is_named_without_retries(encoder):
    waits: list[float] = []
    transport = Transport("http://127.0.0.1:9/v1", settings=FAST, sleep=waits.append)
    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:9"):
        ServerScorer(transport, model="tiny", encoder=encoder)
    assert len(waits) == FAST.retries
    transport.close()


def test_concurrent_requests_are_limited(transport, behaviour, encoder):
    behaviour.delay = 0.02
    ServerScorer(transport, model="tiny", encoder=encoder, mode="completions").score(PROMPTS * 2, LABELS)
    assert 2 <= behaviour.most_under_way <= FAST.concurrency


def test_labels_of_one_turn_are_requested_concurrently(
    transport, behaviour, encoder, tiny_lm, chat_tokenizer
):
    """All requests after the first run concurrently; the server answers only after three arrive."""
    meeting = threading.Barrier(FAST.concurrency)
    behaviour.held = lambda number: number > 1 and meeting.wait(timeout=2.0)
    labels = (*LABELS, "anger", "fear", "surprise", "disgust")
    found = ServerScorer(transport, model="tiny", encoder=encoder, mode="completions").score(
        PROMPTS[:1], labels
    )
    expected = LocalScorer(tiny_lm, chat_tokenizer, model_id="tiny").score(PROMPTS[:1], labels)
    np.testing.assert_allclose(found.log_likelihood, expected.log_likelihood, atol=1e-4)
    assert (len(behaviour.requests), behaviour.most_under_way) == (len(labels), FAST.concurrency)


def test_failed_request_among_concurrent_ones_is_reported(transport, behaviour, encoder):
    behaviour.faults = [None, None, 400]
    with pytest.raises(RefusedError, match="answered 400"):
        ServerScorer(transport, model="tiny", encoder=encoder, mode="completions").score(
            PROMPTS[:1], (*LABELS, "anger", "fear")
        )


def test_cached_answers_are_not_requested_again(server, behaviour, encoder, tmp_path):
    rows = []
    for _ in range(2):
        transport = Transport(server, settings=FAST)
        scorer = ServerScorer(
            transport, model="tiny", encoder=encoder, mode="completions", cache=tmp_path / "answers.sqlite"
        )
        rows.append(scorer.score(PROMPTS, LABELS).log_likelihood)
        scorer.close()
    np.testing.assert_array_equal(*rows)
    assert len(behaviour.requests) == len(PROMPTS) * len(LABELS)


def test_cache_separates_labels_models_and_prompts(transport, behaviour, tmp_path):
    first = ServerScorer(transport, model="tiny", mode="choice", cache=tmp_path / "answers.sqlite")
    first.score(PROMPTS[:1], LABELS)
    first.score(PROMPTS[:1], tuple(reversed(LABELS)))
    first.score(PROMPTS[1:2], LABELS)
    second = ServerScorer(transport, model="other", mode="choice", cache=tmp_path / "answers.sqlite")
    second.score(PROMPTS[:1], LABELS)
    second.score(PROMPTS[:1], LABELS)
    assert len(behaviour.requests) == 4
    assert second.cache is not None
    assert len(second.cache) == 4
    first.cache.close()
    second.cache.close()


def test_cache_separates_weights_and_tokenizers(transport, behaviour, tmp_path):
    """A model retrained under the same name, or with another chat template, is queried again."""
    asked = []
    for weights, chat in [("a", True), ("a", True), ("b", True), (None, True), ("a", False)]:
        encoder = PromptEncoder(build_tokenizer(chat=chat))
        scorer = ServerScorer(
            transport,
            model="tiny",
            encoder=encoder,
            mode="completions",
            cache=tmp_path / "answers.sqlite",
            weights=weights,
        )
        scorer.score(PROMPTS[:1], LABELS)
        scorer.cache.close()
        asked.append(len(behaviour.requests) // len(LABELS))
    assert asked == [1, 1, 2, 3, 4]


def test_cache_holds_no_text(transport, tmp_path):
    scorer = ServerScorer(transport, model="tiny", mode="choice", cache=tmp_path / "answers.sqlite")
    scorer.score([RenderedPrompt("Judge.", (("dialogue", "A: canary-7731"),), "E:", "t/v1", "00")], LABELS)
    scorer.cache.close()
    assert all(b"canary-7731" not in path.read_bytes() for path in tmp_path.iterdir())


def test_cache_damaged_after_use_is_reported(transport, tmp_path):
    scorer = ServerScorer(transport, model="tiny", mode="codes", cache=tmp_path / "kept.sqlite")
    scorer.score(PROMPTS, LABELS)
    scorer.cache._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    size = (tmp_path / "kept.sqlite").stat().st_size
    (tmp_path / "kept.sqlite").write_bytes(b"\xff" * size)
    with closing(scorer), pytest.raises(ArtefactError, match="remove the file"):
        AnswerCache(tmp_path / "kept.sqlite").get("anything")


def test_cache_file_that_is_no_database_raises_an_artefact_error(transport, tmp_path):
    (tmp_path / "answers.sqlite").write_bytes(b"no database at all" * 100)
    with pytest.raises(ArtefactError, match="answer cache"):
        ServerScorer(transport, model="tiny", mode="choice", cache=tmp_path / "answers.sqlite")


@pytest.mark.parametrize(
    "values",
    [
        [None, -1.0],
        [None, -1.0, -1.0, -1.0, -1.0],
        [None, -1.0, None],
        [None, -1.0, math.nan],
        [None, -1.0, math.inf],
        None,
    ],
)
def test_malformed_echo_raises_a_server_error(values):
    with pytest.raises(ServerError):
        echoed_sum({"choices": [{"logprobs": {"token_logprobs": values}}]}, prefix=2, answer=1)


def test_echo_of_an_impossible_token_gives_a_finite_score():
    assert (
        echoed_sum(
            {"choices": [{"logprobs": {"token_logprobs": [None, -1.0, -math.inf]}}]}, prefix=2, answer=1
        )
        == -9999.0
    )


def test_environment_sets_key_timeout_and_concurrency(server, behaviour, encoder, monkeypatch):
    behaviour.key = "secret-7731"
    for name, value in {"KEY": " secret-7731\n", "TIMEOUT": "2.5", "CONCURRENCY": "3"}.items():
        monkeypatch.setenv(f"CONVEMO_SERVER_{name}", value)
    with closing(ServerScorer(open_transport(server), model="tiny", encoder=encoder)) as scorer:
        assert scorer.score(PROMPTS[:1], LABELS).score_kind == "exact"
        assert (scorer.transport.settings.read_timeout, scorer.transport.settings.concurrency) == (2.5, 3)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("KEY", "secret\nX-Other: 7731"),
        ("KEY", "schlüssel"),
        ("TIMEOUT", "soon"),
        ("TIMEOUT", "0"),
        ("CONCURRENCY", "2.5"),
    ],
)
def test_invalid_environment_variable_is_named_without_showing_the_key(name, value):
    with pytest.raises(ConfigError, match=f"CONVEMO_SERVER_{name}") as caught:
        open_transport("http://localhost:1/v1", environ={f"CONVEMO_SERVER_{name}": value})
    assert name != "KEY" or value.split()[0] not in str(caught.value)


@pytest.mark.parametrize("url", ["", "host:8000/v1", "http://host:abc/v1", "ftp://host/v1"])
def test_invalid_address_is_refused_before_any_request(url):
    with pytest.raises(ConfigError, match="the address of the server"):
        Transport(url)


def test_password_in_an_address_is_refused_without_showing_it():
    with pytest.raises(ConfigError, match="CONVEMO_SERVER_KEY") as found:
        Transport("http://bob:hunter2@host/v1")
    assert "hunter2" not in str(found.value)
