"""Kit folders: where kits lie, what one holds, and how one is put together.

kit/kit.json      schema, provenance, size and sha256 of every file
kit/model/        Hugging Face layout
kit/dictionary/   native layout
kit/atlas.sqlite  cards of the dictionary's features; may be missing
kit/facts.json    of a model of the small world, how often its corpus states each fact
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from clew import files
from clew.dictionary.dictionary import Dictionary
from clew.errors import FileError, InputError
from clew.organism.fact_table import save_facts, world_of
from clew.subject.packaged import HEAD, PACKAGED, packaged_folder
from clew.subject.subject import Subject

ENVELOPE = files.Envelope(format="clew.kit", schema=1, what="kit")
ATLAS = "atlas.sqlite"
FACTS = "facts.json"
BUNDLED = Path(__file__).parent / "kits"


def bundled() -> list[str]:
    """The names of the kits that came with this package."""
    return sorted(path.parent.name for path in BUNDLED.glob("*/kit.json"))


def kit_folder(name: str | Path) -> Path | None:
    """The folder of a bundled kit, or one that holds a kit; None for another name."""
    folders = ([BUNDLED / str(name)] if str(name) in bundled() else []) + [files.recover(name)]
    return next((folder for folder in folders if (folder / "kit.json").is_file()), None)


def build(
    folder: Path | str,
    *,
    name: str,
    model: Path | str,
    dictionary: Path | str,
    atlas: Path | str | None = None,
    packed: bool = False,
    other_model: bool = False,
    **facts: Any,
) -> None:
    """Put a model, a dictionary and an atlas together into a kit; atomic, and refused when they do not fit.

    FileError while another process builds a kit there.

    Packed, the dictionary's weights take one byte each; the atlas is then that of the rounded dictionary. With
    `other_model` the dictionary may be one that was made for another model.
    """
    model = _model_folder(model)
    subject, loaded = Subject.load(model), Dictionary.load(dictionary)
    loaded = loaded.for_other_model(subject) if other_model else loaded
    loaded.check_fits(subject)
    loaded = loaded.of_model(subject)
    facts = {
        "model": _model_facts(model),
        "dictionary": dict(loaded.provenance),
        **facts,
    }
    with files.lock_file(folder, "a kit is built"), files.new_folder(folder) as new:
        shutil.copytree(model, new / "model", ignore=shutil.ignore_patterns(HEAD))
        named = replace(loaded, name=f"{loaded.kind.upper()} of {name}")
        named.save(new / "dictionary", packed=packed)
        if atlas is not None:
            _copy_atlas(atlas, Dictionary.load(new / "dictionary"), new / ATLAS)
        if (model.parent / "kit.json").is_file() and (model.parent / FACTS).is_file():
            shutil.copyfile(model.parent / FACTS, new / FACTS)
        else:
            with suppress(InputError):  # a model of another world has no facts that are known
                _write_facts(facts["model"], new / FACTS)
        for path in new.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        head = ENVELOPE.head(name=name, provenance=files.provenance(**facts), files=files.listing(new))
        files.write_json(new / "kit.json", head)


def _model_folder(model: Path | str) -> Path:
    """A model's folder, by the name of a kit or packaged model or by its path."""
    if (folder := kit_folder(model)) is not None:
        return folder / "model"
    return packaged_folder(PACKAGED[str(model)]) if str(model) in PACKAGED else Path(model)


def _model_facts(model: Path) -> dict[str, Any]:
    """How a model came about, as far as what lies beside its folder says: a training of the organism, or a kit."""
    training = model.parent / "training.json"
    if training.is_file():
        return dict(files.read_json(training))
    return dict(read_head(model.parent)["provenance"].get("model", {})) if (model.parent / "kit.json").is_file() else {}


def _copy_atlas(atlas: Path | str, dictionary: Dictionary, to: Path) -> None:
    from clew.features.atlas import Atlas

    with Atlas.load(atlas) as opened:
        opened.check_fits(dictionary)
        opened.check_whole()
    shutil.copyfile(atlas, to)


def read_head(folder: Path) -> dict[str, Any]:
    """What kit.json says; FileError when it is missing, damaged or of a newer schema."""
    if not (folder / "kit.json").is_file():
        raise FileError(f"{folder} is no kit: it holds no kit.json")
    head = files.read_json(folder / "kit.json")
    ENVELOPE.check(head, folder / "kit.json")
    if missing := [key for key in ("name", "provenance", "files") if key not in head]:
        raise FileError(f"{folder / 'kit.json'} lacks {', '.join(missing)}")
    return head


def add_facts(folder: Path | str) -> None:
    """Put the table of facts into a kit that has none; nothing else of it changes.

    InputError for a model that was not trained on the small world, FileError for what is no kit or is being written.
    """
    folder = files.recover(folder)
    with files.lock_file(folder, "facts are added to a kit"):
        head = read_head(folder)
        _write_facts(head["provenance"].get("model", {}), folder / FACTS)
        facts = {"bytes": (folder / FACTS).stat().st_size, "sha256": files.sha256(folder / FACTS)}
        files.write_json(folder / "kit.json", {**head, "files": dict(sorted({**head["files"], FACTS: facts}.items()))})


def _write_facts(training: Mapping[str, Any], path: Path) -> None:
    world = world_of(training)
    save_facts(path, world, world.facts())
