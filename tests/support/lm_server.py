"""A small local HTTP server with the OpenAI interface over a tiny model, with faults on demand."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import torch


@dataclass
class Behaviour:
    """What the server supports, and what it received.

    Attributes:
        model: The language model.
        completions: Whether `/v1/completions` exists.
        top_logprobs: Whether a chat returns log-probabilities.
        constrained: Whether constrained output is supported.
        strict: Whether requests with a field unknown to OpenAI's interface are refused.
        system_role: Whether the chat template accepts a system message.
        served: Name of the only served model; None accepts every name.
        key: The required API key.
        never: Log-probability of every code except the preferred one.
        preferred: The most probable label.
        written: Text of a chat without constraints.
        faults: Faults of the next requests, in order: a status, or a word that `Handler.respond` handles.
        requests: Paths and bodies of all requests.
        under_way: Number of current requests.
        most_under_way: Largest number of concurrent requests.
        delay: Seconds before each answer.
        held: Called before a request is answered, with its number from 1.
        lock: Guards the counters.
    """

    model: Any = None
    completions: bool = True
    top_logprobs: bool = True
    constrained: bool = True
    strict: bool = False
    system_role: bool = True
    served: str | None = None
    key: str | None = None
    never: float | None = None
    preferred: str = "joy"
    written: str | None = "You asked: {}"
    faults: list[Any] = field(default_factory=list)
    requests: list[tuple[str, dict]] = field(default_factory=list)
    under_way: int = 0
    most_under_way: int = 0
    delay: float = 0.0
    held: Callable[[int], object] = lambda number: None
    lock: threading.Lock = field(default_factory=threading.Lock)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        pass

    def do_POST(self) -> None:
        does: Behaviour = self.server.behaviour  # type: ignore[attr-defined]
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with does.lock:
            does.requests.append((self.path, body))
            number = len(does.requests)
            does.under_way += 1
            does.most_under_way = max(does.most_under_way, does.under_way)
            fault = does.faults.pop(0) if does.faults else None
        try:
            time.sleep(does.delay)
            does.held(number)
            self.respond(does, body, fault)
        finally:
            with does.lock:
                does.under_way -= 1

    def respond(self, does: Behaviour, body: dict, fault: Any) -> None:
        if fault == "drop":
            self.close_connection = True
            self.connection.close()
        elif fault == "hang":
            time.sleep(1.5)
            self.close_connection = True
        elif fault == "garbage":
            self.send(200, b"<html>not json")
        elif fault == "nested":
            self.send(200, b"[" * 100_000)
        elif isinstance(fault, int):
            self.send(fault, b'{"error": "fault"}', {"Retry-After": "7"} if fault == 429 else {})
        elif does.key is not None and self.headers.get("Authorization") != f"Bearer {does.key}":
            self.send(401, b'{"error": "no such key"}')
        elif does.served is not None and body["model"] != does.served:
            self.send(404, json.dumps({"message": f"The model `{body['model']}` does not exist."}).encode())
        elif does.strict and "chat_template_kwargs" in body:
            self.send(400, b'{"error": "Unrecognized request argument supplied: chat_template_kwargs"}')
        elif not does.system_role and any(
            message["role"] == "system" for message in body.get("messages", ())
        ):
            self.send(400, b'{"object": "error", "message": "System role not supported", "code": 400}')
        elif self.path.endswith("/completions") and not self.path.endswith("/chat/completions"):
            self.answer(self.completion(does, body) if does.completions else None)
        else:
            self.answer(self.chat(does, body))

    def answer(self, content: dict | None) -> None:
        self.send(404, b'{"error": "no such route"}') if content is None else self.send(
            200, json.dumps(content).encode()
        )

    def send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(content)),
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def completion(self, does: Behaviour, body: dict) -> dict:
        ids = body["prompt"]
        if not body.get("echo"):
            return {"choices": [{"text": self.greedy(does, ids, body)}]}
        with torch.inference_mode():
            logits = (
                does.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].float().log_softmax(-1)
            )
        values = [
            None,
            *(logits[i, token].item() for i, token in enumerate(ids[1:])),
            logits[-1].max().item(),
        ]
        return {"choices": [{"text": "", "logprobs": {"token_logprobs": values}}]}

    def greedy(self, does: Behaviour, ids: list[int], body: dict) -> str:
        """Greedy decoding up to the end of the turn, with the tests' tokenizer."""
        from lm_parts import build_tokenizer

        tokenizer = build_tokenizer(chat=True)
        [end], found = [tokenizer.convert_tokens_to_ids(one) for one in body["stop"]], []
        while len(found) < body["max_tokens"] and (not found or found[-1] != end):
            with torch.inference_mode():
                found.append(
                    int(
                        does.model(input_ids=torch.tensor([[*ids, *found]]), use_cache=False)
                        .logits[0, -1]
                        .argmax()
                    )
                )
        return tokenizer.decode([one for one in found if one != end], skip_special_tokens=True)

    def chat(self, does: Behaviour, body: dict) -> dict | None:
        text = body["messages"][-1]["content"]
        if "logprobs" in body:
            legend = dict(re.findall(r"^(\w) = (.+)$", text, flags=re.MULTILINE))
            if not does.top_logprobs:
                return {"choices": [{"message": {"content": "A"}, "logprobs": None}]}
            # The preferred label has probability 0.5. The first label gets 0.2 more than its share, which
            # simulates a position bias.
            entries = [
                {"token": code, "logprob": -0.7 if label == does.preferred else -1.6 - 0.4 * i}
                for i, (code, label) in enumerate(legend.items())
            ]
            if does.never is not None:
                entries = [
                    {**entry, "logprob": -0.0 if legend[entry["token"]] == does.preferred else does.never}
                    for entry in entries
                ]
            entries = sorted(
                [*entries, {"token": "The", "logprob": -9.0}], key=lambda entry: -entry["logprob"]
            )[: body["top_logprobs"]]
            return {
                "choices": [
                    {
                        "message": {"content": "A"},
                        "logprobs": {"content": [{"token": "A", "top_logprobs": entries}]},
                    }
                ]
            }
        if "response_format" not in body:
            return {"choices": [{"message": {"content": does.written and does.written.format(text)}}]}
        allowed = body["response_format"]["json_schema"]["schema"]["properties"]["emotion"]["enum"]
        word = does.preferred if does.preferred in allowed else allowed[0]
        return {
            "choices": [
                {
                    "message": {
                        "content": json.dumps({"emotion": word}) if does.constrained else "I think joy."
                    }
                }
            ]
        }


@contextmanager
def running(behaviour: Behaviour) -> Iterator[str]:
    """The address of a running server; it stops at the end of the block."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.behaviour = behaviour  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
