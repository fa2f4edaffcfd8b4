"""The label store: every label is kept, the right one is shown, and a damaged file is refused in one line."""

import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clew.errors import FileError, InputError
from clew.features.label import KINDS, Label, Score
from clew.ids import FeatureId
from clew.labels.store import Answer, LabelStore

F, G = FeatureId(3, 1207), FeatureId(0, 5)
DAY = "2025-01-{:02}T00:00:00.000000+00:00"


def label(text="capitals", feature=F, kind="person", author="Ann", **more):
    return Label(feature=feature, text=text, kind=kind, author=author, **more)


def score(value=0.9, test="detection", judge="tokens", **more):
    return Score(test=test, judge=judge, value=value, low=0.5, high=1.0, null=0.5, contexts=20, **more)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "workspace" / "labels.sqlite"


@pytest.fixture
def store(path):
    with LabelStore(path, "aaaa") as store:
        yield store


def texts(labels):
    return [label.text for label in labels]


def test_a_person_stands_over_a_model_over_a_heuristic_whatever_the_date(store):
    store.add([label("by a person", date=DAY.format(1))])
    store.add([label("by a model", kind="model", author="m", date=DAY.format(2))])
    store.add([label("by rule", kind="heuristic", author="clew", date=DAY.format(3))])
    assert texts(store.of(F)) == ["by a person", "by a model", "by rule"]
    assert store.shown()[F].text == store.shown([F, G])[F].text == "by a person"
    assert G not in store.shown([F, G])


def test_of_equal_authors_the_latest_is_shown(store):
    store.add([label("late", author="Bob", date=DAY.format(9)), label("early", date=DAY.format(1))])
    assert store.shown()[F].text == "late"
    store.add([label("later still", date=DAY.format(10))])
    assert store.shown()[F].text == "later still"


def test_a_new_label_by_the_same_author_and_method_stands_in_for_the_old_which_stays_as_history(store):
    first, second = store.add([label("first"), label("second")])
    assert first != second
    assert texts(store.of(F)) == ["second"]
    assert texts(store.of(F, history=True)) == ["second", "first"]
    store.add([label("third", method="by ear")])
    assert set(texts(store.of(F))) == {"second", "third"}


def test_a_label_that_comes_late_but_is_older_does_not_stand_in_for_a_newer_one(store):
    store.add([label("new", date=DAY.format(9))])
    store.add([label("old", date=DAY.format(1))])
    assert texts(store.of(F)) == ["new"]
    assert texts(store.of(F, history=True)) == ["new", "old"]


def test_the_same_label_again_is_one_row_and_brings_its_scores(store):
    (first,) = store.add([label()])
    assert store.add([label(scores=(score(),))]) == [first]
    assert len(list(store.all(history=True))) == 1
    assert store.of(F)[0].scores == (score(),)
    assert store.of(F)[0].score("detection", "tokens") == score()
    assert store.of(F)[0].score("fuzzing") is None


def test_the_latest_score_of_a_test_and_judge_counts(store):
    (number,) = store.add([label(scores=(score(0.6), score(0.7, judge="minilm"), score(0.8)))])
    assert store.of(F)[0].scores == (score(0.7, judge="minilm"), score(0.8))
    store.score({number: [score(0.6)]})
    assert store.of(F)[0].scores[-1] == score(0.6)


def test_a_withdrawn_label_is_shown_no_more_and_does_not_come_back_with_an_import(store):
    (number,) = store.add([label(date=DAY.format(1))])
    store.withdraw(number)
    store.add([label(date=DAY.format(1))])
    assert store.of(F) == ()
    assert texts(store.of(F, history=True)) == ["capitals"]
    with pytest.raises(InputError, match="no label 99"):
        store.withdraw(99)


def test_labels_of_two_dictionaries_in_one_file_do_not_meet(store, path):
    store.add([label("mine")])
    store.put_in_list("good", [F])
    with LabelStore(path, "bbbb") as other:
        assert list(other.all()) == []
        assert other.matching("mine") == []
        assert other.lists() == {}
        other.add([label("theirs")])
        with pytest.raises(InputError, match="no label 1"):
            other.withdraw(1)
        with pytest.raises(InputError, match="no label 1"):
            other.score({1: [score()]})
    assert texts(store.all()) == ["mine"]


def test_words_and_their_beginnings_find_current_labels_one_a_feature(store):
    store.add([label("Capitals of Europe"), label("the token Élan", feature=G), label("capital letters", author="Bob")])
    assert texts(store.matching("capit")) == ["capital letters"]
    assert texts(store.matching("europe capital")) == ["Capitals of Europe"]
    assert texts(store.matching("elan")) == ["the token Élan"]
    store.add([label("something else")])
    assert store.matching("europe") == []


def test_what_another_dictionary_or_the_history_holds_does_not_push_a_label_out(store, path, monkeypatch):
    monkeypatch.setattr("clew.labels.store._MATCHES_READ", 2)
    store.add(label(f"token {n}", feature=FeatureId(0, n)) for n in range(10))
    with LabelStore(path, "bbbb") as other:
        other.add([label(f"token {n}") for n in range(10)])
        assert texts(other.matching("token")) == ["token 9"]
        other.add([label(f"({n})") for n in range(10)])
        assert texts(other.matching("(")) == ["(9)"]


@pytest.mark.parametrize("query", ['"', "AND", "a OR", "(", "*", "text:x", "-", "NEAR(", "'; DROP TABLE labels"])
def test_no_query_is_taken_for_syntax(store, query):
    store.add([label(f"holds {query} itself"), label("nothing", feature=G)])
    assert texts(store.matching(query)) == [f"holds {query} itself"]


def test_a_blank_query_is_refused(store):
    with pytest.raises(InputError, match="search is empty"):
        store.matching("  ")


def test_lists_hold_each_feature_once_in_order_and_vanish_when_empty(store):
    store.put_in_list("capitals", [F, G, F])
    store.put_in_list("capitals", [F])
    assert store.lists() == {"capitals": (G, F)}
    store.take_from_list("capitals", [F, G])
    assert store.lists() == {}
    with pytest.raises(InputError, match="needs a name"):
        store.put_in_list(" ", [F])


def test_a_feature_leaves_the_list_that_is_named_and_no_other(store, path):
    same_index = FeatureId(G.layer, F.index)
    store.put_in_list("capitals", [F, G, same_index])
    store.put_in_list("rivers", [F])
    with LabelStore(path, "bbbb") as other:
        other.put_in_list("capitals", [F])
        store.take_from_list("capitals", [F])
        assert store.lists() == {"capitals": (G, same_index), "rivers": (F,)}
        assert other.lists() == {"capitals": (F,)}


def test_an_answer_is_kept_by_its_key(store):
    assert store.answer("k") is None
    store.keep_answer("k", "m", Answer("yes", 10, 2))
    assert store.answer("k") == Answer("yes", 10, 2)


plain = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029\0"))
line = plain.filter(str.strip)
shares = st.floats(0, 1)
scores = st.fixed_dictionaries(
    {
        "test": st.sampled_from(["detection", "fuzzing"]),
        "judge": plain,
        "value": shares,
        "low": shares,
        "high": shares,
        "null": st.none() | shares,
        "contexts": st.integers(0, 1000),
    }
)
labels = st.fixed_dictionaries(
    {
        "text": line,
        "kind": st.sampled_from(KINDS),
        "author": line,
        "method": plain,
        "note": plain,
        "date": st.datetimes().map(str),
    }
)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 99), st.integers(0, 99999), labels, st.lists(scores, max_size=3))
def test_a_label_comes_back_as_it_was(tmp_path_factory, layer, index, given, scores):
    scores = tuple({(s["test"], s["judge"]): Score(**s) for s in scores}.values())
    label = Label(feature=FeatureId(layer, index), scores=scores, **given)
    with LabelStore(tmp_path_factory.mktemp("labels") / "l.sqlite", "aaaa") as store:
        store.add([label])
        (found,) = store.of(label.feature)
        assert {**vars(found), "id": None} == vars(label)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"text": " "}, "is empty"),
        ({"text": "x" * 3000}, "3000 characters"),
        ({"kind": "god"}, "'god'"),
        ({"author": ""}, "no author"),
        ({"date": "yesterday"}, "'yesterday' is not a date"),
    ],
)
def test_a_label_that_says_nothing_is_refused(change, words):
    with pytest.raises(InputError, match=words):
        label(**change)


def test_a_score_that_is_no_share_is_refused():
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(InputError, match="between 0 and 1"):
            score(wrong)


# --- the file -------------------------------------------------------------------------------------------------------


def test_a_newer_a_foreign_and_a_truncated_file_are_refused_by_name(store, path, tmp_path):
    store.add(label(str(n), feature=FeatureId(0, n)) for n in range(3000))
    store.close()
    whole = path.read_bytes()
    other = tmp_path / "other.sqlite"
    for content, words in (
        (whole[: len(whole) // 2], "malformed"),
        (whole[:-100], "truncated"),
        (whole[:50], "has 50 bytes"),
        (b"", "has 0 bytes"),
        (b"hello" * 1000, "not a database"),
    ):
        other.write_bytes(content)
        with pytest.raises(FileError, match=words) as refused:
            LabelStore(other, "aaaa")
        assert "other.sqlite" in str(refused.value)
    other.unlink()
    made = sqlite3.connect(other)
    made.execute("CREATE TABLE labels (x)")
    made.close()
    with pytest.raises(FileError, match="another program"):
        LabelStore(other, "aaaa")
    newer = sqlite3.connect(path)
    newer.execute("PRAGMA user_version = 99")
    newer.close()
    with pytest.raises(FileError, match="schema 99"):
        LabelStore(path, "aaaa")


def test_a_transaction_that_fails_leaves_nothing(store):
    def broken():
        yield label("one")
        yield label("two")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        store.add(broken())
    assert list(store.all()) == []
    store.add([label()])
    assert len(store.of(F)) == 1


def test_writing_while_all_labels_are_read_and_another_process_writes(store, path):
    store.add(label(str(n), feature=FeatureId(0, n)) for n in range(2500))
    with LabelStore(path, "aaaa") as other:
        for n, found in enumerate(store.all()):
            if n % 500 == 0:
                other.add([label(f"other {n}", feature=G, author="Bob")])
                store.score({found.id: [score()]})
    assert sum(len(found.scores) for found in store.all()) == 5


def test_a_write_waits_for_another_that_is_under_way(store, path):
    begun = threading.Event()

    def slowly():
        with LabelStore(path, "aaaa") as other, other._write() as write:
            other._add(write, label("slow", author="Bob"))
            begun.set()
            time.sleep(0.3)

    thread = threading.Thread(target=slowly)
    thread.start()
    assert begun.wait(10)
    store.add([label("quick")])
    thread.join()
    assert {found.text for found in store.of(F)} == {"slow", "quick"}


WRITER = """
import sys, itertools
from clew.features.label import Label
from clew.labels.store import LabelStore
from clew.ids import FeatureId
path, author = sys.argv[1:3]
until, together = (int(sys.argv[3]), 30) if len(sys.argv) > 3 else (None, 1)
with LabelStore(path, "aaaa") as store:
    print("ready", flush=True)
    for n in range(until) if until else itertools.count():
        some = range(n * together, (n + 1) * together)
        store.add([Label(feature=FeatureId(0, k), text=f"label {k}", kind="person", author=author) for k in some])
        print(n, flush=True)
"""


def writer(path, *arguments):
    command = [sys.executable, "-c", WRITER, str(path), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_two_processes_label_at_once_and_nothing_is_lost(path):
    running = [writer(path, author, 25) for author in ("Ann", "Bob")]
    for process in running:
        process.communicate()
    assert [process.returncode for process in running] == [0, 0]
    with LabelStore(path, "aaaa") as store:
        for author in ("Ann", "Bob"):
            mine = [found.text for found in store.all() if found.author == author]
            assert mine == [f"label {n}" for n in range(750)]


def kill_while_labelling(path, rounds, rng):
    said = {}
    for number in range(rounds):
        process = writer(path, f"author {number}")
        assert process.stdout is not None
        if number % 5:  # else also while the file is opened or made
            process.stdout.readline()
        time.sleep(0.3 * rng.random())
        process.send_signal(signal.SIGKILL)
        process.wait()
        lines = [line for line in process.stdout.read().split("\n")[:-1] if line != "ready"]
        process.stdout.close()
        said[f"author {number}"] = len(lines)
    with LabelStore(path, "aaaa") as store:
        found = list(store.all())
        for author, count in said.items():
            kept = [label.text for label in found if label.author == author]
            assert kept[:count] == [f"label {n}" for n in range(count)]
            assert len(kept) <= count + 1
        assert len(store.matching("label 0", limit=9)) == min(9, len({f.feature for f in found if "label 0" in f.text}))
    assert sum(said.values()) > rounds


def test_a_kill_while_labelling_loses_no_label_that_was_said_to_be_kept(path):
    kill_while_labelling(path, 4, random.Random(0))


@pytest.mark.stress
def test_ten_kills_while_labelling_lose_no_label(path):
    kill_while_labelling(path, 10, random.Random(1))


@given(st.permutations(range(5)))
def test_every_view_shows_a_person_over_a_model_over_a_rule(tmp_path_factory, order):
    """Whatever was written last, in whatever order; `unclear` comes last unless a person wrote it."""
    given = [
        label("by a person", author="Ann", date=DAY.format(2)),
        label("unclear", author="Bob", date=DAY.format(1)),
        label("unclear", kind="model", author="a", date=DAY.format(9)),
        label("by a model", kind="model", author="z", date=DAY.format(3)),
        label("by rule", kind="heuristic", author="clew", date=DAY.format(8)),
    ]
    with LabelStore(tmp_path_factory.mktemp("labels") / "l.sqlite", "aaaa") as store:
        numbers = dict(zip(order, store.add(given[place] for place in order), strict=True))
        for shown in (given[0], given[1], given[3], given[4], given[2]):
            assert store.of(F)[0].text == shown.text
            assert store.shown()[F].text == store.shown([F])[F].text == next(iter(store.all())).text == shown.text
            name = {} if shown.text == "unclear" else {F: (shown.text, shown.kind, shown.author)}
            assert store.names([F]) == name
            store.withdraw(numbers[given.index(shown)])
        assert store.of(F) == ()
