"""Users' corpora and questions and what is wrong in them; effects that are planted and effects that are not there."""

import math

import numpy as np
import pytest
import torch

import clew
from clew.errors import FileError, InputError
from clew.kit import Kit
from clew.studies.hallucination.corpora import FactCorpus, FactStatement, read_corpus, read_facts
from clew.studies.hallucination.flat_law import FlatWorld
from clew.studies.hallucination.mechanism import FOLDS, Detection, name_groups
from clew.studies.hallucination.people import THRESHOLD, answers_of, people_of, read_answers
from clew.studies.hallucination.question_set import (
    UserQuestion,
    ask,
    begins_with,
    dealt_answers,
    read_questions,
    replies_of,
)
from clew.studies.hallucination.study import HALLUCINATION
from clew.studies.hallucination.unknown_names import DATES, REFUSAL, UnknownNames
from tests import models
from tests.workbench import minnow

IDK = "I don't know"


def returned(steps):
    """What a generator returns behind its reports."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def written(path, lines):
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def facts(tmp_path, counts):
    rows = [f"born {n},day {n % 41}" for n, count in enumerate(counts) for _ in range(count)]
    return written(tmp_path / "facts.csv", ["question,answer", *rows])


def test_singletons_that_are_planted_in_a_corpus_are_counted_and_refusals_are_no_answers(tmp_path):
    path = written(tmp_path / "f.csv", ["question,answer", "a,1", "a,1", "b,2", "c,I don't know yet", "b,I DON'T know"])
    corpus = read_facts(path, IDK)
    assert (corpus.fact_counts.total, corpus.fact_counts.singletons, corpus.distinct_answers) == (5, 1, 2)
    assert corpus.fact_counts.rate == pytest.approx(0.2)


def test_a_pattern_finds_the_same_facts_in_text_as_a_table_holds(tmp_path):
    text = written(tmp_path / "t.txt", ["Anna  Reed was born on 5 May. Tom Hill was born on 9 June.", "It rained."])
    corpus = read_corpus(text, r"(?P<question>\w+ +\w+) was born on (?P<answer>[^.]+)", IDK)
    assert corpus.statements == [
        FactStatement(question="Anna Reed", answer="5 May"), FactStatement(question="Tom Hill", answer="9 June"),
    ]  # fmt: skip


def verdicts(found):
    return [claim.verdict for claim in found.claims]


def test_a_corpus_with_singletons_is_told_from_one_whose_answers_are_spread_evenly(tmp_path):
    skewed = facts(tmp_path, [200] * 5 + [1] * 300)
    result = HALLUCINATION.run(minnow(), facts=skewed)
    assert verdicts(result) == ["holds", "fails"]  # 1,300 statements are too few for the bound
    assert result.false_effects == ()
    assert len(result.tables["once"]) == 300
    values = dict(zip(*result.tables["corpus"].columns.values(), strict=True))
    assert values["singleton rate (sr)"] == pytest.approx(300 / 1300)
    needed = values["statements from which it would say something"]
    assert (35 + 6 * math.log(needed)) / math.sqrt(needed) == pytest.approx(300 / 1300 - 2 / 40, abs=1e-3)
    assert result.absent.claims[0].verdict != "holds"


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([""], "is empty: its first line must hold the names question, answer"),
        (["question,reply", "a,b"], "line 1 of .* has no column 'answer'"),
        (["question,answer", "a,b", "c"], "line 3 of .* has 1 cells"),
        (["question,answer", "a,b", "c,"], "line 3 of .* has nothing in the column 'answer'"),
        (["question,answer"], "has names in its first line and nothing below them"),
    ],
)
def test_mistakes_in_a_table_of_facts_are_told_with_their_line(lines, words, tmp_path):
    with pytest.raises(FileError, match=words):
        HALLUCINATION.run(minnow(), facts=written(tmp_path / "f.csv", lines))


QUESTIONS = ["question,answer,seen", *(f"q{n},a{n},{n}" for n in range(12))]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (QUESTIONS[:4], "has 3 questions: give at least 10"),
        ([*QUESTIONS, "q3,a,1"], "line 14 of .* has the question of line 5 again"),
        ([*QUESTIONS, "q,a||b,1"], r"line 14 of .* has an empty answer between two \|"),
        ([*QUESTIONS, "q,a,often"], "line 14 of .* has 'often' in the column 'seen'"),
        ([*QUESTIONS, "q,a,"], "of some questions how often they were seen, and of others not"),
    ],
)
def test_mistakes_in_questions_are_told_with_their_line(lines, words, tmp_path):
    with pytest.raises(FileError, match=words):
        read_questions(written(tmp_path / "q.csv", lines))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"names": 5}, "names is 5: give 20 to 2000"),
        ({"steps": 0}, "steps is 0"),
        ({"refusal": " "}, "the refusal is empty"),
        ({"corpus": "t.txt"}, "give --pattern too"),
        ({"pattern": "x"}, "give --corpus too"),
        ({"corpus": "t.txt", "pattern": "(?P<question>"}, "is no regular expression: missing"),
        ({"corpus": "t.txt", "pattern": "(?P<question>a)"}, "has no group answer"),
        ({"corpus": "t.txt", "facts": "f.csv", "pattern": "x"}, "both --facts and --corpus are given"),
    ],
)
def test_mistakes_in_settings_are_told(options, words):
    with pytest.raises(InputError, match=words):
        HALLUCINATION.run(minnow(), **options)


def test_a_pattern_that_finds_nothing_or_no_answer_is_told(tmp_path):
    text = written(tmp_path / "t.txt", ["one", "a: b"])
    with pytest.raises(FileError, match="matches nothing in the 2 lines"):
        read_corpus(text, "(?P<question>x)(?P<answer>y)", IDK)
    with pytest.raises(FileError, match=r"line 2 of .* matches 'a: ' with an empty answer"):
        read_corpus(text, "(?P<question>a):(?P<answer> *)", IDK)


def test_an_answer_is_right_as_a_whole_word_whatever_its_case():
    assert begins_with("Paris, of course", "paris")
    assert begins_with(" 5  May.", "5 May")
    assert not begins_with("Parisian", "Paris")
    assert not begins_with("in Paris", "Paris")


@pytest.fixture(scope="module")
def asked():
    """Known capitals, birthdays of people seen often, and of people who do not exist; put to minnow once."""
    people = people_of(minnow())
    order = np.where(~people.refused)[0][:8].tolist()
    names = [*(people.names[place] for place in order), *people.never_named[:8]]
    born = [f"{people.days[p] + 1} {clew_months()[people.months[p]]}" for p in order] + ["40 May"] * 8
    questions = [
        UserQuestion(text=f"Question: when was {name} born? Answer:", answers=(date,), seen=seen)
        for name, date, seen in zip(names, born, [100] * 8 + [0] * 8, strict=True)
    ]
    said = returned(ask(minnow(), questions, IDK))
    return questions, replies_of(minnow(), said["tokens"], said["confidence"])


def clew_months():
    from clew.organism.words import MONTHS

    return list(MONTHS)


def test_minnow_answers_what_it_saw_and_its_confidence_is_that_of_the_whole_answer(asked):
    questions, replies = asked
    assert sum(replies.right(questions)[:8]) >= 7
    assert not any(replies.right(questions)[8:])
    first = minnow().subject.encode(questions[0].text).tolist()
    probability = 1.0
    for token in minnow().subject.token_ids(f" {replies.texts[0]}"):
        [said] = minnow().next_tokens([first])
        probability *= float(said.probabilities[token])
        first.append(token)
    assert replies.confidence[0] == pytest.approx(probability, rel=1e-4)


def test_questions_of_a_user_are_put_to_any_model_and_answers_of_others_are_wrong(asked, tmp_path):
    questions, _ = asked
    rows = [f"{q.text},{q.answers[0]},{q.seen}" for q in questions]
    path = written(tmp_path / "q.csv", ["question,answer,seen", *rows])
    result = HALLUCINATION.run(minnow(), questions=path)
    calibrated, seen = result.claims
    assert seen.verdict == "holds"
    assert calibrated.value.value < 0.4
    assert result.false_effects == ()
    kinds = result.tables["answers"].columns["it is"]
    assert kinds[:8].count("right") >= 7
    stranger = Kit(clew.Subject(models.model("gpt2", torch.float32, vocab_size=257), models.byte_tokenizer(), "bytes"))
    short = written(tmp_path / "short.csv", [*QUESTIONS[:11]])
    assert len(HALLUCINATION.run(stranger, questions=short).tables["answers"]) == 10


def test_dealt_answers_are_those_of_other_questions():
    questions = [UserQuestion(text=str(n), answers=(str(n),)) for n in range(12)]
    dealt = dealt_answers(questions, 0)
    assert sorted(q.answers for q in dealt) == sorted(q.answers for q in questions)
    assert all(a.answers != b.answers for a, b in zip(questions, dealt, strict=True))


def test_a_model_of_another_world_is_told_to_be_asked_questions():
    kit = Kit(clew.Subject(models.model("gpt2", torch.float32, vocab_size=257), models.byte_tokenizer(), "bytes"))
    with pytest.raises(InputError, match="was not trained on the small world: give it --questions of yours"):
        HALLUCINATION.run(kit)


def test_dates_are_read_with_their_whole_probability():
    """The product of day and month is what the model gives the date, and what lies above the threshold is all of it."""
    people = people_of(minnow()).thinned(1000)
    prompts, born = people.prompts(people.drawn_templates(0))[:6], people.born[:6]
    parts = returned(read_answers(minnow(), prompts, born, "test"))
    answers = answers_of(parts, law=np.full(6, 1 / 6), born=born, refused=people.refused[:6])
    subject, month = minnow().subject, clew_months()
    for place, prompt in enumerate(prompts):
        ids, probability = subject.encode(prompt).tolist(), 1.0
        for token in subject.token_ids(f" {born[place, 0] + 1} {month[born[place, 1]]}"):
            [said] = minnow().next_tokens([ids])
            probability *= float(said.probabilities[token])
            ids.append(token)
        assert answers.right[place] == pytest.approx(probability, rel=1e-3, abs=1e-7)
    errors = answers.errors
    assert (errors.wrong + answers.right + answers.refusal).tolist() == pytest.approx([1] * 6, abs=1e-5)
    assert errors.law_above.tolist() == (
        np.where(people.refused[:6], answers.refusal > THRESHOLD, answers.right > THRESHOLD)
    ).astype(float).tolist()  # fmt: skip


def test_people_who_stand_for_others_keep_the_laws_mass():
    whole = people_of(minnow())
    thin = whole.thinned(4)
    assert thin.law.sum() == pytest.approx(1)
    assert thin.law[500:].sum() == pytest.approx(whole.law[500:].sum(), rel=0.02)
    assert not set(whole.names) & set(whole.never_named) - {
        name for name, count in zip(whole.names, whole.counts, strict=True) if not count
    }


def test_names_of_the_absent_case_are_all_invented():
    people = people_of(minnow())
    never, groups = set(people.never_named), name_groups(people, 50, dealt=True, seed=0)
    for group in (groups.known, groups.refused, groups.invented):
        assert all(any(name in prompt for name in never) for prompts in group[:5] for prompt in prompts)


def detection(shift):
    """Names of two kinds, told apart by the planted shift of one of sixty features."""
    generator = np.random.default_rng(0)
    rows, known = generator.random((240, 60)), np.arange(240) < 90
    rows[known, 17] += shift
    return Detection(rows=rows, known=known, fold=generator.permutation(240) % FOLDS)


def test_a_planted_detector_is_found_on_names_that_were_left_out_and_none_where_none_is():
    planted, none = detection(0.8), detection(0.0)
    assert {column for column, _ in planted.best(planted.known)} == {17}
    assert planted.auc().low > 0.9
    assert abs(none.auc().value - 0.5) < 0.1
    assert abs(np.mean(planted.dealt(10, 0)) - 0.5) < 0.05


def test_a_law_with_rare_people_has_the_singletons_that_poisson_says():
    world = FlatWorld(often=50, rare=4000, statements=4000, seed=0)
    rate = 0.5  # statements of each of the rare, on average
    assert world.fact_counts.rate == pytest.approx(0.9 * 0.5 * math.exp(-rate), rel=0.1)
    assert world.counts.sum() == 4000
    ids = world.task("flat").draw(np.random.default_rng(0))
    assert len({tuple(row) for row in world.questions(np.arange(4050)).tolist()}) == 4050
    assert ids.shape[1] == 5


def test_names_never_seen_are_in_no_step_of_training_and_refusal_by_lot_knows_no_difference():
    names = UnknownNames(seed=0)
    never = {tuple(row) for row in names.questions(names.never_seen).tolist()}
    for by_chance in (False, True):
        task = UnknownNames(seed=0, by_chance=by_chance).task()
        rows = np.concatenate([task.draw(np.random.default_rng(k)) for k in range(10)])
        assert not never & {tuple(row[:3]) for row in rows.tolist()}
        known = np.isin(rows[:, 1] * 1000 + rows[:, 2], names.questions(names.known) @ np.array([0, 1000, 1]))
        shares = [(rows[member, 3] == REFUSAL).mean() for member in (known, ~known)]
        assert shares == pytest.approx([0.5, 0.5] if by_chance else [0.0, 1.0], abs=0.08)
        assert rows[:, 3].max() == REFUSAL
        assert rows[:, 3].min() >= REFUSAL - DATES


def test_answers_dealt_out_are_as_many():
    corpus = FactCorpus(title="x", statements=[FactStatement(question=str(n % 7), answer="a") for n in range(50)])
    assert corpus.dealt_counts(0).counts.sum() == 50
