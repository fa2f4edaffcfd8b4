"""`clew study show`: a result that was written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from clew.cli.options import JsonOption
from clew.cli.study.claims import print_result
from clew.studies.result import Result


def show(
    folder: Annotated[Path, typer.Argument(help="The folder that a study was written into.")],
    as_json: JsonOption = False,
) -> None:
    """Show the claims of a result, each beside its null, and what was seen where the effect must be absent.

    Example: `clew study show runs/leakage`
    """
    result = Result.load(folder)
    if as_json:
        print(json.dumps(result.to_json(), ensure_ascii=False, indent=1))
    else:
        print_result(result)
