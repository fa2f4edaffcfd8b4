"""Labels by fixed rules, which put into words what the contexts of a card have in common.

The first rule that holds gives the label:

1. The tokens that follow are among those the feature promotes: `says "Paris"`.
2. It fires on the same few tokens: `the token "Paris"`.
3. The same words stand right before, or a little before: `after "capital of"`, `soon after "capital"`.
4. The same words stand right after, or a little after: `before "is"`, `soon before "is"`.
5. It fires at the same place: `the first token of a text`.

Otherwise it is `unclear`. Words are quoted as in JSON, so that a judge can read them back. A rule reads the strongest
contexts that the labeller may see. It does not hold if the same is true of about as many tokens in contexts where the
feature is silent.
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
LEAST = 4  # contexts: what fewer have in common is chance
AGREE = 0.7  # share of contexts for which a rule must hold: a label that is wrong for a third of them misleads
MARGIN = 0.4  # by which this share must exceed that of silent tokens: "after ." is true of much text
STRONG = 0.5  # of the largest activation: contexts of bands that are as strong are read with the top contexts
WORDS = 3  # that a label names at most: four words are a topic, which they do not name
TWICE = 2  # times that each of several words must occur: a word seen once is not shared
RUN = 4  # tokens in a shared run before or after, at most
NEAR = 5  # tokens within which a word stands "soon" before or after: about the length of a phrase
PROMOTED = 10  # promoted tokens that count as what a feature says: as many as a card shows
_SPECIAL = re.compile(r"<(?!0x)[^<>]+>|\[[A-Z]+\]")


@dataclass(frozen=True)
class Finding:
    """The label that a rule gives, and the share of contexts for which it holds."""

    text: str
    share: float


@dataclass(frozen=True)
class RuleEvidence:
    """The contexts that the rules read."""

    top: tuple[Context, ...]
    """The strongest contexts."""
    silent: tuple[Context, ...]
    """The silent contexts, once for each of their tokens, which `at` then names."""


def heuristic_label(card: Card) -> Label:
    """The label that the contexts of a card agree on, or `unclear`; held-out contexts are not read."""
    half, _ = split(card)
    strong = [c for c in half.firing if c not in half.top and c.activation >= STRONG * card.max_activation]
    top = (*half.top, *strong)
    n = len(top)
    if n >= LEAST:
        silent = tuple(place for context in half.silent for place in _at_each_token(context))
        for name, rule in _RULES.items():
            if finding := rule(card, RuleEvidence(top, silent)):
                return _label(card, finding.text, f"{name}: {finding.share:.0%} of {n} contexts")
    return _label(card, UNCLEAR, NEVER_FIRED if card.dead else f"no rule holds for {n} contexts")


def _at_each_token(context: Context) -> Iterator[Context]:
    for i in range(len(context.tokens)):
        yield replace(context, at=i, position=context.position - context.at + i)


def _label(card: Card, text: str, note: str) -> Label:
    return Label(feature=card.feature, text=text, kind="heuristic", author=RULE_AUTHOR, method=RULE_METHOD, note=note)


# --- the rules ------------------------------------------------------------------------------------------------------


def _says(card: Card, evidence: RuleEvidence) -> Finding | None:
    promoted = {plain(weight.token) for weight in card.promoted[:PROMOTED] if weight.weight > 0}
    follows = partial(_follows, promoted)
    words = [word for word in map(follows, evidence.top) if word is not None]
    share = len(words) / len(evidence.top)
    if share < AGREE or share - _share(evidence.silent, lambda context: follows(context) is not None) < MARGIN:
        return None
    return Finding(f"says {_quoted(_common(words))}", share)


def _follows(promoted: set[str], context: Context) -> str | None:
    """The next word, if it is one of these."""
    word = _word(context, context.at + 1)
    return word if word is not None and plain(word) in promoted else None


def _token(card: Card, evidence: RuleEvidence) -> Finding | None:
    shared = _shared(evidence, lambda context: [_word(context, context.at)])
    return shared and Finding(f"the token {shared.text}", shared.share)


def _after(card: Card, evidence: RuleEvidence) -> Finding | None:
    return _beside(evidence, -1, "after")


def _before(card: Card, evidence: RuleEvidence) -> Finding | None:
    return _beside(evidence, 1, "before")


def _beside(evidence: RuleEvidence, step: int, relation: str) -> Finding | None:
    """The longest run of tokens right beside the firing one that is shared; else a word near it."""
    for length in range(RUN, 0, -1):
        places = range(1, length + 1) if step > 0 else range(-length, 0)
        if shared := _shared(evidence, partial(_run, places), words=WORDS if length == 1 else 1):
            return Finding(f"{relation} {shared.text}", shared.share)
    shared = _shared(evidence, partial(_near, step), words=1)
    return shared and Finding(f"soon {relation} {shared.text}", shared.share)


def _run(places: range, context: Context) -> list[str | None]:
    """The tokens at these distances from the firing one, as one word; None where the text ends before."""
    words = [_word(context, context.at + place) for place in places]
    return [None if None in words else "".join(word or "" for word in words)]


def _near(step: int, context: Context) -> list[str | None]:
    return [_word(context, context.at + step * distance) for distance in range(1, NEAR + 1)]


def _place(card: Card, evidence: RuleEvidence) -> Finding | None:
    (place, _), *_ = Counter(map(_ordinal, evidence.top)).most_common(1)
    share = _share(evidence.top, lambda context: _ordinal(context) == place)
    if share >= AGREE and share - _share(evidence.silent, lambda context: _ordinal(context) == place) >= MARGIN:
        return Finding("the first token of a text" if place == 0 else f"token {place + 1} of a text", share)
    if card.places.at_last >= AGREE and card.places.at_last - card.places.everything_at_last >= MARGIN:
        return Finding("the last token of a text", card.places.at_last)
    return None


def _ordinal(context: Context) -> int:
    """The index of the firing token in its document, not counting a special token at the start."""
    return context.position - (_start(context) == 0 and special(context.tokens[0]))


_RULES: dict[str, Callable[[Card, RuleEvidence], Finding | None]] = {
    "promoted tokens follow": _says,
    "the same token": _token,
    "the same before": _after,
    "the same after": _before,
    "the same place": _place,
}


# --- what contexts share --------------------------------------------------------------------------------------------


def _shared(
    evidence: RuleEvidence, words_of: Callable[[Context], Sequence[str | None]], *, words: int = WORDS
) -> Finding | None:
    """The fewest words of which one stands in enough of the top contexts and in few of the silent ones."""
    spellings = [{plain(word): word for word in words_of(context) if word is not None} for context in evidence.top]
    counts = Counter(name for words_in in spellings for name in words_in)
    ranked = sorted(counts, key=lambda name: (-counts[name], name))
    for many in range(1, words + 1):
        names = set(ranked[:many])
        if len(names) < many or (many > 1 and min(counts[name] for name in names) < TWICE):
            return None
        share = sum(not names.isdisjoint(words_in) for words_in in spellings) / len(evidence.top)
        if share >= AGREE and share - _share_with(names, evidence.silent, words_of) >= MARGIN:
            shared = [word for words_in in spellings for name, word in words_in.items() if name in names]
            return Finding(_quoted(_common(shared)), share)
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
    """Whether a token looks like one that no text contains: `<bos>`, `[CLS]`."""
    return _SPECIAL.fullmatch(token) is not None


def _start(context: Context) -> int:
    """The position in the document of the context's first token."""
    return context.position - context.at


def _word(context: Context, i: int) -> str | None:
    """The token at an index of the context; None beyond its ends, and for a special token at the document's start."""
    if not 0 <= i < len(context.tokens):
        return None
    token = context.tokens[i]
    return None if i != context.at and _start(context) + i == 0 and special(token) else token


def _quoted(words: Sequence[str]) -> str:
    return " or ".join(json.dumps(word.strip() or word, ensure_ascii=False) for word in words)
