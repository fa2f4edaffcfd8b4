"""The study of action spaces: bandits, players whose arms are drawn anew, heads that copy, and the absent case."""

from functools import cache

import numpy as np
import pytest
import torch

from clew.errors import InputError
from clew.kit import Kit
from clew.studies.action_spaces.bandits import (
    draw_means,
    play,
    regret,
    thompson_histories,
    uniform_regret,
)
from clew.studies.action_spaces.claims import copied_for_pay
from clew.studies.action_spaces.config import ActionSpacesConfig
from clew.studies.action_spaces.copying import Copying, measured_copying, silencing, teacher_games
from clew.studies.action_spaces.players import BanditPlayer, orthogonal, token_ids
from clew.studies.action_spaces.study import ACTION_SPACES
from tests.workbench import minnow

SMALL = ActionSpacesConfig(
    steps=10, learned_steps=4, batch=8, trained=6, arms=(6, 9), horizon=20, games=40, histories=16
)


@cache
def result():
    return ACTION_SPACES.run(minnow(), config=SMALL)


def generator(seed=0):
    return np.random.default_rng(seed)


def finished(steps):
    """What a part returns, its reports left aside."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def test_thompson_sampling_learns_and_a_random_player_has_the_regret_of_any_arm():
    means = draw_means(400, 10, generator())
    taught = regret(means, thompson_histories(means, 100, generator()).pulled).mean()
    any_arm = uniform_regret(means, 100).mean()
    drawn = play(
        means, 100, lambda pulled, paid: generator(pulled.sum()).integers(0, 10, 400), np.zeros(400, int), generator()
    )
    assert taught < any_arm / 2
    assert regret(means, drawn).mean() == pytest.approx(any_arm, rel=0.05)


def test_rewards_in_a_history_are_those_of_the_pulled_arm_and_shuffled_ones_are_not():
    means = np.tile([1.0, 0.0, 0.0, 0.0], (200, 1))
    plain, noisy, shuffled = (
        thompson_histories(means, 20, generator(), **options)
        for options in ({}, {"noise": True}, {"noise": True, "shuffled": True})
    )
    for histories in (plain, noisy):
        assert (histories.paid == (histories.pulled == 0)).all()
    assert (plain.pulled == plain.taught).all()
    assert (noisy.pulled == noisy.taught).mean() < 0.9
    assert shuffled.paid.mean() == pytest.approx(0.25, abs=0.03)
    assert np.corrcoef(shuffled.paid.ravel(), shuffled.pulled.ravel() == 0)[0, 1] == pytest.approx(0, abs=0.05)
    assert (shuffled.pulled == 0).mean() == pytest.approx(0.25, abs=0.03)


def test_a_greedy_player_sees_what_its_own_pulls_paid():
    means = np.tile([0.0, 1.0], (5, 1))
    seen = []
    play(
        means,
        4,
        lambda pulled, paid: (seen.append((pulled == 1) == paid), 1 - pulled)[1],
        np.zeros(5, int),
        generator(),
    )
    assert np.all(seen)


def test_embeddings_are_orthogonal_and_differ_in_every_game():
    rows = orthogonal(2, 50, torch.Generator().manual_seed(0))
    assert torch.allclose(rows @ rows.transpose(1, 2), torch.eye(50).expand(2, -1, -1), atol=1e-5)
    assert (rows[0] - rows[1]).norm() > 1


def game(player, arms=9):
    histories = thompson_histories(draw_means(3, arms, generator()), 20, generator())
    embeddings = player.arms(3, arms, torch.Generator().manual_seed(0), new=True)
    return player.table(embeddings), token_ids(histories)


def test_a_games_subject_says_what_the_player_says_and_its_graphs_add_up():
    player = BanditPlayer(SMALL, learned=False)
    table, ids = game(player)
    subject = player.subject(table[1])
    with torch.no_grad():
        logits = player.stream(table, ids)[1] @ table[1].T
    assert torch.allclose(subject.logits(ids[1:2])[0], logits, atol=1e-4)
    graph = Kit(subject).trace(ids[1].tolist(), targets=[0], leave_out_first=False, effects=False, max_features=64)
    target = graph.target_range[0]
    total = float(graph.inputs(target).sum() + graph.offsets[target].sum())
    assert total == pytest.approx(float(graph.targets[0].value), abs=1e-3)


def test_a_player_knows_an_arm_only_by_its_embedding():
    player = BanditPlayer(SMALL, learned=False)
    table, ids = game(player)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(1))
    renamed = torch.cat([table[:, :9][:, order], table[:, 9:18][:, order], table[:, 18:][:, order]], 1)
    names = order.argsort()
    new_ids = names[ids % 9] + ids // 9 * 9
    assert torch.allclose(player.stream(table, ids), player.stream(renamed, new_ids), atol=1e-5)


def test_learned_embeddings_of_new_arms_are_not_trained():
    player = BanditPlayer(SMALL, learned=True)
    first = player.arms(1, 6, torch.Generator(), new=False)[0]
    last = player.arms(1, 6, torch.Generator(), new=True)[0]
    assert torch.equal(first, player.numbered[:6])
    assert torch.equal(last, player.numbered[-6:])


def test_a_planted_copying_head_is_the_one_that_is_chosen():
    player = BanditPlayer(SMALL, learned=False)
    with torch.no_grad():
        for block in player.model.transformer.h:
            block.attn.c_proj.weight.zero_()
            block.attn.c_attn.weight[:, 128:] = torch.eye(64)
        player.model.transformer.h[1].attn.c_proj.weight[32:48] = torch.eye(64)[32:48]
    copying = Copying.of(finished(measured_copying(player, SMALL)), heads=1)
    assert copying.chosen == (6,)
    assert copied_for_pay(copying).mean() > 0
    assert len(copying.other_sets(0)) == 7
    exchanged = generator().permuted(copying.paid, axis=1)
    assert abs(copied_for_pay(copying, exchanged).mean()) < copied_for_pay(copying).mean() / 2


def test_a_silenced_head_writes_its_mean_and_hooks_are_gone_after():
    player = BanditPlayer(SMALL, learned=False)
    table, ids = game(player)
    before = player.stream(table, ids)
    with torch.no_grad(), silencing(player, (1, 5), torch.zeros(2, 64)):
        silent = player.stream(table, ids)
    assert (silent - before).abs().max() > 1e-4
    assert torch.equal(player.stream(table, ids), before)


def test_games_on_which_heads_are_measured_show_other_arms_pay_in_the_absent_case():
    shown = [teacher_games(ActionSpacesConfig(shuffled=shuffled, histories=40)) for shuffled in (False, True)]
    correlations = [
        np.corrcoef(each.paid.ravel(), np.take_along_axis(each.means, each.pulled, 1).ravel())[0, 1] for each in shown
    ]
    assert correlations[0] > 0.4 > 0.1 > abs(correlations[1])


def test_a_short_run_has_every_exhibit_and_no_effect_in_the_absent_case():
    assert {*result().found.tables} == {"regret", "heads", "look"}
    assert {*result().found.figures} == {"regret", "heads"}
    assert len(result().found.claims) == 6
    assert result().false_effects == ()
    query, key = result().found.tables["look"].rows()[-1][1:]
    assert query == pytest.approx(key, abs=1e-3)


def test_training_that_was_stopped_goes_on_as_if_it_had_not(tmp_path):
    class StoppedError(Exception):
        pass

    def stop(progress):
        if progress.what.startswith("games of"):
            raise StoppedError

    tiny = {"steps": 2, "learned_steps": 2, "batch": 2, "trained": 4, "arms": (5,), "horizon": 5, "histories": 8}
    with pytest.raises(StoppedError):
        ACTION_SPACES.run(minnow(), tmp_path / "run", games=20, report=stop, **tiny)
    gone_on = ACTION_SPACES.run(minnow(), tmp_path / "run", games=20, **tiny)
    whole = ACTION_SPACES.run(minnow(), games=20, **tiny)
    assert [claim.value for claim in gone_on.claims] == pytest.approx(
        [claim.value for claim in whole.claims], nan_ok=True
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"arms": (30, 70)}, "70 arms are asked for: at most 64 embeddings of width 64 are orthogonal"),
        ({"horizon": 300}, "50 arms and 300 pulls are 350 tokens, and the player reads 256"),
        ({"arms": (10, 20)}, "all of them trained on: give a number above trained, 20"),
        ({"arms": (1, 30)}, "give numbers from 2"),
        ({"trained": 3}, "trained is 3: give at least 4"),
        ({"heads": 9}, "heads is 9: give 1 to 4"),
        ({"games": 5}, "games is 5"),
    ],
)
def test_mistakes_in_settings_are_told(options, words):
    with pytest.raises(InputError, match=words):
        ACTION_SPACES.run(minnow(), **options)
