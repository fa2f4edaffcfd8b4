"""What a run's folder says of its run: the model, the settings, the rows of text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clew import files
from clew.errors import FileError, InputError

if TYPE_CHECKING:
    from clew.subject import Subject
    from clew.training.config import DictionaryConfig
    from clew.training.corpus import Documents
    from clew.training.corpus_config import CorpusConfig

ENVELOPE = files.Envelope(format="clew.training", schema=1, what="training run")
NAME = "run.json"
TOKENS = "tokens.safetensors"
IN_FILES = ("preset", "start", "layer_weights")  # what a file of settings may say beside them
TOLD = ("model", "cache", "start", "layer_weights")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run is to do."""

    model: str
    config: DictionaryConfig
    corpus: CorpusConfig
    cache: bool
    start: str | None = None
    layer_weights: list[float] | None = None


def planned(told: dict[str, Any], file: Path | None, settings: dict[str, Any]) -> Plan:
    """What is said with options, over what a file says, over a preset; `told` is what is no setting of a config."""
    from clew.training.presets import configured, preset, read_settings, typed

    given = {} if file is None else read_settings(file)
    for name in ("kit", "model", "cache", "yes", "check_every"):
        if name in given:
            raise InputError(f"{name} stands in {file}: leave it out there, and give --{name.replace('_', '-')}")
    told = {name: given.pop(name) for name in IN_FILES if given.get(name) is not None} | told
    given = typed(given | settings)  # a mistake is found before the model is loaded
    source = told.get("model") or told.get("kit") or "minnow"
    subject = load_subject(source)
    dictionary, corpus = configured(preset(str(told.get("preset", "small")), subject.d_model) | given)
    dictionary.widths(subject.n_layers)  # refused now if they are of another number of layers
    start, weights = told.get("start"), told.get("layer_weights")
    return Plan(
        model=source,
        config=dictionary,
        corpus=corpus,
        cache=bool(told.get("cache")),
        start=None if start is None else str(start),
        layer_weights=None if weights is None else _weights(weights),
    )


def _weights(given: Any) -> list[float]:
    """`1,1,4`, or a list of numbers."""
    if isinstance(given, list) and all(isinstance(one, int | float) for one in given):
        return [float(one) for one in given]
    from clew.training.presets import parted

    return list(parted(str(given), float))


def resumed(folder: Path | None, file: Path | None, given: dict[str, Any]) -> tuple[Plan, Path]:
    """The plan of the run in a folder; InputError when something is given that the run has already."""
    if folder is None:
        raise InputError("say which run to go on with: clew train FOLDER --resume")
    if given or file is not None:
        named = ", ".join(f"--{name.replace('_', '-')}" for name in given) or "--config"
        raise InputError(f"a run is resumed with its own settings: leave out {named}")
    return read_run(folder), folder


def read_run(folder: Path) -> Plan:
    """The plan of the run in a folder; FileError when there is none."""
    from clew.training.presets import configured

    found = files.read_json(folder / NAME)
    if not ENVELOPE.matches(found):
        raise FileError(f"{folder / NAME} does not describe a training run")
    for name, kind in (("schema", int), ("model", str), ("settings", dict)):
        if not isinstance(found.get(name), kind):
            raise FileError(f"{folder / NAME} does not say its {name}: it is not whole, begin the run anew")
    ENVELOPE.check(found, folder / NAME)
    dictionary, corpus = configured(found["settings"])
    told: dict[str, Any] = {name: found.get(name) for name in TOLD}
    return Plan(config=dictionary, corpus=corpus, **told)


def run_of(source: str) -> Path | None:
    """The folder of the run that a source is, or whose dictionary it is; None for what belongs to no run."""
    here = Path(source)
    return next((folder for folder in (here, here.parent) if (folder / NAME).is_file()), None)


def write_run(folder: Path, plan: Plan) -> None:
    """Say in a folder that a run has begun there; `read_run` gives the plan again."""

    about: dict[str, Any] = {name: getattr(plan, name) for name in TOLD}
    about["settings"] = asdict(plan.config) | asdict(plan.corpus)
    files.write_json(folder / NAME, ENVELOPE.head(**files.provenance(**about)))


def positions_wanted(plan: Plan) -> int:
    """Positions of text that a run of this plan takes, if there are so many."""
    return plan.corpus.reading(int(1.02 * plan.config.steps * plan.config.batch))


def rows_to_train_on(subject: Subject, plan: Plan, positions: int) -> Documents:
    """Rows with so many positions, or all that there are; InputError when those to train on do not fill the buffer."""
    from clew.training.activations import check_fills
    from clew.training.corpus import open_corpus, split_held_out

    documents = open_corpus(subject, plan.corpus, positions=positions, seed=plan.config.seed, world=small_world)
    check_fills(subject, split_held_out(documents, plan.corpus.held_out)[1], plan.corpus.buffer)
    return documents


def rows_of(folder: Path, subject: Subject, plan: Plan) -> tuple[Documents, Documents]:
    """Rows that a run holds out, and rows that it trains on."""
    from clew.training.corpus import load_tokens, split_held_out

    return split_held_out(load_tokens(folder / TOKENS, subject), plan.corpus.held_out)


def load_subject(source: str) -> Subject:
    """A kit's model, or a model by its folder or hub id."""
    from clew import kit
    from clew.subject import Subject

    for place in (kit.BUNDLED / source, Path(source)):
        if (place / "kit.json").is_file():
            subject = Subject.load(place / "model")
            subject.name = source if place.parent == kit.BUNDLED else place.name
            return subject
    return Subject.load(source)


def small_world(positions: int) -> Iterable[str]:
    """Documents of the small world with at least so many positions, if its corpus has them."""
    from clew.organism.world import World

    world = World(seed=0)
    few = min(world.n_statements, positions // 8 + 100)  # a statement has twelve tokens
    documents = world.corpus(few).documents
    return documents if few == world.n_statements else documents[:-1]  # the last one may be cut short
