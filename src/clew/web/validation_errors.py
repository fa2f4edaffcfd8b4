"""What a request got wrong as one line for a person: which field, and what it must be."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from clew.web.schema.bodies import FEATURE, GRAPH, NODE

_PATTERNS = {
    FEATURE: "must be written like L3/1207",
    NODE: "must be written like L3/1207@4, E2@4, T@4 or O0@4",
    GRAPH: "must be the id of a graph, as the history has it",
    "^L[0-9]{1,4}$": "must be written like L3",
}
_SAID = {
    "missing": "is missing",
    "extra_forbidden": "is not known here",
    "less_than_equal": "must be at most {le:g}",
    "less_than": "must be less than {lt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "greater_than": "must be more than {gt:g}",
    "string_too_long": "has more than {max_length} characters",
    "too_long": "has more than {max_length} entries",
    "literal_error": "must be {expected}",
    "union_tag_invalid": "must be one of {expected_tags}",
    "union_tag_not_found": "is missing",
    "finite_number": "must be a finite number",
    "value_error": "is wrong: {error}",
    "string_type": "must be a text",
    "string_unicode": "must be whole characters",
    "list_type": "must be a list",
    "bool_parsing": "must be true or false",
}
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "model": "an object",
    "dict": "an object",
}


def plain_line(errors: Sequence[Mapping[str, Any]]) -> str:
    """The first thing that is wrong, of what pydantic found."""
    first = next((e for e in errors if not _is_other_form(e)), errors[0])
    said = f"{_where(first)} {_what(first)}"
    if any("literal[" in str(part) for part in first["loc"]):
        said += ", or a list of numbers"
    return " ".join(said.split())


def _is_other_form(error: Mapping[str, Any]) -> bool:
    """Whether it only says that a list is none of some words, where a list may stand too."""
    return error["type"] == "literal_error" and isinstance(error.get("input"), list)


def _where(error: Mapping[str, Any]) -> str:
    """The field: `strength of edit 1`, not the way through the types that lead to it."""
    place = [part for part in error["loc"][1:] if isinstance(part, int) or re.fullmatch(r"[a-z_A-Z]\w*", part)]
    place = [part for part in place if part not in _TAGS or len(place) == 1]
    if error["type"].startswith("union_tag"):
        place.append(str(error["ctx"]["discriminator"]).strip("'"))
    if not place:
        return "the body"
    names: list[str] = []
    for part in place:
        if isinstance(part, int) and names:
            names[-1] = f"{names[-1].removesuffix('s')} {part + 1}"
        else:
            names.append(str(part)[:60])
    return " of ".join(reversed(names))


_TAGS = ("trace", "edit", "generate", "audit", "harvest", "function", "tuple")


def _what(error: Mapping[str, Any]) -> str:
    kind, known = error["type"], error.get("ctx") or {}
    if kind == "string_pattern_mismatch":
        return _PATTERNS.get(known["pattern"], "holds what may not stand there")
    if kind in ("string_too_short", "too_short"):
        return "is empty" if known["min_length"] == 1 else f"has fewer than {known['min_length']} entries"
    if kind in _SAID:
        return _SAID[kind].format(**known)
    name, _, rest = kind.partition("_")
    if name in _KINDS and rest in ("type", "parsing", "from_float", "parsing_size", "attributes_type"):
        return f"must be {_KINDS[name]}"
    return f"is wrong: {str(error['msg'])[:1].lower()}{str(error['msg'])[1:]}"
