"""What is said of the years when features are ablated, beside matched random features of the same layers and place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from clew.intervention.edit import Edit
from clew.kit import Kit
from clew.studies.case import Steps
from clew.studies.greater_than.merged import Merged
from clew.studies.greater_than.prompts import YearPrompts
from clew.studies.measuring import Measuring, read_answers
from clew.studies.swaps import Swap, read_features


def _years(kit: Kit, asked: YearPrompts, cases: Sequence[tuple[int, list[Edit]]], what: str) -> Measuring:
    """The probabilities of all years in every case, a prompt by number with its edits."""
    of_prompts = [(asked.prompts[place].token_ids, edits) for place, edits in cases]
    return read_answers(kit, of_prompts, lambda _, said: said.probabilities[asked.years], what=what)


def ablations(
    kit: Kit,
    asked: YearPrompts,
    merged: Merged,
    places: Sequence[int],
    sets: Mapping[str, Sequence[int]],
    draws: int,
    seed: int,
) -> Steps:
    """Years by the name of the set that is ablated; `at start` has matched random sets, `at start.null.N`.

    By layer, these and every feature that is active at the start year's token: with fewer layers edited, fewer are
    clamped.
    """
    found: dict[str, Tensor] = {}
    for name, nodes in sets.items():
        cases = [(place, _edits(merged, nodes, asked, place)) for place in places]
        found[f"{name}/years"] = yield from _years(kit, asked, cases, f"ablations ({name})")
        starts = np.searchsorted(merged.all_starts, asked.judged[list(places)])
        count = float((merged.activations[list(nodes)][:, starts] > 0).sum(0).mean())
        found[f"{name}/size"] = torch.tensor([len(nodes), count, 1.0])
    generator, swaps = torch.Generator().manual_seed(seed), []
    columns, [rows] = read_features(kit, [[asked.prompts[place] for place in places]], "year")
    chosen_ids = {merged.feature(node) for node in merged.at_start}
    chosen = torch.tensor([feature in chosen_ids for feature in columns.ids], dtype=torch.bool)
    for place, own in zip(places, rows, strict=True):
        prompt = asked.prompts[place]
        zeros = torch.zeros_like(own)
        swaps.append(Swap(prompt=prompt, position=prompt.last("year"), own=own, other=zeros, chosen=chosen))
    for layer in sorted({feature.layer for feature in chosen_ids}):
        upto = columns.layer <= layer
        for name, mask in (("at start", chosen & upto), ("everything at start", upto)):
            cases = [(p, replace(swap, chosen=mask).edits(columns)) for p, swap in zip(places, swaps, strict=True)]
            name = f"{name}, layers to {layer}"
            found[f"{name}/years"] = yield from _years(kit, asked, cases, "ablations by layer")
            active = float(np.mean([len(edits) for _, edits in cases]))
            found[f"{name}/size"] = torch.tensor([int(mask.sum()), active, 1.0])
    first = min((feature.layer for feature in chosen_ids), default=0)
    for tested, mask in (("at start", chosen), (f"at start, layers to {first}", chosen & (columns.layer == first))):
        for draw in range(draws):
            drawn = [replace(swap, chosen=mask).matched(columns, generator, ablate=True) for swap in swaps]
            cases = [(place, edits) for place, (edits, _) in zip(places, drawn, strict=True)]
            name = f"{tested}.null.{draw}"
            found[f"{name}/years"] = yield from _years(kit, asked, cases, "ablations (null)")
            active, share = np.mean([(len(edits), moved) for edits, moved in drawn], axis=0).tolist()
            found[f"{name}/size"] = torch.tensor([int(mask.sum()), active, share])
    return found


def _edits(merged: Merged, nodes: Sequence[int], asked: YearPrompts, place: int) -> list[Edit]:
    """Each feature ablated at its own place."""
    prompt = asked.prompts[place]
    return [
        Edit.ablate(merged.feature(node), positions=prompt.places.index(merged.keys[node][1]))
        for node in nodes
    ]  # fmt: skip
