"""Facts in a kit are those of the world; a kit without them counts, one of another model has none."""

import json
import shutil
from dataclasses import replace

import pytest

import clew
from clew.errors import FileError, InputError
from clew.kit import Kit
from clew.kit_folders import BUNDLED, FACTS, add_facts
from clew.organism.fact_table import load_facts, save_facts, world_of
from clew.organism.world import World
from tests import models

SMALL = World(seed=0, n_statements=2_000)


def test_facts_are_read_back_as_they_were_counted(tmp_path):
    save_facts(tmp_path / FACTS, SMALL, SMALL.facts())
    assert load_facts(tmp_path / FACTS) == SMALL.facts()


def test_a_kit_gets_its_table_and_nothing_else_changes(tmp_path, monkeypatch):
    monkeypatch.setattr("clew.organism.fact_table.World", lambda seed, n_statements: SMALL)
    folder = tmp_path / "kit"
    shutil.copytree(BUNDLED / "minnow", folder)
    before = json.loads((folder / "kit.json").read_text())
    before["files"].pop(FACTS, None)
    add_facts(folder)
    after = json.loads((folder / "kit.json").read_text())
    assert after["files"].pop(FACTS)["bytes"] == (folder / FACTS).stat().st_size
    assert after == before
    kit = Kit.load(folder)
    assert kit.facts == SMALL.facts()
    monkeypatch.setattr("clew.organism.fact_table.World", None)  # nothing is counted
    assert len(Kit.load(folder).facts) == len(SMALL.facts())
    (folder / FACTS).write_text((folder / FACTS).read_text().replace("capital", "Capital"))
    with pytest.raises(FileError, match=r"is not the file that the kit was built with"):
        Kit.load(folder)


def test_a_kit_without_a_table_counts_by_its_provenance():
    kit = replace(clew.load("minnow"), facts_path=None)
    assert world_of(kit.provenance["model"]).n_statements == 600_000
    small = {**kit.provenance["model"], "config": {"seed": 0, "statements": 2_000}}
    assert replace(kit, provenance={"model": small}).facts == SMALL.facts()


def test_another_model_has_no_facts(tmp_path):
    kit = Kit(models.subject("gpt2"))
    with pytest.raises(InputError, match="was not trained on the small world"):
        _ = kit.facts
    with pytest.raises(InputError, match="was not trained on the small world"):
        world_of("the name of a package")
    (tmp_path / FACTS).write_text('{"format": "clew.facts", "schema": 1, "columns": [], "facts": []}')
    with pytest.raises(FileError, match="damaged table of facts"):
        load_facts(tmp_path / FACTS)
