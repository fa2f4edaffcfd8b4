"""A planted cause is what is told of, and where nothing was planted or learned nothing is."""

import numpy as np
import pytest

from clew.errors import FileError, InputError
from clew.stats import null_range, wilson
from clew.timeseries.mechanisms import (
    SeriesTransformer,
    draw,
    explain_decision,
    patch_heads,
    patch_roles,
    planted_bumps,
    read_series,
    resampled,
    token_totals,
    train,
    write_drawing,
)
from tests.timeseries.mechanisms.conftest import SIZES


@pytest.fixture(scope="module")
def untrained(one_cause):
    _, cases = one_cause
    transformer = train(cases.series, cases.labels, layers=2, epochs=0, **SIZES)
    return read_series(transformer, cases.series, cases.labels)


def strongest(cases, n):
    """The channel and patch that make most of the class said, in each of some cases."""
    found = []
    for case in range(n):
        graph = cases.trace(case, effects=False)
        totals = token_totals(graph)[0][1:-1]
        patches = cases.points(graph).reshape(cases.transformer.n_channels, -1, cases.transformer.patch).sum(2)
        found.append((int(np.abs(patches).sum(1).argmax()), int(totals.argmax())))
    return found


def test_the_planted_cause_is_the_strongest_patch_and_channel(one_cause, untrained):
    planted, cases = one_cause
    cause = (planted.channel, planted.times[0].start // 6)
    right = wilson(sum(each == cause for each in strongest(cases, 16)), 16)
    null = wilson(sum(each == cause for each in strongest(untrained, 16)), 16)
    assert right.low > 0.7
    assert null.high < 0.5
    (role,) = [role for role in patch_roles(cases, cases.trace(0)) if role.decides]
    assert (role.name, role.place) == ("t6-11", cause[1])
    assert role.fall.low > role.null.high


def test_heads_are_found_with_false_discovery_control_and_none_where_nothing_was_learned(one_cause, untrained):
    _, cases = one_cause
    patched = patch_heads(cases, pairs=80)
    assert 1 <= len(patched.carriers) <= 8
    assert all(head.change.value > head.null.value for head in patched.carriers)
    assert patched.mean.low > 0
    assert patched.sentence.startswith(f"{len(patched.carriers)} of 8 heads")
    corrupted = patch_heads(cases, pairs=80, noise=3.0)
    assert corrupted.before.high < 0.5  # noise turned every one of them
    assert max(corrupted.heads, key=lambda head: head.change.value).carries
    nothing = patch_heads(untrained, pairs=80)
    assert max(abs(head.change.value) for head in nothing.heads) < 0.01
    assert nothing.mean.high < patched.mean.low
    assert nothing.sentence.startswith("cannot say: ")


def test_a_pairs_null_is_as_far_as_its_change_where_classes_were_drawn_apart():
    planted = planted_bumps(200, causes=1, seed=3, absent=True)
    transformer = train(planted.series, planted.labels, layers=2, epochs=4, **SIZES)
    fresh = planted_bumps(200, causes=1, seed=4, absent=True)
    patched = patch_heads(read_series(transformer, fresh.series, fresh.labels))
    assert not patched.tells
    assert len(patched.carriers) == 0


def test_the_circuit_of_a_decision_is_made_of_the_planted_causes_and_holds(two_causes):
    planted, cases = two_causes
    names = {f"t{times.start}-{times.stop - 1}" for times in planted.times}
    decisions = [explain_decision(cases, case, draws=3) for case in range(10)]
    assert {patch.name for decision in decisions for patch in decision.deciding} == names
    told = [decision for decision in decisions if decision.circuit.nothing < 0.3]
    assert told  # one layer's attention cannot tell them all
    holding = [decision for decision in told if decision.verdict == "holds"]
    assert 2 * len(holding) >= len(told), [decision.sentence for decision in told]
    for decision in holding:
        assert {patch.name for patch in decision.deciding} == names
        largest = max(decision.circuit.groups, key=lambda group: group.necessity)
        assert set(largest.words) == names
        assert decision.circuit.without < 0.5 < decision.circuit.alone
        assert null_range(decision.random_without.probabilities).low > 0.8
        assert max(decision.random_alone) < 0.5
    default = next(decision for decision in decisions if decision.circuit.nothing > 0.9)
    assert default.verdict == "cannot say"
    assert "with every feature ablated" in default.sentence


def test_an_untrained_model_says_cannot_say_and_so_does_one_without_classes(untrained, one_cause):
    decision = explain_decision(untrained, 0, draws=2)
    assert decision.verdict == "cannot say"
    assert "with permuted classes" in decision.because
    assert not decision.deciding
    _, cases = one_cause
    unknown = read_series(cases.transformer, cases.series[:20])
    assert explain_decision(unknown, 0, draws=2).verdict == "cannot say"
    with pytest.raises(InputError, match="labels"):
        patch_heads(unknown)


def test_a_drawing_is_written_as_png_and_svg_and_is_the_same_each_time(two_causes, tmp_path):
    _, cases = two_causes
    decision = explain_decision(cases, 0, draws=2)
    figure, again = draw(cases, decision), draw(cases, decision)
    shaded = [patch for axes in figure.axes[1:3] for patch in axes.patches]
    assert len(shaded) == 2 * cases.transformer.n_patches
    assert decision.graph.targets[0].label in figure.get_suptitle()
    write_drawing(tmp_path / "a.svg", figure)
    write_drawing(tmp_path / "b.svg", again)
    write_drawing(tmp_path / "a.png", figure)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    with pytest.raises(InputError, match="neither in"):
        write_drawing(tmp_path / "a.pdf", figure)


def test_a_transformer_comes_back_from_its_file_and_trains_alike_from_a_seed(one_cause, tmp_path):
    _, cases = one_cause
    cases.transformer.save(tmp_path / "t.safetensors")
    again = SeriesTransformer.load(tmp_path / "t.safetensors")
    assert repr(again) == repr(cases.transformer)
    np.testing.assert_array_equal(again.probabilities(cases.series), cases.transformer.probabilities(cases.series))
    (tmp_path / "short.safetensors").write_bytes((tmp_path / "t.safetensors").read_bytes()[:500])
    with pytest.raises(FileError):
        SeriesTransformer.load(tmp_path / "short.safetensors")
    few = cases.series[:40], cases.labels[:40]
    first, second, other = (train(*few, epochs=1, layers=1, seed=seed, **SIZES) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.probabilities(few[0]), second.probabilities(few[0]))
    assert not np.array_equal(first.probabilities(few[0]), other.probabilities(few[0]))


def test_a_last_patch_may_be_short_and_a_channel_constant():
    planted = planted_bumps(40, causes=1)
    series = planted.series.copy()
    series[:, 0] = 7.0
    transformer = train(series, planted.labels, epochs=1, layers=1, heads=2, width=8, patch=7)
    cases = read_series(transformer, series, planted.labels)
    graph = cases.trace(0)
    assert graph.tokens[-2] == "t35"
    points = cases.points(graph)
    assert points.shape == (2, 36)
    assert not points[0].any()  # what never differs from its mean makes nothing of the class


def test_series_of_unequal_lengths_are_brought_to_one():
    rising = [np.arange(5.0)[None], np.arange(9.0)[None] / 2]
    np.testing.assert_allclose(resampled(rising, 3), [[[0, 2, 4]], [[0, 2, 4]]])
    with pytest.raises(InputError, match="at least 2"):
        resampled(rising, 1)
