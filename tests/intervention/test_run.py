"""What edits do: *direct* is the graph's edges, *frozen* an independent recomputation, *live* plain hooks."""

from collections.abc import Callable
from itertools import product

import pytest
import torch
from torch import Tensor

from clew.attribution.graph import Graph
from clew.attribution.trace import trace
from clew.dictionary import BatchTopK, Dictionary, Layer, ReLU, TopK
from clew.errors import InputError
from clew.intervention import ablation_effects
from clew.intervention.clamp import Clamp, EditedRow, Regime
from clew.intervention.edit import Edit
from clew.intervention.run import cases, effect, effects, outcomes
from clew.subject.frozen import freeze
from clew.subject.subject import Subject
from tests import models
from tests.frozen import Frozen, replacement
from tests.live import Plain, edited_logits
from tests.models import DISTINCT, KINDS, PROMPT

EXACT = {"rtol": 1e-9, "atol": 1e-10}
ROUNDED = {"rtol": 1e-4, "atol": 1e-6}


def beside(subject: Subject) -> dict[str, float]:
    """How near two batches of another shape come: Gemma's softmax rounds to float32, and so tips single bits."""
    return ROUNDED if "Gemma" in subject.family.architecture else EXACT


@pytest.fixture(scope="module", params=DISTINCT)
def subject(request: pytest.FixtureRequest) -> Subject:
    return models.subject(request.param)


def nodes_of(graph: Graph, count: int = 4) -> list[int]:
    """A few features of the first layers, not all at the last position."""
    early = (graph.feature_keys[:, 0] < graph.n_layers - 1) & (graph.feature_keys[:, 1] < graph.n_tokens - 1)
    places = early.nonzero()[:, 0]
    return places[:: max(1, len(places) // count)][:count].tolist()


# --- direct -----------------------------------------------------------------------------------------------------


@models.in_turn("subject", DISTINCT, "kind, write", product(KINDS, models.WRITES), times=2)
def test_direct_effects_are_the_edges_of_the_graph(subject: Subject, kind: str, write: str) -> None:
    dictionary = models.dictionary(kind, subject, write=write)
    graph = trace(subject, dictionary, PROMPT, targets=[3, 17])
    adjacency = graph.adjacency
    centre = subject.unembedding.mean(0)
    for source in nodes_of(graph):
        node = graph.node(source)
        for edit, share in ((Edit.ablate(str(node.id)), -1.0), (Edit.scale(str(node.id), 2.5), 1.5)):
            done = effect(subject, dictionary, PROMPT, [edit], predict="direct")
            assert done.predicted is not None
            for layer in range(subject.n_layers):
                own = graph.feature_keys[:, 0] == layer
                _, positions, ids = graph.feature_keys[own].T
                moved = (done.predicted.reads[layer] - done.before.reads[layer])[positions]
                change = (moved * dictionary.encoder_rows(layer, ids)).sum(1)
                torch.testing.assert_close(change, share * adjacency[: graph.n_features][own, source], **EXACT)
            logits = (done.predicted.logits - done.before.logits)[-1]
            centred = (logits - logits.mean())[[3, 17]]
            torch.testing.assert_close(centred, share * adjacency[graph.target_range.start :, source], **EXACT)
            assert (
                float((logits - logits.mean()).abs().max()) > 1e-6 or float(adjacency[-2:, source].abs().max()) < 1e-9
            )
    assert centre.shape == (subject.d_model,)


# --- frozen -----------------------------------------------------------------------------------------------------


@models.in_turn("subject", DISTINCT, "kind", KINDS)
def test_frozen_is_an_independent_recomputation(subject: Subject, kind: str) -> None:
    dictionary = models.dictionary(kind, subject, write="mlp_raw_out", threshold=0.3)
    graph = trace(subject, dictionary, PROMPT)
    frozen = Frozen(subject.model, list(PROMPT), "mlp_in", "mlp_raw_out")
    base = replacement(frozen, dictionary, 1)
    flipped = 0
    for source in nodes_of(graph):
        layer, position, feature = graph.feature_keys[source].tolist()
        edits = [Edit.scale(f"L{layer}/{feature}@{position}", -4.0), Edit.add(f"L0/{(feature + 1) % 40}@2", 1.5)]
        wanted = {(layer, position, feature): -4.0 * float(graph.activations[source])}
        other = (0, 2, (feature + 1) % 40)
        if other in wanted:
            continue
        wanted[other] = float(base.activations[0][2, other[2]]) + 1.5
        logits, activations = _recomputed(subject, frozen, dictionary, base, wanted)
        done = effect(subject, dictionary, PROMPT, edits, predict="frozen")
        assert done.predicted is not None
        moved, real = done.predicted.logits - done.before.logits, frozen.base.final @ subject.unembedding.T
        torch.testing.assert_close(moved, logits - real, **EXACT)
        for at, own in activations.items():
            flipped += int(((own > 0) != (base.activations[at] > 0)).sum())
    assert flipped > 0, "no gate moved: the test says nothing of recomputed features"


def _recomputed(
    subject: Subject, frozen: Frozen, dictionary: Dictionary, base: object, wanted: dict[tuple[int, int, int], float]
) -> tuple[Tensor, dict[int, Tensor]]:
    """The local replacement model run anew with some activations given; errors as they were."""
    activations: dict[int, Tensor] = {}
    reads: dict[int, Tensor] = {}

    def outputs(layer: int, read: Tensor) -> Tensor:
        own = dictionary.layers[layer]
        pre = read @ own.encoder.T + own.bias
        active = torch.where(pre > own.nonlinearity.threshold, pre, 0.0)  # type: ignore[union-attr]
        active[:1] = 0
        for (at, position, feature), value in wanted.items():
            if at == layer:
                active[position, feature] = value
        activations[layer], reads[layer] = active, read
        out = own.decoder_bias + (read @ own.skip.T if own.skip is not None else 0)
        for source, act in activations.items():
            if layer in dictionary.writes[source]:
                out = out + act @ dictionary.layers[source].decoder[:, dictionary.writes[source].index(layer)]
        out = out + base.errors[layer]  # type: ignore[attr-defined]
        return torch.cat([frozen.base.writes[layer][:1], out[1:]])

    with torch.no_grad():
        final = frozen.run(outputs).final
    return final @ subject.unembedding.T, activations


def test_an_edit_that_changes_nothing_predicts_nothing(subject: Subject) -> None:
    dictionary = models.dictionary("skip-clt", subject)
    graph = trace(subject, dictionary, PROMPT)
    edit = Edit.scale(str(graph.node(nodes_of(graph)[0]).id), 1.0)
    done = effect(subject, dictionary, PROMPT, [edit])
    assert done.predicted is not None
    torch.testing.assert_close(done.predicted.logits, done.before.logits, **EXACT)
    torch.testing.assert_close(done.measured.logits, done.before.logits, **EXACT)
    assert done.changes == ()


# --- live -------------------------------------------------------------------------------------------------------


def pick(subject: Subject, dictionary: Dictionary) -> list[tuple[int, int, int]]:
    """Active features of two neighbouring layers as (layer, position, index)."""
    keys = trace(subject, dictionary, PROMPT).feature_keys
    inside = keys[keys[:, 1] < len(PROMPT) - 2]
    return [tuple(inside[inside[:, 0] == layer][-1].tolist()) for layer in (0, 1)]  # type: ignore[misc]


LIVE = [
    ("clt", "mlp_in", "mlp_out"),
    ("skip-plt", "resid_mid", "mlp_raw_out"),
    ("clt", "resid_mid", "mlp_raw_out"),
    ("skip-plt", "mlp_in", "mlp_out"),
]


@models.in_turn("subject", DISTINCT, "kind, read, write", LIVE)
def test_live_is_what_plain_hooks_do(subject: Subject, kind: str, read: str, write: str) -> None:
    dictionary = models.dictionary(kind, subject, read=read, write=write, threshold=0.05)
    plain = Plain(subject.model, read, write)
    (l0, p0, f0), (l1, p1, f1) = pick(subject, dictionary)
    everywhere = range(1, len(PROMPT))
    trials: list[tuple[list[Edit], list[tuple[int, int, object, Callable[[Tensor], Tensor]]]]] = [
        ([Edit.ablate(f"L{l0}/{f0}@{p0}")], [(l0, f0, [p0], lambda a: a * 0)]),
        (
            [Edit.scale(f"L{l0}/{f0}", 3.0), Edit.set(f"L{l1}/{f1}", 2.0, positions=(p1, p1 + 1))],
            [(l0, f0, everywhere, lambda a: 3 * a), (l1, f1, [p1, p1 + 1], lambda a: a * 0 + 2)],
        ),
        ([Edit.add(f"L{l1}/{(f1 + 1) % 40}", 1.5)], [(l1, (f1 + 1) % 40, everywhere, lambda a: a + 1.5)]),
    ]
    for edits, changes in trials:
        last = max(layer for layer, *_ in changes)
        for e in range(last, subject.n_layers):
            wanted = edited_logits(plain, dictionary, PROMPT, changes, e)  # type: ignore[arg-type]
            done = effect(subject, dictionary, PROMPT, edits, through=e, predict=None)
            assert done.through == e
            probabilities = torch.softmax(wanted, -1)
            torch.testing.assert_close(done.measured.probabilities, probabilities, **EXACT)
            before = torch.softmax(plain.run(PROMPT)[0], -1)
            torch.testing.assert_close(done.before.probabilities, before, **EXACT)
            assert float((probabilities - before).abs().max()) > 1e-6


def test_the_last_edited_layer_is_the_default(subject: Subject) -> None:
    dictionary = models.dictionary("clt", subject)
    edits = [Edit.set("L0/3", 2.0), Edit.set("L1/4", 2.0)]
    default = effect(subject, dictionary, PROMPT, edits)
    assert default.through == 1
    said = effect(subject, dictionary, PROMPT, edits, through=1)
    torch.testing.assert_close(default.measured.logits, said.measured.logits)


def test_prompts_of_different_length_in_one_batch_are_as_each_alone(subject: Subject) -> None:
    dictionary = models.dictionary("clt", subject)
    prompts = [list(PROMPT), list(PROMPT[:4]), [0, 9, 9, 3, 60, 61]]
    edits = [Edit.scale("L0/3", 4.0), Edit.set("L1/5", 2.0), Edit.steer("L1/7", 1.5)]
    together = effects(subject, dictionary, prompts, edits, through=2)
    for prompt, mine in zip(prompts, together, strict=True):
        alone = effect(subject, dictionary, prompt, edits, through=2)
        assert mine.measured.logits.shape[0] == len(prompt)
        torch.testing.assert_close(mine.measured.logits, alone.measured.logits, **beside(subject))
        torch.testing.assert_close(mine.predicted.logits, alone.predicted.logits, **beside(subject))  # type: ignore[union-attr]
        assert [c.node for c in mine.changes] == [c.node for c in alone.changes]


@models.in_turn("subject", DISTINCT, "kind, batch", product(["clt", "plt"], [1, 3, 64]))
def test_many_cases_behind_a_shared_prefix_are_as_each_alone(
    subject: Subject, kind: str, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clew.intervention.run.ROWS", batch)
    dictionary = models.dictionary(kind, subject)
    graph = trace(subject, dictionary, PROMPT)
    edits = [[Edit.ablate(str(graph.node(place).id))] for place in nodes_of(graph, 8)] + [[Edit.set("L1/3@8", 2.0)]]
    through = [own[0].feature.layer for own in edits]  # type: ignore[union-attr]
    through[0] = subject.n_layers - 1
    seen, starts = set(), set()
    ids = torch.tensor(PROMPT)
    for part in cases(subject, dictionary, ids, edits, through=through, first=1):
        starts.add(part.start)
        for row, case in enumerate(part.cases, start=1):
            seen.add(case)
            alone = effect(subject, dictionary, PROMPT, edits[case], through=through[case], predict=None)
            logits = subject.unembed(part.run.final[row])
            torch.testing.assert_close(logits, alone.measured.logits[part.start :], **beside(subject))
            for (_, layer), kept in part.run.kept.items():
                torch.testing.assert_close(kept[row], alone.measured.reads[layer][part.start :], **beside(subject))
    assert seen == set(range(len(edits)))
    assert max(starts) > 0


def test_forward_derivatives_are_small_edits(subject: Subject) -> None:
    dictionary = models.dictionary("clt", subject)
    graph = trace(subject, dictionary, PROMPT)
    node = graph.node(nodes_of(graph)[1])
    step = 1e-3  # Gemma's softmax rounds to float32
    more, less = (
        effect(subject, dictionary, PROMPT, [Edit.scale(str(node.id), factor)], predict=None).measured.logits
        for factor in (1 + step, 1 - step)
    )
    (part,) = cases(
        subject,
        dictionary,
        torch.tensor(PROMPT),
        [[Edit.scale(str(node.id), 2.0)]],
        through=[node.layer],  # type: ignore[union-attr]
        first=1,
        regime=Regime(tangent=True),
    )
    slope = ((more - less) / (2 * step))[part.start :]
    measured = (part.run.final[1] @ subject.unembedding.T).detach()  # a bias of the head does not move
    assert float((measured - slope).norm()) < 1e-3 * float(slope.norm())


def test_experts_have_forward_derivatives_in_float32_too() -> None:
    """Products of all experts at once have none: meanwhile they are taken one by one."""
    found = []
    for dtype in (torch.float32, torch.float64):
        subject = models.subject("gpt_oss", dtype)
        dictionary = models.dictionary("clt", subject, dtype=dtype)
        graph = trace(subject, dictionary, PROMPT, targets=[3])
        node = nodes_of(graph)[0]
        found.append(ablation_effects.measured(subject, dictionary, graph, [node], [0], Regime(tangent=True))[-1])
    torch.testing.assert_close(found[0].double(), found[1].double(), rtol=1e-3, atol=1e-4, equal_nan=True)


# --- other dictionaries -----------------------------------------------------------------------------------------


def sae(subject: Subject, site: str, layers: tuple[int, ...]) -> Dictionary:
    generator = torch.Generator().manual_seed(3)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    width = subject.d_model
    own = {
        layer: Layer(
            encoder=draw(30, width) / width**0.5,
            bias=draw(30) * 0.1,
            nonlinearity=ReLU(),
            decoder=draw(30, 1, width) / width**0.5,
            decoder_bias=draw(width),
        )
        for layer in layers
    }
    writes = {layer: (layer,) for layer in layers}
    return Dictionary(
        kind="sae", layers=own, writes=writes, read_site=site, write_site=site,
        n_layers=subject.n_layers, d_model=width, name="random SAE",
    )  # fmt: skip


@pytest.mark.parametrize("site", ["resid_pre", "resid_mid", "resid_post", "mlp_in"])
def test_an_sae_edit_changes_the_stream_where_it_reads(subject: Subject, site: str) -> None:
    dictionary = sae(subject, site, (0, 1))
    done = effect(subject, dictionary, PROMPT, [Edit.ablate("L1/4"), Edit.set("L0/2@3", 5.0)])
    assert done.predicted is None
    assert done.through is None
    with _sae_hooks(subject, dictionary, site):
        logits = subject.model(torch.tensor([PROMPT]), use_cache=False).logits[0]
    torch.testing.assert_close(done.measured.probabilities, torch.softmax(logits, -1), **EXACT)
    assert float((done.measured.logits - done.before.logits).abs().max()) > 1e-3
    with pytest.raises(InputError, match="SAE"):
        effect(subject, dictionary, PROMPT, [Edit.ablate("L1/4")], through=1)


@pytest.mark.parametrize("site", ["resid_pre", "resid_mid", "resid_post"])
def test_what_an_sae_reads_is_told_from_before_its_own_edit(site: str) -> None:
    subject = models.subject("llama")
    dictionary = sae(subject, site, (0, 1))
    done = effect(subject, dictionary, PROMPT, [Edit.add("L0/2", 3.0)])
    torch.testing.assert_close(done.measured.reads[0], done.before.reads[0])
    assert float((done.measured.reads[1] - done.before.reads[1]).abs().max()) > 1e-3
    edited = {(c.node.layer, c.node.index) for c in done.changes if c.node.layer == 0}
    assert edited == {(0, 2)}


def test_additions_to_one_feature_are_told_as_their_sum(subject: Subject) -> None:
    dictionary = models.dictionary("clt", subject)
    done = effect(subject, dictionary, PROMPT, [Edit.add("L1/4@3", 1.0), Edit.add("L1/4@3", 2.0)])
    told = {str(change.node): change for change in done.changes}["L1/4@3"]
    assert told.measured == pytest.approx(told.before + 3.0)
    assert told.predicted == pytest.approx(told.before + 3.0)


class _sae_hooks:  # noqa: N801
    """The two edits above by plain hooks on blocks, norms or MLPs."""

    def __init__(self, subject: Subject, dictionary: Dictionary, site: str) -> None:
        plain = Plain(subject.model, "resid_mid", "mlp_raw_out")
        self.handles = []
        for layer, feature, positions, value in ((1, 4, slice(1, None), 0.0), (0, 2, slice(3, 4), 5.0)):
            own = dictionary.layers[layer]

            def moved(x: Tensor, own=own, feature=feature, positions=positions, value=value) -> Tensor:  # type: ignore[no-untyped-def]
                before = (x @ own.encoder[feature] + own.bias[feature]).relu()
                new = x.clone()
                new[:, positions] += (value - before[:, positions])[..., None] * own.decoder[feature, 0]
                return new

            def into(module, args, kwargs, moved=moved):  # type: ignore[no-untyped-def]
                x = args[0] if args else kwargs["hidden_states"]
                x.copy_(moved(x))

            def out(module, args, output, moved=moved):  # type: ignore[no-untyped-def]
                return moved(output) if isinstance(output, Tensor) else (moved(output[0]), *output[1:])

            at = {"resid_pre": plain.blocks, "resid_mid": plain.readers, "mlp_in": plain.mlps}
            if site == "resid_post":
                self.handles.append(plain.blocks[layer].register_forward_hook(out))
            else:
                self.handles.append(at[site][layer].register_forward_pre_hook(into, with_kwargs=True))

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        for handle in self.handles:
            handle.remove()


def test_steering_adds_a_direction_and_clamps_nothing(subject: Subject) -> None:
    dictionary = models.dictionary("clt", subject, write="mlp_out")
    plain = Plain(subject.model, "mlp_in", "mlp_out")
    direction = torch.linspace(-1, 1, subject.d_model, dtype=torch.float64)
    decoder = dictionary.layers[0].decoder[5]
    for edit, vector, layer in (
        (Edit.steer(direction, 2.0, layer=1), 2 * direction, 1),
        (Edit.steer("L0/5@4", 3.0), 3 * decoder[0], 0),
        (Edit.steer("L0/5", 3.0, layer=2, positions=4), 3 * decoder[2], 2),
    ):
        at = torch.zeros(len(PROMPT), 1, dtype=torch.float64)
        at[1:] = 1
        if edit.positions != "all":
            at.zero_()[4] = 1
        *_, writes = plain.run(PROMPT)
        wanted = plain.run(PROMPT, {layer: writes[layer] + at * vector})[0]
        done = effect(subject, dictionary, PROMPT, [edit], predict=None)
        assert done.through is None
        torch.testing.assert_close(done.measured.probabilities, torch.softmax(wanted, -1), **EXACT)


@pytest.mark.parametrize("nonlinearity", [TopK(k=5), BatchTopK(k=5, threshold=torch.tensor(0.5, dtype=torch.float64))])
def test_topk_features_are_edited_by_what_they_are_in_their_layer(nonlinearity: TopK | BatchTopK) -> None:
    from dataclasses import replace

    subject = models.subject("llama")
    plain = models.dictionary("clt", subject)
    dictionary = replace(plain, layers={i: replace(own, nonlinearity=nonlinearity) for i, own in plain.layers.items()})
    graph = trace(subject, dictionary, PROMPT)
    node = graph.node(nodes_of(graph)[1])
    done = effect(subject, dictionary, PROMPT, [Edit.ablate(str(node.id))], predict="direct")
    assert done.predicted is not None
    logits = (done.predicted.logits - done.before.logits)[-1]
    token = graph.targets[0].token
    edge = float(graph.adjacency[graph.target_range.start, graph.index(node)])
    assert float(logits[token] - logits.mean()) == pytest.approx(-edge, rel=1e-8, abs=1e-10)


def test_with_everything_held_the_frozen_model_can_be_solved(subject: Subject) -> None:
    """*linear* is linear: the effects of two edits add up, and a doubled edit has twice the effect."""
    dictionary = models.dictionary("clt", subject)
    graph = trace(subject, dictionary, PROMPT)
    one, two = (str(graph.node(place).id) for place in (0, 3))
    held = freeze(subject, subject.record(PROMPT))
    given = [[Edit.ablate(one)], [Edit.ablate(two)], [Edit.ablate(one), Edit.ablate(two)], [Edit.scale(one, -1.0)]]
    rows = [EditedRow(edits=(), base=0, n_prompt=9, first=1, through=2)]
    rows += [EditedRow(edits=tuple(own), base=0, n_prompt=9, first=1, through=2) for own in given]
    ids = [torch.tensor(PROMPT)] * len(rows)
    base, a, b, both, twice = (
        o.logits
        for o in outcomes(subject, dictionary, Clamp(dictionary, rows, Regime(semantics="linear", frozen=held)), ids)
    )
    torch.testing.assert_close(both - base, (a - base) + (b - base), rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(twice - base, 2 * (a - base), rtol=1e-7, atol=1e-9)


# --- the first position -----------------------------------------------------------------------------------------


def test_a_first_position_that_is_a_sink_is_not_edited_as_a_graph_leaves_it_out() -> None:
    sink, prompt = models.with_sink("gpt2"), PROMPT[1:]
    dictionary = models.dictionary("plt", sink)
    graph = trace(sink, dictionary, prompt)
    index = int(graph.feature_keys[0, 2])
    with pytest.raises(InputError, match="position 0 is left out, it is a special token or an attention sink"):
        effect(sink, dictionary, prompt, [Edit.ablate(f"L0/{index}@0")])
    everywhere = effect(sink, dictionary, prompt, [Edit.ablate(f"L0/{index}")])
    assert {c.node.position for c in everywhere.changes} <= set(range(1, len(prompt)))
    kept = effect(sink, dictionary, prompt, [Edit.ablate(f"L0/{index}@0")], leave_out_first=False)
    assert kept.before.logits.equal(everywhere.before.logits)
