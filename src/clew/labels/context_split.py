"""Which contexts of a card a labeller may see, and which are held out to score the label.

A model's label is written from one half (`split`). Rules cost nothing: they are applied as often as there are `folds`,
each time to the contexts of the others.

1. Contexts of one document, or with the same tokens, form a group: a label is never scored on text that its labeller
   has read.
2. Groups are put in the order of a hash, and each goes to the side that has fewer of the top contexts so far; then
   those with other firing contexts to the side with fewer of them. The same card is always split in the same way.
3. The labeller may see a third of the silent contexts. A card has few of them, and to a labeller every token of one is
   an example of text at large, while for a score the whole context is one question.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b

from clew.features.card import Card, Context


@dataclass(frozen=True)
class Evidence:
    """One side of a card's contexts."""

    top: tuple[Context, ...]
    """Those with the largest activations, in that order."""
    firing: tuple[Context, ...]
    """The top contexts and those of all bands of activation, each once."""
    silent: tuple[Context, ...]


def split(card: Card) -> tuple[Evidence, Evidence]:
    """What the labeller may see, and what is held out: about half of the firing contexts, two thirds of the silent."""
    firing = firing_of(card)
    kinds, group_of = (card.top, firing, card.silent), _groups((*firing, *card.silent))
    shown = _shown_groups(f"{card.feature}", [_counts(contexts, group_of) for contexts in kinds])
    labeller, held_out = (
        Evidence(*(tuple(c for c in contexts if (group_of[c.document] in shown) == side) for contexts in kinds))
        for side in (True, False)
    )
    return labeller, held_out


def firing_of(card: Card) -> tuple[Context, ...]:
    """The contexts in which it fires: the top ones and those of all bands, each once."""
    banded = (context for band in card.bands for context in band.contexts)
    return tuple({(context.document, context.position): context for context in (*card.top, *banded)}.values())


@dataclass(frozen=True)
class Fold:
    """Contexts held out, as indices into `firing_of(card)` and `card.silent`; the others may be seen."""

    firing: tuple[int, ...]
    silent: tuple[int, ...]
    seen_firing: tuple[int, ...]
    seen_silent: tuple[int, ...]


def folds(card: Card, count: int) -> list[Fold]:
    """Every context is held out once; those of one document, or with the same tokens, together."""
    firing = firing_of(card)
    group_of = _groups((*firing, *card.silent))
    hashed = sorted(set(group_of.values()), key=partial(_hash, f"{card.feature}"))
    fires = {group_of[context.document] for context in firing}
    dealt = {group: i % count for i, group in enumerate(sorted(hashed, key=lambda group: group not in fires))}
    of_firing = [dealt[group_of[context.document]] for context in firing]
    of_silent = [dealt[group_of[context.document]] for context in card.silent]
    return [
        Fold(
            firing=tuple(i for i, fold in enumerate(of_firing) if fold == n),
            silent=tuple(i for i, fold in enumerate(of_silent) if fold == n),
            seen_firing=tuple(i for i, fold in enumerate(of_firing) if fold != n),
            seen_silent=tuple(i for i, fold in enumerate(of_silent) if fold != n),
        )
        for n in range(count)
    ]


def _groups(contexts: Sequence[Context]) -> dict[int, int]:
    """For every document the smallest number of a document that it shares tokens with, directly or through others."""
    parent = {context.document: context.document for context in contexts}

    first_with: dict[tuple[int, ...], int] = {}
    for context in contexts:
        same = first_with.setdefault(context.token_ids, context.document)
        low, high = sorted((_root(parent, context.document), _root(parent, same)))
        parent[high] = low
    return {document: _root(parent, document) for document in parent}


def _root(parent: dict[int, int], document: int) -> int:
    while parent[document] != document:
        document = parent[document]
    return document


def _counts(contexts: Sequence[Context], group_of: dict[int, int]) -> Counter[int]:
    """How many contexts of each group there are."""
    return Counter(group_of[context.document] for context in contexts)


def _shown_groups(salt: str, kinds: Sequence[Counter[int]]) -> set[int]:
    """The groups that the labeller may see; the last kind is the silent contexts."""
    shown, dealt = set[int](), set[int]()
    for kind in kinds:
        share = 1 / 3 if kind is kinds[-1] else 1 / 2
        for group in sorted(kind.keys() - dealt, key=partial(_hash, salt)):
            dealt.add(group)
            n_shown = sum(kind[member] for member in shown)
            if n_shown <= share * (sum(kind[member] for member in dealt) - kind[group]) and (
                kind is not kinds[-1] or n_shown + kind[group] <= share * kind.total()
            ):
                shown.add(group)
    return shown


def _hash(salt: str, group: int) -> bytes:
    return blake2b(f"{salt}:{group}".encode(), digest_size=8).digest()
