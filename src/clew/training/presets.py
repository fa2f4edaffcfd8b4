"""Settings of a run: a preset scaled to the model, a file over it, single settings over both.

Every setting is a field of DictionaryConfig or CorpusConfig; what it means and its default are written there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from clew.errors import FileError, InputError
from clew.settings import help_of
from clew.training.config import DictionaryConfig, check_known
from clew.training.corpus_config import CorpusConfig

T = TypeVar("T")
PRESETS: Mapping[str, tuple[int, int]] = {
    "tiny": (4, 1 << 20),
    "small": (8, 1 << 22),
    "medium": (16, 1 << 24),
    "large": (32, 1 << 26),
}
"""Features a layer as a multiple of the model's width, and positions to train on."""


def preset(name: str, d_model: int) -> dict[str, Any]:
    """The settings of a preset for a model of this width; InputError for an unknown name.

    k grows with the root of the width, 8 at 128, 16 at 768; the learning rate falls with the root of the features.
    """
    if name not in PRESETS:
        raise InputError(f"no preset {name!r}: choose from {', '.join(PRESETS)}")
    times, positions = PRESETS[name]
    features, batch = times * d_model, 1024 if d_model < 512 else 2048
    return {
        "features": features,
        "k": min(features, 2 ** max(0, round(math.log2(8 * math.sqrt(d_model / 128))))),
        "batch": batch,
        "steps": positions // batch,
        "learning_rate": 4e-3 * min(1.0, math.sqrt(1024 / features)),
    }


def read_settings(path: Path | str) -> dict[str, Any]:
    """The settings in a YAML or JSON file; FileError when it is neither, or no mapping of names to values."""
    import yaml

    from clew import files

    try:
        settings = yaml.safe_load(files.read_text(path))
    except yaml.YAMLError as error:
        raise FileError(f"{path} is neither YAML nor JSON ({str(error).splitlines()[0]})") from error
    if not isinstance(settings, dict):
        raise FileError(f"{path} holds no settings: write one `name: value` a line")
    return settings


def configured(settings: Mapping[str, Any]) -> tuple[DictionaryConfig, CorpusConfig]:
    """Both configurations from one mapping; InputError at a name that is no setting, or a value of another kind."""
    values = typed(settings)
    dictionary, corpus = (
        {field.name: values[field.name] for field in fields(config) if field.name in values}
        for config in (DictionaryConfig, CorpusConfig)
    )
    return DictionaryConfig(**dictionary), CorpusConfig(**corpus)


def typed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with every value of its field's type, each checked by itself. InputError as in `configured`."""
    check_known(settings, SETTINGS)
    hints = get_type_hints(DictionaryConfig) | get_type_hints(CorpusConfig)
    return {name: _typed(name, value, hints[name]) for name, value in settings.items()}


def _typed(name: str, value: Any, kind: Any) -> Any:
    """A value of its field's type; InputError where it has none."""
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise InputError(f"{name} is {value!r}: choose from {', '.join(get_args(kind))}")
        return value
    if get_origin(kind) is UnionType:  # one for all layers, or one for each
        if type(value) is int:
            return value
        if not isinstance(value, list | tuple) or not all(type(number) is int for number in value):
            raise InputError(f"{name} is {value!r}: give a whole number, or one for each layer")
        return tuple(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind in (int, float) and isinstance(value, str):  # YAML reads 1e-3 as text
        with suppress(ValueError):
            return kind(value)
    if type(value) is not kind:
        wanted = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}[kind]
        raise InputError(f"{name} is {value!r}: give {wanted}")
    return value


SETTINGS: Mapping[str, str] = help_of(DictionaryConfig) | help_of(CorpusConfig)
"""Every setting and what it means."""


def parted(text: str, kind: Callable[[str], T]) -> tuple[T, ...]:
    """Numbers with commas between them; InputError for any other text."""
    try:
        return tuple(kind(part) for part in text.split(","))
    except ValueError:
        wanted = "whole numbers" if kind is int else "numbers"
        raise InputError(f"{text!r} is not what is wanted: give {wanted} with commas between them") from None
