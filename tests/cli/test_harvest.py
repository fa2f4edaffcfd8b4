"""`clew harvest` and `clew features show` as a user meets them."""

import json
from collections.abc import Callable

import pytest

import clew
from clew import files
from clew.features.atlas import Atlas
from clew.harvest import gather as reading
from clew.harvest import relations
from clew.training.corpus import encode_documents, save_tokens
from tests import models
from tests.cli.test_train import refused

Run = Callable[..., tuple[int, str, str]]
TEXT = ("--text", "text.txt", "--pool", "50", "--pairs", "500")
RULES = (*TEXT, "--related", "0", "--a-band", "1", "--contexts", "3")
FAST = (*RULES, "--no-rules")


@pytest.fixture
def run(run, tmp_path, small_kit) -> Run:
    """The command line in a folder with some text; harvests are of the small kit where none is named."""
    places = (("France", "Paris"), ("Italy", "Rome"), ("Spain", "Madrid"))
    (tmp_path / "text.txt").write_text("\n".join(f"The capital of {a} is {b}." for a, b in places * 100))

    def call(verb: str, *arguments: object) -> tuple[int, str, str]:
        named = verb != "harvest" or {"--kit", "--dictionary", "--help"} & set(arguments)
        return run(verb, *arguments, *([] if named else ["--kit", small_kit]))

    return call


def test_a_harvest_of_a_text_gives_an_atlas_whose_cards_can_be_read(run, tmp_path):
    code, out, err = run("harvest", "a.sqlite", *TEXT, "--tokens", "900", "--contexts", "3", "--json")
    assert code == 0, err
    said = json.loads(out)
    with Atlas.load(tmp_path / "a.sqlite") as atlas:
        assert said["content"] == atlas.content
        assert said["positions"] == atlas.positions
        assert 900 <= atlas.positions < 910
        assert atlas.config.contexts == 3
        assert atlas.provenance["text"]["text"] == "text.txt"
        feature = atlas.feature(int(atlas.summary.max_activation.argmax()))
        card = atlas[feature]
        dead = atlas.feature(int(atlas.summary.density.argmin()))
    code, out, err = run("features", "show", feature, "--atlas", "a.sqlite")
    assert code == 0, err
    assert out.startswith(f"{feature}  ")
    for shown in (
        f"{card.density:.3%}", f"{card.positions:,}", f"{card.max_activation:.2f}", "█", "Strongest", "promotes",
        "suppresses", "nearest by decoder", repr(card.promoted[0].token), str(card.nearest_encoder[0].feature),
    ):  # fmt: skip
        assert shown in out
    context = card.top[0]
    marked = [f"«{t.strip()}»" if i == context.at else t.strip() for i, t in enumerate(context.tokens)]
    assert all(token in out for token in marked)
    code, out, _ = run("features", "show", feature, "--atlas", "a.sqlite", "--json")
    shown = json.loads(out)
    assert {label["feature"] for label in shown.pop("labels")} <= {str(feature)}
    assert {other["feature"] for other in shown.pop("alike")} <= {
        str(each.feature) for each in (*card.together, *card.nearest_decoder)
    }
    assert shown == json.loads(json.dumps(card.to_json()))
    code, out, _ = run("features", "show", dead, "--atlas", "a.sqlite")
    assert code == 0
    assert "a dead feature" in out
    assert "Strongest" not in out


def test_a_harvest_of_a_dictionary_too_large_to_compare_says_how_much_of_it_was_compared(run, tmp_path, monkeypatch):
    monkeypatch.setattr(relations, "WORK", 3 * (128 + relations.OVERHEAD) * 1000**2)
    few = (*TEXT, "--tokens", "300", "--contexts", "1", "--a-band", "1", "--no-rules")
    code, out, err = run("harvest", "a.sqlite", *few)
    assert code == 0, err
    with Atlas.load(tmp_path / "a.sqlite") as atlas:
        n = len(atlas)
        assert atlas.provenance["related_features"] == {"compared": 1000, "of": n}
        dead = (atlas.summary.density == 0).nonzero()[0]
        assert atlas[atlas.feature(int(dead[-1]))].nearest_encoder == ()
    assert f"relations over 1,000 of {n:,} features, those that fire most: comparing all would take too long" in out
    code, out, _ = run("harvest", "b.sqlite", *few, "--related", "0", "--json")
    assert json.loads(out)["related_features"] is None


def test_contexts_are_coloured_by_activation_on_a_terminal(run, monkeypatch):
    from io import StringIO

    from rich.console import Console

    from clew.cli.features import show

    run("harvest", "a.sqlite", *FAST, "--tokens", "900")
    with Atlas.load("a.sqlite") as atlas:
        card = atlas[atlas.feature(int(atlas.summary.max_activation.argmax()))]
    out = StringIO()
    show.print_card(card, Console(file=out, force_terminal=True, width=200, color_system="truecolor"))
    assert "48;2;255;156;0m" in out.getvalue()  # the strongest shade
    assert "«" not in out.getvalue()


def test_a_stopped_harvest_is_gone_on_with_and_not_begun_again_unasked(run, tmp_path, small_kit):
    minnow = clew.load(small_kit)
    lines = (tmp_path / "text.txt").read_text().splitlines()
    documents = encode_documents(minnow.subject, lines)
    from clew.features.config import HarvestConfig
    from clew.harvest.write_atlas import harvest

    config = HarvestConfig(pool=50, pairs=500, related=0, a_band=1, contexts=3, rules=False)  # as FAST says
    stopped = harvest(minnow.subject, minnow.dictionary, documents, "a.sqlite", config=config)
    assert next(stopped).done < int(documents.counts.sum())
    stopped.close()
    refused(run("harvest", "a.sqlite", *FAST), "a.sqlite.part", "--resume")
    code, _, err = run("harvest", "a.sqlite", *FAST, "--resume")
    assert code == 0, err
    code, out, _ = run("harvest", "b.sqlite", *FAST, "--json")
    assert json.loads(out)["content"] == Atlas.load("a.sqlite").content
    assert len(documents) > reading.CHUNK


def test_every_mistake_is_one_line(run, tmp_path):
    other = models.subject("gpt2")
    rows = encode_documents(other, [[models.BOS, 1, 2, 3]])
    save_tokens(tmp_path / "other.safetensors", rows, other)
    refused(run("harvest", "a.sqlite", "--text", "other.safetensors"), "tokenizer")
    refused(run("harvest", "a.sqlite", "--text", "nowhere.txt"), "nowhere.txt")
    (tmp_path / "empty.txt").write_text("")
    refused(run("harvest", "a.sqlite", "--text", "empty.txt"), "empty")
    (tmp_path / "ids.jsonl").write_text(json.dumps({"text": [5, 99999]}))
    refused(run("harvest", "a.sqlite", "--text", "ids.jsonl"), "99999", "another tokenizer")
    refused(run("harvest", "a.sqlite", "--tokens", "0"), "--tokens")
    refused(run("harvest", "a.sqlite", *TEXT, "--contexts", "0"), "at least one context")
    refused(run("harvest", "a.sqlite", "--dictionary", "d"), "--model")
    refused(run("features", "show", "L0/1", "--atlas", "none.sqlite"), "none.sqlite")
    refused(run("features", "show", "L0", "--atlas", "none.sqlite"), "none.sqlite")
    files.write_text(tmp_path / "foreign.sqlite", "text")
    refused(run("features", "show", "L0/1", "--atlas", "foreign.sqlite"), "not a file of an atlas")
    run("harvest", "a.sqlite", *FAST, "--tokens", "100")
    refused(run("features", "show", "L0/99999", "--atlas", "a.sqlite"), "no feature L0/99999")
    refused(run("features", "show", "nonsense", "--atlas", "a.sqlite"), "not a feature")


# What must not be lost


def test_a_file_that_is_no_atlas_is_never_replaced_and_an_atlas_only_when_asked(run, tmp_path):
    from clew.labels.store import LabelStore

    (tmp_path / "notes.txt").write_text("mine")
    LabelStore("labels.sqlite", "aaaa").close()
    kept = {name: (tmp_path / name).read_bytes() for name in ("notes.txt", "labels.sqlite")}
    for name in kept:
        for replace in ((), ("--replace",), ("--resume",)):
            refused(run("harvest", name, *FAST, "--tokens", "100", *replace), name, "no atlas")
    assert {name: (tmp_path / name).read_bytes() for name in kept} == kept
    assert run("harvest", "a.sqlite", *FAST, "--tokens", "100")[0] == 0
    with Atlas.load("a.sqlite") as atlas:
        content = atlas.content
    for resume in ((), ("--resume",)):
        refused(run("harvest", "a.sqlite", *FAST, "--tokens", "200", *resume), "an atlas already", "--replace")
    with Atlas.load("a.sqlite") as atlas:
        assert atlas.content == content
    assert run("harvest", "a.sqlite", *FAST, "--tokens", "200", "--replace")[0] == 0
    with Atlas.load("a.sqlite") as atlas:
        assert atlas.content != content


def test_what_lies_where_a_part_would_go_is_left_alone(run, tmp_path):
    (tmp_path / "a.sqlite.part").write_text("mine")
    for resume in ((), ("--resume",)):
        refused(run("harvest", "a.sqlite", *FAST, "--tokens", "100", *resume), "a.sqlite.part")
    refused(run("harvest", "text.txt", *FAST, "--part", "1/1", "--resume"), "text.txt")
    assert (tmp_path / "a.sqlite.part").read_text() == "mine"
    assert "capital" in (tmp_path / "text.txt").read_text()


# In parts


def test_parts_from_the_command_line_merged_in_either_order_are_one_run(run):
    whole = json.loads(run("harvest", "whole.sqlite", *FAST, "--json")[1])
    for number in (1, 2):
        code, out, err = run("harvest", f"{number}.part", *FAST, "--part", f"{number}/2")
        assert code == 0, err
        assert f"part {number} of 2" in out
    for order in (("1.part", "2.part"), ("2.part", "1.part")):
        code, out, err = run("harvest", f"{order[0]}.sqlite", "--merge", *order, *TEXT[:2], "--json")
        assert code == 0, err
        assert json.loads(out)["content"] == whole["content"]
    refused(run("harvest", "no.sqlite", "--merge", "1.part", *TEXT[:2]), "not all of 0 to 300")
    refused(run("harvest", "no.sqlite", "--merge", "1.part", "1.part", *TEXT[:2]), "in both parts")
    refused(run("harvest", "no.sqlite", "--merge", "1.part", "3.part", *TEXT[:2]), "no part 3.part")
    refused(run("harvest", "no.sqlite", "--merge", "1.part", "2.part", *FAST), "keeps the settings")
    refused(run("harvest", "no.sqlite", "--merge", "1.part", "2.part", *TEXT[:2], "--tokens", "99"), "another corpus")


def test_parts_that_cannot_be_are_refused(run):
    refused(run("harvest", "a.part", *FAST, "--part", "half"), "'half'", "1/4")
    refused(run("harvest", "a.part", *FAST, "--part", "3/2"), "no part 3 of 2")
    refused(run("harvest", "a.part", *FAST, "--part", "1/3"), "at most 2 parts")
    refused(run("harvest", "a.sqlite", "b.part", *FAST), "--merge")
    refused(run("harvest", "a.sqlite", "--merge", *FAST), "--merge")
    refused(run("harvest", "a.sqlite", "--merge", "b.part", "--part", "1/2"), "leave --part")


# Ctrl-C


@pytest.mark.parametrize("stage", ["reading", "tokens promoted", "labels by rule"])
def test_the_first_ctrl_c_stops_a_harvest_whatever_it_is_at_and_it_goes_on_later(run, monkeypatch, stage):
    from contextlib import contextmanager

    from clew.cli import harvest as command

    asked = []

    @contextmanager
    def bar(what, of=None):
        yield lambda progress: asked.append(stage) if progress.what == stage else None

    class Interrupt:
        code = 130

        def __call__(self):
            return bool(asked)

    @contextmanager
    def interrupts():
        yield Interrupt()

    with monkeypatch.context() as patch:
        patch.setattr(command, "bar", bar)
        patch.setattr(command, "interrupts", interrupts)
        code, out, _ = run("harvest", "a.sqlite", *RULES)
    assert code == 130
    assert f"stopped at {stage}" in out
    assert "--resume" in out
    code, out, err = run("harvest", "a.sqlite", *RULES, "--resume", "--json")
    assert code == 0, err
    assert json.loads(out)["content"] == json.loads(run("harvest", "b.sqlite", *RULES, "--json")[1])["content"]


def test_help_has_no_option_that_a_harvest_does_not_use(run):
    code, out, _ = run("harvest", "--help")
    assert code == 0
    assert "--context" in out
    assert "--held-out" not in out
    assert "--buffer" not in out
    assert run("harvest", "a.sqlite", *FAST, "--buffer", "5")[0] == 2
