"""Both lists of prompts are what they say: in sentences that the corpus holds, and in sentences that it does not."""

from clew.organism.prompts import ANSWERED, listed_prompts, taught_prompts
from clew.organism.world import World


def test_taught_prompts_stand_in_the_corpus_and_listed_ones_do_not() -> None:
    corpus = {statement.prompt for statement in World(seed=0).statements(100_000)}
    taught, listed = taught_prompts(100), listed_prompts(100)
    assert len(set(taught)) == len(set(listed)) == 100
    assert set(taught) <= corpus
    assert not set(listed) & corpus


def test_both_lists_are_spread_over_the_families() -> None:
    world = World(seed=0)
    family = {q.prompt: name for name in ANSWERED for q in world.exam(name, "unseen")}
    family |= {s.prompt: s.family for s in world.statements(20_000) if s.family in ANSWERED}
    for prompts in (taught_prompts(120), listed_prompts(120)):
        counts = [sum(family[p] == name for p in prompts) for name in ANSWERED]
        assert min(counts) >= 8
        assert max(counts) <= 14
