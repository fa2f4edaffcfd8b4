"""Heuristic labels: a card planted for one rule gets that rule's label, and what the labeller must not see stays so."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clew.labels.context_split import split
from clew.labels.rules import heuristic_label
from tests.cards import DULL, NAMES, card, context

VERBS = "likes sees finds hears calls meets asks tells thanks greets knows trusts helps paints draws".split()  # noqa: SIM905
THINGS = "apples birds coins drums eggs forks gates hats inks jars kites lamps maps nets oars".split()  # noqa: SIM905
CITIES = [" Paris", " Rome", " Berlin"]
WORDS = list(zip(NAMES[:15], VERBS, THINGS, NAMES[::-1][:15], CITIES * 5, strict=True))
SAYS = [f"{n} {v} that the capital is [named]{city}" for n, v, _, _, city in WORDS]
TOKEN = [f"{n} [paints] {t} for {m}" for n, _, t, m, _ in WORDS]
AFTER = [f"{n} comes out of [{t}] and {v} it" for n, v, t, _, _ in WORDS]
EITHER = [f"{n} {v} {('beneath', 'upon')[i % 2]} [{t}]" for i, (n, v, t, _, _) in enumerate(WORDS)]
RUNS = [f"{n} {v} {('out beneath', 'high upon')[i % 2]} [{t}]" for i, (n, v, t, _, _) in enumerate(WORDS)]
SOON = [f"{n} {v} queen {m} [{t}] {n} {v}" for n, v, t, m, _ in WORDS]
BEFORE = [f"{n} {v} [{t}] because {m} {v}" for n, v, t, m, _ in WORDS]
LATER = [f"{n} {v} [{t}] {m} {v} because" for n, v, t, m, _ in WORDS]
CHANCE = [f"{n} {v} [{t}] {m} {v}" for n, v, t, m, _ in WORDS]
FIRST = [f"[{n}] {v} {t} {m}" for n, v, t, m, _ in WORDS]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (card(SAYS, DULL, CITIES), 'says "Paris" or "Berlin" or "Rome"'),
        (card(SAYS, DULL), 'the token "named"'),
        (card(TOKEN, DULL, CITIES), 'the token "paints"'),
        (card(AFTER, DULL), 'after "comes out of"'),
        (card(EITHER, DULL), 'after "beneath" or "upon"'),
        (card(RUNS, DULL), 'after "beneath" or "upon"'),  # runs of several words are not set side by side
        (card(SOON, DULL), 'soon after "queen"'),
        (card(BEFORE, DULL), 'before "because"'),
        (card(LATER, DULL), 'soon before "because"'),
        (card(FIRST, DULL, start=0), "the first token of a text"),
        (card([f"<bos> {text}" for text in FIRST], DULL, start=0), "the first token of a text"),
        (card(CHANCE, DULL, start=9), "token 12 of a text"),
        (card([], DULL), "unclear"),
        (card(TOKEN[:6], DULL), "unclear"),  # the labeller sees half: three
        (card(TOKEN[:7], DULL), 'the token "paints"'),
    ],
)
def test_a_planted_agreement_is_put_into_words(given, text):
    label = heuristic_label(given)
    assert (label.text, label.kind) == (text, "heuristic")


def scattered(texts):
    """The same texts, each at another place of its document."""
    made = card(texts, DULL)
    moved = tuple(replace(c, position=c.position + 3 * n) for n, c in enumerate(made.top))
    return replace(made, top=moved)


def test_contexts_that_share_nothing_are_unclear():
    label = heuristic_label(scattered(CHANCE))
    assert label.text == "unclear"
    assert not label.clear


def test_what_is_as_true_of_silent_contexts_is_no_label():
    planted = scattered(BEFORE)
    assert heuristic_label(planted).text == 'before "because"'
    everywhere = tuple(context(f"{n} because because because", 500 + i) for i, n in enumerate(NAMES))
    assert heuristic_label(replace(planted, silent=everywhere)).text == "unclear"


def test_an_agreement_of_too_few_is_no_label():
    mixed = [b if n % 2 else c for n, (b, c) in enumerate(zip(BEFORE, CHANCE, strict=True))]
    assert heuristic_label(scattered(mixed)).text == "unclear"


def test_a_dead_feature_says_so_in_its_note():
    assert heuristic_label(card([], DULL)).note == "it never fired"


def test_words_with_quotes_and_line_ends_are_written_so_that_they_can_be_read_back():
    made = card(TOKEN, DULL)
    odd = tuple(
        replace(c, tokens=tuple('"\n' if t == " paints" else t for t in c.tokens), position=n * 9)
        for n, c in enumerate(made.top)
    )
    assert heuristic_label(replace(made, top=odd)).text == 'the token "\\""'


def test_a_label_does_not_change_with_the_order_of_documents_or_the_clock():
    one, other = heuristic_label(card(SAYS, DULL, CITIES)), heuristic_label(card(SAYS, DULL, CITIES))
    assert replace(one, date=other.date) == other


# --- what the labeller sees -----------------------------------------------------------------------------------------

documents = st.lists(st.tuples(st.integers(0, 8), st.sampled_from(NAMES[:6])), max_size=25)


@given(documents, documents)
def test_no_document_and_no_text_is_on_both_sides_and_nothing_is_lost(firing, silent):
    made = card([f"{name} [sings]" for _, name in firing], [f"{name} walks" for _, name in silent])
    made = replace(
        made,
        top=tuple(
            replace(c, document=d, position=n) for n, (c, (d, _)) in enumerate(zip(made.top, firing, strict=True))
        ),
        silent=tuple(
            replace(c, document=d, position=100 + n)
            for n, (c, (d, _)) in enumerate(zip(made.silent, silent, strict=True))
        ),
    )
    seen, held_out = split(made)
    for key in (lambda c: c.document, lambda c: c.token_ids):
        sides = [{key(c) for c in (*side.firing, *side.silent)} for side in (seen, held_out)]
        assert sides[0].isdisjoint(sides[1])
    assert sorted(c.position for s in (seen, held_out) for c in s.firing) == list(range(len(firing)))
    assert len(seen.silent) + len(held_out.silent) == len(silent)


def test_contexts_apart_from_each_other_are_dealt_into_halves_the_top_ones_too_and_a_third_of_the_silent():
    made = card(CHANCE[:10], DULL, bands=AFTER[:10])
    made = replace(made, bands=(replace(made.bands[0], contexts=(*made.bands[0].contexts, *made.top)),))
    seen, held_out = split(made)
    assert len(seen.firing) == len(held_out.firing) == 10
    assert len(seen.top) == len(held_out.top) == 5
    assert (len(seen.silent), len(held_out.silent)) == (6, 14)
    assert [c.document for c in seen.top] == sorted(c.document for c in seen.top)


def test_the_label_is_the_same_whatever_is_held_out():
    made = card(SAYS, DULL, CITIES)
    _, held_out = split(made)
    changed = {c.document for c in held_out.top}
    other = tuple(
        replace(c, tokens=tuple(f"x{n}" for n in range(len(c.tokens)))) if c.document in changed else c
        for c in made.top
    )
    assert heuristic_label(replace(made, top=other)).text == heuristic_label(made).text
