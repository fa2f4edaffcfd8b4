"""An audit: its predictions are the graph's, its measurements the model's, and its figures what they say."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from clew import files
from clew.attribution.graph import Graph
from clew.attribution.local_model import LocalModel
from clew.attribution.prediction import predict_removal
from clew.attribution.rankings import ranking
from clew.attribution.targets import target_directions
from clew.attribution.trace import trace
from clew.dictionary import Dictionary
from clew.errors import FileError, InputError, MismatchError
from clew.intervention.ablated_runs import Removed
from clew.intervention.ablation_effects import measured, predicted, shuffled, with_exact_readout
from clew.intervention.agreement import agreement
from clew.intervention.audit import Audit, audit, audit_all
from clew.intervention.audit_figure import _scatter
from clew.intervention.clamp import Regime
from clew.intervention.curves import curves
from clew.intervention.edit import Edit
from clew.intervention.matched_sets import NEAREST, matched_pairs, matched_set, matched_sets
from clew.intervention.measurements import STEPS, AuditSettings, beside_neurons, examine, reaches
from clew.intervention.run import effect
from clew.progress import Progress
from clew.subject.frozen import freeze
from clew.subject.subject import Subject
from tests import models
from tests.models import DISTINCT, PROMPT

EXACT = {"rtol": 1e-8, "atol": 1e-9}


@pytest.fixture(scope="module")
def subject() -> Subject:
    return models.subject("gpt2")


@pytest.fixture(scope="module")
def dictionary(subject: Subject) -> Dictionary:
    return models.dictionary("clt", subject)


@pytest.fixture(scope="module")
def graph(subject: Subject, dictionary: Dictionary) -> Graph:
    return trace(subject, dictionary, PROMPT, targets=[3, 17])


@pytest.fixture(scope="module")
def audited(subject: Subject, dictionary: Dictionary, graph: Graph) -> Audit:
    return audit(subject, dictionary, graph, nodes=30)


# --- agreement --------------------------------------------------------------------------------------------------


def rank(values: np.ndarray) -> np.ndarray:
    """Ranks by counting: smaller ones, plus half of the equal ones."""
    return np.array([(values < v).sum() + ((values == v).sum() - 1) / 2 for v in values])


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(-4, 4), st.integers(-4, 4), st.integers(0, 3)), min_size=3, max_size=30))
def test_rank_correlation_slope_and_signs_are_what_counting_gives(rows: list[tuple[int, int, int]]) -> None:
    p, m, cluster = (torch.tensor(column) for column in zip(*rows, strict=True))
    found = agreement(p.double(), m.double(), cluster)
    x, y = rank(p.numpy()), rank(m.numpy())
    if x.std() > 0 and y.std() > 0:
        assert found.spearman.value == pytest.approx(float(np.corrcoef(x, y)[0, 1]))
    else:
        assert math.isnan(found.spearman.value)
    if p.any():
        assert found.slope.value == pytest.approx(float((p * m).sum() / (p * p).sum()))
    if m.any():
        wrong = float(m.abs()[torch.sign(p) != torch.sign(m)].sum() / m.abs().sum())
        assert found.sign_errors.value == pytest.approx(wrong)


def test_intervals_come_from_resampling_clusters_whole() -> None:
    generator = torch.Generator().manual_seed(0)
    p = torch.randn(60, generator=generator, dtype=torch.float64)
    m = p + torch.randn(60, generator=generator, dtype=torch.float64)
    alone = agreement(p, m, torch.arange(60))
    assert alone.spearman.low < alone.spearman.value < alone.spearman.high
    copies = agreement(p.repeat(20), m.repeat(20), torch.arange(60).repeat(20))
    assert copies.spearman.value == pytest.approx(alone.spearman.value, abs=1e-9)
    assert copies.spearman.high - copies.spearman.low == pytest.approx(
        alone.spearman.high - alone.spearman.low, abs=1e-6
    )
    one = agreement(p, m, torch.zeros(60, dtype=torch.long))
    assert one.spearman.low == pytest.approx(one.spearman.high)
    assert agreement(p[:0], m[:0], torch.arange(0)).pairs == 0


def test_an_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    generator, covered = torch.Generator().manual_seed(1), 0
    for _ in range(200):
        p = torch.randn(80, generator=generator, dtype=torch.float64)
        m = 0.5 * p + torch.randn(80, generator=generator, dtype=torch.float64)
        slope = agreement(p, m, torch.arange(80)).slope
        covered += slope.low <= 0.5 <= slope.high
    assert 0.88 <= covered / 200 <= 0.99


# --- prediction and measurement ---------------------------------------------------------------------------------


def test_when_every_later_layer_is_clamped_the_prediction_is_the_edge(graph: Graph) -> None:
    sources = list(range(0, graph.n_features, 7))
    found = predicted(graph, sources, [graph.n_layers - 1] * len(sources))[graph.target_range.start :]
    known = ~torch.isnan(found)
    edges = graph.adjacency[graph.target_range.start :][:, sources]
    torch.testing.assert_close(found[known], edges[known], **EXACT)
    assert bool(known.any())


@pytest.mark.parametrize("architecture", DISTINCT)
def test_measured_effects_are_those_of_one_edit_at_a_time(architecture: str) -> None:
    subject = models.subject(architecture)
    dictionary = models.dictionary("clt", subject)
    graph = trace(subject, dictionary, PROMPT, targets=[3, 17])
    sources = list(range(0, graph.n_features, max(1, graph.n_features // 5)))
    own = graph.feature_keys[sources, 0].tolist()
    found = measured(subject, dictionary, graph, sources, own)
    for column, source in enumerate(sources):
        done = effect(subject, dictionary, PROMPT, [Edit.ablate(str(graph.node(source).id))], predict=None)
        lost = (done.before.logits - done.measured.logits)[-1]
        torch.testing.assert_close(found[graph.target_range.start :, column], (lost - lost.mean())[[3, 17]], **EXACT)
        for place, (layer, position, index) in enumerate(graph.feature_keys.tolist()):
            value = float(found[place, column])
            acts = layer > own[column] and position >= int(graph.feature_keys[source, 1])
            assert math.isnan(value) != acts
            if acts:
                moved = done.before.reads[layer][position] - done.measured.reads[layer][position]
                assert value == pytest.approx(
                    float(moved @ dictionary.layers[layer].encoder[index]), rel=1e-7, abs=1e-9
                )


def test_a_model_with_everything_held_does_what_the_graph_predicts(
    subject: Subject, dictionary: Dictionary, graph: Graph
) -> None:
    sources = list(range(0, graph.n_features, 5))
    own = graph.feature_keys[sources, 0].tolist()
    held = freeze(subject, subject.record(PROMPT))
    found = measured(subject, dictionary, graph, sources, own, Regime(semantics="linear", frozen=held))
    torch.testing.assert_close(found, predicted(graph, sources, own), equal_nan=True, **EXACT)


def test_the_exact_readout_holds_the_layers_that_are_clamped_behind_each_source(
    subject: Subject, dictionary: Dictionary
) -> None:
    graph = trace(subject, dictionary, PROMPT, targets=[3, 17], effects=True)
    model = LocalModel.of_graph(subject, dictionary, graph)
    sources = list(range(0, graph.n_features, 9))
    layers = graph.feature_keys[:, 0]
    through = [min(int(layers[source]) + 1, graph.n_layers - 1) for source in sources]
    found = with_exact_readout(model, graph, sources, through)
    for column, (source, last) in enumerate(zip(sources, through, strict=True)):
        removed = torch.zeros(graph.n_nodes, 1, dtype=torch.float64)
        removed[source] = 1
        clamped = (layers > layers[source]) & (layers <= last)
        alone = predict_removal(model, graph, removed, target_directions(subject, graph), clamped=clamped)
        torch.testing.assert_close(found[graph.part("target"), column], alone.logits[0], **EXACT)
    linear = predicted(graph.effects, sources, through)
    torch.testing.assert_close(found[graph.part("feature")], linear[graph.part("feature")], equal_nan=True, **EXACT)


def test_deep_models_are_clamped_over_doublings_up_to_the_end() -> None:
    assert reaches(6) == [1, 2, 3, 4, 5]
    assert reaches(12) == list(range(1, 12))
    assert reaches(30) == [1, 2, 4, 8, 16, 29]
    assert reaches(18) == [1, 2, 4, 8, 16, 17]
    assert reaches(17) == [1, 2, 4, 8, 16]


def test_shuffling_deals_the_same_edges_to_the_same_sources(graph: Graph) -> None:
    other = shuffled(graph, 5)
    assert torch.equal(other.rows != 0, graph.rows != 0)
    torch.testing.assert_close(other.rows.sort(1).values, graph.rows.sort(1).values, rtol=0, atol=0)
    assert float((other.rows - graph.rows).abs().sum()) > 0.5 * float(graph.rows.abs().sum())
    assert torch.equal(shuffled(graph, 5).rows, other.rows)


def test_the_table_holds_half_the_most_influential_and_half_at_random(
    subject: Subject, dictionary: Dictionary, graph: Graph
) -> None:
    found = examine(subject, dictionary, graph, AuditSettings(nodes=30, take_apart=False))
    order = ranking(graph, "influence").tolist()
    names = [str(graph.node(place).id) for place in order]
    assert list(found.nodes[:15]) == names[:15]
    assert len(set(found.nodes)) == 30
    again = examine(subject, dictionary, graph, AuditSettings(nodes=30, take_apart=False, seed=1))
    assert again.nodes[:15] == found.nodes[:15]
    assert again.nodes[15:] != found.nodes[15:]
    everything = examine(subject, dictionary, graph, AuditSettings(nodes=10**6, take_apart=False))
    assert sorted(everything.nodes) == sorted(names)


# --- curves -----------------------------------------------------------------------------------------------------


def test_removing_features_is_ablating_them_all_with_every_mlp_clamped(
    subject: Subject, dictionary: Dictionary, graph: Graph
) -> None:
    chosen = torch.zeros(1, graph.n_features, dtype=torch.bool)
    chosen[0, ::3] = True
    level, removals = Removed(subject, dictionary, graph, None).run(chosen)
    edits = [Edit.ablate(str(graph.node(place).id)) for place in chosen[0].nonzero()[:, 0].tolist()]
    last = subject.n_layers - 1
    extra = Edit.scale(str(graph.node(0).id), 1.0)  # clamps from the first layer on, changes nothing
    first = [extra] if not bool(chosen[0, 0]) else []
    done = effect(subject, dictionary, PROMPT, [*first, *edits], through=last, predict=None)
    logits = done.measured.logits[-1]
    weights = torch.tensor([t.weight for t in graph.targets], dtype=torch.float64)
    wanted = ((logits - logits.mean())[[3, 17]] * weights).sum() / weights.sum()
    assert float(level[0]) == pytest.approx(float(wanted), rel=1e-7)  # the graph's activations are eager attention's
    assert removals[0].probability == pytest.approx(
        float(done.measured.probabilities[-1, int(done.before.probabilities[-1].argmax())]), rel=1e-7
    )


def test_with_nothing_removed_a_target_is_its_centred_logit_with_the_bias_of_the_head() -> None:
    subject = models.subject("gptj")
    dictionary = models.dictionary("clt", subject)
    graph = trace(subject, dictionary, PROMPT, targets=[3])
    none = torch.zeros(1, graph.n_features, dtype=torch.bool)
    level, _ = Removed(subject, dictionary, graph, None).run(none)
    assert float(level[0]) == pytest.approx(graph.targets[0].value, rel=1e-7)
    assert abs(float(subject.model.lm_head.bias.detach()[3])) > 0.01


def test_removing_errors_leaves_what_the_dictionary_rebuilds(
    subject: Subject, dictionary: Dictionary, graph: Graph
) -> None:
    runs = Removed(subject, dictionary, graph, None)
    none = torch.zeros(1, graph.n_features, dtype=torch.bool)
    level, _ = runs.run(none, errors=True)
    ids = torch.tensor(PROMPT)
    recording = subject.record(ids)
    inputs = {layer: recording.sites["mlp_in", layer] for layer in range(subject.n_layers)}
    active = {layer: dictionary.encode(layer, x) for layer, x in inputs.items()}
    rebuilt = dictionary.reconstruct(active, inputs, len(ids))

    def stand_in(layer: int, read: Tensor, real: Tensor) -> Tensor:
        return torch.cat([real[:, :1], rebuilt[layer][None, 1:]], 1)

    logits = subject.replaced_logits(ids[None], stand_in, read_site="mlp_in", write_site="mlp_out")[0, -1]
    weights = torch.tensor([t.weight for t in graph.targets], dtype=torch.float64)
    wanted = ((logits - logits.mean())[[3, 17]] * weights).sum() / weights.sum()
    assert float(level[0]) == pytest.approx(float(wanted), rel=1e-8)


def test_curves_end_where_everything_is_kept_or_removed(subject: Subject, dictionary: Dictionary, graph: Graph) -> None:
    order = ranking(graph, "influence").tolist()
    found = curves(subject, dictionary, graph, order)
    for curve in (found.faithfulness, found.completeness):
        assert curve.sizes[0] == 1
        assert curve.sizes[-1] == graph.n_features
        assert curve.values[-1] == pytest.approx(1, abs=1e-9)
        assert curve.random[-1] == pytest.approx(1, abs=1e-9)
        x = np.log(curve.sizes)
        steps = np.diff(x) * (np.array(curve.values[1:]) + np.array(curve.values[:-1])) / 2
        assert curve.area == pytest.approx(float(steps.sum() / (x[-1] - x[0])))
    means = {layer: torch.full((40,), 0.3, dtype=torch.float64) for layer in range(subject.n_layers)}
    to_mean = curves(subject, dictionary, graph, order, means=means)
    assert to_mean.ablation == "mean"
    assert to_mean.no_features.logit != pytest.approx(found.no_features.logit)
    assert to_mean.whole.logit == pytest.approx(found.whole.logit)


def test_matched_sets_keep_layer_position_and_size_and_leave_out_the_set_under_test(
    graph: Graph, dictionary: Dictionary
) -> None:
    chosen = torch.zeros(graph.n_features, dtype=torch.bool)
    chosen[ranking(graph, "influence")[:12]] = True
    mass = graph.activations.float()
    cells = graph.feature_keys[:, 0] * graph.n_tokens + graph.feature_keys[:, 1]
    drawn = matched_set(chosen, graph, mass, torch.Generator().manual_seed(0))
    assert not bool((drawn.members & chosen).any())
    assert drawn.apart == 1
    for cell in torch.unique(cells).tolist():
        wanted, others = int(chosen[cells == cell].sum()), int((~chosen)[cells == cell].sum())
        assert int(drawn.members[cells == cell].sum()) == min(wanted, others)
    assert drawn.size == pytest.approx(int(drawn.members.sum()) / 12)
    assert drawn.mass == pytest.approx(float(mass[drawn.members].sum() / mass[chosen].sum()))


def test_matched_pairs_are_free_others_of_the_cell_and_among_the_nearest() -> None:
    cells, mass = torch.tensor([0] * 12 + [1] * 3), torch.arange(15.0)
    chosen = torch.zeros(15, dtype=torch.bool)
    chosen[[0, 12]] = True
    free = torch.ones(15, dtype=torch.bool)
    free[[1, 13, 14]] = False
    drawn = [matched_pairs(chosen, cells, mass, torch.Generator().manual_seed(s), free=free) for s in range(60)]
    assert {pairs[0] for pairs in drawn} == {*range(2, 2 + NEAREST)}
    assert not any(12 in pairs for pairs in drawn), "its cell has no other that is free"
    chosen[:6] = True
    pairs = matched_pairs(chosen, cells, mass, torch.Generator().manual_seed(0))
    assert {*pairs} == {0, 1, 2, 3, 4, 5, 12}
    assert {*pairs.values()} <= {*range(6, 12), 13, 14}
    assert len({*pairs.values()}) == len(pairs)


def test_a_matched_set_of_everything_is_empty_unless_it_is_filled_up(graph: Graph) -> None:
    everything, mass = torch.ones(graph.n_features, dtype=torch.bool), graph.activations.float()
    drawn = matched_set(everything, graph, mass, torch.Generator().manual_seed(0))
    assert (int(drawn.members.sum()), drawn.size, drawn.mass) == (0, 0, 0)
    assert math.isnan(drawn.apart)
    filled = matched_set(everything, graph, mass, torch.Generator().manual_seed(0), fill=True)
    assert torch.equal(filled.members, everything)
    assert (filled.size, filled.apart) == (1, 0)


def test_curves_say_how_much_of_a_random_set_is_other_features(
    subject: Subject, dictionary: Dictionary, graph: Graph
) -> None:
    order = ranking(graph, "influence").tolist()
    curve = curves(subject, dictionary, graph, order).faithfulness
    assert len(curve.apart) == len(curve.sizes)
    assert curve.apart[-1] == 0
    for size, apart in zip(curve.sizes, curve.apart, strict=True):
        assert apart <= (graph.n_features - size) / size + 1e-9


def test_only_features_of_the_graph_are_matched(graph: Graph, dictionary: Dictionary) -> None:
    sets = matched_sets(dictionary, graph, [0, str(graph.node(1).id)], count=3)
    assert len(sets) == 3
    assert not any(bool(each.members[:2].any()) for each in sets)
    with pytest.raises(InputError, match="no feature is given"):
        matched_sets(dictionary, graph, [])
    with pytest.raises(InputError, match="is no feature of this graph"):
        matched_sets(dictionary, graph, [graph.n_features])


# --- neurons ----------------------------------------------------------------------------------------------------


def test_tokens_do_to_targets_what_they_do_in_the_neurons_own_graph(subject: Subject) -> None:
    neurons = Dictionary.from_neurons(subject)
    exact = trace(subject, neurons, PROMPT, targets=[3, 17])
    assert beside_neurons(subject, neurons, exact) == {}
    doubled = {  # the same function by other features: every neuron twice, each at half the strength
        i: replace(
            layer,
            encoder=layer.encoder.repeat(2, 1),
            bias=layer.bias.repeat(2),
            decoder=layer.decoder.repeat(2, 1, 1) / 2,
        )
        for i, layer in neurons.layers.items()
    }
    twice = replace(neurons, layers=doubled)
    found = beside_neurons(subject, twice, trace(subject, twice, PROMPT, targets=[3, 17]))
    assert len(found["effect"]) == 2 * (len(PROMPT) - 1)
    torch.testing.assert_close(found["effect"], found["effect.neurons"], **EXACT)
    torch.testing.assert_close(found["influence"], found["influence.neurons"], **EXACT)
    assert float(found["effect"].abs().max()) > 1e-3
    llama = models.subject("llama")
    plain = models.dictionary("clt", llama)
    assert beside_neurons(llama, plain, trace(llama, plain, PROMPT)) == {}


# --- the audit --------------------------------------------------------------------------------------------------


def test_the_scatter_shows_what_lies_far_off_where_it_is_and_counts_what_it_cannot_show(audited: Audit) -> None:
    from matplotlib.figure import Figure

    near = torch.tensor([[0.1 * i, 0.1 * i, 1, 1] for i in range(99)])
    far = torch.tensor([[3300.0, 1000.0, 1, 1], [float("nan"), 1.0, 1, 1], [1.0, float("inf"), 1, 1]])
    axes, pairs = Figure().subplots(), torch.cat([near, far])
    _scatter(axes, replace(audited, pairs=pairs, shuffled=pairs[:, 0]), target=1, title="Outputs")
    points = axes.collections[0].get_offsets()
    assert [3300.0, 1000.0] in points.tolist()
    assert len(points) == 100
    assert axes.get_xscale() == axes.get_yscale() == "symlog"
    for low, high in (axes.get_xlim(), axes.get_ylim()):
        assert low <= -3300 < 3300 <= high
    assert axes.get_title().startswith("Outputs, 100 of 102 pairs, 2 not finite")


def test_an_audit_says_everything_and_reads_back_whole(audited: Audit, tmp_path: Path) -> None:
    names = {"total", "influential", "random", "gradient", "second", "activation", "shuffled", "e+1", "e+2"}
    names |= {f"{state}.{step}" for state in ("released", "frozen") for step in STEPS}
    assert names <= set(audited.lines)
    assert set(audited.tokens) == {"effect", "influence"}
    assert {f"exact.{name}" for name in ("distance.1", "distance.2", "e+1", "e+2")} <= set(audited.lines)
    assert "Spearman" in audited.verdict
    assert audited.verdict.index("rank") < audited.verdict.index("Spearman")
    assert "\n" not in audited.verdict
    assert audited.culprit("outputs") in STEPS
    audited.save(tmp_path / "x.audit")
    back = Audit.load(tmp_path / "x.audit")
    assert back.to_json() == audited.to_json()
    assert torch.equal(back.pairs, audited.pairs)
    assert torch.equal(back.shuffled, audited.shuffled)
    assert (tmp_path / "x.png").read_bytes()[:4] == b"\x89PNG"
    assert len((tmp_path / "x.png").read_bytes()) > 20_000


@pytest.mark.parametrize("damage", ["truncate", "foreign", "schema"])
def test_a_damaged_audit_file_is_refused(audited: Audit, graph: Graph, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "x.audit"
    audited.save(path)
    if damage == "truncate":
        path.write_bytes(path.read_bytes()[:-200])
    elif damage == "foreign":
        graph.save(path)
    else:
        note = files.load_note(path)
        files.save_tensors(path, files.load_tensors(path), {**note, "schema": "99"})
    with pytest.raises(FileError):
        Audit.load(path)


def test_several_prompts_are_resampled_by_prompt(subject: Subject, dictionary: Dictionary) -> None:
    prompts = [PROMPT, (0, 9, 9, 3, 60, 61), (0, 5, 12, 30)]
    graphs = [trace(subject, dictionary, prompt, targets=[3]) for prompt in prompts]
    whole = audit_all(subject, dictionary, graphs, nodes=20)
    parts = [audit(subject, dictionary, one, nodes=20, take_apart=False) for one in graphs]
    assert len(whole.prompts) == 3
    assert whole.lines["total"].features.pairs == sum(one.lines["total"].features.pairs for one in parts)
    assert [curve.kept for curve in whole.curves] == ["held", "recomputed"]
    for name in ("replacement", "completeness"):
        each = [getattr(graph.scores(), name) for graph in graphs]
        assert getattr(whole.scores, name) == pytest.approx(sum(each) / 3)
    assert not parts[0].curves


def test_an_exact_dictionary_has_no_errors_to_release(subject: Subject) -> None:
    neurons = Dictionary.from_neurons(subject)
    found = audit(subject, neurons, trace(subject, neurons, PROMPT, targets=[3, 17]), nodes=40)
    for kind in ("outputs", "features"):
        errors, gates = (getattr(found.lines[f"released.{step}"], kind) for step in ("errors", "gates"))
        assert errors.spearman.value == pytest.approx(
            gates.spearman.value, abs=1e-6
        )  # neurons' gates are the MLP's own
        live, frozen = (getattr(found.lines[name], kind) for name in ("total", "frozen.errors"))
        assert live.slope.value == pytest.approx(frozen.slope.value, abs=1e-6)


def test_what_cannot_be_audited_is_refused_in_one_line(subject: Subject, dictionary: Dictionary, graph: Graph) -> None:
    other = models.dictionary("clt", subject, seed=5)
    along = trace(subject, dictionary, PROMPT, targets=torch.linspace(-1, 1, subject.d_model))
    silent = trace(subject, models.dictionary("clt", subject, threshold=1e3), PROMPT)
    for error, match, call in (
        (MismatchError, "traced with", lambda: audit(subject, other, graph)),
        (InputError, "direction", lambda: audit(subject, dictionary, along)),
        (InputError, "no features", lambda: audit(subject, models.dictionary("clt", subject, threshold=1e3), silent)),
        (InputError, "nodes is 0", lambda: audit(subject, dictionary, graph, nodes=0)),
        (InputError, "no graph", lambda: audit_all(subject, dictionary, [])),
    ):
        with pytest.raises(error, match=match) as caught:
            call()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("take_apart", [True, False])
def test_every_measurement_is_reported_and_a_report_can_end_the_audit(subject, dictionary, graph, take_apart) -> None:
    seen: list[tuple[int, int]] = []
    audit(
        subject,
        dictionary,
        graph,
        nodes=4,
        take_apart=take_apart,
        report=lambda stage: seen.append((stage.done, stage.of)),
    )
    assert [done for done, _ in seen] == list(range(1, seen[-1][1] + 1))

    def stop(stage: Progress) -> None:
        if stage.done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        audit(subject, dictionary, graph, nodes=4, report=stop)


def test_the_shuffled_prediction_stands_beside_every_pair(subject, dictionary, graph, audited) -> None:
    found = examine(subject, dictionary, graph, AuditSettings(nodes=30, take_apart=False))
    assert len(audited.shuffled) == len(audited.pairs)
    assert torch.allclose(audited.shuffled, found.columns["shuffled.0"].float())
    assert not torch.allclose(audited.shuffled, audited.pairs[:, 0])
