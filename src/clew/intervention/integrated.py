"""What each node contributed to the targets, by the model and not by its derivative at one point alone.

Every feature of the graph is multiplied by one factor that goes from 0 to 1, features recomputed, errors held,
attention and norms live (see `clew.intervention.ablated_runs`). A feature's contribution is the mean slope along that
way of the targets' logits in the feature's own factor: integrated gradients (Sundararajan et al. 2017). Contributions
of all features add up to m(all) - m(none), what the graph's features together do to the targets, but for what features
with a threshold do as they switch on, which has no slope.
"""

from __future__ import annotations

from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from clew.attribution.graph import Graph
from clew.dictionary.dictionary import Dictionary
from clew.intervention.ablated_runs import Removed
from clew.intervention.run import read_sites
from clew.subject.recording import SiteAt
from clew.subject.subject import Change, Seen, Subject

STEPS = 8


def circuit_scores(subject: Subject, dictionary: Dictionary, graph: Graph) -> Float[Tensor, " node"]:
    """What the nodes of a circuit are ranked by: of all rankings the best at both faithfulness and completeness with
    features recomputed, on prompts that it was not chosen on (benchmarks/README.md, `make bench-rankings`).
    """
    return integrated_gradients(subject, dictionary, graph)


def integrated_gradients(
    subject: Subject, dictionary: Dictionary, graph: Graph, *, steps: int = STEPS
) -> Float[Tensor, " node"]:
    """The contribution of every feature to the targets' mean centred logit, weighted as in the graph; of an error, the
    mean slope along the same way. 0 for tokens and targets. Midpoints of equal steps; one reverse pass for all.

    MismatchError for a graph of another Dictionary or model; InputError for a target that the graph does not keep.
    """
    runs = Removed(subject, dictionary, graph, recomputed=True)
    path = _Path(runs, steps)
    change: dict[SiteAt, Change] = {
        (dictionary.write_site, layer): partial(path.output, layer) for layer in range(subject.n_layers)
    }
    with torch.enable_grad():
        tokens = runs.ids[None].expand(steps + 1, -1)  # row 0 is the run as it was
        final = subject.run(tokens, change=change, reads=read_sites(dictionary)).final
        slopes = torch.autograd.grad(runs.measure(final)[1:].sum(), [path.features, path.errors])
    contributions = torch.zeros(graph.n_nodes, dtype=torch.float64)
    for part, slope in zip((graph.part("feature"), graph.part("error")), slopes, strict=True):
        contributions[part] = slope.mean(0).double().cpu()
    return contributions


class _Path:
    """Some points on the way from no feature to all: what each adds to every MLP output, so that gradients flow."""

    def __init__(self, runs: Removed, steps: int) -> None:
        self.runs, self.steps = runs, steps
        like = runs.activations
        share = (torch.arange(steps, dtype=like.dtype, device=like.device) + 0.5) / steps
        self.features = share[:, None].repeat(1, len(runs.keys)).requires_grad_(True)
        self.errors = like.new_ones(steps, runs.graph.n_errors).requires_grad_(True)
        self.error_keys = runs.graph.error_keys.to(like.device)
        self.shifts: dict[int, Tensor] = {}
        self.waiting = sorted(runs.dictionary.layers)

    def output(self, layer: int, real: Tensor, seen: Seen) -> Tensor:
        """The MLP output of a layer: in row 0 as it is, at every point with what its factors change."""
        while self.waiting and self.runs.is_read(self.waiting[0], layer):
            self._write(self.waiting.pop(0), seen)
        errors = (self.error_keys[:, 0] == layer).nonzero()[:, 0]
        position = self.error_keys[errors, 1]
        missed = self.runs.errors[layer].to(self.errors)[position]
        self._add(layer, position, (self.errors[:, errors] - 1)[:, :, None] * missed)
        return torch.cat([real[:1], real[:1] + self.shifts.pop(layer).to(real)])

    def _write(self, layer: int, seen: Seen) -> None:
        runs, dictionary = self.runs, self.runs.dictionary
        nodes = (runs.keys[:, 0] == layer).nonzero()[:, 0]
        _, position, index = runs.keys[nodes].T
        x = seen(dictionary.read_site, layer)
        activations = runs.activations_on(layer, x, nodes)
        moved = activations[1:] * self.features[:, nodes] - activations[:1]
        decoders = dictionary.decoder_rows(layer, index).to(moved)
        for slot, out in enumerate(dictionary.written_layers(layer)):
            self._add(out, position, moved[:, :, None] * decoders[:, slot])
        skip = dictionary.layers[layer].skip
        if skip is not None:
            every = torch.arange(len(runs.ids), device=position.device)
            self._add(layer, every, (x[1:] - x[:1]).to(moved) @ skip.to(moved).T)

    def _add(self, layer: int, position: Tensor, part: Float[Tensor, "step node d_model"]) -> None:
        empty = part.new_zeros(self.steps, len(self.runs.ids), part.shape[2])
        self.shifts[layer] = self.shifts.get(layer, empty).index_add(1, position, part)
