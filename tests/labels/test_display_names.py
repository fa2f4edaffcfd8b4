"""What features go by: a person's word, a model's, else what they promote; and what one feature does on a text."""

from pathlib import Path

import pytest

from clew.dictionary import Dictionary
from clew.errors import InputError
from clew.features.label import UNCLEAR, Label
from clew.features.promoted_tokens import label_of, promoted_tokens
from clew.ids import FeatureId
from clew.kit import load
from clew.labels.display_names import Names
from clew.labels.store import LabelStore
from clew.search import queries as search
from clew.subject.subject import Subject
from tests import models
from tests.models import PROMPT

ONE, TWO, THREE = FeatureId(0, 1), FeatureId(0, 2), FeatureId(1, 3)


@pytest.fixture(scope="module")
def subject() -> Subject:
    return models.subject("gpt2")


@pytest.fixture(scope="module")
def dictionary(subject: Subject) -> Dictionary:
    return models.dictionary("clt", subject)


def said(feature: FeatureId, text: str, kind: str = "person", author: str = "me") -> Label:
    return Label(feature=feature, text=text, kind=kind, author=author)


def test_a_name_is_the_label_that_the_store_would_show(tmp_path: Path) -> None:
    with LabelStore(tmp_path / "l.sqlite", "d") as store, LabelStore(tmp_path / "l.sqlite", "other") as other:
        store.add([said(ONE, "guess", "model", "m"), said(ONE, "Paris"), said(TWO, UNCLEAR, "model", "m")])
        store.add([said(THREE, "old"), said(THREE, "new")])
        other.add([said(TWO, "of another dictionary")])
        expected = {ONE: ("Paris", "person", "me"), THREE: ("new", "person", "me")}
        assert store.names([ONE, TWO, THREE, FeatureId(5, 5)]) == expected
        many = [FeatureId(0, n) for n in range(3000)]
        store.add(said(feature, f"n{feature.index}", "heuristic", "h") for feature in many)
        shown = store.shown(many)
        assert store.names(many) == {
            f: (label.text, label.kind, label.author) for f, label in shown.items() if label.clear
        }


def test_features_without_a_clear_label_go_by_what_they_promote(
    subject: Subject, dictionary: Dictionary, tmp_path: Path
) -> None:
    with LabelStore(tmp_path / "l.sqlite", dictionary.fingerprint) as store:
        names = Names(subject, dictionary, store)
        promoted = promoted_tokens(subject, dictionary, [ONE])
        assert (names.of([ONE])[ONE].text, names.of([ONE])[ONE].kind) == (label_of(promoted[ONE]), "promoted")
        store.add([said(ONE, "Paris")])
        assert (names.of([ONE])[ONE].text, names.of([ONE])[ONE].kind) == ("Paris", "person")


def test_the_atlas_says_the_same_tokens_as_the_direct_path() -> None:
    kit = load("minnow")
    some = [
        FeatureId(layer, index)
        for layer in range(kit.subject.n_layers)
        for index in range(0, kit.dictionary.d_features(layer), 500)
    ]
    read = Names(kit.subject, kit.dictionary, None, kit.atlas).promoted(some)
    computed = Names(kit.subject, kit.dictionary, None).promoted(some)
    assert sum(read[f] == computed[f] for f in some) >= len(some) - 1  # equal weights may come in another order


def test_what_rules_say_stands_below_labels_and_above_promoted_tokens(tmp_path: Path) -> None:
    kit = load("minnow")
    rules = kit.atlas.rules()
    clear, other = [feature for feature, label in rules.items() if label.clear][:2]
    unclear = next(feature for feature, label in rules.items() if not label.clear)
    with LabelStore(tmp_path / "l.sqlite", kit.dictionary.fingerprint) as store:
        store.add([said(other, "mine"), said(clear, UNCLEAR, "model", "m")])
        found = Names(kit.subject, kit.dictionary, store, kit.atlas).of([clear, other, unclear])
    assert (found[clear].text, found[clear].kind) == (rules[clear].text, "heuristic")
    assert (found[other].text, found[other].kind) == ("mine", "person")
    assert found[unclear].kind == "promoted"


def test_activations_on_a_text_are_those_that_fire_on_it(subject: Subject, dictionary: Dictionary) -> None:
    fired = search.firing(subject, dictionary, PROMPT)
    for feature in {one.feature for one in fired[:20]}:
        tokens, values, first = search.activations_on(subject, dictionary, feature, PROMPT)
        expected = [0.0] * len(tokens)
        for one in fired:
            if one.feature == feature:
                expected[one.position] = one.activation
        assert values.tolist() == pytest.approx(expected)
        assert first in (0, 1)
    with pytest.raises(InputError, match="no feature L0/99999"):
        search.activations_on(subject, dictionary, FeatureId(0, 99999), PROMPT)


def test_promoted_tokens_that_differ_by_a_space_are_told_apart():
    assert label_of([" Paris", " Rome", "\n"]) == "promotes Paris · Rome · '\\n'"
    assert label_of([" Paris", "Paris", " Rome"]) == "promotes ' Paris' · 'Paris' · Rome"
