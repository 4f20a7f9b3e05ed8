"""Chat completions of a model on a server, with thinking disabled."""

from __future__ import annotations

from itertools import product
from typing import Any

from erc.llm.backends.server.transport import RefusedError, Transport
from erc.llm.prompts.encoding import PromptEncoder
from erc.llm.prompts.template import RenderedPrompt

_NO_THOUGHTS = {"chat_template_kwargs": {"enable_thinking": False}}
_REFUSED = frozenset({400, 422})


class Chat:
    """Chat completions of one model, in the form the server accepts.

    Retries without `enable_thinking` if the server rejects it. The instruction precedes the user's text if
    the chat template has no system role: immediately if `encoder` shows that, else after the server rejects
    the role. The form that the server accepts is reused after the first answer.
    """

    def __init__(self, transport: Transport, model: str, *, encoder: PromptEncoder | None = None) -> None:
        self._transport = transport
        self._model = model
        self._switch: bool | None = None
        self._system: bool | None = False if no_system_role(encoder) else None

    def ask(self, prompt: RenderedPrompt, *, closing: str = "", **settings: Any) -> dict[str, Any]:
        """The server's answer to the prompt, with `closing` after the user message.

        Raises:
            RefusedError: the server accepts no form of the request.
            ServerError: all retries failed.
        """
        systems = _open(self._system) if prompt.system else (False,)
        forms = list(product(systems, _open(self._switch)))
        for system, switch in forms:
            body = {"model": self._model, "messages": _messages(prompt, closing, system=system), **settings}
            try:
                answer = self._transport.post("/chat/completions", body | _NO_THOUGHTS if switch else body)
            except RefusedError as error:
                if error.status not in _REFUSED or (system, switch) == forms[-1]:
                    raise
            else:
                self._switch = switch
                if prompt.system:
                    self._system = system
                return answer
        raise AssertionError("there is always a form to ask in")


def no_system_role(encoder: PromptEncoder | None) -> bool:
    """Whether the model's chat template is known to refuse or drop a system message."""
    return encoder is not None and encoder.has_template and not encoder.system_role


def _open(known: bool | None) -> tuple[bool, ...]:
    return (True, False) if known is None else (known,)


def _messages(prompt: RenderedPrompt, closing: str, *, system: bool) -> list[dict[str, str]]:
    words = (prompt.user, closing) if system else (prompt.system, prompt.user, closing)
    user = {"role": "user", "content": "\n".join(filter(None, words))}
    return [{"role": "system", "content": prompt.system}, user] if system else [user]
