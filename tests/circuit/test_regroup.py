"""Circuits changed by a person: the same groups have the same numbers, others are measured; swaps are followed."""

from dataclasses import replace

import pytest
import torch

import clew
from clew.circuit.circuit import Circuit
from clew.circuit.measuring import LiveRuns, marked
from clew.circuit.regroup import GroupChange, regroup
from clew.circuit.swapping import counterpart, swap_groups
from clew.circuit.words import lexicon_of_model
from clew.errors import InputError, MismatchError

FRANCE, ITALY = "The capital of France is", "The capital of Italy is"


@pytest.fixture(scope="module")
def kit():
    return clew.load("minnow")


@pytest.fixture(scope="module")
def graph(kit):
    return kit.trace(FRANCE, effects=True)


@pytest.fixture(scope="module")
def france(kit, graph):
    return kit.circuit(graph)


def regrouped(kit, graph, circuit, changes):
    lexicon = lexicon_of_model(kit.provenance["model"])
    return regroup(kit.subject, kit.dictionary, graph, circuit, changes, lexicon, kit.atlas)


def numbers(circuit):
    """Ids, names, members and numbers of the groups, the sentence and the edges."""
    groups = [
        (g.id, g.named, g.role, g.members, round(g.share, 5), g.without, g.alone, g.null.probabilities)
        for g in circuit.groups
    ]
    return groups, circuit.sentence, circuit.edges, circuit.without, circuit.alone


def test_no_change_and_a_split_that_is_taken_back_leave_every_number_as_it_was(kit, graph, france):
    assert numbers(regrouped(kit, graph, france, [])) == numbers(france)
    first = france.groups[0]
    apart = regrouped(kit, graph, france, [GroupChange.split(first.id, first.members[:3])])
    (new,) = [g for g in apart.groups if g.id not in {each.id for each in france.groups}]
    assert {*new.members} == {*first.members[:3]}
    assert {*apart.group(first.id).members} == {*first.members[3:]}
    again = regrouped(kit, graph, apart, [GroupChange.merge(first.id, new.id)])
    assert numbers(again) == numbers(france)
    assert [change["verb"] for change in again.settings["changes"]] == ["split", "merge"]


def test_merged_groups_are_measured_ablated_together_and_alone(kit, graph, france):
    first, second = france.groups[0], france.groups[1]
    merged = regrouped(kit, graph, france, [GroupChange.merge(first.id, second.id)]).group(first.id)
    places = torch.tensor([graph.index(member) for member in (*first.members, *second.members)])
    runs = LiveRuns(kit.subject, kit.dictionary, graph)
    removed = marked(graph.n_features, [places])
    assert merged.without == pytest.approx(float(runs.outcomes(removed).probability[0]), abs=1e-6)
    assert merged.alone == pytest.approx(float(runs.outcomes(~removed).probability[0]), abs=1e-6)
    assert merged.share == pytest.approx(first.share + second.share, rel=1e-5)
    assert merged.without < min(first.without, second.without)


def test_a_persons_name_is_told_in_both_languages_and_kept_in_the_file_until_it_is_taken_back(
    kit, graph, france, tmp_path
):
    named = regrouped(kit, graph, france, [GroupChange.rename("country: France", "  the   land ")])
    assert named.groups[0].name == "the land"
    assert "*the land*" in named.sentence
    assert "*the land*" in named.tell("ru")
    named.save(tmp_path / "named.circuit")
    assert Circuit.load(tmp_path / "named.circuit") == named
    back = regrouped(kit, graph, named, [GroupChange.rename("the land", "")])
    assert numbers(back) == numbers(france)
    older = named.to_json()
    for group in older["groups"]:
        del group["pinned"], group["named"]["called"]
    assert Circuit.from_json(older).groups[0].name == "country: France"


def test_a_pinned_group_is_told_of_and_measured_with_the_others(kit, graph, france):
    silent = next(g for g in france.groups if g.id not in france.chain and g.role == "gathers")
    pinned = regrouped(kit, graph, france, [GroupChange.pin(silent.id)])
    assert silent.id in pinned.chain
    assert silent.name in pinned.sentence
    told = [graph.index(member) for id in pinned.chain for member in pinned.group(id).members]
    left = LiveRuns(kit.subject, kit.dictionary, graph).outcomes(marked(graph.n_features, [torch.tensor(told)]))
    assert pinned.chain_without == pytest.approx(float(left.probability[0]), abs=1e-6)
    assert numbers(regrouped(kit, graph, pinned, [GroupChange.unpin(silent.id)])) == numbers(france)


def test_a_feature_goes_into_a_group_from_outside_and_out_of_all_of_them(kit, graph, france):
    inside = {member for group in france.groups for member in group.members}
    outside = next(str(graph.node(n).id) for n in graph.feature_range if str(graph.node(n).id) not in inside)
    more = regrouped(kit, graph, france, [GroupChange.move([outside], "G2")])
    assert outside in more.group("G2").members
    assert more.coverage > france.coverage
    fewer = regrouped(kit, graph, france, [GroupChange.move(france.group("G2").members)])
    assert "G2" not in {group.id for group in fewer.groups}
    assert fewer.coverage == pytest.approx(france.coverage - france.group("G2").share, rel=1e-5)


def test_impossible_changes_are_refused_by_name(kit, graph, france):
    first = france.groups[0]
    against = next(g for g in france.groups if g.role == "against")
    for change, words in (
        (GroupChange.merge(first.id, first.id), "are one group"),
        (GroupChange.rename("G77", "x"), "there is no group 'G77'"),
        (GroupChange.split(first.id, first.members), "not all of them"),
        (GroupChange.split(first.id, [against.members[0]]), "no others"),
        (GroupChange.move(["T@1"], first.id), "T@1 is none"),
        (GroupChange.move([], first.id), "at least one"),
        (GroupChange.pin(against.id), "writes against the answer"),
        (GroupChange.rename(first.id, "x" * 81), "at most 80"),
    ):
        with pytest.raises(InputError, match=words):
            regrouped(kit, graph, france, [change])
    everything = [member for group in france.groups for member in group.members]
    with pytest.raises(InputError, match="no group is left"):
        regrouped(kit, graph, france, [GroupChange.move(everything)])
    with pytest.raises(MismatchError, match="the circuit is of"):
        regrouped(kit, graph, replace(france, token_ids=france.token_ids[1:]), [])
    with pytest.raises(InputError, match="cannot be changed by 'paint'"):
        GroupChange.from_json({"verb": "paint"})


def test_the_answer_follows_a_swapped_group_and_not_random_features(kit, graph, france):
    italy_graph = kit.trace(ITALY, effects=True)
    italy = kit.circuit(italy_graph)
    swap = swap_groups(kit.subject, kit.dictionary, france, "country: France", italy, italy_graph)
    assert swap.other_group.name == "country: Italy"
    assert (swap.answer.text, swap.other_answer.text) == ("Paris", "Rome")
    assert swap.own[0] == pytest.approx(france.answer.probability, abs=1e-5)
    assert swap.follows
    assert swap.others[1] > 0.5 > max(swap.null)
    assert 0 < swap.null_size <= 1
    measured = kit.edit(FRANCE, france.swap("country: France", italy, "country: Italy"), predict=None)
    rome = italy.answer.tokens[0][1]
    assert swap.others[1] == pytest.approx(float(measured.measured.probabilities[-1, list(rome)].sum()), abs=1e-6)
    assert counterpart(france.group("says Paris"), france, italy).name == "says Rome"
    only = replace(italy, groups=tuple(g for g in italy.groups if g.role == "against"))
    with pytest.raises(InputError, match="does what 'country: France' does"):
        counterpart(france.groups[0], france, only)
