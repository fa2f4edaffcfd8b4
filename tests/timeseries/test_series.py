"""Series of every container become (case, channel, time), and what cannot be read is refused by its reason."""

import numpy as np
import pandas as pd
import pytest
import torch

from clew.errors import ClewError, FileError, InputError
from clew.timeseries import as_series, load_pair, load_series, segment_labels
from clew.timeseries.segments import change_points

X = np.random.default_rng(0).standard_normal((4, 3, 7))


def test_every_container_gives_the_same_values():
    nested = pd.DataFrame([[pd.Series(channel) for channel in case] for case in X])
    index = pd.MultiIndex.from_product([range(4), range(7)])
    long = pd.DataFrame(X.transpose(0, 2, 1).reshape(28, 3), index=index)
    for container in (X, torch.as_tensor(X), list(X), X.tolist(), nested, long):
        assert np.array_equal(as_series(container), X)
    assert np.array_equal(as_series(X.transpose(0, 2, 1), axes="case time channel"), X)
    assert np.array_equal(as_series(list(X.transpose(0, 2, 1)), axes="case time channel"), X)
    assert np.array_equal(as_series(X[:, 0]), X[:, :1])
    assert np.array_equal(as_series(pd.DataFrame(X[:, 0])), X[:, :1])
    assert np.array_equal(as_series(X[0, 0]), X[:1, :1])
    assert np.array_equal(as_series(pd.Series(X[0, 0])), X[:1, :1])
    assert np.array_equal(as_series(X[0], axes="channel time"), X[:1])


def test_swapped_axes_are_refused_with_what_they_were_taken_for():
    with pytest.raises(InputError, match=r"4 cases, 7 channels, 3 times.*axes='case time channel'"):
        as_series(X.transpose(0, 2, 1))
    assert as_series(X.transpose(0, 2, 1), axes="case channel time").shape == (4, 7, 3)
    with pytest.raises(InputError, match="does not name the 3 axes"):
        as_series(X, axes="case time")


def test_gaps_are_refused_with_their_place_or_bridged_by_lines():
    holes = X.copy()
    holes[1, 2, 3:5] = np.nan
    with pytest.raises(InputError, match=r"2 NaN, the first at case 1, channel 2, time 3.*interpolate"):
        as_series(holes)
    filled = as_series(holes, gaps="interpolate")
    step = (X[1, 2, 5] - X[1, 2, 2]) / 3
    assert filled[1, 2, 3:5] == pytest.approx([X[1, 2, 2] + step, X[1, 2, 2] + 2 * step])
    holes[0, 0] = np.nan
    with pytest.raises(InputError, match="nothing but NaN in channel 0"):
        as_series(holes, gaps="interpolate")


def test_unequal_lengths_are_refused_or_made_equal_as_is_said():
    cases = [np.arange(4.0), np.arange(7.0)]
    with pytest.raises(InputError, match=r"4 to 7 times.*'pad', 'cut' or 'stretch'"):
        as_series(cases)
    assert as_series(cases, unequal="pad")[0, 0].tolist() == [0, 1, 2, 3, 3, 3, 3]
    assert as_series(cases, unequal="cut")[1, 0].tolist() == [0, 1, 2, 3]
    assert as_series(cases, unequal="stretch")[0, 0].tolist() == [0, 0.5, 1, 1.5, 2, 2.5, 3]


def test_integers_are_read_and_other_things_refused():
    assert np.array_equal(as_series(np.arange(6).reshape(2, 3))[:, 0], np.arange(6.0).reshape(2, 3))
    for value, reason in (
        (["a", "b"], "real numbers"),
        (np.zeros((0, 5)), "no values"),
        (np.zeros((1, 1, 1, 1)), r"give \(time,\)"),
        ([1.0, np.inf], "infinite at case 0"),
        ([np.zeros((2, 5)), np.zeros((1, 5))], "different numbers of channels"),
    ):
        with pytest.raises(InputError, match=reason):
            as_series(value)


def test_files_and_bundled_sets_are_read_with_their_labels(tmp_path):
    train = load_series("GunPoint")
    assert (train.values.shape, train.classes) == ((50, 1, 150), ("1", "2"))
    (tmp_path / "wide.csv").write_text("t0,t1,t2,label\n1,2,3,a\n4,5,6,b\n")
    wide = load_series(tmp_path / "wide.csv")
    assert (wide.values[:, 0].tolist(), wide.labels) == ([[1, 2, 3], [4, 5, 6]], ("a", "b"))
    (tmp_path / "long.csv").write_text("case,time,label,u,v\n0,1,a,3,4\n0,0,a,1,2\n1,0,b,5,6\n1,1,b,7,8\n")
    assert load_series(tmp_path / "long.csv").values.tolist() == [[[1, 3], [2, 4]], [[5, 7], [6, 8]]]
    (tmp_path / "x.ts").write_text("@classLabel true a b\n@data\n1,2:3,?:a\n4,5,6:7,8,9:b\n")
    with pytest.raises(InputError, match="NaN"):
        load_series(tmp_path / "x.ts")
    assert load_series(tmp_path / "x.ts", gaps="interpolate").values[0].tolist() == [[1, 2, 2], [3, 3, 3]]
    first, second = load_pair("JapaneseVowels")
    assert first.values.shape[1:] == second.values.shape[1:] == (12, 29)


@pytest.mark.parametrize("content", ["", "t0,t1\n", "t0,t1,label\n1,x,a\n"])
def test_a_table_without_cases_or_with_words_is_refused(tmp_path, content):
    (tmp_path / "x.csv").write_text(content)
    with pytest.raises(FileError):
        load_series(tmp_path / "x.csv")


def test_an_unknown_set_and_an_absent_file_are_refused(tmp_path):
    for source in ("Gunpoint", tmp_path / "no.ts"):
        with pytest.raises(ClewError):
            load_series(source)


def test_change_points_are_those_of_the_best_of_all_partitions():
    case = np.random.default_rng(1).standard_normal((2, 9))
    standard = (case - case.mean(1, keepdims=True)) / case.std(1, keepdims=True)

    def cost(starts):
        parts = np.split(standard, starts, axis=1)
        return sum(((part - part.mean(1, keepdims=True)) ** 2).sum() for part in parts)

    best = min(((a, b) for a in range(1, 8) for b in range(a + 1, 9)), key=cost)
    assert change_points(case, 3) == list(best)


def test_segments_number_every_channel_apart_and_short_series_are_refused():
    labels = segment_labels(X, "uniform:3")
    assert labels[0].tolist()[0] == [0, 0, 0, 1, 1, 2, 2]
    assert [len(set(row.ravel())) for row in labels] == [9, 9, 9, 9]
    flat = segment_labels(np.ones((1, 1, 8)), "changes:4")
    assert flat.min() == 0
    with pytest.raises(InputError, match="a series of 7 times has no room for 8 segments"):
        segment_labels(X, 8)
    with pytest.raises(InputError, match="no room for shapelets of 9 times"):
        segment_labels(X, "shapelets:9", reference=X, reference_classes=np.array([0, 0, 1, 1]))
    with pytest.raises(InputError, match="not known"):
        segment_labels(X, "waves")


def test_shapelet_segments_lie_on_the_pulse_that_tells_classes_apart():
    rng = np.random.default_rng(0)
    data, classes = 0.1 * rng.standard_normal((12, 1, 40)), np.arange(12) % 2
    for case in np.flatnonzero(classes):
        data[case, 0, 10 + case : 18 + case] += np.hanning(8) * 5
    labels = segment_labels(data[1:2], "shapelets:8", reference=data, reference_classes=classes)[0, 0]
    middle = labels[11 + 4]
    start, end = np.flatnonzero(labels == middle)[[0, -1]]
    assert start >= 8
    assert end <= 22
