"""Whether a graph from elsewhere keeps what every graph here promises: looked at before anything is computed of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import torch

from clew.attribution.json_values import (
    LARGEST,
    layer_number,
    mapping,
    plain_json,
    real_number,
    shown,
    whole_number,
    whole_text,
)
from clew.attribution.nodes import array_shapes
from clew.errors import FileError

if TYPE_CHECKING:
    from clew.attribution.graph import Graph
    from clew.attribution.nodes import TargetInfo

MOST_TOKENS, MOST_LAYERS, MOST_INDEX, MOST_TARGETS = 100_000, 10_000, 10**9, 10_000
MOST_NODES = 200_000
MOST_ENTRIES = 200_000_000  # of the rows: 800 MB in single precision
_SUM_ERROR = 1e-3  # relative, of a sum of many edges in single precision
_LIKELIEST = 1 + 1e-4  # a probability that was rounded, or summed in half precision


def check_whole(graph: Graph) -> Graph:
    """The graph itself; FileError, in one line, when its nodes, edges or numbers cannot be a graph's."""
    try:
        broken = next((line for holds, line in _promises(graph) if not holds), None)
    except (TypeError, ValueError, AttributeError, OverflowError, RuntimeError) as error:
        raise FileError(f"this is not a whole graph: {error}") from error
    if broken is not None:
        raise FileError(f"this is not a whole graph: {broken}")
    return graph


def check_features(graph: Graph, features: Mapping[int, int], *, n_layers: int, vocabulary: int) -> None:
    """FileError when a graph names what its own model and dictionary do not have.

    `features` holds how many features read each layer.
    """
    if graph.n_layers != n_layers:
        raise FileError(f"this graph has {graph.n_layers} layers, but its model has {n_layers}")
    for layer, _, index in graph.feature_keys.tolist():
        if index >= features.get(layer, 0):
            raise FileError(f"this graph has a feature L{layer}/{index}, which its dictionary does not have")
    unknown = next((id for id in graph.token_ids if id >= vocabulary), None)
    if unknown is not None:
        raise FileError(f"this graph has a token {unknown}, but its model knows {vocabulary}")


def _promises(graph: Graph) -> Iterator[tuple[bool, str]]:
    """Each promise, and what is wrong where it does not hold; ValueError for a value of another kind."""
    yield from _shapes(graph)
    n_tokens, n_layers = graph.n_tokens, whole_number(graph.n_layers, "the number of layers")
    first = whole_number(graph.first_position, "its first position", low=0)
    yield type(graph.n_layers) is int and type(graph.first_position) is int, "its layers are no whole numbers"
    yield 0 < n_tokens <= MOST_TOKENS, f"it has {n_tokens} tokens"
    yield 0 < n_layers <= MOST_LAYERS, f"it has {n_layers} layers"
    yield 0 < len(graph.targets) <= MOST_TARGETS, f"it explains {len(graph.targets)} outputs"
    yield graph.n_nodes <= MOST_NODES, f"it has {graph.n_nodes:,} nodes, and at most {MOST_NODES:,} are read"
    for id in graph.token_ids:
        yield type(id) is int and -1 <= id < 1 << 31, f"a token id is {shown(id)}"
    yield first <= n_tokens, f"its first position is {first}"
    yield from _keys(graph)
    yield from _numbers(graph)
    for target in graph.targets:
        yield from _of_target(target, n_tokens)
    yield _runs_forward(graph), "an edge runs backwards, or stays in its layer"
    yield from _texts(graph)


def _shapes(graph: Graph) -> Iterator[tuple[bool, str]]:
    shapes = array_shapes(len(graph.feature_keys), len(graph.error_keys), *graph.rows.shape)
    if graph.effect_rows is not None:
        shapes["effect_rows"] = tuple(graph.rows.shape)
    for name, shape in shapes.items():
        given = tuple(getattr(graph, name).shape)
        yield given == shape, f"its {name} have the shape {given}, not {shape}"
    yield len(graph.token_ids) == graph.n_tokens, f"{len(graph.token_ids)} ids stand beside {graph.n_tokens} tokens"


def _keys(graph: Graph) -> Iterator[tuple[bool, str]]:
    """Nodes lie inside, in order and once; rows and columns are of nodes that have them."""
    n, sources = graph.n_features, graph.n_features + graph.n_errors + graph.n_tokens
    integers = [graph.feature_keys, graph.error_keys, graph.row_nodes, graph.col_nodes]
    yield all(t.dtype == torch.long for t in integers), "its nodes are no whole numbers"
    for keys, most in (
        (graph.feature_keys, (graph.n_layers, graph.n_tokens, MOST_INDEX)),
        (graph.error_keys, (graph.n_layers, graph.n_tokens)),
    ):
        inside = (keys >= 0) & (keys < torch.tensor(most))
        yield bool(inside.all()), "a node lies outside its layers or tokens"
        place = torch.zeros(len(keys), dtype=torch.long)
        for column, size in zip(keys.T, most, strict=True):
            place = place * size + column
        yield bool((place[1:] > place[:-1]).all()), "its nodes are not in order, or stand there twice"
    rows, cols = graph.row_nodes, graph.col_nodes
    yield bool((((rows >= 0) & (rows < n)) | ((rows >= sources) & (rows < graph.n_nodes))).all()), "a token has inputs"
    yield len(rows.unique()) == len(rows) and len(cols.unique()) == len(cols), "a node has two rows or columns"
    yield bool(((cols >= 0) & (cols < sources)).all()), "an output has outputs"


def _numbers(graph: Graph) -> Iterator[tuple[bool, str]]:
    yield graph.rows.is_floating_point() and graph.rows.dtype.itemsize >= 4, "its edges are no floating-point numbers"
    floats = [graph.rows, graph.activations, graph.preactivations, graph.row_offsets, graph.input_mass]
    floats += [] if graph.effect_rows is None else [graph.effect_rows]
    yield all(t.dtype == graph.rows.dtype for t in floats), "its numbers are of several kinds"
    # a NaN is no number, and compares as such
    yield all(bool((t.abs() <= LARGEST).all()) for t in floats), f"it holds NaN, infinity or more than {LARGEST:g}"
    yield bool((graph.input_mass >= 0).all()), "a node's absolute input is negative"
    edges = torch.cat([part.abs().sum(1) for part in graph.rows.split(1024)]) if len(graph.rows) else graph.input_mass
    within = edges <= graph.input_mass * (1 + _SUM_ERROR) + torch.finfo(edges.dtype).tiny
    yield bool(within.all()), "a node's edges are more than its absolute input"


def _of_target(target: TargetInfo, n_tokens: int) -> Iterator[tuple[bool, str]]:
    whole_text(target.label, "an output's label")
    position = whole_number(target.position, "an output's position", low=0)
    yield type(target.position) is int and position < n_tokens, "an output lies outside the tokens"
    real_number(target.weight, "an output's weight", low=0.0)
    real_number(target.value, "an output's logit")
    if target.probability is not None:
        real_number(target.probability, "an output's probability", low=0.0, high=_LIKELIEST)
    if target.token is not None:
        whole_number(target.token, "an output's token")
        yield type(target.token) is int, f"an output's token is {shown(target.token)}"


def _texts(graph: Graph) -> Iterator[tuple[bool, str]]:
    texts = [graph.prompt, graph.subject, graph.dictionary, graph.dictionary_kind, graph.dictionary_fingerprint]
    texts += [*graph.tokens, *graph.labels.values()]
    for text in texts:
        whole_text(text, "one of its texts")
    for token, probability in graph.next_tokens:
        whole_text(token, "a next token")
        real_number(probability, "a next token's probability", low=0.0, high=_LIKELIEST)
    for feature in graph.labels:
        layer_number(feature.layer, "a label's layer")
        yield feature.index < MOST_INDEX, f"a label's feature is {shown(feature.index)}"
    whole_text(graph.first_reason, "the reason of its first position")
    real_number(graph.first_ratio, "the ratio of its first position")
    plain_json(mapping(graph.settings, "settings"), "settings")
    plain_json(mapping(graph.provenance, "provenance"), "provenance")


def _runs_forward(graph: Graph) -> bool:
    """Every edge leads from an earlier layer, so that influence has an end."""
    layers = graph.node_layers
    step = max(1, (1 << 24) // max(1, graph.rows.shape[1]))
    for start in range(0, len(graph.rows), step):
        part = slice(start, start + step)
        later = layers[graph.col_nodes][None] >= layers[graph.row_nodes[part]][:, None]
        for edges in (graph.rows, graph.effect_rows):
            if edges is not None and bool((later & (edges[part] != 0)).any()):
                return False
    return True
