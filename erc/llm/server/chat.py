"""Chat with a model on a server, which is asked not to think before it answers."""

from __future__ import annotations

from typing import Any

from erc.llm.prompts import RenderedPrompt
from erc.llm.server.transport import RefusedError, Transport

_NO_THOUGHTS = {"chat_template_kwargs": {"enable_thinking": False}}


class Chat:
    """Chat completions of one model. A server that does not know the switch against thinking is asked without it from then on."""

    def __init__(self, transport: Transport, model: str) -> None:
        self._transport = transport
        self._model = model
        self._switch = True

    def ask(self, prompt: RenderedPrompt, *, closing: str = "", **settings: Any) -> dict[str, Any]:
        """The server's answer to the prompt, with `closing` behind the user message."""
        user = {"role": "user", "content": f"{prompt.user}\n{closing}" if closing else prompt.user}
        messages = [{"role": "system", "content": prompt.system}, user] if prompt.system else [user]
        body = {"model": self._model, "messages": messages, **settings}
        if self._switch:
            try:
                return self._transport.post("/chat/completions", body | _NO_THOUGHTS)
            except RefusedError as error:
                if error.status not in (400, 422):
                    raise
        answer = self._transport.post("/chat/completions", body)
        self._switch = False  # only where that made the difference
        return answer
