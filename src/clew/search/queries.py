"""The five ways of searching for features: words of labels, meaning, the text they fire on, token, example.

Words of stored labels are `LabelStore.matching`; `matching` here does the same for labels by rule. For a search by
meaning, the text of every label has a unit vector, stored as 16-bit floats in a file beside the labels and computed
again from them if it is lost:

1. All cosines with the query are computed in 16 bits, which reads half as much memory.
2. Those within `_SLACK` of the last one returned are computed again in 32 bits, so that the order is that of exact
   cosines of the stored vectors.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from clew import files
from clew.dictionary.dictionary import Dictionary
from clew.errors import FileError, InputError, MismatchError
from clew.features.atlas import Atlas
from clew.features.card import Card, Related
from clew.features.label import UNCLEAR, Label
from clew.ids import FeatureId
from clew.labels.store import LabelStore
from clew.progress import Progress, Report, silent
from clew.search.query import Order
from clew.subject.positions import first_counted, is_text
from clew.subject.subject import Prompt, Subject

ENVELOPE = files.Envelope(format="clew.meanings", schema=1, what="vectors of labels")
_SLACK = 4e-3  # a cosine of 384 products rounded to 16 bits is off by less than half of it
_BATCH = 256  # texts that are encoded at once
_SAVE_EVERY = 20_000  # new vectors after which the file is written, so that a long first run can be interrupted


@runtime_checkable
class Encoder(Protocol):
    """Makes unit vectors of texts: `clew.labels.sentence_encoder.SentenceEncoder` does."""

    @property
    def name(self) -> str:
        """The encoder's name, which is part of the name of the file of vectors."""

    def __call__(self, texts: Sequence[str]) -> Float[np.ndarray, "text d"]: ...


@dataclass(frozen=True)
class Meanings:
    """An index of the labels of a Dictionary by meaning."""

    store: LabelStore
    encoder: Encoder
    texts: tuple[str, ...]
    vectors: Float[Tensor, "text d"]
    """In 16 bits, a row a text."""
    atlas: Atlas | None = None
    """Its labels by rule are searched too, except where the store has the same text for the same feature."""
    state: tuple[int, int] = (0, 0)
    """Of the store when the index was built."""

    def nearest(self, query: str, *, limit: int = 20) -> list[tuple[Label, float]]:
        """Labels by the cosine of their text with the query, the closest first; InputError when the query is blank."""
        direction = self._direction(query)
        nearest: list[tuple[Label, float]] = []
        rows, cosines = nearest_rows(self.vectors, direction, limit)
        for row, cosine in zip(rows.tolist(), cosines.tolist(), strict=True):
            if len(nearest) < limit:
                nearest += [(label, cosine) for label in self._with_text(self.texts[row], limit - len(nearest))]
        return nearest

    def nearest_among(
        self, query: str, features: Collection[FeatureId], *, limit: int = 20
    ) -> list[tuple[Label, float]]:
        """The same among some features alone; InputError when the query is blank."""
        direction = self._direction(query)
        rules = {} if self.atlas is None else self.atlas.rules(features)
        labels_of: dict[str, dict[FeatureId, Label]] = {}
        for feature in sorted(features):
            for label in (*self.store.of(feature), *([rules[feature]] if feature in rules else [])):
                if label.text != UNCLEAR:
                    labels_of.setdefault(label.text, {}).setdefault(feature, label)
        candidates = [row for row, text in enumerate(self.texts) if text in labels_of]
        rows, cosines = nearest_rows(self.vectors[candidates], direction, limit)
        return [
            (label, cosine)
            for row, cosine in zip(rows.tolist(), cosines.tolist(), strict=True)
            for label in labels_of[self.texts[candidates[row]]].values()
        ][:limit]

    def _direction(self, query: str) -> Float[Tensor, " d"]:
        if not query.strip():
            raise InputError("the search is empty: say what a label should mean")
        return torch.from_numpy(self.encoder([query])[0])

    def _with_text(self, text: str, limit: int) -> list[Label]:
        """Labels of this text: those of the store, then those by rule of other features."""
        labels = self.store.with_text(text, limit=limit)
        if self.atlas is None or len(labels) >= limit:
            return labels
        known = {label.feature for label in labels}
        rest = [feature for feature in self.atlas.features_by_rule.get(text, ()) if feature not in known]
        return labels + list(self.atlas.rules(rest[: limit - len(labels)]).values())


def nearest_rows(
    vectors: Float[Tensor, "text d"], query: Float[Tensor, " d"], limit: int
) -> tuple[Int[Tensor, " nearest"], Float[Tensor, " nearest"]]:
    """The rows with the largest products with the query, equal ones in order, and these products in float32."""
    limit = min(limit, len(vectors))
    if limit == 0:
        return torch.zeros(0, dtype=torch.long), torch.zeros(0)
    rough = vectors @ query.to(vectors.dtype)
    last = rough.topk(limit).values[-1].float()
    near = (rough >= last - _SLACK).nonzero()[:, 0]
    exact = vectors[near].float() @ query.float()
    order = torch.sort(exact, descending=True, stable=True).indices[:limit]
    return near[order], exact[order]


def meanings(
    store: LabelStore,
    encoder: Encoder,
    report: Report = silent,
    *,
    atlas: Atlas | None = None,
) -> Meanings:
    """The labels of a store, and those by rule of an atlas, with their vectors.

    Vectors are computed for texts that have none yet, and stored beside the store's file. The index stays in memory,
    with the atlas or else with the store, for as long as no label is added or withdrawn.
    """
    cache, key = (store.cache if atlas is None else atlas.cache), (str(store.path), encoder.name)
    state = store.state()
    if isinstance(cached := cache.get(key), Meanings) and cached.state == state:
        return replace(cached, store=store, encoder=encoder)
    index = cache[key] = _indexed(store, encoder, report, atlas, state)
    return index


def _indexed(
    store: LabelStore,
    encoder: Encoder,
    report: Report,
    atlas: Atlas | None,
    state: tuple[int, int],
) -> Meanings:
    path = store.path.with_name(f"{store.path.stem}.{encoder.name}.safetensors")
    keys, vectors = _load(path)
    rules = () if atlas is None else atlas.features_by_rule
    texts = tuple(text for text in sorted({*store.texts(), *rules}) if text != UNCLEAR)
    text_keys = [_key(text) for text in texts]
    row_of = dict(zip(keys.tolist(), range(len(keys)), strict=True))
    new = sorted((text for text, key in zip(texts, text_keys, strict=True) if key not in row_of), key=len)
    for start in range(0, len(new), _SAVE_EVERY):
        part = new[start : start + _SAVE_EVERY]
        batches = (part[first : first + _BATCH] for first in range(0, len(part), _BATCH))
        encoded = [torch.from_numpy(encoder(batch)).half() for batch in batches]
        vectors = torch.cat([vectors, *encoded] if len(vectors) else encoded)
        row_of.update({_key(text): len(row_of) + n for n, text in enumerate(part)})
        keys = torch.tensor(list(row_of), dtype=torch.long)
        files.save_tensors(path, {"keys": keys, "vectors": vectors}, ENVELOPE.note())
        report(Progress(what="reading labels", done=start + len(part), of=len(new), unit="labels"))
    rows = torch.tensor([row_of[key] for key in text_keys], dtype=torch.long)
    in_order = len(rows) == len(vectors) and bool((rows == torch.arange(len(rows))).all())  # then no copy is needed
    return Meanings(store, encoder, texts, vectors if in_order else vectors[rows], atlas, state)


def _key(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), signed=True)


def _load(path: Path) -> tuple[Tensor, Tensor]:
    """Keys of texts and their vectors; none where the file is missing or damaged, as it is computed again."""
    nothing = torch.zeros(0, dtype=torch.long), torch.zeros(0, 0, dtype=torch.half)
    try:
        if not path.is_file() or files.load_note(path).get("schema") != str(ENVELOPE.schema):
            return nothing
        tensors = files.load_tensors(path, ("keys", "vectors"))
    except FileError:
        return nothing
    keys, vectors = tensors["keys"], tensors["vectors"]
    return (keys, vectors) if keys.shape == vectors.shape[:1] == torch.unique(keys).shape else nothing


def matching(texts: Iterable[str], words: str) -> list[str]:
    """Texts that hold every one of some words or their beginnings, the shortest first, as `LabelStore.matching` has it.

    Words without a letter or digit are looked for as they stand. InputError when they are blank.
    """
    if not words.strip():
        raise InputError("the search is empty: give words that a label holds")
    terms = re.findall(r"\w+", words.casefold())
    if not terms:
        matches = [text for text in texts if words.strip() in text]
    else:
        begins = [re.compile(rf"\b{re.escape(term)}").search for term in terms]
        matches = [
            text
            for text in texts
            if all(term in (low := text.casefold()) for term in terms) and all(begin(low) for begin in begins)
        ]
    return sorted(matches, key=lambda text: (len(text), text))


# --- by token, by example -------------------------------------------------------------------------------------------


def promoting(
    features: Iterable[FeatureId], promoted: Int[np.ndarray, "feature rank"], tokens: Collection[int], limit: int = 20
) -> list[FeatureId]:
    """Features that promote one of some tokens, those that promote it before others first.

    A row of `promoted` holds the tokens that a feature promotes most, as an Atlas' summary does.
    """
    wanted = np.isin(promoted, list(tokens))
    rank = np.where(wanted.any(1), wanted.argmax(1), promoted.shape[1])
    order = np.argsort(rank, kind="stable")[:limit]
    names = list(features)
    return [names[row] for row in order.tolist() if rank[row] < promoted.shape[1]]


def alike(card: Card) -> dict[str, tuple[Related, ...]]:
    """Features like that of a card: by decoder, by encoder, and those that fire with it."""
    return {"writes alike": card.nearest_decoder, "reads alike": card.nearest_encoder, "fires with": card.together}


# --- by text --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Firing:
    """One feature at one token of a text."""

    feature: FeatureId
    position: int
    activation: float
    share: float | None
    """Of its largest activation in the atlas' corpus; None without an atlas."""


@torch.no_grad()
def firing(
    subject: Subject,
    dictionary: Dictionary,
    prompt: Prompt,
    *,
    largest: Mapping[int, np.ndarray] | None = None,
    density: Mapping[int, np.ndarray] | None = None,
    at_most: float = 1.0,
    order: Order = "share",
    add_bos: bool = True,
) -> list[Firing]:
    """Every feature that fires on a text, the strongest first: by share of its largest activation, if known.

    With `order` activation by that alone, in each feature's own units. `largest` and `density` hold an array a layer,
    from an atlas; features denser than `at_most` are left out, and so are special tokens and a first position that is
    an attention sink: they do not count in an atlas either.
    MismatchError when the dictionary does not fit the subject, or the arrays do not fit the dictionary.
    """
    dictionary.check_fits(subject)
    ids = subject.encode(prompt, add_bos=add_bos)
    counts = is_text(subject, ids)
    counts[: first_counted(subject, ids)] = False
    counted, site = counts.tolist(), dictionary.read_site
    captured = subject.capture(ids[None], [site])
    firings = []
    for layer in sorted(dictionary.layers):
        active = dictionary.encode(layer, captured[site, layer][0])
        peaks, dense = _of_layer(largest, layer, dictionary), _of_layer(density, layer, dictionary)
        rows = zip(active.position.tolist(), active.index.tolist(), active.activation.tolist(), strict=True)
        for position, index, value in rows:
            if counted[position] and (dense is None or dense[index] <= at_most):
                share = float(value / peaks[index]) if peaks is not None and peaks[index] > 0 else None
                firings.append(
                    Firing(feature=FeatureId(layer, index), position=position, activation=float(value), share=share)
                )
    by_share = order == "share"
    return sorted(firings, key=lambda f: (-(f.share or 0.0) * by_share, -f.activation, f.feature, f.position))


@torch.no_grad()
def activations_on(
    subject: Subject, dictionary: Dictionary, feature: FeatureId, prompt: Prompt, *, add_bos: bool = True
) -> tuple[tuple[str, ...], Float[Tensor, " pos"], int]:
    """The tokens of a text, a feature's activation at each, and the first position that counts: 0 stands before it.

    InputError when the Dictionary does not have the feature, MismatchError when it does not fit the subject.
    """
    dictionary.check_fits(subject)
    if feature.layer not in dictionary.layers or feature.index >= dictionary.d_features(feature.layer):
        raise InputError(f"there is no feature {feature} in {dictionary.name!r}")
    ids = subject.encode(prompt, add_bos=add_bos)
    first, site = first_counted(subject, ids), dictionary.read_site
    active = dictionary.encode(feature.layer, subject.capture(ids[None], [site])[site, feature.layer][0])
    fires = active.index == feature.index
    activations = torch.zeros(len(ids))
    activations[active.position[fires].cpu()] = active.activation[fires].float().cpu()
    activations[:first] = 0
    return subject.token_strings(ids.tolist()), activations, first


def _of_layer(values: Mapping[int, np.ndarray] | None, layer: int, dictionary: Dictionary) -> np.ndarray | None:
    if values is None:
        return None
    column = values.get(layer)
    if column is None or len(column) != dictionary.d_features(layer):
        raise MismatchError(f"the atlas does not describe the {dictionary.d_features(layer)} features of layer {layer}")
    return column


def by_token(firings: Sequence[Firing], top: int = 5) -> dict[int, list[Firing]]:
    """The strongest features at every position, in the order of the text; the firings come strongest first."""
    strongest: dict[int, list[Firing]] = {}
    for firing in firings:
        group = strongest.setdefault(firing.position, [])
        if len(group) < top:
            group.append(firing)
    return dict(sorted(strongest.items()))


def by_feature(firings: Sequence[Firing]) -> list[Firing]:
    """Each feature once, where it is strongest; the firings come strongest first."""
    strongest: dict[FeatureId, Firing] = {}
    for firing in firings:
        strongest.setdefault(firing.feature, firing)
    return list(strongest.values())
