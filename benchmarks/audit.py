"""Audit graphs of prompts over the families of the small world, by the CLT and by the neurons, and looks of its heads.

make bench-audit
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import torch

import clew
from clew.intervention.agreement import agreement
from clew.intervention.audit import audit, audit_all
from clew.intervention.look_effects import measured_contrast, predicted_contrast
from clew.organism.prompts import listed_prompts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=50)
    parser.add_argument("--nodes", type=int, default=200)
    parser.add_argument("--skip", type=int, default=0, help="leave out so many prompts of the list")
    parser.add_argument("--looks", type=int, default=12, help="prompts whose heads' looks are tested")
    chosen = parser.parse_args()
    torch.set_num_threads(2)
    kit = clew.load("minnow")
    neurons = clew.Kit(kit.subject, clew.Dictionary.from_neurons(kit.subject))
    prompts = listed_prompts(chosen.skip + chosen.prompts)[chosen.skip :]

    graph = kit.trace("The capital of France is")
    audit(kit.subject, kit.dictionary, graph, nodes=20)
    began = time.perf_counter()
    one = audit(kit.subject, kit.dictionary, graph, nodes=chosen.nodes)
    print(f"one graph, {one.nodes} nodes, everything: {time.perf_counter() - began:.1f} s (bar: 20 s)\n")

    for name, own in (("CLT", kit), ("neurons", neurons)):
        began = time.perf_counter()
        graphs = (own.trace(prompt) for prompt in prompts)
        found = audit_all(own.subject, own.dictionary, graphs, nodes=chosen.nodes)
        print(f"{name}: {len(prompts)} prompts, {found.nodes:,} nodes, {time.perf_counter() - began:.0f} s")
        print(found.verdict)
        for key, line in found.lines.items():
            print(
                f"  {key:22} outputs {line.outputs.spearman} slope {line.outputs.slope.value:.2f} "
                f"sign {line.outputs.sign_errors.value:.0%}   features {line.features.spearman} "
                f"slope {line.features.slope.value:.2f} sign {line.features.sign_errors.value:.0%}"
            )
        if found.marks is not None:
            print(
                f"  marks of doubt: {found.marks.marked:.0%} of outputs, {found.marks.misses:.0%} miss, marked are "
                f"{found.marks.misses_held:.0%} of the misses and {found.marks.error_held:.0%} of the squared error"
            )
        for curve in found.curves:
            kept, gone = curve.faithfulness, curve.completeness
            print(
                f"  to {curve.ablation}, others {curve.kept}: faithfulness {kept.area:.3f} "
                f"(random {kept.random_area:.3f}), completeness {gone.area:.3f} (random {gone.random_area:.3f}), "
                f"CPR {curve.cpr:.3f} (random {curve.random_cpr:.3f}), CMD {curve.cmd:.3f} "
                f"(random {curve.random_cmd:.3f}); without errors: logit {curve.whole.logit:.2f} to "
                f"{curve.no_errors.logit:.2f}, top token stays {curve.no_errors.same_top:.0%}"
            )
        print(f"  replacement {found.scores.replacement:.3f}, completeness {found.scores.completeness:.3f}")
        for key, value in found.tokens.items():
            print(f"  tokens on targets, {key}: beside the neurons' exact graph {value.spearman}, {value.pairs} pairs")
        print()
    looks(kit, prompts[: chosen.looks])


def looks(kit: clew.Kit, prompts: Sequence[str], least: float = 0.5) -> None:
    """Every look of more than half a head's attention behind the first layer: all features before it are ablated."""
    found: dict[str, list[torch.Tensor]] = {"effects": [], "values": [], "measured": [], "look": []}
    for prompt in prompts:
        for layer, pattern in kit.subject.record(prompt).patterns().items():
            for head in (pattern[:, -1, 1:].max(-1).values > least).nonzero()[:, 0].tolist() if layer else []:
                graph = kit.looks(prompt, layer=layer, head=head)
                before = (graph.feature_keys[:, 0] < layer).nonzero()[:, 0].tolist()
                found["effects"].append(predicted_contrast(graph.effects, before))
                found["values"].append(predicted_contrast(graph, before))
                found["measured"].append(measured_contrast(kit.subject, kit.dictionary, graph, before))
                found["look"].append(torch.full((len(before),), len(found["look"])))
    columns = {name: torch.cat(parts).float() for name, parts in found.items()}
    print(f"looks: {len(found['look'])} scores, {len(columns['look']):,} ablations")
    for name in ("effects", "values"):
        holds = agreement(columns[name], columns["measured"], columns["look"].long())
        print(f"  {name:10} {holds.spearman} slope {holds.slope.value:.2f} sign {holds.sign_errors.value:.0%}")


if __name__ == "__main__":
    main()
