"""The names of tokens: a shown name means that token and no other.

1. A token's *piece* is what it adds inside a longer text, as bytes: with its leading space, and also where it holds
   only a part of a character.
2. Its name is the piece as text. Bytes that are no whole character show as `<0xD0>`.
3. A name is shown only where looking it up gives the token back. What has no text of its own (an id beyond the
   tokenizer, a second token for one text, a text that looks like an id) shows as `#1234`, which always means that id.

Nothing here reads the whole vocabulary: a name is looked up by the few ways in which a tokenizer may write it, and by
encoding it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

from clew import files
from clew.errors import InputError

_ID = re.compile(r"#(0|[1-9][0-9]{0,11})")
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
_HALF = re.compile(r"<0x([89A-F][0-9A-F])>")  # a byte that is no character by itself
_WORD_MARK = "▁"  # how SentencePiece writes a space
_PRIVATE = "\U0010fffd"  # a code point that no text uses
_FRONTS = ("\n", "a", ".", "1")
"""Texts in front of which a piece is encoded, so that a mark at the front of every text falls on them."""


def _byte_letters() -> dict[int, str]:
    """The letter by which byte-level tokenizers write each byte: itself if printable, else one from 256 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = (i for i in range(256) if i not in printable)
    return {i: chr(i) for i in printable} | {byte: chr(256 + n) for n, byte in enumerate(others)}


_LETTERS = _byte_letters()
_BYTES = {letter: byte for byte, letter in _LETTERS.items()}


def checked_text(text: str, what: str = "text") -> str:
    """The text; InputError where it holds half a character (a lone surrogate), which no tokenizer can read."""
    half = files.half_character(text)
    if half is not None:
        raise InputError(f"the {what} holds half a character ({half}): give whole characters")
    return text


class TokenNames:
    """Names of the tokens of one tokenizer (None: all are `#id`), and the tokens that names mean."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self._names: dict[int, str] = {}
        self._pieces: dict[int, bytes | None] = {}

    def names(self, tokens: Iterable[int]) -> tuple[str, ...]:
        """Each token's name."""
        return tuple(self._names.get(token) or self._name(token) for token in tokens)

    def token(self, name: str) -> int | None:
        """The token with this name, if there is one; `#1234` is token 1234, whether the model has it or not."""
        if number := _ID.fullmatch(name):
            return int(number[1])
        if self.tokenizer is None or not name:
            return None
        checked_text(name, "token")
        token = self._written(name.encode(), name)
        return self._of_bytes(name) if token is None else token

    def ids(self, text: str) -> list[int]:
        """The ids of a piece of text inside a longer one: without special tokens or a mark at its front."""
        plain = self._encode(checked_text(text))
        if self._front is None or self._joined(plain) == text.encode():
            return plain
        readings = [plain]
        for front in _FRONTS:
            head, whole = self._encode(front), self._encode(front + text)
            if whole[: len(head)] == head:
                readings.append(whole[len(head) :])
        exact = [ids for ids in readings if self._joined(ids) == text.encode()]
        # a normaliser may change letters; a space at the front that the text has not is the tokenizer's mark
        spaced = text.startswith(" ")
        alike = [ids for ids in readings if ids and self._joined(ids).startswith(b" ") == spaced]
        return (exact or alike or [plain])[0]

    def text(self, tokens: Iterable[int]) -> str:
        """What tokens are as one text: half characters that follow each other make whole ones."""
        tokens = list(tokens)
        pieces = [self._piece(token) for token in tokens]
        if self._front is None:
            return " ".join(self.names(tokens))
        return "".join(
            _characters(part) if isinstance(part, bytes) else part
            for part in _runs(piece if piece is not None else f"#{t}" for t, piece in zip(tokens, pieces, strict=True))
        )

    def single(self, text: str) -> int | None:
        """The token that has this name or that a text is as a whole; None where it is several or an unknown one."""
        token = self.token(text)
        if token is not None or self.tokenizer is None:
            return token
        ids = self.ids(text)  # a tokenizer may fold letters: the text is a token that has another name
        return ids[0] if len(ids) == 1 and ids != self._unknown else None

    @cached_property
    def _unknown(self) -> list[int]:
        """The ids of a character that no vocabulary has: one token where the tokenizer has one for the unknown."""
        return self.ids(_PRIVATE)

    # --- names ------------------------------------------------------------------------------------------------

    def _name(self, token: int) -> str:
        piece = self._piece(token)
        name = f"#{token}"
        if piece:
            spellings = (_characters(piece), _spelled(piece)) if len(piece) == 1 else (_characters(piece),)
            name = next((spelling for spelling in spellings if self.token(spelling) == token), name)
        self._names[token] = name
        return name

    def _written(self, piece: bytes, text: str) -> int | None:
        """The token of a piece: by how tokenizers may write it; by encoding where several or none are written so."""
        letters = "".join(_LETTERS[byte] for byte in piece)
        ways = dict.fromkeys((text, letters, text.replace(" ", _WORD_MARK)))
        tokens = dict.fromkeys(token for way in ways if (token := self._with_raw(way, piece)) is not None)
        if len(tokens) == 1:
            return next(iter(tokens))
        ids = self.ids(text)
        if len(ids) == 1 and self._piece(ids[0]) == piece:
            return ids[0]
        return next(iter(tokens), None)

    def _of_bytes(self, name: str) -> int | None:
        """The token whose bytes are spelled in a name such as `<0xD0>`."""
        if not _BYTE.search(name):
            return None
        piece = _parsed(name)
        if name not in (_characters(piece), _spelled(piece)):
            return None
        for raw in (name, "".join(_LETTERS[byte] for byte in piece)):
            if (token := self._with_raw(raw, piece)) is not None:
                return token
        return None

    def _with_raw(self, raw: str, piece: bytes) -> int | None:
        """The token that the tokenizer writes as `raw`, if that is what it adds to a text."""
        token = self.tokenizer.convert_tokens_to_ids(raw)
        return token if token is not None and self._piece(token) == piece else None

    # --- pieces -----------------------------------------------------------------------------------------------

    def _piece(self, token: int) -> bytes | None:
        """What a token adds inside a longer text; None for an id that the tokenizer does not have."""
        if token not in self._pieces:
            self._pieces[token] = self._read(token)
        return self._pieces[token]

    def _read(self, token: int) -> bytes | None:
        raw = self._raw(token)
        if raw is None:
            return None
        text = self._added(token)
        if text and "\ufffd" not in text:
            return text.encode()
        if match := _BYTE.fullmatch(raw):
            return bytes.fromhex(match[1])
        if text and all(letter in _BYTES for letter in raw):
            return bytes(_BYTES[letter] for letter in raw)
        return (text or raw).encode()

    def _raw(self, token: int) -> str | None:
        if self.tokenizer is None or token < 0:
            return None
        try:
            return self.tokenizer.convert_ids_to_tokens(token)
        except (IndexError, KeyError):  # tokenizers in Python say so instead of giving None
            return None

    def _added(self, token: int) -> str:
        """How a text grows by a token; a decoder may strip the space of a first one, so one stands in front."""
        if self._front is None:
            return self._decode([token])
        front, before = self._front
        text = self._decode([front, token])
        return text.removeprefix(before) if text.startswith(before) else self._decode([token])

    @cached_property
    def _front(self) -> tuple[int, str] | None:
        """A token to stand in front of another, and its text; None where tokens are words with spaces between them."""
        ids = [] if self.tokenizer is None else self._encode("a")
        if not ids:
            return None
        text, raw = self._decode(ids[-1:]), self._raw(ids[-1])
        words = self._decode([ids[-1]] * 2) == f"{text} {text}" and text == raw
        return None if words or not text.endswith("a") else (ids[-1], text)

    def _joined(self, tokens: Iterable[int]) -> bytes:
        return b"".join(self._piece(token) or b"" for token in tokens)

    def _encode(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def _decode(self, tokens: list[int]) -> str:
        return self.tokenizer.decode(tokens, clean_up_tokenization_spaces=False)


def _characters(piece: bytes) -> str:
    """Bytes as text; those that are no whole character as `<0xD0>`."""
    text = piece.decode(errors="surrogateescape")
    return "".join(f"<0x{ord(c) - 0xDC00:02X}>" if "\udc80" <= c <= "\udcff" else c for c in text)


def whole_characters(names: Sequence[str], peak: int = -1) -> tuple[str, ...]:
    """The names of neighbouring tokens as one reads a text: a character whose bytes they share stands at one of them.

    That is the last, or the token at `peak` if it has a share; the others show nothing of it. Bytes that make no
    character stay as they are.
    """
    if not any("<0x" in name for name in names):
        return tuple(names)
    parts = [_parsed(name, _HALF) for name in names]
    owners = [i for i, part in enumerate(parts) for _ in part]
    texts, start = [""] * len(names), 0
    for character in b"".join(parts).decode(errors="surrogateescape"):
        length = len(character.encode(errors="surrogateescape"))
        sharing = owners[start : start + length]
        texts[peak if peak in sharing else sharing[-1]] += _characters(character.encode(errors="surrogateescape"))
        start += length
    return tuple(texts)


def _spelled(piece: bytes) -> str:
    return "".join(f"<0x{byte:02X}>" for byte in piece)


def _parsed(name: str, pattern: re.Pattern[str] = _BYTE) -> bytes:
    """The bytes of a name in which some are spelled."""
    parts = pattern.split(name)  # text and bytes in turn
    return b"".join(bytes.fromhex(part) if i % 2 else part.encode() for i, part in enumerate(parts))


def _runs(parts: Iterable[bytes | str]) -> list[bytes | str]:
    """Neighbouring bytes as one."""
    runs: list[bytes | str] = []
    for part in parts:
        if isinstance(part, bytes) and runs and isinstance(runs[-1], bytes):
            runs[-1] += part
        else:
            runs.append(part)
    return runs
