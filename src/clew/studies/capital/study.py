"""The study `capital`: by which features does a model come from a country to its capital?

1. Every country is asked for in several sentences, one- and two-hop. What the model does not know is left out.
2. Carriers of country, question and answer are found by means over slots (`carriers`).
3. They are swapped between countries, transplanted from one-hop into two-hop prompts, and ablated (`runs`), each beside
   matched random features.
4. Looks show how the country comes to the last token (`looks`).
5. The absent case deals the capitals out anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from clew.kit import Kit
from clew.progress import Progress
from clew.studies.capital import looks
from clew.studies.capital.claims import CapitalMeasured, claims_of
from clew.studies.capital.exhibits import (
    carrier_table,
    feature_table,
    layer_picture,
    look_picture,
    look_table,
    sentence_table,
    swap_picture,
    swap_table,
)
from clew.studies.capital.facts import FEWEST, CapitalConfig, CountryPrompts, ask, facts_of
from clew.studies.capital.runs import Runs, features_of, read_runs
from clew.studies.case import Case
from clew.studies.case_findings import CaseFindings
from clew.studies.kit_needs import lacking
from clew.studies.measuring import next_probabilities
from clew.studies.study import Study, with_settings

MAIN = ("swap", "first", "token", "transplant", "output", "layers", "through", "ablate.identity", "ablate.question")


def measure(case: Case[CapitalConfig]) -> Iterator[Progress | CaseFindings]:
    """Measure one case; ends with its CaseFindings."""
    kit, config = case.kit, case.config
    yield Progress(what="prompts", done=0, of=1, unit="sets")
    asked = asked_of(kit, config)
    pairs, features = asked.pairs(config), features_of(kit, asked, config)
    runs = Runs(kit, asked, features, config, pairs)
    found = yield from case.part("runs", runs.measured(MAIN))
    sentences = asked.prompts["one_hop"]
    weights = yield from case.part("weights", looks.weights(kit, sentences))
    head = int(weights["own"][:, 0].mean(0).argmax())
    few = [prompt for prompt in sentences[0][: config.looks] if prompt is not None]
    sources = yield from case.part("sources", looks.sources(kit, few, head))
    loadings = yield from case.part("loadings", looks.loadings(kit, few, features.columns, features.carriers[0]))
    measured = CapitalMeasured(
        asked=asked,
        answers=dealt(asked, kit, config),
        pairs=pairs,
        two_hop_pairs=runs.two_hop_pairs,
        features=features,
        layers=runs.layers,
        found=read_runs(found),
        looks={**weights, **sources, **loadings},
        head=head,
    )
    yield CaseFindings(
        claims=claims_of(measured),
        tables={
            "sentences": sentence_table(measured, config),
            "swaps": swap_table(measured),
            "carriers": carrier_table(measured),
            "features": feature_table(measured, kit),
            "looks": look_table(measured),
        },
        figures={
            "swaps": swap_picture(measured),
            "layers": layer_picture(measured),
            "looks": look_picture(measured),
        },
    )


def asked_of(kit: Kit, config: CapitalConfig) -> CountryPrompts:
    """All prompts, and which of them the model answers."""
    facts, prompts = ask(kit, config)
    answers, known = facts.answers(kit), {}
    for kind in ("one_hop", "two_hop"):
        rows: list[Bool[Tensor, " country"]] = []
        for sentence in prompts[kind]:
            there = [place for place, prompt in enumerate(sentence) if prompt is not None]
            right = torch.zeros(len(sentence), dtype=torch.bool)
            if there:
                ids = [prompt.token_ids for prompt in sentence if prompt is not None]
                right[there] = next_probabilities(kit, ids).argmax(1) == answers[there]
            rows.append(right)
        known[kind] = torch.stack(rows)
    return CountryPrompts(facts=facts, prompts=prompts, known=known)


def dealt(asked: CountryPrompts, kit: Kit, config: CapitalConfig) -> Int[Tensor, " country"]:
    """What counts as each country's capital: its own, or in the absent case another country's."""
    answers = asked.facts.answers(kit)
    if not config.dealt:
        return answers
    order = torch.randperm(len(answers), generator=torch.Generator().manual_seed(config.seed))
    answers[order] = answers[order.roll(1)]
    return answers


def needs(kit: Kit, config: CapitalConfig) -> str:
    """What the kit lacks."""
    if nothing := lacking(kit):
        return nothing
    facts = facts_of(kit, config)
    if len(facts.countries) < FEWEST:
        return f"{len(facts.countries)} capitals begin with tokens of their own, and {FEWEST} are needed"
    known = asked_of(kit, config).known["one_hop"]
    if (most := int(known.sum(1).max())) < FEWEST:
        return f"its model answers {most} of {len(facts.countries)} capitals, and {FEWEST} are needed"
    return ""


CAPITAL = Study(
    name="capital",
    question="By which features does a model come from a country to its capital, in one hop and in two?",
    source="Lindsey et al. 2025, On the Biology of a Large Language Model; Ameisen et al. 2025, Circuit Tracing",
    config=CapitalConfig,
    needs=needs,
    measure=measure,
    absent=with_settings(
        "The capitals are dealt out anew, so that none is its country's: prompts, carriers and swaps are the same, "
        "and no answer can follow.",
        dealt=True,
    ),
    reduced=lambda config: replace(config, pairs=min(config.pairs, 60), draws=2, looks=1),
)
