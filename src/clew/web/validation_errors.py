"""Validation errors of pydantic as one line for a person: which field is wrong, and what it must be."""

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
_TEXTS = {
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
    """The first error, in one line."""
    first = next((e for e in errors if not _is_other_form(e)), errors[0])
    line = f"{_field(first)} {_problem(first)}"
    if any("literal[" in str(part) for part in first["loc"]):
        line += ", or a list of numbers"
    return " ".join(line.split())


def _is_other_form(error: Mapping[str, Any]) -> bool:
    """Whether a list failed the word form of a field that takes words or a list: the list's own error says more."""
    return error["type"] == "literal_error" and isinstance(error.get("input"), list)


def _field(error: Mapping[str, Any]) -> str:
    """The field in words, such as `strength of edit 1`, without the names of types on the path to it."""
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


def _problem(error: Mapping[str, Any]) -> str:
    kind, context = error["type"], error.get("ctx") or {}
    if kind == "string_pattern_mismatch":
        return _PATTERNS.get(context["pattern"], "holds what may not stand there")
    if kind in ("string_too_short", "too_short"):
        return "is empty" if context["min_length"] == 1 else f"has fewer than {context['min_length']} entries"
    if kind in _TEXTS:
        return _TEXTS[kind].format(**context)
    name, _, rest = kind.partition("_")
    if name in _KINDS and rest in ("type", "parsing", "from_float", "parsing_size", "attributes_type"):
        return f"must be {_KINDS[name]}"
    return f"is wrong: {str(error['msg'])[:1].lower()}{str(error['msg'])[1:]}"
