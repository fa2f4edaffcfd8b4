"""Make the pictures of the glossary in `docs/glossary`, one a term and language, from the bundled kit.

python docs/glossary_pictures.py            # all, in a few minutes
python docs/glossary_pictures.py null clt   # some

Every number in them is measured when this runs. An SAE, which the kit has not, is trained here in half a minute on
sentences of the small world.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import glossary_method  # noqa: F401  # its pictures
import glossary_model  # noqa: F401
import matplotlib as mpl
import torch
from glossary_bench import (
    FOLDER,
    PICTURES,
    Bench,
    keep,
)
from matplotlib.figure import Figure

if TYPE_CHECKING:
    pass


def main(names: Sequence[str]) -> None:
    torch.set_num_threads(2)
    FOLDER.mkdir(exist_ok=True)
    mpl.rcParams.update({"font.size": 9, "axes.titlesize": 9, "axes.titlelocation": "left"})
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        for name in names or PICTURES:
            height, draw = PICTURES[name]
            for place, language in enumerate(("en", "ru")):
                figure = Figure(figsize=(6.6, height), layout="constrained")
                draw(bench, figure, lambda *wordings, place=place: wordings[place])
                keep(figure, FOLDER / f"{name}-{language}.png")


if __name__ == "__main__":
    main(sys.argv[1:])
