"""Graphs for tests: random layered ones, one from a dense matrix, and one that looks like a real prompt's."""

from collections.abc import Callable
from functools import partial

import torch
from hypothesis import strategies as st
from torch import Tensor

from clew.attribution.graph import Graph
from clew.attribution.nodes import TargetInfo
from clew.ids import FeatureId


def build(
    matrix: Tensor,
    feature_keys: Tensor,
    error_keys: Tensor,
    tokens: tuple[str, ...],
    targets: tuple[TargetInfo, ...],
    n_layers: int,
    *,
    offsets: Tensor | None = None,
    activations: Tensor | None = None,
    scramble: bool = True,
    **rest: object,
) -> Graph:
    """A Graph from a dense [node, node] matrix, row = target, in the canonical order of nodes.

    Columns are stored position by position (as a sweep leaves them) when `scramble`, else in the canonical order.
    """
    n_features, n_errors, n_tokens = len(feature_keys), len(error_keys), len(tokens)
    n_nodes = n_features + n_errors + n_tokens + len(targets)
    row_nodes = torch.cat([torch.arange(n_features), torch.arange(n_nodes - len(targets), n_nodes)])
    col_nodes = torch.arange(n_nodes - len(targets))
    if scramble:
        position = torch.cat([feature_keys[:, 1], error_keys[:, 1], torch.arange(n_tokens)])
        col_nodes = torch.sort(position, stable=True).indices
        row_nodes = row_nodes.flip(0)
    rows = matrix[row_nodes][:, col_nodes]
    if offsets is None:
        offsets = torch.zeros(n_nodes, 4, dtype=matrix.dtype)
    values = matrix.sum(1) + offsets.sum(1)
    outputs = []
    for target, value in zip(targets, values[n_nodes - len(targets) :].tolist(), strict=True):
        outputs.append(TargetInfo(**{**vars(target), "value": value}))
    fields = {
        "prompt": "".join(tokens),
        "token_ids": tuple(range(10, 10 + n_tokens)),
        "first_position": 0,
        "activations": values[:n_features].clamp_min(0.1) if activations is None else activations,
        "preactivations": values[:n_features].clone(),
        "row_offsets": offsets[row_nodes],
        "input_mass": rows.abs().sum(1),
    }
    return Graph(
        tokens=tokens,
        n_layers=n_layers,
        feature_keys=feature_keys,
        error_keys=error_keys,
        targets=tuple(outputs),
        rows=rows,
        row_nodes=row_nodes,
        col_nodes=col_nodes,
        **{**fields, **rest},
    )


def random_graph(
    seed: int = 0,
    *,
    n_layers: int = 3,
    n_tokens: int = 4,
    n_features: int = 20,
    n_targets: int = 2,
    errors: bool = True,
    density: float = 0.7,
    dtype: torch.dtype = torch.float64,
    scramble: bool = True,
    d_features: int = 97,
) -> Graph:
    """A layered graph: a node reads from lower layers at its own or earlier positions, and from tokens."""
    generator = torch.Generator().manual_seed(seed)
    n_cells = n_layers * n_tokens
    places = torch.randperm(n_cells * d_features, generator=generator)[:n_features].sort().values
    feature_keys = torch.stack(
        [places // (n_tokens * d_features), places // d_features % n_tokens, places % d_features], 1
    )
    error_keys = torch.cartesian_prod(torch.arange(n_layers), torch.arange(n_tokens)) if errors else torch.zeros(0, 2)
    error_keys = error_keys.long().reshape(-1, 2)
    tokens = tuple(f" t{i}" for i in range(n_tokens))
    chances = torch.rand(n_targets, generator=generator) + 0.1
    chances = chances / chances.sum() * 0.95
    targets = tuple(
        TargetInfo(label=f" o{i}", position=n_tokens - 1, weight=p, value=0.0, token=50 + i, probability=p)
        for i, p in enumerate(chances.tolist())
    )
    layer = torch.cat(
        [feature_keys[:, 0], error_keys[:, 0], torch.full((n_tokens,), -1), torch.full((n_targets,), n_layers)]
    )
    position = torch.cat(
        [feature_keys[:, 1], error_keys[:, 1], torch.arange(n_tokens), torch.full((n_targets,), n_tokens - 1)]
    )
    reads = torch.zeros(len(layer), dtype=torch.bool)
    reads[:n_features] = True
    reads[len(layer) - n_targets :] = True
    sees = (layer[None, :] < layer[:, None]) & (position[None, :] <= position[:, None]) & reads[:, None]
    chosen = torch.rand(sees.shape, generator=generator) < density
    matrix = torch.randn(sees.shape, generator=generator, dtype=torch.float64) * (sees & chosen)
    offsets = torch.randn(len(layer), 4, generator=generator, dtype=torch.float64) * reads[:, None]
    return build(
        matrix.to(dtype), feature_keys, error_keys, tokens, targets, n_layers,
        offsets=offsets.to(dtype), scramble=scramble,
    )  # fmt: skip


Make = Callable[[], Graph]  # drawn in place of the graph: run-time type checks may draw random numbers, strategies not
MAKES = st.builds(
    partial,
    st.just(random_graph),
    st.integers(0, 10**6),
    n_layers=st.integers(1, 4),
    n_tokens=st.integers(1, 5),
    n_features=st.integers(0, 25),
    n_targets=st.integers(1, 3),
    errors=st.booleans(),
    density=st.floats(0, 1),
    scramble=st.booleans(),
)

_FRANCE = (
    ("The", " capital", " of", " France", " is"),
    {
        (0, 1): ("word: capital", "starts a question of place"),
        (0, 3): ("word: France", "a country", "capitalised name"),
        (1, 2): ("of + name follows",),
        (1, 3): ("France or French", "Europe"),
        (1, 1): ("capital cities",),
        (2, 3): ("Paris and what is near it", "country, not city"),
        (2, 4): ("the capital of X is", "a statement follows"),
        (3, 3): ("French things",),
        (3, 4): ("says a capital city", "says a name"),
        (4, 4): ('says " Paris"', 'says " Lyon"', "says a European city", "suppresses repetition"),
        (5, 4): ('says " Paris"', 'suppresses " the"', "says a capitalised word"),
    },
)


def capital_graph(seed: int = 7) -> Graph:
    """A made-up graph of `The capital of France is` with labelled features, weak unlabelled ones and errors."""
    generator = torch.Generator().manual_seed(seed)
    tokens = ("<bos>", *_FRANCE[0])
    strong = {(layer, p + 1): names for (layer, p), names in _FRANCE[1].items()}
    keys: list[tuple[int, int, int]] = []
    labels: dict[FeatureId, str] = {}
    strength: dict[tuple[int, int, int], float] = {}
    for layer in range(6):
        for position in range(1, len(tokens)):
            names = strong.get((layer, position), ())
            for number in range(len(names) + int(torch.randint(0, 5, (1,), generator=generator))):
                index = int(torch.randint(0, 1024, (1,), generator=generator))
                if (layer, position, index) in strength:
                    continue
                keys.append((layer, position, index))
                strength[keys[-1]] = 1.0 if number < len(names) else 0.45
                if number < len(names):
                    labels[FeatureId(layer, index)] = names[number]
    keys.sort()
    feature_keys = torch.tensor(keys)
    error_keys = torch.cartesian_prod(torch.arange(6), torch.arange(1, len(tokens)))
    names = ((" Paris", 0.931), (" Lyon", 0.021), (" the", 0.012), (" Berlin", 0.006))
    targets = tuple(
        TargetInfo(label=name, position=len(tokens) - 1, weight=p, value=0.0, token=900 + i, probability=p)
        for i, (name, p) in enumerate(names)
    )
    n_tokens, n_targets = len(tokens), len(targets)
    layer = torch.cat([feature_keys[:, 0], error_keys[:, 0], torch.full((n_tokens,), -1), torch.full((n_targets,), 6)])
    last = torch.full((n_targets,), n_tokens - 1)
    position = torch.cat([feature_keys[:, 1], error_keys[:, 1], torch.arange(n_tokens), last])
    power = torch.tensor(
        [strength[key] for key in keys] + [0.18] * len(error_keys) + [0.7] * n_tokens + [1.0] * n_targets
    )
    reads = (torch.arange(len(layer)) < len(keys)) | (torch.arange(len(layer)) >= len(layer) - n_targets)
    sees = (layer[None] < layer[:, None]) & (position[None] <= position[:, None]) & reads[:, None]
    near = torch.where(position[None] == position[:, None], 1.0, 0.35)
    matrix = torch.randn(sees.shape, generator=generator) ** 2 * sees * power[None] * near
    matrix = torch.where(torch.rand(sees.shape, generator=generator) < 0.25, -0.6, 1.0) * matrix.abs()
    offsets = 0.3 * torch.randn(len(layer), 4, generator=generator) * reads[:, None]
    offsets[:, 3] = 0
    return build(
        matrix, feature_keys, error_keys, tokens, targets, 6,
        offsets=offsets, activations=torch.rand(len(keys), generator=generator) * 8 + 0.2, first_position=1,
        prompt="The capital of France is", labels=labels, subject="minnow", dictionary="minnow-clt",
        dictionary_kind="clt",
    )  # fmt: skip
