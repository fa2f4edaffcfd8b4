"""Features that carry what stands in a slot: planted ones are found, and what is drawn beside them is matched."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clew.intervention.edit import Edit
from clew.intervention.matched_sets import NEAREST
from clew.kit import Kit
from clew.studies.carriers import SlotMeans, ablations, slot_means
from clew.studies.slots import Template, last_positions
from tests import models


def means_of(mean, layer=None):
    n = mean.shape[1]
    return SlotMeans(
        values=tuple("abc"[: len(mean)]),
        mean=mean,
        layer=torch.zeros(n, dtype=torch.long) if layer is None else layer,
        index=torch.arange(n),
    )


def test_a_planted_carrier_is_found_and_a_feature_that_always_fires_is_not():
    mean = torch.ones(3, 6) * torch.tensor([9.0, 0, 0, 0, 1, 1])  # feature 0 fires most, whatever the value
    mean[0, 1], mean[1, 2], mean[2, 3] = 3.0, 4.0, 5.0
    means = means_of(mean)
    assert means.strongest(1).flatten().tolist() == [1, 2, 3]
    assert str(means.feature(2)) == "L0/2"
    assert means.strongest(99).shape == (3, 6)


def test_without_an_effect_no_feature_exceeds_its_mean():
    assert float(means_of(torch.rand(1, 6).expand(3, 6)).excess.abs().max()) < 1e-6


@given(st.integers(0, 200), st.integers(1, 8))
def test_matched_features_are_active_of_the_same_layers_and_none_of_those_under_test(seed, count):
    generator = torch.Generator().manual_seed(seed)
    mean = torch.rand(3, 30, generator=generator) * (torch.rand(3, 30, generator=generator) > 0.3)
    layer = torch.randint(3, (30,), generator=generator)
    means = means_of(mean, layer)
    chosen = means.strongest(count)
    for row, (tested, drawn) in enumerate(zip(chosen, means.matched(chosen, generator), strict=True)):
        assert len(drawn) <= count
        assert len({*drawn.tolist()}) == len(drawn)
        assert not {*drawn.tolist()} & {*tested.tolist()}
        assert bool((mean[row, drawn] > 0).all())
        for one in range(3):
            free = int(((mean[row] > 0) & (layer == one)).sum()) - int(((mean[row] > 0) & (layer == one))[tested].sum())
            wanted = min(free, int((layer[tested] == one).sum()))
            assert int((layer[drawn] == one).sum()) == wanted


def test_a_matched_feature_is_one_of_the_nearest_in_size():
    mean = torch.arange(1.0, 21.0)[None].repeat(2, 1)
    mean[0, 9] = 30.0  # carries the first value
    means = means_of(mean)
    generator = torch.Generator().manual_seed(0)
    drawn = {int(means.matched(torch.tensor([[9], [0]]), generator)[0][0]) for _ in range(200)}
    assert drawn == {*range(20 - NEAREST, 20)}


def test_slot_means_are_those_of_a_plain_loop():
    from clew.subject.subject import Subject

    subject = Subject(models.model("gpt2", torch.float32, vocab_size=257), models.byte_tokenizer(), "bytes")
    kit = Kit(subject, models.dictionary("clt", subject, dtype=torch.float32), name="tiny")
    template = Template("{name}: {word}.")
    prompts = [template.fill(subject, {"name": name, "word": word}) for name in ("Al", "Bob") for word in ("x", "yz")]
    for at in ("word", None):
        means = slot_means(kit, prompts, "word", at)
        ids = [list(prompt.token_ids) for prompt in prompts]
        read = [*kit.activations(ids, positions=last_positions(prompts, at).tolist())]
        seen = {
            (layer, i) for each in read for layer, row in each.layers.items() for i in row[0].nonzero()[:, 0].tolist()
        }
        assert {*zip(means.layer.tolist(), means.index.tolist(), strict=True)} == seen
        for column in range(0, means.mean.shape[1], 7):
            layer, index = int(means.layer[column]), int(means.index[column])
            length = float(kit.dictionary.decoder_rows(layer, torch.tensor([index])).norm())
            for row, word in enumerate(means.values):
                own = [
                    float(read[i].layers[layer][0, index]) for i, p in enumerate(prompts) if p.values["word"] == word
                ]
                assert float(means.mean[row, column]) == pytest.approx(sum(own) / len(own) * length, abs=1e-4)


def test_ablations_are_edits_at_one_position():
    means = means_of(torch.rand(2, 4))
    assert ablations([means.feature(1)], 5) == [Edit.ablate("L0/1", positions=5)]
