"""Texts generated once and stored: the file, resuming after a crash, and generation by a server."""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from lm_parts import CHAT_TEMPLATE, build_tokenizer
from lm_server import Behaviour, Handler, running
from safetensors.torch import load_file, save_file

from erc.data.conversation import Conversation, Utterance
from erc.errors import ArtefactError
from erc.llm.backends.generate import GenerationSettings
from erc.llm.backends.local import LocalScorer
from erc.llm.backends.server import ServerError, ServerGenerator, Transport, TransportSettings
from erc.llm.backends.server.transport import UnreachableError
from erc.llm.generation.text_store import WrittenTexts, generated_answers, text_key, write_texts
from erc.llm.generation.writer import KeepingWriter, open_text_writer
from erc.llm.prompts.budget import Budget
from erc.llm.prompts.encoding import PromptEncoder
from erc.llm.prompts.template import RenderedPrompt
from erc.llm.recipes import Recipe, Stage

PROMPTS = [
    RenderedPrompt("You answer.", (("question", f"Who is number {i}?"),), "Answer:", "t/v1", "")
    for i in range(40)
]
GREEDY = GenerationSettings(max_new_tokens=6)
TALK = Conversation(
    "c",
    tuple(Utterance(f"c-{i}", i, "AB"[i % 2], text) for i, text in enumerate(("Hello.", " ", "Fine, you?"))),
)


class Scribe:
    """Writes the number of each prompt, and fails after `lives` calls."""

    def __init__(self, encoder, *, lives=99, model_id="scribe"):
        self.encoder, self.model_id, self.lives, self.prompts = encoder, model_id, lives, []

    def generate(self, prompts, *, settings=None):
        if not self.lives:
            raise KeyboardInterrupt
        self.lives -= 1
        self.prompts += prompts
        return [prompt.user.upper() for prompt in prompts]


@pytest.fixture
def encoder(chat_tokenizer):
    return PromptEncoder(chat_tokenizer)


def ask(generator, texts, prompts=PROMPTS, **changes):
    return write_texts(generator, prompts, **{"task": "t", "settings": GREEDY, "texts": texts, **changes})


def test_written_texts_are_generated_once(tmp_path, encoder):
    first, second, heard = Scribe(encoder), Scribe(encoder), []
    with WrittenTexts(tmp_path / "w.jsonl") as texts:
        found = ask(first, texts, [*PROMPTS, PROMPTS[0]])
    with WrittenTexts(tmp_path / "w.jsonl") as texts:
        assert (
            ask(second, texts, advance=heard.append)
            == found[:-1]
            == [prompt.user.upper() for prompt in PROMPTS]
        )
    assert (len(first.prompts), second.prompts, heard) == (40, [], [40])


def test_killed_writing_resumes_at_the_first_missing_text(tmp_path, encoder):
    path = tmp_path / "w.jsonl"
    with WrittenTexts(path) as texts, pytest.raises(KeyboardInterrupt):
        ask(Scribe(encoder, lives=1), texts)
    kept = len(path.read_text(encoding="utf-8").splitlines())
    assert 0 < kept < 40
    path.write_bytes(path.read_bytes()[:-9])  # the last line is incomplete
    second = Scribe(encoder)
    with WrittenTexts(path) as texts:
        assert ask(second, texts) == [prompt.user.upper() for prompt in PROMPTS]
    assert len(second.prompts) == 40 - (kept - 1)


@pytest.mark.parametrize(
    "line", [b"{not json}\n", b'{"key": 3, "text": "x"}\n', b"[]\n", b"\xff\xfe\n", b"[" * 100_000 + b"\n"]
)
def test_invalid_line_is_ignored_and_its_text_generated_again(tmp_path, encoder, line):
    path = tmp_path / "w.jsonl"
    with WrittenTexts(path) as texts:
        ask(Scribe(encoder), texts, PROMPTS[:3])
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + line + lines[2])
    scribe = Scribe(encoder)
    with WrittenTexts(path) as texts:
        assert len(texts) == 2
        ask(scribe, texts, PROMPTS[:3])
    assert scribe.prompts == [PROMPTS[1]]
    with WrittenTexts(path) as texts:
        assert len(texts) == 3


def test_concurrent_runs_in_one_file_keep_all_texts_after_a_kill(tmp_path):
    path = tmp_path / "w.jsonl"
    path.write_bytes(b'{"key": "old", "text": "kept"}\n{"key": "hal')  # a killed run's last line
    with WrittenTexts(path) as first, WrittenTexts(path) as second:
        first.put("a", "of the first")
        with WrittenTexts(path) as third:  # opened while other processes write
            third.put("c", "of the third")
        second.put("b", "of the second\u2028with a line end of its own")
        with path.open("ab") as torn:
            torn.write(b'{"key": "d", "te')  # another run is killed here
        first.put("e", "after that")
    with WrittenTexts(path) as texts:
        found = {key: texts.get(key) for key in ("old", "a", "b", "c", "e")}
    assert found == {
        "old": "kept",
        "a": "of the first",
        "b": "of the second\u2028with a line end of its own",
        "c": "of the third",
        "e": "after that",
    }


@pytest.mark.parametrize("room", [0, 20])
def test_full_disk_is_reported_and_keeps_stored_texts(tmp_path, room):
    resource = pytest.importorskip("resource")
    path, limits = tmp_path / "w.jsonl", resource.getrlimit(resource.RLIMIT_FSIZE)
    with WrittenTexts(path) as texts:
        texts.put("k", "a text")
        try:
            resource.setrlimit(
                resource.RLIMIT_FSIZE, (path.stat().st_size + room, limits[1])
            )  # writing fails here, as on a full disk
            with pytest.raises(ArtefactError, match=r"w\.jsonl: a text cannot be stored .*free disk space"):
                texts.put("l", "another text, longer than what is left")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        texts.put("m", "once there was room again")
    with WrittenTexts(path) as texts:
        assert [texts.get(key) for key in "klm"] == ["a text", None, "once there was room again"]


def test_text_key_depends_on_prompt_model_task_and_settings():
    key = text_key(PROMPTS[0], model_id="m", task="t", settings=GREEDY)
    others = [
        text_key(PROMPTS[1], model_id="m", task="t", settings=GREEDY),
        text_key(PROMPTS[0], model_id="n", task="t", settings=GREEDY),
        text_key(PROMPTS[0], model_id="m", task="u", settings=GREEDY),
        text_key(PROMPTS[0], model_id="m", task="t", settings=GenerationSettings(6, temperature=1.0)),
    ]
    assert len({key, *others}) == 5
    assert key == text_key(PROMPTS[0], model_id="m", task="t", settings=GREEDY)


def test_written_texts_stay_private_after_removal_of_an_invalid_line(tmp_path):
    path = tmp_path / "inputs" / "w.jsonl"
    for content in (b"", b"half a line"):
        with WrittenTexts(path) as texts:
            texts.put("k", "a text")
        assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
        path.write_bytes(path.read_bytes() + content)
        path.chmod(0o644)
    WrittenTexts(path).close()
    assert path.stat().st_mode & 0o777 == 0o600


def test_empty_text_is_not_stored_and_generated_again(tmp_path, encoder):
    class Wordless(Scribe):
        def generate(self, prompts, *, settings=None):
            return [text if "3" in text else "" for text in super().generate(prompts, settings=settings)]

    with WrittenTexts(tmp_path / "w.jsonl") as texts:
        first = ask(Wordless(encoder), texts, PROMPTS[:5])
        key = text_key(PROMPTS[0], model_id="scribe", task="t", settings=GREEDY)
        texts.put(key, "")  # files of an earlier version contain empty texts
    assert [bool(text) for text in first] == [False, False, False, True, False]
    with WrittenTexts(tmp_path / "w.jsonl") as texts:
        scribe = Scribe(encoder)
        assert all(ask(scribe, texts, PROMPTS[:5]))
    assert sorted(prompt.user for prompt in scribe.prompts) == [
        prompt.user for prompt in PROMPTS[:5] if "3" not in prompt.user
    ]


def test_folder_at_the_path_of_written_texts_is_reported(tmp_path):
    with pytest.raises(ArtefactError, match="written texts"):
        WrittenTexts(tmp_path)


def test_generated_answers_ignore_later_turns_and_skip_empty_turns(tmp_path, encoder):
    recipe = Recipe(
        (
            Stage("a", {"interlocutor_commonsense": 1.0}),
            Stage("b", {"speaker_characteristic": 1.0}),
            Stage("c", {"erc": 1.0}),
        )
    )
    scribe = Scribe(encoder)
    with WrittenTexts(tmp_path / "w.jsonl") as texts:
        found = generated_answers(scribe, recipe, [TALK], texts=texts, budget=Budget(max_tokens=2000))
    assert {name: set(answers) for name, answers in found.items()} == {
        "interlocutor_commonsense": {("c", 0), ("c", 2)},
        "speaker_characteristic/oReact": {("c", 0), ("c", 2)},
    }
    assert [("Fine, you?" in prompt.user) for prompt in scribe.prompts] == [False, True, False, True]


# --- with a server


@pytest.fixture
def behaviour(tiny_lm):
    return Behaviour(model=tiny_lm)


@pytest.fixture
def connect(encoder):
    """Creates server generators, and closes them after the test."""
    fast = TransportSettings(connect_timeout=1.0, read_timeout=5.0, retries=2, backoff=0.01)
    with ExitStack() as stack:

        def make(url, **settings):
            transport = stack.enter_context(
                closing(Transport(url, settings=fast, sleep=lambda seconds: None))
            )
            return ServerGenerator(transport, model="tiny", encoder=encoder, **settings)

        yield make


@pytest.fixture
def server(behaviour):
    with running(behaviour) as url:
        yield url


def test_server_text_equals_the_text_of_the_local_model(server, connect, tiny_lm, chat_tokenizer):
    served = connect(server)
    found = served.generate(PROMPTS[:4], settings=GREEDY)
    assert (served.mode, served.model_id) == ("completions", "tiny")
    assert found == LocalScorer(tiny_lm, chat_tokenizer, model_id="tiny").generate(
        PROMPTS[:4], settings=GREEDY
    )


def test_server_without_completions_is_used_by_chat(server, behaviour, connect):
    behaviour.completions = False
    served = connect(server)
    found = served.generate(PROMPTS[:2], settings=GenerationSettings(9, temperature=0.5, top_p=0.9, seed=4))
    assert (served.mode, found) == ("chat", ["You asked: Who is number 0?", "You asked: Who is number 1?"])
    body = behaviour.requests[-1][1]
    assert [body[name] for name in ("max_tokens", "temperature", "top_p", "seed")] == [9, 0.5, 0.9, 4]
    assert body["messages"][0] == {"role": "system", "content": "You answer."}


def test_server_request_that_fails_once_is_retried(server, behaviour, connect):
    behaviour.faults = [503, "garbage"]
    assert connect(server, mode="chat").generate(PROMPTS[:1], settings=GREEDY) == [
        "You asked: Who is number 0?"
    ]


def test_empty_text_of_a_served_model_does_not_stop_the_others(server, behaviour, connect):
    behaviour.written = None
    assert connect(server, mode="chat").generate(PROMPTS[:2]) == ["", ""]


@pytest.mark.parametrize(
    "answer",
    [
        {"choices": []},
        {"choices": [{"message": {"role": "assistant"}}]},
        {"choices": [{"message": {"content": 3}}]},
    ],
)
def test_server_without_a_writing_model_is_reported(server, connect, monkeypatch, answer):
    monkeypatch.setattr(Handler, "chat", lambda self, does, body: answer)
    with pytest.raises(ServerError, match="without a text"):
        connect(server, mode="chat").generate(PROMPTS[:1])


def test_unreachable_server_is_reported_before_anything_is_written(connect):
    with pytest.raises(UnreachableError):
        connect("http://127.0.0.1:9/v1")


def test_text_of_a_served_model_excludes_its_thoughts(server, behaviour, connect):
    behaviour.written = "<think>Who\nknows?</think>\nA friend."
    assert connect(server, mode="chat").generate(PROMPTS[:1]) == ["A friend."]


def test_writer_loads_its_model_only_for_new_texts(tmp_path, tiny_lm_dir, monkeypatch):
    loaded = []
    load = LocalScorer.load
    monkeypatch.setattr(
        LocalScorer,
        "load",
        classmethod(lambda cls, name, **settings: loaded.append(name) or load(name, **settings)),
    )
    for _ in range(2):
        writer = open_text_writer(str(tiny_lm_dir), precision="fp32")
        with WrittenTexts(tmp_path / "w.jsonl") as texts:
            found = KeepingWriter(writer, texts, task="t").generate(PROMPTS[:2], settings=GREEDY)
        writer.close()
    assert loaded == [str(tiny_lm_dir)]
    assert found == load(str(tiny_lm_dir), precision="fp32").generate(PROMPTS[:2], settings=GREEDY)


def test_writer_id_changes_with_the_weights_in_its_folder(tmp_path, tiny_lm_dir):
    folder = Path(shutil.copytree(tiny_lm_dir, tmp_path / "model"))
    first = open_text_writer(str(folder)).model_id
    os.utime(folder / "model.safetensors", (0, 0))  # another copy of the same model
    assert open_text_writer(str(folder)).model_id == first
    weights = load_file(folder / "model.safetensors")
    save_file(
        {name: value * 1.001 for name, value in weights.items()},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    assert open_text_writer(str(folder)).model_id != first
    assert first.startswith(f"{folder}#")


def test_text_with_another_chat_template_is_generated_again(tmp_path, tiny_lm_dir):
    folder, kept = Path(shutil.copytree(tiny_lm_dir, tmp_path / "model")), []
    with WrittenTexts(tmp_path / "w.jsonl") as texts:
        for role in ("assistant", "assistant", "model"):
            tokenizer = build_tokenizer(chat=True)
            tokenizer.chat_template = CHAT_TEMPLATE.replace("assistant", role)
            tokenizer.save_pretrained(folder)
            with closing(open_text_writer(str(folder), precision="fp32")) as writer:
                KeepingWriter(writer, texts, task="t").generate(PROMPTS[:1], settings=GREEDY)
            kept.append(len(texts))
    assert kept == [1, 1, 2]


def test_writer_id_is_the_same_on_a_server_and_locally(tiny_lm_dir):
    assert (
        open_text_writer(str(tiny_lm_dir), server="http://127.0.0.1:9/v1").model_id
        == open_text_writer(str(tiny_lm_dir)).model_id
    )


def test_writer_without_a_tokenizer_is_refused(tmp_path):
    with pytest.raises(ArtefactError, match="tokenizer"):
        open_text_writer(str(tmp_path))


def test_unfinished_thoughts_give_an_empty_text(server, behaviour, connect):
    behaviour.written = "<think>\nOkay, who is it? Let me"
    assert connect(server, mode="chat").generate(PROMPTS[:1]) == [""]


@pytest.mark.parametrize(("fault", "error"), [(503, "asked 3 times"), (401, "answered 401")])
def test_failing_server_raises_an_error_instead_of_a_mode_change(server, behaviour, connect, fault, error):
    behaviour.faults = [fault] * 3
    with pytest.raises(ServerError, match=error):
        connect(server)
