"""The study `leakage`: does a word of the prompt leak into an answer that has nothing to do with it?

1. Sentences of both parts are asked with many names; what is kept are the probabilities of the answers, one token each,
   so that every Leak-Rate at every temperature is computed and nothing is drawn.
2. Beside each Leak-Rate stand the law's own, and that of permuted concepts.
3. Features that carry the concept at the sentence's end are found by slot means in sentences with other names, and
   ablated; so are matched random features, and for comparison the carriers at the concept's own token.
4. The absent case is the same model with the entries of its weights shuffled, read by its own neurons.

A user's own prompts are answered by whole texts, which are likened to the concept by a sentence encoder (`user_rates`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from clew import extras
from clew.errors import InputError
from clew.ids import FeatureId
from clew.kit import Kit
from clew.labels import sentence_encoder
from clew.progress import Progress
from clew.runs.nulls import with_random_weights
from clew.studies.carriers import SlotMeans, ablations, slot_means
from clew.studies.case import Case, Steps
from clew.studies.case_findings import CaseFindings
from clew.studies.config_checks import within
from clew.studies.leakage.ablations import LeakAblations
from clew.studies.leakage.claims import favours_associates, follows_the_law, leaks
from clew.studies.leakage.exhibits import answer_table, carrier_table, temperature_picture, temperature_table
from clew.studies.leakage.leak_rate import SIMILARITIES
from clew.studies.leakage.prompts import PARTS, SENTENCES, Item, PeopleNames, all_pairs, answer_columns, items, lacking
from clew.studies.leakage.rates import TEMPERATURES, Measured
from clew.studies.leakage.user_prompts import read_generations, read_prompts
from clew.studies.leakage.user_rates import UserRates, generations, unpacked, user_rates
from clew.studies.measuring import read_answers
from clew.studies.study import Absent, Study

PLACES = {"end": None, "concept": "first"}
"""Where carriers are looked for and ablated: at the sentence's last token, or at the concept's."""


@dataclass(frozen=True, kw_only=True)
class LeakageConfig:
    """Settings of the study."""

    names: int = 4
    """With how many names every sentence is asked."""
    features: int = 32
    """How many features that carry a concept are ablated."""
    draws: int = 12
    """How many sets of matched random features are ablated beside them."""
    similarity: str = "world"
    """What likens an answer to the concept: world (its table of associates), tokens (the model's embeddings) or
    sentence (a sentence encoder, extra minilm)."""
    through: int | None = None
    """The last layer whose MLP output is clamped where features are ablated; left out, the last edited one."""
    prompts: Path | None = None
    """A table of your own prompts in place of the small world's: concept, prompt, control (CSV, or TSV by its name)."""
    generations: Path | None = None
    """A table of what followed them: prompt, generation; left out, the kit's model goes on by itself."""
    samples: int = 8
    """How many texts the kit's model writes from each of your prompts."""
    temperature: float = 1.0
    """At which temperature it writes them."""
    dealt: bool = False
    """Judge each of your prompts by another's concept: the absent case."""
    seed: int = 0
    """Seed of random features, permutations and texts."""

    def __post_init__(self) -> None:
        within(self, names=(2, 20), features=(4, 1000), draws=(2, 1000), samples=(1, 1000))
        if self.similarity not in SIMILARITIES:
            raise InputError(f"similarity {self.similarity!r}: choose from {', '.join(SIMILARITIES)}")
        if not 0 <= self.temperature < math.inf:
            raise InputError(f"temperature is {self.temperature}: give 0 or a positive number")
        if self.generations is not None and self.prompts is None:
            raise InputError("generations are of your own prompts: give these too, with concepts and controls")

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many carriers are ablated, from none to all."""
        return tuple(sorted({self.features // 8, self.features // 4, self.features // 2, self.features} - {0}))


def measure(case: Case[LeakageConfig]) -> Iterator[Progress | CaseFindings]:
    """Measure one case; ends with its CaseFindings."""
    kit, config = case.kit, case.config
    if config.prompts is not None:
        yield from _of_user(kit, case, config.prompts)
        return
    kinds = all_pairs(kit, config.similarity)
    names = PeopleNames(count=config.names)
    asked = [item for part in PARTS for sentence in SENTENCES for item in items(kit, names.measured, part, sentence)]
    answers = yield from case.part("answers", _answers(kit, asked))
    target = [item for item in asked if (item.part, item.sentence) == ("associated", "taught")]
    searched = items(kit, names.searched, "associated", "taught")
    means: dict[tuple[str, str], SlotMeans] = {}
    for done, (place, slot) in enumerate(PLACES.items()):
        yield Progress(what="features by slot", done=done, of=len(PLACES), unit="places")
        for kind in kinds:
            prompts = [item.prompt for item in searched if item.kind == kind.kind]
            means[place, kind.kind] = slot_means(kit, prompts, "first", slot)
    ablated = yield from case.part("ablated", _ablated(kit, config, target, means))
    yield _findings(
        Measured(
            kit=kit,
            kinds=tuple(kinds),
            items=tuple(asked),
            probabilities=answers["probabilities"].double().numpy(),
            ablated_items=tuple(target),
            ablated={name: rows.double().numpy() for name, rows in ablated.items()},
            sizes=config.sizes,
            means=means,
            similarity=config.similarity,
            through=config.through,
            seed=config.seed,
        )
    )


def _of_user(kit: Kit, case: Case[LeakageConfig], path: Path) -> Iterator[Progress | CaseFindings]:
    """The Leak-Rates of a user's own prompts."""
    config, prompts = case.config, read_prompts(path)
    if config.generations is not None:
        texts = read_generations(config.generations, prompts, path)
    else:
        work = generations(kit, prompts, config.samples, config.temperature, config.seed)
        texts = unpacked((yield from case.part("texts", work)))
    for step in user_rates(prompts, texts, dealt=config.dealt, seed=config.seed):
        yield step.findings() if isinstance(step, UserRates) else step


def _answers(kit: Kit, asked: Sequence[Item]) -> Steps:
    """The next-token probabilities of every prompt's answers, and last that of its own concept."""
    columns = answer_columns(kit, asked)
    cases = [(item.prompt.token_ids, ()) for item in asked]
    rows = yield from read_answers(kit, cases, lambda i, said: said.probabilities[columns[i]], what="answers")
    return {"probabilities": rows}


def _ablated(kit: Kit, config: LeakageConfig, target: Sequence[Item], means: dict[tuple[str, str], SlotMeans]) -> Steps:
    """Answers under ablations: `end.32` by place and number of carriers, `random.3` by draw."""
    generator = torch.Generator().manual_seed(config.seed)
    runs: dict[str, dict[str, list[Tensor]]] = {}
    for place in PLACES:
        strongest = {kind: m.strongest(config.features) for (where, kind), m in means.items() if where == place}
        for size in config.sizes:
            runs[f"{place}.{size}"] = {kind: [*columns[:, :size]] for kind, columns in strongest.items()}
        if place == "end":
            for draw in range(config.draws):
                runs[f"random.{draw}"] = {k: means[place, k].matched(c, generator) for k, c in strongest.items()}
    results, columns = {}, answer_columns(kit, target)
    for name, sets in runs.items():
        place = "concept" if name.startswith("concept") else "end"
        features = {kind: _features(means[place, kind], of_kind) for kind, of_kind in sets.items()}
        cases = [(i.prompt.token_ids, ablations(features[i.kind][i.concept], _position(i, place))) for i in target]
        results[name] = yield from read_answers(
            kit,
            cases,
            lambda i, said: said.probabilities[columns[i]],
            what="ablations",
            note=name,
            through=config.through,
        )
    return results


def _features(means: SlotMeans, sets: Sequence[Tensor]) -> list[list[FeatureId]]:
    return [[means.feature(column) for column in columns.tolist()] for columns in sets]


def _position(item: Item, place: str) -> int:
    return item.prompt.last("first") if place == "concept" else len(item.prompt.token_ids) - 1


def _findings(measured: Measured) -> CaseFindings:
    """Claims, tables and pictures."""
    rates = {
        (part, sentence, t): measured.rates(part, sentence, t)
        for part in PARTS
        for sentence in SENTENCES
        for t in TEMPERATURES
    }
    ablations = LeakAblations(measured)
    return CaseFindings(
        claims=(
            leaks(measured, rates["associated", "taught", 1.0]),
            *(follows_the_law(measured, rates, sentence) for sentence in SENTENCES),
            *favours_associates(measured),
            ablations.claim(),
        ),
        tables={
            "temperatures": temperature_table(rates),
            "answers": answer_table(measured),
            "ablations": ablations.table(),
            "carriers": carrier_table(measured),
        },
        figures={"temperatures": temperature_picture(rates), "ablations": ablations.picture()},
    )


def needs(kit: Kit, config: LeakageConfig) -> str:
    """What the kit lacks; errors in a user's tables are those of `read_prompts` and `read_generations`."""
    if config.prompts is None:
        return lacking(kit)
    prompts = read_prompts(config.prompts)
    if config.generations is not None:
        read_generations(config.generations, prompts, config.prompts)
    elif kit.subject.tokenizer is None:
        return "its model came without a tokenizer"
    if not sentence_encoder.installed():
        raise extras.missing(sentence_encoder.NAME, "likening texts to a concept")
    return ""


def absent(kit: Kit, config: LeakageConfig) -> Absent[LeakageConfig]:
    """The model that has learned nothing; of a user's prompts the same texts, judged by other concepts."""
    if config.prompts is not None:
        why = (
            "Every prompt is judged by another prompt's concept: the texts are the same, and it cannot leak into them."
        )
        return Absent(kit=kit, config=replace(config, dealt=True), why=why)
    shuffled = with_random_weights(kit.subject, seed=config.seed)
    return Absent(
        kit=Kit(shuffled, name=shuffled.name),
        config=replace(config, through=None),
        why="The same model with the entries of every weight shuffled, read by its own neurons, has learned nothing of "
        "any word.",
    )


LEAKAGE = Study(
    name="leakage",
    question="Does a word of the prompt leak into an answer that has nothing to do with it?",
    source="Gonen et al. 2024, Does Liking Yellow Imply Driving a School Bus? Semantic Leakage in Language Models",
    config=LeakageConfig,
    needs=needs,
    measure=measure,
    absent=absent,
    reduced=lambda config: replace(config, names=2, draws=min(config.draws, 4)) if config.prompts is None else None,
    tables=lambda config: (config.prompts, config.generations),
)
