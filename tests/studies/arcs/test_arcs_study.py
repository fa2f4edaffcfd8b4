"""The study of arcs: the world's stories have them, shuffled ones do not; users' tables and what is wrong in them."""

import sys
from dataclasses import replace
from functools import cache
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from clew import files
from clew.errors import FileError, InputError
from clew.organism.tales import ARCS as WORLD_ARCS
from clew.organism.tales import valences
from clew.studies.arcs.measured import ArcsMeasured
from clew.studies.arcs.signals import Lexicon, Vader, fit_valence, pieces_of
from clew.studies.arcs.stories import StoryText, in_random_order, read_stories, split_sentences, world_stories
from clew.studies.arcs.study import ARCS, ArcsConfig
from tests.workbench import minnow

SMALL = ArcsConfig(stories=60, draws=4)


@cache
def result():
    return ARCS.run(minnow(), config=SMALL)


def verdicts(claims):
    return [claim.verdict for claim in claims]


def test_stories_have_arcs_that_are_recovered_and_shuffled_stories_have_none():
    order, walk, shape, arc, reading = result().claims
    assert verdicts([order, walk, arc, reading]) == ["holds"] * 4
    assert shape.verdict != "holds"  # shapes are cosines whatever was written
    assert arc.value.value > 0.95
    assert np.mean(arc.null.draws) == pytest.approx(1 / 6, abs=0.08)
    assert reading.value.value > 0.9
    assert result().false_effects == ()


def test_shuffled_stories_beat_white_noise_and_not_themselves():
    columns = result().absent.tables["spectrum"].columns
    assert columns["share"][0] > columns["white noise, 95 %"][0]
    assert columns["low"][0] < columns["to"][0]


def test_planted_valences_are_recovered_through_windows_and_points():
    stories = world_stories(60, "test")
    series = [np.array(story.valences, dtype=float)[:, None] for story in stories]
    measured = ArcsMeasured(
        stories=stories, series=series, shuffled=[series], title="valence", window=2, points=9, components=3, seed=0
    )
    assert measured.nearest_arcs == [story.arc for story in stories]
    assert measured.reading().value == pytest.approx(1)


def test_the_worlds_stories_are_cut_into_the_sentences_that_were_drawn():
    for story in world_stories(20, "cut"):
        assert story.valences == valences(story.arc, len(story.sentences))
        assert story.opening.startswith("This is the story of")
        assert story.arc in WORLD_ARCS


def test_another_order_keeps_every_sentence_with_its_valence():
    stories = world_stories(10, "order")
    for before, after in zip(stories, in_random_order(stories, [0]), strict=True):
        assert sorted(zip(before.sentences, before.valences, strict=True)) == sorted(
            zip(after.sentences, after.valences, strict=True)
        )


def test_a_story_longer_than_the_context_is_read_in_pieces_each_sentence_at_its_end():
    subject, sentence = minnow().subject, "The day passed as usual and nobody came to save her or him."
    long = StoryText(sentences=(sentence,) * 20)
    pieces = pieces_of(subject, [long])
    assert len(pieces) > 1
    assert max(len(piece.ids) for piece in pieces) <= subject.context_length
    assert sum(len(piece.ends) for piece in pieces) == 20
    assert all(subject.text_of([piece.ids[end]]) == "." for piece in pieces for end in piece.ends)


def test_sentences_end_where_punctuation_says_so_in_any_script():
    assert split_sentences('He came. "Why?" she asked! Все ушли… Тишина.') == [
        "He came.", '"Why?', "she asked!", "Все ушли…", "Тишина.",
    ]  # fmt: skip
    assert split_sentences("今日は。明日も！") == ["今日は。", "明日も！"]
    assert split_sentences("A title\n\nand a line without an end") == ["A title", "and a line without an end"]


def test_a_lexicon_scores_a_sentence_by_the_mean_of_its_known_words():
    score = Lexicon({"good": 2.0, "bad": -1.0, "плохо": -3.0})
    assert score("Good, not BAD.") == 0.5
    assert score("Всё плохо!") == -3.0
    assert score("nothing here") == 0.0


def often_active():
    """The feature of layer 2 whose mean over some sentences is the highest."""
    from clew.ids import FeatureId

    [read] = minnow().activations(["He read a book. Nobody came to save him. It was the best day of her life."])
    return FeatureId(2, int(read.layers[2].mean(0).argmax()))


def table(path, stories):
    path.write_text("text\n" + "".join(f'"{" ".join(story.sentences)}"\n' for story in stories), encoding="utf-8")
    return path


def test_a_users_table_is_followed_by_a_feature_a_lexicon_and_the_whole_stream(tmp_path):
    texts = table(tmp_path / "stories.csv", world_stories(12, "user"))
    lexicon = tmp_path / "words.csv"
    lexicon.write_text("word,score\njoy,3\nfire,-3\ndied,-4\nprize,3\nwept,-2\nhappy,3\n")
    for options in ({"signal": str(often_active())}, {"signal": "lexicon", "lexicon": lexicon}, {"signal": "stream"}):
        found = ARCS.run(minnow(), texts=texts, draws=2, **options)
        assert len(found.claims) == 3, options
        assert len(found.tables["stories"]) == 12
        assert found.contents


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is empty: its first line must hold the names text"),
        ("title\nx\n", "line 1 of .* has no column 'text'"),
        (
            "text\nOne. Two. Three.\nOnly one here\n",
            "line 3 of .*: the number of sentences is 1, and 2 are the fewest .*: leave the story out$",
        ),
        ("text\nOne. Two.\nOne. Three.\nTwo. One.\n", "has 3 stories: give at least 5"),
        ("text\nOne. Two.\nTwo. One.\nOne. Two.\n", "line 4 of .* has the story of line 2 again: remove one"),
    ],
)
def test_mistakes_in_a_table_of_stories_are_told_with_their_line(content, words, tmp_path):
    path = tmp_path / "stories.csv"
    path.write_text(content)
    with pytest.raises(FileError, match=words):
        read_stories(path, 1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"points": 3}, "points is 3: give 4 to 500"),
        ({"components": 6}, "components is 6, and 7 points have 6"),
        ({"window": 4}, "window is 4: stories of the small world have 5 sentences"),
        ({"signal": "joy"}, "no signal 'joy': give valence, stream, vader, lexicon, a .safetensors file, or a feature"),
        ({"signal": "L9/1"}, "there is no feature L9/1"),
        ({"signal": "lexicon"}, "give --lexicon FILE"),
    ],
)
def test_mistakes_in_settings_are_told(options, words):
    with pytest.raises(InputError, match=words):
        ARCS.run(minnow(), **options)


def test_vader_is_asked_for_its_compound_score_and_is_told_when_it_is_missing(monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr("clew.extras.find_spec", lambda name: None)
        with pytest.raises(InputError, match="needs the package vaderSentiment: pip install vaderSentiment"):
            ARCS.run(minnow(), signal="vader")
    analyser = SimpleNamespace(polarity_scores=lambda text: {"compound": 0.5 if "joy" in text else -0.5})
    module = ModuleType("vaderSentiment.vaderSentiment")
    module.SentimentIntensityAnalyzer = lambda: analyser
    monkeypatch.setitem(sys.modules, "vaderSentiment.vaderSentiment", module)
    monkeypatch.setattr("clew.extras.find_spec", lambda name: object())
    assert [Vader()(text) for text in ("joy", "rain")] == [0.5, -0.5]


def test_a_direction_from_a_file_is_followed_in_the_layer_that_it_names(tmp_path):
    """The direction that the study fits itself, written to a file, gives the same claims."""
    kit = minnow()
    fitted = _end(fit_valence(kit.subject))
    path = tmp_path / "mood.safetensors"
    files.save_tensors(path, {f"L{fitted.layer}": torch.from_numpy(fitted.direction)})
    followed = ARCS.run(kit, config=replace(SMALL, signal=str(path)))
    for claim, other in zip(followed.claims, result().claims, strict=True):
        assert claim.value.value == pytest.approx(other.value.value, abs=1e-6)
    assert followed.contents == {str(path): files.sha256(path)}
    assert f"the direction of mood.safetensors in the stream behind layer {fitted.layer}" in followed.claims[0].text


def _end(steps):
    """What a generator returns."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({}, "is not a whole safetensors file"),
        ({"L1": torch.ones(128), "L2": torch.ones(128)}, "it has L1, L2$"),
        ({"mood": torch.ones(128)}, "it has mood$"),
        ({"L9": torch.ones(128)}, "is of layer 9: .* has the layers 0 to 5$"),
        ({"L1": torch.ones(64)}, r"has the shape \[64\]: the stream of .* is \[128\]$"),
        ({"L1": torch.zeros(128)}, "holds no direction"),
        ({"L1": torch.full((128,), float("nan"))}, "holds no direction"),
    ],
)
def test_a_direction_that_does_not_fit_the_model_is_refused(tensors, words, tmp_path):
    path = tmp_path / "mood.safetensors"
    files.save_tensors(path, tensors)
    with pytest.raises(FileError, match=words):
        ARCS.run(minnow(), signal=str(path))


def test_a_direction_that_is_not_there_is_told():
    with pytest.raises(FileError, match=r"cannot read nowhere\.safetensors"):
        ARCS.run(minnow(), signal="nowhere.safetensors")
