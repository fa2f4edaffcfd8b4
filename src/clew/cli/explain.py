"""`clew explain`: how the model came to its answer, in one sentence, then in groups of features."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from clew.attribution.trace import TraceSettings
from clew.circuit.circuit import ENVELOPE, Circuit, GroupEdge
from clew.circuit.find_circuit import CircuitSettings
from clew.circuit.rival import Rival
from clew.circuit.telling import Language, checked, group_text, percent
from clew.cli.kits import KitOptions, on_few_threads
from clew.cli.options import JsonOption, Only, keywords, with_settings
from clew.cli.outputs import OutputFile, ReplaceOption, check_outputs
from clew.cli.progress_bar import bar
from clew.cli.tables import table

_INTO = 3  # edges into one group that are listed
_LEAST = 0.1  # of a group, or of the answer: what must go with a source for it to be listed
_TEXTS = {
    "en": {
        "groups": "Groups", "edges": "What makes what", "at": "at", "features": ">features", "share": ">influence",
        "without": ">without", "alone": ">alone", "random": ">random", "from": "from", "to": "to", "heads": "by heads",
        "value": ">value", "effect": ">effect", "measured": ">measured", "answer": "the answer {0}", "word": "'{0}'",
        "whole": "{n} groups hold {share} of the features' influence. Without all of them {answer} goes from {before} "
        "to {after}, without random features in their place to {random}; with all others ablated it is {alone}.",
        "rival": "How many logits '{said}' stands above '{rival}'",
        "legend": "without, alone: the answer's probability with the group ablated, and with all others ablated; "
        "random: without random features in the group's place. value, effect: shares of what is "
        "read straight; measured: the share that goes with the source, over all paths.",
    },
    "ru": {
        "groups": "Группы", "edges": "Что из чего возникает", "at": "на", "features": ">признаков", "share": ">влияние",
        "without": ">без неё", "alone": ">только она", "random": ">случайные", "from": "из чего", "to": "что",
        "heads": "через головы", "value": ">значение", "effect": ">эффект", "measured": ">измерено",
        "answer": "ответ {0}", "word": "«{0}»",
        "whole": "Групп: {n}, в них {share} влияния признаков. Без всех групп {answer} меняется с {before} до {after}, "
        "без случайных признаков того же размера до {random}; без всего остального стоит на {alone}.",
        "rival": "На сколько логитов «{said}» выше «{rival}»",
        "legend": "без неё, только она: вероятность ответа, когда удалена группа и когда удалено остальное; "
        "случайные: без случайных признаков на месте группы. значение, эффект: доли того, что "
        "приходит прямо; измерено: доля, которая исчезает с источником, по всем путям.",
    },
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Telling:
    """What is told beside the circuit, and in which language; InputError for one that nothing is told in."""

    language: Annotated[str, typer.Option(help="Language that it is told in: en or ru.")] = "en"
    why_not: Annotated[
        str | None,
        typer.Option("--why-not", help="Also say which groups hold this token down, measured.", show_default=False),
    ] = None

    def __post_init__(self) -> None:
        checked(self.language)


@with_settings()
def explain(
    settings: Annotated[TraceSettings, Only("targets", "position", "max_features", "add_bos")],
    how: Annotated[CircuitSettings, Only("groups", "coverage", "draws", "seed")],
    source: KitOptions,
    telling: Telling,
    prompt: Annotated[str, typer.Argument(help="The text.", show_default=False)],
    save: Annotated[Path | None, typer.Option(help="Keep the circuit in this file.", show_default=False)] = None,
    overwrite: ReplaceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Say how the model came to its next token: one sentence, then groups of features and what each does, measured.

    Example: `clew explain "The capital of France is"`
    """
    told_in = checked(telling.language)
    if save is not None:
        check_outputs([OutputFile("--save", save, ENVELOPE.format)], replace=overwrite)
    kit = source.load()
    on_few_threads(kit)
    with bar("tracing") as report:
        graph = kit.trace(prompt, **keywords(replace(settings, effects=True, report=report)))
    circuit = kit.circuit(graph, **keywords(how))
    rival = None if telling.why_not is None else circuit.why_not(telling.why_not)
    if save is not None:
        circuit.save(save)
    if as_json:
        value = {"told": circuit.tell(told_in), **circuit.to_json(), **kit.dictionary.other_model}
        value |= {} if rival is None else {"why_not": {"told": rival.tell(told_in), **rival.to_json()}}
        print(json.dumps(value, ensure_ascii=False, indent=1))
    else:
        _print(circuit, told_in)
        if rival is not None:
            _print_rival(rival, told_in)


def _print(circuit: Circuit, language: Language) -> None:
    console, texts = Console(highlight=False), _TEXTS[language]
    console.print(Text(circuit.tell(language), style="bold"), soft_wrap=True)
    console.print()
    console.print(Text(circuit.prompt))
    console.print(Text(f"{circuit.subject}, {circuit.dictionary}", style="dim"), "", sep="\n")
    answer = f"«{circuit.answer.text}»" if language == "ru" else f"'{circuit.answer.text}'"
    console.print(
        texts["whole"].format(
            n=len(circuit.groups),
            share=percent(circuit.coverage),
            answer=answer,
            before=percent(circuit.answer.probability),
            after=percent(circuit.without),
            random=percent(circuit.null.probability),
            alone=percent(circuit.alone),
        ),
        "",
        sep="\n",
        markup=False,
    )
    names = {group.id: group_text(group.named, language) for group in circuit.groups}
    columns = ("at", "features", "share", "without", "alone", "random")
    shown = table("", *(texts[name] for name in columns), title=texts["groups"])
    for group in circuit.groups:
        shown.add_row(
            Text(names[group.id]),
            Text(circuit.place_of(group)),
            str(len(group.members)),
            *(percent(value) for value in (group.share, group.without, group.alone, group.null.probability)),
        )
    console.print(shown, "")
    edges = table(
        *(texts[name] for name in ("from", "to", "value", "effect", "measured", "heads")), title=texts["edges"]
    )
    for edge in _listed(circuit):
        source = names.get(edge.source) or texts["word"].format(circuit.word_at(edge.source))
        target = names.get(edge.target) or texts["answer"].format(answer)
        edges.add_row(Text(source), Text(target), *_numbers(edge), Text(", ".join(edge.heads)))
    console.print(edges, "")
    console.print(texts["legend"], style="dim", markup=False)


def _print_rival(rival: Rival, language: Language) -> None:
    """Print which groups hold another token down, beside random features."""
    console, texts = Console(highlight=False), _TEXTS[language]
    console.print("", Text(rival.tell(language), style="bold"), "", sep="\n", soft_wrap=True)
    title = texts["rival"].format(said=rival.said, rival=rival.rival)
    shown = table("", texts["features"], texts["without"], texts["random"], f">{rival.rival}", title=title)
    for group in rival.groups:
        margins = (f"{group.margin:+.1f}", f"{group.random:+.1f}")
        shown.add_row(Text(group_text(group.named, language)), str(group.features), *margins, percent(group.rival))
    console.print(shown)


def _listed(circuit: Circuit) -> list[GroupEdge]:
    """The strongest edges into every group and into the answer."""
    targets = [*(group.id for group in circuit.groups if group.role not in ("against", "rest")), "answer"]
    edges = [edge for target in targets for edge in circuit.edges_into(target)[:_INTO]]
    return [edge for edge in edges if abs(edge.measured) >= _LEAST]


def _numbers(edge: GroupEdge) -> list[str]:
    effect = "–" if edge.effect is None else f"{edge.effect:+.2f}"
    return [f"{edge.value:+.2f}", effect, f"{edge.measured:+.0%}"]
