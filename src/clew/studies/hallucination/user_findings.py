"""What is found in a user's corpus of facts, and in a model's answers to a user's questions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clew.stats import Interval, bootstrap, correlation, ranks
from clew.studies.case_findings import BLUE, GREY, CaseFindings, Picture, Table, new_figure
from clew.studies.charts import open_corner
from clew.studies.claim import Bar, Claim, Null
from clew.studies.hallucination.claims import CALIBRATION_BAR, EXCHANGES
from clew.studies.hallucination.corpora import FactCorpus
from clew.studies.hallucination.exhibits import calibration_picture, calibration_table
from clew.studies.hallucination.grading import Grades
from clew.studies.hallucination.question_set import Replies, UserQuestion
from clew.studies.hallucination.rates import Calibration, FactCounts
from clew.studies.hallucination.score_exhibits import crossing_table, score_picture, score_table
from clew.studies.hallucination.world_measured import SURE

MOST_LISTED = 500
"""Questions said once that are listed."""


def corpus_findings(corpus: FactCorpus, *, dealt: bool, seed: int) -> CaseFindings:
    """Singletons of a user's corpus, and what they mean; where answers are `dealt`, of as many that are dealt out."""
    counts = corpus.dealt_counts(seed) if dealt else corpus.fact_counts
    return CaseFindings(
        claims=(_singleton_claim(corpus, counts, seed), _bound_claim(corpus, counts, seed)),
        tables={"corpus": _corpus_table(corpus, counts), "once": _once_table(corpus)},
        figures={"counts": _count_picture(counts)},
    )


def _even_null(counts: FactCounts, draws: tuple[float, ...]) -> Null:
    n = int(counts.counts.sum())
    return Null(
        what="as many answers dealt out evenly among the questions", draws=draws, size=n, tested=n, unit="answers"
    )


def _singleton_claim(corpus: FactCorpus, counts: FactCounts, seed: int) -> Claim:
    return Claim(
        text=f"More of {corpus.title} is said only once than if all of its questions were answered equally often: the "
        "singleton rate, which estimates how much of what is asked the corpus does not hold.",
        value=counts.resampled_rate(seed),
        null=_even_null(counts, counts.even_rates(EXCHANGES, seed)),
        bar=Bar(low=0.0),
    )


def _bound_claim(corpus: FactCorpus, counts: FactCounts, seed: int) -> Claim:
    lost = sum(corpus.bound(counts).losses.values())
    rate = counts.resampled_rate(seed)
    return Claim(
        text="A calibrated model that learns these facts must err: the bound sr - 2/|E| - (35 + 6 ln N)/sqrt N lies "
        "above zero (below it is vacuous: so few statements say nothing).",
        value=Interval(rate.value - lost, rate.low - lost, rate.high - lost),
        null=_even_null(counts, tuple(each - lost for each in counts.even_rates(EXCHANGES, seed))),
        bar=Bar(low=0.0),
        reference="Kalai, Nachum, Vempala and Zhang 2025, Theorem 3, with delta = 0",
    )


def _corpus_table(corpus: FactCorpus, counts: FactCounts) -> Table:
    several = sum(len(answers) > 1 for answers in corpus.answers.values())
    needed = corpus.needed(counts)
    rows: list[tuple[str, float]] = [
        ("statements (N)", counts.total),
        ("questions", len(counts.counts)),
        ("of these, only refused", int((counts.counts == 0).sum())),
        ("of these, answered once", counts.singletons),
        ("of these, with more than one answer", several),
        ("different answers", corpus.distinct_answers),
        ("singleton rate (sr)", counts.rate),
        ("sample term (35 + 6 ln N) / sqrt N", corpus.bound(counts).losses["sample"]),
        ("bound of the error", corpus.bound(counts).value),
        ("statements from which it would say something", float("nan") if needed is None else needed),
    ]
    return Table.of_rows(
        f"Facts in {corpus.title}",
        ("what", "value"),
        [(name, float(value)) for name, value in rows],
        note="The bound holds for a calibrated model, every answer of the corpus being possible for every question. "
        "The last row is for a larger corpus of the same singleton rate; it is empty where no size would do.",
    )


def _once_table(corpus: FactCorpus) -> Table:
    once = [(question, next(iter(given))) for question, given in corpus.answers.items() if given.total() == 1]
    return Table.of_rows(
        "Questions that are answered once",
        ("question", "answer"),
        once[:MOST_LISTED],
        note=f"{len(once):,} in all, the first {MOST_LISTED} are listed." if len(once) > MOST_LISTED else "",
    )


def _count_picture(counts: FactCounts) -> Picture:
    figure = new_figure(5.6, 3.0)
    axes = figure.subplots()
    ordered = np.sort(counts.counts)[::-1]
    axes.plot(np.arange(1, len(ordered) + 1), ordered, color=BLUE)
    axes.axhline(1, color=GREY, linewidth=0.8, linestyle="--")
    axes.set_xscale("log")
    axes.set_yscale("symlog")
    axes.set_xlabel("questions, the most frequent first")
    axes.set_ylabel("answers in the corpus")
    open_corner(axes)
    return Picture.of(
        figure,
        title="How often each question is answered",
        text="Answers of every question, the most frequent first, on logarithmic scales; on the broken line a question "
        "is answered once.",
    )


def question_findings(questions: Sequence[UserQuestion], replies: Replies, refusal: str, seed: int) -> CaseFindings:
    """Answers of a model to a user's questions: right, refused, wrong; calibration, scores."""
    right, refused = np.array(replies.right(questions)), np.array(replies.refused(refusal))
    confidence = np.array(replies.confidence)
    answered = ~refused
    calibration = Calibration(
        confidence=confidence[answered], right=right[answered], weight=np.ones(int(answered.sum()))
    )
    grades = _grades(right & answered, refused, confidence)
    claims, tables, figures = [], {"answers": _answer_table(questions, replies, right, refused)}, {}
    if answered.any():
        claims.append(_calibration_claim(calibration, seed))
        tables["calibration"] = calibration_table({"answers": calibration})
        figures["calibration"] = calibration_picture({"answers": calibration})
    tables |= {"scores": score_table(grades), "crossings": crossing_table(grades)}
    figures["scores"] = score_picture(grades)
    if questions[0].seen is not None:
        claims.append(_seen_claim(questions, right & answered, seed))
    return CaseFindings(claims=tuple(claims), tables=tables, figures=figures)


def _grades(right: np.ndarray, refused: np.ndarray, confidence: np.ndarray) -> dict[str, Grades]:
    """Of the model, of the same where it refuses when unsure, and of one that always refuses."""

    def of(refuses: np.ndarray) -> Grades:
        share, idle = float((right & ~refuses).mean()), float(refuses.mean())
        return Grades(right=share, refused=idle, wrong=max(0.0, 1 - share - idle))

    unsure = {f"refuses below {sure:g}": of(refused | (confidence < sure)) for sure in SURE}
    return {"the model": of(refused), **unsure, "always refuses": of(np.ones(len(right), dtype=bool))}


def _calibration_claim(calibration: Calibration, seed: int) -> Claim:
    n = len(calibration.right)
    return Claim(
        text="The model knows how sure it may be: the probability of what it answers lies close to how often that is "
        "right (expected calibration error, ten bins; refusals are left out).",
        value=calibration.error,
        null=Null(
            what="right and wrong exchanged among the questions",
            draws=calibration.exchanged_errors(EXCHANGES, seed),
            size=n,
            tested=n,
            unit="questions",
        ),
        bar=Bar(high=CALIBRATION_BAR),
    )


def _seen_claim(questions: Sequence[UserQuestion], right: np.ndarray, seed: int) -> Claim:
    seen = ranks(np.array([float(question.seen or 0) for question in questions]))
    told = right.astype(float) - right.mean()

    def of(exchanged: np.ndarray) -> np.ndarray:
        terms = (np.ones_like(seen), exchanged, told, exchanged**2, told**2, exchanged * told)
        return np.stack(terms)

    generator, n = np.random.default_rng([seed, 16]), len(questions)
    draws = [
        float(correlation(of(generator.permutation(seen)).sum(1, keepdims=True))[0]) for _ in range(EXCHANGES)
    ]  # fmt: skip
    return Claim(
        text="What the corpus answers often is answered rightly: right answers go with `seen` (rank correlation).",
        value=bootstrap(of(seen), correlation),
        null=Null(what="counts exchanged among the questions", draws=tuple(draws), size=n, tested=n, unit="questions"),
        bar=Bar(low=0.0),
    )


def _answer_table(questions: Sequence[UserQuestion], replies: Replies, right: np.ndarray, refused: np.ndarray) -> Table:
    verdicts = np.where(refused, "refused", np.where(right, "right", "wrong")).tolist()
    names = ("question", "right answers", "answer", "confidence", "it is")
    rows = zip(
        [question.text for question in questions],
        [" | ".join(question.answers) for question in questions],
        replies.texts,
        replies.confidence,
        verdicts,
        strict=True,
    )
    counts = ", ".join(f"{verdicts.count(name)} {name}" for name in ("right", "refused", "wrong"))
    return Table.of_rows("Answers", names, rows, note=f"{counts}. `confidence`: the probability of all that was said.")
