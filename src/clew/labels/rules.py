"""Labels that cost nothing: what the contexts of a card have in common, put into words by fixed rules.

The first rule that holds gives the label:

1. The tokens that follow are among those the feature promotes: `says "Paris"`.
2. It fires on the same few tokens: `the token "Paris"`.
3. The same words stand right before, or a little before: `after "capital of"`, `soon after "capital"`.
4. The same words stand right after, or a little after: `before "is"`, `soon before "is"`.
5. It fires at the same place: `the first token of a text`.

Otherwise it is `unclear`. Words are quoted as JSON does it, so that they can be read back by a judge. A rule looks at
the strongest contexts that the labeller may see, and does not hold if as much is true of all places in contexts where
the feature is silent.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from clew.features.card import Card, Context
from clew.features.label import RULE_AUTHOR, RULE_METHOD, UNCLEAR, Label
from clew.labels.context_split import split

NEVER_FIRED = "it never fired"
LEAST = 4  # contexts: of fewer, what they have in common is chance
AGREE = 0.7  # share of them for which a rule must hold: a label that is wrong for a third of what it shows misleads
MARGIN = 0.4  # by which that share must exceed the same among silent places: "after ." is true of much text
STRONG = 0.5  # of the largest activation: what fires so strongly is read with the top contexts
WORDS = 3  # a label names no more words than these: four words are a topic, for which words are not the name
TWICE = 2  # times that each of several words must occur: a word seen once is not shared
RUN = 4  # tokens of a shared run before or after
NEAR = 5  # tokens within which a word stands "soon" before or after: about a phrase
PROMOTED = 10  # promoted tokens that count as what a feature says: the head of the list, which is what a card shows
_SPECIAL = re.compile(r"<[^<>]+>|\[[A-Z]+\]")


@dataclass(frozen=True)
class Finding:
    """What a rule says, and for which share of the contexts it holds."""

    text: str
    share: float


@dataclass(frozen=True)
class Seen:
    """What the rules look at."""

    top: tuple[Context, ...]
    """The strongest contexts."""
    silent: tuple[Context, ...]
    """Every place in the silent ones: a context for each of its tokens."""


def heuristic_label(card: Card) -> Label:
    """The label that the contexts of a card agree on, or `unclear`; only what a labeller may see is looked at."""
    half, _ = split(card)
    strong = [c for c in half.firing if c not in half.top and c.activation >= STRONG * card.max_activation]
    seen = Seen((*half.top, *strong), tuple(place for context in half.silent for place in _places(context)))
    found, rule = None, ""
    if len(seen.top) >= LEAST:
        for name, holds in _RULES.items():
            if found := holds(card, seen):
                rule = name
                break
    if found is None:
        dead = NEVER_FIRED if card.dead else f"no rule holds for {len(seen.top)} contexts"
        return _label(card, UNCLEAR, dead)
    return _label(card, found.text, f"{rule}: {found.share:.0%} of {len(seen.top)} contexts")


def _places(context: Context) -> Iterator[Context]:
    for at in range(len(context.tokens)):
        yield replace(context, at=at, position=context.position - context.at + at)


def _label(card: Card, text: str, note: str) -> Label:
    return Label(feature=card.feature, text=text, kind="heuristic", author=RULE_AUTHOR, method=RULE_METHOD, note=note)


# --- the rules ------------------------------------------------------------------------------------------------------


def _says(card: Card, seen: Seen) -> Finding | None:
    promoted = {plain(weight.token) for weight in card.promoted[:PROMOTED] if weight.weight > 0}
    follows = partial(_follows, promoted)
    named = [word for word in map(follows, seen.top) if word is not None]
    share = len(named) / len(seen.top)
    if share < AGREE or share - _share(seen.silent, lambda context: follows(context) is not None) < MARGIN:
        return None
    return Finding(f"says {_quoted(_common(named))}", share)


def _follows(promoted: set[str], context: Context) -> str | None:
    """The next word, if it is one of these."""
    word = _word(context, context.at + 1)
    return word if word is not None and plain(word) in promoted else None


def _token(card: Card, seen: Seen) -> Finding | None:
    found = _shared(seen, lambda context: [_word(context, context.at)])
    return found and Finding(f"the token {found.text}", found.share)


def _after(card: Card, seen: Seen) -> Finding | None:
    return _beside(seen, -1, "after")


def _before(card: Card, seen: Seen) -> Finding | None:
    return _beside(seen, 1, "before")


def _beside(seen: Seen, step: int, relation: str) -> Finding | None:
    """A run of tokens right beside the place, the longest that is shared; else a word near it."""
    for length in range(RUN, 0, -1):
        places = range(1, length + 1) if step > 0 else range(-length, 0)
        if found := _shared(seen, partial(_run, places), words=WORDS if length == 1 else 1):
            return Finding(f"{relation} {found.text}", found.share)
    found = _shared(seen, partial(_near, step), words=1)
    return found and Finding(f"soon {relation} {found.text}", found.share)


def _run(places: range, context: Context) -> list[str | None]:
    """The tokens at these places from the context's own, as one word; None where one is not there."""
    words = [_word(context, context.at + place) for place in places]
    return [None if None in words else "".join(word or "" for word in words)]


def _near(step: int, context: Context) -> list[str | None]:
    return [_word(context, context.at + step * distance) for distance in range(1, NEAR + 1)]


def _place(card: Card, seen: Seen) -> Finding | None:
    (place, _), *_ = Counter(map(_ordinal, seen.top)).most_common(1)
    share = _share(seen.top, lambda context: _ordinal(context) == place)
    if share >= AGREE and share - _share(seen.silent, lambda context: _ordinal(context) == place) >= MARGIN:
        return Finding("the first token of a text" if place == 0 else f"token {place + 1} of a text", share)
    if card.places.at_last >= AGREE and card.places.at_last - card.places.everything_at_last >= MARGIN:
        return Finding("the last token of a text", card.places.at_last)
    return None


def _ordinal(context: Context) -> int:
    """Which token of its document it is, a special one at the start not counted."""
    return context.position - (_start(context) == 0 and special(context.tokens[0]))


_RULES: dict[str, Callable[[Card, Seen], Finding | None]] = {
    "promoted tokens follow": _says,
    "the same token": _token,
    "the same before": _after,
    "the same after": _before,
    "the same place": _place,
}


# --- what they share ------------------------------------------------------------------------------------------------


def _shared(seen: Seen, words_of: Callable[[Context], Sequence[str | None]], *, words: int = WORDS) -> Finding | None:
    """The fewest words of which one is found in enough of the top contexts and in few of the silent ones."""
    found = [{plain(word): word for word in words_of(context) if word is not None} for context in seen.top]
    counts = Counter(name for here in found for name in here)
    ranked = sorted(counts, key=lambda name: (-counts[name], name))
    for many in range(1, words + 1):
        names = set(ranked[:many])
        if len(names) < many or (many > 1 and min(counts[name] for name in names) < TWICE):
            return None
        share = sum(not names.isdisjoint(here) for here in found) / len(seen.top)
        if share >= AGREE and share - _share_with(names, seen.silent, words_of) >= MARGIN:
            named = [word for here in found for name, word in here.items() if name in names]
            return Finding(_quoted(_common(named)), share)
    return None


def _common(words: Sequence[str]) -> list[str]:
    """The most frequent words, each as it is written most often."""
    counts = Counter(map(plain, words))
    written = {name: Counter(word for word in words if plain(word) == name).most_common(1)[0][0] for name in counts}
    ranked = sorted(counts, key=lambda name: (-counts[name], name))
    return [written[name] for name in ranked[:WORDS]]


def _share(contexts: Sequence[Context], holds: Callable[[Context], bool]) -> float:
    return sum(map(holds, contexts)) / len(contexts) if contexts else 0.0


def _share_with(
    names: set[str], contexts: Sequence[Context], words_of: Callable[[Context], Sequence[str | None]]
) -> float:
    return _share(
        contexts, lambda context: not names.isdisjoint(plain(word) for word in words_of(context) if word is not None)
    )


def plain(word: str) -> str:
    """A word without the space around it and without its case; white space stays as it is."""
    return word.strip().casefold() or word


def special(token: str) -> bool:
    """It looks like a mark that no text holds: `<bos>`, `[CLS]`."""
    return _SPECIAL.fullmatch(token) is not None


def _start(context: Context) -> int:
    """The position in the document of the first token that is shown."""
    return context.position - context.at


def _word(context: Context, at: int) -> str | None:
    """The token there; None where the text does not reach, or a mark begins it."""
    if not 0 <= at < len(context.tokens):
        return None
    token = context.tokens[at]
    return None if at != context.at and _start(context) + at == 0 and special(token) else token


def _quoted(words: Sequence[str]) -> str:
    return " or ".join(json.dumps(word.strip() or word, ensure_ascii=False) for word in words)
