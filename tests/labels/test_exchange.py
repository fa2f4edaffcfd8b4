"""Exchange: what is written reads back as it was, and broken lines are told by their numbers."""

import gzip
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clew import files
from clew.errors import FileError, InputError, MismatchError
from clew.features.card import Related
from clew.features.label import Label, Score
from clew.features.neuronpedia import feature_json, write_bulk
from clew.ids import FeatureId
from clew.labels.exchange import export_labels, import_labels, write_parquet
from clew.labels.store import LabelStore
from tests import models
from tests.cards import CITIES_CARD as CARD
from tests.cards import DULL, card
from tests.labels.test_store import labels as label_fields

SCORE = Score(test="detection", judge="tokens", value=0.9, low=0.7, high=1.0, null=0.1 + 0.2, contexts=20)


@pytest.fixture
def store(tmp_path):
    with LabelStore(tmp_path / "labels.sqlite", "aaaa") as store:
        yield store


@pytest.fixture
def other(tmp_path):
    with LabelStore(tmp_path / "other.sqlite", "aaaa") as store:
        yield store


def label(text="capitals", layer=3, index=1207, **more):
    return Label(feature=FeatureId(layer, index), text=text, **{"kind": "person", "author": "Ann", **more})


def plainly(labels):
    return [replace(label, id=None) for label in labels]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), label_fields), max_size=6))
def test_labels_come_back_from_a_file_as_they_were(tmp_path_factory, given):
    folder = tmp_path_factory.mktemp("labels")
    with LabelStore(folder / "a.sqlite", "aaaa") as store:
        store.add(Label(feature=FeatureId(0, index), scores=(SCORE,), **fields) for index, fields in given)
        for history in (False, True):
            export_labels(store, folder / "l.jsonl", dictionary="aaaa", history=history, replace=True)
            with LabelStore(folder / f"{history}.sqlite", "aaaa") as other:
                import_labels(other, folder / "l.jsonl", dictionary="aaaa")
                assert plainly(other.all()) == plainly(store.all())
                if history:
                    assert plainly(other.all(history=True)) == plainly(store.all(history=True))


def test_importing_twice_adds_nothing_and_leaves_own_labels_as_they_are(store, other, tmp_path):
    store.add([label("theirs", scores=(SCORE,)), label("both", index=2)])
    assert export_labels(store, tmp_path / "l.jsonl", dictionary="aaaa") == 2
    other.add([label("mine", author="Bob"), label("newer", index=2)])
    for _ in range(2):
        assert import_labels(other, tmp_path / "l.jsonl", dictionary="aaaa").labels == 2
    assert [found.text for found in other.of(FeatureId(3, 1207), history=True)] == ["mine", "theirs"]
    assert [found.text for found in other.of(FeatureId(3, 2))] == ["newer"]
    assert other.of(FeatureId(3, 1207))[1].scores == (SCORE,)


BROKEN = {
    2: "{",
    3: '["a"]',
    5: '{"feature": "3/1207", "text": "a", "kind": "person", "author": "a"}',
    6: '{"feature": "L3/1207", "text": "", "kind": "person", "author": "a"}',
    7: '{"feature": "L3/1207", "text": "a", "kind": "god", "author": "a"}',
    8: '{"feature": "L3/1207", "text": "a", "kind": "person", "author": "a", "date": "never"}',
    9: '{"feature": "L3/1207", "text": "a", "kind": "person", "author": "a", "scores": [{"value": 1}]}',
    10: '{"feature": "L3/1207", "text": 5, "kind": "person", "author": "a"}',
    11: '{"feature": "L99/1", "text": "a", "kind": "person", "author": "a"}',
    12: '{"feature": "L3/1", "text": "\\ud800", "kind": "person", "author": "a"}',
    13: '{"feature": "L3/99999999999999999999999", "text": "a", "kind": "person", "author": "a"}',
    14: "[" * 100_000,
    15: '{"feature": "L3/1207", "text": "a", "kind": "person", "author": "a", "scores": '
    '[{"test": "detection", "judge": "a", "value": NaN, "low": 0, "high": 1, "null": null, "contexts": 3}]}',
}
WHOLE = '{"feature": "L3/1207", "text": "good", "kind": "person", "author": "a"}'


def broken_file(tmp_path):
    head = json.dumps({"format": "clew.labels", "schema": 1, "dictionary": "aaaa"})
    path = tmp_path / "broken.jsonl"
    path.write_text("\n".join([head, *(BROKEN.get(number, WHOLE) for number in range(2, 17)), ""]))
    return path


def test_what_was_withdrawn_or_replaced_stays_history_in_another_store(store, other, tmp_path):
    gone, old = label("withdrawn", author="Bob"), label("old", date="2025-01-01T00:00:00")
    (number,) = store.add([gone])
    store.withdraw(number)
    store.add([old, label("new")])
    export_labels(store, tmp_path / "l.jsonl", dictionary="aaaa", history=True)
    import_labels(other, tmp_path / "l.jsonl", dictionary="aaaa")
    assert [each.text for each in other.of(gone.feature)] == [each.text for each in store.of(gone.feature)] == ["new"]
    assert {each.text for each in other.of(gone.feature, history=True)} == {"withdrawn", "old", "new"}


def test_broken_lines_are_named_and_nothing_is_added(store, tmp_path):
    with pytest.raises(FileError) as refused:
        import_labels(store, broken_file(tmp_path), dictionary="aaaa", exists=lambda f: f.layer < 6)
    message = str(refused.value)
    assert "broken.jsonl has 13 broken lines" in message
    assert all(f"line {number}:" in message for number in (2, 3, 5, 6, 7))
    assert "and 8 more" in message
    assert list(store.all()) == []


def test_on_request_the_rest_of_a_broken_file_is_kept(store, tmp_path):
    found = import_labels(store, broken_file(tmp_path), dictionary="aaaa", keep_rest=True, exists=lambda f: f.layer < 6)
    assert found.labels == 2
    assert [number for number, _ in found.broken] == list(BROKEN)
    assert dict(found.broken)[11] == "the dictionary has no feature L99/1"
    assert [kept.text for kept in store.all()] == ["good"]


def test_a_line_that_is_not_utf8_is_named_like_other_broken_ones_and_can_be_left_out(store, tmp_path):
    path = tmp_path / "l.jsonl"
    head = json.dumps({"format": "clew.labels", "schema": 1, "dictionary": "aaaa"})
    path.write_bytes(b"\n".join([head.encode(), WHOLE.encode(), b'{"feature": "caf\xe9"}', b"{"]))
    with pytest.raises(FileError, match=r"2 broken lines.*line 3: not UTF-8 \(byte 17\); line 4: not JSON"):
        import_labels(store, path, dictionary="aaaa")
    found = import_labels(store, path, dictionary="aaaa", keep_rest=True)
    assert (found.labels, [number for number, _ in found.broken]) == (1, [3, 4])
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(FileError, match="no file of labels"):
        import_labels(store, path, dictionary="aaaa")


def test_an_export_replaces_an_export_when_asked_and_nothing_else_ever(store, other, tmp_path):
    path = tmp_path / "l.jsonl"
    assert export_labels(store, path, dictionary="aaaa") == 0
    store.add([label()])
    with pytest.raises(FileError, match=r"an export of labels already.*--replace"):
        export_labels(store, path, dictionary="aaaa")
    assert export_labels(store, path, dictionary="aaaa", replace=True) == 1
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "empty").touch()
    kept = {name: (tmp_path / name).read_bytes() for name in ("notes.txt", "empty", "other.sqlite")}
    for name in (*kept, "."):
        for asked in (False, True):
            with pytest.raises(FileError, match="is no export of labels"):
                export_labels(store, tmp_path / name, dictionary="aaaa", replace=asked)
    assert {name: (tmp_path / name).read_bytes() for name in kept} == kept


@pytest.mark.parametrize(
    ("head", "error", "words"),
    [
        ({"format": "clew.labels", "schema": 1, "dictionary": "b" * 64}, MismatchError, "another dictionary \\(bbbb"),
        ({"format": "clew.labels", "schema": 9, "dictionary": "aaaa"}, FileError, "schema 9"),
        ({"format": "clew.edits", "schema": 1}, FileError, "no file of labels"),
        ([1], FileError, "no file of labels"),
    ],
)
def test_a_file_of_something_else_is_refused_by_name(store, tmp_path, head, error, words):
    path = tmp_path / "l.jsonl"
    path.write_text(json.dumps(head) + "\n" + WHOLE)
    with pytest.raises(error, match=words):
        import_labels(store, path, dictionary="aaaa", keep_rest=True)
    path.write_text("")
    with pytest.raises(FileError, match="is empty"):
        import_labels(store, path, dictionary="aaaa")


def test_parquet_holds_one_row_a_feature_with_its_label_and_scores(tmp_path):
    dead = card([], DULL, feature="L4/2")
    labels = {CARD.feature: label("capitals", scores=(SCORE,))}
    assert write_parquet(tmp_path / "f.parquet", [CARD, dead], labels) == 2
    table = files.read_table(tmp_path / "f.parquet")
    assert (table["layer"], table["feature"]) == ([3, 4], [1207, 2])
    assert (table["label"], table["author"]) == (["capitals", None], ["Ann", None])
    assert table["detection_null"] == [SCORE.null, None]
    assert table["promoted"][0] == [weight.token for weight in CARD.promoted]
    assert table["density"] == [CARD.density, 0.0]
    with pytest.raises(InputError, match="no feature"):
        write_parquet(tmp_path / "g.parquet", [], {})


def gunzipped(path):
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).decode().splitlines()]


def test_neuronpedias_bulk_layout_holds_every_card_context_and_label(tmp_path):
    near = (Related(feature=FeatureId(3, 5), value=0.5), Related(feature=FeatureId(1, 9), value=0.9))
    made = replace(CARD, nearest_decoder=near)
    cards = [
        card([], DULL, feature="L0/7"),
        made,
        *(replace(CARD, feature=FeatureId(3, 2000 + n)) for n in range(1024)),
    ]
    labels = {CARD.feature: (label("capitals", scores=(SCORE,)), label("second", author="Bob"))}
    assert write_bulk(tmp_path, cards, labels, model="minnow", source="clew-clt") == 1026
    where = tmp_path / "minnow" / "3-clew-clt"
    assert sorted(path.name for path in where.glob("*.jsonl")) == [
        "model.jsonl", "release.jsonl", "source.jsonl", "sourceset.jsonl",
    ]  # fmt: skip
    first, second = (gunzipped(where / "features" / f"batch-{n}.jsonl.gz") for n in (0, 1))
    assert (len(first), len(second)) == (1024, 1)
    neuron = first[0]
    assert (neuron["modelId"], neuron["layer"], neuron["index"]) == ("minnow", "3-clew-clt", "1207")
    assert neuron["pos_str"] == [weight.token for weight in CARD.promoted]
    assert (neuron["topkCosSimIndices"], neuron["topkCosSimValues"]) == ([5], [0.5])
    assert len(neuron["freq_hist_data_bar_heights"]) == len(neuron["freq_hist_data_bar_values"])
    contexts = [line for line in gunzipped(where / "activations/batch-0.jsonl.gz") if line["index"] == "1207"]
    assert len(contexts) == len(CARD.top) + len(CARD.silent)
    assert contexts[0]["tokens"][contexts[0]["maxValueTokenIndex"]] == CARD.top[0].tokens[CARD.top[0].at]
    assert contexts[0]["values"] == list(CARD.top[0].activations)
    said = gunzipped(where / "explanations/batch-0.jsonl.gz")
    assert [(line["description"], line["scoreV1"]) for line in said] == [("capitals", 0.9), ("second", None)]
    assert len(gunzipped(tmp_path / "minnow/0-clew-clt/features/batch-0.jsonl.gz")) == 1


@pytest.mark.parametrize(
    ("write", "hook"), [("mlp_out", "blocks.1.hook_mlp_out"), ("mlp_raw_out", "blocks.1.mlp.hook_out")]
)
def test_hook_and_vector_are_those_of_the_dictionary(tmp_path, write, hook):
    dictionary = models.dictionary("clt", models.subject("gpt2", torch.float32), write=write, dtype=torch.float32)
    cards = [replace(CARD, feature=FeatureId(1, n)) for n in (5, 7)]
    write_bulk(tmp_path / "with", cards, {}, model="m", source="s", dictionary=dictionary)
    write_bulk(tmp_path / "without", cards, {}, model="m", source="s")
    rows = gunzipped(tmp_path / "with/m/1-s/features/batch-0.jsonl.gz")
    assert [row["hookName"] for row in rows] == [hook] * 2
    for row, n in zip(rows, (5, 7), strict=True):
        assert row["vector"] == dictionary.layers[1].decoder[n, 0].tolist()
    rows = gunzipped(tmp_path / "without/m/1-s/features/batch-0.jsonl.gz")
    assert [(row["hookName"], row["vector"]) for row in rows] == [("", [])] * 2


@given(st.floats(2**-10, 1024, width=32), st.floats(0.001, 1))
@settings(max_examples=100, deadline=None)
def test_no_exported_activation_is_beyond_the_bounds_that_it_is_shown_beside(most, share):
    """Contexts hold 16 bits, which round up as often as down; the largest activation and bands are exact."""
    import math

    from clew.features.card import Band
    from clew.features.neuronpedia import _activations

    other = float(np.float32(most * share))
    low = 2.0 ** math.floor(math.log2(other))
    top, banded = (
        replace(CARD.top[0], activations=tuple(float(np.float16(v)) if n == CARD.top[0].at else 0.0 for n in range(4)))
        for v in (most, other)
    )
    band = Band(low=low, high=2 * low, fired=1, contexts=(banded,))
    lines = list(_activations(replace(CARD, max_activation=most, top=(top,), bands=(band,), silent=CARD.silent[:1])))
    assert [line["maxValue"] for line in lines][::2] == [most, 0.0]
    for line in lines:
        assert line["maxValue"] <= line["binMax"]
    assert low <= lines[1]["values"][lines[1]["qualifyingTokenIndex"]] < 2 * low


def test_a_name_that_leaves_the_folder_and_unsorted_cards_are_refused(tmp_path):
    for name in ("../x", "", "a/b", ".."):
        with pytest.raises(InputError, match="cannot name a folder"):
            write_bulk(tmp_path, [CARD], {}, model=name, source="s")
    back = [CARD, card([], DULL, feature="L0/7"), replace(CARD, feature=FeatureId(3, 1))]
    with pytest.raises(InputError, match="layer 3 do not stand together"):
        write_bulk(tmp_path, back, {}, model="m", source="s")


def test_feature_json_holds_the_contexts_by_strength_and_no_empty_group():
    made = card(["a [b] c"], DULL, [" x"], bands=["d [e] f"])
    value = feature_json(made)
    assert set(value) == {"index", "examples_quantiles", "top_logits", "bottom_logits"}
    assert [len(group["examples"]) for group in value["examples_quantiles"]] == [1, 1]
    assert value["examples_quantiles"][0]["examples"][0] == {
        "tokens": ["a", " b", " c"],
        "tokens_acts_list": [0.0, 8.0, 0.0],
    }
    assert feature_json(card([], DULL))["examples_quantiles"] == []
