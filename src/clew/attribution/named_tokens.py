"""Tokens by the names that a person gives them, alone or as a difference of two."""

from __future__ import annotations

from clew.errors import InputError
from clew.subject.subject import Subject

_MINUS = " - "


def token_of(subject: Subject, text: str) -> int:
    """The token that has this name or is this text, with a leading space added if only that makes it one token.

    InputError when none is; ids are not compared with the vocabulary.
    """
    if not text:
        raise InputError("a target is empty: name a token, such as 'Paris'")
    token = _token(subject, text)
    if token is None:
        pieces = ", ".join(repr(piece) for piece in subject.token_strings(subject.token_ids(text)))
        raise InputError(
            f"target {text!r} is not one token but {pieces or 'none'}: name one of them, give an id as '#1234', or "
            "trace the whole as an answer"
        )
    return token


def _token(subject: Subject, text: str) -> int | None:
    tokens = (subject.token_names.single(spelling) for spelling in (text, " " + text))
    return next((token for token in tokens if token is not None), None)


def difference(subject: Subject, text: str) -> tuple[int, int] | None:
    """The two tokens of "Paris - Berlin"; None for a text that is a token itself or is divided nowhere.

    InputError when neither side is a token, or when the text can be divided in two ways.
    """
    parts = text.split(_MINUS)
    pairs = [(_MINUS.join(parts[:i]), _MINUS.join(parts[i:])) for i in range(1, len(parts))]
    pairs = [pair for pair in pairs if all(pair)]
    if not pairs or subject.token_names.token(text) is not None:
        return None
    sides = [(_token(subject, plus), _token(subject, minus)) for plus, minus in pairs]
    tokens = [(plus, minus) for plus, minus in sides if plus is not None and minus is not None]
    if not tokens:
        plus, minus = pairs[0]
        return token_of(subject, plus), token_of(subject, minus)  # says which of them is none
    if len(tokens) > 1:
        raise InputError(f"target {text!r} can be divided in {len(tokens)} ways: give the tokens' ids, '#12 - #34'")
    return tokens[0]
