"""What a bare name shows in a terminal or a notebook: a few lines, whatever the value holds."""

from dataclasses import replace

import pytest

import clew
from clew import Edit

PROMPT = "The capital of France is"
LONG = "The capital of France is " * 400


@pytest.fixture(scope="module")
def kit():
    return clew.load("minnow")


@pytest.fixture(scope="module")
def graph(kit):
    return kit.trace(PROMPT)


def test_a_repr_says_what_the_value_is_in_a_line(kit, graph):
    effect = kit.edit(PROMPT, [Edit.ablate("L0/200")])
    audit = kit.audit(graph, nodes=2, take_apart=False)
    shown = [
        (kit, ("Kit('minnow'", "with an atlas")),
        (kit.subject, ("Subject('minnow'", "6 layers of width 128")),
        (kit.dictionary, ("Dictionary('CLT of minnow'", "clt, 6 of 6 layers")),
        (kit.dictionary.layers[0], ("Layer(6,934 features",)),
        (kit.subject.record(PROMPT), ("Recording(6 positions",)),
        (graph, (f"Graph('{PROMPT}'", f"{graph.n_features} features", "' Paris' 1.000")),
        (effect, ("Effect(ablate L0/200", "clamped through layer 0", "' Paris' 0.99")),
        (effect.before, ("Outcome(6 positions, 3,072 tokens",)),
        (audit, ("Audit('The capital", "2 features ablated", "Spearman")),
        (kit.atlas, ("SearchableAtlas(", "16,657 features of minnow")),
        (kit.atlas["L3/120"], ("Card(L3/120", "promotes")),
    ]
    for value, parts in shown:
        text = repr(value)
        assert len(text) < 600, text
        assert "\n" not in text
        for part in parts:
            assert part in text


def test_a_long_prompt_and_many_edits_are_cut_in_a_repr(kit, graph):
    assert len(repr(replace(graph, prompt=LONG))) < 300
    effect = kit.edit(PROMPT, [Edit.ablate(f"L0/{n}") for n in range(200, 240)])
    assert "and 37 more" in repr(effect)
    assert len(repr(effect)) < 400


def test_a_notebook_still_gets_the_rich_display(graph):
    assert graph._repr_html_().startswith("<")
