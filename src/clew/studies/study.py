"""A study: a question, code that answers it on any kit that can, and a case in which the effect must be absent.

A study is a value. What it does is one generator, `measure(case)`, which reports progress and ends with CaseFindings;
the same generator runs on the absent case, which `absent(kit, config)` names. `clew.study(name).run(kit)` does this:

1. `needs(kit, config)` says what the kit lacks, if anything: then nothing is run.
2. With a folder, `study.json` says which study, config and kit it belongs to; a folder of another is refused by name
   as soon as it holds a finished part.
3. Beside the kit's dictionary the same is measured by the model's own neurons, with a reduced config, so that claims
   stand side by side (left out with `neurons=False`, and where the dictionary is these).
4. Finished parts are kept in the folder (`clew.studies.case`), and a run that was killed goes on behind them.
5. The result takes the folder's place as a whole. Run again, a finished study is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from clew import files
from clew.errors import FileError, InputError
from clew.kit import Kit
from clew.progress import Progress, Report, silent
from clew.studies.case import Case
from clew.studies.case_findings import CaseFindings
from clew.studies.kit_needs import with_neurons
from clew.studies.result import RESULT, Result
from clew.version import __version__

__all__ = ["Absent", "Case", "CaseFindings", "Result", "Study"]

C = TypeVar("C")
ENVELOPE = files.Envelope(format="clew.studyrun", schema=1, what="run of a study")
HEAD, PARTS = "study.json", "parts"
_CASES = {"absent": "absent case", "beside": "neurons"}
_FACTS = ("study", "config", "contents", "beside_config", "kit", "version")


@dataclass(frozen=True, kw_only=True)
class Absent(Generic[C]):
    """A kit and a config in which what the study looks for must not be there."""

    kit: Kit
    config: C
    why: str
    """What it is and why nothing must be found there, in one sentence."""


def with_settings(why: str, **settings: Any) -> Callable[[Kit, C], Absent[C]]:
    """The absent case that is the same kit with some settings replaced."""

    def absent(kit: Kit, config: C) -> Absent[C]:
        return Absent(kit=kit, config=replace(config, **settings), why=why)  # type: ignore[type-var]

    return absent


@dataclass(frozen=True, kw_only=True)
class Study(Generic[C]):
    """A reproducible experiment."""

    name: str
    question: str
    source: str
    """Who asked it first: authors, year, title."""
    config: type[C]
    """A frozen dataclass, at most twelve fields, each with its default and its help text."""
    needs: Callable[[Kit, C], str]
    """What the kit lacks, as in `a tokenizer`; empty where nothing is missing."""
    measure: Callable[[Case[C]], Iterator[Progress | CaseFindings]]
    """Reports of progress, then CaseFindings."""
    absent: Callable[[Kit, C], Absent[C]]
    """The case in which the effect must not be there."""
    reduced: Callable[[C], C | None] = lambda config: config
    """The config with which neurons are measured beside the dictionary: the same with fewer prompts and draws.

    None where no features are read. Its claims are the first of the whole config's.
    """
    quick: Mapping[str, Any] = field(default_factory=dict)
    """Settings with which it ends within two minutes; empty where there are none."""
    tables: Callable[[C], Sequence[Path | None]] = lambda config: ()
    """The user's files that a config names, None for one left out: what they hold is a part of what is asked."""

    def __repr__(self) -> str:
        return f"Study({self.name!r}: {self.question})"

    def configured(self, config: C | None = None, **options: Any) -> C:
        """A config with some fields replaced; InputError for a field that there is not."""
        known = [each.name for each in fields(self.config)]  # type: ignore[arg-type]
        if unknown := [name for name in options if name not in known]:
            raise InputError(f"{self.name} has no setting {', '.join(unknown)}: there are {', '.join(known)}")
        return self.config(**options) if config is None else replace(config, **options)  # type: ignore[type-var]

    def quickened(self, config: C) -> C:
        """A config with the quick settings wherever it has the defaults; InputError where the study has none."""
        if not self.quick:
            raise InputError(f"{self.name} has no quick settings")
        usual = self.config()
        kept = {name: value for name, value in self.quick.items() if getattr(config, name) == getattr(usual, name)}
        return replace(config, **kept)  # type: ignore[type-var]

    def run(
        self,
        kit: Kit,
        folder: Path | str | None = None,
        *,
        config: C | None = None,
        neurons: bool = True,
        quick: bool = False,
        report: Report = silent,
        **options: Any,
    ) -> Result:
        """The result; errors are those of `steps`. `options` are fields of the config."""
        for step in self.steps(kit, folder, config=config, neurons=neurons, quick=quick, **options):
            if isinstance(step, Result):
                return step
            report(step)
        raise AssertionError(f"{self.name} ended without a result")

    def steps(
        self,
        kit: Kit,
        folder: Path | str | None = None,
        *,
        config: C | None = None,
        neurons: bool = True,
        quick: bool = False,
        **options: Any,
    ) -> Iterator[Progress | Result]:
        """Reports of progress, then the Result, which with a folder is also written there.

        With `neurons` the model's own neurons are measured beside the dictionary; `quick` takes the quick settings
        where nothing else is chosen. InputError when the kit cannot answer, FileError when the folder holds something
        else or is in use.
        """
        chosen = self.configured(config, **options)
        if quick:
            chosen = self.quickened(chosen)
        self.check(kit, chosen)
        found = Case(kit=kit, config=chosen)
        beside = self._beside(found) if neurons else None
        if folder is None:
            yield from self._measured(found, beside, None)
            return
        with files.lock_file(folder, "a study is run"):
            yield from self._in_folder(found, beside, Path(folder))

    def check(self, kit: Kit, config: C) -> None:
        """InputError, in one line, when the kit lacks what the study needs."""
        if lacking := self.needs(kit, config):
            raise InputError(f"{kit.name or 'this kit'} cannot answer {self.name}: {lacking}")

    def _beside(self, found: Case[C]) -> Case[C] | None:
        """The same with the model's own neurons; None where these are the kit's dictionary, or cannot answer."""
        kit, config = with_neurons(found.kit), self.reduced(found.config)
        if kit is None or config is None or self.needs(kit, config):
            return None
        return Case(kit=kit, config=config)

    def _contents(self, config: C) -> dict[str, str]:
        """The hash of every file that a config names."""
        return {str(path): files.sha256(path) for path in self.tables(config) if path is not None}

    def _in_folder(self, found: Case[C], beside: Case[C] | None, folder: Path) -> Iterator[Progress | Result]:
        facts = {
            "study": self.name,
            "config": plain_config(found.config),
            "beside_config": plain_config(beside.config) if beside else {},
            "kit": identity(found.kit),
            "contents": self._contents(found.config),
            "version": __version__,
        }
        if (finished := _opened(folder, facts)) is not None:
            yield finished
            return
        for step in self._measured(found, beside, folder / PARTS):
            if isinstance(step, Result):
                step.save(folder)
            yield step

    def _measured(self, found: Case[C], beside: Case[C] | None, parts: Path | None) -> Iterator[Progress | Result]:
        absent = self.absent(found.kit, found.config)
        cases = {"found": found, "absent": Case(kit=absent.kit, config=absent.config)}
        cases |= {"beside": beside} if beside else {}
        findings: dict[str, CaseFindings] = {}
        for name, case in cases.items():
            for step in self.measure(replace(case, folder=parts and parts / name)):
                if isinstance(step, CaseFindings):
                    findings[name] = step
                else:
                    yield step if name == "found" else replace(step, what=f"{_CASES[name]}: {step.what}")
            assert name in findings, f"{self.name} ended without findings"
        yield Result(
            study=self.name,
            question=self.question,
            source=self.source,
            config=plain_config(found.config),
            kit=identity(found.kit),
            why_absent=absent.why,
            absent_config=plain_config(absent.config),
            beside_config=plain_config(beside.config) if beside else {},
            contents=self._contents(found.config),
            provenance=files.provenance(version=__version__, kit=dict(found.kit.provenance)),
            **findings,
        )


def identity(kit: Kit) -> dict[str, str]:
    """Names and fingerprints of a kit's model and dictionary."""
    return {
        "name": kit.name or kit.subject.name,
        "model": kit.subject.name,
        "weights": kit.subject.weights_hash(),
        "dictionary": kit.dictionary.name,
        "fingerprint": kit.dictionary.fingerprint,
    }


def plain_config(config: Any) -> dict[str, Any]:
    """A config's fields as values of JSON."""
    return {name: _plain(value) for name, value in asdict(config).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def _opened(folder: Path, facts: Mapping[str, Any]) -> Result | None:
    """Make a folder this run's own, or go on in it; its Result where the run is finished. FileError as in `steps`.

    A run that ended before its first part, perhaps for a mistake in its settings, leaves nothing to go on with.
    """
    folder = files.recover(folder)
    if (folder / RESULT).is_file():
        result = Result.load(folder)
        seen = {name: getattr(result, name, None) for name in _FACTS} | {"version": result.provenance.get("version")}
        _check_same(folder, seen, facts)
        return result
    if begun := (folder / HEAD).is_file():
        head = files.read_json(folder / HEAD)
        ENVELOPE.check(head, folder / HEAD)
        if any((folder / PARTS).rglob("*.*")):
            _check_same(folder, head, facts)
            return None
    if not begun and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileError(f"{folder} is there already and holds no study: give another folder")
    files.write_json(folder / HEAD, ENVELOPE.head(**facts))
    return None


def _check_same(folder: Path, seen: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """FileError, saying what differs, when a folder belongs to another study, config or kit."""
    differing = next((name for name in _FACTS if seen.get(name) != wanted[name]), None)
    if differing is None:
        return
    old, new = seen.get(differing), wanted[differing]
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        key = next(name for name in (*new, *old) if old.get(name) != new.get(name))
        old, new, differing = old.get(key), new.get(key), f"{differing} ({key})"
    raise FileError(
        f"{folder} holds the study {seen.get('study')!r} of another {differing}: {old!s:.40}, not {new!s:.40}; give "
        "another folder"
    )
