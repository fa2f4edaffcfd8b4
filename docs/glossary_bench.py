"""What the pictures of the glossary share: the kit and what is measured of it, bars, matrices, files."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

import clew
from clew.attribution.local_model import LocalModel
from clew.organism import World
from clew.studies.charts import named_rows, open_corner

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FOLDER = Path(__file__).parent / "glossary"
PROMPT, SUM = "The capital of France is", "The sum of 34 and 29 is"
HEAD, FEATURE, LATER = 1, "L0/2027", "L4/1590"  # the head of layer 0, and the features, that the prompt rests on
BLUE, ORANGE, GREY, PALE = "#1f6fb2", "#d1661a", "#8a8a8a", "#dce8f3"
COLOURS, DOTS = 48, 110  # of a picture, and per inch
DRAWS = 40  # random sets beside a group
FAMILIES = (
    "capitals",
    "languages",
    "cities",
    "translation",
    "opposites",
    "sums",
    "years",
    "roots",
    "behaviours",
    "stories",
)
Say = Callable[[str, str], str]
"""Picks the English or the Russian wording."""
Picture = Callable[["Bench", Figure, Say], None]
PICTURES: dict[str, tuple[float, Picture]] = {}


class Bench:
    """What the pictures are made of: the kit, one traced prompt, and two small dictionaries that are trained here."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.kit = folder, clew.load("minnow")
        self.subject, self.dictionary = self.kit.subject, self.kit.dictionary
        self.graph = self.kit.trace(PROMPT, effects=True)
        self.recording = self.subject.record(PROMPT)
        self.local = LocalModel.of_graph(self.subject, self.dictionary, self.graph)
        self.paris = self.graph.targets[0].token
        self.tokens = [token.strip() for token in self.graph.tokens]

    @cached_property
    def circuit(self) -> clew.Circuit:
        return self.kit.circuit(self.graph, draws=DRAWS)

    @cached_property
    def sums(self) -> clew.Circuit:
        return self.kit.circuit(self.kit.trace(SUM, effects=True), draws=DRAWS)

    @cached_property
    def text(self) -> Path:
        path = self.folder / "world.txt"
        path.write_text("\n".join(World(seed=0).corpus(4000).documents))
        return path

    def trained(self, kind: str) -> clew.Dictionary:
        """A small dictionary of a kind, trained once: 256 features a layer, eight of them active."""
        run = self.folder / kind
        if run.exists():
            return clew.Dictionary.load(run / "dictionary")
        settings: dict[str, Any] = {"features": 256, "k": 8, "steps": 300, "batch": 256, "held_out": 1000}
        for _ in clew.train(
            run, kit="minnow", text=str(self.text), kind=kind, nonlinearity="topk", check_every=0, **settings
        ):
            pass
        return clew.Dictionary.load(run / "dictionary")

    def chance(self, cases: Sequence[Any], token: str) -> list[float]:
        """The probability of a token in each case, a prompt with its edits."""
        return [float(row[0]) for row in self.kit.readings(cases, [token]).probabilities]


def picture(name: str, height: float = 2.9) -> Callable[[Picture], Picture]:
    """Names the function that draws one term."""

    def named(draw: Picture) -> Picture:
        PICTURES[name] = (height, draw)
        return draw

    return named


def keep(figure: Figure, path: Path) -> None:
    """A picture with few colours."""
    content = io.BytesIO()
    figure.savefig(content, dpi=DOTS, facecolor="white")
    image = Image.open(content).convert("RGB")
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)


def bars(axes: Axes, names: Sequence[str], values: Sequence[float], colour: Any = BLUE, form: str = "{:+.2f}") -> None:
    """Bars that lie, the first at the top, each with its number."""
    rows = range(len(names) - 1, -1, -1)
    axes.barh(rows, values, color=colour, height=0.65)
    named_rows(axes, names)
    edge = max(map(abs, values))
    room = 0.22 * (max(*values, 0.0) - min(*values, 0.0))
    axes.set_xlim(min(values) - room if min(values) < -0.005 * edge else 0.0, max(*values, 0.05 * edge) + room)
    for row, value in zip(rows, values, strict=True):
        axes.annotate(
            form.format(value).replace("-0.0", "0.0") if abs(value) < 0.05 else form.format(value),
            (value, row),
            xytext=(3 if value >= 0 else -3, 0),
            textcoords="offset points",
            va="center",
            ha="left" if value >= 0 else "right",
            fontsize=8,
        )
    open_corner(axes)


def grid(axes: Axes, values: Any, top: float, form: str = "{:.2f}") -> Any:
    """A matrix in shades of blue, each cell with its number."""
    image = axes.imshow(values, cmap="Blues", vmin=0, vmax=top, aspect="auto")
    for (row, column), value in np.ndenumerate(np.asarray(values)):
        if np.isfinite(value):
            colour = "white" if value > 0.6 * top else "black"
            axes.text(column, row, form.format(value), ha="center", va="center", fontsize=7, color=colour)
    return image
