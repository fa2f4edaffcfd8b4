"""Coarser weights are what they are said to be, and outcomes that are planted or absent are told apart."""

import pytest
import torch

from clew.errors import InputError
from clew.kit import Kit
from clew.studies.compression.claims import CompressionMeasures, claims_of
from clew.studies.compression.study import COMPRESSION, CompressionConfig
from clew.studies.compression.weights import coded, matrices, noisy, rounded, shuffled, tuned, with_weights
from tests import models


def generator():
    return torch.Generator().manual_seed(0)


WEIGHT = torch.randn(16, 24, generator=generator())


@pytest.mark.parametrize("bits", [8, 4, 3])
def test_rounding_errs_by_half_a_level_at_most_and_again_changes_nothing(bits):
    once = rounded(WEIGHT, bits)
    level = WEIGHT.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)
    assert bool(((once - WEIGHT).abs() <= level / 2 * 1.0001).all())
    assert all(len(row.unique()) <= 2**bits - 1 for row in once)
    torch.testing.assert_close(rounded(once, bits), once)


def test_noise_is_as_long_as_the_error():
    error = rounded(WEIGHT, 3) - WEIGHT
    assert float((noisy(WEIGHT, error, generator()) - WEIGHT).norm()) == pytest.approx(float(error.norm()), rel=1e-4)


def test_a_shuffle_keeps_the_entries():
    mixed = shuffled(WEIGHT, generator())
    assert not torch.equal(mixed, WEIGHT)
    assert torch.equal(mixed.flatten().sort().values, WEIGHT.flatten().sort().values)


def test_a_codebook_holds_weights_that_are_sums_of_few_entries():
    few = torch.randint(2, (16, 6, 1), generator=generator()).expand(16, 6, 4).reshape(16, 24) * 2.0 - 1
    torch.testing.assert_close(coded(few, 3, generator()).weight(), few)
    ragged = WEIGHT[:, :22]
    assert coded(ragged, 3, generator()).weight().shape == ragged.shape


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_matrices_are_rows_of_outputs_and_put_back_they_change_nothing(architecture):
    subject = models.subject(architecture, torch.float32)
    weights = matrices(subject)
    assert not any("embed" in name or "wte" in name or "head" in name for name in weights)
    ids = torch.tensor([models.PROMPT])
    same = with_weights(subject, weights, "same")
    assert torch.equal(same.logits(ids), subject.logits(ids))
    coarse = with_weights(subject, {name: rounded(each, 3) for name, each in weights.items()}, "int3")
    assert not torch.equal(coarse.logits(ids), subject.logits(ids))


def test_tuning_brings_the_model_nearer():
    subject = models.subject("gpt2", torch.float32)
    books = {name: coded(each, 2, generator()) for name, each in matrices(subject).items()}
    ids = torch.tensor([models.PROMPT])
    said = subject.logits(ids).log_softmax(-1)

    def divergence(weights):
        says = with_weights(subject, weights, "coded").logits(ids).log_softmax(-1)
        return float((said.exp() * (said - says)).sum())

    before = divergence({name: each.weight() for name, each in books.items()})
    assert divergence(tuned(subject, books, [models.PROMPT], 30)) < before


def measured(*, planted):
    """Models in which almost all is left, but for shuffled ones; or in which as little is left as in these."""
    n, made = 40, generator()
    predicted = torch.rand(4, 10, generator=made)
    ways = {"round.8": (0.999, 0.001), "round.4": (0.98, 0.01), "round.3": (0.95, 0.3), "codebook.3": (0.97, 0.1)}
    found = {"predicted": predicted}
    for way, (shared, divergence) in ways.items():
        for name in (way, f"noise.{way}.0", f"noise.{way}.1"):
            left = planted or name.startswith("noise")
            row = torch.tensor([shared, shared, 1.0, divergence] if left else [0.2, 0.1, 0.0, 5.0])
            found[f"prompts/{name}"] = row + 0.001 * torch.rand(n, 1, generator=made) * torch.tensor([1, 1, 0, 1])
    for draw in range(3):
        found[f"prompts/shuffle.{draw}"] = torch.tensor([0.2, 0.1, 0.0, 5.0]).repeat(n, 1) + 0.001 * draw
    found["losses/round.4"] = predicted if planted else torch.rand(4, 10, generator=made)
    return CompressionMeasures(found=found, bits=(8, 4, 3), codebook="codebook.3", prompts=n, seed=0)


def test_planted_outcomes_hold():
    assert [claim.verdict for claim in claims_of(measured(planted=True))] == ["holds"] * 8


def test_where_nothing_is_left_no_effect_holds():
    assert not [claim.text for claim in claims_of(measured(planted=False)) if claim.verdict == "holds"]


def test_a_kit_that_cannot_answer_is_told_what_it_lacks():
    silent = Kit(models.subject("gpt2", torch.float32, with_tokenizer=False), name="silent")
    with pytest.raises(InputError, match="silent cannot answer compression: its model has no tokenizer"):
        COMPRESSION.run(silent)
    with pytest.raises(InputError, match="4 prompts are given: give at least 6"):
        CompressionConfig(texts=("a", "b", "c", "d"))
