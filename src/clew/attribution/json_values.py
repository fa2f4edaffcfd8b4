"""Values of JSON from elsewhere, taken as what they are: true is no number, 2.5 no position, half a character no text.

Each function returns the value; ValueError, in one line that names it, when it is of another kind.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from clew.files import half_character

LARGEST = 1e30
"""Numbers beyond it overflow single precision once a few thousand of them are added."""
DEEPEST = 24
"""How deep lists and objects may stand in one another where any JSON is kept."""


def whole_number(value: Any, what: str, *, low: int = -1, high: int = 1 << 53) -> int:
    """A whole number from `low` to `high`; 2.0 is one."""
    is_float = isinstance(value, float) and value.is_integer()
    if isinstance(value, bool) or not (isinstance(value, int) or is_float):
        _refuse(value, what, "a whole number")
    if not low <= value <= high:
        _refuse(value, what, f"a whole number from {low} to {high}")
    return int(value)


def layer_number(value: Any, what: str) -> int:
    """A layer, which graph JSON writes as a text of digits."""
    is_written = isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 9
    return whole_number(int(value) if is_written else value, what, low=0)


def real_number(value: Any, what: str, *, low: float = -LARGEST, high: float = LARGEST) -> float:
    """A finite number that sums may hold."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        _refuse(value, what, "a number" if (low, high) == (-LARGEST, LARGEST) else f"a number from {low:g} to {high:g}")
    return float(value)


def whole_text(value: Any, what: str) -> str:
    """A text of whole characters."""
    if not isinstance(value, str):
        _refuse(value, what, "a text")
    if half_character(value) is not None:
        _refuse(value, what, "a text of whole characters")
    return value


def sequence(value: Any, what: str) -> Sequence[Any]:
    """A list."""
    if not isinstance(value, list | tuple):
        _refuse(value, what, "a list")
    return value


def mapping(value: Any, what: str) -> Mapping[str, Any]:
    """An object."""
    if not isinstance(value, Mapping):
        _refuse(value, what, "an object")
    return value


def plain_json(value: Any, what: str, depth: int = 0) -> Any:
    """Any JSON that can be written again: texts of whole characters, finite numbers, not too deep."""
    if depth > DEEPEST:
        raise ValueError(f"{what} is nested more than {DEEPEST} deep")
    if isinstance(value, Mapping):
        for key, each in value.items():
            whole_text(key, f"a key of {what}")
            plain_json(each, what, depth + 1)
    elif isinstance(value, list | tuple):
        for each in value:
            plain_json(each, what, depth + 1)
    elif isinstance(value, str):
        whole_text(value, what)
    elif isinstance(value, float):
        if not math.isfinite(value):
            _refuse(value, what, "a number")
    elif isinstance(value, int) and not isinstance(value, bool):
        whole_number(value, what, low=-(1 << 63), high=1 << 64)
    elif value is not None and not isinstance(value, bool):
        _refuse(value, what, "JSON")
    return value


def parsed(content: bytes | str) -> Any:
    """JSON as it stands: ValueError for NaN, infinity and for a key that an object has twice."""
    return json.loads(content, parse_constant=_no_constant, object_pairs_hook=_unique)


def shown(value: Any) -> str:
    """A value in a message: in one line, cut where it is long."""
    text = ascii(value) if not isinstance(value, int) or value.bit_length() < 200 else "a number of very many digits"
    return text if len(text) <= 60 else f"{text[:57]}..."


def bare(name: str) -> str:
    """A name in a message, without quotes."""
    return shown(name)[1:].removesuffix("'")


def _refuse(value: Any, what: str, kind: str) -> NoReturn:
    raise ValueError(f"{what} is {shown(value)}, not {kind}")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        ((twice, _),) = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"an object has the key {shown(twice)} twice")
    return value
