"""A Kit's verbs on circuits: those of the library on its own graphs, and what a circuit from a file needs."""

from dataclasses import replace
from functools import cache

import pytest

from clew.circuit.circuit import Circuit
from clew.circuit.regroup import GroupChange, regroup
from clew.circuit.swapping import swap_groups
from clew.errors import InputError
from tests.workbench import FRANCE, minnow

ITALY = "The capital of Italy is"


@cache
def traced(prompt):
    return minnow().trace(prompt)


@cache
def circuit(prompt):
    return minnow().circuit(traced(prompt), draws=2)


@cache
def swap():
    return minnow().swap(circuit(FRANCE), circuit(FRANCE).groups[0].id, circuit(ITALY))


def test_a_swap_is_the_librarys_and_takes_the_others_own_graph():
    kit, group = minnow(), circuit(FRANCE).groups[0].id
    same = swap_groups(kit.subject, kit.dictionary, circuit(FRANCE), group, circuit(ITALY), traced(ITALY))
    assert (swap().own, swap().others, swap().null) == (same.own, same.others, same.null)
    assert swap().follows


@pytest.mark.parametrize(
    ("size", "words", "missing"),
    [
        (1.0, "with random features of that prompt 'Rome' is", "few"),
        (0.3, "though they are few: 30% of the group's size", "no random set"),
        (0.0, "there is no random set to compare with", "with random features"),
    ],
)
def test_a_swap_says_how_much_of_a_null_it_has(size, words, missing):
    sentence = replace(swap(), null_size=size).sentence
    assert words in sentence
    assert missing not in sentence


def test_changed_groups_are_measured_anew_as_in_the_library():
    kit, changes = minnow(), [GroupChange.merge("G1", "G2")]
    same = regroup(kit.subject, kit.dictionary, traced(FRANCE), circuit(FRANCE), changes, kit._lexicon, kit.atlas)
    assert kit.regroup(circuit(FRANCE), changes).sentence == same.sentence
    assert len(same.groups) == len(circuit(FRANCE).groups) - 1


def test_a_circuit_from_a_file_needs_its_graph(tmp_path):
    kit, path, group = minnow(), tmp_path / "italy.circuit", circuit(FRANCE).groups[0].id
    circuit(ITALY).save(path)
    loaded = Circuit.load(path)
    for call in (lambda: kit.regroup(loaded, []), lambda: kit.swap(circuit(FRANCE), group, loaded)):
        with pytest.raises(InputError, match="was read from a file: trace its prompt, and give the graph"):
            call()
    assert kit.swap(circuit(FRANCE), group, loaded, other_graph=traced(ITALY)).own == swap().own
