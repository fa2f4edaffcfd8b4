"""Circuits: groups part the kept features, numbers are what is measured, planted groups are found, files come back."""

import json
import re
from dataclasses import replace

import pytest
import torch

import clew
from clew import Edit
from clew.attribution.influence import influence
from clew.circuit import phrases
from clew.circuit.answer import answer_of
from clew.circuit.circuit import Circuit
from clew.circuit.find_circuit import material_of
from clew.circuit.grouping import cells, members
from clew.circuit.measuring import LiveRuns, marked
from clew.circuit.phrases import with_phrase
from clew.circuit.replacements import Dependence, dependence
from clew.circuit.words import words_of
from clew.dictionary import Dictionary, JumpReLU, Layer
from clew.errors import FileError, InputError, MismatchError
from tests import models
from tests.models import PROMPT

FRANCE = "The capital of France is"
POINTS = re.compile(r"([\d.]+) %")


@pytest.fixture(scope="module")
def toy():
    subject = models.subject("gpt2")
    return clew.Kit(subject, models.dictionary("clt", subject))


@pytest.fixture(scope="module")
def toy_graph(toy):
    return toy.trace(list(PROMPT), effects=True)


@pytest.fixture(scope="module")
def toy_circuit(toy, toy_graph):
    return toy.circuit(toy_graph)


@pytest.fixture(scope="module")
def minnow():
    return clew.load("minnow")


@pytest.fixture(scope="module")
def france(minnow):
    return minnow.circuit(minnow.trace(FRANCE, effects=True))


def places(graph, members):
    return torch.tensor([graph.index(member) for member in members])


# --- identities -------------------------------------------------------------------------------------------------------


def test_groups_share_no_feature_and_their_shares_add_up_to_what_is_covered(toy_graph, toy_circuit):
    members = [member for group in toy_circuit.groups for member in group.members]
    assert len(members) == len(set(members))
    through = influence(toy_graph)[toy_graph.part("feature")]
    share = float(through[places(toy_graph, members)].sum() / through.sum())
    assert toy_circuit.coverage == pytest.approx(share, abs=1e-6)
    assert toy_circuit.coverage >= 0.8
    for group in toy_circuit.groups:
        assert group.share == pytest.approx(
            float(through[places(toy_graph, group.members)].sum() / through.sum()), abs=1e-6
        )
        assert {toy_graph.node(toy_graph.index(member)).position for member in group.members} == set(group.positions)


def test_without_any_feature_the_answer_is_what_the_same_edits_leave(toy, toy_graph, toy_circuit):
    """All features ablated: none is left to answer, so that runs with features recomputed are the edits' own."""
    assert [position for position, _ in toy_circuit.answer.tokens] == [len(PROMPT) - 1]
    edits = [Edit.ablate(f"L{layer}/{index}@{position}") for layer, position, index in toy_graph.feature_keys.tolist()]
    tokens = toy_circuit.answer.tokens[0][1]
    measured = next(iter(toy.edits([(list(PROMPT), edits)]))).probabilities[list(tokens)].sum().detach()
    assert toy_circuit.nothing == pytest.approx(float(measured), abs=1e-6)


def test_a_group_of_the_last_layer_falls_as_its_own_edits_say(toy, toy_graph):
    runs = LiveRuns(toy.subject, toy.dictionary, toy_graph)
    nodes = (toy_graph.feature_keys[:, 0] == toy_graph.n_layers - 1).nonzero()[:3, 0]
    edits = [Edit.ablate(str(toy_graph.node(node).id)) for node in nodes.tolist()]
    tokens = list(runs.answer.tokens[0][1])
    measured = next(iter(toy.edits([(list(PROMPT), edits)]))).probabilities[tokens].sum().detach()
    outcomes = runs.outcomes(marked(toy_graph.n_features, [nodes]))
    assert float(outcomes.probability) == pytest.approx(float(measured), abs=1e-6)


def test_what_is_said_of_all_groups_and_of_each_is_measured_again_alike(toy, toy_graph, toy_circuit):
    runs, n = LiveRuns(toy.subject, toy.dictionary, toy_graph), toy_graph.n_features
    sets = [places(toy_graph, group.members) for group in toy_circuit.groups]
    rows = marked(n, [*sets, torch.cat(sets)])
    without, alone = runs.outcomes(rows).probability, runs.outcomes(~rows).probability
    for group, left, kept in zip(toy_circuit.groups, without[:-1].tolist(), alone[:-1].tolist(), strict=True):
        assert (group.without, group.alone) == (pytest.approx(left, abs=1e-9), pytest.approx(kept, abs=1e-9))
        assert group.necessity == pytest.approx(toy_circuit.answer.probability - left)
    assert (toy_circuit.without, toy_circuit.alone) == (
        pytest.approx(float(without[-1])),
        pytest.approx(float(alone[-1])),
    )


def test_beside_every_group_stand_random_sets_and_their_mean(france):
    for null in (france.null, *(group.null for group in france.groups)):
        assert len(null.probabilities) == 5
        assert 0.9 < null.mass < 1.5
        assert 0 <= null.elsewhere <= 1
    again = replace(france.null, probabilities=(0.2, 0.4))
    assert again.probability == pytest.approx(0.3)


def test_edges_measured_are_what_the_readers_lose_when_the_source_goes(toy, toy_graph, toy_circuit):
    runs, n = LiveRuns(toy.subject, toy.dictionary, toy_graph), toy_graph.n_features
    through = influence(toy_graph)[toy_graph.part("feature")]
    edge = next(edge for edge in toy_circuit.edges if edge.source[0] == "G" and edge.target[0] == "G")
    source, target = (places(toy_graph, toy_circuit.group(name).members) for name in (edge.source, edge.target))
    after = runs.outcomes(marked(n, [source])).activations[0]
    lost = (1 - after[target] / toy_graph.activations[target]).clamp(-1, 1)
    weights = through[target] / through[target].sum()
    assert edge.measured == pytest.approx(float((lost * weights).sum()), abs=1e-6)
    straight = toy_graph.shares[toy_graph._row_of[target]][:, toy_graph._col_of[source]].sum(1)
    assert edge.value == pytest.approx(float((straight * weights).sum()), abs=1e-5)
    answer = next(edge for edge in toy_circuit.edges if edge.target == "answer")
    assert answer.measured == pytest.approx(
        1 - toy_circuit.group(answer.source).without / toy_circuit.answer.probability
    )


# --- the sentence -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["en", "ru"])
def test_every_number_of_the_sentence_is_measured(minnow, france, language):
    graph = minnow.trace(FRANCE)
    runs = LiveRuns(minnow.subject, minnow.dictionary, graph)
    members = [member for name in france.chain for member in france.group(name).members]
    left = float(runs.outcomes(marked(graph.n_features, [places(graph, members)])).probability)
    before = float(minnow.subject.record(FRANCE).probabilities[-1].max())
    told = [float(number) / 100 for number in POINTS.findall(france.tell(language))]
    assert told == [pytest.approx(before, abs=6e-4), pytest.approx(left, abs=6e-3)]


def test_the_capital_of_france_is_told_as_a_person_would(france):
    assert france.sentence.startswith(
        "'France' (token) makes *country: France* at 'is' (head L0H1); with *asks for a capital* "
    )
    assert "it makes *says Paris*; without them 'Paris' falls from 99.9 % to " in france.sentence
    assert "*страна: France*" in france.tell("ru")
    assert 4 <= len(france.groups) <= 10
    assert france.necessity > 0.9
    assert france.sufficiency > 0.9
    assert france.null.probability > 0.9
    assert france.group("says Paris").role == "output"
    assert france.group("country: France").words == (" France",)
    heads = {
        edge.heads for edge in france.edges_into(france.group("country: France").id) if edge.source.startswith("T@")
    }
    assert ("L0H1",) in heads


def test_heads_that_are_named_carry_the_value_by_the_loadings_of_its_edges(minnow, france):
    graph = minnow.trace(FRANCE, effects=True)
    group = france.group("country: France")
    parts = minnow.parts(graph, group.members[0])
    word = (graph.node_positions == 4) & ~graph.mask("target")
    shares = {key: float(each[word].sum() / parts.value[word].sum()) for key, each in parts.loadings.items()}
    assert max(shares, key=shares.get) == (0, 1)


def test_a_story_in_russian_prompts_reads_whole_words(minnow):
    circuit = minnow.circuit(minnow.trace("Столица Норвегии —"))
    assert circuit.answer.text == "Осло"
    assert "<0x" not in " ".join([circuit.sentence, *(group.name for group in circuit.groups)])
    assert all(edge.effect is None for edge in circuit.edges)
    assert "'Норвегии' (token)" in circuit.sentence


def test_words_that_are_white_space_are_written_out(minnow):
    circuit = minnow.circuit(minnow.trace("\n\n"), draws=1)
    for told in (circuit.sentence, circuit.tell("ru"), *(group.name for group in circuit.groups)):
        assert told.isprintable()
    assert "'\\n'" in circuit.sentence


# --- planted and absent -----------------------------------------------------------------------------------------------


def planted(subject, *, writes):
    """Two features that fire at the last position, each for one word, and write what speaks for one token.

    Beside them three that are always on and write nothing. Returns the dictionary, the words' positions, the token: one
    whose probability falls when either word is another.
    """
    ids, last = torch.tensor(PROMPT), len(PROMPT) - 1
    likely = subject.record(ids).probabilities

    def run(position):
        others = [other for other in likely[position - 1].topk(9).indices.tolist() if other != PROMPT[position]][:8]
        rows = ids.repeat(len(others), 1)
        rows[:, position] = torch.tensor(others)
        after = subject.run(rows, keep=[("mlp_in", 2)])
        return after.kept["mlp_in", 2][:, last], subject.probabilities(subject.unembed(after.final[:, last]))

    runs = {position: run(position) for position in range(1, last)}
    fallen = torch.stack([(1 - after / likely[last]).clamp(0, 1).mean(0) for _, after in runs.values()])
    fallen = torch.where(likely[last] > 1e-3, fallen, 0.0)
    token = int(fallen.topk(2, dim=0).values[1].argmax())
    chosen = sorted(1 + place for place in fallen[:, token].topk(2).indices.tolist())
    x = subject.run(ids[None], keep=[("mlp_in", 2)]).kept["mlp_in", 2][0, last]
    changed = torch.cat([x - runs[position][0] for position in chosen])
    encoder, bias = torch.zeros(5, models.WIDTH, dtype=torch.float64), torch.ones(5, dtype=torch.float64)
    for feature in range(2):
        wanted = torch.zeros(len(changed), 1, dtype=torch.float64)
        wanted[8 * feature : 8 * feature + 8] = 1.0
        encoder[feature] = torch.linalg.lstsq(changed, wanted).solution[:, 0]
        bias[feature] = 0.9 - encoder[feature] @ x
    unembedding = subject.unembedding[token].double()
    decoder = torch.zeros(5, 1, models.WIDTH, dtype=torch.float64)
    decoder[:2, 0] = writes * unembedding / unembedding.norm()
    layer = Layer(
        encoder=encoder, bias=bias, nonlinearity=JumpReLU(threshold=torch.full((5,), 0.05, dtype=torch.float64)),
        decoder=decoder, decoder_bias=torch.zeros(models.WIDTH, dtype=torch.float64), skip=None,
    )  # fmt: skip
    dictionary = Dictionary(
        kind="plt", layers={2: layer}, writes={2: (2,)}, read_site="mlp_in", write_site="mlp_out", n_layers=3,
        d_model=models.WIDTH, name="planted",
    )  # fmt: skip
    return dictionary, chosen, token


def test_two_planted_features_are_found_with_the_words_that_they_depend_on():
    subject = models.subject("gpt2")
    dictionary, chosen, token = planted(subject, writes=4.0)
    kit = clew.Kit(subject, dictionary)
    graph = kit.trace(list(PROMPT), targets=[f"#{token}"])
    material = material_of(subject, dictionary, graph)
    words_of_node = {
        str(graph.node(node).id): [material.words[word].positions[0] for word in cell.words]
        for cell in cells(material, members(material, 0.8))
        for node in cell.nodes.tolist()
    }
    last = len(PROMPT) - 1
    assert words_of_node == {f"L2/{feature}@{last}": [position] for feature, position in enumerate(chosen)}
    circuit = kit.circuit(graph)
    (group,) = circuit.groups  # both write the same, and so have one name
    assert set(group.members) == set(words_of_node)
    assert circuit.necessity > 0.5 * circuit.answer.probability
    assert circuit.matters


def test_where_no_feature_writes_anything_no_group_matters():
    subject = models.subject("gpt2")
    dictionary, _, token = planted(subject, writes=0.0)
    kit = clew.Kit(subject, dictionary)
    circuit = kit.circuit(kit.trace(list(PROMPT), targets=[f"#{token}"]))
    assert circuit.necessity == pytest.approx(0, abs=1e-9)
    assert not circuit.matters
    assert circuit.sentence.startswith("No group of features matters for ")
    assert circuit.tell("ru").startswith("Ни одна группа признаков не важна для ")


def test_an_answer_without_any_probability_is_refused(toy, toy_graph):
    final = 1e4 * LiveRuns(toy.subject, toy.dictionary, toy_graph).final
    last = len(PROMPT) - 1
    least = int(toy.subject.unembed(final[last]).argmin())
    never = replace(toy_graph, targets=(replace(toy_graph.targets[0], token=least, position=last),))
    with pytest.raises(InputError, match="no probability at all"):
        answer_of(toy.subject, never, final)


# --- swaps ------------------------------------------------------------------------------------------------------------


def test_another_countrys_group_in_the_place_of_the_own_changes_the_answer(minnow, france):
    italy = minnow.circuit(minnow.trace("The capital of Italy is"), draws=1)
    edits = france.swap("country: France", italy, "country: Italy")
    theirs = italy.group("country: Italy")
    values = {(str(edit.feature), edit.strength) for edit in edits if edit.verb == "set"}
    named = zip(theirs.members, theirs.activations, strict=True)
    assert values == {(member.split("@")[0], activation) for member, activation in named}
    (said,) = minnow.readings([(FRANCE, edits)], [" Rome", " Paris"]).probabilities.tolist()
    assert said[0] > 0.9 > 0.1 > said[1]
    itself = france.swap("country: France", france, "country: France")
    (said,) = minnow.readings([(FRANCE, itself)], [" Paris"]).probabilities.tolist()
    assert said[0] == pytest.approx(france.answer.probability, abs=1e-4)


def test_a_group_that_does_not_fit_is_not_swapped(france, toy_circuit):
    with pytest.raises(MismatchError, match="random clt"):
        france.swap("country: France", toy_circuit, "G1")
    early = replace(france.groups[0], members=("L0/1@0",), activations=(1.0,))
    longer = replace(france, tokens=(*france.tokens, "x"), groups=(early,))
    with pytest.raises(InputError, match="too short"):
        france.swap("country: France", longer, early.id)


# --- files and mistakes -----------------------------------------------------------------------------------------------


def test_a_saved_circuit_comes_back(toy_circuit, france, tmp_path):
    for circuit in (toy_circuit, france, replace(france, chain=(), chain_without=france.answer.probability)):
        circuit.save(tmp_path / "a.circuit")
        assert Circuit.load(tmp_path / "a.circuit") == circuit
        assert Circuit.from_json(json.loads(json.dumps(circuit.to_json()))) == circuit


def test_a_damaged_foreign_or_newer_file_is_refused(toy_circuit, tmp_path):
    path = tmp_path / "a.circuit"
    toy_circuit.save(path)
    whole = json.loads(path.read_text())
    for changed, message in (
        ({**whole, "format": "clew.edits"}, "holds no circuit"),
        ({**whole, "schema": 99}, "upgrade clew"),
        ({**whole, "circuit": {"prompt": "x"}}, "no circuit, or a damaged one"),
    ):
        path.write_text(json.dumps(changed))
        with pytest.raises(FileError, match=message):
            Circuit.load(path)
    path.write_text(json.dumps(whole)[:100])
    with pytest.raises(FileError):
        Circuit.load(path)


def test_a_repr_is_short_and_edits_ablate_the_members(france):
    assert len(repr(france)) < 400
    edits = france.group("asks for a capital").edits()
    assert [edit.verb for edit in edits] == ["ablate"] * len(edits)
    assert str(edits[0].feature) in france.group("asks for a capital").members[0]


def test_what_cannot_be_grouped_is_refused_in_one_line(toy, toy_graph, toy_circuit, minnow):
    looked = minnow.looks(FRANCE, layer=1, head=0)
    with pytest.raises(InputError, match="explains a look"):
        minnow.circuit(looked)
    difference = minnow.trace(FRANCE, targets=["Paris - Rome"])
    with pytest.raises(InputError, match="trace the prompt without a difference"):
        minnow.circuit(difference)
    with pytest.raises(MismatchError):
        minnow.circuit(toy_graph)
    for settings, message in (
        ({"groups": 1}, "at least 2"),
        ({"coverage": 1.5}, "share in"),
        ({"draws": 0}, "at least 1"),
    ):
        with pytest.raises(InputError, match=message):
            toy.circuit(toy_graph, **settings)
    with pytest.raises(InputError, match="no language 'de'"):
        toy_circuit.tell("de")
    with pytest.raises(InputError, match="no group 'nonsense'"):
        toy_circuit.group("nonsense")


def test_the_number_of_groups_is_kept(toy, toy_graph):
    assert len(toy.circuit(toy_graph, groups=3).groups) <= 3


def test_neurons_are_grouped_too(minnow):
    kit = clew.Kit(minnow.subject)
    circuit = kit.circuit(kit.trace(FRANCE, max_features=300))
    assert circuit.answer.text == "Paris"
    assert 2 <= len(circuit.groups) <= 10


# --- why not ----------------------------------------------------------------------------------------------------------


def test_what_holds_a_rival_down_is_what_the_margin_loses_without_it(minnow, france):
    rival = france.why_not("Rome")
    logits = minnow.subject.record(FRANCE).logits[-1]
    paris, rome = (minnow.subject.token_ids(text)[0] for text in (" Paris", " Rome"))
    assert rival.margin == pytest.approx(float(logits[paris] - logits[rome]), abs=1e-3)
    graph = minnow.trace(FRANCE)
    runs, group = LiveRuns(minnow.subject, minnow.dictionary, graph), france.group("country: France")
    removed = marked(graph.n_features, [places(graph, group.members)])
    left = minnow.subject.unembed(next(iter(runs.finals(removed)))[1, -1]).detach()
    held = next(each for each in rival.groups if each.id == group.id)
    assert held.margin == pytest.approx(float(left[paris] - left[rome]), abs=1e-3)
    assert held in rival.holds
    assert held.random > rival.margin - 3
    assert [each.margin for each in rival.groups] == sorted(each.margin for each in rival.groups)
    assert rival.sentence.startswith("'Rome' (0 %) is 17.6 logits behind 'Paris' (99.9 %): without *country: France* ")
    assert "без группы *страна: France* позади на" in rival.tell("ru")
    assert json.loads(json.dumps(rival.to_json()))["sentence"] == rival.sentence


def test_what_writes_against_the_rival_and_is_in_no_group_is_one_of_its_own(minnow, france):
    rival = france.why_not("French")
    against = next(each for each in rival.groups if each.id == "R")
    assert against.features >= 1
    assert against in rival.holds
    assert "*writes against French*" in rival.sentence


def test_what_is_no_rival_is_refused(france, tmp_path):
    with pytest.raises(InputError, match="'Paris' is what the model says"):
        france.why_not("Paris")
    with pytest.raises(InputError, match="not one token"):
        france.why_not("Zanzibar")
    france.save(tmp_path / "a.circuit")
    with pytest.raises(InputError, match="read from a file"):
        Circuit.load(tmp_path / "a.circuit").why_not("Rome")


# --- words that decide together ---------------------------------------------------------------------------------------


def test_words_that_decide_together_are_one_word_and_what_depends_on_it_is_measured(minnow):
    prompt = "People who call many friends are"
    circuit = minnow.circuit(minnow.trace(prompt), draws=1)
    (phrase,) = (word for word in circuit.words if " " in word.text.strip())
    assert phrase.text.strip() == "many friends"
    assert phrase.positions == tuple(range(phrase.positions[0], phrase.positions[-1] + 1))
    assert circuit.sentence.startswith("'many friends' (tokens) make *the phrase 'many friends'* at 'are'")
    assert circuit.tell("ru").startswith("«many friends» (токены) создают группу *фраза «many friends»*")
    group = circuit.group("the phrase 'many friends'")
    joint = next(edge for edge in circuit.edges_into(group.id) if edge.source == f"T@{phrase.positions[-1]}")
    graph = minnow.trace(prompt)
    runs = LiveRuns(minnow.subject, minnow.dictionary, graph)
    found = dependence(runs, words_of(minnow.subject, graph.token_ids, graph.tokens, 1), torch.ones(graph.n_tokens))
    assert float(found.answer[:-1].max()) < 0.2, "a word decides by itself"
    nodes = places(graph, group.members)
    alone = float(found.features[nodes].mean(0)[:-1].max())
    assert joint.measured > alone


def test_of_a_long_prompt_the_most_influential_spans_are_tried(minnow, monkeypatch):
    graph = minnow.trace("Weather: " + " ".join(["rain", "sun", "snow"] * 12))
    runs = LiveRuns(minnow.subject, minnow.dictionary, graph)
    words = words_of(minnow.subject, graph.token_ids, graph.tokens, 1)
    nothing = Dependence(
        features=torch.zeros(graph.n_features, len(words)),
        answer=torch.zeros(len(words)),
        tried=torch.ones(len(words), dtype=torch.bool),
    )
    tried = []
    monkeypatch.setattr(phrases, "_without", lambda runs, span: tried.append(span[0].positions[0]))
    with_phrase(runs, words, nothing, torch.arange(graph.n_tokens).float())
    assert len(tried) == phrases.TRIED < 3 * (len(words) - 4)
    assert min(tried) > graph.n_tokens // 3


def test_where_a_word_decides_no_phrase_is_looked_for(minnow, france):
    assert [word.text.strip() for word in france.words] == ["The", "capital", "of", "France", "is"]


def test_a_group_that_fires_for_words_of_a_sort_is_called_so(minnow):
    circuit = minnow.circuit(minnow.trace("We call 10 an"), draws=1)
    group = circuit.group("a number like 10")
    assert circuit.sentence.startswith("'10' (token) makes *a number like 10* at 'an'")
    assert "*число вроде 10*" in circuit.tell("ru")
    features = [member.split("@")[0] for member in group.members]
    texts = [f"We call {number} an" for number in range(100)]
    own = torch.tensor(group.activations)
    shares = torch.stack([(each.of(features)[-1] / own).clamp(0, 1) for each in minnow.activations(texts)])
    kept = (shares * own).sum(1) / own.sum()
    assert int(kept.argmax()) == 10
    assert 0.4 < float(kept.mean()) < 0.8
