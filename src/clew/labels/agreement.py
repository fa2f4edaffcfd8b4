"""The pattern on which the contexts of a feature agree, and which other text lacks.

1. Contexts count by the root of their activation, those that are nearly equal around the token together as one.
2. Conditions that hold in enough of them are candidates, and so are two or three words of one relation that share them.
3. A pattern's *agreement* is the share of the contexts in which it holds, less the share of silent texts in which it
   holds somewhere, and less the share of the silent tokens beside where the feature fires.
4. The best candidates are joined with a second condition. Each condition, word and further value must raise the
   agreement by a little more than it lengthens the label.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt64

from clew.features.card import Context
from clew.labels.pattern import HEADS, Condition, Pattern, pattern_of
from clew.labels.reading import Key, TextReading, of_kind, plain, quoted, read

LONGEST = 60  # characters of a label: what one reads at a glance
SOME = 0.25  # share of the contexts that a candidate must have by itself
ADDS = 0.06  # share of the contexts that a further value must add
VALUES, CONDITIONS = 3, 2  # of a condition, of a pattern
CANDIDATES, BEST = 48, 8  # that are kept, and that are joined with others
WORD_PRICE, VALUE_PRICE, CONDITION_PRICE = 0.01, 0.02, 0.03  # of each beyond the first
PRICES = {"earlier": 0.03, "soon previous": 0.02, "soon next": 0.04, "next": 0.02, "place": 0.1, "repeat": 0.02}
"""What relations cost besides, that say less of the token, or of what the feature cannot have read."""
MARK_PRICE = 0.03  # of a mark, or a phrase that begins with one: it stands in much text, and reads badly
VAGUE = frozenset(map(of_kind, ("capitalised word", "Cyrillic word", "mark")))
VAGUE_PRICE = 0.03  # of a kind that says little
PART_PRICE = 0.015  # of a token that is a part of a word
JOINED = ("at", "start", "inside", "end", "previous", "next", "soon previous")
"""Relations of which a condition may have several values."""

Ranked = tuple[float, tuple[int, ...], "Bits", "SilentBits"]
"""A pattern's agreement less its price, its conditions, and where it holds."""
Bits = UInt64[np.ndarray, "... context limb"]
SilentBits = UInt64[np.ndarray, "... silent limb"]
"""Of every row and context the tokens at which something holds."""


@dataclass(frozen=True)
class PatternAgreement:
    """A pattern, the share of the contexts in which it holds, and this less what it shares with other text."""

    pattern: Pattern
    share: float
    value: float


class Contexts:
    """The contexts of a feature, and at which tokens of each every condition holds that some of them share.

    `agreed` may be asked for parts of them: what the others hold is not read.
    """

    def __init__(self, firing: Sequence[Context], silent: Sequence[Context], promoted: Collection[str]) -> None:
        self.promoted = promoted
        """The tokens that the feature promotes, as `plain` writes them, and the kinds that they share."""
        self._readings = [reading_of(context) for context in firing]
        self._silent = [reading_of(context) for context in silent]
        self._limbs = -(-max((len(c.tokens) for c in (*firing, *silent)), default=1) // 64)
        self.at = self._packed([[1 << context.at for context in firing]], len(firing))[0]
        quiet = [sum(1 << i for i, value in enumerate(c.activations) if value == 0) for c in firing]
        self.quiet = self._packed([quiet], len(firing))[0]
        self.around = [tuple(c.token_ids[max(0, c.at - 4) : c.at + 3]) for c in firing]
        self.strength = np.array([context.activation for context in firing]) ** 0.5
        self.keys, self.written = self._keys([context.at for context in firing])
        self.firing = self._packed([[r.masks.get(key, 0) for r in self._readings] for key in self.keys], len(firing))
        self.silent = self._packed([[r.masks.get(key, 0) for r in self._silent] for key in self.keys], len(silent))
        self.parts = self._parts([context.at for context in firing])
        self.holds: Bool[np.ndarray, "key context"] = ((self.firing & self.at) != 0).any(-1)

    def _keys(self, at: Sequence[int]) -> tuple[list[Key], dict[str, str]]:
        """The conditions that hold in two contexts, and every value as it is written most often."""
        counts, written = Counter[Key](), dict[str, Counter[str]]()
        for reading, i in zip(self._readings, at, strict=True):
            for key in reading.keys_at(i):
                counts[key] += 1
                written.setdefault(key[1], Counter())[reading.written[key[1]]] += 1
        keys = sorted(key for key, count in counts.items() if count > 1)
        return keys, {value: spellings.most_common(1)[0][0] for value, spellings in written.items()}

    def _parts(self, at: Sequence[int]) -> set[int]:
        """Rows of tokens that are a part of a longer word wherever they stand: better named by that word."""
        parts = {reading.shown[i] for reading, i in zip(self._readings, at, strict=True) if reading.is_part(i)}
        texts = {quoted(plain(token)) for token in parts}
        return {row for row, (relation, value) in enumerate(self.keys) if relation == "at" and value in texts}

    def _packed(self, rows: Sequence[Sequence[int]], columns: int) -> Bits:
        if self._limbs == 1:
            return np.array(rows, np.uint64).reshape(len(rows), columns, 1)
        raw = b"".join(bits.to_bytes(8 * self._limbs, "little") for row in rows for bits in row)
        return np.frombuffer(raw, "<u8").reshape(len(rows), columns, self._limbs)

    def weights(self, shown: Sequence[int]) -> Float[np.ndarray, " context"]:
        """Roots of activations as shares of their sum, contexts that are nearly equal together as their strongest."""
        counts = Counter(self.around[i] for i in shown)
        strongest: dict[tuple[int, ...], float] = {}
        for i in shown:
            strongest[self.around[i]] = max(strongest.get(self.around[i], 0.0), float(self.strength[i]))
        weights = np.zeros(len(self.around))
        for i in shown:
            weights[i] = strongest[self.around[i]] / counts[self.around[i]]
        return weights / max(weights.sum(), 1e-30)

    def agreed(
        self,
        shown: Sequence[int],
        silent: Sequence[int],
        *,
        nearness: Float[np.ndarray, " context"] | None = None,
        holding: Collection[Key] | None = None,
    ) -> PatternAgreement | None:
        """The pattern with the largest agreement in some contexts; None where no condition holds in enough of them.

        With `nearness` contexts also count by it, and with `holding` only these conditions come into question.
        """
        if not shown or not self.keys:
            return None
        weights = self.weights(shown) if nearness is None else self.weights(shown) * nearness
        if weights.sum() <= 0:
            return None
        allowed = np.array([holding is None or key in holding for key in self.keys])
        return _Search(self, weights / weights.sum(), np.array(silent, np.int64), allowed).best()


def reading_of(context: Context) -> TextReading:
    """How the conditions of labels read a context."""
    return read(context.tokens, context.position - context.at)


_ONES = np.array([bin(byte).count("1") for byte in range(256)], np.uint8)


class _Search:
    def __init__(self, contexts: Contexts, weights: np.ndarray, silent: np.ndarray, allowed: np.ndarray) -> None:
        self.contexts, self.weights = contexts, weights
        self.shown = weights.nonzero()[0]
        shares = contexts.holds @ weights * allowed
        rows = [(row,) for row in np.argsort(-shares, kind="stable").tolist() if shares[row] >= SOME][:CANDIDATES]
        self.rows = [*rows, *self._several(shares)]
        self.conditions = [self._condition(row) for row in self.rows]
        self.firing = self._joined_rows(contexts.firing[:, self.shown])
        self.silent = self._joined_rows(contexts.silent[:, silent])
        self.at = contexts.at[self.shown]
        self.quiet = contexts.quiet[self.shown]
        self.beside = weights[self.shown] / np.maximum(1, _ones(self.quiet))
        parts = [PART_PRICE * (not contexts.parts.isdisjoint(row)) for row in self.rows]
        self.costs = np.array([_price(each) + part for each, part in zip(self.conditions, parts, strict=True)])

    def _joined_rows(self, bits: Bits) -> Bits:
        if not self.rows:
            return bits[:0]
        return np.stack([np.bitwise_or.reduce(bits[list(row)], axis=0) for row in self.rows])

    def _several(self, shares: np.ndarray) -> Iterator[tuple[int, ...]]:
        """Two or three words of one relation that share the contexts, each of which adds enough."""
        keys = self.contexts.keys
        for relation in JOINED:
            rows = [row for row, key in enumerate(keys) if key[0] == relation and _single_word(key[1])]
            rows = [row for row in rows if shares[row] > 0]
            chosen, rest = list[int](), self.weights.copy()
            while rows and len(chosen) < VALUES:
                gains = self.contexts.holds[rows] @ rest
                best = int(gains.argmax())
                if gains[best] < ADDS:
                    break
                chosen.append(rows[best])
                rest[self.contexts.holds[rows[best]]] = 0
                if len(chosen) > 1:
                    yield tuple(chosen)

    def _condition(self, rows: Sequence[int]) -> Condition:
        keys = [self.contexts.keys[row] for row in rows]
        values = tuple(self.contexts.written[value] for _, value in keys)
        relation = keys[0][0]
        if relation == "next" and all(self._said(value) for _, value in keys):
            relation = "says"
        return Condition(relation, values)

    def _said(self, value: str) -> bool:
        if not value.startswith('"'):
            return value in self.contexts.promoted
        word = value.strip('"')
        return any(word == said or (len(said) > 1 and word.startswith(said)) for said in self.contexts.promoted)

    # --- the best ---------------------------------------------------------------------------------------------------

    def best(self) -> PatternAgreement | None:
        """The best of all patterns of one or two conditions."""
        front = self._ranked([(i,) for i in range(len(self.rows))], self.firing, self.silent)
        results = front
        for _ in range(CONDITIONS - 1):
            joined = [row for _, chosen, firing, silent in front[:BEST] for row in self._with(chosen, firing, silent)]
            front = sorted(joined, key=lambda row: -row[0])[:BEST]
            results = sorted([*results, *front], key=lambda row: -row[0])
        for _, chosen, firing, silent in results:
            pattern = pattern_of(tuple(self.conditions[i] for i in chosen))
            if len(pattern.text) <= LONGEST:
                (share,), (value,) = self._measured(firing[None], silent[None])
                return PatternAgreement(pattern, float(share), float(value))
        return None

    def _with(self, chosen: tuple[int, ...], firing: Bits, silent: SilentBits) -> list[Ranked]:
        """A pattern joined with each other condition, the best first."""
        relations = {self.conditions[i].relation for i in chosen}
        head = not relations.isdisjoint(HEADS)
        others = [
            i
            for i, condition in enumerate(self.conditions)
            if condition.relation not in relations and not (head and condition.relation in HEADS)
        ]
        if not others:
            return []
        return self._ranked([(*chosen, i) for i in others], self.firing[others] & firing, self.silent[others] & silent)

    def _ranked(self, patterns: list[tuple[int, ...]], firing: Bits, silent: SilentBits) -> list[Ranked]:
        if not patterns:
            return []
        _, values = self._measured(firing, silent)
        values = values - [sum(self.costs[i] for i in chosen) + CONDITION_PRICE * len(chosen) for chosen in patterns]
        order = np.argsort(-values, kind="stable")[:BEST].tolist()
        return [(float(values[i]), patterns[i], firing[i], silent[i]) for i in order]

    def _measured(self, firing: Bits, silent: SilentBits) -> tuple[np.ndarray, np.ndarray]:
        """Share and agreement of every pattern, `[pattern]`."""
        share = ((firing & self.at) != 0).any(-1) @ self.weights[self.shown]
        elsewhere = (silent != 0).any(-1).mean(-1) if silent.shape[1] else 0.0
        return share, share - elsewhere - _ones(firing & self.quiet) @ self.beside


def _ones(bits: np.ndarray) -> np.ndarray:
    """How many bits are set, over the last axis."""
    return _ONES[np.ascontiguousarray(bits).view(np.uint8)].sum(-1)


def _single_word(value: str) -> bool:
    """Whether a value is one quoted word or mark."""
    word = value[1:-1]
    return value.startswith('"') and (word.replace("'", "").replace("’", "").isalnum() or len(word) == 1)


def _price(condition: Condition) -> float:
    quoted_words = [value for value in condition.values if value.startswith('"')]
    words = sum(value.count(" ") for value in quoted_words)
    marks = 0 if condition.relation in HEADS else sum(not value[1].isalnum() for value in quoted_words)
    vague = sum(value in VAGUE for value in condition.values)
    return (
        VALUE_PRICE * (len(condition.values) - 1)
        + WORD_PRICE * words
        + MARK_PRICE * marks
        + VAGUE_PRICE * vague
        + PRICES.get(condition.relation, 0.0)
    )
