"""The study of experts: planted specialists are seen, experts without a domain are not, stages train what they say."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

import clew
from clew import files
from clew.errors import InputError
from clew.kit import Kit
from clew.studies.case import Case
from clew.studies.experts.claims import ExpertMeasures, ModelMeasures, check_routed, claims_of
from clew.studies.experts.config import DENSE, DOMAINS, RANDOM, STAGED, UNSTAGED, ExpertsConfig
from clew.studies.experts.measures import chosen_experts, even_groups, expert_shares, without_expert
from clew.studies.experts.sentences import Sentences, training_sentences
from clew.studies.experts.study import EXPERTS
from clew.studies.experts.training import build_subject, stages_of, trained
from tests import models
from tests.workbench import minnow

TINY = ExpertsConfig(seeds=1, steps=24, rows=6, layers=2, width=16, statements=100, sentences=10, draws=100)
SEEDS, EACH = 3, 40
TEST = Sentences(ids=[np.array([5, 6, 7])] * 4 * EACH, domains=np.arange(4).repeat(EACH), start=0)


@cache
def result():
    return EXPERTS.run(minnow(), config=TINY)


def finish(steps):
    """What a generator returns."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def planted(recipe, strength, *, order=(0, 1, 2, 3)):
    """Models whose expert `order[d]` is worth so many nats in domain d, and routes and graphs that agree."""
    parts = []
    for seed in range(SEEDS):
        rng = np.random.default_rng([seed, int(100 * strength)])
        losses = rng.normal(2.0, 0.05, (5, 4 * EACH))
        losses[1:] = losses[0] + rng.normal(0.1, 0.02, (4, 4 * EACH))
        routes = rng.integers(0, 4, (2, 3 * 4 * EACH))
        for domain, expert in enumerate(order):
            losses[1 + expert, TEST.domains == domain] += strength
            there = np.repeat(TEST.domains == domain, 3)
            routes[:, there] = np.where(rng.random((2, there.sum())) < strength, expert, routes[:, there])
        shares = np.stack(
            [np.bincount(routes[:, np.repeat(TEST.domains == d, 3)].ravel(), minlength=4) for d in range(4)]
        )
        parts.append({
            "losses": torch.tensor(losses),
            "calibration": torch.tensor(losses),
            "chosen": torch.tensor(routes),
            "influence": torch.tensor(shares / shares.sum(1, keepdims=True)),
        })  # fmt: skip
    return ModelMeasures(recipe=recipe, parts=tuple(parts), test=TEST.domains, calibration=TEST.domains)


def verdicts(tested, *others):
    made = {model.recipe.name: model for model in (tested, *others)}
    config = ExpertsConfig(random_labels=tested.recipe is RANDOM)
    return [claim.verdict for claim in claims_of(ExpertMeasures(config=config, models=made, test=TEST))]


def test_planted_specialists_are_seen_and_experts_without_a_domain_are_not():
    rivals = planted(DENSE, 0.3), planted(RANDOM, 0.0), planted(UNSTAGED, 0.2)
    assert verdicts(planted(STAGED, 0.9), *rivals) == ["holds"] * 6 + ["fails"]
    assert "holds" not in verdicts(planted(RANDOM, 0.0))
    assert verdicts(planted(STAGED, 0.3), planted(DENSE, 0.9))[:2] == ["holds", "fails"]


def test_an_expert_of_another_domain_than_its_label_is_no_specialist_of_it():
    assert verdicts(planted(STAGED, 0.9, order=(1, 2, 3, 0)))[0] == "fails"


def test_experts_that_were_given_no_domain_get_the_one_that_suits_them():
    turned = planted(UNSTAGED, 0.9, order=(2, 0, 3, 1))
    assert turned.contrasts.mean() == pytest.approx(0.9, abs=0.02)
    assert turned.by_label.mean() == pytest.approx(-0.3, abs=0.02)


def test_a_social_expert_whose_loss_helps_logic_is_reported():
    model = planted(STAGED, 0.9)
    for part in model.parts:
        part["losses"][3, 40:80] = part["losses"][0, 40:80] - 0.1
    assert verdicts(model)[-1] == "holds"


def test_an_expert_that_gets_no_token_is_named():
    model = planted(STAGED, 0.9)
    model.parts[1]["chosen"][model.parts[1]["chosen"] == 2] = 3
    with pytest.raises(InputError, match=r"^no token is routed to the expert of social \(seed 1\): give more steps"):
        check_routed(model)
    check_routed(planted(STAGED, 0.9))


def test_rows_carry_the_label_of_the_sentence_that_each_token_belongs_to():
    ids = [np.full(3 + place % 4, 10 + place % 4) for place in range(40)]
    sentences = Sentences(ids=ids, domains=np.arange(40) % 4, start=1)
    tokens, marked = sentences.rows(sentences.domains, 5, np.random.default_rng(0))
    assert (tokens[:, 0] == 1).all()
    assert torch.equal(marked[:, 1:], tokens[:, 1:] - 10)
    assert torch.equal(marked[:, 0], marked[:, 1])


def test_labels_are_domains_or_have_nothing_to_do_with_them():
    sentences = training_sentences(minnow().subject, TINY)
    assert (sentences.labels(0, by_domain=True) == sentences.domains).all()
    drawn = sentences.labels(0, by_domain=False)
    assert (drawn == sentences.domains).mean() == pytest.approx(0.25, abs=0.07)


def test_neurons_are_put_into_groups_of_one_size_by_their_domain():
    shares = torch.tensor([[0.9, 0.8, 0.7, 0.1], [0.05, 0.1, 0.2, 0.1], [0.03, 0.05, 0.0, 0.5], [0.02, 0.05, 0.1, 0.3]])
    assert even_groups(shares).tolist() == [0, 3, 1, 2]


def test_each_stage_trains_what_it_says(tmp_path):
    kit = minnow()
    case = Case(kit=kit, config=TINY, folder=tmp_path)
    subject = finish(trained(case, STAGED, training_sentences(kit.subject, TINY), 0))
    before = dict(build_subject(kit, TINY, STAGED, 0).model.named_parameters())
    for stage in stages_of(STAGED, TINY.steps):
        after = files.load_tensors(tmp_path / f"staged.0.{stage.name}.safetensors")
        changed = {name.endswith("gate.weight") for name in after if not torch.equal(after[name], before[name])}
        assert changed == {"experts": {False}, "routers": {True}, "all": {False, True}}[stage.name]
        before = after
    assert all(torch.equal(before[name], weight) for name, weight in subject.model.named_parameters())


def test_an_ablated_expert_gets_no_token_and_graphs_use_those_that_are_chosen():
    subject = build_subject(minnow(), replace(TINY, layers=1), STAGED, 3)
    tokens = [subject.start_ids[0], 30, 31, 32, 33, 34, 35]
    chosen = chosen_experts(subject, torch.tensor([tokens]))
    shares = expert_shares(Kit(subject), tokens)
    assert shares.sum() == pytest.approx(1)
    assert set(shares.nonzero().flatten().tolist()) <= set(chosen[0, 0, 1:].tolist())
    busiest = int(chosen.flatten().bincount().argmax())
    with without_expert(subject, busiest):
        seen = experts_at_work(subject, tokens)
    assert busiest not in seen
    others = chosen.flatten() != busiest
    assert torch.equal(seen[others], chosen.flatten()[others])


def experts_at_work(subject, tokens):
    """The experts that do the work, as the module of the experts is told."""
    chosen = []
    experts = subject.model.model.layers[0].mlp.experts
    handle = experts.register_forward_pre_hook(lambda module, args: chosen.append(args[1][:, 0]))
    try:
        subject.run(torch.tensor([tokens]))
    finally:
        handle.remove()
    return chosen[0]


def test_a_tiny_run_has_every_model_table_and_picture():
    found = result().found
    assert len(found.claims) == 7
    assert found.tables["models"].columns["model"] == [recipe.name for recipe in TINY.recipes]
    assert set(found.figures) == {"ablations", "contrasts", "routing", "sentences"}
    for name, n_rows in (("routing", 8), ("influence", 4), ("neurons", 24), ("ablations", 16)):
        assert len(found.tables[name]) == n_rows
    for row in found.tables["routing"].rows():
        assert sum(row[2:]) == pytest.approx(1)
    assert len(result().absent.claims) == 4
    assert result().false_effects == ()
    losses = dict(zip(found.tables["models"].columns["model"], found.tables["models"].rows(), strict=True))
    assert all(max(row[1:5]) < np.log(len(minnow().subject.unembedding)) for row in losses.values())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": 5}, "steps is 5: give at least 10"),
        ({"width": 20}, "width is 20: give a multiple of 8"),
        ({"sentences": 2}, "sentences is 2"),
        ({"seeds": 0}, "seeds is 0"),
    ],
)
def test_mistakes_in_settings_are_told(options, words):
    with pytest.raises(InputError, match=words):
        EXPERTS.run(minnow(), **options)


def test_a_kit_whose_words_are_too_many_or_none_is_told_so():
    silent = Kit(clew.Subject(models.model("gpt2", torch.float32), None, "silent"))
    with pytest.raises(InputError, match=r"cannot answer experts: its model has no tokenizer"):
        EXPERTS.run(silent)
    rich = Kit(clew.Subject(models.model("gpt2", torch.float32, vocab_size=20_000), models.tokenizer(), "rich"))
    assert "20,000 tokens" in EXPERTS.needs(rich, TINY)


def test_a_mistake_on_the_command_line_is_one_line(run):
    code, _, error = run("study", "run", "experts", "--rows", "1")
    assert code == 2
    assert error.strip() == "clew: rows is 1: give at least 2"


def test_domains_are_those_of_the_world():
    from clew.organism.world import World

    assert sorted({family.domain for family in World().families.values()}) == sorted(DOMAINS)
