"""`clew harvest`: an atlas of a dictionary's features from one pass over text."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clew.cli.common import DictionaryOption, JsonOption, KitOption, ModelOption, bar, open_kit
from clew.cli.live import interrupts, size
from clew.cli.options import with_settings
from clew.errors import InputError

if TYPE_CHECKING:
    from clew.features.atlas import Atlas
    from clew.kit import Kit
    from clew.training.corpus import Documents


@with_settings("clew.training.source:CorpusConfig", "clew.features.config:HarvestConfig")
def harvest(
    out: Annotated[Path | None, typer.Argument(help="The atlas to write; left out, under runs/.")] = None,
    kit: KitOption = "minnow",
    model: ModelOption = None,
    dictionary: DictionaryOption = None,
    tokens: Annotated[int, typer.Option(help="How much text is read, in tokens.")] = 1_000_000,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a harvest that was stopped.")] = False,
    as_json: JsonOption = False,
    **settings: Any,
) -> None:
    """Read text and catalogue what every feature does on it: one file with a card a feature.

    Example: `clew harvest runs/minnow.sqlite --kit minnow --tokens 200000`

    Ctrl-C keeps what was done; the same command with `--resume` goes on from it.
    """
    from clew.features.atlas import Atlas
    from clew.features.atlas_file import harvest as harvested
    from clew.features.config import HarvestConfig

    if tokens < 1:
        raise InputError(f"--tokens is {tokens}: give at least one")
    own = {each.name for each in fields(HarvestConfig)}
    config = HarvestConfig(**{name: settings.pop(name) for name in list(settings) if name in own})
    loaded = open_kit(kit, model, dictionary)
    out = out or Path("runs") / f"{Path(loaded.name).name}.sqlite"
    part = out.with_name(out.name + ".part")
    if part.exists() and not resume:
        raise InputError(f"{part} holds a harvest that was stopped: go on with it with --resume, or remove it")
    documents = _documents(loaded, settings, tokens)
    facts: Any = {"kit": loaded.name, "tokens": tokens, "text": settings}
    rate = 0.0
    reports = harvested(loaded.subject, loaded.dictionary, documents, out, config=config, resume=resume, **facts)
    with interrupts() as stop, bar("harvest") as progress:
        for report in reports:
            rate = report.tokens_per_second or rate
            progress(report.done, report.total, f"{report.stage}  {rate:,.0f} tokens/s")
            if stop() and report.stage == "reading":
                reports.close()  # type: ignore[attr-defined]
                print(f"stopped at {report.done:,} of {report.total:,} tokens; go on with --resume")
                raise typer.Exit(130)
    with Atlas.load(out) as atlas:
        _print(atlas, rate, out.stat().st_size, as_json)


def _documents(loaded: Kit, settings: dict[str, Any], tokens: int) -> Documents:
    """The first rows of the text with so many positions, or all that there are."""
    from clew.cli.training import small_world
    from clew.training.corpus import open_corpus
    from clew.training.presets import configured

    _, corpus = configured(settings)
    found = open_corpus(loaded.subject, corpus, positions=tokens, world=small_world)
    return found.slice(0, min(len(found), int((found.counts.cumsum(0) < tokens).sum()) + 1))


def _print(atlas: Atlas, rate: float, on_disk: int, as_json: bool) -> None:
    alive = int((atlas.summary.density > 0).sum())
    if as_json:
        about = {
            "atlas": str(atlas.path), "features": len(atlas), "fired": alive, "positions": atlas.positions,
            "documents": atlas.documents, "tokens_per_second": rate, "bytes": on_disk, "content": atlas.content,
        }  # fmt: skip
        print(json.dumps(about, ensure_ascii=False, indent=1))
        return
    print(
        f"{atlas.path}: {len(atlas):,} features, {len(atlas) - alive:,} of which never fired, on {atlas.positions:,} "
        f"positions of {atlas.documents:,} documents; {size(on_disk)}; {rate:,.0f} tokens/s"
    )
