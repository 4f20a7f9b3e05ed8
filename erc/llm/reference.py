"""The reference language model: a small Llama trained from scratch, for tests and demonstrations of the path, not for good labels.

Its vocabulary is byte-level BPE over texts of the training corpora, its chat template has the shape of ChatML, so everything that
a large model needs (system role, end of turn, control tokens in texts) is exercised with a few million parameters.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from erc.data.conversation import Conversation

NAME = "convemo-reference-lm"
SPECIALS = ("<pad>", "<s>", "</s>", "<|im_start|>", "<|im_end|>")
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build_tokenizer(texts: Iterable[str], *, vocab: int = 4096) -> Any:
    """A byte-level BPE tokenizer learnt from `texts`; every text can be written in it, whatever its script."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocab, special_tokens=list(SPECIALS), initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>")
    fast.chat_template = CHAT_TEMPLATE
    return fast


def build_model(vocab: int, *, hidden: int = 192, layers: int = 6, seed: int = 0) -> Any:
    """A Llama with random weights: 3.2 million parameters with 4,096 tokens and the sizes given here."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    config = LlamaConfig(
        vocab_size=vocab,
        hidden_size=hidden,
        intermediate_size=2 * hidden + hidden // 2,
        num_hidden_layers=layers,
        num_attention_heads=6,
        num_key_value_heads=3,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(config)


def dialogue_texts(conversations: Sequence[Conversation]) -> list[str]:
    """Each conversation as lines `Name: text`."""
    return ["\n".join(f"{turn.speaker}: {turn.text}" for turn in conversation) for conversation in conversations if len(conversation)]
