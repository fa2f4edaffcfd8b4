"""Write an atlas: everything that was found, into one SQLite file that is whole or not there.

meta      what it is of: dictionary, corpus, layers, settings, versions; `content` is a hash of all that follows
cards     blocks of 32 features (`packing`), by the number of the block
texts     blocks of documents that contexts are taken from, by the first document's number
pool      the contexts in which features may be silent
summary   density, largest activation and promoted tokens of all features, to search in
tokens    texts of the tokens that occur
rules     what the rules say of every feature (`heuristic`): blocks of 512 labels, text and what it rests on, by the
          number of the block
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from clew import files
from clew.dictionary.dictionary import Dictionary
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
    Found,
    Packer,
)
from clew.features.tables import Relations
from clew.harvest.counting import settle
from clew.harvest.feature_tables import Tally, merged
from clew.harvest.gather import EVERY, HarvestProgress, gather
from clew.harvest.relations import relate
from clew.harvest.sampled_positions import silent, together
from clew.labels.rules import NEVER_FIRED, heuristic_label
from clew.subject.subject import Subject
from clew.training.corpus import Documents

NOT_ASKED = "no rule was asked for"
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
    **facts: Any,
) -> Iterator[HarvestProgress]:
    """Catalogue a dictionary on some documents into an atlas; what is done is kept beside it until it is written.

    With `resume`, a harvest that was stopped goes on. `facts` go into the provenance. FileError when another file than
    an atlas is in the way.
    """
    path = Path(path)
    check_target(path)
    part = path.with_name(path.name + ".part")
    yield from gather(subject, dictionary, documents, part, config=config, resume=resume, every=every)
    yield from finish(subject, dictionary, documents, [part], path, **facts)
    part.unlink()


def finish(
    subject: Subject,
    dictionary: Dictionary,
    documents: Documents,
    parts: list[Path | str] | list[Path],
    path: Path | str,
    **facts: Any,
) -> Iterator[HarvestProgress]:
    """Add up parts, in any order, and write the atlas.

    MismatchError when a part is of something else, InputError when some documents are in none or in two, FileError when
    another file than an atlas is in the way.
    """
    check_target(path)
    tally = merged(parts)
    harvested_here(tally, dictionary, documents)
    if not tally.whole:
        raise InputError(f"the parts hold documents {tally.ranges}, not all of 0 to {len(documents)}")
    relations: Relations | None = None
    settings = tally.of.config
    for report in relate(subject, dictionary, promoted=settings.promoted, related=settings.related):
        if isinstance(report, Relations):
            relations = report
        else:
            yield report
    assert relations is not None
    layers = [(layer, dictionary.d_features(layer)) for layer in sorted(dictionary.layers)]
    files.clear_temporaries(path)
    yield from write_atlas(path, tally, relations, documents, subject, layers, **facts)


def check_target(path: Path | str, *, replace: bool = True) -> None:
    """FileError when an atlas cannot be written there: a file that is none is never replaced, an atlas if allowed."""
    path = Path(path)
    if not path.exists():
        return
    try:
        files.read_database(path, ENVELOPE).close()
    except FileError as error:
        raise FileError(f"{path} is there already and is no atlas: it is left as it is, give another name") from error
    if not replace:
        raise FileError(f"{path} is an atlas already: give another name, or --replace to harvest it anew")


def harvested_here(tally: Tally, dictionary: Dictionary, documents: Documents) -> None:
    """MismatchError unless a tally is of this dictionary and these documents."""
    from clew.harvest.gather import harvested

    harvested(dictionary, documents, tally.of.config).check(tally.of, "the part")


def write_atlas(
    path: Path | str,
    tally: Tally,
    relations: Relations,
    documents: Documents,
    subject: Subject,
    layers: list[tuple[int, int]],
    **facts: Any,
) -> Iterator[HarvestProgress]:
    """Write what was found, and what rules say of it; the tally's slots are put in order on the way."""
    settle(tally.top)
    settle(tally.bands)
    config = tally.of.config
    pool, chosen = silent(tally, config.silent)
    found = Found(
        counts=tally.counts,
        top=tally.top,
        bands=tally.bands,
        relations=relations,
        together=together(tally, config.related),
        silent=chosen,
    )
    about = {
        "dictionary": tally.of.dictionary,
        "corpus": tally.of.corpus,
        "model": subject.name,
        "layers": layers,
        "n_documents": tally.of.n_documents,
        "everything": tally.everything.tolist(),
        "config": asdict(config),
    }
    with files.new_database(path, ENVELOPE, tables=TABLES) as made:
        packer = Packer()
        packer.digest.update(json.dumps(about, sort_keys=True).encode())
        _write_cards(made, packer, found)
        used = _write_texts(made, packer, _kept(tally, pool, documents), documents)
        made.execute("INSERT INTO pool VALUES (?)", (packer.pack(POOL, pool),))
        made.execute("INSERT INTO summary VALUES (?)", (packer.pack(SUMMARY, _summary(found)),))
        tokens = np.unique(np.concatenate([used, relations.promoted.feature, relations.suppressed.feature], None))
        rows = list(zip(tokens.tolist(), subject.token_strings(tokens.tolist()), strict=True))
        packer.digest.update(json.dumps(rows).encode())
        made.executemany("INSERT INTO tokens VALUES (?, ?)", rows)
        meta: dict[str, Any] = {"about": about, "content": "", "date": now(), "provenance": files.provenance(**facts)}
        yield from _write_rules(made, packer, Atlas.reading(Path(path), made, meta), found.counts.fired, config.rules)
        meta["content"] = packer.digest.hexdigest()
        made.executemany("INSERT INTO meta VALUES (?, ?)", [(k, json.dumps(v)) for k, v in meta.items()])


def _write_rules(
    made: sqlite3.Connection, packer: Packer, atlas: Atlas, fired: np.ndarray, wanted: bool
) -> Iterator[HarvestProgress]:
    """Label every feature by rule, from its card as it was written; those that never fired need none."""
    for block, begin in enumerate(range(0, len(fired), RULES)):
        some = fired[begin : begin + RULES]
        said = [[UNCLEAR, NOT_ASKED if n else NEVER_FIRED] for n in some]
        alive = begin + some.nonzero()[0] if wanted else np.zeros(0, np.int64)
        for number, card in zip(alive.tolist(), atlas.cards(alive.tolist()), strict=True):
            label = heuristic_label(card)
            said[number - begin] = [label.text, label.note]
        made.execute("INSERT INTO rules VALUES (?, ?)", (block, packer.pack_json(said)))
        yield HarvestProgress(what="labels by rule", done=begin + len(said), of=len(fired))


def _write_cards(made: sqlite3.Connection, packer: Packer, found: Found) -> None:
    n = len(found.counts.fired)
    for block, begin in enumerate(range(0, n, GROUP)):
        content = packer.pack(CARDS, found.block(begin, min(begin + GROUP, n)))
        made.execute("INSERT INTO cards VALUES (?, ?)", (block, content))


def _summary(found: Found) -> dict[str, np.ndarray]:
    promoted = found.relations.promoted.feature[:, :SUMMARY_TOKENS]
    return {"fired": found.counts.fired, "most": found.counts.most, "mean": found.means(), "promoted": promoted}


def _kept(tally: Tally, pool: dict[str, np.ndarray], documents: Documents) -> np.ndarray:
    """Which tokens of the corpus lie in a context that some card shows."""
    tables = [(slots.document, slots.position) for slots in (tally.top, tally.bands)]
    tables.append((pool["document"], pool["position"]))
    edges = np.zeros(len(documents.tokens) + 1, np.int32)
    starts = documents.starts.numpy()
    for document, position in tables:
        own = document >= 0
        begin, end = starts[document[own]], starts[document[own] + 1]
        here = begin + position[own]
        np.add.at(edges, np.maximum(begin, here - tally.of.config.before), 1)
        np.add.at(edges, np.minimum(end, here + tally.of.config.after + 1), -1)
    return edges.cumsum()[:-1] > 0


def _write_texts(made: sqlite3.Connection, packer: Packer, kept: np.ndarray, documents: Documents) -> np.ndarray:
    """Write the tokens of contexts; returns which there are."""
    tokens, starts = documents.tokens.numpy(), documents.starts.numpy()
    used = np.unique(tokens[kept])
    first = 0
    while first < len(documents):
        stop = max(first + 1, int(np.searchsorted(starts, starts[first] + TEXT_TOKENS, side="right")) - 1)
        own = slice(starts[first], starts[stop])
        block = {
            "length": np.diff(starts[first : stop + 1]),
            "kept": np.packbits(kept[own]),
            "token": tokens[own][kept[own]],
        }
        made.execute("INSERT INTO texts VALUES (?, ?)", (first, packer.pack(TEXTS, block)))
        first = stop
    return used
