"""SmolLM2 by its neurons: what a graph costs, whether it adds up, and how far its predictions hold.

make bench-smollm2

1. CPU seconds and memory of a 12-token trace with 512 and 4,096 neurons, values alone and with effects.
2. How far the rows are from adding up, and total effects from the live model's own derivative.
3. Twenty prompts of common knowledge, four of them as a chat: single neurons are ablated live, half of them the most
   influential, half drawn among those with rows, and compared with what graphs predict, by values and by effects.
"""

from __future__ import annotations

import argparse
import resource

import torch

import clew
from clew.attribution.graph import Graph
from clew.attribution.local_model import LocalModel
from clew.attribution.rankings import ranking
from clew.intervention.ablation_effects import measured, predicted, with_exact_readout
from clew.intervention.agreement import agreement

TWELVE = "The Eiffel Tower stands in the French city of Paris,"
PROMPTS = (
    "The capital of France is",
    "The capital of Japan is the city of",
    "The opposite of hot is",
    "The opposite of large is",
    "The sun rises in the east and sets in the",
    "The chemical symbol for gold is",
    "One, two, three, four,",
    "Monday, Tuesday, Wednesday,",
    "The largest ocean on Earth is the",
    "Romeo and Juliet was written by William",
    "Water turns into ice when it is",
    "A baby dog is called a",
    "The currency of Japan is the",
    "Bees make",
    "The author of Hamlet is William",
    "She opened the door and walked into the",
)
CHATS = (
    "What is the capital of Italy?",
    "Name the planet closest to the Sun.",
    "What colour is the sky?",
    "How many days are in a week?",
)


def cpu() -> float:
    """Seconds of all threads so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def cost(kit: clew.Kit) -> None:
    print(f"{len(kit.subject.encode(TWELVE))} tokens")
    for count in (512, 4096):
        for effects in (False, True):
            began = cpu()
            graph = kit.trace(TWELVE, max_features=count, effects=effects)
            print(f"  {count:5} neurons{', effects too' if effects else '':13} {cpu() - began:5.1f} CPU s", end="")
            if effects:
                sources = list(range(0, graph.n_features, graph.n_features // 64))
                total = predicted(graph.effects, sources, graph.feature_keys[sources, 0].tolist())
                live = kit.live_effects(graph)[sources]
                off = float((total[list(graph.target_range)].T - live).abs().max())
                print(f"   total effects off the live derivative by {off:.1e} of {float(live.abs().max()):.2f}")
            else:
                gap = (graph.rows.sum(1) + graph.row_offsets.sum(1) - graph.values).abs().max()
                print(f"   rows off their sums by {float(gap):.1e}; {graph.scores()}")


def columns_of(kit: clew.Kit, graph: Graph, nodes: int) -> dict[str, torch.Tensor]:
    """Of every ablated neuron and what it can reach: by values, by effects, with the final norm exact, measured."""
    order = ranking(graph, "influence")
    drawn = order[nodes // 2 :][torch.randperm(len(order) - nodes // 2, generator=torch.Generator().manual_seed(0))]
    sources = [*order[: nodes // 2].tolist(), *drawn[: nodes - nodes // 2].tolist()]
    through, targets = graph.feature_keys[sources, 0].tolist(), list(graph.target_range)
    model = LocalModel.of_graph(kit.subject, kit.dictionary, graph)
    found = {
        "values": predicted(graph, sources, through),
        "effects": predicted(graph.effects, sources, through),
        "exact": with_exact_readout(model, graph, sources, through),
        "measured": measured(kit.subject, kit.dictionary, graph, sources, through),
    }
    table = {}
    for what, nodes_reached in (("", targets), (" features", list(graph.feature_range))):
        reaches = ~torch.isnan(found["measured"][nodes_reached])
        table |= {name + what: effects[nodes_reached][reaches] for name, effects in found.items()}
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=100)
    parser.add_argument("--rows", type=int, default=1024)
    parser.add_argument("--no-cost", action="store_true")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    kit = clew.load("smollm2")
    if not chosen.no_cost:
        cost(kit)
    tables: list[dict[str, torch.Tensor]] = []
    prompts = [*PROMPTS, *([{"role": "user", "content": text}] for text in CHATS)]
    for prompt in prompts:
        graph = kit.trace(prompt, max_features=chosen.rows, effects=True)
        table = columns_of(kit, graph, chosen.nodes)
        said = f"{graph.tokens[-1]!r} then {graph.targets[0].label!r} {graph.next_tokens[0][1]:.2f}"
        line = f"  {str(prompt)[:44]:44} {said:24}"
        for name in ("values", "effects", "exact"):
            holds = agreement(table[name].float(), table["measured"].float(), torch.arange(len(table[name])))
            line += f" {name} {holds.spearman.value:.2f} ({holds.slope.value:.2f})"
        print(line, flush=True)
        tables.append(table)
    for what in ("", " features"):
        for name in ("values", "effects", "exact"):
            pairs = [(table[name + what], table["measured" + what]) for table in tables]
            groups = torch.cat([torch.full((len(a),), i) for i, (a, _) in enumerate(pairs)])
            ours, real = (torch.cat(side).float() for side in zip(*pairs, strict=True))
            holds = agreement(ours, real, groups)
            print(
                f"{name + what:16} Spearman {holds.spearman} slope {holds.slope.value:.2f} "
                f"sign wrong for {holds.sign_errors.value:.1%}; {holds.pairs:,} pairs"
            )


if __name__ == "__main__":
    main()
