"""Harvest an atlas, and write it: one SQLite file, replaced atomically.

meta      its dictionary, corpus, layers, settings, versions; `content` is a hash of all that follows
cards     blocks of 32 features (`packing`), by the number of the block
texts     blocks of documents that contexts are taken from, by the first document's number
pool      the contexts in which features may be silent
summary   density, largest activation and promoted tokens of all features, to search in
tokens    texts of the tokens that occur
rules     the label by rule of every feature: blocks of 512 labels, text, evidence and scores, by the block's number
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from clew import files
from clew.dictionary.dictionary import Dictionary
from clew.distributed import ALONE, Ranks
from clew.errors import FileError, InputError
from clew.features.atlas import Atlas
from clew.features.config import HarvestConfig
from clew.features.label import UNCLEAR, now
from clew.features.packing import (
    CARDS,
    ENVELOPE,
    GROUP,
    POOL,
    RULES,
    SUMMARY,
    SUMMARY_TOKENS,
    TEXTS,
    AtlasTables,
    Packer,
    rule_row,
)
from clew.features.tables import Relations
from clew.harvest.counting import settle
from clew.harvest.feature_tables import FeatureTables, merged
from clew.harvest.gather import EVERY, HarvestProgress, gather, origin_of, part_of
from clew.harvest.relations import compared, relate
from clew.harvest.sampled_positions import lookalikes, silent, together
from clew.labels.rules import NEVER_FIRED, NOT_ASKED
from clew.labels.scoring import labelled_by_rule
from clew.subject.subject import Subject
from clew.training.corpus import Documents

EVERY_LABELS = 64  # features between two reports
TEXT_TOKENS = 1024  # tokens of the documents in one block of texts, if they are shorter
TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE cards (block INTEGER PRIMARY KEY, content BLOB);
CREATE TABLE texts (first INTEGER PRIMARY KEY, content BLOB);
CREATE TABLE pool (content BLOB);
CREATE TABLE summary (content BLOB);
CREATE TABLE tokens (id INTEGER PRIMARY KEY, text TEXT);
CREATE TABLE rules (block INTEGER PRIMARY KEY, content BLOB);
"""


def harvest(
    subject: Subject,
    dictionary: Dictionary,
    documents: Documents,
    path: Path | str,
    *,
    config: HarvestConfig | None = None,
    resume: bool = False,
    every: int = EVERY,
    ranks: Ranks = ALONE,
    **facts: Any,
) -> Iterator[HarvestProgress]:
    """Harvest a dictionary on some documents into an atlas; tables are kept in a file beside it until it is written.

    With `resume`, a harvest that was stopped goes on. `facts` go into the provenance. Each of several ranks reads a
    part of the documents, and the first one adds the parts up and writes. FileError when a file that is no atlas stands
    at the path, and while another process harvests into it; else those of `gather` and `finish`.
    """
    path = Path(path)
    check_target(path)
    parts = parts_beside(path, ranks)
    start, stop = part_of(documents, ranks.rank + 1, ranks.size)
    with files.lock_file(path, "a harvest") if ranks.first else nullcontext():
        chosen = config or HarvestConfig()
        ranks.check_same({name: str(value) for name, value in asdict(origin_of(dictionary, documents, chosen)).items()})
        yield from gather(
            subject, dictionary, documents, parts[ranks.rank], config=config, resume=resume, every=every, start=start,
            stop=stop,
        )  # fmt: skip
        ranks.total(0)  # all parts are there
        if ranks.first:
            yield from finish(subject, dictionary, documents, parts, path, **facts)
            for part in parts:
                part.unlink()


def parts_beside(path: Path, ranks: Ranks) -> list[Path]:
    """Where the ranks of a harvest keep what they have counted until its atlas is written."""
    if ranks.size == 1:
        return [path.with_name(path.name + ".part")]
    return [path.with_name(f"{path.name}.{rank + 1}-of-{ranks.size}.part") for rank in range(ranks.size)]


def finish(
    subject: Subject,
    dictionary: Dictionary,
    documents: Documents,
    parts: list[Path | str] | list[Path],
    path: Path | str,
    **facts: Any,
) -> Iterator[HarvestProgress]:
    """Add up parts, in any order, and write the atlas.

    Where not all features were compared with one another, the provenance says how many were, under `related_features`.
    MismatchError when a part is of another dictionary, corpus or settings, or the dictionary is another model's;
    InputError when some documents are in no part or in two, FileError when a file that is no atlas stands at the path.
    """
    check_target(path)
    dictionary.check_fits(subject)
    tables = merged(parts)
    check_origin(tables, dictionary, documents)
    if not tables.complete:
        raise InputError(f"the parts hold documents {tables.ranges}, not all of 0 to {len(documents)}")
    relations: Relations | None = None
    config, fired = tables.origin.config, tables.counts.fired
    n_compared = len(compared(dictionary, fired))
    if config.related and n_compared < len(fired):
        facts["related_features"] = {"compared": n_compared, "of": len(fired)}
    for report in relate(subject, dictionary, promoted=config.promoted, related=config.related, fired=fired):
        if isinstance(report, Relations):
            relations = report
        else:
            yield report
    assert relations is not None
    layers = [(layer, dictionary.d_features(layer)) for layer in sorted(dictionary.layers)]
    files.clear_temporaries(path)
    yield from write_atlas(path, tables, relations, documents, subject, layers, **dictionary.other_model, **facts)


def check_target(path: Path | str, *, replace: bool = True) -> None:
    """FileError when no atlas can be written there: a file of another kind is never replaced, an atlas if allowed."""
    path = Path(path)
    if not path.exists():
        return
    try:
        files.read_database(path, ENVELOPE).close()
    except FileError as error:
        raise FileError(f"{path} is there already and is no atlas: it is left as it is, give another name") from error
    if not replace:
        raise FileError(f"{path} is an atlas already: give another name, or --replace to harvest it anew")


def check_origin(tables: FeatureTables, dictionary: Dictionary, documents: Documents) -> None:
    """MismatchError unless tables are of this dictionary and these documents."""
    origin_of(dictionary, documents, tables.origin.config).check(tables.origin, "the part")


def write_atlas(
    path: Path | str,
    tables: FeatureTables,
    relations: Relations,
    documents: Documents,
    subject: Subject,
    layers: list[tuple[int, int]],
    **facts: Any,
) -> Iterator[HarvestProgress]:
    """Write the atlas, labels by rule last; the slots of the tables are sorted in place."""
    settle(tables.top)
    settle(tables.bands)
    config = tables.origin.config
    pool, chosen = silent(tables, config.silent, documents, lookalikes(tables, documents, relations))
    rows = AtlasTables(
        counts=tables.counts,
        top=tables.top,
        bands=tables.bands,
        relations=relations,
        together=together(tables, config.related),
        silent=chosen,
    )
    about = {
        "dictionary": tables.origin.dictionary,
        "corpus": tables.origin.corpus,
        "model": subject.name,
        "layers": layers,
        "n_documents": tables.origin.n_documents,
        "everything": tables.everything.tolist(),
        "config": asdict(config),
    }
    with files.new_database(path, ENVELOPE, tables=TABLES) as database:
        packer = Packer()
        packer.digest.update(json.dumps(about, sort_keys=True).encode())
        _write_cards(database, packer, rows)
        used = _write_texts(database, packer, _shown(tables, pool, documents), documents)
        database.execute("INSERT INTO pool VALUES (?)", (packer.pack(POOL, pool),))
        database.execute("INSERT INTO summary VALUES (?)", (packer.pack(SUMMARY, _summary(rows)),))
        tokens = np.unique(np.concatenate([used, relations.promoted.feature, relations.suppressed.feature], None))
        texts = list(zip(tokens.tolist(), subject.token_strings(tokens.tolist()), strict=True))
        packer.digest.update(json.dumps(texts).encode())
        database.executemany("INSERT INTO tokens VALUES (?, ?)", texts)
        meta: dict[str, Any] = {"about": about, "content": "", "date": now(), "provenance": files.provenance(**facts)}
        yield from _write_rules(
            database, packer, Atlas.reading(Path(path), database, meta), tables.counts.fired, config
        )
        meta["content"] = packer.digest.hexdigest()
        database.executemany("INSERT INTO meta VALUES (?, ?)", [(k, json.dumps(v)) for k, v in meta.items()])


def _write_rules(
    database: sqlite3.Connection, packer: Packer, atlas: Atlas, fired: np.ndarray, config: HarvestConfig
) -> Iterator[HarvestProgress]:
    """Label every feature by rule, from its card as it was written; features that never fired are unclear."""
    texts: dict[int, list[str]] = {}
    for block, begin in enumerate(range(0, len(fired), RULES)):
        counts = fired[begin : begin + RULES]
        rows = [[UNCLEAR, NOT_ASKED if count else NEVER_FIRED, []] for count in counts]
        alive = begin + counts.nonzero()[0] if config.rules else np.zeros(0, np.int64)
        for number, card in zip(alive.tolist(), atlas.cards(alive.tolist()), strict=True):
            label = labelled_by_rule(card, texts.setdefault(card.feature.layer, []), scored=config.scores)
            rows[number - begin] = rule_row(label)
            if number % EVERY_LABELS == 0:
                yield HarvestProgress(what="labels by rule", done=number, of=len(fired))
        database.execute("INSERT INTO rules VALUES (?, ?)", (block, packer.pack_json(rows)))
        yield HarvestProgress(what="labels by rule", done=begin + len(rows), of=len(fired))


def _write_cards(database: sqlite3.Connection, packer: Packer, rows: AtlasTables) -> None:
    n = len(rows.counts.fired)
    for block, begin in enumerate(range(0, n, GROUP)):
        content = packer.pack(CARDS, rows.block(begin, min(begin + GROUP, n)))
        database.execute("INSERT INTO cards VALUES (?, ?)", (block, content))


def _summary(rows: AtlasTables) -> dict[str, np.ndarray]:
    promoted = rows.relations.promoted.feature[:, :SUMMARY_TOKENS]
    return {"fired": rows.counts.fired, "most": rows.counts.most, "mean": rows.means(), "promoted": promoted}


def _shown(tables: FeatureTables, pool: dict[str, np.ndarray], documents: Documents) -> np.ndarray:
    """Which tokens of the corpus lie in a context that some card shows."""
    contexts = [(slots.document, slots.position) for slots in (tables.top, tables.bands)]
    contexts.append((pool["document"], pool["position"]))
    edges = np.zeros(len(documents.tokens) + 1, np.int32)
    starts, config = documents.starts.numpy(), tables.origin.config
    for document, position in contexts:
        filled = document >= 0
        begin, end = starts[document[filled]], starts[document[filled] + 1]
        token = begin + position[filled]
        np.add.at(edges, np.maximum(begin, token - config.before), 1)
        np.add.at(edges, np.minimum(end, token + config.after + 1), -1)
    return edges.cumsum()[:-1] > 0


def _write_texts(database: sqlite3.Connection, packer: Packer, shown: np.ndarray, documents: Documents) -> np.ndarray:
    """Write the tokens that are shown; returns their ids, each once."""
    tokens, starts = documents.tokens.numpy(), documents.starts.numpy()
    used = np.unique(tokens[shown])
    first = 0
    while first < len(documents):
        stop = max(first + 1, int(np.searchsorted(starts, starts[first] + TEXT_TOKENS, side="right")) - 1)
        block_tokens = slice(starts[first], starts[stop])
        block = {
            "length": np.diff(starts[first : stop + 1]),
            "kept": np.packbits(shown[block_tokens]),
            "token": tokens[block_tokens][shown[block_tokens]],
        }
        database.execute("INSERT INTO texts VALUES (?, ?)", (first, packer.pack(TEXTS, block)))
        first = stop
    return used
