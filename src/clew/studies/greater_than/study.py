"""The study `greater-than`: by which features does a model say years later than the start year?

1. Prompts of every start year are answered; the difference and the sharpness stand beside those of exchanged years.
2. Graphs of many start years are merged, and the most influential features at or behind the start year are classed.
3. Features are ablated by place and by class, beside matched random features.
4. Single, joint and summed effects are compared on one scale.
5. The absent case judges every prompt by another start year than its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
from torch import Tensor

from clew.errors import InputError
from clew.kit import Kit
from clew.progress import Progress
from clew.stats import discovered
from clew.studies.case import Case
from clew.studies.case_findings import CaseFindings
from clew.studies.greater_than.ablation import ablations
from clew.studies.greater_than.claims import YearsMeasured, claims_of, random_mass
from clew.studies.greater_than.classes import CLASSES, Classes, classify
from clew.studies.greater_than.exhibits import (
    ablation_picture,
    ablation_table,
    class_table,
    feature_picture,
    feature_table,
    scale_table,
    year_picture,
)
from clew.studies.greater_than.merged import Merged, activation_by_start, merge
from clew.studies.greater_than.prompts import GreaterThanConfig, YearPrompts, ask, of_years
from clew.studies.greater_than.scales import scales
from clew.studies.kit_needs import lacking
from clew.studies.measuring import next_probabilities
from clew.studies.study import Study, with_settings

FALSE_DRAWS = 4
"""How often all features are classed with their start years exchanged."""
RANDOM_SETS = 20
"""Sets of random tokens beside the years."""


def measure(case: Case[GreaterThanConfig]) -> Iterator[Progress | CaseFindings]:
    """Measure one case; ends with its CaseFindings."""
    kit, config = case.kit, case.config
    asked = ask(kit, config)
    yield Progress(what="answers", done=0, of=1, unit="sets")
    probabilities = next_probabilities(kit, asked.ids)
    traced = asked.first_of_each(config.graphs)
    found = yield from case.part("merged", merge(kit, asked, traced, config.features))
    active = yield from case.part("activations", activation_by_start(kit, asked, found["keys"]))
    merged = _merged(asked, traced, found, active["activations"].numpy())
    yield Progress(what="classes", done=0, of=FALSE_DRAWS + 2, unit="tables")
    classes = _classes(merged, config)
    false_rates, planted = _chance(merged, config)
    some = np.arange(len(asked.prompts))[:: max(1, config.copies // 2)]
    sets = _sets(merged, classes)
    after = yield from case.part(
        "ablations", ablations(kit, asked, merged, some.tolist(), sets, config.draws, config.seed)
    )
    few = asked.first_of_each(config.scales)
    on_scale = yield from case.part("scales", scales(kit, asked, merged, few))
    names = [key.removesuffix("/years") for key in after if key.endswith("/years")]
    measured = YearsMeasured(
        config=config,
        asked=asked,
        years=of_years(probabilities, asked.years),
        other_mass=random_mass(probabilities, len(asked.years), RANDOM_SETS, config.seed),
        merged=merged,
        classes=classes,
        false_rates=false_rates,
        planted=planted,
        ablated_places=some,
        ablated={name: after[f"{name}/years"].double().numpy() for name in [*sets, *sorted({*names} - {*sets})]},
        sizes={name: tuple(after[f"{name}/size"].tolist()) for name in names},
        scales=on_scale["rows"].numpy(),
    )
    yield CaseFindings(
        claims=claims_of(measured),
        tables={
            "classes": class_table(measured),
            "ablations": ablation_table(measured),
            "scales": scale_table(measured),
            "features": feature_table(measured, kit),
        },
        figures={
            "features": feature_picture(measured),
            "years": year_picture(measured),
            "ablations": ablation_picture(measured),
        },
    )


def _merged(asked: YearPrompts, traced: list[int], found: Mapping[str, Tensor], active: np.ndarray) -> Merged:
    """The merged graph, its start years those by which prompts are judged, in rising order."""
    places = asked.prompts[0].places
    starts, own = asked.judged[traced], np.unique(asked.starts)
    judged = dict(zip(asked.starts.tolist(), asked.judged.tolist(), strict=True))
    every = np.array([judged[int(start)] for start in own], dtype=np.int64)
    order, order_all = np.argsort(starts), np.argsort(every)
    return Merged(
        keys=tuple((layer, places[place], feature) for layer, place, feature in found["keys"].tolist()),
        influence=found["influence"].numpy(),
        n_early=int(found["n_early"][0]),
        replacement=float(found["replacement"][0]),
        starts=starts[order],
        effects=found["effects"].numpy()[:, order],
        all_starts=every[order_all],
        activations=active[:, order_all],
    )


def _classes(merged: Merged, config: GreaterThanConfig, seed: int = 0) -> Classes:
    return classify(
        merged.activations,
        merged.all_starts,
        merged.effects,
        merged.starts,
        permutations=config.permutations,
        seed=config.seed + seed,
    )


def _chance(merged: Merged, config: GreaterThanConfig) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The share with a class when start years are exchanged, and where parity or multiples are planted."""
    rng, false = np.random.default_rng(config.seed + 1), []
    n = len(merged.keys)
    for draw in range(FALSE_DRAWS):
        activations, effects = merged.activations.copy(), merged.effects.copy()
        for node in range(n):
            activations[node] = activations[node, rng.permutation(activations.shape[1])]
            effects[node] = effects[node, rng.permutation(effects.shape[1])]
        classes = _classes(replace(merged, activations=activations, effects=effects), config, seed=draw)
        false.append(sum(name != "other" for name in classes.names) / max(n, 1))
    planted = []
    for which, name in (
        ((merged.all_starts % 2) == 0, "parity or contrast"),
        (merged.all_starts % 10 == 0, "multiples"),
    ):
        doubled = merged.activations + merged.activations.mean(1, keepdims=True) * which
        classes = _classes(replace(merged, activations=doubled), config, seed=FALSE_DRAWS)
        key = "parity" if name == "parity or contrast" else "multiples"
        planted.append(float(discovered(classes.p[key]).mean()))
    return tuple(false), tuple(planted)


def _sets(merged: Merged, classes: Classes) -> dict[str, list[int]]:
    """What is ablated: the features at the start year, all of them, and those of every class."""
    sets = {"at start": merged.at_start, "all": [*range(len(merged.keys))]}
    sets |= {name: classes.of(name) for name in CLASSES if classes.of(name)}
    return {name: nodes for name, nodes in sets.items() if nodes}


def needs(kit: Kit, config: GreaterThanConfig) -> str:
    """What the kit lacks."""
    if nothing := lacking(kit):
        return nothing
    try:
        ask(kit, config)
    except InputError as error:
        return str(error)
    return ""


GREATER_THAN = Study(
    name="greater-than",
    question="By which features does a model say years that are later than the start year?",
    source="Hanna et al. 2023, How does GPT-2 compute greater-than?; its replication with cross-layer transcoders",
    config=GreaterThanConfig,
    needs=needs,
    measure=measure,
    absent=with_settings(
        "Every prompt is judged by another start year than its own, the same for all prompts of one start year: "
        "answers, graphs and ablations are the same, and nothing can follow the start year.",
        dealt=True,
    ),
    reduced=lambda config: replace(
        config,
        copies=min(config.copies, 2),
        graphs=min(config.graphs, 17),
        permutations=min(config.permutations, 1000),
        draws=2,
        scales=min(config.scales, 4),
    ),
)
