"""What the names in a command or a run's folder stand for: models, kits, dictionaries, runs, the small world's text."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from clew import kit
from clew.dictionary.dictionary import Dictionary
from clew.organism.world import World
from clew.published import PUBLISHED

RUN_FILE = "run.json"


def is_kit(source: str) -> bool:
    """Whether a name is that of a bundled kit or published pair, or a folder holds a kit."""
    return kit.kit_folder(source) is not None or source in PUBLISHED


def kit_dictionary(name: str) -> Dictionary:
    """The Dictionary of a kit, bundled or in a folder; FileError when there is no such kit."""
    return kit.load(name).dictionary


def run_of(source: str | Path) -> Path | None:
    """The folder of the run that a source is, or whose dictionary it is; None for what belongs to no run."""
    path = Path(source)
    return next((folder for folder in (path, path.parent) if (folder / RUN_FILE).is_file()), None)


def small_world(positions: int) -> Iterable[str]:
    """Documents of the small world with at least so many positions, if its corpus has them."""
    world = World(seed=0)
    few = min(world.n_statements, positions // 8 + 100)  # a statement has twelve tokens
    documents = world.corpus(few).documents
    return documents if few == world.n_statements else documents[:-1]  # the last one may be cut short
