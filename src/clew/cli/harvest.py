"""`clew harvest`: an atlas of a dictionary's features from one pass over text, whole or in parts."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clew.cli.kits import DictionaryOption, JsonOption, KitOption, ModelOption, bar, open_kit
from clew.cli.options import with_settings
from clew.cli.training_display import interrupts, size
from clew.errors import FileError, InputError

if TYPE_CHECKING:
    from clew.features.atlas import Atlas
    from clew.harvest.gather import HarvestProgress
    from clew.kit import Kit
    from clew.training.corpus import Documents

_STOPPED = 130  # the exit code of what Ctrl-C ended


def _without(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Leave out options that mean nothing here."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(command)
        kept = [each for each in own.parameters.values() if each.name not in names]
        command.__signature__ = own.replace(parameters=kept)  # type: ignore[attr-defined]
        command.__annotations__ = {each.name: each.annotation for each in kept} | {"return": None}
        return command

    return decorate


@_without("held_out", "buffer")
@with_settings("clew.training.corpus_config:CorpusConfig", "clew.features.config:HarvestConfig")
def harvest(
    out: Annotated[Path | None, typer.Argument(help="The atlas to write; left out, under runs/.")] = None,
    parts: Annotated[list[Path] | None, typer.Argument(help="With --merge: all parts, in any order.")] = None,
    kit: KitOption = "minnow",
    model: ModelOption = None,
    dictionary: DictionaryOption = None,
    tokens: Annotated[int, typer.Option(help="How much text is read, in tokens.")] = 1_000_000,
    part: Annotated[
        str | None, typer.Option("--part", metavar="I/N", help="Read only the I-th of N parts; OUT is then its file.")
    ] = None,
    merge: Annotated[bool, typer.Option("--merge", help="Make the atlas of parts that were read before.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a harvest that was stopped.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Put the new atlas in place of one of that name.")] = False,
    as_json: JsonOption = False,
    **settings: Any,
) -> None:
    """Read text and catalogue what every feature does on it: one file with a card a feature.

    Example: `clew harvest runs/minnow.sqlite --kit minnow --tokens 200000`

    Ctrl-C keeps what was done; the same command with `--resume` goes on from it. Several machines share the work with
    `clew harvest one.part --part 1/2` and so on; `clew harvest OUT --merge one.part two.part` with the same text and
    tokens makes the atlas, as one run would have.
    """
    job = _Job(out, tuple(parts or ()), _numbers(part), merge, resume, replace)
    if tokens < 1:
        raise InputError(f"--tokens is {tokens}: give at least one")
    from clew.features.config import HarvestConfig

    own = {each.name for each in fields(HarvestConfig)}
    given = {name: settings.pop(name) for name in list(settings) if name in own}
    if merge and given:
        raise InputError(f"--merge keeps the settings of its parts: leave --{next(iter(given))} out")
    config = HarvestConfig(**given)
    loaded = open_kit(kit, model, dictionary)
    target = job.target(loaded)
    documents = _documents(loaded, settings, tokens)
    facts: Any = {"kit": loaded.name, "tokens": tokens, "text": settings}
    rate = _watched(job.reports(loaded, documents, target, config, facts), job)
    if job.part is not None:
        _say_part(target, documents, rate, job.part, as_json)
        return
    from clew.features.atlas import Atlas

    with Atlas.load(target) as atlas:
        _print(atlas, rate, target.stat().st_size, as_json)


@dataclass(frozen=True)
class _Job:
    """What is to be made, and where. InputError when its options do not go together."""

    out: Path | None
    parts: tuple[Path, ...]
    part: tuple[int, int] | None
    merge: bool
    resume: bool
    replace: bool

    def __post_init__(self) -> None:
        if self.merge != bool(self.parts):
            raise InputError("parts go with --merge: clew harvest OUT --merge ONE.part TWO.part")
        if self.merge and (self.part is not None or self.resume):
            raise InputError("--merge makes an atlas of parts that are whole: leave --part and --resume out")
        if self.part is not None and self.replace:
            raise InputError("--replace is for an atlas: go on with a part with --resume, or remove it")

    def target(self, loaded: Kit) -> Path:
        """The file that is written; FileError or InputError when something is there that must not be replaced."""
        from clew.harvest.write_atlas import check_target

        name = Path(loaded.name).name
        if self.part is not None:
            out = self.out or Path("runs") / f"{name}.{self.part[0]}-of-{self.part[1]}.part"
            self._check_part(out)
            return out
        out = self.out or Path("runs") / f"{name}.sqlite"
        check_target(out, replace=self.replace)
        if not self.merge:
            self._check_part(out.with_name(out.name + ".part"))
        for part in self.parts:
            if not part.is_file():
                raise FileError(f"there is no part {part}: harvest it with --part")
        return out

    def _check_part(self, part: Path) -> None:
        from clew.harvest.feature_tables import check_part

        if part.exists():
            check_part(part)
            if not self.resume:
                raise InputError(f"{part} holds a harvest that was stopped: go on with it with --resume, or remove it")

    def reports(
        self, loaded: Kit, documents: Documents, target: Path, config: Any, facts: dict[str, Any]
    ) -> Iterator[HarvestProgress]:
        """Does the work, and tells how far it has come."""
        from clew.harvest.gather import gather, part_of
        from clew.harvest.write_atlas import finish
        from clew.harvest.write_atlas import harvest as harvested

        with_text = (loaded.subject, loaded.dictionary, documents)
        if self.merge:
            return finish(*with_text, list(self.parts), target, **facts)
        if self.part is None:
            return harvested(*with_text, target, config=config, resume=self.resume, **facts)
        start, stop = part_of(documents, *self.part)
        return gather(*with_text, target, config=config, resume=self.resume, start=start, stop=stop)


def _numbers(part: str | None) -> tuple[int, int] | None:
    if part is None:
        return None
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", part)
    if found is None:
        raise InputError(f"--part is {part!r}: write which of how many, for example 1/4")
    return int(found[1]), int(found[2])


def _watched(reports: Iterator[HarvestProgress], job: _Job) -> float:
    """Draw the work's progress and end it at Ctrl-C, whatever it is at; returns tokens a second."""
    rate = 0.0
    with interrupts() as stop, bar("harvest") as progress:
        for report in reports:
            rate = report.tokens_per_second or rate
            progress(report.done, report.of, f"{report.what}  {rate:,.0f} tokens/s")
            if stop():
                reports.close()  # type: ignore[attr-defined]
                at = f"{report.done:,} of {report.of:,} {report.unit}"
                what = "the parts are as they were" if job.merge else "what was read is kept; go on with --resume"
                print(f"stopped at {report.what}, {at}: {what}")
                raise typer.Exit(_STOPPED)
    return rate


def _documents(loaded: Kit, settings: dict[str, Any], tokens: int) -> Documents:
    """The first rows of the text with so many positions, or all that there are."""
    from clew.cli.train import small_world
    from clew.training.corpus import open_corpus
    from clew.training.presets import configured

    _, corpus = configured(settings)
    found = open_corpus(loaded.subject, corpus, positions=tokens, world=small_world)
    return found.slice(0, min(len(found), int((found.counts.cumsum(0) < tokens).sum()) + 1))


def _say_part(target: Path, documents: Documents, rate: float, part: tuple[int, int], as_json: bool) -> None:
    from clew.harvest.gather import part_of

    start, stop = part_of(documents, *part)
    if as_json:
        print(json.dumps({"part": str(target), "documents": [start, stop], "tokens_per_second": rate}))
    else:
        print(f"{target}: part {part[0]} of {part[1]}, {stop - start:,} documents; put all together with --merge")


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
