"""Cosines by hand, agreement and denial, planted jingle and jangle, and features that tell planted traits."""

import json

import numpy as np
import pytest
import torch

from clew.errors import FileError
from clew.studies.columns import Columns
from clew.studies.traits.cosines import cosine_table, dealt_keying, keying
from clew.studies.traits.inputs import (
    FACTORS,
    random_keywords,
    random_statements,
    read_factors,
    read_items,
    read_statements,
    world_items,
)
from clew.studies.traits.jingle_jangle import JANGLE, JINGLE, scale_pairs
from clew.studies.traits.measured import rank_agreement
from clew.studies.traits.trait_features import TraitReadings

VECTORS = {"walk": (1, 0, 0), "talk": (0.6, 0.8, 0), "Feet": (0.8, 0.6, 0), "Mouth": (0, 1, 0), "Salt": (0, 0, 1)}
VECTORS |= {"Stone": (0.28, 0.96, 0), "It rained.": (0, 0.6, 0.8)}


def encode(texts):
    return np.array([VECTORS[text] for text in texts], dtype=float)


def test_cells_are_cosines_and_stand_beside_random_words_and_statements():
    table = cosine_table(
        encode, ["walk", "talk"], ["Feet", "Mouth"], random_keywords=["Salt", "Stone"], random_statements=["It rained."]
    )  # fmt: skip
    assert table.cosines == pytest.approx(np.array([[0.8, 0.0], [0.96, 0.8]]))
    assert table.quantiles[0] == pytest.approx(np.array([[1.0, 0.25], [1.0, 0.5]]))
    assert table.quantiles[1] == pytest.approx(np.array([[1, 0], [1, 1]]))
    assert table.nearest == pytest.approx([0.8, 0.96])
    both = (0.28 + 0.936) / 2  # the nearest of both random words
    assert table.random_nearest(5, 0) == pytest.approx([both] * 5)


def test_keying_is_the_area_under_the_roc_curve_within_each_word():
    agreeing, denying = [np.array([0.9, 0.4]), np.array([0.5])], [np.array([0.5, 0.1]), np.array([0.5])]
    assert keying(agreeing, denying) == pytest.approx([3 / 4, 1 / 2])
    generator = np.random.default_rng(0)
    draws = [dealt_keying(agreeing, denying, generator).mean() for _ in range(400)]
    assert np.mean(draws) == pytest.approx(0.5, abs=0.03)


def planted_scales():
    """Twelve scales of three items: 0 and 1 share a label over other contents, 2 and 3 contents under other labels."""
    generator, n, d = np.random.default_rng(0), 12, 60
    contents = np.linalg.qr(generator.standard_normal((d, n)))[0].T
    contents[3] = contents[2] + 0.1 * generator.standard_normal(d) / np.sqrt(d)
    labels = contents + 0.4 * generator.standard_normal((n, d)) / np.sqrt(d)
    labels[1] = labels[0] + 0.1 * generator.standard_normal(d) / np.sqrt(d)
    labels[3] = generator.standard_normal(d) / np.sqrt(d) - 0.5 * contents[2]
    items = np.repeat(contents, 3, 0) + 0.3 * generator.standard_normal((3 * n, d)) / np.sqrt(d)
    names = [f"scale {number}" for number in range(n)]
    return scale_pairs(names, labels, items, np.repeat(np.arange(n), 3), high=0.99, low=0.6)


def test_planted_jingle_and_jangle_stand_out_most_and_the_jangle_pair_is_to_be_merged():
    pairs = planted_scales()
    flagged = pairs.flagged()
    assert (flagged[JINGLE][0], flagged[JANGLE][0]) == ((0, 1), (2, 3))
    assert pairs.merges()[0] == ("scale 2", "scale 3")


def test_a_content_is_the_mean_of_its_items_and_similarities_are_cosines():
    items = np.array([[1.0, 0], [0, 1.0], [1.0, 0], [1.0, 0]])
    pairs = scale_pairs(["a", "b"], np.array([[1.0, 0], [3.0, 4.0]]), items, np.array([0, 0, 1, 1]), high=0.9, low=0.1)
    assert pairs.contents[0, 1] == pytest.approx(np.sqrt(0.5))
    assert pairs.labels[0, 1] == pytest.approx(0.6)


def test_groups_are_merged_only_where_all_their_contents_are_alike():
    chain = np.array([[1.0, 0.9, 0.1, 0], [0.9, 1, 0.9, 0], [0.1, 0.9, 1, 0], [0, 0, 0, 1]])
    pairs = planted_scales().__class__(scales="abcd", labels=np.eye(4), contents=chain, high=0.75, low=0.5)
    assert [set(group) for group in pairs.merges()] in ([{"a", "b"}], [{"b", "c"}])


def test_labels_that_follow_contents_agree_with_them_and_dealt_out_ones_do_not():
    generator = np.random.default_rng(1)
    vectors = generator.standard_normal((14, 4))
    pairs = scale_pairs(
        [*"abcdefghijklmn"], vectors, np.repeat(vectors, 2, 0), np.repeat(np.arange(14), 2), high=0.9, low=0.5
    )
    assert pairs.agreement() == pytest.approx(1)
    assert not pairs.flagged()[JINGLE]
    dealt = [pairs.agreement(generator.permutation(14)) for _ in range(50)]
    assert abs(np.mean(dealt)) < 0.1
    low = pairs.agreement_interval.low
    assert low > max(dealt)


def test_features_tell_planted_traits_of_behaviours_that_were_left_out():
    generator = np.random.default_rng(2)
    traits, high = np.repeat(np.arange(5), 12), np.tile([0, 1], 30)
    rows = generator.standard_normal((60, 20)) * 0.3
    rows[np.arange(60), traits] += 1
    columns = Columns(layer=torch.zeros(20, dtype=torch.long), index=torch.arange(20), norm=torch.ones(20))
    readings = TraitReadings(columns=columns, rows=rows, traits=traits, high=high, names=[*"ocean"])
    assert readings.share(traits).value > 0.9
    assert readings.share(high).value < 0.7
    assert np.mean(readings.dealt(traits, 60, 0)) == pytest.approx(0.2, abs=0.05)
    strongest = readings.strongest(5)
    assert {(column, trait) for column, trait, *_ in strongest} == {(i, name) for i, name in enumerate("ocean")}


def test_a_behaviour_does_not_vouch_for_itself():
    """Rows of noise: the nearest would be itself."""
    generator = np.random.default_rng(3)
    columns = Columns(layer=torch.zeros(8, dtype=torch.long), index=torch.arange(8), norm=torch.ones(8))
    labels = np.repeat(np.arange(5), 12)
    shares = [
        TraitReadings(
            columns=columns, rows=generator.standard_normal((60, 8)), traits=labels, high=labels % 2, names=[*"ocean"]
        ).told(labels).mean()
        for _ in range(20)
    ]  # fmt: skip
    assert np.mean(shares) < 0.25


def test_rank_agreement_of_the_same_order_is_one():
    assert rank_agreement([1.0, 2.0, 3.0, 9.0], [0.1, 0.2, 0.3, 0.4]).value == pytest.approx(1)
    assert rank_agreement([1.0, 2.0, 3.0], [3.0, 2.0, 1.0]).value == pytest.approx(-1)


def test_random_words_and_statements_are_about_no_trait():
    words, texts = random_keywords(["Salt"]), random_statements([])
    assert "Salt" not in words
    assert len(words) > 30
    assert len(texts) == 60
    assert all("{" not in text and " he " not in text for text in texts)
    keywords = {word for keywords in FACTORS.values() for word in keywords}
    assert not keywords & set(words)


def test_the_worlds_scales_have_three_items_each():
    items = world_items()
    assert len(items) == 60
    assert len({item.scale for item in items}) == 20


def test_questions_of_the_ipip_are_read_with_facet_and_keying(tmp_path):
    questions = [
        {"text": f"Item {n}", "keyed": "minus" if n % 2 else "plus", "domain": "NEOAC"[n % 5], "facet": 1 + n // 10}
        for n in range(20)
    ]
    path = tmp_path / "questions.json"
    path.write_text(json.dumps(questions))
    items = read_items(path)
    assert (items[0].scale, items[0].sign, items[1].scale, items[1].sign) == ("Anxiety", 1, "Friendliness", -1)
    assert items[19].scale == "Orderliness"
    questions[3]["facet"] = 9
    path.write_text(json.dumps(questions))
    with pytest.raises(FileError, match=r"question 4 of .* needs text, keyed"):
        read_items(path)


@pytest.mark.parametrize(
    ("read", "content", "words"),
    [
        (read_statements, "", "is empty: its first line must hold the names statement"),
        (read_statements, "statement\nI sing.\n", "has one statement: give at least two"),
        (read_statements, "statement\nI sing.\nI run.\nI sing.\n", "line 4 of .* has the statement of line 2 again"),
        (read_statements, "text\nI sing.\n", "line 1 of .* has no column 'statement'"),
        (read_factors, "factor,keyword\nA,Joy\nB,joy\n", "line 3 of .* has the keyword 'joy' of line 2 again"),
        (read_factors, "factor,keyword\nA,Joy\n", "has one keyword: give at least two"),
        (read_factors, "factor,keyword\nA\n", "line 2 of .* has 1 cells"),
        (read_items, "item,scale\nI sing,A\nI run,A\n", "has 1 scales: give at least 4"),
        (read_items, "item,scale,keyed\nI sing,A,up\n", "line 2 of .* is keyed 'up': write plus or minus"),
        (read_items, "item,scale\n" + "x,A\nx,B\nx,C\ny,A\ny,B\ny,C\nz,D\n", "the scale 'D' has one item"),
    ],
)
def test_mistakes_in_tables_are_told_with_their_line(read, content, words, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(content)
    with pytest.raises(FileError, match=words):
        read(path)


def test_other_languages_are_texts_like_any(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("statement\nЯ люблю работать.\n私は歩く。\n", encoding="utf-8")
    assert read_statements(path) == ["Я люблю работать.", "私は歩く。"]
