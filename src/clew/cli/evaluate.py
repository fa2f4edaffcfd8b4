"""`clew eval`: a dictionary beside its nulls."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from clew.cli.options import JsonOption, with_settings
from clew.cli.prompts import lines_of
from clew.cli.tables import mean, table
from clew.errors import FileError, InputError
from clew.runs.plan import load_subject, read_run, rows_of, run_of, small_world
from clew.training.corpus_config import CorpusConfig

if TYPE_CHECKING:
    from clew.dictionary import Dictionary
    from clew.runs.evaluate import Assessment
    from clew.subject import Subject
    from clew.training.corpus import Documents

PROMPT_TOKENS = 24  # of held-out rows that serve as prompts
NAMES = ("dictionary", "untrained", "shuffled weights")  # what stands beside one another, the dictionary first
ELSEWHERE = {"text", "field", "split", "cut", "bos", "context"}  # settings that make other rows than a run's
BARS = "▁▂▃▄▅▆▇█"


@with_settings(CorpusConfig)
def evaluate(
    dictionary: Annotated[
        str | None, typer.Argument(help="A run's folder, a dictionary folder or hub id; left out, the kit's own.")
    ] = None,
    kit: Annotated[
        str | None,
        typer.Option(help="The kit whose model it is for, by name or folder; left out, the run's model, or minnow."),
    ] = None,
    model: Annotated[str | None, typer.Option(help="A model folder or hub id, in place of a kit.")] = None,
    prompts: Annotated[
        Path | None, typer.Option(help="Prompts to trace, one a line; left out, the small world's or held-out text.")
    ] = None,
    count: Annotated[int, typer.Option(help="How many prompts are traced; 0 for none.")] = 100,
    nulls: Annotated[
        bool, typer.Option(help="Train the null on the model with shuffled weights; it takes as long as its steps.")
    ] = True,
    null_steps: Annotated[int, typer.Option(help="The most steps that this null is trained.")] = 500,
    by_layer: Annotated[bool, typer.Option(help="Also replace one layer at a time.")] = True,
    figure: Annotated[Path | None, typer.Option(help="Draw how often features fire into this PNG.")] = None,
    as_json: JsonOption = False,
    **settings: Any,
) -> None:
    """Measure a dictionary on text that it was not trained on, beside two nulls: one never trained, one trained on a
    model that knows nothing.

    Example: `clew eval runs/clt`

    A dictionary in a run's folder is measured with the run's model, on the rows that the run held out.
    """
    from clew import files
    from clew.runs.density_figure import density_figure
    from clew.runs.evaluate import assess, assess_nulls

    if count < 0 or null_steps < 1:
        raise InputError(f"--count is {count}, --null-steps {null_steps}: give at least 0, and at least 1")
    subject, own, text = _asked(dictionary, kit, model, settings)
    asked = _prompts(prompts, text.config.text, text.held_out, count)
    options: dict[str, Any] = {"by_layer": by_layer}
    with _stages() as options["stage"]:
        first = assess(subject, own, text.held_out, asked, _score, **options)
        others = assess_nulls(
            subject, own, text.held_out, text.rest, asked, _score, first.evaluation,
            steps=null_steps * nulls, buffer=text.config.buffer, **options,
        )  # fmt: skip
        found = [first, *others]
    if figure is not None:
        files.write_figure(figure, density_figure([(a.name, a.evaluation) for a in found]))
    if as_json:
        print(json.dumps([assessment.to_json() for assessment in found], ensure_ascii=False, indent=1))
    else:
        print_assessments(found)


@dataclass(frozen=True)
class _Text:
    """Rows to measure on, rows that a null may be trained on, and where both come from."""

    held_out: Documents
    rest: Documents
    config: CorpusConfig


def _asked(
    source: str | None, kit: str | None, model: str | None, settings: dict[str, Any]
) -> tuple[Subject, Dictionary, _Text]:
    """The model, the dictionary and the text that are meant; a run's own where nothing else is said."""
    from clew.dictionary import Dictionary
    from clew.training.presets import configured

    folder = None if source is None else run_of(source)
    if source is None or folder is None:
        subject = load_subject(model or kit or "minnow")
        own = Dictionary.load(source) if source else _own(kit or "minnow")
        return subject, own, _read(subject, configured(settings)[1])
    plan, place = read_run(folder), Path(source)
    if place == folder:
        place = folder / "dictionary"
        if not place.is_dir():
            raise FileError(f"{folder} has no dictionary yet: finish the run with clew train {folder} --resume")
    subject, own = load_subject(model or kit or plan.model), Dictionary.load(place)
    corpus = configured(asdict(plan.corpus) | settings)[1]
    if set(settings) & ELSEWHERE:
        return subject, own, _read(subject, corpus, plan.config.seed)
    held_out, rest = rows_of(folder, subject, plan)
    return subject, own, _Text(_fewer(held_out, settings.get("held_out"), folder), rest, corpus)


def _read(subject: Subject, corpus: CorpusConfig, seed: int = 0) -> _Text:
    from clew.training.corpus import open_corpus, split_held_out

    documents = open_corpus(subject, corpus, positions=corpus.reading(), seed=seed, world=small_world)
    return _Text(*split_held_out(documents, corpus.held_out), corpus)


def _fewer(held_out: Documents, positions: int | None, folder: Path) -> Documents:
    """The first rows with so many positions; InputError when the run has not held out so many."""
    there = int(held_out.counts.sum())
    if positions is None or positions == there:
        return held_out
    if positions > there:
        raise InputError(
            f"--held-out is {positions:,}, but {folder} held out {there:,} positions: the rest was trained on"
        )
    return held_out.slice(0, int((held_out.counts.cumsum(0) < positions).sum()) + 1)


def _own(kit: str) -> Dictionary:
    from clew.cli.kits import open_kit

    return open_kit(kit, None, None).dictionary


def _prompts(path: Path | None, text: str, held_out: Documents, count: int) -> Sequence[Any]:
    if path is not None:
        return lines_of(path)[:count]
    if text == "world":
        from clew.organism.prompts import listed_prompts

        return listed_prompts(count)
    starts = held_out.starts.tolist()
    return [held_out.tokens[a : min(a + PROMPT_TOKENS, b)].tolist() for a, b in pairwise(starts)][:count]


def _score(subject: Subject, dictionary: Dictionary, prompt: Any) -> tuple[float, float]:
    from clew.attribution.trace import trace

    scores = trace(subject, dictionary, prompt).scores()
    return scores.replacement, scores.completeness


@contextmanager
def _stages() -> Iterator[Callable[[str, int, int], None]]:
    """A line on the error stream that says what is being done; where that is no terminal, only how training begins."""
    console = Console(stderr=True, highlight=False)
    with console.status("loading") if console.is_terminal else nullcontext() as status:

        def stage(what: str, done: int, of: int) -> None:
            if what.startswith("training") and not done:
                console.print(
                    f"{what}: {of:,} steps; --null-steps takes fewer, --no-nulls leaves it out", soft_wrap=True
                )
            if status is not None:
                status.update(f"{what}: {done:,} of {of:,}")

        yield stage


# What is printed: 80 columns hold it


def print_assessments(found: Sequence[Assessment]) -> None:
    """Print every figure of a dictionary beside those of its nulls."""
    console = Console(highlight=False)
    first = found[0].evaluation
    console.print(f"{found[0].name} on {first.positions:,} positions of text that were held out", soft_wrap=True)
    for name, assessment in zip(NAMES[1:], found[1:], strict=False):
        console.print(f"{name}: {assessment.name}", style="dim", soft_wrap=True)
    for part in (_summary(found), _layers(found), _densities(found)):
        console.print("", part)
    if len(found) < len(NAMES):
        console.print("", "left out: a dictionary trained on the model with shuffled weights (--nulls)", style="dim")


def _summary(found: Sequence[Assessment]) -> Any:
    shown = table("", *(f">{name}" for name in NAMES[: len(found)]), title="All layers replaced at once")
    every = [a.evaluation for a in found]
    shown.add_row("divergence, nats", *(f"{e.kl:.4f}" for e in every))
    shown.add_row("agreement", *(f"{e.agreement:.4f}" for e in every))
    shown.add_row("where the model is sure", *(f"{e.agreement_sure:.4f} ({e.sure:.0%})" for e in every))
    shown.add_row("loss recovered", *(f"{e.replaced.loss_recovered:.4f}" for e in every))
    shown.add_row("mean relative error", *(f"{mean(e.nmse):.4f}" for e in every))
    shown.add_row("mean active", *(f"{mean(e.l0):.2f}" for e in every))
    shown.add_row("mean never fired", *(f"{mean(e.dead):.1%}" for e in every))
    if any(a.scores for a in found):
        scores = [a.scores for a in found]
        number = next(s.prompts for s in scores if s)
        for name in ("replacement", "completeness"):
            cells = [f"{getattr(s, name):.4f} ± {getattr(s, name + '_within'):.4f}" if s else "" for s in scores]
            shown.add_row(f"{name}, {number} prompts", *cells)
    return shown


def _layers(found: Sequence[Assessment]) -> Any:
    alone = found[0].evaluation.by_layer
    columns = [">error", ">active", ">unfired", *([">nats", ">agreement", ">recovered"] if alone else [])]
    title = "By layer" + ("; nats of divergence to loss recovered with this layer alone replaced" if alone else "")
    shown = table("layer", "", *columns, title=title)
    for at, layer in enumerate(found[0].evaluation.layers):
        for name, assessment in zip(NAMES, found, strict=False):
            e = assessment.evaluation
            cells = [f"{e.nmse[at]:.4f}", f"{e.l0[at]:.2f}", f"{e.dead[at]:.1%}"]
            if alone:
                one = e.by_layer[at]
                cells += [f"{one.kl:.5f}", f"{one.agreement:.4f}", f"{one.loss_recovered:.4f}"]
            own = assessment is found[0]
            shown.add_row(f"L{layer}" if own else "", name, *cells, style=None if own else "dim")
    return shown


def _densities(found: Sequence[Assessment]) -> Any:
    """How often features fire: a bar for every half decade, as high as the number of features is beside the highest."""
    from clew.runs.fidelity import DENSITY_EDGES

    low, high = DENSITY_EDGES[0], DENSITY_EDGES[-1]
    title = f"Features by the share of positions they fire at, 1e{low:g} to 1e{high:g}, two bars a decade"
    shown = table("layer", *NAMES[: len(found)], title=title)
    for at, layer in enumerate(found[0].evaluation.layers):
        shown.add_row(f"L{layer}", *(bars(a.evaluation.density[at][1:]) for a in found))
    return shown


def bars(counts: Sequence[int]) -> str:
    """Counts as a line of bars; whatever is there at all can be seen."""
    most = max(max(counts), 1)
    return "".join(" " if not n else BARS[-(-n * len(BARS) // most) - 1] for n in counts)
