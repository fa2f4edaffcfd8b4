"""A training run from a plan to a finished folder: `clew.train`, and the steps that the command line takes one by one.

A run's folder holds run.json (the plan), tokens.safetensors (its rows of text), checkpoint.safetensors,
metrics.parquet and metrics.png (what was measured on the way), activations/ where they are cached, and at the end
dictionary/.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from clew import files
from clew.dictionary.dictionary import Dictionary
from clew.distributed import ALONE, Ranks
from clew.errors import ClewError, FileError, InputError
from clew.kit import load_subject
from clew.progress import Progress, Report, silent
from clew.runs.fidelity import Fidelity, measure_fidelity
from clew.runs.options import RunOptions, keywords_of
from clew.runs.plan import (
    TOKENS,
    Plan,
    planned,
    positions_wanted,
    read_run,
    resumed,
    rows_of,
    rows_to_train_on,
    write_run,
)
from clew.runs.sources import RUN_FILE, is_kit, kit_dictionary
from clew.runs.training_metrics import Metrics
from clew.subject.subject import Subject
from clew.training import cache, trainer
from clew.training.checkpoint import NAME as CHECKPOINT
from clew.training.config import DictionaryConfig
from clew.training.corpus import Document, save_tokens
from clew.training.corpus_config import BosChoice, CorpusConfig
from clew.training.documents import Documents, split_held_out
from clew.training.split import WHOLE, Split, split_among
from clew.training.trainer import TrainingReport, check_layer_weights
from clew.training.warm_start import check_start, stopped

CHECK_POSITIONS = 2048  # positions of held-out text measured while training
TRAINING = "training"
"""What a process does that holds a run's folder, as others are told."""
FIRST_CHECK = 100  # steps until the first of these measurements, or a tenth of a short run
Allow = Callable[[Path, int, int], None]
"""Called with the folder, the positions and the bytes of a cache before it is written; may raise."""


@dataclass(frozen=True, kw_only=True)
class TrainSettings(RunOptions, DictionaryConfig, CorpusConfig, BosChoice):
    """Every setting of a training run: its options, its dictionary, its text."""

    subject: Subject | None = None
    """A model in memory, in place of a kit or a model by name. To be resumed from the command line, its name must be a
    folder or hub id."""
    corpus: Iterable[str | Sequence[int]] | None = field(default=None, repr=False)
    """Documents in memory, as text or token ids, in place of those that `text` names."""
    resume: bool = False
    """Continue the run in the folder, with its own settings."""
    stop: Callable[[], bool] | None = None
    """Called after every step; when it returns True, a checkpoint is saved and training stops."""
    report: Report = field(default=silent, repr=False)
    """Called while activations are written to disk."""
    ranks: Ranks = field(default=ALONE, repr=False)
    """The processes that share the work, from `clew.distributed.joined`; all of them call with the same settings."""


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """A run that is ready to train."""

    folder: Path
    plan: Plan
    subject: Subject
    held_out: Documents
    documents: Documents
    """The rows that are trained on."""
    start: Dictionary | None = None
    """The dictionary whose weights the run begins with."""
    lost_start: ClewError | None = None
    """Why a run that continues cannot read the dictionary that it began with; it continues without naming it."""
    continues: bool = False
    """Whether there is a checkpoint to continue from."""
    split: Split = WHOLE
    """How the ranks of the run share the work, of which the first one writes."""

    @property
    def positions(self) -> int:
        """Positions of the text that are trained on."""
        return int(self.documents.counts.sum())

    @property
    def readings(self) -> float:
        """How many times the whole training reads its text; above 1 the text is smaller than the training."""
        return readings(self.plan.config, self.positions)


def readings(config: DictionaryConfig, positions: int) -> float:
    """How many times a training reads a text of so many positions."""
    return config.steps * config.batch / positions


@dataclass(frozen=True, kw_only=True)
class RunReport:
    """The state of a run after a step, with the last measurement on held-out text."""

    training: TrainingReport
    held_out: Fidelity | None
    held_out_step: int
    """The step at which it was measured."""
    readings: float = 0.0
    """How many times the text has been read so far."""

    @property
    def progress(self) -> Progress:
        """How far training is."""
        return self.training.progress


@keywords_of(TrainSettings)
def train(folder: Path | str, settings: dict[str, Any]) -> Iterator[RunReport]:
    """Train a dictionary in a folder, reporting on the way; `clew train FOLDER --resume` continues it when it stops.

        for report in clew.train("runs/clt", kit="minnow", text="text.txt", features=512, steps=2000):
            print(report.progress)
        dictionary = clew.Dictionary.load("runs/clt/dictionary")

    Settings that are left out come from the preset. InputError for a setting that is wrong or when the folder holds a
    run already, FileError for what cannot be read or written and while another process trains there, MismatchError when
    model, text and checkpoint differ.
    """
    settings = dict(settings)
    subject, corpus = settings.pop("subject", None), settings.pop("corpus", None)
    resume, stop, report = settings.pop("resume", False), settings.pop("stop", None), settings.pop("report", silent)
    split = split_among(settings.pop("ranks", ALONE), settings.pop("shard", RunOptions.shard))
    check_every = settings.pop("check_every", RunOptions.check_every)
    check_interval(check_every)
    if resume:
        plan, folder = resumed(Path(folder), None, settings)
    else:
        options = {f.name: settings.pop(f.name) for f in fields(RunOptions) if f.name in settings}
        plan = planned(options, None, settings, subject)
    subject = subject or load_subject(plan.model)
    with hold_folder(Path(folder), split.ranks):
        run = open_run(subject, plan, Path(folder), resume=resume, corpus=corpus, report=report, split=split)
        yield from train_run(run, check_every=check_every, stop=stop)


@contextmanager
def hold_folder(folder: Path, ranks: Ranks = ALONE) -> Iterator[None]:
    """Hold a run's folder against other trainings, by its first rank; FileError while another trains there."""
    with files.lock_folder(folder, TRAINING) if ranks.first else nullcontext():
        yield


def check_interval(steps: int) -> None:
    """InputError for a negative number of steps between two measurements."""
    if steps < 0:
        raise InputError(f"--check-every is {steps}: give a number of steps, or 0 for none")


# A run before its first step


def open_run(
    subject: Subject,
    plan: Plan,
    folder: Path,
    *,
    resume: bool = False,
    corpus: Iterable[Document] | None = None,
    allow: Allow = lambda folder, positions, n_bytes: cache.check_room(folder, n_bytes),
    report: Report = silent,
    split: Split = WHOLE,
) -> TrainingRun:
    """Read the text, write activations where they are cached, and once all is well say in the folder that a run began.

    The caller holds the folder (`hold_folder`) from here to the end of the training. Ranks after the first one read
    what that has written.
    InputError when the folder holds a run and it is not to be resumed, or the plan does not fit the model.
    """
    check_layer_weights(plan.layer_weights, subject.n_layers)
    trainer.check_parts(plan.config, subject.n_layers, split)
    ranks = split.ranks
    continues = resume and (folder / CHECKPOINT).exists()
    if not ranks.first:
        ranks.wait_for_first("opening")
    start, lost_start = None, None
    if plan.start is not None:
        try:
            start = load_start(plan.start, subject, plan)
        except ClewError as error:
            if not continues:
                raise
            lost_start = error
    if resume or not ranks.first:
        held_out, documents = rows_of(folder, subject, plan)
    elif (folder / RUN_FILE).exists():
        raise InputError(f"{folder} holds a run already: go on with it with --resume, or give another folder")
    else:
        rows = rows_to_train_on(subject, plan, positions_wanted(plan), None if corpus is None else list(corpus))
        held_out, documents = split_held_out(rows, plan.corpus.held_out)
    if plan.cache:
        documents = _cached(subject, documents, plan, folder / "activations", allow, report)
    if ranks.first:
        if not resume:
            save_tokens(folder / TOKENS, rows, subject)
            write_run(folder, plan)
        ranks.wait_for_first("opening")
    return TrainingRun(
        folder=folder,
        plan=plan,
        subject=subject,
        held_out=held_out,
        documents=documents,
        start=start,
        lost_start=lost_start,
        continues=continues,
        split=split,
    )


def load_start(start: str, subject: Subject, plan: Plan) -> Dictionary:
    """The dictionary that a run begins with: of a kit, of a run, of its checkpoint if it is unfinished, or any other.

    FileError when there is none, MismatchError when it does not fit the run.
    """
    folder = Path(start)
    finished = files.recover(folder / "dictionary").is_dir()
    if is_kit(start):
        dictionary = kit_dictionary(start)
    elif (folder / CHECKPOINT).is_file() and not finished:
        dictionary = stopped(folder, subject)
    else:
        dictionary = Dictionary.load(folder / "dictionary" if finished else start)
    check_start(plan.config, dictionary, subject.n_layers, subject.d_model)
    return dictionary


def _cached(
    subject: Subject, documents: Documents, plan: Plan, folder: Path, allow: Allow, report: Report
) -> Documents:
    """The same rows with their activations on disk, which are written unless they are there."""
    read_site, write_site = plan.config.sites()
    sites = {"read_site": read_site, "write_site": write_site}
    if not (folder / "cache.json").exists():
        allow(folder, int(documents.counts.sum()), cache.cache_bytes(subject, documents))
    report(Progress(what="activations", done=0, of=len(documents), unit="rows"))
    for progress in cache.build_cache(subject, documents, folder, **sites):
        report(progress)
    return cache.open_cache(subject, documents, folder, **sites)


def finished_run(folder: Path) -> TrainingRun:
    """A run that has its dictionary; FileError when there is none yet."""
    plan = read_run(folder)
    dictionary_folder(folder)
    subject = load_subject(plan.model)
    held_out, documents = rows_of(folder, subject, plan)
    return TrainingRun(folder=folder, plan=plan, subject=subject, held_out=held_out, documents=documents)


def dictionary_folder(folder: Path) -> Path:
    """Where a finished run's dictionary is; FileError when there is none yet."""
    if not files.recover(folder / "dictionary").is_dir():
        raise FileError(f"{folder} has no dictionary yet: finish the run with clew train {folder} --resume")
    return folder / "dictionary"


# Training


def train_run(
    run: TrainingRun, *, check_every: int = RunOptions.check_every, stop: Callable[[], bool] | None = None
) -> Iterator[RunReport]:
    """Train to the end, or until `stop` says so; metrics.parquet and metrics.png grow with the run."""
    config, folder = run.plan.config, run.folder
    probe = run.held_out.slice(0, int((run.held_out.counts.cumsum(0) < CHECK_POSITIONS).sum()) + 1)
    early = max(1, min(FIRST_CHECK, config.steps // 10))
    positions = run.positions
    earlier = Metrics.load(folder / "metrics.parquet", until=config.steps) if run.continues else Metrics()
    metrics, fidelity, fidelity_step, step, began = Metrics(), None, 0, 0, time.monotonic()
    for report in trainer.train_dictionary(
        run.subject,
        run.documents,
        config,
        folder,
        resume=run.continues,
        start=run.start,
        layer_weights=run.plan.layer_weights,
        buffer=run.plan.corpus.buffer,
        report_every=max(1, min(25, config.steps // 20)),
        stop=stop,
        split=run.split,
    ):
        if not metrics.rows and run.continues:
            metrics = Metrics([row for row in earlier.rows if row["step"] < report.step])
        last = report.step == config.steps
        due = bool(check_every) and (step < early <= report.step or _passed(step, report.step, check_every) or last)
        saved, step = _passed(step, report.step, trainer.CHECKPOINT_EVERY), report.step
        if due:
            dictionary = report.snapshot()  # of all ranks together
        if not run.split.ranks.first:
            yield RunReport(training=report, held_out=None, held_out_step=0)
            continue
        if due:
            fidelity, fidelity_step = measure_fidelity(run.subject, dictionary, probe), step
        seconds = time.monotonic() - began
        metrics.add(report, batch=config.batch, seconds=seconds, held_out=fidelity if due else None)
        if due or saved or last or (stop is not None and stop()):
            metrics.save(folder / "metrics.parquet")
        yield RunReport(
            training=report, held_out=fidelity, held_out_step=fidelity_step, readings=step * config.batch / positions
        )
    if metrics.rows:  # on the first rank
        files.write_figure(folder / "metrics.png", metrics.figure())


def _passed(before: int, after: int, every: int) -> bool:
    """Whether a multiple of `every` lies between two steps."""
    return before // every < after // every


def measure_run(run: TrainingRun, name: str = "dictionary", *, report: Report = silent) -> Fidelity:
    """Measure a dictionary in a run's folder on the text that the run holds out."""
    return measure_fidelity(run.subject, Dictionary.load(run.folder / name), run.held_out, report=report)
