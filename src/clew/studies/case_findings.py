"""What a study finds in one case: claims, tables and pictures, as values that are written and read in one way."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clew import files
from clew.errors import FileError, InputError
from clew.studies.claim import Claim

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, GREY = "#3b6fb6", "#d1702b", "#4f9d69", "#9aa0a6"
"""The colours of every study's pictures."""
_RESOLUTION = 150  # dots an inch of a PNG


@dataclass(frozen=True, kw_only=True)
class Table:
    """Numbers and texts by column. InputError when the columns are not equally long."""

    title: str
    columns: Mapping[str, list[Any]]
    note: str = ""
    """What stands below it: units, what was left out."""

    def __post_init__(self) -> None:
        lengths = {name: len(column) for name, column in self.columns.items()}
        if len(set(lengths.values())) > 1:
            raise InputError(f"the columns of the table {self.title!r} have different lengths: {lengths}")

    @classmethod
    def of_rows(cls, title: str, names: Sequence[str], rows: Iterable[Sequence[Any]], note: str = "") -> Table:
        """A table written row by row; ValueError when a row has not one value a name."""
        columns: dict[str, list[Any]] = {name: [] for name in names}
        for row in rows:
            for column, value in zip(columns.values(), row, strict=True):
                column.append(value)
        return cls(title=title, columns=columns, note=note)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), []))

    def rows(self) -> list[tuple[Any, ...]]:
        """The table row by row."""
        return list(zip(*self.columns.values(), strict=True))


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """A drawn figure, as PNG and as SVG."""

    title: str
    text: str
    """A paragraph that says what is seen."""
    png: bytes = field(repr=False)
    svg: bytes = field(repr=False)

    @classmethod
    def of(cls, figure: Figure, *, title: str, text: str) -> Picture:
        """Draw a figure of matplotlib; the same figure gives the same bytes."""
        import matplotlib as mpl

        drawn: dict[str, bytes] = {}
        notes: dict[str, dict[str, Any]] = {"png": {"Software": files.SOFTWARE}, "svg": {"Date": None}}
        with mpl.rc_context({"svg.hashsalt": title}):
            for kind, note in notes.items():
                content = io.BytesIO()
                figure.savefig(content, format=kind, dpi=_RESOLUTION, metadata=note)
                drawn[kind] = content.getvalue()
        return cls(title=title, text=text, png=drawn["png"], svg=drawn["svg"])

    def _repr_png_(self) -> bytes:
        return self.png


def new_figure(width: float = 7.0, height: float = 3.6) -> Figure:
    """An empty figure of so many inches, for `Picture.of`; nothing is opened on a screen."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


@dataclass(frozen=True, kw_only=True)
class CaseFindings:
    """What was found in one case. Names of tables and figures are names of files."""

    claims: tuple[Claim, ...]
    tables: Mapping[str, Table] = field(default_factory=dict)
    figures: Mapping[str, Picture] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The claims, and what tables and figures are called; not what they hold."""
        return {
            "claims": [claim.to_json() for claim in self.claims],
            "tables": {name: {"title": table.title, "note": table.note} for name, table in self.tables.items()},
            "figures": {name: {"title": each.title, "text": each.text} for name, each in self.figures.items()},
        }

    def write(self, folder: Path) -> None:
        """Write tables and pictures into a folder."""
        for name, table in self.tables.items():
            files.write_table(folder / "tables" / f"{name}.parquet", table.columns)
            files.write_csv(folder / "tables" / f"{name}.csv", table.columns)
        for name, picture in self.figures.items():
            files.write_bytes(folder / "figures" / f"{name}.png", picture.png)
            files.write_bytes(folder / "figures" / f"{name}.svg", picture.svg)

    @classmethod
    def read(cls, folder: Path, value: Mapping[str, Any]) -> CaseFindings:
        """Read what `write` wrote, by what `to_json` gave; FileError when a part is missing or damaged."""
        try:
            tables = {
                name: Table(**facts, columns=files.read_table(folder / "tables" / f"{name}.parquet"))
                for name, facts in value["tables"].items()
            }
            figures = {}
            for name, facts in value["figures"].items():
                drawn = {kind: files.read_bytes(folder / "figures" / f"{name}.{kind}") for kind in ("png", "svg")}
                figures[name] = Picture(title=facts["title"], text=facts["text"], png=drawn["png"], svg=drawn["svg"])
            return cls(claims=tuple(map(Claim.from_json, value["claims"])), tables=tables, figures=figures)
        except (KeyError, TypeError, AttributeError) as error:
            raise FileError(f"the findings in {folder} are not whole ({error!r})") from error
