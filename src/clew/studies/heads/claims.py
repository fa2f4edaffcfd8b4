"""What the study `heads` claims; the rules were written before anything was measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clew.stats import wilson
from clew.studies.claim import Bar, Claim, Null
from clew.studies.heads import scores
from clew.studies.heads.measured import ChosenHead, HeadsMeasured
from clew.studies.heads.relations import KnownRelation
from clew.studies.heads.texts import OWN, RANDOM

LOOK_BAR = 0.5
"""A head of a class gives at least half of its attention there."""
_WORDS = {
    scores.PREVIOUS: "the token before",
    scores.NEXT: "the token behind",
}


def claims_of(measured: HeadsMeasured) -> tuple[Claim, ...]:
    """The claims, in the order of the report."""
    names = [scores.PREVIOUS] if measured.model.causal else [scores.PREVIOUS, scores.NEXT]
    claims = [neighbour_claim(measured, name) for name in names]
    claims += [induction_claim(measured), random_claim(measured), duplicate_claim(measured), layer_claim(measured)]
    if measured.domains_known:
        claims += domain_claims(measured)
    if measured.relations:
        claims.append(relation_claim(measured, measured.relations))
    return tuple(claims)


def neighbour_claim(measured: HeadsMeasured, name: str) -> Claim:
    best = measured.best(name)
    return _half_claim(
        best,
        f"A head looks at {_WORDS[name]}: {measured.model.head_name(best.head)} of {measured.model.name}, chosen "
        "on every other text, gives it at least half of its attention.",
        null=_random_keys(best, "keys drawn at random for the same head", "texts"),
        reference="Clark et al. 2019, What Does BERT Look At?",
    )


def induction_claim(measured: HeadsMeasured) -> Claim:
    best = measured.best(f"{scores.INDUCTION}.{OWN}")
    return _half_claim(
        best,
        "A head looks behind the first copy: in sequences of the model's own domain that are said twice, "
        f"{measured.model.head_name(best.head)} gives at least half of its attention to what followed the same token.",
        null=_first_copy_keys(best),
        reference="Olsson et al. 2022, In-context Learning and Induction Heads",
    )


def random_claim(measured: HeadsMeasured) -> Claim:
    head = measured.best(f"{scores.INDUCTION}.{OWN}").head
    there = measured.at(f"{scores.INDUCTION}.{RANDOM}", head)
    return _half_claim(
        there,
        f"It does so whatever the tokens are: {measured.model.head_name(head)} gives at least half of its "
        "attention to what followed the same token where random tokens are said twice.",
        null=_first_copy_keys(there),
        reference="Olsson et al. 2022 test induction on random tokens",
    )


def duplicate_claim(measured: HeadsMeasured) -> Claim:
    best = measured.best(f"{scores.DUPLICATE}.{OWN}")
    return _half_claim(
        best,
        "A head looks at the same token: where a sequence of the model's own domain is said twice, "
        f"{measured.model.head_name(best.head)} gives at least half of its attention to the token's first copy.",
        null=_first_copy_keys(best),
        reference="Olsson et al. 2022: duplicate-token heads",
    )


def _half_claim(head: ChosenHead, text: str, *, null: Null, reference: str) -> Claim:
    """A head gives at least half of its attention somewhere."""
    return Claim(text=text, value=head.value, null=null, bar=Bar(low=LOOK_BAR), reference=reference)


def layer_claim(measured: HeadsMeasured) -> Claim:
    return Claim(
        text="Heads of one layer look alike: their attention is closer than that of heads of different layers "
        "(difference of the mean Jensen-Shannon divergence, in bits). All heads of a layer read the same stream, so "
        "that shuffled weights show it too.",
        value=measured.layer_gap,
        null=Null(
            what="heads dealt out among the layers",
            draws=measured.layer_gap_draws,
            size=measured.n_heads,
            tested=measured.n_heads,
            unit="heads",
        ),
        bar=Bar(low=0.0),
        reference="Clark et al. 2019: heads of one layer are often close",
        effect=False,
    )


def domain_claims(measured: HeadsMeasured) -> list[Claim]:
    best = measured.domain_head
    name, n = measured.model.head_name(best.head), best.tested
    text = (
        f"{name}, chosen on every other text, has another part in one domain than in the next, more than {{}} (share "
        "of the variance of ranks that lies between domains; a part is what the head's silence harms, beside that of "
        "all heads)."
    )
    among_texts = Null(what="domains dealt out among the texts", draws=best.by_text, size=n, tested=n, unit="texts")
    claims = [
        Claim(
            text=f"A head specialises without having been told to: {text.format('domains dealt out among the texts')}",
            value=best.value,
            null=among_texts,
            bar=Bar(low=0.0),
        )
    ]
    if best.by_kind is not None:
        kinds = len({each.kind for each in measured.texts})
        what = "domains dealt out among whole kinds of sentences"
        null = Null(what=what, draws=best.by_kind, size=kinds, tested=kinds, unit="kinds")
        text = f"It specialises in a domain, not in kinds of sentences: {text.format('mixtures of as many kinds')}"
        claims.append(Claim(text=text, value=best.value, null=null, bar=Bar(low=0.0)))
    return claims


def relation_claim(measured: HeadsMeasured, relations: Sequence[KnownRelation]) -> Claim:
    right = np.concatenate([each.right for each in relations])
    guessed = np.concatenate([each.offset_right for each in relations]).astype(float)
    sentence = np.concatenate([each.sentence for each in relations])
    generator, numbers = np.random.default_rng([measured.seed, 10]), np.unique(sentence)
    sums = np.array([[guessed[sentence == each].sum(), (sentence == each).sum()] for each in numbers])
    draws = []
    for _ in range(measured.draws):
        hits, total = sums[generator.integers(len(numbers), size=len(numbers))].sum(0)
        draws.append(float(hits / total))
    return Claim(
        text=f"Heads know grammar: over {len(relations)} relations the best head of each, chosen on every other "
        "sentence, looks most at the other word of a pair more often than the best fixed offset finds it.",
        value=wilson(int(right.sum()), len(right)),
        null=Null(
            what="the best fixed offset of every relation, in resampled sentences",
            draws=tuple(draws),
            size=len(right),
            tested=len(right),
            unit="pairs",
        ),
        bar=Bar(low=0.0),
        reference="Clark et al. 2019, BERT-base: det 94.3 (51.7), dobj 86.8 (40.0), pobj 76.3 (34.6), poss 80.5 "
        "(47.7), auxpass 94.1 (82.5), prt 99.1 (91.4), mark 50.7 (14.5)",
    )


def _first_copy_keys(head: ChosenHead) -> Null:
    return _random_keys(head, "other tokens of the first copy, for the same head", "sequences")


def _random_keys(best: ChosenHead, what: str, unit: str) -> Null:
    return Null(what=what, draws=best.draws, size=best.tested, tested=best.tested, unit=unit)
