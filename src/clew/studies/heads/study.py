"""The study `heads`: what do attention heads look at, what are they for, and which serve which domain?

1. Patterns of all heads are read on texts: shares of the token before and behind, of the first position, of delimiters,
   entropy, distances between heads (`scores`, `pattern_steps`). Heads are chosen on half of the texts, and claimed is
   what they do on the rest.
2. Sequences that are said twice show induction and duplicates, with tokens of the model's own domain and random ones.
3. Heads are silenced one at a time: what each is worth, and whether its part depends on the domain (`domains`).
4. With a CoNLL-U file, relations beside the best fixed offset (`conllu`, `relations`).
5. The absent case is the same model with shuffled weights, and domains dealt out among the texts.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from clew.errors import FileError
from clew.kit import Kit
from clew.labels.text_encoder import encoder_files, load_encoder, minilm_missing
from clew.progress import Progress
from clew.runs.nulls import with_random_weights
from clew.studies.case import Case
from clew.studies.case_findings import CaseFindings, Picture, Table
from clew.studies.config_checks import within
from clew.studies.heads import scores
from clew.studies.heads.claims import claims_of
from clew.studies.heads.conllu import Sentence, read_sentences
from clew.studies.heads.contexts import induction_prompt, look_rows, nearest_contexts, strongest_neighbour
from clew.studies.heads.exhibits import (
    class_picture,
    context_table,
    domain_picture,
    domain_table,
    head_table,
    look_table,
    map_picture,
    relation_picture,
    relation_table,
)
from clew.studies.heads.head_model import HeadModel
from clew.studies.heads.measured import HeadsMeasured
from clew.studies.heads.pattern_steps import relation_hits, repeat_scores, silenced_effects, text_scores
from clew.studies.heads.relations import KnownRelation, known_relations, pairs_of
from clew.studies.heads.texts import OWN, DomainText, Repeat, read_texts, repeats, world_texts
from clew.studies.study import Absent, Study


@dataclass(frozen=True, kw_only=True)
class HeadsConfig:
    """Settings of the study."""

    encoder: str | None = None
    """In place of the kit's model an encoder like BERT: minilm (the extra), a folder or a hub id."""
    texts: Path | None = None
    """Your texts: a CSV or TSV with the columns text and, where you know it, domain. Left out, the small world's
    sentences in four domains."""
    treebank: Path | None = None
    """A CoNLL-U file with sentences and their grammar, for relations."""
    per_kind: int = 8
    """How many sentences of each of the world's 23 kinds are read."""
    repeats: int = 40
    """How many sequences are said twice."""
    length: int = 10
    """Tokens of a sequence that is said twice; the world's lists have 6 to 12 words."""
    draws: int = 200
    """How often keys are drawn, and domains dealt out."""
    shuffled: bool = field(default=False, metadata={"option": False})
    """Shuffle an encoder's weights, and deal out domains: the case in which nothing was learned."""
    seed: int = 0
    """Seed of texts, sequences, keys and shuffles."""

    def __post_init__(self) -> None:
        within(self, per_kind=(2, 1000), repeats=(4, 1000), length=(4, 500), draws=(20, 10_000))


@dataclass(frozen=True, kw_only=True, eq=False)
class HeadMaterial:
    """What is read: the model, texts, sequences, sentences with their grammar."""

    model: HeadModel
    texts: Sequence[DomainText]
    sequences: dict[str, list[Repeat]]
    sentences: Sequence[Sentence]


def measure(case: Case[HeadsConfig]) -> Iterator[Progress | CaseFindings]:
    """Measure one case; ends with its CaseFindings."""
    config = case.config
    of = _material(case.kit, config)
    model = of.model
    numbers = yield from case.part("texts", text_scores(model, of.texts, config.draws, config.seed))
    repeated = yield from case.part("repeats", repeat_scores(model, of.sequences, config.draws, config.seed))
    silenced = yield from case.part("silenced", silenced_effects(model, of.texts))
    relations: list[KnownRelation] = []
    if of.sentences:
        pairs = pairs_of(of.sentences, causal=model.causal)
        hits = yield from case.part("relations", relation_hits(model, of.sentences, pairs))
        relations = known_relations(pairs, hits["right"].numpy().astype(np.int64))
    measured = HeadsMeasured(
        model=model,
        texts=of.texts,
        numbers={name: each.numpy() for name, each in numbers.items()},
        repeated={name: each.numpy() for name, each in repeated.items()},
        effects=silenced["effects"].numpy(),
        draws=config.draws,
        seed=config.seed,
        dealt=config.shuffled,
        relations=relations,
    )
    yield Progress(what="contexts", done=0, of=1)
    tables, figures = _exhibits(case.kit, of, measured)
    yield CaseFindings(claims=claims_of(measured), tables=tables, figures=figures)


def _exhibits(kit: Kit, of: HeadMaterial, measured: HeadsMeasured) -> tuple[dict[str, Table], dict[str, Picture]]:
    contexts = context_table(nearest_contexts(of.model, of.texts, measured.shown))
    tables = {"heads": head_table(measured), "contexts": contexts}
    figures = {"classes": class_picture(measured), "map": map_picture(measured)}
    if measured.domains_known:
        tables["domains"] = domain_table(measured)
        figures["domains"] = domain_picture(measured)
    if measured.relations:
        tables["relations"] = relation_table(measured.relations, measured)
        figures["relations"] = relation_picture(measured.relations, measured)
    if of.model.causal and kit.dictionary.kind != "sae":
        head = measured.shown[scores.INDUCTION]
        prompts = {scores.INDUCTION: (head, *induction_prompt(of.sequences[OWN][0]))}
        before = measured.shown[scores.PREVIOUS]
        prompts[scores.PREVIOUS] = (before, *strongest_neighbour(of.model, of.texts[0], before))
        tables["looks"] = look_table(look_rows(kit, prompts, of.model.n_heads))
    return tables, figures


def _material(kit: Kit, config: HeadsConfig) -> HeadMaterial:
    """What a config asks for; errors are those of the readers."""
    model = _model(kit, config)
    world = config.texts is None
    texts = (
        world_texts(model, config.per_kind, config.seed) if config.texts is None else read_texts(config.texts, model)
    )
    sequences = repeats(model, texts, config.repeats, config.length, config.seed, world=world)
    sentences = [] if config.treebank is None else read_sentences(config.treebank)
    for sentence in sentences:
        n_tokens = sum(len(model.piece_ids(f" {word.word}")) for word in sentence.words)
        if n_tokens + len(model.prefix) + len(model.suffix) > model.longest:
            raise FileError(
                f"the sentence at line {sentence.line} of {config.treebank} has {n_tokens} tokens, and {model.name} "
                f"reads {model.longest}: leave it out"
            )
    return HeadMaterial(model=model, texts=texts, sequences=sequences, sentences=sentences)


def _model(kit: Kit, config: HeadsConfig) -> HeadModel:
    if config.encoder is None:
        return HeadModel.of_subject(kit.subject)
    encoder = load_encoder(config.encoder)
    if config.shuffled:
        encoder = replace(encoder, model=_shuffled(encoder.model, config.seed))
    return HeadModel.of_encoder(encoder)


@torch.no_grad()
def _shuffled(model: torch.nn.Module, seed: int) -> torch.nn.Module:
    """The same model with the entries of every parameter in another order."""
    generator, shuffled = torch.Generator().manual_seed(seed), copy.deepcopy(model)
    for parameter in shuffled.parameters():
        parameter.copy_(parameter.flatten()[torch.randperm(parameter.numel(), generator=generator)].view_as(parameter))
    return shuffled


def needs(kit: Kit, config: HeadsConfig) -> str:
    """What the kit lacks; errors of what the config names are raised here, before anything is measured."""
    if config.encoder is None and kit.subject.tokenizer is None:
        return "its model has no tokenizer, and the texts are text: give --encoder, or a model with one"
    if config.encoder is not None and (nothing := minilm_missing(config.encoder)):
        return nothing
    if replace(config, seed=0) == HeadsConfig():  # a page that lists all studies need not read the world's sentences
        HeadModel.of_subject(kit.subject)
    else:
        _material(kit, config)
    return ""


def absent(kit: Kit, config: HeadsConfig) -> Absent[HeadsConfig]:
    """The model that has learned nothing."""
    if config.encoder is None:
        shuffled = with_random_weights(kit.subject, seed=config.seed)
        kit = Kit(shuffled, name=shuffled.name)
    return Absent(
        kit=kit,
        config=replace(config, shuffled=True),
        why="The same model with the entries of every weight shuffled has learned nothing, and domains are dealt out "
        "among the texts.",
    )


def _tables(config: HeadsConfig) -> list[Path | None]:
    return [config.texts, config.treebank, *([] if config.encoder is None else encoder_files(config.encoder))]


HEADS = Study(
    name="heads",
    question="What do attention heads look at, and which parts of a text are they for?",
    source="Clark et al. 2019, What Does BERT Look At?; Olsson et al. 2022, In-context Learning and Induction Heads",
    config=HeadsConfig,
    needs=needs,
    measure=measure,
    absent=absent,
    reduced=lambda config: None,
    tables=_tables,
)
