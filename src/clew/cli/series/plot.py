"""`clew series plot`: draw an answer that was kept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clew.cli.options import with_settings
from clew.cli.outputs import ReplaceOption
from clew.cli.series.explain import check_plot, write_plot
from clew.timeseries.answers import load_answer


@with_settings()
def plot(
    answer: Annotated[Path, typer.Argument(help="A file that `clew series explain --save` wrote.")],
    output: Annotated[Path, typer.Option(help="The picture or page: .png, .svg or .html.")],
    index: Annotated[
        int | None, typer.Option(help="Draw one case of the answer alone, by its place in it.", show_default=False)
    ] = None,
    overwrite: ReplaceOption = False,
) -> None:
    """Draw an answer: the series with its attribution under it, or the counterfactual over its original.

    Example: `clew series plot answer.json --output answer.html`
    """
    check_plot(output, replace_files=overwrite)
    kept = load_answer(answer)
    write_plot(kept if index is None else kept[index], output)
