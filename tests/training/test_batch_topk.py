"""BatchTopK's step: what it picks from stays small, and a look at the run between two steps is a look at that run."""

import gc
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch

from clew.dictionary import Dictionary, Layer
from clew.subject.subject import Subject
from clew.training import Documents, selection, train_dictionary
from clew.training import run_state as run_module
from clew.training.activations import stream
from clew.training.run_state import RunState
from clew.training.selection import activate
from tests import toy
from tests.toy import SMALL, D, L


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Candidates of each call."""
    sizes: list[int] = []
    real = selection.candidate

    def counted(*arguments):
        found = real(*arguments)
        sizes.append(len(found.pairs))
        return found

    monkeypatch.setattr(selection, "candidate", counted)
    return sizes


def test_a_first_step_never_holds_all_positive_activations(held: list[int]) -> None:
    run, g = RunState(L, D, replace(SMALL, features=1024)), torch.Generator().manual_seed(0)
    inputs = torch.randn(L, 2048, D, generator=g)
    kept = sum(len(a.pairs) for a in activate(run, inputs, 4.0))
    positive = sum(int((x @ own.encoder.weight.T > 0).sum()) for x, own in zip(inputs, run.layers, strict=True))
    assert kept == 4 * L * 2048
    assert max(held) < 2 * kept < positive / 10
    assert sum(held) < 10 * kept


def test_too_high_a_guess_is_lowered_until_there_are_enough(held: list[int]) -> None:
    run, g = RunState(L, D, replace(SMALL, features=256)), torch.Generator().manual_seed(0)
    inputs = torch.randn(L, 512, D, generator=g)
    run.cut = 1e3
    kept = sum(len(a.pairs) for a in activate(run, inputs, 4.0))
    assert kept == 4 * L * 512
    assert max(sum(held[i : i + L]) for i in range(0, len(held), L)) < 4 * kept


def test_the_dictionary_between_two_steps_is_as_dense_as_the_step_was(
    subject: Subject, documents: Documents, tmp_path: Path
) -> None:
    config = replace(SMALL, steps=200)
    reports = train_dictionary(subject, documents, config, tmp_path, buffer=toy.BUFFER, report_every=1)
    report = next(islice(reports, 149, None))
    made, batch = report.snapshot(), _batch(subject, documents)
    density = [len(made.encode(i, batch.inputs[i])) / batch.inputs.shape[1] for i in range(L)]
    assert sum(density) == pytest.approx(sum(report.l0), rel=0.15)


def _batch(subject: Subject, documents: Documents):
    sites = {"read_site": "mlp_in", "write_site": "mlp_raw_out"}
    drawn: Iterator = stream(subject, documents, **sites, batch=512, buffer=512, seed=7)
    return next(drawn)


def test_a_large_run_is_folded_a_layer_at_a_time_and_saved_the_same(
    subject: Subject, documents: Documents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    list(train_dictionary(subject, documents, SMALL, tmp_path / "whole", buffer=toy.BUFFER))
    monkeypatch.setattr(run_module, "AT_ONCE", 0)
    before = sum(type(thing) is Layer for thing in gc.get_objects())
    made, held = [], []
    real = run_module._folded

    def counted(run, i, *rest):
        made.append(i)
        held.append(sum(type(thing) is Layer for thing in gc.get_objects()))
        return real(run, i, *rest)

    monkeypatch.setattr(run_module, "_folded", counted)
    list(train_dictionary(subject, documents, SMALL, tmp_path / "parts", buffer=toy.BUFFER))
    assert made == [*range(L)] * (len(made) // L)
    assert max(held) <= before + 1  # the one before may still be looked at
    fingerprints = {Dictionary.load(tmp_path / name / "dictionary").fingerprint for name in ("whole", "parts")}
    assert len(fingerprints) == 1
