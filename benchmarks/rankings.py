"""Which ranking of a graph's features carries the answer soonest, and is missed most when its first features go?

Every ranking is measured on the same prompts in the model with its MLPs replaced, features recomputed and errors held
(see docs/audit.md): faithfulness and completeness over the logarithm of the number of features, CPR and CMD over its
share. Random orders stand beside them. A ranking is chosen on the first prompts, by the mean of faithfulness and
completeness; what it is worth is read on the others.

make bench-rankings
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping

import torch
from torch import Tensor

import clew
from clew.attribution.influence import start_of
from clew.attribution.rankings import RANKINGS, order_of, ranking
from clew.intervention.ablated_runs import Removed
from clew.intervention.curves import Scale, cmd, cpr, first_of, log_area, sizes_of
from clew.organism.prompts import listed_prompts
from clew.stats import mean_interval

DRAWS = 5
FIGURES = ("faithfulness", "completeness", "CPR", "CMD")
Rows = Mapping[str, list[list[float]]]
"""The four figures of every ranking, a row a prompt."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=24)
    parser.add_argument("--held-out", type=int, default=24, help="as many further prompts of the list")
    parser.add_argument("--neurons", action="store_true", help="graphs of the model's neurons in place of its CLT")
    parser.add_argument("--held", action="store_true", help="features that stay are held: direct effects alone")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    kit = clew.load("minnow")
    if chosen.neurons:
        kit = clew.Kit(kit.subject, clew.Dictionary.from_neurons(kit.subject))
    prompts = listed_prompts(chosen.prompts + chosen.held_out)
    parts = {"chosen on": prompts[: chosen.prompts], "held out": prompts[chosen.prompts :]}
    for name, part in parts.items():
        began = time.perf_counter()
        figures = [of_prompt(kit, prompt, recomputed=not chosen.held) for prompt in part]
        rows = {by: [each[by] for each in figures] for by in figures[0]}
        print(f"{name}: {len(part)} prompts, {time.perf_counter() - began:.0f} s")
        show(rows)


def of_prompt(kit: clew.Kit, prompt: str, *, recomputed: bool) -> dict[str, list[float]]:
    """The four figures of every ranking on one prompt."""
    graph = kit.trace(prompt, effects=True)
    scale = Scale(Removed(kit.subject, kit.dictionary, graph, recomputed=recomputed))
    orders = {by: ranking(graph, by) for by in RANKINGS}
    weights = start_of(graph)[graph.part("target")].double()
    orders["live gradient"] = order_of(kit.live_effects(graph) @ weights)
    orders["integrated"] = order_of(kit.integrated_gradients(graph)[graph.part("feature")])
    figures = {by: measured(scale, order) for by, order in orders.items()}
    generator = torch.Generator().manual_seed(0)
    drawn = [measured(scale, torch.randperm(graph.n_features, generator=generator)) for _ in range(DRAWS)]
    return figures | {"random": [sum(column) / DRAWS for column in zip(*drawn, strict=True)]}


def measured(scale: Scale, order: Tensor) -> list[float]:
    """Faithfulness, completeness, CPR and CMD of one order of the features."""
    sizes = sizes_of(len(order))
    first = first_of(order.tolist(), sizes)
    kept, gone = scale.of(torch.cat([~first, first])).view(2, -1).tolist()
    left = [1 - value for value in gone]
    return [log_area(sizes, kept), log_area(sizes, left), cpr(sizes, kept), cmd(sizes, kept)]


def show(rows: Rows) -> None:
    """A table of means, and of differences from influence on the same prompts."""
    for title, base in (("", None), ("less influence", rows["influence"])):
        print(f"  {title:24}" + "".join(f"{name:>24}" for name in FIGURES))
        for by, figures in rows.items():
            if base is figures:
                continue
            before = base or [[0.0] * len(FIGURES)] * len(figures)
            less = [[a - b for a, b in zip(*pair, strict=True)] for pair in zip(figures, before, strict=True)]
            cells = [mean_interval(column) for column in zip(*less, strict=True)]
            print(f"  {by:24}" + "".join(f"{cell!s:>24}" for cell in cells))


if __name__ == "__main__":
    main()
