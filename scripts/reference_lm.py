"""Parts of the reference language model, a small Llama trained from scratch by `train_reference_lm.py`.

It exists to test and demonstrate the language-model path; its labels are not good. The vocabulary is
byte-level BPE over the training corpora and the chat template follows ChatML, so a few million parameters
exercise what a large model needs: system role, end of turn, control tokens in texts.

It is trained on plain dialogues and on dialogues inside task prompts, so that it knows the words and control
tokens of a prompt before an adapter is trained. Then it learns to answer the emotion prompt for single
comments of another corpus. It never sees an emotion label of a dialogue turn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from erc.data.conversation import Context, Conversation, Utterance
from erc.data.corpora import Corpus
from erc.emotions import load_emotion_map
from erc.llm.prompts.tasks import LabelledPrompt, TaskPrompts

NAME = "convemo-reference-lm"
_NAMES = ("Ada", "Ben", "Cleo", "Dan", "Eve", "Finn", "Gus", "Hana", "Ivo", "Jill", "Kofi", "Lena")
SPECIALS = ("<pad>", "<s>", "</s>", "<|im_start|>", "<|im_end|>")
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build_tokenizer(texts: Iterable[str], *, vocab: int = 4096) -> Any:
    """Train a byte-level BPE tokenizer on `texts`. It can encode text in any script."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab, special_tokens=list(SPECIALS), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def build_model(vocab: int, *, hidden: int = 192, layers: int = 4, seed: int = 0) -> Any:
    """Build a Llama with random weights: by default and with 4,096 tokens, 2.3 million parameters."""
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
    """Return each conversation as lines `Name: text`."""
    return [
        "\n".join(f"{turn.speaker}: {turn.text}" for turn in conversation)
        for conversation in conversations
        if len(conversation)
    ]


def prompt_texts(
    conversations: Sequence[Conversation],
    prompts: TaskPrompts,
    *,
    per_dialogue: int,
    rng: np.random.Generator,
) -> list[str]:
    """Return prompts about random turns, rendered by the chat template, without any emotion label.

    Half ask who speaks and include the answer, which the dialogue itself gives. The others are emotion
    prompts that end before the answer.
    """
    encoder = prompts.builder.encoder
    texts: list[str] = []
    for conversation in conversations:
        for index in rng.integers(0, len(conversation), size=per_dialogue if len(conversation) else 0):
            context = Context.causal(conversation, int(index))
            asked = prompts.speaker_identification(context) if len(texts) % 2 else None
            if asked is None:
                texts.append(encoder.text(prompts.builder.emotion(context)))
            else:
                texts.append(
                    encoder.text(asked.prompt)
                    + asked.answer
                    + str(encoder.tokenizer.convert_ids_to_tokens(encoder.terminator))
                )
    return texts


def labelled_comments(corpus: Corpus, emotion_set: str = "ekman") -> list[tuple[str, str]]:
    """Return (text, emotion) of the turns whose labels all map to one emotion of `emotion_set`."""
    emotion_map = load_emotion_map(corpus.emotion_set, emotion_set)
    order = {label: i for i, label in enumerate(emotion_map.source.labels)}
    found = []
    for conversation in corpus.conversations:
        for turn in conversation:
            hot = np.zeros((1, len(order)))
            hot[0, [order[label] for label in turn.emotions]] = 1.0
            mapped = np.flatnonzero(emotion_map.apply(hot)[0] > 0.5)
            if len(mapped) == 1:
                found.append((turn.text, emotion_map.target.labels[int(mapped[0])]))
    return found


def comment_prompts(
    comments: Sequence[tuple[str, str]], prompts: TaskPrompts, *, count: int, seed: int, before: int = 3
) -> list[LabelledPrompt]:
    """Build emotion prompts for `count` of the (text, emotion) pairs.

    Up to `before` other comments precede each one as a dialogue of people with made-up names. A comment is
    drawn with probability proportional to 1/sqrt(number of comments with its emotion), so that a small model
    sees rare emotions often enough.
    """
    rng, made = np.random.default_rng(seed), []
    shares = Counter(emotion for _, emotion in comments)
    weights = np.array([shares[emotion] ** -0.5 for _, emotion in comments])
    for index in rng.choice(
        len(comments), size=min(count, len(comments)), replace=False, p=weights / weights.sum()
    ):
        others = rng.integers(0, len(comments), size=rng.integers(0, before + 1))
        texts = [*(comments[i][0] for i in others), comments[index][0]]
        names = rng.permutation(_NAMES)[:2]
        turns = tuple(
            Utterance(f"comment-{i}", i, str(names[(len(texts) - 1 - i) % 2]), text)
            for i, text in enumerate(texts)
        )
        context = Context.causal(Conversation(f"comment-{index}", turns), len(texts) - 1)
        made.append(prompts.emotion(context, comments[index][1]))
    return made


def question_alone(made: LabelledPrompt) -> LabelledPrompt:
    """Keep only the last question of a prompt and its answer. A whole prompt ends with the same question."""
    return replace(made, prompt=replace(made.prompt, system="", segments=made.prompt.segments[-1:]))


def unigram_perplexity(
    train: Iterable[Sequence[int]], judged: Iterable[Sequence[int]], *, vocab: int
) -> float:
    """Return the perplexity per token of `judged` under the token frequencies of `train`.

    Frequencies have add-one smoothing. This is the baseline for a trained model.
    """
    counts = Counter(token for ids in train for token in ids)
    total = sum(counts.values()) + vocab
    logs = [np.log((counts[token] + 1) / total) for ids in judged for token in ids]
    return float(np.exp(-np.mean(logs)))
