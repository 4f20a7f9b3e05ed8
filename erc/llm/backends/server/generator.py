"""Text written by a model that runs on a server."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

from erc.llm.backends.generate import GenerationSettings
from erc.llm.backends.server.chat import Chat
from erc.llm.backends.server.scorer import PROBE, lacking
from erc.llm.backends.server.transport import Transport, UnusableError
from erc.llm.prompts.encoding import PromptEncoder
from erc.llm.prompts.template import RenderedPrompt

WriteMode = Literal["completions", "chat"]
"""`completions`: the very tokens a local model would read are sent. `chat`: messages, which the server puts into its own template."""
_THOUGHT = re.compile(r"\A\s*<think>.*?(?:</think>|\Z)", re.DOTALL)
"""What a model thought before it wrote; without an end where it never came to write."""


class ServerGenerator:
    """Writes by an OpenAI-compatible server (vLLM, llama.cpp, SGLang), several prompts at a time.

    `encoder` is of the tokenizer the server uses: prompts are fitted by it, and sent as its tokens where the
    server takes them. `mode` None asks the server, once, whether it does. Texts are kept under `model`,
    wherever the server stands.
    """

    def __init__(
        self, transport: Transport, *, model: str, encoder: PromptEncoder, mode: WriteMode | None = None
    ) -> None:
        self.transport = transport
        self.encoder = encoder
        self.model_id = model
        self._chat = Chat(transport, model, encoder=encoder)
        try:
            self.mode: WriteMode = self._probe() if mode is None else mode
        except BaseException:
            transport.close()  # nobody else is left to
            raise

    def generate(
        self, prompts: Sequence[RenderedPrompt], *, settings: GenerationSettings | None = None
    ) -> list[str]:
        """The text after each prompt, in their order. Raises ServerError where the server gives none."""
        chosen = settings or GenerationSettings()
        return self.transport.map(lambda prompt: self._ask(prompt, chosen, self.mode), prompts)

    def close(self) -> None:
        """Closes the connections."""
        self.transport.close()

    def _probe(self) -> WriteMode:
        once = GenerationSettings(max_new_tokens=1)
        return "completions" if lacking(lambda: self._ask(PROBE[0], once, "completions")) is None else "chat"

    def _ask(self, prompt: RenderedPrompt, settings: GenerationSettings, mode: WriteMode) -> str:
        chosen: dict[str, Any] = {"max_tokens": settings.max_new_tokens, "temperature": settings.temperature}
        if settings.temperature:
            chosen |= {"top_p": settings.top_p, "seed": settings.seed}
        if mode == "chat":
            return _THOUGHT.sub("", self._text(self._chat.ask(prompt, **chosen), "message")).strip()
        end = str(self.encoder.tokenizer.convert_ids_to_tokens(self.encoder.terminator))
        body = {"model": self.model_id, "prompt": self.encoder.prompt_ids(prompt), "stop": [end], **chosen}
        return _THOUGHT.sub(
            "", self._text(self.transport.post("/completions", body), "text").partition(end)[0]
        ).strip()

    def _text(self, response: dict[str, Any], where: str) -> str:
        """The text of a response. A message whose content is null holds none: the model refused, or its tokens all went into thoughts."""
        try:
            found = response["choices"][0][where]
            text = ("" if found["content"] is None else found["content"]) if where == "message" else found
        except (KeyError, IndexError, TypeError):
            text = None
        if not isinstance(text, str):
            raise UnusableError(
                f"{self.transport.url} answered without a text: the model it serves does not write"
            )
        return text
