"""Heuristic labels: a card planted for one rule gets that rule's label, and what the labeller must not see stays so."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clew.labels.agreement import LONGEST
from clew.labels.context_split import firing_of, folds, split
from clew.labels.pattern import HEADS, ORDER, Condition, parsed, pattern_of
from clew.labels.reading import read
from clew.labels.rules import RuleLabeller, heuristic_label
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


COUNTRIES = "France Italy Spain Poland Greece Turkey Japan China Egypt Kenya Ghana Chile Peru Cuba Nepal".split()  # noqa: SIM905
CAPITALS = "Paris Rome Madrid Warsaw Athens Ankara Tokyo Beijing Cairo Nairobi Accra Santiago Lima Havana".split()  # noqa: SIM905
KIND = [f"{n} {v} the map of [{c}] and {t}" for n, v, t, c in zip(NAMES, VERBS, THINGS, COUNTRIES, strict=False)]
SAID = [f"{n} {v} [that] {c}" for n, v, c in zip(NAMES, VERBS, CAPITALS, strict=False)]
PLUS = [f"{n} plus {v} {t} [{i + 3}] {v}" for i, (n, v, t, _, _) in enumerate(WORDS)]
NUMBERS = [f"{n} {v} {i + 3} {t} {v}" for i, (n, v, t, _, _) in enumerate(WORDS)]
BOTH = [f"{n} {v} how long [is] {t}" for n, v, t, _, _ in WORDS]
IS = [f"{n} is how long {v} {t}" for n, v, t, _, _ in WORDS]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (card(SAID, SAYS, CAPITALS), '"that", says a capital'),
        (card(SAID, SAYS), '"that" before a capital'),
        (card(TOKEN, DULL, CITIES), 'the token "paints"'),
        (card(EITHER, DULL), 'after "beneath" or "upon"'),
        (card(RUNS, DULL), 'after "beneath" or "upon"'),  # runs of several words are not set side by side
        (card(AFTER, [f"{n} thinks of {m} and goes" for n, m in zip(NAMES, THINGS, strict=False)]), 'after "out of"'),
        (card(BEFORE, DULL), 'before "because"'),
        (card(KIND, DULL), "a country"),
        (card(PLUS, NUMBERS), 'a number soon after "plus"'),
        (card(BOTH, IS), '"is" after "long"'),
        (card(FIRST, DULL, start=0), "the first token of a text"),
        (card([f"<bos> {text}" for text in FIRST], DULL, start=0), "the first token of a text"),
        (card([], DULL), "unclear"),
        (card(TOKEN[:3], DULL), "unclear"),
        (card(TOKEN[:4], DULL), 'the token "paints"'),
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


def test_the_label_without_a_fold_is_the_same_whatever_the_fold_holds():
    made = card(TOKEN, DULL)
    for fold in RuleLabeller(made).folds:
        changed = {made.top[i].document for i in fold.firing}
        other = tuple(
            replace(c, tokens=tuple(f"x{n}" for n in range(len(c.tokens)))) if c.document in changed else c
            for c in made.top
        )
        text = RuleLabeller(replace(made, top=other)).text_without(fold)
        assert text == RuleLabeller(made).text_without(fold) == 'the token "paints"'


@given(documents, documents)
def test_folds_hold_every_context_out_once_and_share_no_document_and_no_text_with_what_is_seen(firing, silent):
    made = card([f"{name} [sings]" for _, name in firing], [f"{name} walks" for _, name in silent])
    made = replace(made, top=tuple(replace(c, document=d) for c, (d, _) in zip(made.top, firing, strict=True)))
    parts, shown = folds(made, 4), firing_of(made)
    assert sorted(i for fold in parts for i in fold.firing) == list(range(len(shown)))
    assert sorted(i for fold in parts for i in fold.silent) == list(range(len(made.silent)))
    for fold in parts:
        held = [*(shown[i] for i in fold.firing), *(made.silent[i] for i in fold.silent)]
        seen = [*(shown[i] for i in fold.seen_firing), *(made.silent[i] for i in fold.seen_silent)]
        for key in (lambda c: c.document, lambda c: c.token_ids):
            assert {key(c) for c in held}.isdisjoint(key(c) for c in seen)


# --- weights --------------------------------------------------------------------------------------------------------


def test_contexts_that_are_nearly_equal_count_as_one():
    """Nine copies of a sentence with one name changed far away do not outvote six contexts that differ."""
    copies = [f"{n} says to them all that we must [wait] for the late train" for n in NAMES[:9]]
    others = [f"{n} {v} [{t}] because of {m}" for n, v, t, m, _ in WORDS[:6]]
    label = heuristic_label(card([*copies, *others], DULL))
    assert label.text.startswith('before "because"')  # the larger part of the contexts stands first
    assert heuristic_label(card(copies, DULL)).clear


def test_a_label_is_short_and_holds_no_half_of_a_character():
    helsinki, made = (' "', "<0xD0>", "<0xA5>", "ель", "син", "ки"), card(TOKEN, DULL)
    cut = tuple(
        replace(
            c,
            at=c.at + 1,
            tokens=(*c.tokens[: c.at], *helsinki),
            token_ids=(*c.token_ids[: c.at], 901, 902, 903, 904, 905, 906),
            activations=(*c.activations[: c.at], 0.0, 1.0, 0.0, 0.0, 0.0, 0.0),
        )
        for c in made.top
    )
    label = heuristic_label(replace(made, top=cut))
    assert label.text == 'the start of "Хельсинки"'
    assert len(label.text) <= LONGEST


def test_contexts_without_anything_in_common_and_long_ones_are_read():
    nothing = replace(card(CHANCE, DULL), silent=())
    alone = tuple(replace(c, tokens=(f"x{n}",), token_ids=(n,), activations=(1.0,), at=0, position=100 + n)
                  for n, c in enumerate(nothing.top))  # fmt: skip
    assert heuristic_label(replace(nothing, top=alone)).text == "unclear"
    long = [f"{n} {' '.join(f'w{n}{i}' for i in range(90))} [paints] {t}" for n, _, t, _, _ in WORDS]
    assert heuristic_label(card(long, DULL)).text == 'the token "paints"'


# --- patterns -------------------------------------------------------------------------------------------------------

VALUES = st.sampled_from(
    ['"is"', '"a or b"', '"\\""', "a capital", "an animal", '"Ждать"', "a number", '"with x before"']
)


@given(st.dictionaries(st.sampled_from([r for r in ORDER if r not in ("place", "repeat")]), st.lists(VALUES, min_size=1,
       max_size=3, unique=True), min_size=1, max_size=2))  # fmt: skip
def test_the_text_of_a_pattern_is_read_back_as_that_pattern(conditions):
    heads = [relation for relation in conditions if relation in HEADS]
    chosen = {relation: values for relation, values in conditions.items() if relation not in heads[1:]}
    pattern = pattern_of(tuple(Condition(relation, tuple(values)) for relation, values in chosen.items()))
    assert parsed(pattern.text) == pattern


def test_free_labels_are_no_patterns():
    for text in ("capital cities", "tokens after “of”", 'the token "of" and so on', "", "says Paris"):
        assert parsed(text) is None


def test_conditions_hold_where_they_say():
    tokens = ("<bos>", "Anna", " sees", " Mor", "ris", ".", " Anna", " asks", " for", " Rome", " or", " 1", "799", "?")
    reading = read(tokens, 0)

    def at(text):
        bits = parsed(text).mask(reading)
        return [i for i in range(len(tokens)) if bits >> i & 1]

    assert at('the token "morris"') == [3, 4]
    assert at('the start of "Morris"') == [3]
    assert at("the end of a surname") == [4]
    assert at('before "ris"') == [3]
    assert at("says a capital") == [8]
    assert at('after "asks for"') == [9]
    assert at('"or" after a capital') == [10]
    assert at("a year") == [11, 12]
    assert at("a repeated word") == [6]
    assert at('a first name with "sees" before') == [6]
    assert at('soon before "?"') == [8, 9, 10, 11, 12]
    assert at('soon after "for"') == [9, 10, 11, 12, 13]
    assert at("the first token of a text") == [1]
    assert at("token 3 of a text") == [3]
