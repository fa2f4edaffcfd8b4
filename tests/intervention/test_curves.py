"""Curves with features recomputed against a dense replacement model, CPR and CMD by hand, and what ranks best."""

import pytest
import torch
from torch import Tensor

import clew
from clew.attribution.graph import Graph
from clew.attribution.rankings import order_of, ranking
from clew.attribution.trace import trace
from clew.dictionary import Dictionary
from clew.intervention.ablated_runs import Removed
from clew.intervention.curves import Scale, cmd, cpr, curves, first_of, log_area, mean_curves, sizes_of
from clew.intervention.integrated import circuit_scores, integrated_gradients
from clew.organism.prompts import listed_prompts
from clew.subject.subject import Subject
from tests import models
from tests.frozen import Frozen, replacement
from tests.models import PROMPT

CASES = (("gpt2", "clt"), ("gpt2", "skip-plt"), ("llama", "skip-clt"), ("neox", "plt"), ("gemma2", "clt"))


class Dense:
    """The model with its MLPs replaced, attention and norms live, errors held, from the dictionary's tensors alone."""

    def __init__(self, subject: Subject, dictionary: Dictionary, graph: Graph) -> None:
        self.subject, self.dictionary, self.graph = subject, dictionary, graph
        self.frozen = Frozen(subject.model, list(PROMPT), dictionary.read_site, dictionary.write_site, live=True)
        self.whole = replacement(self.frozen, dictionary, 1)

    def measure(self, factors: Tensor, fixed: Tensor | None = None, errors: float = 1.0) -> float:
        """m where every feature of the graph is multiplied by a factor, or (where `fixed` is a number) is set to it."""
        activations: dict[int, Tensor] = {}

        def output(layer: int, read: Tensor) -> Tensor:
            tensors = self.dictionary.layers[layer]
            pre = read @ tensors.encoder.T + tensors.bias
            on = torch.where(pre > getattr(tensors.nonlinearity, "threshold", torch.zeros(())), pre, 0.0)
            factor, given = torch.zeros_like(on), torch.zeros_like(on)
            for place, (source, position, index) in enumerate(self.graph.feature_keys.tolist()):
                if source == layer:
                    factor[position, index] = factors[place]
                    if fixed is not None and not torch.isnan(fixed[place]):
                        factor[position, index], given[position, index] = 0.0, fixed[place]
            activations[layer] = on * factor + given
            out = tensors.decoder_bias + (read @ tensors.skip.T if tensors.skip is not None else 0)
            out = out + errors * self.whole.errors[layer]
            for source, written in self.dictionary.writes.items():
                if layer in written and source <= layer:
                    slot = written.index(layer)
                    out = out + activations[source] @ self.dictionary.layers[source].decoder[:, slot]
            return torch.cat([self.frozen.base.writes[layer][:1], out[1:]])

        with torch.no_grad():
            final = self.frozen.run(output).final[-1]
            logits = self.subject.model.get_output_embeddings()(final)
        weights = torch.tensor([target.weight for target in self.graph.targets], dtype=torch.float64)
        return float((logits - logits.mean())[[3, 17]] @ weights / weights.sum())


@pytest.fixture(params=CASES, ids="-".join)
def case(request: pytest.FixtureRequest) -> tuple[Subject, Dictionary, Graph]:
    architecture, kind = request.param
    subject = models.subject(architecture)
    dictionary = models.dictionary(kind, subject)
    return subject, dictionary, trace(subject, dictionary, PROMPT, targets=[3, 17])


def test_features_that_stay_are_recomputed_as_in_a_dense_replacement_model(case) -> None:
    subject, dictionary, graph = case
    dense = Dense(subject, dictionary, graph)
    generator = torch.Generator().manual_seed(0)
    removed = torch.rand(4, graph.n_features, generator=generator) < 0.3
    removed[2], removed[3] = False, True
    found, _ = Removed(subject, dictionary, graph, recomputed=True).run(removed)
    expected = torch.tensor([dense.measure((~row).double()) for row in removed], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)  # one of the two runs eager attention
    held, _ = Removed(subject, dictionary, graph).run(removed)
    assert float((held - found)[:2].abs().max()) > 1e-3
    if "skip" not in dictionary.name:  # without any feature nothing is left to recompute, but a skip connection
        torch.testing.assert_close(held[2:], found[2:], rtol=1e-6, atol=1e-6)


def test_means_and_errors_are_those_of_the_dense_model(case) -> None:
    subject, dictionary, graph = case
    dense = Dense(subject, dictionary, graph)
    removed = torch.arange(graph.n_features)[None] % 3 == 0
    means = {layer: torch.full((40,), 0.3, dtype=torch.float64) for layer in range(subject.n_layers)}
    fixed = torch.where(removed[0], 0.3, torch.nan)
    ones = torch.ones(graph.n_features)
    to_mean, _ = Removed(subject, dictionary, graph, means, recomputed=True).run(removed)
    assert float(to_mean) == pytest.approx(dense.measure(ones, fixed), rel=1e-6)
    without, _ = Removed(subject, dictionary, graph, recomputed=True).run(removed, errors=True)
    assert float(without) == pytest.approx(dense.measure((~removed[0]).double(), errors=0.0), rel=1e-6)


@pytest.mark.parametrize(("architecture", "kind"), CASES)
def test_contributions_are_mean_slopes_along_the_way_and_add_up(architecture: str, kind: str) -> None:
    subject = models.subject(architecture)
    dictionary = models.dictionary(kind, subject, threshold=None)  # a threshold would make m jump
    graph = trace(subject, dictionary, PROMPT, targets=[3, 17])
    dense, step = Dense(subject, dictionary, graph), 1e-3  # eager attention takes its softmax in float32
    half = torch.full((graph.n_features,), 0.5, dtype=torch.float64)
    found = integrated_gradients(subject, dictionary, graph, steps=1)
    for place in range(0, graph.n_features, max(1, graph.n_features // 6)):
        there = torch.eye(graph.n_features, dtype=torch.float64)[place] * step
        slope = (dense.measure(half + there) - dense.measure(half - there)) / (2 * step)
        assert float(found[place]) == pytest.approx(slope, rel=1e-2, abs=1e-4)
    assert not bool(found[graph.token_range.start :].any())
    whole = dense.measure(0 * half + 1) - dense.measure(0 * half)
    many = integrated_gradients(subject, dictionary, graph, steps=200)[graph.part("feature")]
    assert float(many.sum()) == pytest.approx(whole, abs=1e-3)


def test_an_errors_contribution_is_the_slope_of_all_of_it() -> None:
    subject = models.subject("gpt2")
    dictionary = models.dictionary("clt", subject, threshold=None)
    graph = trace(subject, dictionary, PROMPT, targets=[3, 17])
    dense, ones, step = Dense(subject, dictionary, graph), torch.full((graph.n_features,), 0.5), 1e-5
    found = integrated_gradients(subject, dictionary, graph, steps=1)[graph.part("error")]
    slope = (dense.measure(ones, errors=1 + step) - dense.measure(ones, errors=1 - step)) / (2 * step)
    assert float(found.sum()) == pytest.approx(slope, rel=1e-4)


def test_cpr_is_the_area_under_f_and_cmd_the_area_between_f_and_one() -> None:
    """f goes straight from 0 at none through 0.8 at 2 of 8 and 1.2 at 4 of 8 to 1 at all."""
    sizes, values = (2, 4, 8), (0.8, 1.2, 1.0)
    assert cpr(sizes, values) == pytest.approx(0.25 * 0.4 + 0.25 * 1.0 + 0.5 * 1.1)
    below_one, crossing, above_one = 0.25 * (1 + 0.2) / 2, 0.25 * 0.1, 0.5 * 0.1
    assert cmd(sizes, values) == pytest.approx(below_one + crossing + above_one)
    assert cpr((1,), (1.0,)) == cmd((1,), (1.0,)) == pytest.approx(0.5)
    assert log_area((1, 2, 4), (0.0, 0.5, 1.0)) == pytest.approx(0.5)


def test_curves_say_what_the_other_features_do_and_sum_up_their_own_faithfulness() -> None:
    subject = models.subject("gpt2")
    dictionary = models.dictionary("clt", subject)
    graph = trace(subject, dictionary, PROMPT, targets=[3, 17])
    order = ranking(graph, "influence").tolist()
    both = [curves(subject, dictionary, graph, order, recomputed=recomputed) for recomputed in (False, True)]
    assert [each.kept for each in both] == ["held", "recomputed"]
    for each in both:
        assert each.cpr == pytest.approx(cpr(each.faithfulness.sizes, each.faithfulness.values))
        assert each.random_cmd == pytest.approx(cmd(each.faithfulness.sizes, each.faithfulness.random))
        assert each.faithfulness.values[-1] == pytest.approx(1)
    assert both[0].faithfulness.values != pytest.approx(both[1].faithfulness.values)
    joined = mean_curves(both[1:] * 2)
    assert joined.cpr == pytest.approx(both[1].cpr)
    assert joined.kept == "recomputed"


def test_what_ranks_a_circuit_beats_influence_and_chance_on_prompts_it_was_not_chosen_on() -> None:
    kit, areas = clew.load("minnow"), {"circuit": 0.0, "influence": 0.0, "random": 0.0}
    prompts = listed_prompts(30)[24:]
    for prompt in prompts:
        graph = kit.trace(prompt)
        scale = Scale(Removed(kit.subject, kit.dictionary, graph, recomputed=True))
        scores = circuit_scores(kit.subject, kit.dictionary, graph)
        torch.testing.assert_close(scores, kit.integrated_gradients(graph))
        orders = {
            "circuit": order_of(scores[graph.part("feature")]),
            "influence": ranking(graph, "influence"),
            "random": torch.randperm(graph.n_features, generator=torch.Generator().manual_seed(0)),
        }
        sizes = sizes_of(graph.n_features)
        for name, order in orders.items():
            first = first_of(order.tolist(), sizes)
            kept, gone = scale.of(~first).tolist(), (1 - scale.of(first)).tolist()
            areas[name] += (log_area(sizes, kept) + log_area(sizes, gone)) / 2 / len(prompts)
    assert areas["circuit"] > areas["influence"] + 0.03
    assert areas["influence"] > areas["random"] + 0.3
