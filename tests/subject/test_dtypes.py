"""What can be traced can be edited, generated from and audited, in every dtype that a model is loaded in."""

import pytest
import torch

import clew
from clew.intervention.edit import Edit
from clew.kit import Kit
from clew.subject.frozen import freeze
from tests import models
from tests.models import PROMPT

HALVES = (torch.bfloat16, torch.float16)
TOLERANCE = {torch.bfloat16: 0.06, torch.float16: 0.01, torch.float64: 1e-4}
"""How far probabilities may lie from those in float32; rounding alone moves them so far in these models."""


def kit(architecture: str, kind: str, dtype: torch.dtype) -> Kit:
    """The same weights in each dtype, and one dictionary."""
    rounded = models.model(architecture, torch.float32).to(torch.bfloat16)
    subject = clew.Subject.load(rounded, models.tokenizer(), dtype=dtype)
    return Kit(subject, models.dictionary(kind, subject, dtype=torch.float32))


@models.in_turn("architecture", ("gpt2", "gemma2", "llama"), "dtype", TOLERANCE, times=2)
def test_a_kit_in_another_dtype_says_what_it_says_in_float32(architecture: str, dtype: torch.dtype) -> None:
    kind = {"gpt2": "skip-clt", "gemma2": "plt", "llama": "skip-plt"}[architecture]
    exact, other = kit(architecture, kind, torch.float32), kit(architecture, kind, dtype)
    graph = other.trace(PROMPT)
    layer, position, index = graph.feature_keys[int(graph.activations.argmax())].tolist()
    edits = [Edit.ablate(f"L{layer}/{index}@{position}")]
    for predict in ("direct", "frozen", "effects"):
        expected, effect = (each.edit(PROMPT, edits, predict=predict) for each in (exact, other))
        for name in ("before", "predicted", "measured"):
            probabilities = (getattr(side, name).probabilities[-1].float() for side in (effect, expected))
            difference = float((next(probabilities) - next(probabilities)).abs().max())
            assert difference < TOLERANCE[dtype], (predict, name)
    steps = list(other.generate(PROMPT, edits, tokens=2))
    assert [int(step.token_id) for step in steps] == [
        int(step.token_id) for step in exact.generate(PROMPT, edits, tokens=2)
    ]
    audit, reference = other.audit(graph, nodes=2), exact.audit(exact.trace(PROMPT), nodes=2)
    assert audit.lines.keys() == reference.lines.keys()
    assert torch.isfinite(audit.pairs).all()


@pytest.mark.parametrize("dtype", HALVES)
def test_frozen_parts_in_half_precision_give_back_the_run_that_they_are_of(dtype: torch.dtype) -> None:
    subject = kit("gpt2", "plt", dtype).subject
    recording = subject.record(PROMPT)
    frozen = freeze(subject, recording)
    with torch.no_grad():
        final = subject.run(recording.ids[None], frozen=frozen).final[0].float()
    scale = float(recording.final.abs().max())
    assert float((final - recording.final).abs().max()) < (0.05 if dtype == torch.bfloat16 else 0.006) * scale
