"""`--no-bos` in the verbs that read a prompt, and ids as names of tokens."""

import json

import pytest

import clew
from clew import Edit
from clew.runs import evaluate
from clew.runs.plan import planned
from clew.search.finder import Finder

PROMPT = "The capital of France is"


@pytest.fixture(scope="module")
def kit():
    return clew.load("minnow")


def test_without_bos_every_verb_begins_with_the_text(run, kit):
    code, out, err = run("trace", PROMPT, "--no-bos", "--max-features", 20, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["tokens"][0] == "The"
    code, out, err = run("edit", PROMPT, "--no-bos", "--ablate", "L0/836", "--generate", 1, "--json")
    assert (code, err) == (0, "")
    effect = kit.edit(PROMPT, [Edit.ablate("L0/836")], add_bos=False)
    assert json.loads(out)["tokens"] == list(effect.tokens) == ["The", " capital", " of", " France", " is"]
    steps = list(kit.generate(PROMPT, tokens=1, add_bos=False))
    assert steps[0].position == 5
    code, out, err = run("audit", PROMPT, "--no-bos", "--nodes", 2, "--json")
    assert code == 0, err  # a slow machine tells how far it is
    whole = run("audit", PROMPT, "--nodes", 2, "--json")[1]
    assert json.loads(out)["lines"] != json.loads(whole)["lines"]


def test_a_graph_has_its_tokens_already(run, tmp_path, kit):
    kit.trace(PROMPT, max_features=5).save(tmp_path / "paris.graph")
    code, _, err = run("audit", "--graph", "paris.graph", "--no-bos")
    assert (code, err.count("\n")) == (2, 1)
    assert "--no-bos says how a prompt is read" in err


@pytest.mark.parametrize("command", [("train", "new"), ("eval", "--kit", "minnow"), ("harvest", "new.sqlite")])
def test_rows_with_and_without_bos_are_not_asked_for_together(run, command):
    for given in (("--add-bos", "--bos", "never"), ("--no-bos", "--bos", "document")):
        code, _, err = run(*command, *given)
        assert (code, err.count("\n")) == (2, 1)
        assert all(option in err for option in given if option.startswith("--"))


def test_a_search_by_text_may_leave_the_bos_out(run, kit):
    ways = ("features", "search", "--text", " France", "--by-token", "--json")
    code, out, err = run(*ways, "--no-bos")
    assert (code, err) == (0, "")
    assert {row["at"] for row in json.loads(out)} == {repr(" France")}
    finder = Finder(atlas=kit.atlas, subject=kit.subject, dictionary=kit.dictionary)
    without, usual = (finder.find(text=" France", by_token=True, add_bos=start) for start in (False, True))
    assert [row["activation"] for row in json.loads(out)] == pytest.approx([hit.value for hit in without], rel=1e-3)
    assert [hit.value for hit in without] != [hit.value for hit in usual]
    code, _, err = run("features", "search", "France", "--no-bos")
    assert (code, err.count("\n")) == (2, 1)
    assert "--no-bos belongs to --text" in err


def test_rows_begin_with_their_text_in_the_verbs_that_read_many(run, tmp_path, kit, small_kit, monkeypatch):
    (tmp_path / "text.txt").write_text("\n".join([PROMPT] * 40))
    text = ("--text", "text.txt", "--tokens", "60")
    made = [
        run("harvest", f"{n}.sqlite", "--kit", small_kit, *text, *bos, "--json")
        for n, bos in enumerate((["--no-bos"], ["--bos", "never"], []))
    ]
    assert [code for code, _, _ in made] == [0, 0, 0]
    without, never, usual = (json.loads(out)["content"] for _, out, _ in made)
    assert without == never != usual
    rows = []
    monkeypatch.setattr(evaluate, "assess", lambda subject, dictionary, material: rows.append(material.documents))
    monkeypatch.setattr(evaluate, "assess_nulls", lambda *_, **__: [])
    for settings in ({"add_bos": False}, {}):
        with pytest.raises(AttributeError, match="evaluation"):  # of what assess did not return
            clew.evaluate(None, text="text.txt", held_out=10, count=0, **settings)
    assert [int(documents.tokens[0]) == kit.subject.start_ids[0] for documents in rows] == [False, True]
    assert planned({}, None, {"add_bos": False}, kit.subject).corpus.bos == "never"


def test_a_token_is_named_by_its_id(run, kit):
    paris = kit.subject.token_names.token(" Paris")
    code, out, err = run("trace", PROMPT, "-t", f"#{paris}", "--max-features", 20, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["targets"] == [" Paris"]
    by_id, by_name = (run("features", "search", "--token", name, "--json") for name in (f"#{paris}", " Paris"))
    assert by_id == by_name
    code, _, err = run("trace", PROMPT, "-t", "#99999")
    assert (code, err) == (2, "clew: target id 99999 is outside the vocabulary 0..3071\n")
    code, _, err = run("features", "search", "--token", "#99999")
    assert (code, err.count("\n")) == (2, 1)
