"""Training that begins with a finished dictionary: the same function at first, refusals, the same bits when resumed."""

from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from clew.dictionary import Dictionary, JumpReLU, Layer, ReLU
from clew.errors import MismatchError
from clew.subject.subject import Subject
from clew.training import Documents, train_dictionary
from clew.training.activations import Batch, stream
from clew.training.run_state import RunState, finished
from clew.training.trainer import conclude
from clew.training.warm_start import begin_with, check_start, stopped
from tests.toy import BUFFER, SMALL, D, L, shaken


@pytest.fixture(scope="module")
def batches(subject: Subject, documents: Documents) -> list[Batch]:
    made = stream(subject, documents, read_site="mlp_in", write_site="mlp_raw_out", batch=400, buffer=800, seed=3)
    return list(islice(made, 3))


def rebuilt(dictionary: Dictionary, batch: Batch) -> dict[int, torch.Tensor]:
    x = dict(enumerate(batch.inputs))
    return dictionary.reconstruct({i: dictionary.encode(i, x[i]) for i in x}, x, batch.inputs.shape[1])


def some_dictionary(subject: Subject, batch: Batch, **change: object) -> Dictionary:
    run = RunState(L, D, replace(SMALL, **change))  # type: ignore[arg-type]
    run.fit_scales([batch])
    shaken(run, 0.3)
    return finished(run, subject, 0.05 if run.config.nonlinearity == "batchtopk" else None)


@pytest.mark.parametrize("kind", ["clt", "plt"])
@pytest.mark.parametrize(
    ("theirs", "mine", "skip"),
    [("batchtopk", "jumprelu", False), ("jumprelu", "jumprelu", True), ("topk", "topk", False), ("relu", "relu", True)],
)
def test_a_run_begins_as_the_dictionary_that_it_was_given(
    subject: Subject, batches: list[Batch], kind: str, theirs: str, mine: str, skip: bool
) -> None:
    given = some_dictionary(subject, batches[0], kind=kind, nonlinearity=theirs, skip=skip, features=40)
    run = RunState(L, D, replace(SMALL, kind=kind, nonlinearity=mine, skip=skip))  # type: ignore[arg-type]
    run.fit_scales([batches[1]])  # other scales than those that it was trained with
    begin_with(run, given)
    begun = finished(run, subject, None)
    wanted, got = rebuilt(given, batches[2]), rebuilt(begun, batches[2])
    for i in range(L):
        torch.testing.assert_close(got[i], wanted[i], rtol=1e-3, atol=1e-3 * float(wanted[i].std()))
        assert begun.d_features(i) == SMALL.features
        assert run.layers[i].quiet.isinf().tolist() == [False] * 40 + [True] * 24
        if mine != "topk":
            norms = run.layers[i].encoder.weight[:40].norm(dim=1)
            torch.testing.assert_close(norms, torch.ones(40))


def test_layers_of_several_widths_begin_with_narrower_ones(subject: Subject, batches: list[Batch]) -> None:
    given = some_dictionary(subject, batches[0], features=(40, 12, 30))
    run = RunState(L, D, replace(SMALL, features=(50, 12, 33)))
    run.fit_scales([batches[1]])
    begin_with(run, given)
    begun = finished(run, subject, run.cut)
    assert [begun.d_features(i) for i in range(L)] == [50, 12, 33]
    wanted, got = (
        rebuilt(replace(given, layers=plain(given)), batches[2]),
        rebuilt(replace(begun, layers=plain(begun)), batches[2]),
    )
    for i in range(L):
        torch.testing.assert_close(got[i], wanted[i], rtol=1e-3, atol=1e-3 * float(wanted[i].std()))


def plain(dictionary: Dictionary) -> dict[int, Layer]:
    """The layers with ReLU, so that no threshold decides what is compared."""
    return {i: replace(layer, nonlinearity=ReLU()) for i, layer in dictionary.layers.items()}


def test_features_without_a_threshold_get_the_first_one(subject: Subject, batches: list[Batch]) -> None:
    given = some_dictionary(subject, batches[0], nonlinearity="relu")
    assert all(isinstance(layer.nonlinearity, ReLU) for layer in given.layers.values())
    run = RunState(L, D, replace(SMALL, nonlinearity="jumprelu"))
    run.fit_scales([batches[0]])
    begin_with(run, given)
    for layer in finished(run, subject, None).layers.values():
        assert isinstance(layer.nonlinearity, JumpReLU)
    thresholds = torch.stack([own.threshold for own in run.layers if own.threshold is not None])
    torch.testing.assert_close(thresholds, torch.full((L, SMALL.features), 0.03))


def test_features_that_were_lacking_are_revived(subject: Subject, documents: Documents, tmp_path: Path) -> None:
    config = replace(SMALL, steps=40)
    list(train_dictionary(subject, documents, replace(config, features=24), tmp_path / "a", buffer=BUFFER))
    start = Dictionary.load(tmp_path / "a" / "dictionary")
    list(train_dictionary(subject, documents, config, tmp_path / "b", start=start, buffer=BUFFER))
    grown = Dictionary.load(tmp_path / "b" / "dictionary")
    assert sum(grown.d_features(i) for i in range(L)) > sum(start.d_features(i) for i in range(L))
    assert grown.provenance["start"]["fingerprint"] == start.fingerprint


def test_a_run_that_began_with_a_dictionary_resumes_to_the_same_bits(
    subject: Subject, documents: Documents, batches: list[Batch], tmp_path: Path
) -> None:
    config = replace(SMALL, steps=20, nonlinearity="jumprelu")
    start = some_dictionary(subject, batches[0])
    plain: dict[str, Any] = {"start": start, "buffer": BUFFER, "report_every": 1}
    list(train_dictionary(subject, documents, config, tmp_path / "whole", **plain))
    stops = iter([False] * 11 + [True])
    list(train_dictionary(subject, documents, config, tmp_path / "cut", stop=lambda: next(stops), **plain))
    assert not (tmp_path / "cut" / "dictionary").exists()
    list(train_dictionary(subject, documents, config, tmp_path / "cut", resume=True, **plain))
    one, two = (Dictionary.load(tmp_path / name / "dictionary") for name in ("whole", "cut"))
    assert one.fingerprint == two.fingerprint
    again = stopped_run(tmp_path, subject, documents, config, plain)
    assert again.d_features(0) == config.features
    cold = conclude(_fresh(config, batches), subject, iter([]))
    assert one.fingerprint != cold.fingerprint


def stopped_run(folder: Path, subject: Subject, documents: Documents, config, plain) -> Dictionary:
    """What a run that was stopped can be begun with."""
    stops = iter([False] * 4 + [True])
    list(train_dictionary(subject, documents, config, folder / "early", stop=lambda: next(stops), **plain))
    return stopped(folder / "early", subject)


def _fresh(config, batches: list[Batch]) -> RunState:
    run = RunState(L, D, config)
    run.fit_scales([batches[0]])
    return run


@pytest.mark.parametrize(
    ("theirs", "mine", "words"),
    [
        ({"kind": "plt"}, {}, "a plt from mlp_in"),
        ({}, {"kind": "sae"}, "but the run's is a sae from resid_post"),
        ({"reach": 2}, {}, "to [0, 1], the run to [0, 1, 2]"),
        ({"features": 64}, {"features": 32}, "--features 64"),
        ({"features": (64, 20, 20)}, {"features": (64, 20, 19)}, "20 features in layer 2"),
        ({"skip": True}, {}, "--skip"),
    ],
)
def test_a_dictionary_that_does_not_fit_the_run_is_refused(
    subject: Subject, batches: list[Batch], theirs: dict[str, object], mine: dict[str, object], words: str
) -> None:
    given = some_dictionary(subject, batches[0], **theirs)
    with pytest.raises(MismatchError) as caught:
        check_start(replace(SMALL, **mine), given, L, D)  # type: ignore[arg-type]
    assert words in str(caught.value)
