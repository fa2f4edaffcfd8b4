"""What pydantic says of wrong arguments, in one line as Clew says it: the value seen and what is asked for."""

from __future__ import annotations

from pydantic import ValidationError

_SHOWN = 40  # letters of a value


def one_line(error: ValidationError) -> str:
    """Every wrong argument with what was seen and what it should be."""
    parts = []
    for each in error.errors():
        name = ".".join(str(place) for place in each["loc"]) or "the arguments"
        if each["type"] == "missing":
            parts.append(f"{name} is missing: give it")
            continue
        if each["type"] == "extra_forbidden":
            parts.append(f"{name} is not known here: leave it out")
            continue
        seen = repr(each["input"])
        seen = seen if len(seen) <= _SHOWN else f"{seen[:_SHOWN]}…"
        parts.append(f"{name} is {seen}: {each['msg'][:1].lower()}{each['msg'][1:]}")
    return "; ".join(dict.fromkeys(parts))
