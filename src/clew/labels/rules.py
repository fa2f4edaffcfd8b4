"""Labels by fixed rules, which put into words what the contexts of a card have in common.

The label is the pattern on which the contexts agree and which other text lacks (`agreement`): what the token is, what
stands before it, what follows. All contexts of a card make its label; for the score the rules are applied again without
the contexts that are then judged (`scoring.score_rule`). Where no pattern holds in enough of them, the label is
`unclear`.
"""

from __future__ import annotations

from collections import Counter
from functools import cached_property

from clew.features.card import Card
from clew.features.label import RULE_AUTHOR, RULE_METHOD, UNCLEAR, Label
from clew.labels.agreement import Contexts
from clew.labels.context_split import Fold, firing_of, folds
from clew.labels.reading import kinds_of, plain

NEVER_FIRED = "it never fired"
NOT_ASKED = "no rule was asked for"
LEAST = 4  # contexts: what fewer have in common is chance
AGREE = 0.61  # agreement that a label needs: one that is wrong for half of the contexts misleads
FOLDS = 4
PROMOTED = 10  # promoted tokens that count as what a feature says: as many as a card shows


def heuristic_label(card: Card) -> Label:
    """The label that the contexts of a card agree on, or `unclear`."""
    return RuleLabeller(card).label


class RuleLabeller:
    """Applies the rules to a card: to all of its contexts, or without those of a fold."""

    def __init__(self, card: Card) -> None:
        self.card = card
        self.firing = firing_of(card)

    @cached_property
    def contexts(self) -> Contexts:
        """All contexts of the card."""
        return Contexts(self.firing, self.card.silent, promoted_words(self.card))

    @cached_property
    def folds(self) -> list[Fold]:
        """The parts in which contexts are held out."""
        return folds(self.card, FOLDS)

    @cached_property
    def label(self) -> Label:
        """The label by all contexts."""
        n = len(self.firing)
        if n < LEAST:
            note = NEVER_FIRED if self.card.dead else f"{n} contexts are too few"
            return self._label(UNCLEAR, note)
        agreement = self.contexts.agreed(range(n), range(len(self.card.silent)))
        if agreement is None:
            return self._label(UNCLEAR, f"no rule holds for {n} contexts")
        note = f"{agreement.share:.0%} of {n} contexts by weight, agreement {agreement.value:.2f}"
        if agreement.value < AGREE:
            return self._label(UNCLEAR, f"at best {agreement.pattern.text}: {note}")
        return self._label(agreement.pattern.text, note)

    def text_without(self, fold: Fold) -> str:
        """The label by the contexts outside a fold."""
        if len(fold.seen_firing) < LEAST - 1:
            return UNCLEAR
        agreement = self.contexts.agreed(fold.seen_firing, fold.seen_silent)
        return UNCLEAR if agreement is None or agreement.value < AGREE else agreement.pattern.text

    def _label(self, text: str, note: str) -> Label:
        return Label(
            feature=self.card.feature, text=text, kind="heuristic", author=RULE_AUTHOR, method=RULE_METHOD, note=note
        )


def promoted_words(card: Card) -> frozenset[str]:
    """The tokens that a feature promotes most, as conditions compare them, and the kinds of half of them."""
    tokens = [weight.token for weight in card.promoted[:PROMOTED] if weight.weight > 0]
    kinds = Counter(kind for token in tokens if token.strip() for kind in kinds_of(token.strip()))
    shared = (kind for kind, count in kinds.items() if 2 * count >= len(tokens))
    return frozenset((*map(plain, tokens), *shared))
