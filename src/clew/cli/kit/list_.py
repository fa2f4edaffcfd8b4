"""`clew kit list`: the kits that have a name, how large they are, and what of them is here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from clew import files
from clew.cli.options import JsonOption
from clew.cli.tables import table, wide_console
from clew.errors import InputError
from clew.kit import BUNDLED, bundled
from clew.published import PUBLISHED, HubFiles, PublishedPair
from clew.subject.packaged import PACKAGED, PackagedModel, model_installed


def list_(
    name: Annotated[str | None, typer.Argument(help="One kit: say which files it takes, and where they go.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the kits that have a name: bundled ones, models that come as packages, published pairs of the hub.

    Example: `clew kit list`, and `clew kit list gemma-2-2b-clt` for the files of one
    """
    rows = [
        *(_bundled(kit) for kit in bundled()),
        *(_packaged(model) for model in PACKAGED.values()),
        *(_published(pair) for pair in PUBLISHED.values()),
    ]
    if name is not None and name not in (known := [row["name"] for row in rows]):
        raise InputError(f"no kit is called {name!r}: known are {', '.join(known)}")
    rows = [row for row in rows if name in (None, row["name"])]
    if as_json:
        print(json.dumps(rows, indent=1))
    elif name is None:
        _print_all(rows)
    else:
        _print_parts(rows[0])


def _bundled(name: str) -> dict[str, Any]:
    head = files.read_json(BUNDLED / name / "kit.json")
    size = sum(facts["bytes"] for facts in head["files"].values())
    kind = str(files.read_json(BUNDLED / name / "dictionary" / "config.json")["kind"])
    return {"name": name, "from": "bundled", "dictionary": kind, "bytes": size, "here": True, "parts": []}


def _packaged(model: PackagedModel) -> dict[str, Any]:
    part = {
        "install": f"clew-interp[{model.extra}]",
        "files": [model.file],
        "bytes": model.bytes,
        "here": model_installed(model),
    }
    return {
        "name": model.name,
        "from": "package",
        "dictionary": "neurons",
        "bytes": model.bytes,
        "here": part["here"],
        "parts": [part],
    }


def _published(pair: PublishedPair) -> dict[str, Any]:
    parts = [_part(source) for source in pair.sources]
    return {
        "name": pair.name,
        "from": "hub",
        "dictionary": pair.kind,
        "features_a_layer": pair.features,
        "bytes": None if pair.size is None else 2 * pair.model.parameters + pair.size,
        "here": all(part["here"] for part in parts),
        "parts": parts,
    }


def _part(source: HubFiles) -> dict[str, Any]:
    return {
        "repository": source.repository,
        "files": list(source.files),
        "folder": str(source.folder),
        "bytes": source.bytes,
        "gated": source.gated,
        "here": source.is_here(),
    }


def _print_all(rows: Sequence[Mapping[str, Any]]) -> None:
    shown = table("kit", "from", "dictionary", ">features a layer", ">size", "here")
    for row in rows:
        features = row.get("features_a_layer")
        shown.add_row(
            row["name"],
            row["from"],
            row["dictionary"] if row["dictionary"] == "neurons" else row["dictionary"].upper(),
            "" if features is None else f"{features:,}",
            _size(row["bytes"]),
            "yes" if row["here"] else "no",
        )
    wide_console().print(shown)
    print("\nWhat is not here is downloaded when it is first used; clew kit list NAME says what goes where without it.")


def _print_parts(row: Mapping[str, Any]) -> None:
    print(f"{row['name']}: {row['from']}, {_size(row['bytes'])}, {'here' if row['here'] else 'not here'}")
    for part in row["parts"]:
        names = ", ".join(part["files"])
        if "install" in part:
            print(f"  pip install '{part['install']}': {names} ({_size(part['bytes'])})")
            continue
        gated = "; accept its licence on the hub first" if part["gated"] else ""
        print(f"  {part['repository']}: {names} ({_size(part['bytes'])}{gated})\n    in {part['folder']}")


def _size(count: int | None) -> str:
    if count is None:
        return "size unknown"
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.0f} MB"
