"""The command line: one command a verb. It reads arguments, calls the library, and prints; it computes nothing.

A user's mistake ends with one line on the error stream and exit code 2.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clew.errors import ClewError, InputError

if TYPE_CHECKING:
    from clew.attribution.graph import Graph
    from clew.kit import Kit

app = typer.Typer(
    name="clew",
    help="See how a language model came to its answer, and check it.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)

KitOption = Annotated[str, typer.Option("--kit", help="A bundled kit by name, or a kit folder.")]
ModelOption = Annotated[str | None, typer.Option("--model", help="A model folder or hub id, in place of a kit.")]
DictionaryOption = Annotated[str | None, typer.Option("--dictionary", help="A dictionary folder for --model.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def main() -> None:
    """Run the command line; the entry point of `clew` and `python -m clew`."""
    _settle_libraries()
    try:
        app()
    except ClewError as error:
        print(f"clew: {error}", file=sys.stderr)
        sys.exit(2)


@app.callback()
def _root() -> None:
    pass


@app.command()
def trace(
    prompt: Annotated[str | None, typer.Argument(help="The text to explain.", show_default=False)] = None,
    kit: KitOption = "minnow",
    model: ModelOption = None,
    dictionary: DictionaryOption = None,
    target: Annotated[
        list[str] | None,
        typer.Option("--target", "-t", help='What to explain: a token, or "Paris - Berlin". May be repeated.'),
    ] = None,
    position: Annotated[int, typer.Option(help="Position of the targets; -1 is the last.")] = -1,
    answer: Annotated[str | None, typer.Option(help="An answer of several tokens, traced token by token.")] = None,
    max_features: Annotated[
        int | None, typer.Option("--max-features", help="Keep the rows of this many features; the rest is an offset.")
    ] = None,
    chat: Annotated[bool, typer.Option("--chat", help="Put the prompt into the model's chat template.")] = False,
    prompts: Annotated[Path | None, typer.Option("--prompts", help="A file with one prompt a line.")] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Write a page that draws the graph offline.")] = None,
    save: Annotated[
        Path | None, typer.Option("--save", help="Write the graph: *.json for other tools, else Clew's own.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Trace how the model came to its next token.

    Example: `clew trace "The capital of France is" --html paris.html`
    """
    from clew.attribution.summary import summarise
    from clew.console import print_summary

    texts = _texts(prompt, prompts)
    loaded = _kit(kit, model, dictionary)
    found = []
    for number, text in enumerate(texts):
        started, memory = time.perf_counter(), _peak_megabytes()
        given: Any = [{"role": "user", "content": text}] if chat else text
        with _bar("tracing") as progress:
            graph = loaded.trace(
                given,
                targets=target or None,
                position=position,
                answer=answer,
                max_features=max_features,
                progress=progress,
            )
        cost = {"seconds": time.perf_counter() - started, "megabytes": _peak_megabytes() - memory}
        summary = summarise(graph)
        if as_json:
            found.append({**summary.to_json(), **cost})
        else:
            print_summary(summary, **cost)
        place = number if len(texts) > 1 else None
        _write(graph, html=_numbered(html, place), save=_numbered(save, place))
    if as_json:
        print(json.dumps(found if prompts else found[0], ensure_ascii=False, indent=1))


@app.command()
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
    from clew.console import print_evaluation
    from clew.dictionary import Dictionary
    from clew.subject import Subject
    from clew.training.activations import encode_documents
    from clew.training.evaluate import evaluate
    from clew.training.trainer import DictionaryConfig, train_dictionary

    subject = Subject.load(kit.BUNDLED / model / "model" if model in kit.bundled() else model)
    given = {"kind": kind, "features": features, "k": k, "steps": steps, "seed": seed}
    config = DictionaryConfig(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    documents = encode_documents(subject, _documents(text))
    kept = max(1, min(2000, len(documents) // 10))
    seen, held_out = documents.slice(0, len(documents) - kept), documents.slice(len(documents) - kept, len(documents))
    with _bar("training") as progress:
        for report in train_dictionary(subject, seen, config, folder, resume=resume):
            progress(report.step, report.steps)
            if report.step % 500 == 0:
                print(
                    f"step {report.step}/{report.steps}  error {sum(report.nmse) / len(report.nmse):.4f}  "
                    f"active {sum(report.l0) / len(report.l0):.1f}  dead {report.dead:.1%}  "
                    f"{report.tokens_per_second:,.0f} tokens/s"
                )
    print_evaluation(evaluate(subject, Dictionary.load(folder / "dictionary"), held_out))
    print(f"the dictionary is in {folder / 'dictionary'}")


organism_app = typer.Typer(help="The small world: look at it, train its model, examine it.", no_args_is_help=True)
app.add_typer(organism_app, name="organism")


@organism_app.command("show")
def organism_show(
    count: Annotated[int, typer.Option(help="Statements to draw.")] = 20,
    seed: Annotated[int, typer.Option(help="The world's seed.")] = 0,
) -> None:
    """Draw statements of the small world.

    Example: `clew organism show --count 5`
    """
    import random

    from clew.organism.world import World

    world, rng = World(seed=seed), random.Random(seed)
    for _ in range(count):
        statement = world.draw(rng)
        print(f"{statement.domain:9}{statement.family:14}{statement.text}")


@organism_app.command("train")
def organism_train(
    folder: Annotated[Path, typer.Argument(help="Where checkpoints and the model go.")],
    steps: Annotated[int | None, typer.Option(help="Optimiser steps; left out, as many as the bundled model.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the world and the weights.")] = 0,
    resume: Annotated[bool, typer.Option(help="Go on from the folder's last checkpoint.")] = True,
) -> None:
    """Train the small world's model from nothing; stop it at any time, it resumes.

    Example: `clew organism train runs/minnow`
    """
    from clew.organism.training import TrainingConfig, train

    config = TrainingConfig(seed=seed) if steps is None else TrainingConfig(seed=seed, steps=steps)
    with _bar("training", of=config.steps) as progress:
        for report in train(config, folder, resume=resume):
            progress(report.step, report.steps)
            print(
                f"step {report.step}/{report.steps}  loss {report.loss:.4f}  {report.tokens_per_second:,.0f} tokens/s"
            )
    print(f"the model is in {folder / 'model'}; examine it with: clew organism exam {folder / 'model'}")


@organism_app.command("exam")
def organism_exam(
    model: Annotated[str, typer.Argument(help="A model folder, or a bundled kit's name.")] = "minnow",
    seed: Annotated[int, typer.Option(help="The world's seed.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Examine a model of the small world: each family's score beside chance, its loss beside the law's entropy.

    Example: `clew organism exam`
    """
    from clew import kit
    from clew.console import print_exam
    from clew.organism.exam import exam_folder
    from clew.organism.world import World

    folder = kit.BUNDLED / model / "model" if model in kit.bundled() else Path(model)
    report = exam_folder(folder, World(seed=seed))
    if as_json:
        print(json.dumps(report.to_json(), ensure_ascii=False, indent=1))
    else:
        print_exam(report)
    if not report.passed:
        raise typer.Exit(1)


kit_app = typer.Typer(help="Kits: a model, its dictionary and where they came from.", no_args_is_help=True)
app.add_typer(kit_app, name="kit")


@kit_app.command("show")
def kit_show(name: Annotated[str, typer.Argument(help="A bundled kit by name, or a kit folder.")] = "minnow") -> None:
    """Say what a kit holds.

    Example: `clew kit show minnow`
    """
    loaded = _kit(name, None, None)
    print(
        f"{loaded.name}: {loaded.subject.n_layers} layers of width {loaded.subject.d_model}, {loaded.dictionary.name}"
    )
    print(json.dumps(loaded.provenance, ensure_ascii=False, indent=1))


@kit_app.command("build")
def kit_build(
    folder: Annotated[Path, typer.Argument(help="The kit folder to write.")],
    model: Annotated[Path, typer.Option(help="A model folder.")],
    dictionary: Annotated[Path, typer.Option(help="A dictionary folder in the native layout.")],
    name: Annotated[str | None, typer.Option(help="The kit's name; left out, the folder's.")] = None,
    half: Annotated[bool, typer.Option("--half", help="Round the dictionary's weights to 16 bits.")] = False,
) -> None:
    """Put a model and a dictionary together.

    Example: `clew kit build my-kit --model runs/minnow/model --dictionary runs/clt/dictionary`
    """
    from clew import kit

    if folder.exists():
        raise InputError(f"{folder} is there already: give a new folder, or remove it first")
    kit.build(folder, name=name or folder.name, model=model, dictionary=dictionary, half=half)
    print(f"built {folder}")


# --- what the commands share ----------------------------------------------------------------------------------------


def _kit(name: str, model: str | None, dictionary: str | None) -> Kit:
    from clew.kit import load

    if (model is None) != (dictionary is None):
        raise InputError("--model and --dictionary go together: give both, or a --kit")
    return load(name) if model is None else load(model, dictionary=dictionary)


def _texts(prompt: str | None, prompts: Path | None) -> list[str]:
    if (prompt is None) == (prompts is None):
        raise InputError(
            'give one prompt, or a file with --prompts; for example: clew trace "The capital of France is"'
        )
    return [prompt or ""] if prompts is None else _lines(prompts)


def _lines(path: Path) -> list[str]:
    """The lines of a text file that hold something; InputError when none does."""
    from clew import files

    lines = [line for line in files.read_text(path).splitlines() if line.strip()]
    if not lines:
        raise InputError(f"{path} holds no text: write one prompt or document a line")
    return lines


def _documents(text: Path | None) -> Sequence[str]:
    if text is not None:
        return _lines(text)
    from clew.organism.world import World

    return World(seed=0).corpus().documents


def _numbered(path: Path | None, number: int | None) -> Path | None:
    return path if path is None or number is None else path.with_stem(f"{path.stem}-{number + 1}")


def _write(graph: Graph, *, html: Path | None, save: Path | None) -> None:
    if html is not None:
        from clew.web.export import export_html

        export_html(graph, html)
        print(f"wrote {html}", file=sys.stderr)
    if save is not None:
        graph.to_json(save) if save.suffix == ".json" else graph.save(save)
        print(f"wrote {save}", file=sys.stderr)


@contextmanager
def _bar(what: str, of: int | None = None) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on the error stream, drawn once the work has taken a second."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    task, started = bar.add_task(what, total=of), time.monotonic()

    def report(done: int, total: int) -> None:
        bar.update(task, completed=done, total=total)
        if time.monotonic() - started > 1 and not bar.live.is_started:
            bar.start()

    try:
        yield report
    finally:
        bar.stop()


def _peak_megabytes() -> float:
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def _settle_libraries() -> None:
    """Keep the libraries' bars and notices off the screen, and their idle threads from spinning on a busy machine."""
    import os

    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
