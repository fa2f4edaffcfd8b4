"""What the commands of series share: the data, the model, which cases."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from clew.cli.progress_bar import bar
from clew.errors import InputError
from clew.timeseries.labelled_series import BUNDLED, LabelledSeries, load_pair
from clew.timeseries.models import SeriesModel, classifier
from clew.timeseries.nets import train_net
from clew.timeseries.series import Gaps, Unequal

DataOption = Annotated[
    str, typer.Option(help=f"A .ts or .csv file, or a set that comes with aeon: {', '.join(BUNDLED)}.")
]


@dataclass(frozen=True, kw_only=True)
class SeriesSource:
    """Series, and the model that is asked about them."""

    train: Annotated[
        Path | None,
        typer.Option(
            help="The training cases of a file of your own; the file itself when left out. They train the net, and "
            "stand for the data where a method needs reference cases.",
            show_default=False,
        ),
    ] = None
    model: Annotated[
        str | None,
        typer.Option(
            help="Your own model as MODULE:NAME, a module that Python can import from here; else a small convolutional "
            "net is trained on the training cases, in seconds.",
            show_default=False,
        ),
    ] = None
    gaps: Annotated[Gaps, typer.Option(help="NaN are refused, or bridged by lines.")] = "refuse"
    unequal: Annotated[
        Unequal,
        typer.Option(help="Cases of unequal lengths: go on with their last value, are cut, stretched, refused."),
    ] = "pad"

    def load(self, data: str, seed: int) -> tuple[LabelledSeries, LabelledSeries, SeriesModel]:
        """Training and test cases, and the model."""
        train, test = load_pair(data, self.train, gaps=self.gaps, unequal=self.unequal)
        if self.model is not None:
            return train, test, classifier(imported(self.model))
        with bar("training a small net") as report:
            return train, test, classifier(train_net(train.values, train.labels, seed=seed, report=report))


def imported(place: str) -> Any:
    """The object at MODULE:NAME, looked for in the current folder first; InputError when there is none."""
    module, _, name = place.partition(":")
    if not module or not name:
        raise InputError(f"--model {place!r}: give MODULE:NAME, such as my_net:model for the name model in my_net.py")
    sys.path.insert(0, str(Path.cwd()))
    try:
        return getattr(import_module(module), name)
    except ImportError as error:
        raise InputError(f"--model {place!r}: {module} cannot be imported ({error})") from error
    except AttributeError:
        raise InputError(f"--model {place!r}: {module} has no name {name!r}") from None
    finally:
        sys.path.pop(0)


def chosen_cases(test: LabelledSeries, index: list[int] | None, first: int = 1) -> np.ndarray:
    """The numbers of the cases that are asked about; InputError for one that is not there."""
    numbers = index or list(range(min(first, len(test.values))))
    for number in numbers:
        if not 0 <= number < len(test.values):
            raise InputError(f"--index {number}: {test.name} has the cases 0 to {len(test.values) - 1}")
    return np.array(numbers)
