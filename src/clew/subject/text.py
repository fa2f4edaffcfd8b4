"""Prompts as token ids, and token ids as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from clew.errors import InputError

Prompt = str | Sequence[int] | Sequence[Mapping[str, str]] | Tensor
"""A text, token ids, or chat messages."""


def prompt_ids(prompt: Prompt, tokenizer: Any, name: str, *, add_bos: bool) -> list[int]:
    """The token ids of a prompt to the model of this name; ids are taken as they are.

    InputError when text comes without a tokenizer, or messages without a chat template.
    """
    if isinstance(prompt, Tensor):
        return prompt.flatten().tolist()
    if not isinstance(prompt, str) and (len(prompt) == 0 or isinstance(prompt[0], int)):
        return list(prompt)  # type: ignore[arg-type]
    tokenizer = needed(tokenizer, name)
    if not isinstance(prompt, str):
        if not getattr(tokenizer, "chat_template", None):
            raise InputError(f"{name} has no chat template: give plain text instead of messages")
        rendered = tokenizer.apply_chat_template(list(prompt), add_generation_prompt=True, tokenize=False)
        return tokenizer(rendered, add_special_tokens=False)["input_ids"]
    if not prompt:
        return []
    ids = tokenizer(prompt)["input_ids"]
    bos = tokenizer.bos_token_id
    if add_bos and bos is not None and ids[:1] != [bos]:
        ids = [bos, *ids]
    return ids


def token_strings(ids: Sequence[int], tokenizer: Any) -> tuple[str, ...]:
    """Each token as text; a token that is part of a character shows as the tokenizer writes it."""
    if tokenizer is None:
        return tuple(f"<{i}>" for i in ids)
    texts = [tokenizer.decode([i], clean_up_tokenization_spaces=False) for i in ids]
    raw = tokenizer.convert_ids_to_tokens(ids)
    return tuple(str(r) if "\ufffd" in text or not text else text for text, r in zip(texts, raw, strict=True))


def needed(tokenizer: Any, name: str) -> Any:
    """The tokenizer of the model of this name; InputError when it has none."""
    if tokenizer is None:
        raise InputError(f"{name} came without a tokenizer: give token ids instead of text")
    return tokenizer
