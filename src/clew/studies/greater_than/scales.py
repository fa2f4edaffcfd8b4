"""Single, joint and summed effects of the features at the start year, on one scale and with the same layers clamped.

The scale is the mean logit of later years less that of the others. With every layer's MLP output clamped (`through` the
last layer) an ablation acts as edges do: directly, through attention and norms alone.

1. *Edges* add up what the graph's values say; *attention* and *norm* are what is added when queries and keys, and norm
   scales, follow to first order (the parts of every edge); together they are the graph's *effects*. *predicted* has the
   features behind the edited layers follow, and the final norm exact (`Kit.predict`).
2. *joint* and *singles* are measured in the model: all ablated together, or each alone and added up.
3. What parts these two is found by holding one kind of step as it was recorded: *gates* (all MLP outputs clamped,
   through the last layer, not through the last edited one alone), *attention* (patterns), *norms*, the final one among
   them. With all three held the model is linear, and both are the sum of edges.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clew.attribution.contrast import Readout
from clew.attribution.graph import Graph
from clew.attribution.local_model import LocalModel
from clew.ids import FeatureId
from clew.intervention.clamp import Regime
from clew.intervention.edit import Edit
from clew.intervention.run import cases
from clew.kit import Kit
from clew.progress import Progress
from clew.studies.case import Steps
from clew.studies.greater_than.merged import MOST_FEATURES, Merged
from clew.studies.greater_than.prompts import YearPrompts, later_years

_FREE = {"patterns": False, "norms": False, "final_norm": False}
HELD: dict[str, tuple[bool, dict[str, bool]]] = {
    "nothing": (False, _FREE),
    "gates": (True, _FREE),
    "attention": (False, {**_FREE, "patterns": True}),
    "norms": (False, {"patterns": False, "norms": True, "final_norm": True}),
    "gates and attention": (True, {**_FREE, "patterns": True}),
    "gates and norms": (True, {"patterns": False, "norms": True, "final_norm": True}),
    "all": (True, {"patterns": True, "norms": True, "final_norm": True}),
}
"""What is held while joint and single ablations are measured: whether all MLP outputs are, and which other steps."""
STEPS = ("gates", "attention", "norms")
FIRST_ORDER = ("edges", "attention parts", "norm parts", "effects", "predicted")
COLUMNS = (*FIRST_ORDER, *(f"{how} {name}" for name in HELD for how in ("joint", "singles")), "deepest")


def scales(kit: Kit, asked: YearPrompts, merged: Merged, places: Sequence[int]) -> Steps:
    """By prompt the columns of COLUMNS; `deepest` is the last edited layer."""
    tested = {(merged.keys[node][0], merged.keys[node][2]) for node in merged.at_start}
    rows = []
    for done, place in enumerate(places):
        yield Progress(what="scales", done=done, of=len(places), unit="prompts")
        prompt, contrast = asked.prompts[place], later_years(asked, int(asked.judged[place]))
        graph = kit.trace(list(prompt.token_ids), targets=[contrast], effects=True, max_features=MOST_FEATURES)
        at = prompt.last("year")
        keys = graph.feature_keys.tolist()
        nodes = [n for n, (layer, place, index) in enumerate(keys) if place == at and (layer, index) in tested]
        if nodes:
            rows.append(_row(kit, graph, nodes, contrast.readout(kit.subject)))
    return {"rows": torch.stack(rows) if rows else torch.zeros(0, len(COLUMNS), dtype=torch.float64)}


def _row(kit: Kit, graph: Graph, nodes: Sequence[int], readout: Readout) -> Float[Tensor, " column"]:
    """One prompt's numbers."""
    parts, chosen = kit.parts(graph, graph.target_range[0]), torch.tensor(nodes)
    sums = {"attention": 0.0, "norm": 0.0}
    for name, part in parts.parts.items():
        sums["norm" if "norm" in name else "attention"] += float(part[chosen].sum())
    edits = [
        Edit.ablate(FeatureId(layer, index), positions=place)
        for layer, place, index in graph.feature_keys[chosen].tolist()
    ]
    edges, effects = float(parts.value[chosen].sum()), float(parts.effect[chosen].sum())
    numbers = [edges, sums["attention"], sums["norm"], effects, float(kit.predict(graph, edits).logits[0, 0])]
    deepest, last = int(graph.feature_keys[chosen, 0].max()), graph.n_layers - 1
    model, ids = LocalModel.of_graph(kit.subject, kit.dictionary, graph), torch.tensor(graph.token_ids)
    for clamped, kept in HELD.values():
        frozen, through = model.frozen_parts(**kept), last if clamped else deepest
        lost = _lost(kit, ids, graph.first_position, [edits, *([edit] for edit in edits)], through, frozen, readout)
        numbers += [float(lost[0]), float(lost[1:].sum())]
    return torch.tensor([*numbers, float(deepest)], dtype=torch.float64)


@torch.no_grad()
def _lost(
    kit: Kit,
    ids: Int[Tensor, " pos"],
    first: int,
    edits: Sequence[Sequence[Edit]],
    through: int,
    frozen: object,
    readout: Readout,
) -> Float[Tensor, " case"]:
    """What the contrast loses in every case, in the live model with some parts frozen."""
    lost, regime = torch.zeros(len(edits), dtype=torch.float64), Regime(frozen=frozen)  # type: ignore[arg-type]
    every = [through] * len(edits)
    for part in cases(kit.subject, kit.dictionary, ids, edits, through=every, regime=regime, first=first):
        read = readout.logit(kit.subject.unembed(part.run.final[:, -1])).double().cpu()
        lost[list(part.cases)] = read[0] - read[1:]
    return lost
