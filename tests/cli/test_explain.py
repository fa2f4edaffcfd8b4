"""`clew explain` as a user meets it."""

import json

import pytest

from clew.circuit.circuit import Circuit

PROMPT = "The capital of Italy is"


def test_the_sentence_comes_first_then_groups_and_edges_with_heads(run, tmp_path):
    path = tmp_path / "italy.circuit"
    code, out, err = run("explain", PROMPT, "--save", path)
    assert (code, err) == (0, "")
    circuit = Circuit.load(path)
    first, *_ = out.splitlines()
    assert first == circuit.sentence
    assert "country: Italy" in first
    assert "says Rome" in first
    for group in circuit.groups:
        assert group.name in out
    for title in ("Groups", "What makes what", "by heads", "random"):
        assert title in out
    assert "L0H1" in out


def test_json_holds_the_circuit_and_what_was_told_in_russian(run):
    code, out, err = run("explain", PROMPT, "--json", "--language", "ru", "--why-not", "Paris")
    assert (code, err) == (0, "")
    value = json.loads(out)
    circuit = Circuit.from_json(value)
    assert value["told"] == circuit.tell("ru")
    assert "создаёт группу *страна: Italy*" in value["told"]
    assert value["sentence"] == circuit.sentence
    assert value["why_not"]["told"].startswith("«Paris» (0 %) позади «Rome»")
    assert value["groups"][0]["name"] == circuit.groups[0].name
    assert value["necessity"] == pytest.approx(circuit.necessity)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((PROMPT, "--language", "de"), "no language 'de'"),
        (("",), "empty"),
        ((PROMPT, "--groups", "1"), "groups is 1"),
        ((PROMPT, "--kit", "nonsense"), "no kit 'nonsense'"),
        ((PROMPT, "--why-not", "Rome"), "'Rome' is what the model says here"),
        ((PROMPT, "--save", "."), "which is a folder"),
    ],
)
def test_mistakes_are_one_line(run, arguments, words):
    code, out, err = run("explain", *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert words in err


def test_a_file_that_is_no_circuit_is_not_written_over(run, tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("mine")
    code, _, err = run("explain", PROMPT, "--save", path)
    assert (code, err.count("\n")) == (2, 1)
    assert path.read_text() == "mine"
