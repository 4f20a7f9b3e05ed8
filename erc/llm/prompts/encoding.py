"""From prompts and labels to token ids.

Prompt and answer are tokenized separately and joined as ids, in scoring and in training, so a tokenizer
cannot merge characters across the boundary. Every answer ends with the token that ends a turn. A label that
begins another label therefore has a probability of its own, and the scores of a closed set are those of
exclusive events.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from erc.errors import ArtefactError
from erc.llm.prompts.template import RenderedPrompt

# Some chat templates print the current date or enable thinking, which would change equal prompts.
_TEMPLATE_SETTINGS: Mapping[str, Any] = {"date_string": "26 Jul 2024", "enable_thinking": False}
_PROBE = "joy"


class PromptEncoder:
    """Turns prompts and answers into token ids in the format the tokenizer's model was trained on.

    With a chat template, the instruction is the system message and the answer begins the assistant's turn.
    Where the template refuses a system message, the instruction precedes the user's text. Without a
    template, the parts are plain text and the answer follows `lead` and a space.

    `positions` is the number of tokens, prompt and answer together, that the model has positions for; None
    means no known limit.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, positions: int | None = None) -> None:
        self.tokenizer = tokenizer
        self.positions = positions
        self.has_template = bool(tokenizer.chat_template)
        self.system_role = self.has_template and self._accepts_system_role()
        self.terminator = self._terminator()

    @property
    def template_sha256(self) -> str | None:
        """Hash of the chat template; None without one."""
        return (
            hashlib.sha256(str(self.tokenizer.chat_template).encode()).hexdigest()
            if self.has_template
            else None
        )

    def text(self, prompt: RenderedPrompt) -> str:
        """The whole prompt as text before the answer.

        It has a beginning-of-text token only where the chat template writes one.
        """
        if self.has_template:
            return self._apply(self._messages(prompt), generation=True)
        return "\n".join(part for part in (prompt.system, prompt.user, prompt.lead) if part)

    def prompt_ids(self, prompt: RenderedPrompt) -> list[int]:
        """Token ids of the prompt, with exactly one beginning-of-text token if the model expects one."""
        ids = self._ids(self.text(prompt))
        bos = self.tokenizer.bos_token_id
        if not self.has_template and bos is not None and self._adds_bos():
            return [bos, *ids]
        return ids

    def answer_text(self, answer: str) -> str:
        """The answer as it follows the prompt. The space at the boundary belongs to the answer."""
        return answer if self.has_template else f" {answer}"

    def answer_ids(self, answer: str) -> list[int]:
        """Token ids of an answer, including the end of the turn.

        Raises:
            ArtefactError: the tokenizer makes no token of the answer.
        """
        ids = self._ids(self.answer_text(answer))
        if not ids:
            raise ArtefactError(f"the tokenizer makes no token of the answer {answer!r}")
        return [*ids, self.terminator]

    def count(self, text: str) -> int:
        """Tokens of a piece of text."""
        return len(self._ids(text))

    def _ids(self, text: str) -> list[int]:
        return list(
            self.tokenizer(text, add_special_tokens=False, return_attention_mask=False, verbose=False)[
                "input_ids"
            ]
        )

    def _adds_bos(self) -> bool:
        ids = self.tokenizer(_PROBE, add_special_tokens=True)["input_ids"]
        return bool(ids) and ids[0] == self.tokenizer.bos_token_id

    def _messages(self, prompt: RenderedPrompt) -> list[dict[str, str]]:
        if self.system_role and prompt.system:
            return [{"role": "system", "content": prompt.system}, {"role": "user", "content": prompt.user}]
        return [{"role": "user", "content": "\n".join(part for part in (prompt.system, prompt.user) if part)}]

    def _apply(self, messages: list[dict[str, str]], *, generation: bool) -> str:
        return str(
            self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=generation, **_TEMPLATE_SETTINGS
            )
        )

    def _accepts_system_role(self) -> bool:
        # A template may refuse the role with an error, or drop the message silently.
        try:
            rendered = self._apply(
                [{"role": "system", "content": "qzsystemqz"}, {"role": "user", "content": _PROBE}],
                generation=True,
            )
        except (TemplateError, ValueError):
            return False
        return "qzsystemqz" in rendered

    def _terminator(self) -> int:
        """The token that ends an assistant's turn, from the chat template; else the end-of-text token."""
        if self.has_template:
            question = {"role": "user", "content": _PROBE}
            marked = self._apply([question, {"role": "assistant", "content": "qzanswerqz"}], generation=False)
            rest = self._ids(marked.rpartition("qzanswerqz")[2].lstrip())
            if rest and rest[0] in self.tokenizer.added_tokens_decoder:
                return rest[0]
        if self.tokenizer.eos_token_id is None:
            raise ArtefactError(
                "the tokenizer has no end-of-text token, so answers of different lengths cannot be "
                "compared; use one that has"
            )
        return int(self.tokenizer.eos_token_id)
