"""The study `hallucination`: where do wrong answers come from, and where does "I don't know"?

Of the small world, without a table of the user's:

1. Which features tell known names from invented ones, and which make the model refuse (`mechanism`).
2. How often birthdays are answered wrongly, by how often the corpus states them; calibration; what the bounds of errors
   by singletons say (`people`, `rates`); scores in which refusing pays (`grading`).
3. A small model of a flatter law, in which the bound is not vacuous (`flat_law`).
4. A small model of a world that refuses names never seen, and the circuit that does it (`unknown_names`).

Of a user's corpus of facts: its singletons, and the bound (`corpora`). Of a user's questions: what any model answers,
how sure it is, and how it scores (`question_set`). In the absent case everything is dealt out at random.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from clew.errors import InputError
from clew.kit import Kit
from clew.organism.fact_table import world_of
from clew.organism.numbers import REFUSAL
from clew.progress import Progress
from clew.studies.case import Case
from clew.studies.case_findings import CaseFindings
from clew.studies.config_checks import within
from clew.studies.hallucination.claims import claims_of
from clew.studies.hallucination.corpora import FactCorpus, compiled, read_corpus, read_facts
from clew.studies.hallucination.exhibits import world_figures, world_tables
from clew.studies.hallucination.flat_law import FlatAnswers, FlatWorld, read_flat
from clew.studies.hallucination.letters import SPELLED, WHOLE, letter_questions
from clew.studies.hallucination.mechanism import Detection, name_groups, read_names, steered_refusals, steering_of
from clew.studies.hallucination.people import DateTokens, answers_of, people_of, read_answers
from clew.studies.hallucination.question_set import UserQuestion, ask, dealt_answers, read_questions, replies_of
from clew.studies.hallucination.unknown_names import UnknownNames, find_circuit
from clew.studies.hallucination.user_findings import corpus_findings, question_findings
from clew.studies.hallucination.world_measured import (
    LawMeasured,
    NamesMeasured,
    PeopleMeasured,
    UnknownMeasured,
    WorldMeasured,
    flat_measured,
)
from clew.studies.kit_needs import lacking
from clew.studies.small_model import train_small
from clew.studies.study import Absent, Study

OFTEN, RARE, STATEMENTS, ASKED = 3000, 400_000, 200_000, 3000
"""The flatter law: people of both kinds, statements of its corpus, questions that are asked."""
THINNED = 4
"""In the absent case the world's law is read with so many fewer of its less likely people."""


@dataclass(frozen=True, kw_only=True)
class HallucinationConfig:
    """Settings of the study."""

    questions: Path | None = None
    """Your questions, for any model: a CSV or TSV with the columns question, answer (several right ones parted by |)
    and, if you like, seen. Or the word letters: how often a letter stands in a word; letters-spelled: the same, spelled
    out. Left out, the small world's birthdays."""
    facts: Path | None = None
    """Your corpus of facts, to count its singletons: a CSV or TSV with the columns question and answer, one statement a
    row."""
    corpus: Path | None = None
    """Your corpus as text, for --pattern."""
    pattern: str | None = None
    """A regular expression that finds facts in --corpus: (?P<question>...) and (?P<answer>...) in it."""
    refusal: str = REFUSAL
    """How answers begin that refuse."""
    names: int = 300
    """How many invented names are asked."""
    features: int = 40
    """How many features are raised to make the model refuse."""
    draws: int = 10
    """How many random sets stand beside them."""
    steps: int = 800
    """Steps of training of each of the two small models."""
    features_only: bool = field(default=False, metadata={"option": False})
    """Measure features alone: what is measured by the model's own neurons beside the dictionary."""
    dealt: bool = field(default=False, metadata={"option": False})
    """Deal everything out at random: the case in which nothing must be seen."""
    seed: int = 0
    """Seed of names, corpora, training and draws."""

    def __post_init__(self) -> None:
        within(self, names=(20, 2000), features=(1, 1000), draws=(2, 1000), steps=(1, 100_000))
        given = [name for name in ("questions", "facts", "corpus") if getattr(self, name) is not None]
        if len(given) > 1:
            raise InputError(f"both --{given[0]} and --{given[1]} are given: give one at a time")
        if (self.corpus is None) != (self.pattern is None):
            lacking = "pattern" if self.pattern is None else "corpus"
            raise InputError(f"--corpus is text in which --pattern finds facts: give --{lacking} too")
        if self.pattern is not None:
            compiled(self.pattern)
        if not self.refusal.strip():
            raise InputError("the refusal is empty: give the words with which answers begin that refuse")

    @property
    def of_world(self) -> bool:
        """Whether the small world is asked for, and nothing of the user's."""
        return self.questions is None and self.facts is None and self.corpus is None

    @property
    def letters(self) -> bool:
        """Whether the questions are about letters, and no file has that name."""
        return str(self.questions) in (WHOLE, SPELLED) and not Path(str(self.questions)).is_file()

    @property
    def user_files(self) -> list[Path]:
        """The user's files."""
        given = (None if self.letters else self.questions, self.facts, self.corpus)
        return [path for path in given if path is not None]

    def read_corpus(self) -> FactCorpus:
        """The user's corpus; errors are those of the readers."""
        if self.facts is not None:
            return read_facts(self.facts, self.refusal)
        assert self.corpus is not None, "no corpus is given"
        assert self.pattern is not None, "a corpus has a pattern"
        return read_corpus(self.corpus, self.pattern, self.refusal)

    def read_questions(self) -> list[UserQuestion]:
        """The user's questions; errors are those of the reader."""
        assert self.questions is not None, "no questions are given"
        if self.letters:
            questions = letter_questions(spelled=str(self.questions) == SPELLED, seed=self.seed)
        else:
            questions = read_questions(self.questions)
        return dealt_answers(questions, self.seed) if self.dealt else questions


def measure(case: Case[HallucinationConfig]) -> Iterator[Progress | CaseFindings]:
    """Measure one case; ends with its CaseFindings."""
    config, kit = case.config, case.kit
    if config.questions is not None:
        questions = config.read_questions()
        said = yield from case.part("replies", ask(kit, questions, config.refusal))
        replies = replies_of(kit, said["tokens"], said["confidence"])
        yield question_findings(questions, replies, config.refusal, config.seed)
    elif not config.of_world:
        yield Progress(what="facts", done=0, of=1)
        yield corpus_findings(config.read_corpus(), dealt=config.dealt, seed=config.seed)
    else:
        names = yield from _names(case)
        measured = WorldMeasured(names=names, dealt=config.dealt)
        if not config.features_only:
            people = yield from _people(case)
            flat = yield from _flat(case)
            unknown = yield from _unknown(case)
            measured = replace(measured, people=people, flat=flat, unknown=unknown)
        yield CaseFindings(
            claims=claims_of(measured, config.seed),
            tables=world_tables(measured, kit),
            figures=world_figures(measured),
        )


def _names(case: Case[HallucinationConfig]) -> Generator[Progress, None, NamesMeasured]:
    config, kit = case.config, case.kit
    yield Progress(what="names", done=0, of=1)
    groups = name_groups(people_of(kit), config.names, dealt=config.dealt, seed=config.seed)
    readings = read_names(kit, groups)
    steering = steering_of(kit, readings, config.features, config.draws, config.seed)
    refusals = yield from case.part("steering", steered_refusals(kit, groups, readings, steering))
    return NamesMeasured(
        readings=readings,
        detection=Detection.of(readings, config.seed),
        steering=steering,
        refusals=refusals,
        draws=config.draws,
        seed=config.seed,
    )


def _people(case: Case[HallucinationConfig]) -> Generator[Progress, None, PeopleMeasured]:
    whole, seed, dealt = people_of(case.kit), case.config.seed, case.config.dealt
    people = whole.thinned(THINNED if dealt else 1)
    taught = people.prompts(people.drawn_templates(seed))
    parts = yield from case.part("taught", read_answers(case.kit, taught, people.born, "birthdays"))
    others = people.prompts(people.withheld)
    work = read_answers(case.kit, others, people.born, "birthdays, other sentences", whole=False)
    withheld = answers_of(
        (yield from case.part("withheld", work)), law=people.law, born=people.born, refused=people.refused
    )
    order = np.random.default_rng([seed, 14]).permutation(len(people.counts))
    return PeopleMeasured(
        whole=whole,
        people=people,
        taught=answers_of(parts, law=people.law, born=people.born, refused=people.refused),
        withheld_wrong=withheld.errors.wrong,
        withheld_refusal=withheld.refusal,
        counts=people.counts[order] if dealt else people.counts,
    )


def _flat(case: Case[HallucinationConfig]) -> Generator[Progress, None, LawMeasured]:
    config = case.config
    world = FlatWorld(often=OFTEN, rare=0 if config.dealt else RARE, statements=STATEMENTS, seed=config.seed)
    people = world.drawn(ASKED, 13)
    for step in train_small(case, world.task("flat"), steps=config.steps, seed=config.seed):
        if not isinstance(step, Kit):
            yield step
            continue
        said = yield from case.part("flat.answers", read_flat(step, world, people))
    answers = FlatAnswers(world=world, people=people, answers=said["answers"].double().numpy())
    return flat_measured(answers)


def _unknown(case: Case[HallucinationConfig]) -> Generator[Progress, None, UnknownMeasured]:
    config = case.config
    names = UnknownNames(seed=config.seed, by_chance=config.dealt)
    for step in train_small(case, names.task(), steps=config.steps, seed=config.seed):
        if not isinstance(step, Kit):
            yield step
            continue
        parts = yield from case.part("names.circuit", find_circuit(step, names, config.draws))
    return UnknownMeasured(parts=parts, by_chance=config.dealt, seed=config.seed)


def needs(kit: Kit, config: HallucinationConfig) -> str:
    """What the kit lacks; errors of what the config names are raised here, before anything is measured."""
    if config.questions is not None:
        config.read_questions()
        return "" if kit.subject.tokenizer is not None else "its model has no tokenizer, and the questions are text"
    if not config.of_world:
        config.read_corpus()
        return ""
    if nothing := lacking(kit):
        return nothing
    try:
        world_of(kit.provenance.get("model", {}))
        DateTokens.of(kit)
    except InputError:
        return "its model was not trained on the small world: give it --questions of yours"
    return ""


def absent(kit: Kit, config: HallucinationConfig) -> Absent[HallucinationConfig]:
    """Everything dealt out at random."""
    if config.questions is not None:
        why = "Every question has the right answers of another one."
    elif not config.of_world:
        why = "As many answers are dealt out evenly among the questions: nothing is rarer but by chance."
    else:
        why = (
            "Known, refused and invented names are all invented ones, counts are exchanged among the people, the "
            "flatter law has none but people who come often, and in the last world refusal is drawn by lot, whether a "
            "name was seen or not."
        )
    return Absent(kit=kit, config=replace(config, dealt=True), why=why)


HALLUCINATION = Study(
    name="hallucination",
    question='Where do wrong answers come from, and where does "I don\'t know"?',
    source="Kalai, Nachum, Vempala and Zhang 2025, Why Language Models Hallucinate",
    config=HallucinationConfig,
    needs=needs,
    measure=measure,
    absent=absent,
    reduced=lambda config: replace(config, features_only=True) if config.of_world else None,
    tables=lambda config: config.user_files,
)
