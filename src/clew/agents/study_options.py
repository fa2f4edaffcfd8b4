"""A study's options as they come over the protocol: plain values, checked by the types of its config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from pydantic import TypeAdapter, ValidationError

from clew.agents.mistakes import one_line
from clew.errors import InputError
from clew.settings import help_of, options_of
from clew.studies.study import Study


def configured(study: Study[Any], options: Mapping[str, Any]) -> Any:
    """The config of a study; InputError for an option that there is not, and for a value of another type."""
    known = [field.name for field in fields(study.config)]
    if unknown := [name for name in options if name not in known]:
        raise InputError(f"{study.name} has no setting {', '.join(unknown)}: there are {', '.join(known)}")
    try:
        return TypeAdapter(study.config).validate_python(dict(options))
    except ValidationError as error:
        raise InputError(one_line(error)) from error


def meaning_of_options(study: Study[Any]) -> dict[str, str]:
    """What may be set, by name."""
    kind: Any = study.config
    texts = help_of(kind)
    return {option.name: texts.get(option.name, "") for option in options_of(kind)}
