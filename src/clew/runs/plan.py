"""The plan of a training run: model, settings and text; and the folder that keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from clew import files
from clew.errors import FileError, InputError
from clew.kit import load_subject
from clew.runs.conflicts import check_run
from clew.runs.sources import RUN_FILE, small_world
from clew.subject.subject import Subject
from clew.training.activations import check_fills
from clew.training.config import DictionaryConfig
from clew.training.corpus import Document, encode_documents, load_tokens, open_corpus
from clew.training.corpus_config import CorpusConfig, with_bos
from clew.training.documents import Documents, split_held_out
from clew.training.presets import configured, parted, preset, read_settings, typed

ENVELOPE = files.Envelope(format="clew.training", schema=1, what="training run")
TOKENS = "tokens.safetensors"
IN_FILES = ("preset", "start", "layer_weights")  # options that a file of settings may have
NOT_IN_FILES = ("kit", "model", "cache", "yes", "check_every", "shard")
FACTS = ("model", "cache", "start", "layer_weights")  # of a plan, in run.json beside its settings


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run is to do."""

    model: str
    config: DictionaryConfig
    corpus: CorpusConfig
    cache: bool
    start: str | None = None
    layer_weights: list[float] | None = None


def planned(
    options: Mapping[str, Any], file: Path | None, settings: Mapping[str, Any], subject: Subject | None = None
) -> Plan:
    """The plan that options and settings make, over those of a file, over a preset.

    `options` are fields of RunOptions, `settings` of DictionaryConfig and CorpusConfig. The subject is loaded unless it
    is there. InputError for a setting that is unknown or does not fit the model, FileError for what cannot be read.
    """
    from_file, settings = {} if file is None else with_bos(read_settings(file)), with_bos(settings)
    for name in NOT_IN_FILES:
        if name in from_file:
            raise InputError(f"{name} stands in {file}: leave it out there, and give --{name.replace('_', '-')}")
    options = {name: from_file.pop(name) for name in IN_FILES if from_file.get(name) is not None} | dict(options)
    chosen = typed(from_file | dict(settings))  # a mistake is reported before the model is loaded
    check_run(options, chosen)
    source = options.get("model") or options.get("kit") or "minnow"
    if subject is None:
        subject = load_subject(source)
    else:
        source = subject.name
    dictionary, corpus = configured(preset(str(options.get("preset", "small")), subject.d_model) | chosen)
    dictionary.widths(subject.n_layers)  # InputError when widths are given for another number of layers
    start, weights = options.get("start"), options.get("layer_weights")
    return Plan(
        model=source,
        config=dictionary,
        corpus=corpus,
        cache=bool(options.get("cache")),
        start=None if start is None else str(start),
        layer_weights=None if weights is None else _weights(weights),
    )


def _weights(weights: Any) -> list[float]:
    """`1,1,4`, or several numbers."""
    if isinstance(weights, list | tuple) and all(isinstance(weight, int | float) for weight in weights):
        return [float(weight) for weight in weights]
    return list(parted(str(weights), float))


def resumed(folder: Path | None, file: Path | None, options: Mapping[str, Any]) -> tuple[Plan, Path]:
    """The plan of the run in a folder; InputError when something is given that the run has already."""
    if folder is None:
        raise InputError("say which run to go on with: clew train FOLDER --resume")
    if options or file is not None:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in options) or "--config"
        raise InputError(f"a run is resumed with its own settings: leave out {names}")
    return read_run(folder), folder


def read_run(folder: Path) -> Plan:
    """The plan of the run in a folder; FileError when there is none."""
    path = folder / RUN_FILE
    head = files.read_json(path)
    if not ENVELOPE.matches(head):
        raise FileError(f"{path} does not describe a training run")
    for name, kind in (("schema", int), ("model", str), ("settings", dict)):
        if not isinstance(head.get(name), kind):
            raise FileError(f"{path} does not say its {name}: it is not whole, begin the run anew")
    ENVELOPE.check(head, path)
    dictionary, corpus = configured(head["settings"])
    facts: dict[str, Any] = {name: head.get(name) for name in FACTS}
    return Plan(config=dictionary, corpus=corpus, **facts)


def write_run(folder: Path, plan: Plan) -> None:
    """Write run.json, which says that a run has begun in a folder; `read_run` gives the plan again."""
    facts: dict[str, Any] = {name: getattr(plan, name) for name in FACTS}
    facts["settings"] = asdict(plan.config) | asdict(plan.corpus)
    files.write_json(folder / RUN_FILE, ENVELOPE.head(**files.provenance(**facts)))


def positions_wanted(plan: Plan) -> int:
    """Positions of text that a run of this plan takes, if there are so many."""
    return plan.corpus.reading(int(1.02 * plan.config.steps * plan.config.batch))


def rows_to_train_on(subject: Subject, plan: Plan, positions: int, corpus: list[Document] | None = None) -> Documents:
    """Rows with so many positions, or all that there are; InputError when those to train on do not fill the buffer.

    `corpus` are documents in memory, in place of those that the plan names.
    """
    if corpus is None:
        documents = open_corpus(subject, plan.corpus, positions=positions, seed=plan.config.seed, world=small_world)
    else:
        bos, context = plan.corpus.bos, plan.corpus.context
        documents = encode_documents(subject, corpus, bos=bos, context=context, positions=positions)
    check_fills(subject, split_held_out(documents, plan.corpus.held_out)[1], plan.corpus.buffer)
    return documents


def rows_of(folder: Path, subject: Subject, plan: Plan) -> tuple[Documents, Documents]:
    """Rows that a run holds out, and rows that it trains on."""
    return split_held_out(load_tokens(folder / TOKENS, subject), plan.corpus.held_out)
