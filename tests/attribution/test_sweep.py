"""The sweep: every step's transpose, every edge against autograd, and edges against what perturbing the source does."""

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from clew.attribution import sweep
from clew.attribution.graph import Graph
from clew.attribution.nodes import OFFSETS, FeatureNode
from clew.attribution.sources import Sources
from clew.attribution.sweep import program
from clew.attribution.trace import trace
from clew.dictionary import Dictionary
from clew.subject.recording import Affine, Attend, Normalize, Site, Unembed
from clew.subject.subject import Subject
from tests import models
from tests.attribution.test_trace import assert_identity
from tests.frozen import Frozen, Replacement, replacement
from tests.models import ARCHITECTURES, DISTINCT, KINDS, PROMPT, READS

TARGETS = [3, 17]
FEATURES = 14  # a layer, so that autograd has about a hundred rows to find


@pytest.fixture(scope="module", params=ARCHITECTURES)
def subject(request: pytest.FixtureRequest) -> Subject:
    return models.subject(request.param)


# --- transposes -------------------------------------------------------------------------------------------------


def test_every_step_has_its_own_transpose(subject: Subject) -> None:
    generator = torch.Generator().manual_seed(3)
    recording = subject.record(PROMPT)
    seen = set()
    for step in (*recording.steps, *program(recording)):
        if not isinstance(step, Normalize | Affine | Attend):
            continue
        seen.add(type(step))
        for reach in (len(PROMPT), 4):  # gradients may end before the prompt does
            x = torch.randn(len(PROMPT), models.WIDTH, generator=generator, dtype=torch.float64)
            x[reach:] = 0
            y = torch.randn(reach, models.WIDTH, 3, generator=generator, dtype=torch.float64)
            constant = step.constant()
            moved = step.forward(x) - (0 if constant is None else constant)
            left = torch.einsum("pd,pdt->t", moved[:reach], y)
            right = torch.einsum("pd,pdt->t", x[:reach], step.transpose(y))
            torch.testing.assert_close(right, left, rtol=1e-11, atol=1e-11)
    assert seen == {Normalize, Affine, Attend}


def test_gradients_at_one_position_each_are_transposed_as_any_other(subject: Subject) -> None:
    generator = torch.Generator().manual_seed(4)
    positions = torch.tensor([3, 0, 4, 4, 2])
    vectors = torch.randn(5, models.WIDTH, generator=generator, dtype=torch.float64)
    for step in program(subject.record(PROMPT)):
        if isinstance(step, Attend):
            for reach in (5, len(PROMPT)):
                spread = torch.zeros(reach, models.WIDTH, 5, dtype=torch.float64)
                spread[positions, :, torch.arange(5)] = vectors
                moved = step.transpose_at(positions, vectors, reach)
                torch.testing.assert_close(moved, step.transpose(spread), rtol=1e-11, atol=1e-12)


@models.in_turn("subject", DISTINCT, "read, kind", product(READS, ["plt", "skip-clt"]), times=2)
def test_a_prompt_too_long_to_push_its_tokens_forward_has_the_same_graph(
    subject: Subject, read: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dictionary = models.dictionary(kind, subject, read=read)
    pushed = trace(subject, dictionary, PROMPT)
    monkeypatch.setattr(sweep, "_MOST_IMAGES", 0)
    walked = trace(subject, dictionary, PROMPT)
    assert_identity(walked)
    torch.testing.assert_close(pushed.adjacency, walked.adjacency, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(pushed.offsets, walked.offsets, rtol=1e-9, atol=1e-12)


def test_an_attention_that_drew_its_norm_in_equals_the_separate_steps(subject: Subject) -> None:
    recording = subject.record(PROMPT)
    steps = list(recording.steps)
    x = torch.randn(len(PROMPT), models.WIDTH, dtype=torch.float64)
    drawn = [step for step in program(recording) if isinstance(step, Attend)]
    assert len(drawn) == subject.n_layers
    for joined in drawn:
        assert joined.source == "stream"
        at = next(i for i, s in enumerate(steps) if isinstance(s, Attend) and s.layer == joined.layer)
        separate = x
        for step in steps[at - 2 : at + 1] if steps[at].source == "normed" else steps[at : at + 1]:  # type: ignore[union-attr]
            separate = step.forward(separate)  # type: ignore[union-attr]
        torch.testing.assert_close(joined.forward(x), separate, rtol=1e-11, atol=1e-11)


def test_the_walked_steps_lead_to_the_recorded_logits(subject: Subject) -> None:
    from clew.subject.recording import replay

    recording = subject.record(PROMPT)
    sites, logits = replay(tuple(program(recording)))
    torch.testing.assert_close(logits, recording.logits, rtol=1e-10, atol=1e-10)
    for key, value in sites.items():
        torch.testing.assert_close(value, recording.sites[key], rtol=1e-10, atol=1e-10)


# --- every edge, by autograd through Hugging Face's modules -----------------------------------------------------


class Reference:
    """Dense edges of one prompt from autograd, laid out in the Graph's order of nodes."""

    def __init__(
        self, subject: Subject, dictionary: Dictionary, first: int, graph: Graph, *, live: bool = False
    ) -> None:
        self.dictionary, self.first, self.graph = dictionary, first, graph
        self.frozen = Frozen(subject.model, list(PROMPT), dictionary.read_site, dictionary.write_site, live=live)
        self.parts: Replacement = replacement(self.frozen, dictionary, first)
        base = self.frozen.base
        self.leaves = [base.writes[i].detach().clone().requires_grad_() for i in range(subject.n_layers)]
        self.tokens = base.tokens.detach().clone().requires_grad_()
        self.run = self.frozen.run(self.output, self.tokens)
        head = subject.unembedding
        self.directions = head[TARGETS] - head.mean(0)

    def output(self, layer: int, x: Tensor) -> Tensor:
        """A leaf, and the skip connection's response beside it; a left-out first position has no Dictionary."""
        own = self.dictionary.layers.get(layer)
        if own is None or own.skip is None:
            return self.leaves[layer]
        moved = (x - self.frozen.base.reads[layer].detach()) @ own.skip.T
        return self.leaves[layer] + moved * (torch.arange(len(x)) >= self.first)[:, None]

    def preactivation(self, node: int) -> Tensor:
        if node >= self.graph.target_range.start:
            return self.run.final[-1] @ self.directions[node - self.graph.target_range.start]
        layer, position, feature = self.graph.feature_keys[node].tolist()
        own = self.dictionary.layers[layer]
        return self.run.reads[layer][position] @ own.encoder[feature] + own.bias[feature]

    def row(self, node: int) -> tuple[Tensor, float, float]:
        """Edges from every source, the offset of position embeddings, and that of the sink."""
        gradients = torch.autograd.grad(
            self.preactivation(node), [*self.leaves, self.tokens], retain_graph=True, allow_unused=True
        )
        found = [torch.zeros_like(self.tokens) if g is None else g for g in gradients]
        by_feature = {}
        for layer, own in self.dictionary.layers.items():
            total = torch.zeros_like(self.parts.activations[layer])
            for slot, written in enumerate(self.dictionary.writes[layer]):
                total += found[written] @ own.decoder[:, slot].T
            by_feature[layer] = total * self.parts.activations[layer]
        features = [float(by_feature[layer][p, f]) for layer, p, f in self.graph.feature_keys.tolist()]
        errors = [float(found[layer][p] @ self.parts.errors[layer][p]) for layer, p in self.graph.error_keys.tolist()]
        tokens = (self.frozen.base.tokens * found[-1]).sum(1).tolist()
        places = self.frozen.base.positions
        position = 0.0 if places is None else float((places * found[-1]).sum())
        sink = sum(float(self.frozen.base.writes[i][0] @ found[i][0]) for i in range(len(self.leaves))) * self.first
        edges = torch.tensor([*features, *errors, *tokens, *[0.0] * len(TARGETS)], dtype=torch.float64)
        return edges, position, sink


def assert_edges_equal_autograd(subject: Subject, dictionary: Dictionary, leave_out: bool = True) -> None:
    graph = trace(subject, dictionary, PROMPT, targets=TARGETS, leave_out_first=leave_out)
    reference = Reference(subject, dictionary, int(leave_out), graph)
    adjacency, offsets = graph.adjacency, graph.offsets
    scale = float(adjacency.abs().max())
    nodes = [*graph.feature_range, *graph.target_range]
    assert graph.n_features > 20
    for node in nodes:
        edges, position, sink = reference.row(node)
        torch.testing.assert_close(adjacency[node], edges, rtol=1e-9, atol=1e-11 * scale)
        assert float(offsets[node, OFFSETS.index("position")]) == pytest.approx(position, rel=1e-9, abs=1e-11 * scale)
        assert float(offsets[node, OFFSETS.index("sink")]) == pytest.approx(sink, rel=1e-9, abs=1e-11 * scale)


@models.in_turn("subject", ARCHITECTURES, "kind", KINDS, times=2)
def test_every_edge_equals_autograd_through_the_frozen_model(subject: Subject, kind: str) -> None:
    assert_edges_equal_autograd(subject, models.dictionary(kind, subject, features=FEATURES))


@pytest.mark.parametrize(("read", "write"), [("resid_pre", "mlp_raw_out"), ("mlp_normalized", "mlp_out")])
def test_every_edge_equals_autograd_at_other_sites_with_the_first_position_kept(
    subject: Subject, read: str, write: str
) -> None:
    dictionary = models.dictionary("skip-clt", subject, features=FEATURES, read=read, write=write)
    assert_edges_equal_autograd(subject, dictionary, leave_out=False)


def test_every_edge_between_neurons_equals_autograd() -> None:
    subject = models.subject("gpt2", n_inner=FEATURES)
    assert_edges_equal_autograd(subject, Dictionary.from_neurons(subject))


# --- planted truth: products of weights, written out ------------------------------------------------------------


def test_edges_between_neurons_are_the_products_of_weights() -> None:
    """Two layers: T -> L0, T -> L1, L0 -> L1 and all -> logit, each by its formula, without autograd."""
    subject = models.subject("gpt2", n_layer=2, n_inner=20)
    graph = trace(subject, Dictionary.from_neurons(subject), PROMPT, targets=TARGETS, leave_out_first=False)
    body, n = subject.model.transformer, len(PROMPT)
    subject.model.set_attn_implementation("eager")
    middles: list[Tensor] = []
    for block in body.h:
        block.ln_2.register_forward_pre_hook(lambda module, args: middles.append(args[0][0]))
    with torch.no_grad():
        out = subject.model(torch.tensor([PROMPT]), output_hidden_states=True, output_attentions=True)
    centre = torch.eye(models.WIDTH, dtype=torch.float64) - 1 / models.WIDTH
    eye = torch.eye(n, dtype=torch.float64)

    def norm(module: Any, x: Tensor) -> Tensor:
        """The frozen norm as one matrix a position, [pos, in, out]."""
        sigma = (x.var(-1, correction=0) + module.eps).sqrt()
        return (centre * module.weight)[None] / sigma[:, None, None]

    def attention(layer: int, x: Tensor) -> Tensor:
        """Frozen attention and its norm as one map [to, from, in, out]."""
        block = body.h[layer]
        _, _, value = block.attn.c_attn.weight.chunk(3, 1)
        heads = zip(value.chunk(4, 1), block.attn.c_proj.weight.chunk(4, 0), out.attentions[layer][0], strict=True)
        normed = norm(block.ln_1, x)
        return sum(torch.einsum("qk,kde,ev,vo->qkdo", p, normed, v, o) for v, o, p in heads)  # type: ignore[return-value]

    def neurons(layer: int, x: Tensor) -> tuple[Tensor, Tensor]:
        """Encoders that read the stream, [pos, in, neuron], and pre-activations."""
        block = body.h[layer]
        return norm(block.ln_2, x) @ block.mlp.c_fc.weight, block.mlp.c_fc(block.ln_2(x))

    with torch.no_grad():
        unit = torch.einsum("qk,de->qkde", eye, torch.eye(models.WIDTH, dtype=torch.float64))
        x0 = out.hidden_states[0][0]
        to_mid0 = unit + attention(0, x0)
        mid0, mid1 = list(middles)
        read0, pre0 = neurons(0, mid0)
        x1 = out.hidden_states[1][0]
        to_mid1 = unit + attention(1, x1)  # from the stream after block 0
        read1, pre1 = neurons(1, mid1)
        x2 = mid1 + body.h[1].mlp(body.h[1].ln_2(mid1))
        last = norm(body.ln_f, x2)[-1] @ (subject.unembedding[TARGETS] - subject.unembedding.mean(0)).T
        decode = [body.h[layer].mlp.c_proj.weight for layer in range(2)]
        token = body.wte(torch.tensor(PROMPT))
        through = torch.einsum("qmde,mkfd->qkfe", to_mid1, to_mid0)  # token stream -> the middle of block 1
        edges = {
            "token L0": torch.einsum("kd,qkde,qen->qnk", token, to_mid0, read0),
            "token L1": torch.einsum("kd,qkde,qen->qnk", token, through, read1),
            "token out": torch.einsum("kd,kde,et->tk", token, through[-1], last),
            "L0 L1": torch.einsum("kn,nd,qkde,qem->qmkn", pre0.relu(), decode[0], to_mid1, read1),
            "L0 out": torch.einsum("kn,nd,kde,et->tkn", pre0.relu(), decode[0], to_mid1[-1], last),
            "L1 out": torch.einsum("n,nd,dt->tn", pre1[-1].relu(), decode[1], last),
        }
    keys = graph.feature_keys
    expected = torch.zeros_like(graph.adjacency)
    low, high = (keys[:, 0] == 0).nonzero()[:, 0], (keys[:, 0] == 1).nonzero()[:, 0]
    tokens, outputs = slice(*_ends(graph.token_range)), slice(*_ends(graph.target_range))
    (p0, f0), (p1, f1) = keys[low, 1:].T, keys[high, 1:].T
    expected[low, tokens] = edges["token L0"][p0, f0]
    expected[high, tokens] = edges["token L1"][p1, f1]
    expected[outputs, tokens] = edges["token out"]
    expected[high[:, None], low[None]] = edges["L0 L1"][p1[:, None], f1[:, None], p0[None], f0[None]]
    expected[outputs, low] = edges["L0 out"][:, p0, f0]
    at_last = p1 == n - 1
    expected[outputs, high[at_last]] = edges["L1 out"][:, f1[at_last]]
    assert len(low) > 50
    assert len(high) > 50
    torch.testing.assert_close(graph.adjacency, expected, rtol=1e-9, atol=1e-12)
    assert graph.scores().replacement == pytest.approx(1, abs=1e-12)
    assert graph.scores().completeness == pytest.approx(1, abs=1e-12)


def _ends(places: range) -> tuple[int, int]:
    return places.start, places.stop


# --- an edge is what perturbing its source does -----------------------------------------------------------------


def assert_edges_are_effects(subject: Subject, dictionary: Dictionary) -> None:
    """Scale one feature's activation in the frozen model, all others held: every node moves by the edge."""
    graph = trace(subject, dictionary, PROMPT, targets=TARGETS)
    frozen = Frozen(subject.model, list(PROMPT), dictionary.read_site, dictionary.write_site)
    adjacency = graph.adjacency
    with torch.no_grad():
        head = subject.unembedding[TARGETS] - subject.unembedding.mean(0)

        def measured(moved: dict[int, Tensor]) -> Tensor:
            def output(layer: int, x: Tensor) -> Tensor:
                own, real = dictionary.layers[layer], frozen.base.writes[layer]
                skip = 0 if own.skip is None else (x - frozen.base.reads[layer]) @ own.skip.T
                return real + skip + moved.get(layer, 0)

            run = frozen.run(output)
            pre = {i: run.reads[i] @ own.encoder.T + own.bias for i, own in dictionary.layers.items()}
            features = [float(pre[layer][p, f]) for layer, p, f in graph.feature_keys.tolist()]
            return torch.tensor([*features, *(run.final[-1] @ head.T).tolist()], dtype=torch.float64)

        rest = measured({})
        targets, largest = torch.tensor([*graph.feature_range, *graph.target_range]), 0.0
        for source in range(0, graph.n_features, max(1, graph.n_features // 12)):
            node = graph.node(source)
            assert isinstance(node, FeatureNode)
            for factor in (0.0, 1.7, -3.0):  # removed, raised, turned
                step = (factor - 1) * node.activation
                moved = {}
                for slot, written in enumerate(dictionary.writes[node.layer]):
                    moved[written] = torch.zeros(len(PROMPT), models.WIDTH, dtype=torch.float64)
                    moved[written][node.position] = step * dictionary.layers[node.layer].decoder[node.feature, slot]
                effect = measured(moved) - rest
                predicted = (factor - 1) * adjacency[targets, source]
                torch.testing.assert_close(effect, predicted, rtol=1e-8, atol=1e-11)
            largest = max(largest, float(predicted.abs().max()))
    assert largest > 0.1


@models.in_turn("subject", ARCHITECTURES, "kind", KINDS)
def test_edge_equals_effect_of_perturbing_the_source(subject: Subject, kind: str) -> None:
    assert_edges_are_effects(subject, models.dictionary(kind, subject))


# --- the tests above see a sweep that is 5 % wrong --------------------------------------------------------------


def _five_percent_more(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda *args: function(*args) * 1.05


@pytest.mark.parametrize(
    ("where", "name"),
    [
        (Attend, "transpose"),
        (Attend, "transpose_at"),
        (Normalize, "transpose"),
        (Affine, "transpose"),
        (Sources, "written"),
        (Sources, "skip"),
    ],
)
def test_a_sweep_that_is_five_percent_wrong_fails_identity_reference_and_effect(
    monkeypatch: pytest.MonkeyPatch, where: type, name: str
) -> None:
    subject = models.subject("gemma2")
    dictionary = models.dictionary("skip-clt", subject, features=FEATURES)
    right = getattr(where, name)
    if name == "skip":  # only the walk's own use: the errors are found before
        original = Sources.__init__

        def build(self: Sources, *args: Any, **kwargs: Any) -> None:
            original(self, *args, **kwargs)
            self.skip = _five_percent_more(lambda layer: right(self, layer))  # type: ignore[method-assign]

        monkeypatch.setattr(Sources, "__init__", build)
    else:
        monkeypatch.setattr(where, name, _five_percent_more(right))
    with pytest.raises(AssertionError):
        assert_identity(trace(subject, dictionary, PROMPT))
    with pytest.raises(AssertionError):
        assert_edges_equal_autograd(subject, dictionary)
    with pytest.raises(AssertionError):
        assert_edges_are_effects(subject, dictionary)


def test_the_reads_of_a_program_lie_where_the_recording_has_them(subject: Subject) -> None:
    """Drawing norms in must not move a site or the unembedding."""
    recording = subject.record(PROMPT)
    kept = [step for step in recording.steps if isinstance(step, Site | Unembed)]
    assert [step for step in program(recording) if isinstance(step, Site | Unembed)] == kept
