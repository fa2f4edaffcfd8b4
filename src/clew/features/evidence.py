"""Which contexts of a card a labeller may see, and which are kept to score the label.

1. Contexts of one document, or with the same tokens, form a group: a label is never scored on text that its labeller
   has read.
2. Groups are put in the order of a hash, and each goes to the side that has fewer firing contexts so far; then those
   without a firing context go to the side with fewer silent ones. Any program deals the same card alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

from clew.features.card import Card, Context


@dataclass(frozen=True)
class Evidence:
    """One side of a card's contexts."""

    top: tuple[Context, ...]
    """Those with the largest activations, in that order."""
    firing: tuple[Context, ...]
    """The top ones and those of all bands of activation, each once."""
    silent: tuple[Context, ...]


def split(card: Card) -> tuple[Evidence, Evidence]:
    """What the labeller may see, and what is held out: about half of the firing and half of the silent contexts."""
    banded = tuple(context for band in card.bands for context in band.contexts)
    firing = tuple({(context.document, context.position): context for context in (*card.top, *banded)}.values())
    group_of = _groups((*firing, *card.silent))
    shown = _dealt(f"{card.feature}", firing, card.silent, group_of)

    def side(seen: bool) -> Evidence:
        def mine(contexts: Sequence[Context]) -> tuple[Context, ...]:
            return tuple(context for context in contexts if (group_of[context.document] in shown) == seen)

        return Evidence(mine(card.top), mine(firing), mine(card.silent))

    return side(True), side(False)


def _groups(contexts: Sequence[Context]) -> dict[int, int]:
    """For every document the smallest number of a document that it shares tokens with, directly or through others."""
    parent = {context.document: context.document for context in contexts}

    def root(document: int) -> int:
        while parent[document] != document:
            document = parent[document]
        return document

    first_with: dict[tuple[int, ...], int] = {}
    for context in contexts:
        one, other = root(context.document), root(first_with.setdefault(context.token_ids, context.document))
        parent[max(one, other)] = min(one, other)
    return {document: root(document) for document in parent}


def _dealt(salt: str, firing: Sequence[Context], silent: Sequence[Context], group_of: dict[int, int]) -> set[int]:
    """The groups that the labeller may see."""

    def counts(contexts: Sequence[Context]) -> dict[int, int]:
        found: dict[int, int] = {}
        for context in contexts:
            group = group_of[context.document]
            found[group] = found.get(group, 0) + 1
        return found

    def by_hash(group: int) -> bytes:
        return blake2b(f"{salt}:{group}".encode(), digest_size=8).digest()

    fires, rests, shown, held_out = counts(firing), counts(silent), set[int](), set[int]()
    for wanted, here in ((fires, fires), (rests, rests.keys() - fires.keys())):
        for group in sorted(here, key=by_hash):
            balance = sum(wanted.get(g, 0) for g in shown) - sum(wanted.get(g, 0) for g in held_out)
            (shown if balance <= 0 else held_out).add(group)
    return shown
