"""The study of traits: features tell them, dealt-out ones do not; with MiniLM the published reading changes."""

from functools import cache

import pytest

from clew.errors import FileError, InputError
from clew.studies.traits.inputs import PUBLISHED
from clew.studies.traits.study import TRAITS
from tests.encoders import save_encoder
from tests.workbench import minnow


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return str(save_encoder(tmp_path_factory.mktemp("encoder") / "tiny"))


@cache
def with_minilm():
    return TRAITS.run(minnow(), draws=40, neurons=False)


def claim(claims, words):
    [found] = [each for each in claims if words in each.text]
    return found


def test_features_tell_traits_beside_two_encoders_that_learned_nothing(encoder, tmp_path):
    second = str(save_encoder(tmp_path / "second", "distilbert"))
    found = TRAITS.run(minnow(), encoder=encoder, second=second, draws=40)
    for case in (found.found, found.beside):
        assert claim(case.claims, "tell the trait").verdict == "holds"
        assert claim(case.claims, "tell the pole").verdict == "holds"
    assert len(found.side_by_side) == 2
    assert found.false_effects == ()
    keying = [each.verdict for each in found.claims if "agreement from denial" in each.text]
    assert len(keying) == 2
    assert "holds" not in keying
    assert claim(found.claims, "The table does not hang").verdict != "holds"
    assert {"cells", "cells-second", "pairs-second"} <= {*found.tables}


@pytest.mark.minilm
def test_with_minilm_the_published_reading_changes():
    columns = with_minilm().tables["published"].columns
    cells = dict(zip(PUBLISHED, columns["minilm"], strict=True))
    assert [round(value, 3) for value in list(cells.values())[:4]] == [0.338, 0.231, 0.157, 0.484]
    agreement = claim(with_minilm().claims, "The published reading")
    assert round(agreement.value.value, 2) == 0.77
    assert agreement.verdict != "holds"
    ranks = {row[2]: row[4] for row in with_minilm().tables["cells"].rows() if row[0] == "I like to work hard."}
    assert ranks["Emotional instability"] == 15
    assert with_minilm().false_effects == ()


@pytest.mark.minilm
def test_cells_stand_beside_their_nulls_and_some_are_put_in_words():
    rows = with_minilm().tables["cells"].rows()
    assert len(rows) == 75
    for row in rows:
        near, far = min(row[5:7]) >= 0.95, max(row[5:7]) <= 0.05
        assert bool(row[7]) == (near or far)
    assert any(row[7] for row in rows)
    assert {*with_minilm().figures} == {"traits", "profile", "network"}


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"draws": 3}, InputError, "draws is 3: give 20 to 10000"),
        ({"low": 0.9, "high": 0.5}, InputError, "low is 0.9 and high is 0.5"),
        ({"encoder": "nowhere"}, FileError, "there is no encoder nowhere"),
        ({"second": "nowhere", "encoder": "nowhere"}, InputError, "both encoders are nowhere"),
    ],
)
def test_mistakes_in_settings_are_told(options, error, words):
    with pytest.raises(error, match=words):
        TRAITS.run(minnow(), **options)


def test_a_kit_is_told_that_the_encoder_is_not_installed(monkeypatch):
    monkeypatch.setattr("clew.extras.find_spec", lambda name: None)
    with pytest.raises(
        InputError, match=r"cannot answer traits: the encoder minilm needs the extra 'minilm'.*--encoder"
    ):
        TRAITS.run(minnow())
