"""Whether a graph from elsewhere keeps what every graph here promises: looked at before anything is computed of it."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from clew.attribution.graph import Graph
from clew.errors import FileError

MOST_TOKENS, MOST_LAYERS, MOST_INDEX = 100_000, 10_000, 10**9
MOST_ENTRIES = 200_000_000  # of the rows: 800 MB in single precision


def check_whole(graph: Graph) -> Graph:
    """The graph itself; FileError, in one line, when its nodes, edges or numbers cannot be a graph's."""
    try:
        broken = next((line for holds, line in _promises(graph) if not holds), None)
    except (TypeError, ValueError, AttributeError, OverflowError, RuntimeError) as error:
        raise FileError(f"this is not a whole graph: {error}") from error
    if broken is not None:
        raise FileError(f"this is not a whole graph: {broken}")
    return graph


def _promises(graph: Graph) -> Iterator[tuple[bool, str]]:
    n, sources = graph.n_features, graph.n_features + graph.n_errors + graph.n_tokens
    n_tokens, n_layers = graph.n_tokens, graph.n_layers
    yield 0 < n_tokens <= MOST_TOKENS, f"it has {n_tokens} tokens"
    yield all(type(token) is int for token in graph.token_ids), "a token id is no whole number"
    yield len(graph.token_ids) == n_tokens, f"{len(graph.token_ids)} token ids stand beside {n_tokens} tokens"
    yield isinstance(n_layers, int) and 0 < n_layers <= MOST_LAYERS, f"it has {n_layers} layers"
    yield 0 <= graph.first_position <= n_tokens, f"its first position is {graph.first_position}"
    yield len(graph.targets) > 0, "it explains nothing"
    yield graph.rows.is_floating_point() and graph.rows.dtype.itemsize >= 4, "its edges are no floating-point numbers"
    floats = [graph.rows, graph.activations, graph.preactivations, graph.row_offsets, graph.input_mass]
    yield all(t.dtype == graph.rows.dtype for t in floats), "its numbers are of several kinds"
    integers = [graph.feature_keys, graph.error_keys, graph.row_nodes, graph.col_nodes]
    yield all(t.dtype == torch.long for t in integers), "its nodes are no whole numbers"
    for keys, most in (
        (graph.feature_keys, (n_layers, n_tokens, MOST_INDEX)),
        (graph.error_keys, (n_layers, n_tokens)),
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
    yield all(bool(t.isfinite().all()) for t in floats), "it holds NaN or infinity"
    yield bool((graph.input_mass >= 0).all()), "a node's absolute input is negative"
    for target in graph.targets:
        numbers = [target.weight, target.value, *([] if target.probability is None else [target.probability])]
        yield all(isinstance(x, int | float) and math.isfinite(x) for x in numbers), "an output has no number"
        yield target.weight >= 0, f"an output weighs {target.weight}"
        yield isinstance(target.position, int) and 0 <= target.position < n_tokens, "an output lies outside the tokens"
        yield isinstance(target.label, str), "an output has no label"
    yield _runs_forward(graph), "an edge runs backwards"
    texts = [graph.prompt, graph.subject, graph.dictionary, graph.dictionary_kind, graph.dictionary_fingerprint]
    texts += [*graph.tokens, *graph.labels.values(), *(target.label for target in graph.targets)]
    yield all(isinstance(text, str) and _is_text(text) for text in texts), "it holds half of a character"
    yield all(_is_text(t) and math.isfinite(p) for t, p in graph.next_tokens), "its next tokens have no probability"


def _runs_forward(graph: Graph) -> bool:
    """Every edge leads from an earlier layer, so that influence has an end."""
    layers = graph.node_layers
    step = max(1, (1 << 24) // max(1, graph.rows.shape[1]))
    for start in range(0, len(graph.rows), step):
        part = slice(start, start + step)
        later = layers[graph.col_nodes][None] >= layers[graph.row_nodes[part]][:, None]
        if bool((later & (graph.rows[part] != 0)).any()):
            return False
    return True


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
