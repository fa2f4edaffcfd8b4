"""`clew diff` as a user meets it."""

import json

import pytest

FRANCE, ITALY = "The capital of France is", "The capital of Italy is"


def test_two_prompts_are_set_side_by_side(run):
    code, out, err = run("diff", FRANCE, ITALY)
    assert (code, err) == (0, "")
    for words in ("explains ' Paris'", "explains ' Rome'", "are in both", "differs most", "by effects"):
        assert words in out
    code, out, err = run("diff", FRANCE, ITALY, "--json")
    found = json.loads(out)
    assert found["prompts"] == [FRANCE, ITALY]
    assert (found["target_a"], found["target_b"], found["kind"]) == (" Paris", " Rome", "effects")
    assert found["changes"][0]["effect_a"] != found["changes"][0]["effect_b"]


def test_a_saved_graph_differs_in_nothing_from_itself(run, tmp_path):
    for name in ("x.graph", "x.json"):
        assert run("trace", FRANCE, "--save", tmp_path / name)[0] == 0
    for other in ("x.graph", "x.json"):
        code, out, err = run("diff", tmp_path / "x.graph", tmp_path / other)
        assert (code, err) == (0, "")
        assert "Nothing differs." in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((FRANCE, "absent.graph"), "absent.graph"),
        ((FRANCE, ""), "the prompt is empty"),
        ((FRANCE, ITALY, "--target", "Parises"), "is not one token"),
    ],
)
def test_mistakes_are_one_line(run, arguments, words):
    code, out, err = run("diff", *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert words in err
