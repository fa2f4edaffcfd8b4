"""The study `traits`: what do cosines of embeddings say of personality, and what do a model's features?

1. In a causal model, features tell the traits and poles of behaviours that were left out (`trait_features`).
2. An encoder of text gives cosines of statements and keywords, each beside random keywords and statements (`cosines`).
   Whether they tell agreement from denial is tested, and whether another encoder gives the same order.
3. Scales are compared by label and by content: jingle, jangle, merges (`jingle_jangle`).
4. A chat model is given the items to rate, on a scale and on the same scale turned round (`questionnaire`).
5. In the absent case everything is dealt out at random: traits among behaviours, vectors among statements, labels among
   scales.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from clew.errors import InputError
from clew.kit import Kit
from clew.labels.text_encoder import MINILM, TextEncoder, encoder_files, load_encoder, minilm_missing
from clew.progress import Progress
from clew.studies.case import Case
from clew.studies.case_findings import CaseFindings
from clew.studies.config_checks import within
from clew.studies.study import Study, with_settings
from clew.studies.traits.claims import claims_of
from clew.studies.traits.cosines import Encode, cosine_table
from clew.studies.traits.exhibits import exhibits
from clew.studies.traits.inputs import (
    FACTORS,
    OPPOSED,
    STATEMENTS,
    ScaleItem,
    random_keywords,
    random_statements,
    read_factors,
    read_items,
    read_statements,
    world_items,
)
from clew.studies.traits.jingle_jangle import ScalePairs, scale_pairs
from clew.studies.traits.measured import EncoderMeasured, TraitsMeasured
from clew.studies.traits.questionnaire import FFM, Ratings, answers_questions, ffm_items, rated
from clew.studies.traits.trait_features import trait_readings


@dataclass(frozen=True, kw_only=True)
class TraitsConfig:
    """Settings of the study."""

    statements: Path | None = None
    """Your statements: a CSV or TSV with a column `statement`. Left out, five of an example."""
    factors: Path | None = None
    """Your factors: a CSV or TSV with the columns factor and keyword. Left out, the Big Five, three keywords each."""
    items: Path | None = None
    """Items of scales: a CSV or TSV with the columns item, scale and, if you like, keyed (plus or minus), or the
    questions.json of the IPIP-NEO-120, or the word ffm for the same items out of the extra ffm. A model with a chat
    template is given them to rate. Left out, the small world's behaviours under its adjectives."""
    encoder: str = MINILM
    """The encoder of text: minilm (the extra), a folder or a hub id."""
    second: str | None = None
    """Another encoder, to see what hangs on the first."""
    high: float = 0.9
    """Labels, or contents, of two scales are alike at or above this quantile of all pairs."""
    low: float = 0.5
    """And unlike at or below this one."""
    draws: int = 200
    """How often labels are dealt out, and keywords drawn."""
    features_only: bool = field(default=False, metadata={"option": False})
    """Measure features alone: what is measured by the model's own neurons beside the dictionary."""
    shuffled: bool = field(default=False, metadata={"option": False})
    """Deal everything out at random: the case in which nothing must be told."""
    seed: int = 0
    """Seed of all draws."""

    def __post_init__(self) -> None:
        within(self, draws=(20, 10_000))
        if not 0 < self.low <= self.high < 1:
            raise InputError(f"low is {self.low} and high is {self.high}: give quantiles between 0 and 1, low first")
        if self.second is not None and self.second == self.encoder:
            raise InputError(f"both encoders are {self.encoder}: give another --second, or leave it out")


@dataclass(frozen=True, kw_only=True, eq=False)
class TraitTexts:
    """All texts of a case."""

    statements: Sequence[str]
    factors: Mapping[str, Sequence[str]]
    items: Sequence[ScaleItem]
    opposed: Mapping[str, tuple[list[str], list[str]]]
    """By word, the statements that agree with it, and those that deny it."""

    @property
    def keywords(self) -> list[str]:
        return [keyword for keywords in self.factors.values() for keyword in keywords]


def measure(case: Case[TraitsConfig]) -> Iterator[Progress | CaseFindings]:
    """Measure one case; ends with its CaseFindings."""
    config = case.config
    yield Progress(what="features of behaviours", done=0, of=1)
    readings = trait_readings(case.kit, dealt=config.shuffled, seed=config.seed)
    texts, encoders = _texts(config), []
    names = [] if config.features_only else [config.encoder, *([config.second] if config.second else [])]
    for number, name in enumerate(names):
        yield Progress(what="cosines", done=number, of=len(names), unit="encoders")
        encoders.append(_measured(load_encoder(name), texts, config))
    measured = TraitsMeasured(
        readings=readings,
        encoders=encoders,
        ratings=(yield from _ratings(case, texts)),
        factors=texts.factors,
        draws=config.draws,
        seed=config.seed,
        dealt=config.shuffled,
    )
    tables, figures = exhibits(measured, case.kit)
    yield CaseFindings(claims=claims_of(measured), tables=tables, figures=figures)


def _texts(config: TraitsConfig) -> TraitTexts:
    """The texts that a config names; errors are those of the readers."""
    statements = STATEMENTS if config.statements is None else read_statements(config.statements)
    factors = FACTORS if config.factors is None else read_factors(config.factors)
    items = _items(config.items)
    opposed: dict[str, tuple[list[str], list[str]]] = {}
    if any(item.sign < 0 for item in items):
        for item in items:
            opposed.setdefault(item.scale, ([], []))[item.sign < 0].append(item.text)
        opposed = {scale: both for scale, both in opposed.items() if all(both)}
    else:
        for keyword, plus, minus in OPPOSED:
            both = opposed.setdefault(keyword, ([], []))
            both[0].append(plus)
            both[1].append(minus)
    return TraitTexts(statements=statements, factors=factors, items=items, opposed=opposed)


def _items(path: Path | None) -> list[ScaleItem]:
    if path is None:
        return world_items()
    return ffm_items() if path == Path(FFM) and not path.exists() else read_items(path)


def _ratings(case: Case[TraitsConfig], texts: TraitTexts) -> Generator[Progress, None, Ratings | None]:
    """What the model answers to a questionnaire; the small world's behaviours are none."""
    config = case.config
    if config.items is None or config.features_only or not answers_questions(case.kit.subject):
        return None

    parts = yield from case.part("ratings", rated(case.kit, texts.items))
    ratings = Ratings(items=texts.items, **{name: tensor.numpy() for name, tensor in parts.items()})
    return ratings.shuffled(config.seed) if config.shuffled else ratings


def _measured(encoder: TextEncoder, texts: TraitTexts, config: TraitsConfig) -> EncoderMeasured:
    encode = _dealt(encoder, config.seed) if config.shuffled else encoder
    agreeing: list[np.ndarray] = []
    denying: list[np.ndarray] = []
    for word, both in texts.opposed.items():
        of_word = encode([word])[0]
        for cosines, of_kind in zip((agreeing, denying), both, strict=True):
            cosines.append(encode(of_kind) @ of_word)
    return EncoderMeasured(
        name=encoder.name,
        table=cosine_table(
            encode,
            texts.statements,
            texts.keywords,
            random_keywords=random_keywords(texts.keywords),
            random_statements=random_statements(texts.statements),
        ),
        agreeing=agreeing,
        denying=denying,
        pairs=_pairs(encode, texts.items, config),
    )


def _pairs(encode: Encode, items: Sequence[ScaleItem], config: TraitsConfig) -> ScalePairs:
    scales = list(dict.fromkeys(item.scale for item in items))
    return scale_pairs(
        scales,
        encode(scales),
        encode([item.text for item in items]),
        np.array([scales.index(item.scale) for item in items]),
        high=config.high,
        low=config.low,
    )


def _dealt(encoder: TextEncoder, seed: int) -> Encode:
    """Texts get a random vector each, the same for the same text: nothing is near anything by its meaning."""

    def encode(texts: Sequence[str]) -> np.ndarray:
        width = encoder.model.config.hidden_size
        rows = [np.random.default_rng([seed, *text.encode()]).standard_normal(width) for text in texts]
        return np.stack([row / np.linalg.norm(row) for row in rows])

    return encode


def needs(kit: Kit, config: TraitsConfig) -> str:
    """What the kit lacks; errors of what the config names are raised here, before anything is measured."""
    if kit.subject.tokenizer is None:
        return "its model has no tokenizer, and behaviours are text"
    if config.features_only:
        return ""
    if nothing := minilm_missing(config.encoder):
        return nothing
    _texts(config)
    for name in (config.encoder, config.second):
        if name not in (None, MINILM):
            load_encoder(name)
    return ""


def _tables(config: TraitsConfig) -> list[Path | None]:
    encoders = [path for name in (config.encoder, config.second) if name is not None for path in encoder_files(name)]
    items = None if config.items == Path(FFM) and not config.items.exists() else config.items
    return [config.statements, config.factors, items, *encoders]


TRAITS = Study(
    name="traits",
    question="What do embeddings and features say of personality, and what do they not?",
    source="Wulff and Mata 2025, on semantic embeddings of personality scales",
    config=TraitsConfig,
    needs=needs,
    measure=measure,
    absent=with_settings(
        "Traits and poles are dealt out among the behaviours, and every text gets a random vector in place of its own.",
        shuffled=True,
    ),
    reduced=lambda config: replace(config, features_only=True),
    tables=_tables,
)
