"""A dictionary of some layers: the MLPs of the others stay whole, as errors, and everything still adds up."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import clew
from clew.attribution.local_model import LocalModel
from clew.attribution.trace import trace
from clew.dictionary import Dictionary
from clew.dictionary.origin import AT_LEAST
from clew.errors import MismatchError
from clew.intervention.edit import Edit
from clew.subject.subject import Subject
from tests import models
from tests.attribution.test_trace import assert_identity
from tests.models import PROMPT

SETS = ((1,), (0, 2), (0, 1))


def partial(dictionary: Dictionary, layers: tuple[int, ...]) -> Dictionary:
    """Some of its layers, of a model whose depth is not known, as a published folder gives them."""
    return replace(
        dictionary,
        layers={i: dictionary.layers[i] for i in layers},
        writes={i: dictionary.writes[i] for i in layers},
        n_layers=max(layers) + 1,
        provenance={AT_LEAST: True},
    )


@pytest.fixture(scope="module", params=["gpt2", "llama", "gemma2", "neox"])
def subject(request: pytest.FixtureRequest) -> Subject:
    return models.subject(request.param)


@pytest.mark.parametrize("layers", SETS)
@pytest.mark.parametrize("kind", ["plt", "skip-plt"])
def test_rows_add_up_and_the_error_of_a_missing_layer_is_its_whole_output(
    subject: Subject, kind: str, layers: tuple[int, ...]
) -> None:
    dictionary = partial(models.dictionary(kind, subject), layers)
    graph = trace(subject, dictionary, PROMPT, effects=True)
    assert_identity(graph)
    assert set(graph.feature_keys[:, 0].tolist()) == set(layers)
    model = LocalModel.record(subject, dictionary, torch.tensor(PROMPT), first_position=1)
    outputs = {i: model.recording.sites["mlp_out", i] for i in range(subject.n_layers)}
    for i in range(subject.n_layers):
        whole = bool(torch.equal(model.errors[i, 1:], outputs[i][1:]))
        assert whole == (i not in layers)
        assert set(graph.error_keys[graph.error_keys[:, 0] == i, 1].tolist()) == set(range(1, len(PROMPT)))


def test_what_is_done_with_a_whole_dictionary_is_done_with_a_partial_one(tmp_path: Path) -> None:
    subject = models.subject("llama", torch.float32)
    kit = clew.Kit(subject, partial(models.dictionary("plt", subject, dtype=torch.float32), (1,)))
    graph = kit.trace(PROMPT, effects=True)
    graph.save(tmp_path / "x.graph")
    assert torch.equal(clew.Graph.load(tmp_path / "x.graph").rows, graph.rows)
    assert kit.audit(graph, nodes=3).provenance is not None
    node = graph.feature_keys[0].tolist()
    effect = kit.edit(PROMPT, [Edit.ablate(f"L{node[0]}/{node[2]}@{node[1]}")])
    assert effect.before is not None
    kit.dictionary.save(tmp_path / "d")
    again = Dictionary.load(tmp_path / "d")
    again.check_fits(subject)
    assert again.provenance[AT_LEAST]


def test_one_that_reaches_deeper_than_the_model_is_refused() -> None:
    subject = models.subject("llama")
    dictionary = replace(partial(models.dictionary("plt", subject), (1,)), n_layers=4)
    with pytest.raises(MismatchError, match="layers 4 against 3"):
        dictionary.check_fits(subject)
    known = replace(partial(models.dictionary("plt", subject), (1,)), provenance={})
    with pytest.raises(MismatchError, match="layers 2 against 3"):
        known.check_fits(subject)
