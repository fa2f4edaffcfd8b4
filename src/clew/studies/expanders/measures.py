"""What the study `expanders` measures, as tensors by name: graphs, formulas, and the circuits of a kit."""

from __future__ import annotations

import numpy as np
import torch

from clew.attribution.expanders import random_regular
from clew.attribution.robustness import Skeleton, skeleton
from clew.kit import Kit
from clew.progress import Progress
from clew.studies.case import Steps
from clew.studies.expanders.config import ExpandersConfig
from clew.studies.expanders.families import (
    Adjacency,
    Family,
    bottleneck,
    falls_apart,
    ladder,
    local,
    random_tree,
    regular,
    spread,
    uneven,
)
from clew.studies.expanders.tseitin import conflicts, tseitin

SOLVED_DEGREE = 4
"""Of the graphs on which formulas stand: the least at which random ones are good expanders."""
MEASURED = ("eigenvalue", "mixing", "epidemic")


def tested_family(config: ExpandersConfig) -> Family:
    """Random regular graphs, or in the absent case local ones."""
    return local if config.local else regular


def measured_graphs(config: ExpandersConfig) -> Steps:
    """`tested` and `local`, `[graph, measure]`, of graphs with one degree."""
    found: dict[str, torch.Tensor] = {}
    for name, family, seed in (("tested", tested_family(config), 0), ("local", local, 10_000)):
        rows = []
        for draw in range(config.graphs):
            yield Progress(what=f"{name} graphs", done=draw, of=config.graphs, unit="graphs")
            adjacency = family(config.nodes, config.degree, config.seed + seed + draw)
            of = spread(adjacency, chance=config.chance, outbreaks=config.outbreaks, seed=config.seed + draw)
            rows.append([getattr(of, measure) for measure in MEASURED])
        found[name] = torch.tensor(rows, dtype=torch.float64)
    return found


def measured_deletions(config: ExpandersConfig) -> Steps:
    """How often graphs fall apart, `[share deleted, graph]`: `tested`, and `uneven` with as many edges."""
    found: dict[str, torch.Tensor] = {}
    for name, family in (("tested", tested_family(config)), ("uneven", uneven)):
        rows = []
        for done, deleted in enumerate(config.deletions):
            yield Progress(what=f"deletions ({name})", done=done, of=len(config.deletions), unit="shares")
            rng = np.random.default_rng([config.seed, done])
            graphs = [family(config.nodes, config.degree, config.seed + draw) for draw in range(config.graphs)]
            rows.append(
                [np.mean([falls_apart(each, deleted, rng) for _ in range(config.deletion_draws)]) for each in graphs]
            )
        found[name] = torch.tensor(np.array(rows), dtype=torch.float64)
    return found


def measured_formulas(config: ExpandersConfig) -> Steps:
    """Conflicts until a formula is refuted, `[size, draw]`: on the graphs under `tested`, and on ladders."""
    found: dict[str, torch.Tensor] = {}
    for name in ("tested", "ladder"):
        rows = []
        for size in config.sizes:
            row = []
            for draw in range(config.formulas):
                yield Progress(what=f"formulas of {size} nodes", done=draw, of=config.formulas, unit="formulas")
                rung = name == "ladder" or config.local
                graph = ladder(size, 3, 0) if rung else regular(size, SOLVED_DEGREE, config.seed + draw)
                # Another odd node and other names of the nodes: ladders are otherwise all the same formula.
                order = np.random.default_rng([config.seed, draw, name == "ladder"]).permutation(size)
                row.append(conflicts(tseitin(graph[np.ix_(order, order)], odd=draw % size)))
            rows.append(row)
        found[name] = torch.tensor(rows, dtype=torch.float64)
    return found


def measured_circuits(kit: Kit, config: ExpandersConfig) -> Steps:
    """Bottlenecks of circuits, `[prompt]`, of random trees and regular graphs as large, `[prompt, draw]`, and sizes."""
    texts = config.traced
    own, trees, expanders, sizes = [], [], [], []
    for done, text in enumerate(texts):
        yield Progress(what="circuits", done=done, of=len(texts), unit="prompts")
        found = skeleton(kit.trace(text).prune())
        n, degree = len(found.edges), found.degree
        own.append(bottleneck(strongest_tree(found) if config.local else found.edges))
        draws = range(config.seed, config.seed + config.comparisons)
        trees.append([bottleneck(random_tree(n, seed)) for seed in draws])
        expanders.append([bottleneck(random_regular(n, degree, seed=seed)) for seed in draws])
        sizes.append([n, int(found.edges.sum()) // 2, degree])
    columns = {"own": own, "trees": trees, "expanders": expanders, "sizes": sizes}
    return {name: torch.tensor(rows, dtype=torch.float64) for name, rows in columns.items()}


def strongest_tree(found: Skeleton) -> Adjacency:
    """The spanning tree of a circuit whose edges carry the most influence (Kruskal 1956)."""
    import networkx

    tree = networkx.maximum_spanning_tree(networkx.from_numpy_array(found.weights))
    return np.asarray(networkx.to_numpy_array(tree, nodelist=range(len(found.weights)), weight=None), dtype=bool)
