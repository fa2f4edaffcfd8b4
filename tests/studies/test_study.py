"""The protocol: one generator for both cases, folders that are whole, runs that go on, and mistakes in one line."""

import json
import re
import signal
import subprocess
import sys
from dataclasses import fields, replace

import pytest
import torch

import clew
from clew import files
from clew.errors import FileError, InputError
from clew.kit import Kit
from clew.progress import Progress
from clew.studies.case_findings import CaseFindings
from clew.studies.catalogue import STUDIES
from clew.studies.result import Result
from clew.studies.study import Absent
from tests import models
from tests.toy_study import TOY, ToyConfig, tiny_kit


@pytest.fixture(scope="module")
def result():
    return TOY.run(tiny_kit())


def test_a_planted_effect_is_found_and_the_absent_case_says_so(result):
    assert [claim.verdict for claim in result.claims] == ["holds"]
    assert [claim.verdict for claim in result.absent.claims] != ["holds"]
    assert result.false_effects == ()
    assert (result.config["shift"], result.absent_config["shift"]) == (2.0, 0.0)


def test_an_effect_that_is_seen_in_the_absent_case_is_told():
    wrong = replace(TOY, absent=lambda kit, config: Absent(kit=kit, config=config, why="The same again."))
    result = wrong.run(tiny_kit())
    assert [claim.text for claim in result.false_effects] == ["The mean is above zero."]
    assert "1 of 1 effects are seen here all the same" in result.report()


def test_a_quick_run_takes_smaller_settings_and_keeps_what_is_chosen():
    quick = replace(TOY, quick={"count": 5, "seed": 7})
    assert quick.run(tiny_kit(), quick=True).config["count"] == 5
    chosen = quick.run(tiny_kit(), quick=True, count=9).config
    assert (chosen["count"], chosen["seed"]) == (9, 7)
    with pytest.raises(InputError, match="toy has no quick settings"):
        TOY.run(tiny_kit(), quick=True)


def test_both_cases_report_their_progress():
    steps = [*TOY.steps(tiny_kit(), count=3)]
    assert isinstance(steps[-1], Result)
    assert all(isinstance(step, Progress) for step in steps[:-1])
    whats = [step.what for step in steps[:-1]]
    assert whats == ["numbers"] * 3 + ["signs"] * 3 + ["absent case: numbers"] * 3 + ["absent case: signs"] * 3


def test_a_saved_result_is_read_as_it_was(result, tmp_path):
    result.save(tmp_path / "toy")
    again = Result.load(tmp_path / "toy")
    for case in ("found", "absent"):
        one, other = getattr(result, case), getattr(again, case)
        assert [claim.to_json() for claim in one.claims] == [claim.to_json() for claim in other.claims]
        assert one.tables == other.tables
        assert {n: vars(p) for n, p in one.figures.items()} == {n: vars(p) for n, p in other.figures.items()}
    assert again.report() == result.report()
    names = {path.relative_to(tmp_path / "toy").as_posix() for path in (tmp_path / "toy").rglob("*.*")}
    assert {"result.json", "report.html", "tables/numbers.parquet"} < names
    assert {"figures/numbers.png", "figures/numbers.svg", "absent/tables/numbers.parquet"} < names
    written = [row for _, row in files.numbered_rows(tmp_path / "toy" / "tables" / "numbers.csv", ",")]
    assert written == [
        {name: str(value) for name, value in zip(result.tables["numbers"].columns, row, strict=True)}
        for row in result.tables["numbers"].rows()
    ]
    assert files.kind_of(tmp_path / "toy" / "result.json") == "clew.study"
    assert files.kind_of(tmp_path / "toy" / "report.html") == files.PAGE


def test_the_report_asks_for_nothing_elsewhere_and_escapes_every_text(result):
    page = result.report()
    assert "Numbers &lt;of the toy&gt;" in page
    assert "A histogram &amp; no more." in page
    assert not re.findall(r"(?:src|href)=\"(?!data:)", page)
    assert "<script" not in page
    for words in ("holds", "the numbers with random signs, 200 draws of 40 numbers, 40 under test", "Nothing is added"):
        assert words in page


@pytest.fixture(scope="module")
def with_features():
    """A kit whose dictionary is not its model's neurons."""
    subject = models.subject("gpt2", torch.float32)
    return Kit(subject, models.dictionary("clt", subject, dtype=torch.float32), name="tiny clt")


FEWER = replace(TOY, reduced=lambda config: replace(config, count=10, shift=0.0))


def test_neurons_are_measured_beside_another_dictionary_by_a_reduced_config(with_features, tmp_path):
    result = FEWER.run(with_features, tmp_path / "toy")
    assert (result.config["count"], result.beside_config["count"]) == (40, 10)
    [(own, other)] = result.side_by_side
    assert (own.null.tested, other.null.tested) == (40, 10)
    assert (own.verdict, other.verdict) == ("holds", "cannot say")
    again = Result.load(tmp_path / "toy")
    assert [claim.to_json() for claim in again.beside.claims] == [other.to_json()]
    assert (tmp_path / "toy" / "beside" / "tables" / "numbers.parquet").is_file()
    assert "Beside the model&#x27;s own neurons" in again.report() or "Beside the model's own neurons" in again.report()
    whats = {step.what for step in FEWER.steps(with_features, count=3) if not isinstance(step, Result)}
    assert whats == {
        "numbers",
        "signs",
        "absent case: numbers",
        "absent case: signs",
        "neurons: numbers",
        "neurons: signs",
    }


def test_neurons_are_not_measured_beside_themselves_nor_where_they_cannot_answer_nor_unasked(with_features, tmp_path):
    assert FEWER.run(tiny_kit()).side_by_side == ()
    picky = replace(FEWER, needs=lambda kit, config: "" if kit.dictionary.kind == "clt" else "a CLT")
    assert picky.run(with_features).beside is None
    assert FEWER.run(with_features, tmp_path / "toy", neurons=False).beside is None
    with pytest.raises(FileError, match=r"of another beside_config"):
        FEWER.run(with_features, tmp_path / "toy")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "tables" / "numbers.parquet").unlink(), r"lacks its file tables/numbers\.parquet"),
        (lambda folder: (folder / "report.html").write_text("x"), "truncated or changed"),
        (lambda folder: (folder / "result.json").write_text("{"), "not whole JSON"),
        (lambda folder: (folder / "result.json").write_text('{"format": "clew.graph", "schema": 1}'), "no result of a"),
        (lambda folder: (folder / "result.json").unlink(), r"there is no result\.json in it"),
    ],
)
def test_a_damaged_folder_is_refused_by_name(result, tmp_path, damage, words):
    result.save(tmp_path / "toy")
    damage(tmp_path / "toy")
    with pytest.raises(FileError, match=words):
        Result.load(tmp_path / "toy")


def test_a_result_of_a_newer_schema_is_refused(result, tmp_path):
    result.save(tmp_path / "toy")
    path = tmp_path / "toy" / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema": 9}))
    with pytest.raises(FileError, match="upgrade clew"):
        Result.load(tmp_path / "toy")


def test_a_run_that_was_killed_goes_on_behind_its_last_part(tmp_path):
    folder, record = tmp_path / "toy", tmp_path / "record"
    program = [sys.executable, "-m", "tests.toy_study", str(folder), str(record)]
    killed = subprocess.run(program, check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert record.read_text().split() == ["numbers", "signs"]
    assert not (folder / "result.json").exists()
    head = json.loads((folder / "study.json").read_text())
    head["config"]["killed"] = False  # the setting that killed it is the only one that may differ
    (folder / "study.json").write_text(json.dumps(head))
    result = TOY.run(tiny_kit(), folder, record=record)
    assert record.read_text().split() == ["numbers", "signs", "signs", "numbers", "signs"]  # the last two: absent case
    fresh = TOY.run(tiny_kit(), record=record)
    assert [claim.to_json() for claim in result.claims] == [claim.to_json() for claim in fresh.claims]
    assert Result.load(folder).tables == fresh.tables


def test_a_finished_study_is_read_and_not_run_again(tmp_path):
    folder, record = tmp_path / "toy", tmp_path / "record"
    TOY.run(tiny_kit(), folder, record=record)
    before = record.read_text()
    again = TOY.run(tiny_kit(), folder, record=record)
    assert (record.read_text(), [claim.verdict for claim in again.claims]) == (before, ["holds"])


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize(
    ("study", "kit", "options", "words"),
    [
        (TOY, 0, {"count": 30}, r"of another config \(count\): 40, not 30"),
        (TOY, 1, {}, r"of another kit \(name\): tiny 0, not tiny 1"),
        (replace(TOY, name="game"), 0, {}, "of another study: toy, not game"),
    ],
)
def test_a_folder_of_another_study_config_or_kit_is_refused_by_name(tmp_path, finished, study, kit, options, words):
    steps = TOY.steps(tiny_kit(), tmp_path / "toy")
    for step in steps:
        if not finished and step.what == "signs":
            break
    steps.close()
    before = {path: path.read_bytes() for path in (tmp_path / "toy").rglob("*") if path.is_file()}
    with pytest.raises(FileError, match=words):
        study.run(tiny_kit(kit), tmp_path / "toy", **options)
    assert {path: path.read_bytes() for path in (tmp_path / "toy").rglob("*") if path.is_file()} == before


def test_a_run_that_ended_before_its_first_part_does_not_hold_its_folder(tmp_path):
    def mistaken(case):
        raise InputError("count is 30: give 40")
        yield

    with pytest.raises(InputError, match="give 40"):
        replace(TOY, measure=mistaken).run(tiny_kit(), tmp_path / "toy", count=30)
    assert (tmp_path / "toy" / "study.json").is_file()
    assert TOY.run(tiny_kit(), tmp_path / "toy").config["count"] == 40


def test_a_folder_that_holds_something_else_is_left_as_it_is(tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "one.txt").write_text("dear")
    with pytest.raises(FileError, match="holds no study"):
        TOY.run(tiny_kit(), tmp_path / "letters")
    assert [path.name for path in (tmp_path / "letters").iterdir()] == ["one.txt"]


def test_a_damaged_part_is_refused_by_name(tmp_path):
    for step in TOY.steps(tiny_kit(), tmp_path / "toy"):
        if step.what == "signs":
            break
    (tmp_path / "toy" / "parts" / "found" / "numbers.safetensors").write_bytes(b"no")
    with pytest.raises(FileError, match=r"numbers\.safetensors is not a whole"):
        TOY.run(tiny_kit(), tmp_path / "toy")


def test_a_kit_that_cannot_answer_is_told_in_one_line_before_anything_is_written(tmp_path):
    study = replace(TOY, needs=lambda kit, config: "an atlas")
    with pytest.raises(InputError, match=r"^tiny 0 cannot answer toy: an atlas$"):
        study.run(tiny_kit(), tmp_path / "toy")
    assert not (tmp_path / "toy").exists()


def test_mistakes_in_settings_are_told():
    with pytest.raises(InputError, match="toy has no setting size: there are shift, count"):
        TOY.run(tiny_kit(), size=3)
    with pytest.raises(InputError, match="count is 1"):
        TOY.run(tiny_kit(), count=1)


def test_a_config_may_stand_for_single_settings():
    assert TOY.configured(ToyConfig(count=5), shift=1.0) == ToyConfig(count=5, shift=1.0)


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_says_what_it_asks_and_has_few_settings(name):
    study = clew.study(name)
    assert isinstance(study, clew.Study)
    assert study.name == name
    assert study.question.endswith("?")
    assert study.source
    assert len(fields(study.config)) <= 12


def test_an_unknown_study_is_told_with_those_that_there_are():
    with pytest.raises(InputError, match="no study 'lekage': there are"):
        clew.study("lekage")


def test_another_claim_is_never_set_beside_one_of_the_dictionarys(result):
    (claim,) = result.claims
    same = replace(claim, text="The mean is above zero: 7.")
    other = replace(claim, text="The mean is below zero.")
    assert [pair[1] for pair in replace(result, beside=CaseFindings(claims=(same,))).side_by_side] == [same]
    assert replace(result, beside=CaseFindings(claims=(other, same))).side_by_side == ()
