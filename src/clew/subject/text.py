"""Prompts as token ids: a text, token ids in any form, or chat messages.

What a tokenizer puts in front of a text is put there once, by `start_ids`, whatever the text begins with. What it
appends (an EOS) is left out: a prompt goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from clew.errors import InputError
from clew.subject.token_names import checked_text

if TYPE_CHECKING:
    Prompt = str | Sequence[int] | Sequence[Mapping[str, str]] | Mapping[str, Any] | Tensor | np.ndarray
    """A text, token ids (a list, an array, a tokenizer's answer), or chat messages."""
else:
    Prompt = object  # what is none of these is refused by `encode`, in words

_TURN_MARK = "<|im_start|>"
_LOOP = "for "  # how the part of a chat template that is repeated for every message begins


def prompt_ids(prompt: Prompt, tokenizer: Any, name: str, start: Sequence[int], *, add_bos: bool) -> list[int]:
    """The token ids of a prompt to the model of this name; ids are taken as they are.

    Without `add_bos` nothing stands in front of a text, nor of chat messages whose template begins with `start`.
    InputError for what is none of the three, for several prompts at once, for text without a tokenizer, for messages
    without a chat template, and for those that the template refuses.
    """
    if isinstance(prompt, str):
        return text_ids([prompt], needed(tokenizer, name), start if add_bos else ())[0]
    if isinstance(prompt, Sequence) and prompt and all(isinstance(part, Mapping) for part in prompt):
        ids = _chat_ids(prompt, needed(tokenizer, name), name)
        length = len(start)
        return ids[length:] if not add_bos and length and ids[:length] == list(start) else ids
    return _ids(prompt)


def text_ids(texts: Sequence[str], tokenizer: Any, start: Sequence[int]) -> list[list[int]]:
    """Every text's ids behind `start`, whose own text at the front of a text is read as it; none for an empty text."""
    written = "".join(tokenizer.convert_ids_to_tokens(list(start)))
    rests = [checked_text(text).removeprefix(written) for text in texts]
    encoded = iter(tokenizer(rests, add_special_tokens=False)["input_ids"] if rests else [])
    return [
        [*start, *ids] if ids or (text and not rest) else []
        for text, rest, ids in zip(texts, rests, encoded, strict=True)
    ]


def start_ids(tokenizer: Any) -> tuple[int, ...]:
    """What stands at the front of every text.

    What the tokenizer itself puts there; where it puts nothing, its BOS token, with which the texts of such models
    were divided (GPT-2), unless it opens the turns of a chat: then a text that begins with it is no text.
    """
    if tokenizer is None:
        return ()
    plain, whole = (tokenizer("a", add_special_tokens=added)["input_ids"] for added in (False, True))
    for length in range(1, len(whole) - len(plain) + 1):
        if plain and whole[length : length + len(plain)] == plain:
            return tuple(whole[:length])
    if tokenizer.bos_token_id is None or _opens_turns(tokenizer):
        return ()
    return (tokenizer.bos_token_id,)


def _opens_turns(tokenizer: Any) -> bool:
    """Whether the BOS token is written in front of every message of a chat."""
    template = getattr(tokenizer, "chat_template", None)
    templates = template.values() if isinstance(template, Mapping) else [template or ""]
    repeated = "".join(str(text).partition(_LOOP)[2] for text in templates)
    return tokenizer.bos_token == _TURN_MARK or tokenizer.bos_token in repeated


def needed(tokenizer: Any, name: str) -> Any:
    """The tokenizer of the model of this name; InputError when it has none."""
    if tokenizer is None:
        raise InputError(f"{name} came without a tokenizer: give token ids instead of text")
    return tokenizer


# --- token ids ------------------------------------------------------------------------------------------------------


def as_id(value: Any) -> int | None:
    """A whole number of any library as an int; None for what is none, truth values and floats among them."""
    if isinstance(value, Tensor | np.ndarray):
        if value.ndim or not is_whole(value):
            return None
        return int(value)
    if isinstance(value, bool | np.bool_) or not hasattr(value, "__index__"):
        return None
    return int(value)


def is_whole(values: Tensor | np.ndarray) -> bool:
    """Whether an array holds whole numbers; truth values are none."""
    if isinstance(values, Tensor):
        return not (values.is_floating_point() or values.is_complex() or str(values.dtype) == "torch.bool")
    return values.dtype.kind in "iu"


def _ids(prompt: Any) -> list[int]:
    """Ids that come as a sequence, an array, one row of a batch, or in a tokenizer's answer."""
    if isinstance(prompt, Mapping):
        if "input_ids" not in prompt:
            raise InputError("one chat message stands in a list: give [{'role': 'user', 'content': ...}]")
        return _ids(prompt["input_ids"])
    if isinstance(prompt, Tensor | np.ndarray):
        return _array_ids(prompt)
    if not isinstance(prompt, Sequence) or isinstance(prompt, bytes | bytearray | memoryview):
        raise InputError(f"a prompt is a text, token ids or chat messages, not {type(prompt).__name__}")
    if prompt and all(isinstance(part, str) for part in prompt):
        raise InputError(f"the prompt is a list of {len(prompt)} texts: give them one by one")
    if prompt and all(isinstance(part, list | tuple) or getattr(part, "ndim", 0) for part in prompt):
        return _ids(_only(prompt))
    ids = [as_id(part) for part in prompt]
    for part, token in zip(prompt, ids, strict=True):
        if token is None:
            raise InputError(f"a prompt of token ids holds whole numbers only, not {part!r:.60}")
    return [token for token in ids if token is not None]


def _array_ids(prompt: Tensor | np.ndarray) -> list[int]:
    if prompt.ndim == 0:
        raise InputError("a single token id is no prompt: give a list of ids")
    if prompt.ndim > 1:
        return _array_ids(_only(prompt))
    if len(prompt) and not is_whole(prompt):
        raise InputError(f"token ids are whole numbers, this prompt holds {prompt.dtype}")
    return [int(token) for token in prompt.tolist()]


def _only(rows: Any) -> Any:
    """The only row of a batch."""
    if len(rows) != 1:
        raise InputError(f"the prompt is a batch of {len(rows)} rows: give them one by one")
    return rows[0]


# --- chats ----------------------------------------------------------------------------------------------------------


def _chat_ids(messages: Sequence[Any], tokenizer: Any, name: str) -> list[int]:
    if not getattr(tokenizer, "chat_template", None):
        raise InputError(f"{name} has no chat template: give plain text instead of messages")
    _check_messages(messages)
    try:
        text = tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, tokenize=False)
    except Exception as error:  # a template is a program that came with the model: it may fail in any way
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"the chat template of {name} does not take these messages: {reason}") from error
    shown = " ".join(text.split())
    for number, message in enumerate(messages, 1):
        content = message.get("content")
        if message["role"] in ("assistant", "tool") or not isinstance(content, str):
            continue  # templates rewrite what a model thought and what tools returned
        if " ".join(content.split()) not in shown:
            raise InputError(
                f"the chat template of {name} leaves out message {number} (role {message['role']!r}): "
                "give roles that it knows"
            )
    return tokenizer(checked_text(text, "chat"), add_special_tokens=False)["input_ids"]


def _check_messages(messages: Sequence[Any]) -> None:
    for number, message in enumerate(messages, 1):
        if not isinstance(message.get("role"), str):
            raise InputError(f"message {number} of the chat has no role: give role and content to each")
        if not ("tool_calls" in message or isinstance(message.get("content"), str | list)):
            raise InputError(f"message {number} of the chat has no content: give role and content to each")
