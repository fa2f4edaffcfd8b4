"""`clew train`: dictionaries from a model and text, measured on text that they have not seen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from clew.cli.common import bar, lines_of, table

if TYPE_CHECKING:
    from clew.training.evaluation import Evaluation


def train(
    folder: Annotated[Path, typer.Argument(help="Where the checkpoint and the dictionary go.")],
    model: Annotated[str, typer.Option(help="A model folder or hub id, or a bundled kit's name.")] = "minnow",
    text: Annotated[Path | None, typer.Option(help="One document a line; left out, the small world's corpus.")] = None,
    kind: Annotated[str, typer.Option(help="clt or plt.")] = "clt",
    features: Annotated[int | None, typer.Option(help="Features a layer.")] = None,
    k: Annotated[int | None, typer.Option(help="Active features a position and layer, on average.")] = None,
    steps: Annotated[int | None, typer.Option(help="Batches.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of weights and batches.")] = 0,
    resume: Annotated[bool, typer.Option(help="Go on from the folder's checkpoint.")] = False,
) -> None:
    """Train a dictionary on a model and measure it on text that it has not seen.

    Example: `clew train runs/clt --model runs/minnow/model`
    """
    from clew import kit
    from clew.dictionary import Dictionary
    from clew.subject import Subject
    from clew.training.activations import encode_documents
    from clew.training.evaluation import evaluate
    from clew.training.trainer import DictionaryConfig, train_dictionary

    subject = Subject.load(kit.BUNDLED / model / "model" if model in kit.bundled() else model)
    given = {"kind": kind, "features": features, "k": k, "steps": steps, "seed": seed}
    config = DictionaryConfig(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    documents = encode_documents(subject, _documents(text))
    kept = max(1, min(2000, len(documents) // 10))
    seen, held_out = documents.slice(0, len(documents) - kept), documents.slice(len(documents) - kept, len(documents))
    with bar("training") as progress:
        for report in train_dictionary(subject, seen, config, folder, resume=resume):
            progress(report.step, report.steps)
            if report.step % 500 == 0:
                print(
                    f"step {report.step}/{report.steps}  error {sum(report.nmse) / len(report.nmse):.4f}  "
                    f"active {sum(report.l0) / len(report.l0):.1f}  dead {report.dead:.1%}  "
                    f"{report.tokens_per_second:,.0f} tokens/s"
                )
    _print_evaluation(evaluate(subject, Dictionary.load(folder / "dictionary"), held_out))
    print(f"the dictionary is in {folder / 'dictionary'}")


def _documents(text: Path | None) -> Sequence[str]:
    if text is not None:
        return lines_of(text)
    from clew.organism.world import World

    return World(seed=0).corpus().documents


def _print_evaluation(evaluation: Evaluation) -> None:
    """Print how good a Dictionary is on text that it was not trained on."""
    console = Console(highlight=False)
    shown = table("layer", ">relative error", ">active", ">never fired", title="On unseen text")
    for layer, row in enumerate(zip(evaluation.nmse, evaluation.l0, evaluation.dead, strict=True)):
        shown.add_row(f"L{layer}", f"{row[0]:.4f}", f"{row[1]:.2f}", f"{row[2]:.1%}")
    console.print(shown, "")
    console.print(
        f"all MLPs replaced: KL {evaluation.kl:.4f} nats, agreement {evaluation.agreement:.4f}, "
        f"{evaluation.agreement_sure:.4f} where the model is sure ({evaluation.sure:.0%} of {evaluation.positions:,})"
    )
