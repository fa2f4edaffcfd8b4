"""Every tensor is made on the device of what it works on: with another default device, nothing lands there.

The default device is `meta`, whose tensors hold no values: the first operation that mixes them with real ones fails.
"""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from clew.subject.frozen import freeze
from clew.subject.subject import Subject
from tests import models
from tests.models import ARCHITECTURES, PROMPT
from tests.subject.test_subject import SITES


@pytest.fixture(params=ARCHITECTURES)
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    built = models.subject(request.param)
    with torch.device("meta"):
        yield built


def assert_real(*tensors: Tensor) -> None:
    assert {tensor.device.type for tensor in tensors} == {"cpu"}


def test_a_recording_lies_on_the_models_device(subject: Subject) -> None:
    recording = subject.record(PROMPT)
    assert_real(recording.ids, recording.final, recording.logits, recording.probabilities, *recording.sites.values())
    for step in recording.steps:
        assert_real(recording.ids, *(value for value in vars(step).values() if isinstance(value, Tensor)))


def test_runs_stay_on_the_models_device(subject: Subject) -> None:
    ids = subject.encode("w5 w8 w3")[None]
    assert_real(ids, subject.logits(ids), *subject.capture(ids, SITES).values())
    run = subject.run(ids, change={("mlp_out", 1): lambda value, seen: value * 2}, keep=[("mlp_in", 2)])
    assert_real(run.final, *run.kept.values(), subject.probabilities(subject.unembed(run.final)))
    frozen = freeze(subject, subject.record(ids))
    assert_real(subject.run(ids, frozen=frozen).final)
    assert_real(subject.replaced_logits(ids, lambda layer, x, real: real, read_site="mlp_in", write_site="mlp_out"))
