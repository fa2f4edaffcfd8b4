"""One head from nearby: contexts in which it writes alike, and why it looks where it looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from clew.attribution.looks import SIDES
from clew.intervention.look_effects import look_of
from clew.kit import Kit
from clew.studies.heads.head_model import HeadModel
from clew.studies.heads.texts import DomainText, Repeat

QUERIES, NEAREST, LISTED = 3, 3, 5
"""Contexts that are shown of a head, others beside each, and sources of a look."""
_AROUND = 6  # tokens before a token that are shown


def nearest_contexts(model: HeadModel, texts: Sequence[DomainText], heads: Mapping[str, int]) -> list[tuple[Any, ...]]:
    """Rows of a table: for the contexts in which a head writes most, those of other texts in which it writes alike.

    What is compared is what the head adds to the stream, less its mean, by the cosine. The last number is the mean
    cosine of all pairs from different texts.
    """
    written = {head: _writings(model, texts, head) for head in set(heads.values())}
    places = [(number, place) for number, text in enumerate(texts) for place in _content(model, text)]
    of_text = np.array([number for number, _ in places])
    rows: list[tuple[Any, ...]] = []
    for title, head in heads.items():
        vectors = written[head] - written[head].mean(0)
        sizes = np.linalg.norm(vectors, axis=1)
        unit = vectors / sizes.clip(min=1e-12)[:, None]
        for query in _largest(sizes, of_text):
            cosines = unit @ unit[query]
            other = of_text != of_text[query]
            typical = float(cosines[other].mean())
            nearest = sorted(np.flatnonzero(other).tolist(), key=lambda place: -cosines[place])
            for place in _of_different_texts(nearest, of_text):
                shown = [text for each in (query, place) for text in _around(model, texts, places[each], head)]
                rows.append((title, model.head_name(head), *shown, float(cosines[place]), typical))
    return rows


def look_rows(
    kit: Kit, prompts: Mapping[str, tuple[int, Sequence[int], int, int]], n_heads: int
) -> list[tuple[Any, ...]]:
    """Rows of a table: what at the query and what at the keys makes a head look; by class: head, tokens, query, key."""
    rows: list[tuple[Any, ...]] = []
    for title, (head, ids, query, key) in prompts.items():
        layer, number = divmod(head, n_heads)
        graph = kit.looks(list(ids), layer=layer, head=number, query=query, key=key)
        look = look_of(graph)
        name = f"L{layer}H{number}"
        where = f"{graph.tokens[look.query]!r} ({look.query}) to {graph.tokens[look.key]!r} ({look.key})"
        for side, rank in zip(SIDES, graph.target_range, strict=True):
            assert graph.effects is not None
            effects = graph.effects.rows[graph.row_of(rank)]
            for column in effects.abs().argsort(descending=True, stable=True)[:LISTED].tolist():
                if not float(effects[column]):
                    continue
                node = graph.node(int(graph.col_nodes[column]))
                label = graph.node_label(int(graph.col_nodes[column])).removeprefix(str(node.id)).strip()
                at = f"{graph.tokens[node.position]!r} ({node.position})"
                rows.append((title, name, where, look.weight, side, str(node.id), label, at, float(effects[column])))
    return rows


def strongest_neighbour(model: HeadModel, text: DomainText, head: int) -> tuple[Sequence[int], int, int]:
    """A text up to where a head looks most at the token before: ids, query, key."""
    pattern, places = model.patterns(text.ids)[head], [place for place in _content(model, text) if place > 1]
    query = max(places, key=lambda place: float(pattern[place, place - 1]))
    return text.ids[: query + 1], query, query - 1


def induction_prompt(repeat: Repeat) -> tuple[Sequence[int], int, int]:
    """A sequence up to the third token of its second copy, and what followed that in the first: ids, query, key."""
    query = repeat.second + 2
    return repeat.ids[: query + 1], query, repeat.first + 3


def _writings(model: HeadModel, texts: Sequence[DomainText], head: int) -> Float[np.ndarray, "context d_model"]:
    """What a head adds to the stream at every token of every text."""
    layer, number = divmod(head, model.n_heads)
    projection, rows = model.projections[layer], []
    for text in texts:
        whole = model.written(text.ids)[layer, _content(model, text)]
        size = whole.shape[1] // model.n_heads
        alone = torch.zeros_like(whole)
        alone[:, number * size : (number + 1) * size] = whole[:, number * size : (number + 1) * size]
        rows.append(alone)
    weight = next(projection.parameters())
    with torch.no_grad():
        alone = torch.cat(rows).to(weight)
        added: np.ndarray = (projection(alone) - projection(torch.zeros_like(alone[:1]))).double().cpu().numpy()
    return added


def _content(model: HeadModel, text: DomainText) -> list[int]:
    places: list[int] = model.content(text.ids).nonzero()[:, 0].tolist()
    return places


def _largest(sizes: Float[np.ndarray, " context"], of_text: np.ndarray) -> list[int]:
    return _of_different_texts(np.argsort(-sizes, kind="stable").tolist(), of_text, QUERIES)


def _of_different_texts(places: Sequence[int], of_text: np.ndarray, count: int = NEAREST) -> list[int]:
    """The first places of as many texts."""
    first: dict[int, int] = {}
    for place in places:
        first.setdefault(int(of_text[place]), int(place))
        if len(first) == count:
            break
    return list(first.values())


def _around(model: HeadModel, texts: Sequence[DomainText], place: tuple[int, int], head: int) -> tuple[str, str]:
    """A token in brackets behind the tokens before it, and the token that a head looks at most from there."""
    number, position = place
    ids = texts[number].ids
    names = [name.replace("Ġ", " ").replace("▁", " ") for name in model.strings(ids)]
    space = " " if model.encoder is not None else ""
    before = space.join(names[max(0, position - _AROUND) : position])
    key = int(model.patterns(ids)[head, position].argmax())
    return f"{before} [{names[position].strip()}]".strip(), f"{names[key].strip()} ({key - position:+d})"
