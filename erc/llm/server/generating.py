"""Text written by a model that runs on a server."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

from erc.llm.encoding import PromptEncoder
from erc.llm.generation import GenerationSettings
from erc.llm.prompts import RenderedPrompt
from erc.llm.server.transport import ServerError, Transport, UnreachableError

WriteMode = Literal["completions", "chat"]
"""`completions`: the very tokens a local model would read are sent. `chat`: messages, which the server puts into its own template."""
_PROBE = RenderedPrompt("Answer the question.", (("question", "Is the sky blue on a clear day?"),), "Answer:", "probe/v1", "")
_THOUGHT = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)


class ServerGenerator:
    """Writes by an OpenAI-compatible server (vLLM, llama.cpp, SGLang), several prompts at a time.

    `encoder` is of the tokenizer the server uses: prompts are fitted by it, and sent as its tokens where the server takes them. `mode` None
    asks the server, once, whether it does. Texts are kept under `model`, wherever the server stands.
    """

    def __init__(self, transport: Transport, *, model: str, encoder: PromptEncoder, mode: WriteMode | None = None) -> None:
        self.transport = transport
        self.encoder = encoder
        self.model_id = model
        self.mode: WriteMode = self._probe() if mode is None else mode

    def generate(self, prompts: Sequence[RenderedPrompt], *, settings: GenerationSettings | None = None) -> list[str]:
        """The text after each prompt, in their order. Raises ServerError where the server gives none."""
        chosen = settings or GenerationSettings()
        return self.transport.map(lambda prompt: self._ask(prompt, chosen, self.mode), prompts)

    def close(self) -> None:
        """Closes the connections."""
        self.transport.close()

    def _probe(self) -> WriteMode:
        try:
            self._ask(_PROBE, GenerationSettings(max_new_tokens=1), "completions")
        except UnreachableError:
            raise
        except ServerError:
            return "chat"
        return "completions"

    def _ask(self, prompt: RenderedPrompt, settings: GenerationSettings, mode: WriteMode) -> str:
        body: dict[str, Any] = {"model": self.model_id, "max_tokens": settings.max_new_tokens, "temperature": settings.temperature}
        if settings.temperature:
            body |= {"top_p": settings.top_p, "seed": settings.seed}
        if mode == "completions":
            end = str(self.encoder.tokenizer.convert_ids_to_tokens(self.encoder.terminator))
            body |= {"prompt": self.encoder.prompt_ids(prompt), "stop": [end]}
            return self._text(self.transport.post("/completions", body), "text").partition(end)[0].strip()
        messages = [{"role": "user", "content": prompt.user}]
        body["messages"] = [{"role": "system", "content": prompt.system}, *messages] if prompt.system else messages
        return _THOUGHT.sub("", self._text(self.transport.post("/chat/completions", body), "message")).strip()

    def _text(self, response: dict[str, Any], where: str) -> str:
        try:
            found = response["choices"][0][where]
            text = found["content"] if where == "message" else found
        except (KeyError, IndexError, TypeError):
            text = None
        if not isinstance(text, str):
            raise ServerError(f"{self.transport.url} answered without a text: the model it serves does not write")
        return text
