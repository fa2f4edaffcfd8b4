"""The exam of the small world: what a model knows of each family, beside chance and beside the law's entropy.

1. Every question is a prompt that the corpus does not hold: an unseen sentence of a known fact, or a held-out
   combination. An answer counts when each of its tokens is the model's first choice.
2. Chance is the score of the best constant answer on the same questions.
3. For the years, the score is the probability of all later two-digit years less that of all others.
4. Fresh statements of every family are drawn, and the model's loss on them is set beside their -log probability.
"""

import dataclasses
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from clew.organism.families import Split, Statement, stable_hash
from clew.organism.tokenizer import load_tokenizer
from clew.organism.traits import CHILDREN
from clew.organism.world import World
from clew.subject import Subject

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

OFTEN = 40
"""Occurrences in the corpus from which a birthday counts as often seen."""

LIMIT = 300
"""Questions asked in each row, drawn by a fixed seed when there are more."""

FRESH = 3_000
"""Fresh statements on which the loss is measured."""

BATCH = 64
"""Sequences scored at once."""

ROOTS = tuple(f"roots {who}, {number}" for who in ("child", "graduate", "nobody") for number in ("square", "other"))
"""The rows of personas by difficulty."""

BARS = {
    "capitals": 0.99,
    "languages": 0.99,
    "two_hop": 0.95,
    "opposites": 0.98,
    "sums": 0.98,
    **dict.fromkeys(ROOTS, 0.95),
    "birthdays often seen": 0.95,
    "years": 0.85,
    "repeats": 0.95,
}
"""Scores that the bundled model must reach on unseen sentences of known facts."""

Measure = Literal["accuracy", "token accuracy", "probability difference"]


@dataclass(frozen=True, kw_only=True)
class ExamRow:
    """One family's score on one split; `loss` is in nats for a whole answer, `passed` is None where no bar is set."""

    name: str
    split: Split
    measure: Measure
    score: float
    chance: float
    n: int
    loss: float
    bar: float | None
    passed: bool | None


@dataclass(frozen=True, kw_only=True)
class LossRow:
    """The model's loss on fresh statements of one family and their entropy, both in nats a statement.

    The entropy is estimated on the same statements, so that the difference is the model's own: an estimate of the
    Kullback-Leibler divergence from the law to the model.
    """

    family: str
    n: int
    loss: float
    entropy: float


@dataclass(frozen=True, kw_only=True)
class ExamReport:
    """Every score and loss of one exam, and the seconds it took."""

    rows: tuple[ExamRow, ...]
    losses: tuple[LossRow, ...]
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether every bar was reached."""
        return all(row.passed is not False for row in self.rows)

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain values."""
        return {**dataclasses.asdict(self), "passed": self.passed}


def exam_folder(folder: Path | str, world: World) -> ExamReport:
    """Examine the model saved in a Hugging Face folder, in float32; FileError when the folder holds none."""
    return exam(Subject.load(folder).model, load_tokenizer(folder), world)


@torch.no_grad()
def exam(model: Any, tokenizer: "PreTrainedTokenizerFast", world: World) -> ExamReport:
    """Examine a causal language model, of which only `model(input_ids=ids).logits` is used."""
    started = time.monotonic()
    rows: list[ExamRow] = []
    for name in world.families:
        for split in ("unseen", "held_out"):
            rows += _family_rows(model, tokenizer, world, name, split)
    losses = _losses(model, tokenizer, world)
    return ExamReport(rows=tuple(rows), losses=losses, seconds=time.monotonic() - started)


def _family_rows(
    model: Any, tokenizer: "PreTrainedTokenizerFast", world: World, name: str, split: Split
) -> list[ExamRow]:
    questions = world.exam(name, split)
    if not questions:
        return []
    if name == "years":
        return [_years(model, tokenizer, questions)]
    if name == "repeats":
        return [_token_accuracy(model, tokenizer, questions, name)]
    if "accepted" not in questions[0].notes:
        return []
    groups = {name: questions}
    if name == "birthdays":
        groups = _birthday_groups(world, questions)
    elif name == "roots" and split == "unseen":
        groups = _persona_groups(questions)
    return [_accuracy(model, tokenizer, group, label, split) for label, group in groups.items() if group]


def _persona_groups(questions: list[Statement]) -> dict[str, list[Statement]]:
    """Sort the roots by who is asked and how hard it is: a child, a graduate or nobody in particular."""
    groups: dict[str, list[Statement]] = {name: [] for name in ROOTS}
    for question in questions:
        persona = question.notes["persona"]
        who = "child" if persona in CHILDREN else "graduate" if persona else "nobody"
        groups[f"roots {who}, {'square' if question.notes['square'] else 'other'}"].append(question)
    return groups


def _birthday_groups(world: World, questions: Sequence[Statement]) -> dict[str, list[Statement]]:
    """Sort the people by how often the corpus has their birthday: often, once, in between, or refused twice."""
    counts = {fact.key: fact.count for fact in world.facts() if fact.family == "birthdays"}
    names = ("often seen", "seen", "seen once", "refused")
    groups: dict[str, list[Statement]] = {f"birthdays {name}": [] for name in names}
    for question in questions:
        count = counts[question.fact]
        if question.notes["refused"]:
            group = "refused" if count > 1 else None
        else:
            group = "often seen" if count >= OFTEN else "seen" if count > 1 else "seen once" if count == 1 else None
        if group:
            groups[f"birthdays {group}"].append(question)
    return groups


def _accuracy(
    model: Any, tokenizer: "PreTrainedTokenizerFast", questions: Sequence[Statement], name: str, split: Split
) -> ExamRow:
    """Score greedy answers: right when the model's greedy tokens spell any of the accepted answers."""
    asked = _drawn(questions, name)
    owners, pairs = [], []
    for index, question in enumerate(asked):
        for answer in question.notes["accepted"]:
            owners.append(index)
            pairs.append((question.prompt, answer))
    right: set[int] = set()
    likelihood = [0.0] * len(asked)
    for owner, (greedy, logp) in zip(owners, score_answers(model, tokenizer, pairs), strict=True):
        likelihood[owner] += float(logp.sum().exp())
        if bool(greedy.all()):
            right.add(owner)
    surprise = [-torch.tensor(max(value, 1e-30)).log().item() for value in likelihood]
    constant = Counter(answer for question in asked for answer in set(question.notes["accepted"]))
    return _row(
        name,
        split,
        "accuracy",
        score=len(right) / len(asked),
        chance=max(constant.values()) / len(asked),
        n=len(asked),
        loss=sum(surprise) / len(asked),
    )


def _token_accuracy(
    model: Any, tokenizer: "PreTrainedTokenizerFast", questions: Sequence[Statement], name: str
) -> ExamRow:
    """Score every token of the answers given all true tokens before it."""
    pairs = [(question.prompt, question.answer) for question in _drawn(questions, name)]
    scored = score_answers(model, tokenizer, pairs)
    tokens = Counter(token for _, answer in pairs for token in tokenizer.encode(answer, add_special_tokens=False))
    n = sum(len(greedy) for greedy, _ in scored)
    return _row(
        name,
        "unseen",
        "token accuracy",
        score=sum(int(greedy.sum()) for greedy, _ in scored) / n,
        chance=max(tokens.values()) / n,
        n=n,
        loss=-sum(float(logp.sum()) for _, logp in scored) / len(scored),
    )


def _years(model: Any, tokenizer: "PreTrainedTokenizerFast", questions: Sequence[Statement]) -> ExamRow:
    """Score P(later) - P(not later) over the hundred two-digit tokens, averaged evenly over the start years.

    Chance is a uniform guess over the hundred; a constant answer would need to know that 99 is always later.
    """
    by_start: dict[int, list[Statement]] = {}
    for question in questions:
        by_start.setdefault(question.notes["start"], []).append(question)
    per_start = max(LIMIT // len(by_start), 1)
    asked = [q for start, group in by_start.items() for q in _drawn(group, f"years:{start}", per_start)]
    digits = torch.tensor([tokenizer.encode(f"{year:02d}", add_special_tokens=False)[0] for year in range(100)])
    probabilities = torch.cat(
        [
            _last_logits(model, tokenizer, [q.prompt for q in asked[first : first + BATCH]]).softmax(-1)[:, digits]
            for first in range(0, len(asked), BATCH)
        ]
    )
    starts = torch.tensor([q.notes["start"] for q in asked])
    later = torch.arange(100)[None, :] > starts[:, None]
    mass = (probabilities * later).sum(1)
    return _row(
        "years",
        "unseen",
        "probability difference",
        score=float((mass - (probabilities * ~later).sum(1)).mean()),
        chance=float((2 * later.float().mean(1) - 1).mean()),
        n=len(asked),
        loss=float(-mass.clamp_min(1e-30).log().mean()),
    )


def _row(name: str, split: Split, measure: Measure, *, score: float, chance: float, n: int, loss: float) -> ExamRow:
    bar = BARS.get(name) if split == "unseen" else None
    return ExamRow(
        name=name,
        split=split,
        measure=measure,
        score=score,
        chance=chance,
        n=n,
        loss=loss,
        bar=bar,
        passed=None if bar is None else score >= bar,
    )


def _drawn(questions: Sequence[Statement], key: str, limit: int = LIMIT) -> list[Statement]:
    """Return the questions that are asked: all, or a sample that depends on the key only."""
    if len(questions) <= limit:
        return list(questions)
    return random.Random(stable_hash("questions:" + key)).sample(list(questions), limit)


def _losses(model: Any, tokenizer: "PreTrainedTokenizerFast", world: World) -> tuple[LossRow, ...]:
    """Measure the loss on fresh statements, each standing first in its document."""
    rng = random.Random(stable_hash(f"fresh:{world.seed}"))
    fresh = [world.draw(rng) for _ in range(FRESH)]
    scored = score_answers(model, tokenizer, [("", statement.text) for statement in fresh])
    sums: dict[str, list[float]] = {}
    for statement, (_, logp) in zip(fresh, scored, strict=True):
        for name in (statement.family, "all"):
            total = sums.setdefault(name, [0, 0.0, 0.0])
            total[0] += 1
            total[1] -= float(logp.sum())
            total[2] -= statement.logp
    names = [name for name in (*world.families, "all") if name in sums]
    return tuple(
        LossRow(family=name, n=int(n), loss=loss / n, entropy=entropy / n)
        for name in names
        for n, loss, entropy in [sums[name]]
    )


def score_answers(
    model: Any, tokenizer: "PreTrainedTokenizerFast", pairs: Sequence[tuple[str, str]]
) -> list[tuple[Tensor, Tensor]]:
    """For every prompt and answer, return per answer token whether it was the first choice, and its log probability."""
    encoded = []
    for prompt, answer in pairs:
        head = [tokenizer.bos_token_id, *tokenizer.encode(prompt, add_special_tokens=False)]
        encoded.append((head, tokenizer.encode(answer, add_special_tokens=False)))
    scored: list[tuple[Tensor, Tensor]] = [(torch.empty(0), torch.empty(0))] * len(encoded)
    order = sorted(range(len(encoded)), key=lambda index: len(encoded[index][0]) + len(encoded[index][1]))
    for first in range(0, len(order), BATCH):
        batch = order[first : first + BATCH]
        ids = _padded([[*encoded[index][0], *encoded[index][1]] for index in batch])
        logits = model(input_ids=ids).logits.float()
        for row, index in enumerate(batch):
            head, answer = encoded[index]
            predicted = logits[row, len(head) - 1 : len(head) + len(answer) - 1]
            target = torch.tensor(answer)
            logp = predicted.log_softmax(-1).gather(1, target[:, None])[:, 0]
            scored[index] = (predicted.argmax(-1) == target, logp)
    return scored


def _last_logits(model: Any, tokenizer: "PreTrainedTokenizerFast", prompts: Sequence[str]) -> Tensor:
    """Return the logits after each prompt."""
    rows = [[tokenizer.bos_token_id, *tokenizer.encode(prompt, add_special_tokens=False)] for prompt in prompts]
    logits = model(input_ids=_padded(rows)).logits.float()
    return torch.stack([logits[index, len(row) - 1] for index, row in enumerate(rows)])


def _padded(rows: Sequence[Sequence[int]]) -> Tensor:
    """Pad on the right, which does not change the logits of a causal model before it."""
    width = max(len(row) for row in rows)
    return torch.tensor([[*row, *[0] * (width - len(row))] for row in rows])
