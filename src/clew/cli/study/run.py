"""`clew study run NAME`: a command for every study, whose options are the fields of its config."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from clew.cli.kits import KitOptions, on_few_threads
from clew.cli.leaving import INTERRUPTED
from clew.cli.options import JsonOption, with_settings
from clew.cli.progress_bar import bar
from clew.cli.study.claims import print_result
from clew.studies.catalogue import study
from clew.studies.result import REPORT
from clew.studies.study import Study

OutputOption = Annotated[
    Path | None,
    typer.Option("--output", help="A folder for the report, tables and figures; a run that was stopped goes on there."),
]
NeuronsOption = Annotated[
    bool,
    typer.Option(
        "--neurons/--no-neurons",
        help="Measure the same by the model's own neurons too, with fewer prompts and draws, to set them side by side.",
    ),
]
QuickOption = Annotated[bool, typer.Option("--quick", help="Smaller settings, for a first look within two minutes.")]


def _command(chosen: Study[Any]) -> Callable[..., None]:
    """The command of a study."""

    def command(
        source: KitOptions, config: Any, neurons: bool, output: Path | None, as_json: bool, quick: bool = False
    ) -> None:
        kit = source.load()
        on_few_threads(kit)
        try:
            with bar(chosen.name) as report:
                result = chosen.run(kit, output, config=config, neurons=neurons, quick=quick, report=report)
        except KeyboardInterrupt:
            if output is None:
                raise
            print(f"stopped; the same command goes on in {output}", file=sys.stderr)
            raise typer.Exit(INTERRUPTED) from None
        if as_json:
            print(json.dumps(result.to_json(), ensure_ascii=False, indent=1))
        else:
            print_result(result)
        if output is not None:
            print(f"the report is in {output / REPORT}", file=sys.stderr)

    kinds = {
        "source": KitOptions,
        "config": chosen.config,
        "neurons": NeuronsOption,
        **({"quick": QuickOption} if chosen.quick else {}),
        "output": OutputOption,
        "as_json": JsonOption,
    }
    defaults = {"neurons": True, "quick": False, "output": None, "as_json": False}
    command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=defaults.get(name, inspect.Parameter.empty),
                annotation=kind,
            )
            for name, kind in kinds.items()
        ]
    )
    example = f"clew study run {chosen.name} --output runs/{chosen.name}"
    command.__doc__ = f"{chosen.question}\n\nAfter {chosen.source}.\n\nExample: `{example}`\n"
    return with_settings()(command)


leakage = _command(study("leakage"))
capital = _command(study("capital"))
greater_than = _command(study("greater-than"))
persona = _command(study("persona"))
compression = _command(study("compression"))
belief = _command(study("belief"))
transcendence = _command(study("transcendence"))
heads = _command(study("heads"))
arcs = _command(study("arcs"))
traits = _command(study("traits"))
expanders = _command(study("expanders"))
hallucination = _command(study("hallucination"))
experts = _command(study("experts"))
subliminal = _command(study("subliminal"))
action_spaces = _command(study("action-spaces"))
development = _command(study("development"))
