"""`clew eval`: a dictionary beside its nulls."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from clew.cli.common import JsonOption, lines_of, table
from clew.cli.options import with_settings

if TYPE_CHECKING:
    from clew.dictionary import Dictionary
    from clew.subject import Subject
    from clew.training.assess import Assessment
    from clew.training.corpus import Documents

PROMPT_TOKENS = 24  # of held-out rows that serve as prompts


@with_settings("clew.training.source:CorpusConfig")
def evaluate(
    dictionary: Annotated[
        str | None, typer.Argument(help="A dictionary folder or hub id; left out, the kit's own.")
    ] = None,
    kit: Annotated[
        str, typer.Option(help="The kit whose model it is for: a bundled kit by name, or a folder.")
    ] = "minnow",
    model: Annotated[str | None, typer.Option(help="A model folder or hub id, in place of a kit.")] = None,
    prompts: Annotated[
        Path | None, typer.Option(help="Prompts to trace, one a line; left out, the small world's or held-out text.")
    ] = None,
    count: Annotated[int, typer.Option(help="How many prompts are traced; 0 for none.")] = 100,
    nulls: Annotated[
        bool, typer.Option("--nulls", help="Also train the null on a model with random weights; this takes a while.")
    ] = False,
    null_steps: Annotated[int, typer.Option(help="The most steps that this null is trained.")] = 500,
    by_layer: Annotated[bool, typer.Option(help="Also replace one layer at a time.")] = True,
    figure: Annotated[Path | None, typer.Option(help="Draw how often features fire into this PNG.")] = None,
    as_json: JsonOption = False,
    **settings: Any,
) -> None:
    """Measure a dictionary on text that it was not trained on, beside a dictionary that was never trained.

    Example: `clew eval runs/clt/dictionary --kit minnow --nulls`
    """
    from clew import files
    from clew.cli.runs import load_subject, small_world
    from clew.dictionary import Dictionary
    from clew.training.assess import assess, assess_nulls
    from clew.training.corpus import open_corpus, split_held_out
    from clew.training.figures import density_figure
    from clew.training.presets import configured

    _, corpus = configured(settings)
    subject = load_subject(model or kit)
    own = Dictionary.load(dictionary) if dictionary else _own(kit)
    documents = open_corpus(subject, corpus, positions=corpus.reading(), world=small_world)
    held_out, rest = split_held_out(documents, corpus.held_out)
    asked = _prompts(prompts, corpus.text, held_out, count)
    options: dict[str, Any] = {"by_layer": by_layer}
    with _stages() as options["stage"]:
        first = assess(subject, own, held_out, asked, _score, **options)
        others = assess_nulls(
            subject, own, held_out, rest, asked, _score, first.evaluation,
            steps=null_steps * nulls, buffer=corpus.buffer, **options,
        )  # fmt: skip
        found = [first, *others]
    if figure is not None:
        files.write_figure(figure, density_figure([(a.name, a.evaluation) for a in found]))
    if as_json:
        print(json.dumps([assessment.to_json() for assessment in found], ensure_ascii=False, indent=1))
    else:
        _print(found, nulls)


def _own(kit: str) -> Dictionary:
    from clew.cli.common import open_kit

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


def _stages() -> Any:
    """A line on the error stream that says what is being done; nothing where that is no terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        return nullcontext(lambda *_: None)
    from contextlib import contextmanager

    @contextmanager
    def shown() -> Any:
        with console.status("loading") as status:
            yield lambda what, done, of: status.update(f"{what}: {done:,} of {of:,}")

    return shown()


def _print(found: Sequence[Assessment], nulls: bool) -> None:
    console = Console(highlight=False)
    first = found[0].evaluation
    console.print(f"{found[0].name} on {first.positions:,} positions of text that were held out", "")
    console.print(_summary(found), "")
    console.print(_layers(found), "")
    if not nulls:
        console.print("beside a dictionary trained on a model with random weights: --nulls", style="dim")


def _summary(found: Sequence[Assessment]) -> Any:
    shown = table("", *(f">{assessment.name}" for assessment in found), title="All layers replaced at once")
    every = [a.evaluation for a in found]
    sure = [f"{e.agreement_sure:.4f} ({e.sure:.0%})" for e in every]
    shown.add_row("divergence, nats", *(f"{e.kl:.4f}" for e in every))
    shown.add_row("agreement", *(f"{e.agreement:.4f}" for e in every))
    shown.add_row("agreement where sure (share)", *sure)
    shown.add_row("loss recovered", *(f"{e.replaced.loss_recovered:.4f}" for e in every))
    shown.add_row("mean relative error", *(f"{_mean(e.nmse):.4f}" for e in every))
    shown.add_row("mean active", *(f"{_mean(e.l0):.2f}" for e in every))
    shown.add_row("mean never fired", *(f"{_mean(e.dead):.1%}" for e in every))
    if any(a.scores for a in found):
        scores = [a.scores for a in found]
        number = next(s.prompts for s in scores if s)
        for name in ("replacement", "completeness"):
            cells = [f"{getattr(s, name):.4f} ± {getattr(s, name + '_within'):.4f}" if s else "" for s in scores]
            shown.add_row(f"{name}, {number} prompts", *cells)
    return shown


def _layers(found: Sequence[Assessment]) -> Any:
    columns = [">relative error", ">active", ">never fired", ">divergence", ">agreement", ">loss recovered"]
    shown = table("layer", "", *columns, title="By layer; divergence to loss recovered with this layer alone replaced")
    for at, layer in enumerate(found[0].evaluation.layers):
        for assessment in found:
            e = assessment.evaluation
            alone = e.by_layer[at] if e.by_layer else None
            shown.add_row(
                f"L{layer}" if assessment is found[0] else "",
                assessment.name,
                f"{e.nmse[at]:.4f}",
                f"{e.l0[at]:.2f}",
                f"{e.dead[at]:.1%}",
                *(
                    [f"{alone.kl:.5f}", f"{alone.agreement:.4f}", f"{alone.loss_recovered:.4f}"]
                    if alone
                    else ["", "", ""]
                ),
                style=None if assessment is found[0] else "dim",
            )
    return shown


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
