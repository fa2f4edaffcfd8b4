"""Answers go to files and back, show themselves, and are drawn: pictures and a page that asks for nothing."""

import json
import re

import numpy as np
import pytest

from clew import files
from clew.errors import ClewError, FileError, InputError
from clew.timeseries import evaluate_methods, explain, load_answer
from clew.timeseries.figures import picture, save_picture
from clew.web.series import series_page


@pytest.fixture
def attribution(one_channel, series):
    return explain(one_channel, series, segments=3, method="feature-ablation")


@pytest.fixture
def counterfactual(one_channel, series):
    data = np.concatenate([series - 2, series + 2])
    return explain(one_channel, series, method="native-guide", reference=data)


def test_answers_come_back_from_files_as_they_were(attribution, counterfactual, tmp_path):
    for answer in (attribution, counterfactual):
        answer.save(tmp_path / "x.json")
        back = load_answer(tmp_path / "x.json")
        assert back.to_json() == answer.to_json()
        assert files.kind_of(tmp_path / "x.json").startswith("clew.series")
    (tmp_path / "x.json").write_text(json.dumps({"format": "other"}))
    with pytest.raises(FileError, match="holds no"):
        load_answer(tmp_path / "x.json")
    value = attribution.to_json()
    del value["values"]
    (tmp_path / "x.json").write_text(json.dumps(value))
    with pytest.raises(FileError, match="damaged"):
        load_answer(tmp_path / "x.json")


def test_one_case_is_an_answer_of_one(attribution, counterfactual):
    assert len(attribution[2]) == len(attribution[2].target) == len(counterfactual[-1]) == 1
    assert np.array_equal(attribution[2].values[0], attribution.values[2])
    with pytest.raises(InputError, match="there are 6"):
        attribution[6]


def test_runs_and_changes_say_where(attribution, counterfactual):
    channel, start, end, value = attribution.runs(0)[0]
    assert channel == 1
    assert value == pytest.approx(attribution.values[0, 1, start : end + 1].sum())
    for case in range(6):
        for channel, start, end in counterfactual.changes(case):
            assert counterfactual.changed[case, channel, start : end + 1].all()


def test_reprs_and_notebooks_show_lines_and_tables(attribution, counterfactual, one_channel, series):
    assert "6 cases x 3 channels x 12 times" in repr(attribution)
    assert "valid" in repr(counterfactual)
    for answer in (attribution, counterfactual):
        assert answer._repr_html_().count("<tr>") == 7
    assert "AUROC" not in evaluate_methods(one_channel, series, ["gradient"])._repr_html_()


def test_pictures_are_the_same_bytes_again_and_pages_stand_alone(attribution, counterfactual, tmp_path):
    one, other = attribution[0], counterfactual[0]
    assert picture(one, "svg") == picture(one, "svg")
    for answer in (one, other):
        page = series_page(answer)
        assert "<script" not in page
        assert not re.search(r"(src|href)=\"(?!#)", page)
        assert page.count("<polyline") >= 1
    save_picture(other, tmp_path / "x.png")
    assert files.kind_of(tmp_path / "x.png") == files.PICTURE
    with pytest.raises(ClewError, match=r"\.png or \.svg"):
        save_picture(one, tmp_path / "x.gif")
