"""Tables of the study `development`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from clew.studies.case_findings import Table
from clew.studies.development.changes import change_place, onset
from clew.studies.development.lessons import Lessons
from clew.studies.development.measures import NAMES, DevelopmentMeasures
from clew.studies.development.one_prompt import prompt_of
from clew.studies.development.snapshots import LAYERS, group_names

HEADS_A_LAYER = 4


def tables_of(measured: DevelopmentMeasures, lessons: Lessons) -> Mapping[str, Table]:
    """All tables."""
    return {
        "onsets": _onsets(measured),
        "curves": _curves(measured),
        "groups": _groups(measured, lessons),
        "coefficient": _coefficient(measured),
        "prompt": _prompt(measured, lessons),
        "toys": _toys(measured),
    }


def head_names() -> list[str]:
    """The heads of the models, as `L0H2`."""
    return [f"L{layer}H{head}" for layer in range(LAYERS) for head in range(HEADS_A_LAYER)]


def _seeds(measured: DevelopmentMeasures) -> range:
    return range(measured.config.seed, measured.config.seed + len(measured.models))


def _onsets(measured: DevelopmentMeasures) -> Table:
    curves, steps = measured.strength.mean(3), measured.config.snapshot_steps
    by_gain = measured.onsets_of(measured.gain)
    rows = []
    for model, seed in enumerate(_seeds(measured)):
        order = np.argsort(np.nan_to_num(measured.onsets[model], nan=np.inf), kind="stable").tolist()
        for family, name in enumerate(NAMES):
            rises = np.isfinite(measured.onsets[model, family])
            numbers = measured.onsets[model, family], by_gain[model, family]
            place = order.index(family) + 1 if rises else None
            breaks = steps[change_place(curves[model, :, family])] if rises else None
            rows.append((seed, name, place, *map(_whole, numbers), breaks, float(curves[model, -1, family])))
    return Table.of_rows(
        "When circuits appear",
        [
            "seed",
            "family",
            "place",
            "circuit's onset",
            "gain's onset",
            "behind its change point",
            "strength at the end",
        ],
        rows,
        "Steps. The onset is where a curve passes half of its last value for good; empty for one that ends below .1.",
    )


def _whole(number: float) -> int | None:
    return round(float(number)) if np.isfinite(number) else None


def _curves(measured: DevelopmentMeasures) -> Table:
    rows: list[tuple[Any, ...]] = []
    for model, seed in enumerate(_seeds(measured)):
        for place, step in enumerate(measured.config.snapshot_steps):
            for family, name in enumerate(NAMES):
                numbers = [each[model, place, family] for each in (measured.loss, measured.accuracy, measured.gain)]
                own = measured.strength[model, place, family].mean()
                random = measured.random[model, place, family].mean()
                rows.append((seed, step, name, *map(float, (*numbers, own, random))))
    return Table.of_rows(
        "Families by step",
        ["seed", "step", "family", "loss", "accuracy", "gain", "strength of circuits", "strength of random sets"],
        rows,
        "Loss in nats. The gain is how much likelier the right answer is behind its own prompt than behind others.",
    )


def _groups(measured: DevelopmentMeasures, lessons: Lessons) -> Table:
    rows = []
    for seed, numbers in zip(_seeds(measured), measured.models, strict=True):
        curves = numbers["groups"].double().numpy()
        for place, (name, stage) in enumerate(group_names(numbers)):
            family, prompt = divmod(int(numbers["circuit"][place]), measured.config.prompts)
            text = lessons.questions(NAMES[family], measured.config.questions)[prompt].text
            first = _whole(onset(curves[:, place], measured.config.snapshot_steps))
            neurons = int(numbers["size"][place])
            rows.append((seed, NAMES[family], text, name, stage, neurons, float(curves[-1, place]), first))
    return Table.of_rows(
        "Groups of the circuits",
        ["seed", "family", "prompt", "group", "stage", "neurons", "strength at the end", "onset"],
        rows,
        "Strength: the gain that goes with the group alone. Groups stand in for one another: alone they take little.",
    )


def _coefficient(measured: DevelopmentMeasures) -> Table:
    rows = []
    for model, seed in enumerate(_seeds(measured)):
        for place, step in enumerate(measured.config.snapshot_steps):
            chains = measured.models[model]["llc"][place]
            induction = measured.induction[model, place].tolist()
            rows.append(
                (seed, step, float(chains.mean()), float(chains.std()), float(measured.total[model, place]), *induction)
            )
    return Table.of_rows(
        "Learning coefficient and induction score",
        [
            "seed", "step", "coefficient", "deviation of its chains", "mean strength of circuits", "induction score",
            "in lists resumed anywhere", "attention spread evenly",
        ],
        rows,
    )  # fmt: skip


def _prompt(measured: DevelopmentMeasures, lessons: Lessons) -> Table:
    numbers = measured.prompt
    names = ("groups", "members", "probability", "without", "shared")
    rows = [
        (step, *(float(numbers[name][place]) for name in names), *map(float, numbers["loadings"][place]))
        for place, step in enumerate(measured.config.snapshot_steps)
    ]
    return Table.of_rows(
        f"The circuit of {prompt_of(lessons).text!r} at every snapshot",
        ["step", "groups", "members", "answer", "without the circuit", "members shared with the last", *head_names()],
        rows,
        "Of each head: the share of the edges from the deciding token into five influential neurons at the last.",
    )


def _toys(measured: DevelopmentMeasures) -> Table:
    toys = measured.toys
    rows = [
        (toy, step, *(float(toys[name][place, toy]) for name in ("loss", "corners", "llc")))
        for toy in range(measured.config.toys)
        for place, step in enumerate(measured.config.toy_snapshot_steps)
    ]
    return Table.of_rows("Toy models of superposition", ["toy", "step", "loss", "corners", "coefficient"], rows)
