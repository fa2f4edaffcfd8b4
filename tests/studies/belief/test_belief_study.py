"""The study of beliefs: a belief that is planted is found, one that is not there is not, and mistakes are told."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

import clew
from clew.errors import InputError
from clew.ids import FeatureId
from clew.kit import Kit
from clew.studies.belief.claims import BeliefMeasured, claims_of
from clew.studies.belief.features import TellingFeatures, telling_features
from clew.studies.belief.processes import rrxor, weather
from clew.studies.belief.regression import Errors, fit, share_left
from clew.studies.belief.sequences import lacking, sequences, small_task
from clew.studies.belief.steering import Shifts, pairs_of, steer
from clew.studies.belief.streams import StreamReadings, read_streams
from clew.studies.belief.study import BELIEF, BeliefConfig
from clew.studies.case import Case
from clew.studies.small_model import train_small
from tests import models
from tests.workbench import minnow

SMALL = BeliefConfig(process="mess3", sequences=40, draws=2, cases=12, features=4)


def finished(steps):
    """What a part returns."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


@cache
def asked(process="mess3", count=60):
    made = {"mess3": weather, "rrxor": rrxor}[process]()
    return sequences(minnow(), made, count=count, length=16, last=10, seed=0)


@cache
def result():
    return BELIEF.run(minnow(), config=SMALL)


def planted(strength, noise=0.02, process="mess3"):
    """A case of invented streams and features: they hold the exact belief, or nothing but the history."""
    given, generator = asked(process), np.random.default_rng(1)
    rows, held = given.rows, given.held_out
    wanted = given.process.next_symbols(rows)

    def errors(columns, to=rows):
        return Errors.between(fit(columns[given.fit], to[given.fit])(columns[held]), to[held], given.length)

    def noisy(share):
        hidden = share * (rows + noise * generator.standard_normal(rows.shape))
        return np.concatenate([given.history, hidden @ generator.standard_normal((rows.shape[1], 12))], 1)

    columns = strength * rows @ np.abs(generator.standard_normal((rows.shape[1], 4)))
    columns = columns + noise * generator.standard_normal(columns.shape)
    others = generator.standard_normal((len(rows), 8))
    total = np.tile(rows[given.fit].mean(0), (held.stop - held.start, 1))
    named = {"history": errors(given.history), "total": Errors.between(total, rows[held], given.length)}
    named |= {
        "history and stream": errors(noisy(strength)),
        "pairs": named["history"],
        "stream": errors(noisy(strength)),
    }
    named |= {"shuffled": errors(noisy(0.0))}
    shown = dict.fromkeys(("exact", "stream", "history", "shuffled"), rows[held][:200])
    moved = wanted[:30] - wanted[30:60]
    none = {
        f"{head}.{draw}": 0.05 * generator.standard_normal(moved.shape)
        for head in ("random", "matched")
        for draw in (0, 1)
    }
    return BeliefMeasured(
        asked=given,
        readings=StreamReadings(
            layer=0,
            layer_r2=np.array([0.9, 0.8]),
            errors=named,
            nulls=tuple(errors(noisy(0.0)) for _ in range(3)),
            shown=shown,
            slopes=torch.zeros(2, rows.shape[1], 8),
        ),
        telling=TellingFeatures(
            ids=tuple(FeatureId(0, index) for index in range(12)),
            columns=np.concatenate([columns, others], 1),
            size=np.ones(12),
            norms=np.ones(12),
            alone=np.ones(12) / 12,
            sets=np.array([[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, -1]]),
        ),
        shuffled=(others[:, :4],),
        shifts=Shifts(
            wanted=moved,
            measured={"stream.0": strength * moved, "stream.1": moved, "features": 0.7 * strength * moved, **none},
            written={"features": 1.0, "matched.0": 1.0, "matched.1": 1.0},
        ),
    )


@pytest.mark.parametrize("process", ["mess3", "rrxor"])
def test_a_belief_that_is_planted_is_found_in_stream_features_mixture_and_steering(process):
    assert [claim.verdict for claim in claims_of(planted(1.0, process=process))] == ["holds"] * 5


@pytest.mark.parametrize("process", ["mess3", "rrxor"])
def test_where_nothing_but_the_history_is_held_no_claim_holds(process):
    claims = claims_of(planted(0.0, process=process))
    assert [claim.verdict for claim in claims] == ["fails"] * 5
    assert all(claim.effect for claim in claims)


def test_tiles_of_the_simplex_are_no_mixture():
    measured = planted(1.0)
    rows = measured.asked.rows
    centres = rows[:: len(rows) // 4][:4]
    tiles = np.eye(4)[np.square(rows[:, None] - centres[None]).sum(2).argmin(1)]
    columns = np.concatenate([tiles, measured.telling.columns[:, 4:]], 1)
    tiled = replace(measured, telling=replace(measured.telling, columns=columns))
    assert claims_of(tiled)[2].verdict == "fails"


def test_the_increment_is_nothing_for_columns_that_the_history_has():
    given = asked()
    held, length = given.held_out, given.length
    errors = []
    for columns in (given.history, np.concatenate([given.history, given.history[:, 3:5]], 1)):
        read = fit(columns[given.fit], given.rows[given.fit])(columns[held])
        errors.append(Errors.between(read, given.rows[held], length))
    assert share_left(*errors).value == pytest.approx(0, abs=1e-6)


def test_least_squares_are_those_of_numpy():
    generator = np.random.default_rng(0)
    columns, wanted = generator.standard_normal((200, 5)), generator.standard_normal((200, 2))
    with_one = np.concatenate([np.ones((200, 1)), columns], 1)
    exact = with_one @ np.linalg.lstsq(with_one, wanted, rcond=None)[0]
    assert fit(columns, wanted)(columns) == pytest.approx(exact, abs=1e-5)


def test_features_by_themselves_tell_what_a_plain_regression_says():
    given = asked()
    telling = TellingFeatures.of(finished(telling_features(given, 3, 2, 0)))
    rows = given.fit
    chosen = telling.members(0)

    def left(columns):
        read = columns @ np.linalg.lstsq(columns, given.rows[rows], rcond=None)[0]
        return np.square(read - given.rows[rows]).sum()

    history = given.history[rows]
    for place in chosen:
        both = np.concatenate([history, telling.columns[rows, place][:, None]], 1)
        assert telling.alone[place] == pytest.approx(1 - left(both) / left(history), rel=1e-3)
    assert telling.alone[chosen[0]] == max(telling.alone)


def test_matched_features_are_others_of_the_same_layers():
    telling = TellingFeatures.of(finished(telling_features(asked(), 6, 3, 0)))
    chosen = telling.members(0)
    for number in range(1, 4):
        matched = telling.members(number)
        assert len({*matched}) == len(matched)
        assert not {*matched} & {*chosen}
        for own, other in zip(telling.sets[0], telling.sets[number], strict=True):
            assert other < 0 or telling.ids[own].layer == telling.ids[other].layer


def test_partners_end_in_the_same_symbol_and_are_other_sequences():
    given = asked()
    pairs = pairs_of(given, 20, 0)
    symbols = given.symbols.reshape(-1)
    assert (symbols[pairs.own] == symbols[pairs.other]).all()
    assert (pairs.own // given.length != pairs.other // given.length).all()
    assert pairs.own.min() >= given.held_out.start


def test_a_move_of_nothing_shifts_nothing_and_the_partners_own_features_are_put_in():
    given = asked(count=24)
    telling = TellingFeatures.of(finished(telling_features(given, 4, 1, 0)))
    readings = StreamReadings.of(finished(read_streams(given, 1, 0)))
    still = replace(readings, slopes=torch.zeros_like(readings.slopes))
    part = finished(steer(given, still, telling, cases=4, seed=0))
    shifts = Shifts.of(part)
    assert np.abs(shifts.measured["stream.0"]).max() < 1e-5
    assert np.abs(shifts.measured["features"]).max() > 1e-4
    assert shifts.share("stream.0").value == pytest.approx(0, abs=1e-3)


def test_minnow_keeps_the_belief_of_the_weather_and_shuffled_weights_do_not():
    stream, steered = result().claims[0], result().claims[3]
    assert (stream.verdict, steered.verdict) == ("holds", "holds")
    assert result().false_effects == ()
    rows = result().tables["readings"].rows()
    r2 = {name: value for _, name, value, *_ in rows}
    assert 0.97 < r2["the last 10 symbols"] < r2["symbols and stream"]
    assert r2["stream, shuffled weights"] < r2["stream"]


def test_a_small_model_learns_and_goes_on_where_it_stopped(tmp_path):
    task = small_task(rrxor(), 12)

    def trained(folder, steps):
        case = Case(kit=minnow(), config=None, folder=folder)
        *_, kit = train_small(case, task, steps=steps, seed=0)
        return kit

    whole = trained(None, 40)
    weights = whole.subject.model.state_dict()
    losses = []
    ids = torch.from_numpy(task.draw(np.random.default_rng(5)))
    for kit in (trained(None, 0), whole):
        with torch.no_grad():
            logits = kit.subject.logits(ids[:, :-1])
        losses.append(float(torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())))
    assert losses[1] < losses[0] - 0.2
    trained(tmp_path, 40)
    again = trained(tmp_path, 40).subject.model.state_dict()
    assert all(torch.equal(weights[name], again[name]) for name in weights)


def test_a_kit_that_cannot_read_the_weather_is_told_what_is_needed():
    kit = Kit(clew.Subject(models.model("gpt2", torch.float32, vocab_size=257), models.byte_tokenizer(), "bytes"))
    with pytest.raises(
        InputError, match=r"cannot answer belief: the weather's words must be one token each, and 'sun'"
    ):
        BELIEF.run(kit)
    with pytest.raises(InputError, match="came without a tokenizer"):
        BELIEF.run(Kit(clew.Subject(kit.subject.model, None, "ids")))
    assert BELIEF.needs(kit, BeliefConfig(process="rrxor")) == ""
    assert "give fewer days" in lacking(minnow(), 500)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"process": "coin"}, "process 'coin': choose from both, mess3, rrxor"),
        ({"sequences": 2}, "sequences is 2: give 20 to 20000"),
        ({"draws": 1}, "draws is 1"),
        ({"length": 4}, "length is 4"),
    ],
)
def test_mistakes_in_settings_are_told(options, words):
    with pytest.raises(InputError, match=words):
        BELIEF.run(minnow(), **options)
