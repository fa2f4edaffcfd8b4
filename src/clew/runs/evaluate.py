"""A Dictionary beside its nulls, on text and on prompts: `clew.evaluate`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from clew.attribution.trace import trace
from clew.dictionary.dictionary import Dictionary
from clew.errors import InputError, UnsupportedModelError
from clew.intervention.hop_skipping import HopSkipping, hop_skipping, skipped
from clew.kit import load_subject
from clew.organism.prompts import listed_prompts
from clew.organism.variables import ValueQuestion, Variables
from clew.organism.world import World
from clew.progress import Progress, Report, silent
from clew.runs.conflicts import check_evaluation
from clew.runs.feature_truth import FeatureTruth, feature_truth
from clew.runs.fidelity import Fidelity, measure_fidelity, plain
from clew.runs.nulls import config_like, untrained, with_random_weights
from clew.runs.options import EvaluateOptions, keywords_of
from clew.runs.plan import read_run, rows_of
from clew.runs.sources import kit_dictionary, run_of, small_world
from clew.runs.train import dictionary_folder
from clew.stats import Interval, mean_interval
from clew.subject.subject import Prompt, Subject
from clew.training.corpus import open_corpus
from clew.training.corpus_config import BosChoice, CorpusConfig, with_bos
from clew.training.documents import Documents, split_held_out
from clew.training.presets import configured
from clew.training.trainer import train_dictionary

HOP_PROMPTS = 24  # prompts on which hops are compared with the neurons'
TRUTH_PROMPTS = 12  # prompts whose circuits' features are asked what the world knows
PROMPT_TOKENS = 24  # of held-out rows that serve as prompts
OTHER_ROWS = {"text", "field", "split", "cut", "bos", "context"}  # settings that make other rows than a run's
SHUFFLED = "training on shuffled weights"  # what the report of the second null's training is called
Score = Callable[[Subject, Dictionary, Prompt], tuple[float, float]]
"""Replacement and completeness of one prompt."""


def graph_scores(subject: Subject, dictionary: Dictionary, prompt: Prompt) -> tuple[float, float]:
    """Replacement and completeness of a prompt's graph."""
    scores = trace(subject, dictionary, prompt).scores()
    return scores.replacement, scores.completeness


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings(EvaluateOptions, CorpusConfig, BosChoice):
    """Every setting of an evaluation: its options and its text."""

    subject: Subject | None = None
    """A model in memory, in place of a kit or a model by name."""
    prompts: Sequence[Prompt] | None = field(default=None, repr=False)
    """Prompts to trace; left out, the small world's or held-out text."""
    report: Report = field(default=silent, repr=False)
    """Called as the work goes on."""


@dataclass(frozen=True, kw_only=True)
class Material:
    """On what Dictionaries are measured, and how."""

    documents: Documents
    prompts: Sequence[Prompt] = ()
    score: Score = graph_scores
    by_layer: bool = True
    report: Report = silent
    truth: Sequence[Sequence[ValueQuestion]] = ()
    """What the small world knows of the first prompts; nothing of other text."""


@dataclass(frozen=True, kw_only=True)
class PromptScores:
    """Means over prompts with their 95 % intervals."""

    prompts: int
    replacement: Interval
    completeness: Interval

    def to_json(self) -> dict[str, Any]:
        """Means, and half the width of their intervals."""
        numbers: dict[str, Any] = {"prompts": self.prompts}
        for name in ("replacement", "completeness"):
            interval: Interval = getattr(self, name)
            numbers |= {name: interval.value, f"{name}_within": within(interval)}
        return numbers


def within(interval: Interval) -> float:
    """Half the width of an interval that is symmetric."""
    return interval.high - interval.value


@dataclass(frozen=True, kw_only=True)
class Assessment:
    """What was measured of one Dictionary."""

    name: str
    evaluation: Fidelity
    scores: PromptScores | None
    """None for an SAE, which cannot be traced, and where there were no prompts."""
    hops: HopSkipping | None = None
    """Beside the model's own neurons; None where they are no exact dictionary, for an SAE, and without prompts."""
    truth: FeatureTruth | None = None
    """How well features tell what the small world knows; None for other text, for an SAE, and without prompts."""
    other_model: Mapping[str, Any] = field(default_factory=dict)
    """`Dictionary.other_model`: empty but where the dictionary was measured on a model it was not made for."""

    def to_json(self) -> dict[str, Any]:
        """Plain values; what is not a number is None."""
        scores = None if self.scores is None else self.scores.to_json()
        hops = None if self.hops is None else self.hops.to_json()
        truth = None if self.truth is None else self.truth.to_json()
        parts = {"scores": scores, "hop_skipping": hops, "truth": truth}
        value = {"name": self.name, "evaluation": asdict(self.evaluation), **parts}
        return plain({**value, **self.other_model})


@keywords_of(EvaluateSettings)
def evaluate(dictionary: str | Path | Dictionary | None, settings: dict[str, Any]) -> list[Assessment]:
    """Measure a dictionary on text that it was not trained on, beside two nulls; the dictionary comes first.

        ours, untrained, shuffled = clew.evaluate("runs/clt")

    A run's folder, or a dictionary in it, is measured with the run's model on the rows that the run held out; a
    dictionary in memory, or None (the kit's own), with `kit`, `model` or `subject`. The nulls are a dictionary of the
    same density that was never trained, and, unless `nulls` is False, one that was trained on the model with shuffled
    weights.

    InputError for settings that do not fit, FileError for what cannot be read, MismatchError when the dictionary does
    not fit the model.
    """
    settings = with_bos(settings)
    subject, prompts, report = (
        settings.pop("subject", None),
        settings.pop("prompts", None),
        settings.pop("report", silent),
    )
    counted = "count" in settings
    check_evaluation(dictionary, subject, settings)
    options = EvaluateOptions(**{f.name: settings.pop(f.name) for f in fields(EvaluateOptions) if f.name in settings})
    check_counts(options)
    subject, measured, text = _inputs(dictionary, subject, options, settings)
    if options.other_model:
        measured = measured.for_other_model(subject)
    asked: Sequence[Sequence[ValueQuestion]] = ()
    if prompts is None:
        if text.config.text == "world":
            asked = known_of(listed_prompts(min(options.count, TRUTH_PROMPTS)))
        prompts = default_prompts(text.config.text, text.held_out, options.count)
    elif not counted:
        options = replace(options, count=len(prompts))  # all that were given
    material = Material(
        documents=text.held_out,
        prompts=[subject.encode(prompt, add_bos=text.config.bos != "never") for prompt in prompts[: options.count]],
        by_layer=options.by_layer,
        report=report,
        truth=asked,
    )
    first = assess(subject, measured, material)
    steps = options.null_steps * options.nulls
    nulls = assess_nulls(
        subject, measured, material, first.evaluation, text.rest, steps=steps, buffer=text.config.buffer
    )
    return [first, *nulls]


def check_counts(options: EvaluateOptions) -> None:
    """InputError where a count is below what it may be."""
    if options.count < 0 or options.null_steps < 1:
        raise InputError(
            f"--count is {options.count}, --null-steps {options.null_steps}: give at least 0, and at least 1"
        )


# What is measured


@dataclass(frozen=True)
class _Text:
    """Rows to measure on, rows that a null may be trained on, and where both come from."""

    held_out: Documents
    rest: Documents
    config: CorpusConfig


def _inputs(
    source: str | Path | Dictionary | None,
    subject: Subject | None,
    options: EvaluateOptions,
    settings: Mapping[str, Any],
) -> tuple[Subject, Dictionary, _Text]:
    """Model, dictionary and text; those of the run that the source belongs to where the options name no others."""
    name = options.model or options.kit
    folder = run_of(source) if isinstance(source, str | Path) else None
    if folder is None or not isinstance(source, str | Path):
        subject = subject or load_subject(name or "minnow")
        return subject, _dictionary(source, options), _read(subject, configured(settings)[1])
    plan = read_run(folder)
    where = dictionary_folder(folder) if Path(source) == folder else Path(source)
    subject, dictionary = subject or load_subject(name or plan.model), Dictionary.load(where)
    corpus = configured(asdict(plan.corpus) | dict(settings))[1]
    if set(settings) & OTHER_ROWS:
        return subject, dictionary, _read(subject, corpus, plan.config.seed)
    held_out, rest = rows_of(folder, subject, plan)
    return subject, dictionary, _Text(_fewer(held_out, settings.get("held_out"), folder), rest, corpus)


def _dictionary(source: str | Path | Dictionary | None, options: EvaluateOptions) -> Dictionary:
    if isinstance(source, Dictionary):
        return source
    return kit_dictionary(options.kit or "minnow") if source is None else Dictionary.load(source)


def _read(subject: Subject, corpus: CorpusConfig, seed: int = 0) -> _Text:
    documents = open_corpus(subject, corpus, positions=corpus.reading(), seed=seed, world=small_world)
    return _Text(*split_held_out(documents, corpus.held_out), corpus)


def _fewer(held_out: Documents, positions: int | None, folder: Path) -> Documents:
    """The first rows with so many positions; InputError when the run has not held out so many."""
    available = int(held_out.counts.sum())
    if positions is None or positions == available:
        return held_out
    if positions > available:
        raise InputError(
            f"--held-out is {positions:,}, but {folder} held out {available:,} positions: the rest was trained on"
        )
    return held_out.slice(0, int((held_out.counts.cumsum(0) < positions).sum()) + 1)


def default_prompts(text: str, held_out: Documents, count: int) -> Sequence[Prompt]:
    """The small world's prompts for its own text, the beginnings of held-out rows for any other."""
    if text == "world":
        return listed_prompts(count)
    bounds = pairwise(held_out.starts.tolist())
    return [held_out.tokens[start : min(start + PROMPT_TOKENS, stop)].tolist() for start, stop in bounds][:count]


# Measuring


def assess(subject: Subject, dictionary: Dictionary, material: Material) -> Assessment:
    """Measure a Dictionary on text and prompts; MismatchError when it does not fit the model."""
    fidelity = measure_fidelity(
        subject, dictionary, material.documents, by_layer=material.by_layer, report=material.report
    )
    scores = None
    if material.prompts and dictionary.kind != "sae":
        pairs = []
        what, n_prompts = f"tracing with {dictionary.name}", len(material.prompts)
        for number, prompt in enumerate(material.prompts, 1):
            pairs.append(material.score(subject, dictionary, prompt))
            material.report(Progress(what=what, done=number, of=n_prompts, unit="prompts"))
        replacement, completeness = (mean_interval(values) for values in zip(*pairs, strict=True))
        scores = PromptScores(prompts=n_prompts, replacement=replacement, completeness=completeness)
    return Assessment(
        name=dictionary.name,
        evaluation=fidelity,
        scores=scores,
        hops=_hops(subject, dictionary, material),
        truth=_truth(subject, dictionary, material),
        other_model=dictionary.other_model,
    )


def known_of(prompts: Sequence[str]) -> list[list[ValueQuestion]]:
    """What the small world knows of some of its prompts; those of which it knows no variable are left out."""
    variables = Variables(world=World())
    return [questions for prompt in prompts if (questions := variables.of(prompt))]


def _truth(subject: Subject, dictionary: Dictionary, material: Material) -> FeatureTruth | None:
    if not material.truth or dictionary.kind == "sae":
        return None
    return feature_truth(subject, dictionary, material.truth, material.report)


def _hops(subject: Subject, dictionary: Dictionary, material: Material) -> HopSkipping | None:
    """What the Dictionary skips on the first prompts; None where the model's neurons do not say what is true."""
    prompts = material.prompts[:HOP_PROMPTS]
    if not prompts or dictionary.kind == "sae":
        return None
    try:
        Dictionary.from_neurons(subject)
    except InputError:
        return None
    if dictionary.kind == "plt" and all(layer.skip is None for layer in dictionary.layers.values()):
        none = Interval(0.0, 0.0, 0.0)  # its features end where the next MLP begins: see `hop_skipping`
        return HopSkipping(prompts=len(prompts), share=none, null=none)
    found = []
    for number, prompt in enumerate(prompts, 1):
        graph = trace(subject, dictionary, prompt)
        if graph.n_features:
            try:
                found.append(skipped(subject, dictionary, graph))
            except UnsupportedModelError:  # no effects here, so no truth either
                return None
        material.report(Progress(what=f"hops of {dictionary.name}", done=number, of=len(prompts), unit="prompts"))
    return hop_skipping(found) if found else None


def assess_nulls(
    subject: Subject,
    dictionary: Dictionary,
    material: Material,
    fidelity: Fidelity,
    train_on: Documents,
    *,
    steps: int,
    buffer: int,
) -> Iterator[Assessment]:
    """The same for an untrained Dictionary of the same density, then for one trained on a model of random weights.

    `fidelity` is the Dictionary's; `steps` bounds the training of the second null, which 0 leaves out. Before its first
    step a report says how many there are.
    """
    l0 = dict(zip(fidelity.layers, fidelity.l0, strict=True))
    yield assess(subject, untrained(subject, dictionary, material.documents, l0), material)
    if not steps:
        return
    random = with_random_weights(subject)
    config = config_like(dictionary, sum(l0.values()) / len(l0), steps=steps)
    weights: Any = dictionary.provenance.get("layer_weights")
    material.report(Progress(what=SHUFFLED, done=0, of=config.steps))
    with tempfile.TemporaryDirectory() as folder:
        for report in train_dictionary(random, train_on, config, folder, buffer=buffer, layer_weights=weights):
            material.report(Progress(what=SHUFFLED, done=report.step, of=report.steps))
        trained = Dictionary.load(Path(folder) / "dictionary")
        yield assess(random, trained, material)
