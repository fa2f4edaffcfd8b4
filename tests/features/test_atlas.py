"""The atlas as a file: cards come back fast and whole, and what is broken, foreign or of something else is refused."""

from __future__ import annotations

import random
import shutil
import sqlite3
import statistics
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import clew
from clew import kit as kits
from clew.errors import FileError, InputError, MismatchError
from clew.features.atlas import Atlas
from clew.features.packing import Packer, unpack
from clew.harvest.write_atlas import harvest
from clew.ids import FeatureId
from clew.runs.sources import small_world
from clew.training.corpus import encode_documents
from tests import models
from tests.harvest.test_gather import SMALL, made, rows_of_words


@pytest.fixture(scope="module")
def tiny():
    subject = models.subject("gpt2", torch.float32)
    dictionary = models.dictionary("clt", subject, dtype=torch.float32)
    return subject, dictionary, encode_documents(subject, rows_of_words(300))


@pytest.fixture(scope="module")
def harvested(tiny, tmp_path_factory):
    path = tmp_path_factory.mktemp("atlas") / "a.sqlite"
    made(*tiny, path).close()
    return path


@pytest.fixture
def path(harvested, tmp_path):
    """A copy to break."""
    return shutil.copy(harvested, tmp_path / "a.sqlite")


def test_features_are_found_by_name_and_id_and_listed_in_order(harvested):
    with Atlas.load(harvested) as atlas:
        listed = list(atlas)
        assert len(atlas) == len(listed) == 120
        assert listed == sorted(listed)
        assert [atlas.number(feature) for feature in listed] == list(range(120))
        assert [atlas.feature(i) for i in range(120)] == listed
        assert atlas["L1/7"] == atlas[FeatureId(1, 7)]
        assert atlas["L1/7"].feature == FeatureId(1, 7)
        assert "L1/39" in atlas
        assert "L1/40" not in atlas


def test_the_summary_says_what_the_cards_say(harvested):
    with Atlas.load(harvested) as atlas:
        summary = atlas.summary
        for number, feature in enumerate(atlas):
            card = atlas[feature]
            assert (summary.layer[number], summary.index[number]) == (feature.layer, feature.index)
            assert summary.density[number] == card.density
            assert summary.max_activation[number] == card.max_activation
            assert summary.promoted[number].tolist() == [t.token_id for t in card.promoted[:5]]


def test_a_card_as_json_holds_every_field_and_no_object(harvested):
    import json

    with Atlas.load(harvested) as atlas:
        card = atlas["L0/3"]
    plain = json.loads(json.dumps(card.to_json(), allow_nan=False))
    assert plain["feature"] == "L0/3"
    assert plain["density"] == card.density
    assert plain["top"][0]["tokens"] == list(card.top[0].tokens)
    assert plain["inputs"] == []
    assert {r["feature"] for r in plain["nearest_encoder"]} == {str(r.feature) for r in card.nearest_encoder}


@pytest.mark.alone
def test_a_card_of_minnow_opens_in_less_than_5_ms():
    seconds = []
    with Atlas.load(kits.BUNDLED / "minnow" / kits.ATLAS) as atlas:
        atlas["L0/0"]
        for number in random.Random(0).sample(range(len(atlas)), 200):
            begun = time.thread_time()
            atlas[atlas.feature(number)]
            seconds.append(time.thread_time() - begun)
    assert statistics.median(seconds) < 0.005


def test_nobody_can_write_into_an_atlas(harvested):
    with Atlas.load(harvested) as atlas, pytest.raises(sqlite3.OperationalError, match="readonly"):
        atlas.opened.execute("DELETE FROM cards")


def test_a_reader_keeps_its_atlas_while_another_is_written_in_its_place(tiny, path):
    subject, dictionary, documents = tiny
    with Atlas.load(path) as atlas:
        before = atlas["L2/5"]
        for _ in harvest(subject, dictionary, documents.slice(0, 256), path, config=SMALL):
            assert atlas["L2/5"] == before
        assert atlas["L2/5"] == before
        with Atlas.load(path) as anew:
            assert anew.content != atlas.content
            assert anew["L2/5"] != before


# Kits


def test_a_kit_carries_its_atlas(tmp_path):
    source = kits.BUNDLED / "minnow"
    minnow = clew.load("minnow")
    documents = encode_documents(minnow.subject, small_world(300), positions=300)
    config = replace(SMALL, contexts=1, related=0, rules=False)
    made(minnow.subject, minnow.dictionary, documents, tmp_path / "a.sqlite", config).close()
    parts = {"model": source / "model", "dictionary": source / "dictionary"}
    kits.build(tmp_path / "kit", name="small", atlas=tmp_path / "a.sqlite", **parts)
    loaded = clew.load(tmp_path / "kit")
    assert loaded.atlas["L3/100"].positions == int(documents.counts.sum())
    other = minnow.dictionary.to(dtype=torch.float64)
    with pytest.raises(MismatchError, match=f"{minnow.dictionary.fingerprint[:12]}.*{other.fingerprint[:12]}"):
        _ = kits.Kit(minnow.subject, other, atlas_path=tmp_path / "a.sqlite").atlas
    other.save(tmp_path / "other")
    with pytest.raises(MismatchError, match="harvest it anew"):
        kits.build(
            tmp_path / "no", name="no", model=parts["model"], dictionary=tmp_path / "other", atlas=tmp_path / "a.sqlite"
        )
    assert not (tmp_path / "no").exists()


def test_the_cards_of_a_kit_go_by_its_own_names_of_tokens_whatever_the_file_has(tiny, path):
    """Atlases from before names meant one token each wrote byte letters."""
    with sqlite3.connect(path) as opened:
        opened.execute("UPDATE tokens SET text = 'ĠÐ¥' || id")
    feature = "L2/5"
    with Atlas.load(path) as alone:
        ids = alone[feature].top[0].token_ids
        assert alone[feature].top[0].tokens == tuple(f"ĠÐ¥{token}" for token in ids)
    subject, dictionary, _ = tiny
    card = kits.Kit(subject, dictionary, atlas_path=path).atlas[feature]
    assert card.top[0].tokens == subject.token_strings(ids)
    assert card.promoted[0].token == subject.token_strings([card.promoted[0].token_id])[0]


def test_a_kit_without_an_atlas_says_how_to_get_one():
    minnow = clew.load("minnow")
    with pytest.raises(FileError, match="run clew harvest"):
        _ = kits.Kit(minnow.subject, minnow.dictionary).atlas


# What is refused


def test_an_atlas_of_another_dictionary_is_refused_with_both_hashes(tiny, harvested):
    other = models.dictionary("clt", tiny[0], dtype=torch.float32, seed=5)
    with Atlas.load(harvested) as atlas:
        atlas.check_fits(tiny[1])
        with pytest.raises(MismatchError, match=f"{tiny[1].fingerprint[:12]}.*{other.fingerprint[:12]}"):
            atlas.check_fits(other)


def test_a_newer_schema_is_refused(path):
    content = bytearray(path.read_bytes())
    content[60:64] = (99).to_bytes(4)
    path.write_bytes(content)
    with pytest.raises(FileError, match="schema 99, this program reads up to 3"):
        Atlas.load(path)


def test_an_older_schema_is_refused(path):
    content = bytearray(path.read_bytes())
    content[60:64] = (1).to_bytes(4)
    path.write_bytes(content)
    with pytest.raises(FileError, match=r"a\.sqlite has schema 1, this program reads 2 to 3: harvest it anew"):
        Atlas.load(path)


@pytest.mark.parametrize("feature", ["L9/0", "L0/40", "L1/99999"])
def test_a_feature_that_is_not_there_is_named(harvested, feature):
    with Atlas.load(harvested) as atlas, pytest.raises(InputError, match=f"no feature {feature}"):
        atlas[feature]


def test_a_truncated_file_is_refused_wherever_it_is_cut(path):
    content = path.read_bytes()
    for size in (0, 1, 50, 99, 100, 4096, len(content) // 2, len(content) - 4096, len(content) - 1):
        path.write_bytes(content[:size])
        with pytest.raises(FileError, match="truncated"):
            Atlas.load(path)


def test_a_foreign_or_missing_file_is_refused(tmp_path):
    with pytest.raises(FileError, match="no such file"):
        Atlas.load(tmp_path / "none")
    (tmp_path / "text").write_text("words " * 1000)
    sqlite3.connect(tmp_path / "other").executescript("CREATE TABLE a (b)").close()
    for name in ("text", "other"):
        with pytest.raises(FileError, match="not a file of an atlas"):
            Atlas.load(tmp_path / name)


def test_a_damaged_file_says_so_or_says_what_it_said(path):
    content, rng = path.read_bytes(), random.Random(0)
    with Atlas.load(path) as atlas:
        some = list(atlas)[::13]
        whole = [atlas[feature] for feature in some]
    messages = []
    for _ in range(60):
        broken = bytearray(content)
        start = rng.randrange(100, len(broken))
        broken[start : start + 40] = rng.randbytes(len(broken[start : start + 40]))
        path.write_bytes(broken)
        try:
            with Atlas.load(path) as atlas:
                atlas.check_whole()
                assert [atlas[feature] for feature in some] == whole  # it hit what SQLite does not use
        except FileError as error:
            messages.append(str(error))
    assert len(messages) > 20
    assert all(str(path) in message for message in messages)


# Packing


@given(st.data())
def test_numbers_come_back_as_they_were_packed(data):
    fields = {"a": "u4", "b": "i2", "c": "f4", "d": "u1", "e": "f8"}
    given_arrays = {
        name: data.draw(arrays.arrays(np.dtype("<" + kind), st.integers(0, 9))) for name, kind in fields.items()
    }
    packer = Packer()
    found = unpack(fields, packer.pack(fields, given_arrays), "here")
    for name, array in given_arrays.items():
        np.testing.assert_array_equal(found[name], array)
