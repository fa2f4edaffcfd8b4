"""The result of a study: what it found, what it found where the effect must be absent, and where both came from.

Beside them stands what the model's own neurons give, with a reduced config, where they are not the dictionary itself.

result.json                question, config, kit, provenance, claims with verdicts, sha256 of every other file
tables/NAME.parquet, .csv  one of each a table
figures/NAME.png, .svg     one of each a figure
absent/, beside/           tables and figures of the absent case, and by the model's own neurons
report.html                all of it on one page, which asks for nothing elsewhere
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any

from clew import files
from clew.displays import Displayed, rendered
from clew.errors import FileError
from clew.studies.case_findings import CaseFindings, Picture, Table
from clew.studies.claim import Claim

_OPENING = 40  # letters by which a claim is known, whatever numbers and names it states behind them
ENVELOPE = files.Envelope(format="clew.study", schema=1, what="result of a study")
RESULT, REPORT = "result.json", "report.html"
_TEXTS = ("study", "question", "source", "why_absent")
_MAPPINGS = ("config", "kit", "absent_config", "provenance")
_LATER = ("beside_config", "contents")
"""What older results lack."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Result(Displayed):
    """What a study found with one kit and one config."""

    study: str
    question: str
    source: str
    config: Mapping[str, Any]
    kit: Mapping[str, Any]
    """Names and fingerprints of the model and the dictionary."""
    found: CaseFindings
    absent: CaseFindings
    """What the same code found where the effect must not be there."""
    why_absent: str
    """What the absent case is, in one sentence."""
    absent_config: Mapping[str, Any]
    provenance: Mapping[str, Any]
    beside: CaseFindings | None = None
    """What the same code found by the model's own neurons; None where these are the dictionary, or were left out."""
    beside_config: Mapping[str, Any] = field(default_factory=dict)
    contents: Mapping[str, str] = field(default_factory=dict)
    """The sha256 of every file of the user's that the config names."""

    def __repr__(self) -> str:
        verdicts = ", ".join(claim.verdict for claim in self.claims)
        return f"Result({self.study!r} on {self.kit.get('name', '')!r}: {len(self.claims)} claims: {verdicts})"

    @property
    def claims(self) -> tuple[Claim, ...]:
        """What the study says, each beside its null."""
        return self.found.claims

    @property
    def tables(self) -> Mapping[str, Table]:
        """Its tables by name."""
        return self.found.tables

    @property
    def figures(self) -> Mapping[str, Picture]:
        """Its figures by name."""
        return self.found.figures

    @property
    def false_effects(self) -> tuple[Claim, ...]:
        """Claims of an effect that hold in the absent case: one is enough to distrust the study."""
        return tuple(claim for claim in self.absent.claims if claim.effect and claim.verdict == "holds")

    @property
    def side_by_side(self) -> tuple[tuple[Claim, Claim], ...]:
        """Claims by the dictionary and by the model's own neurons; none where these were not measured.

        What is measured for neurons may end before the last claims (`Study.reduced`); where it is another claim that
        stands in one's place, this and what follows are left out.
        """
        pairs = zip(self.found.claims, () if self.beside is None else self.beside.claims, strict=False)
        return tuple(takewhile(lambda pair: _opening(pair[0]) == _opening(pair[1]), pairs))

    def report(self) -> str:
        """The report as one page of HTML."""
        return str(rendered("Result.report", self))

    def to_json(self) -> dict[str, Any]:
        """All but what tables and figures hold, as plain values."""
        texts = {name: getattr(self, name) for name in _TEXTS}
        mappings = {name: dict(getattr(self, name)) for name in (*_MAPPINGS, *_LATER)}
        beside = {} if self.beside is None else {"beside": self.beside.to_json()}
        return {**texts, **mappings, **self.found.to_json(), "absent": self.absent.to_json(), **beside}

    def save(self, folder: Path | str) -> None:
        """Write a folder, or replace the one that is there; a crash leaves the old one or the new one, whole."""
        with files.new_folder(folder) as new:
            self.found.write(new)
            self.absent.write(new / "absent")
            if self.beside is not None:
                self.beside.write(new / "beside")
            files.write_text(new / REPORT, self.report())
            files.write_json(new / RESULT, ENVELOPE.head(**self.to_json(), files=files.listing(new)))

    @classmethod
    def load(cls, folder: Path | str) -> Result:
        """Read a folder; FileError when it holds no result, or a part is missing, damaged or of a newer schema."""
        folder = files.recover(folder)
        path = folder / RESULT
        if not path.is_file():
            raise FileError(f"{folder} holds no result of a study: there is no {RESULT} in it")
        head = files.read_json(path)
        ENVELOPE.check(head, path)
        if missing := [name for name in (*_TEXTS, *_MAPPINGS, "absent", "files") if name not in head]:
            raise FileError(f"{path} lacks {', '.join(missing)}")
        files.check_listing(folder, head["files"], ENVELOPE.what)
        return cls(
            **{name: head[name] for name in (*_TEXTS, *_MAPPINGS)},
            found=CaseFindings.read(folder, head),
            absent=CaseFindings.read(folder / "absent", head["absent"]),
            beside=CaseFindings.read(folder / "beside", head["beside"]) if "beside" in head else None,
            **{name: head.get(name, {}) for name in _LATER},
        )


def _opening(claim: Claim) -> str:
    return "".join(filter(str.isalpha, claim.text))[:_OPENING]
