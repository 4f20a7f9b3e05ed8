"""Prompts and answers as token ids: chat templates, one beginning token, the end of a turn."""

from __future__ import annotations

import pytest
from lm_parts import build_tokenizer

from erc.errors import ArtefactError
from erc.llm.prompts.encoding import PromptEncoder
from erc.llm.prompts.template import RenderedPrompt

PROMPT = RenderedPrompt("Judge.", (("dialogue", "A: hi"), ("question", "Which?")), "Emotion:", "t/v1", "00")
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"


def encoder(template=None, *, bos=False):
    tokenizer = build_tokenizer(chat=False)
    tokenizer.chat_template = template
    if bos:
        from tokenizers.processors import TemplateProcessing

        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)]
        )
    return PromptEncoder(tokenizer)


def test_plain_prompt_ends_with_the_lead():
    found = encoder()
    assert found.text(PROMPT) == "Judge.\nA: hi\nWhich?\nEmotion:"
    assert found.answer_text("joy") == " joy"


def test_chat_prompt_ends_where_the_assistant_begins(chat_tokenizer):
    found = PromptEncoder(chat_tokenizer)
    assert (
        found.text(PROMPT) == "<|im_start|>system\nJudge.<|im_end|>\n"
        "<|im_start|>user\nA: hi\nWhich?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert found.answer_text("joy") == "joy"


def test_instruction_joins_the_user_message_where_there_is_no_system_role():
    body = "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}</s>{% endfor %}"
    assert encoder(NO_SYSTEM + body).text(PROMPT) == "[user]Judge.\nA: hi\nWhich?</s>"
    silent = (
        "{% for m in messages if m['role'] != 'system' %}[{{ m['role'] }}]{{ m['content'] }}</s>{% endfor %}"
    )
    assert encoder(silent).text(PROMPT) == "[user]Judge.\nA: hi\nWhich?</s>"


@pytest.mark.parametrize("template", [None, "<s>{% for m in messages %}{{ m['content'] }}</s>{% endfor %}"])
def test_prompt_has_one_beginning_token(template):
    assert encoder(template, bos=True).prompt_ids(PROMPT).count(1) == 1


def test_plain_prompt_has_no_beginning_token_where_the_tokenizer_adds_none():
    assert 1 not in encoder().prompt_ids(PROMPT)


def test_answer_ends_with_the_end_of_the_turn(chat_tokenizer, plain_tokenizer):
    assert PromptEncoder(chat_tokenizer).answer_ids("joy")[-1] == chat_tokenizer.convert_tokens_to_ids(
        "<|im_end|>"
    )
    assert PromptEncoder(plain_tokenizer).answer_ids("joy")[-1] == plain_tokenizer.eos_token_id


def test_tokenizer_without_any_end_is_refused():
    tokenizer = build_tokenizer(chat=False)
    tokenizer.eos_token = None
    with pytest.raises(ArtefactError, match="end-of-text"):
        PromptEncoder(tokenizer)


def test_template_that_prints_the_date_always_prints_the_same():
    date = "{{ date_string if date_string is defined else strftime_now('%d %b %Y') }}"
    dated = date + "{% for m in messages %}{{ m['content'] }}</s>{% endfor %}"
    assert encoder(dated).text(PROMPT).startswith("26 Jul 2024")
