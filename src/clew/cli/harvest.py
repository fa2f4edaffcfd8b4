"""`clew harvest`: an atlas of a dictionary's features from one pass over text, whole or in parts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from clew.cli.kits import KitOptions
from clew.cli.options import JsonOption, with_settings
from clew.cli.progress_bar import bar
from clew.cli.ranks import joined_ranks
from clew.cli.training_display import interrupts, size
from clew.distributed import ALONE, Ranks
from clew.errors import FileError, InputError
from clew.features.atlas import Atlas
from clew.features.config import HarvestConfig
from clew.harvest.feature_tables import check_part
from clew.harvest.gather import HarvestProgress, gather, part_of
from clew.harvest.write_atlas import check_target, finish, parts_beside
from clew.harvest.write_atlas import harvest as harvest_atlas
from clew.kit import Kit
from clew.runs.sources import small_world
from clew.training.corpus import Documents, open_corpus
from clew.training.corpus_config import BosChoice, CorpusConfig, with_bos
from clew.training.corpus_readers import check_used
from clew.training.presets import configured


@dataclass(frozen=True, kw_only=True)
class HarvestJob:
    """What is to be made, and where. InputError when its options do not go together."""

    out: Annotated[Path | None, typer.Argument(help="The atlas to write; left out, under runs/.")] = None
    parts: Annotated[list[Path] | None, typer.Argument(help="With --merge: all parts, in any order.")] = None
    part: Annotated[
        str | None, typer.Option("--part", metavar="I/N", help="Read only the I-th of N parts; OUT is then its file.")
    ] = None
    merge: Annotated[bool, typer.Option("--merge", help="Make the atlas of parts that were read before.")] = False
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a harvest that was stopped.")] = False
    replace: Annotated[bool, typer.Option("--replace", help="Put the new atlas in place of one of that name.")] = False

    def __post_init__(self) -> None:
        _ = self.numbers
        if self.merge != bool(self.parts):
            raise InputError("parts go with --merge: clew harvest OUT --merge ONE.part TWO.part")
        if self.merge and (self.part is not None or self.resume):
            raise InputError("--merge makes an atlas of parts that are whole: leave --part and --resume out")
        if self.part is not None and self.replace:
            raise InputError("--replace is for an atlas: go on with a part with --resume, or remove it")

    @property
    def numbers(self) -> tuple[int, int] | None:
        """Which part of how many; None for a whole harvest."""
        if self.part is None:
            return None
        match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", self.part)
        if match is None:
            raise InputError(f"--part is {self.part!r}: write which of how many, for example 1/4")
        return int(match[1]), int(match[2])

    def target(self, kit: Kit, ranks: Ranks = ALONE) -> Path:
        """The file that is written; FileError or InputError when something is there that must not be replaced."""
        name = Path(kit.name).name
        if self.numbers is not None:
            out = self.out or Path("runs") / f"{name}.{self.numbers[0]}-of-{self.numbers[1]}.part"
            self._check_part(out)
            return out
        out = self.out or Path("runs") / f"{name}.sqlite"
        check_target(out, replace=self.replace)
        if not self.merge:
            self._check_part(parts_beside(out, ranks)[ranks.rank])
        for part in self.parts or ():
            if not part.is_file():
                raise FileError(f"there is no part {part}: harvest it with --part")
        return out

    def _check_part(self, part: Path) -> None:
        if part.exists():
            check_part(part)
            if not self.resume:
                raise InputError(f"{part} holds a harvest that was stopped: go on with it with --resume, or remove it")

    def run(
        self, kit: Kit, documents: Documents, target: Path, config: HarvestConfig, facts: dict[str, Any], ranks: Ranks
    ) -> Iterator[HarvestProgress]:
        """Do the work, and report how far it is."""
        with_text = (kit.subject, kit.dictionary, documents)
        if self.merge:
            return finish(*with_text, list(self.parts or ()), target, **facts)
        if self.numbers is None:
            return harvest_atlas(*with_text, target, config=config, resume=self.resume, ranks=ranks, **facts)
        start, stop = part_of(documents, *self.numbers)
        return gather(*with_text, target, config=config, resume=self.resume, start=start, stop=stop)


@with_settings(CorpusConfig, BosChoice, HarvestConfig, without=("held_out", "buffer"))
def harvest(
    job: HarvestJob,
    source: KitOptions,
    tokens: Annotated[int, typer.Option(help="How much text is read, in tokens.")] = 1_000_000,
    as_json: JsonOption = False,
    **settings: Any,
) -> None:
    """Read text and catalogue what every feature does on it: one file with a card a feature.

    Example: `clew harvest runs/minnow.sqlite --kit minnow --tokens 200000`

    Ctrl-C keeps what was done; the same command with `--resume` goes on from it. Several machines share the work with
    `clew harvest one.part --part 1/2` and so on; `clew harvest OUT --merge one.part two.part` with the same text and
    tokens makes the atlas, as one run would have.
    """
    if tokens < 1:
        raise InputError(f"--tokens is {tokens}: give at least one")
    names = {field.name for field in fields(HarvestConfig)}
    chosen = {name: settings.pop(name) for name in list(settings) if name in names}
    if job.merge and chosen:
        raise InputError(f"--merge keeps the settings of its parts: leave --{next(iter(chosen))} out")
    config, settings = HarvestConfig(**chosen), with_bos(settings)
    check_used(settings)
    with joined_ranks() as ranks:
        if ranks.size > 1 and (job.merge or job.numbers is not None):
            raise InputError(
                "--part and --merge are for one process each: under torchrun every rank takes a part itself"
            )
        kit = source.load()
        target = job.target(kit, ranks)
        documents = _documents(kit, settings, tokens)
        facts: dict[str, Any] = {"kit": kit.name, "tokens": tokens, "text": settings}
        rate = _watched(job.run(kit, documents, target, config, facts, ranks), job, ranks.first)
    if not ranks.first:
        return
    if job.numbers is not None:
        _print_part(target, documents, rate, job.numbers, as_json)
        return
    with Atlas.load(target) as atlas:
        _print(atlas, rate, target.stat().st_size, as_json)


def _watched(reports: Iterator[HarvestProgress], job: HarvestJob, first: bool) -> float:
    """Draw the work's progress and end it at Ctrl-C, whatever it is at; returns tokens a second of this process."""
    rate = 0.0
    with interrupts() as stop, bar("harvest") as show:
        for report in reports:
            rate = report.tokens_per_second or rate
            if first:
                show(replace(report, note=f"{report.what}  {rate:,.0f} tokens/s"))
            if stop():
                reports.close()  # type: ignore[attr-defined]
                where = f"{report.done:,} of {report.of:,} {report.unit}"
                what = "the parts are as they were" if job.merge else "what was read is kept; go on with --resume"
                if first:
                    print(f"stopped at {report.what}, {where}: {what}")
                raise typer.Exit(stop.code)
    return rate


def _documents(kit: Kit, settings: dict[str, Any], tokens: int) -> Documents:
    """The first rows of the text with so many positions, or all that there are."""
    _, corpus = configured(settings)
    documents = open_corpus(kit.subject, corpus, positions=tokens, world=small_world)
    return documents.slice(0, min(len(documents), int((documents.counts.cumsum(0) < tokens).sum()) + 1))


def _print_part(target: Path, documents: Documents, rate: float, part: tuple[int, int], as_json: bool) -> None:
    start, stop = part_of(documents, *part)
    if as_json:
        print(json.dumps({"part": str(target), "documents": [start, stop], "tokens_per_second": rate}))
    else:
        print(f"{target}: part {part[0]} of {part[1]}, {stop - start:,} documents; put all together with --merge")


def _print(atlas: Atlas, rate: float, on_disk: int, as_json: bool) -> None:
    alive, relations = int((atlas.summary.density > 0).sum()), atlas.provenance.get("related_features")
    if as_json:
        about = {
            "atlas": str(atlas.path), "features": len(atlas), "fired": alive, "positions": atlas.positions,
            "documents": atlas.documents, "tokens_per_second": rate, "bytes": on_disk, "content": atlas.content,
            "related_features": relations,
        }  # fmt: skip
        print(json.dumps(about, ensure_ascii=False, indent=1))
        return
    print(
        f"{atlas.path}: {len(atlas):,} features, {len(atlas) - alive:,} of which never fired, on {atlas.positions:,} "
        f"positions of {atlas.documents:,} documents; {size(on_disk)}; {rate:,.0f} tokens/s"
    )
    if relations:
        print(
            f"relations over {relations['compared']:,} of {relations['of']:,} features, those that fire most: "
            "comparing all would take too long"
        )
