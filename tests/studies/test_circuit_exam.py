"""The exam of circuits: groups of a country's circuit tell the country, those of another prompt do not."""

import json

import numpy as np
import pytest
import torch

import clew
from clew.errors import InputError
from clew.organism.variables import Variables
from clew.organism.world import World
from clew.runs.value_scores import balanced, value_score
from clew.studies import circuit_exam
from clew.studies.circuit_exam import examine_circuits, group_activations


@pytest.fixture(scope="module")
def minnow():
    return clew.load("minnow")


@pytest.fixture
def listed_only(monkeypatch):
    monkeypatch.setattr(circuit_exam, "DRAWN", ())


def test_the_first_listed_prompt_passes_beside_shuffled_labels(run, listed_only):
    code, out, err = run("organism", "exam", "--circuits", "--count", "1", "--json")
    assert (code, err) == (0, "")
    report = json.loads(out)
    country = next(row for row in report["rows"] if row["variable"] == "country")
    assert country["passed"]
    assert country["accuracy"][0] >= 0.9 > 0.6 >= country["null"]
    assert {row["family"] for row in report["rows"]} == {"capitals"}


def test_groups_of_another_prompt_do_not_tell_the_country(minnow):
    (country, _) = Variables(world=World()).of("The capital of France is")

    def best(prompt):
        circuit = minnow.circuit(minnow.trace(prompt), draws=1)
        values = group_activations(minnow, circuit, country.sentences)
        return value_score(country, values, balanced, np.random.default_rng(0)).score

    assert best("The capital of France is") > 0.9
    assert best("The sum of 34 and 29 is") < 0.75


def test_a_groups_activation_in_its_own_prompt_is_that_of_its_members(minnow):
    circuit = minnow.circuit(minnow.trace("The capital of France is"), draws=1)
    (own,) = group_activations(minnow, circuit, ["The capital of France is"])
    group = circuit.group("country: France")
    assert {int(member.split("@")[1]) for member in group.members} == {circuit.answer.position}
    norms = [
        float(minnow.dictionary.decoder_rows(int(member[1]), member_index(member)).norm()) for member in group.members
    ]
    expected = sum(a * n for a, n in zip(group.activations, norms, strict=True))
    assert own[circuit.groups.index(group)] == pytest.approx(expected, rel=1e-3)


def member_index(member):
    return torch.tensor([int(member.split("/")[1].split("@")[0])])


def test_what_cannot_be_examined_is_refused(run, minnow):
    with pytest.raises(InputError, match="count is 0"):
        examine_circuits(minnow, 0)
    with pytest.raises(InputError, match="not trained on the small world"):
        examine_circuits(clew.Kit(minnow.subject), 1)
    code, out, err = run("organism", "exam", "--count", "3")
    assert (code, out) == (2, "")
    assert "give --circuits too" in err
