"""Chats with servers that accept neither system messages nor `enable_thinking`."""

from __future__ import annotations

from contextlib import closing

import pytest
from lm_parts import CHAT_TEMPLATE, build_tokenizer
from lm_server import Behaviour, running

from erc.llm.backends.server import ServerGenerator, ServerScorer, Transport, TransportSettings
from erc.llm.backends.server.transport import RefusedError
from erc.llm.prompts.encoding import PromptEncoder
from erc.llm.prompts.template import RenderedPrompt

LABELS = ("joy", "sadness", "neutral")
PROMPTS = [
    RenderedPrompt("Judge.", (("dialogue", f"A: hi number {i}"),), "Emotion:", "t/v1", "00") for i in range(3)
]
REFUSING = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    + CHAT_TEMPLATE
)
ONE_AT_A_TIME = TransportSettings(read_timeout=10.0, retries=0, concurrency=1)


@pytest.fixture
def behaviour():
    return Behaviour(completions=False, system_role=False)


@pytest.fixture
def transport(behaviour):
    with running(behaviour) as url, closing(Transport(url, settings=ONE_AT_A_TIME)) as made:
        yield made


def encoder(template):
    tokenizer = build_tokenizer(chat=False)
    tokenizer.chat_template = template
    return PromptEncoder(tokenizer)


def roles(behaviour):
    return [
        "+".join(message["role"] for message in body["messages"])
        for path, body in behaviour.requests
        if path.endswith("/chat/completions")
    ]


@pytest.mark.parametrize("mode", ["codes", "choice"])
@pytest.mark.parametrize("strict", [False, True])
def test_server_without_a_system_role_gets_the_instruction_in_the_user_message(
    transport, behaviour, mode, strict
):
    behaviour.top_logprobs, behaviour.strict = mode == "codes", strict
    scorer = ServerScorer(transport, model="tiny")
    behaviour.requests.clear()
    assert (scorer.mode, scorer.score(PROMPTS, LABELS).best) == (mode, ("joy",) * 3)
    assert set(roles(behaviour)) == {"user"}, "found out once"
    assert all(
        body["messages"][0]["content"].startswith("Judge.\nA: hi number") for _, body in behaviour.requests
    )
    assert {"chat_template_kwargs" in body for _, body in behaviour.requests} == {not strict}


@pytest.mark.parametrize("template", [REFUSING, None])
def test_scorer_learns_from_the_chat_template_that_the_system_role_is_unsupported(
    transport, behaviour, template
):
    """Without a chat template, the scorer tries a system message first."""
    scorer = ServerScorer(transport, model="tiny", encoder=encoder(template))
    assert (scorer.mode, ("system+user" in roles(behaviour))) == ("codes", template is None)


def test_server_with_a_system_role_gets_a_system_message(transport, behaviour):
    behaviour.system_role = True
    ServerScorer(transport, model="tiny", mode="choice").score(PROMPTS, LABELS)
    assert roles(behaviour) == ["system+user"] * 3


def test_refusal_for_another_reason_is_reported_unchanged(transport, behaviour):
    behaviour.system_role, behaviour.faults = True, [400] * 9
    with pytest.raises(RefusedError, match=r"answered 400.*fault"):
        ServerScorer(transport, model="tiny", mode="choice").score(PROMPTS[:1], LABELS)
    assert len(behaviour.requests) == 4


def test_refusal_after_the_message_form_is_known_is_not_retried(transport, behaviour):
    scorer = ServerScorer(transport, model="tiny", mode="choice")
    scorer.score(PROMPTS[:1], LABELS)
    behaviour.requests.clear()
    behaviour.faults = [400]
    with pytest.raises(RefusedError, match="answered 400"):
        scorer.score(PROMPTS[1:2], LABELS)
    assert len(behaviour.requests) == 1


@pytest.mark.parametrize("template", [REFUSING, CHAT_TEMPLATE])
def test_generator_works_with_a_server_without_a_system_role(transport, behaviour, template):
    writer = ServerGenerator(transport, model="tiny", encoder=encoder(template))
    assert writer.generate(PROMPTS[:2]) == [f"You asked: Judge.\nA: hi number {i}" for i in range(2)]
    assert roles(behaviour)[-2:] == ["user", "user"]
    assert ("system+user" in roles(behaviour)) == (template is CHAT_TEMPLATE)


def test_cached_answers_of_another_message_form_are_not_used(transport, behaviour, tmp_path):
    """Both templates give the same tokens, one from a system message and one without; servers may differ."""
    behaviour.system_role = True
    turns = (
        "{% for m in messages %}{{ m['content'] }}{% if not loop.last %}{{ '\\n' }}{% endif %}{% endfor %}"
    )
    joining = f"<|im_start|>{turns}<|im_end|>"
    encoders = [encoder(joining), encoder(REFUSING.removesuffix(CHAT_TEMPLATE) + joining)]
    assert len({tuple(one.prompt_ids(PROMPTS[0])) for one in encoders}) == 1
    for one in encoders * 2:
        scorer = ServerScorer(
            transport, model="tiny", mode="choice", encoder=one, cache=tmp_path / "answers.sqlite"
        )
        scorer.score(PROMPTS[:1], LABELS)
        scorer.cache.close()
    assert roles(behaviour) == ["system+user", "user"]
