"""Cards written by hand: a context is a text whose marked tokens stand in brackets."""

import re

from clew.features.card import Band, Card, Context, Histogram, Places, TokenWeight
from clew.ids import FeatureId

VOCABULARY: dict[str, int] = {}


def token_id(token):
    return VOCABULARY.setdefault(token, len(VOCABULARY))


def context(text, document=0, activation=1.0, start=0):
    """`the capital of [France] is`: a token a word, with the space before it; the first in brackets is the place."""
    words = [f" {word}" if number else word for number, word in enumerate(text.split(" "))]
    marked = [number for number, word in enumerate(words) if re.fullmatch(r" ?\[.+\]", word)]
    tokens = tuple(re.sub(r"^( ?)\[(.+)\]$", r"\1\2", word) for word in words)
    at = marked[0] if marked else len(tokens) // 2
    return Context(
        document=document,
        position=start + at,
        at=at,
        token_ids=tuple(map(token_id, tokens)),
        tokens=tokens,
        activations=tuple(activation if number in marked else 0.0 for number in range(len(tokens))),
    )


def contexts(texts, first_document, *, start=5, activation=8.0):
    """One document each, the strongest first."""
    return tuple(
        context(text, first_document + n, activation=activation / (n + 1) if "[" in text else 0.0, start=start)
        for n, text in enumerate(texts)
    )


def card(top=(), silent=(), promoted=(), feature="L3/1207", bands=(), start=5, at_last=0.0):
    """`top` and `silent` are texts; documents are numbered through."""
    shown, resting = contexts(top, 0, start=start), contexts(silent, 10_000)
    banded = contexts(bands, 20_000, activation=1.0)
    empty = Histogram(edges=(0.0, 1.0), counts=(0,))
    return Card(
        feature=FeatureId.parse(feature),
        positions=100_000,
        documents=1000,
        fired=len(shown) + len(banded),
        fired_documents=len(shown) + len(banded),
        max_activation=max((c.activation for c in shown), default=0.0),
        mean_activation=1.0 if shown else 0.0,
        log_histogram=empty,
        linear_histogram=empty,
        places=Places(bounds=(0, 1), fired=(0.0, 1.0), everything=(0.1, 0.9), at_last=at_last, everything_at_last=0.1),
        top=shown,
        bands=(Band(low=0.5, high=1.0, fired=len(banded), contexts=banded),) if banded else (),
        silent=resting,
        promoted=tuple(TokenWeight(token_id=token_id(t), token=t, weight=1.0 - n / 20) for n, t in enumerate(promoted)),
        suppressed=(),
        logits=empty,
        nearest_decoder=(),
        nearest_encoder=(),
        together=(),
        inputs=(),
        outputs=(),
    )


NAMES = tuple(
    "Ann Bob Carl Dora Emil Fay Gus Hana Ivo Jane Karl Lena Max Nora Otto Pia Quinn Rosa Sam Tina".split()  # noqa: SIM905
)
DULL = [f"{name} walks to {other} in the rain and sings" for name, other in zip(NAMES, NAMES[::-1], strict=True)]
"""Twenty texts of a feature that rests."""
CITIES_CARD = card([f"{name} sees [{name}] Paris" for name in NAMES], DULL, [" Paris", " Rome"])
