"""`clew graph` as a user meets it: merged graphs, what settings agree on, what hangs on few edges."""

import json
from dataclasses import replace

import pytest

from clew.attribution.consensus import consensus, prunings
from clew.attribution.graph import Graph
from clew.attribution.merge import merge
from clew.attribution.merged_graph import ENVELOPE
from tests.workbench import minnow

FRANCE, ITALY = "The capital of France is", "The capital of Italy is"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The graphs of two prompts, as files."""
    folder = tmp_path_factory.mktemp("graphs")
    for name, prompt in (("france", FRANCE), ("italy", ITALY)):
        minnow().trace(prompt, effects=True).save(folder / f"{name}.graph")
    return folder


def test_merged_graphs_are_those_of_python(run, saved):
    names = saved / "france.graph", saved / "italy.graph"
    code, out, err = run("graph", "merge", *names, "--slot", "country=4", "--slot", "last=5,5", "--json")
    assert (code, err) == (0, "")
    graphs = [Graph.load(name).prune() for name in names]
    expected = merge(graphs, [{4: "country", 5: "last"}] * 2)
    assert json.loads(out) == json.loads(json.dumps(expected.to_json()))
    code, out, err = run("graph", "merge", *names, "--outputs", "rank")
    assert (code, err) == (0, "")
    for words in (FRANCE, ITALY, "2 graphs", "France / Italy @4", "Edges that carry the most"):
        assert words in out


def test_a_consensus_is_that_of_python_and_is_written(run, saved, tmp_path):
    path = tmp_path / "consensus.json"
    code, out, err = run("graph", "consensus", saved / "france.graph", "--share", "1", "--output", path)
    assert (code, err) == (0, f"wrote {path}\n")
    agreed = consensus(prunings(Graph.load(saved / "france.graph")), share=1)
    assert f"{agreed.graph.n_features} features are in at least 100% of 12 prunings" in out
    written = json.loads(path.read_text())
    ENVELOPE.check(written, path)
    features = [node["id"] for node in written["nodes"] if "activation" in node]
    assert features == [str(node.id) for node in agreed.graph.nodes[: agreed.graph.n_features]]
    (tmp_path / "notes.json").write_text("{}")
    code, out, err = run("graph", "consensus", saved / "france.graph", "--output", tmp_path / "notes.json")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert (tmp_path / "notes.json").read_text() == "{}"


def test_robustness_is_that_of_python(run, saved):
    code, out, err = run("graph", "robustness", saved / "france.graph", "--draws", "4", "--rewirings", "3", "--json")
    assert (code, err) == (0, "")
    expected = Graph.load(saved / "france.graph").prune().robustness(draws=4, rewirings=3)
    assert json.loads(out) == {"prompt": FRANCE, **json.loads(json.dumps(expected.to_json()))}
    code, out, err = run("graph", "robustness", saved / "france.graph", "--draws", "4", "--rewirings", "3")
    assert (code, err) == (0, "")
    for words in ("The circuit hangs on few edges", "rewired, or an expander", "second eigenvalue"):
        assert words in out


@pytest.mark.parametrize("verb", ["merge", "consensus"])
def test_graphs_of_different_kits_are_refused_by_name(run, saved, verb, tmp_path):
    graph = Graph.load(saved / "italy.graph")
    replace(graph, dictionary="other", dictionary_fingerprint="0" * 64).save(tmp_path / "other.graph")
    code, out, err = run("graph", verb, saved / "france.graph", tmp_path / "other.graph")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "the graphs are of different kits" in err
    assert "other [00000000]" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("merge", "absent.graph"), "absent.graph"),
        (("merge", FRANCE, "--slot", "country"), "slot 'country': give country=4"),
        (("merge", FRANCE, "--slot", "country=4,4"), "one position for each of the 1 graphs"),
        (("merge", FRANCE, "--slot", "country=9"), "has the positions 0 to 5"),
        (("merge", FRANCE, "--over", "some"), "choose label or rank, and all or present"),
        (("consensus", FRANCE, "--share", "2"), "is not in [0, 1]"),
        (("robustness", FRANCE, "--draws", "0"), "draws=0"),
    ],
)
def test_mistakes_are_one_line(run, arguments, words):
    code, out, err = run("graph", *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert words in err
