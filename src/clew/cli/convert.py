"""`clew convert`: a dictionary of any published layout, written in the native one or in circuit-tracer's."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from clew.cli.options import JsonOption
from clew.cli.outputs import ReplaceOption
from clew.cli.progress_bar import bar
from clew.dictionary.conversion import TARGETS
from clew.dictionary.conversion import convert as convert_dictionary


def convert(
    source: Annotated[str, typer.Argument(help="A dictionary folder, a hub id[@revision] or hf://owner/name/path.")],
    folder: Annotated[Path, typer.Argument(help="The folder to write.")],
    layout: Annotated[str, typer.Option("--layout", help=f"How to write it: {' or '.join(TARGETS)}.")] = "native",
    model: Annotated[
        str | None,
        typer.Option("--model", help="The model that it was made for, to be recorded; left out, what its files say."),
    ] = None,
    packed: Annotated[bool, typer.Option("--packed", help="One byte a weight (native layout, with rounding).")] = False,
    replace: ReplaceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write a dictionary of any published layout in the native one, or in circuit-tracer's.

    The layout is found by the files; `docs/dictionaries.md` lists those that are read. Scales and biases that its
    program applies are folded in, so that the result computes the same.

    Example: `clew convert hf://google/gemma-scope-2b-pt-transcoders/layer_3/width_16k/average_l0_54 layer-3`

    Example: `clew convert runs/clt/dictionary clt-for-others --layout circuit-tracer --model openai-community/gpt2`
    """
    with bar("layers") as report:
        done = convert_dictionary(
            source, folder, layout=layout, model=model, packed=packed, replace=replace, report=report
        )
    if as_json:
        print(json.dumps(asdict(done), ensure_ascii=False))
        return
    layers = f"{len(done.layers)} layer{'s' * (len(done.layers) != 1)}"
    print(f"{done.name}: {done.source_layout} -> {done.layout}, {folder}, {done.bytes / 1e6:,.1f} MB")
    print(
        f"{done.kind}, {layers} with {done.features:,} features, from {done.read_site} to {done.write_site}, width "
        f"{done.d_model}{f', for {done.model}' if done.model else ''}"
    )
