"""Every study by its name, imported when it is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from clew.errors import InputError

if TYPE_CHECKING:
    from clew.studies.study import Study

STUDIES = {
    "leakage": "clew.studies.leakage.study:LEAKAGE",
    "capital": "clew.studies.capital.study:CAPITAL",
    "greater-than": "clew.studies.greater_than.study:GREATER_THAN",
    "persona": "clew.studies.persona.study:PERSONA",
    "compression": "clew.studies.compression.study:COMPRESSION",
    "belief": "clew.studies.belief.study:BELIEF",
    "transcendence": "clew.studies.transcendence.study:TRANSCENDENCE",
    "heads": "clew.studies.heads.study:HEADS",
    "arcs": "clew.studies.arcs.study:ARCS",
    "traits": "clew.studies.traits.study:TRAITS",
    "expanders": "clew.studies.expanders.study:EXPANDERS",
    "hallucination": "clew.studies.hallucination.study:HALLUCINATION",
    "experts": "clew.studies.experts.study:EXPERTS",
    "subliminal": "clew.studies.subliminal.study:SUBLIMINAL",
    "action-spaces": "clew.studies.action_spaces.study:ACTION_SPACES",
    "development": "clew.studies.development.study:DEVELOPMENT",
}
"""Where each study is defined, in the order in which they are listed."""


def study(name: str) -> Study[Any]:
    """A study by its name; InputError, with the names that there are, for another."""
    if name not in STUDIES:
        raise InputError(f"no study {name!r}: there are {', '.join(STUDIES)}")
    module, _, attribute = STUDIES[name].partition(":")
    found: Study[Any] = getattr(import_module(module), attribute)
    return found
