"""`clew study list`: the studies that there are."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

from rich.console import Console

from clew.cli.options import JsonOption
from clew.cli.tables import table
from clew.settings import help_of
from clew.studies.catalogue import STUDIES, study
from clew.studies.study import Study


def list_(as_json: JsonOption = False) -> None:
    """List the studies: what each asks, and after whom.

    Example: `clew study list`
    """
    studies: list[Study[Any]] = [study(name) for name in STUDIES]
    if as_json:
        print(json.dumps([_listed(each) for each in studies], ensure_ascii=False, indent=1))
        return
    shown = table("study", "question", "after")
    for each in studies:
        shown.add_row(each.name, each.question, each.source)
    Console(highlight=False).print(shown)


def _listed(each: Study[Any]) -> dict[str, Any]:
    kind: Any = each.config
    settings = {f.name: {"help": help_of(kind)[f.name], "default": f.default} for f in fields(kind)}
    return {"name": each.name, "question": each.question, "source": each.source, "settings": settings}
