"""What a model's world states, and how often, as a file: counting it draws the whole corpus, which takes seconds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clew import files
from clew.errors import FileError, InputError
from clew.organism.world import Fact, World

ENVELOPE = files.Envelope(format="clew.facts", schema=1, what="table of facts")
_COLUMNS = tuple(field.name for field in dataclasses.fields(Fact))


def world_of(training: Any) -> World:
    """The world that a record of training names; InputError for a model that was not trained on the small world."""
    if not isinstance(training, Mapping):  # such as the name of a package, in a kit of another origin
        training = {}
    config = training.get("config")
    if not str(training.get("schema", "")).startswith("clew-organism-training") or not isinstance(config, Mapping):
        raise InputError("this model was not trained on the small world: it has no table of facts")
    return World(seed=int(config["seed"]), n_statements=int(config["statements"]))


def save_facts(path: Path | str, world: World, facts: Sequence[Fact]) -> None:
    """Write the facts of a world, one row each."""
    rows = [[getattr(fact, name) for name in _COLUMNS] for fact in facts]
    head = {"seed": world.seed, "statements": world.n_statements, "columns": list(_COLUMNS)}
    files.write_json(path, ENVELOPE.head(**head, facts=rows), indent=None)


def load_facts(path: Path | str) -> list[Fact]:
    """Read facts; FileError when the file is damaged, foreign or of a newer schema."""
    value = files.read_json(path)
    ENVELOPE.check(value, path)
    try:
        if tuple(value["columns"]) != _COLUMNS:
            raise ValueError("its columns are others")
        facts = []
        for row in value["facts"]:
            fields = dict(zip(_COLUMNS, row, strict=True))
            fields["templates"] = {int(template): int(count) for template, count in fields["templates"].items()}
            facts.append(Fact(**fields))
        return facts
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FileError(f"{path} holds a damaged table of facts ({error})") from error
