"""Next tokens after many prompts, each with edits of its own or none: measured in the real model, a batch at a time.

1. Cases are taken in windows and put in order of length and prompt, so that padding is small and cases of one prompt
   stand together.
2. Every case is a row of a batch. One without edits runs beside the edited cases of its prompt where their clamped
   outputs differ from their own (`needs_base`); it is there once a prompt and batch.
3. Only what is asked for is unembedded, and results leave in the order of the cases.

Semantics are *live*, as in `effects`: MLP outputs of the edited layers up to `through` are clamped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clew.attribution.contrast import readout
from clew.dictionary.dictionary import Dictionary
from clew.displays import brief
from clew.errors import InputError
from clew.intervention.clamp import Clamp, EditedRow, needs_base
from clew.intervention.edit import Edit, check
from clew.progress import Progress
from clew.settings import Settings, accepts, option
from clew.subject.batches import KEPT_BYTES, WINDOW, batches, padded, positions_at_once, windows
from clew.subject.positions import first_counted
from clew.subject.subject import Prompt, Subject

if TYPE_CHECKING:
    Case = tuple[Prompt, Sequence[Edit]]
    """A prompt and the edits that are made to its run; none for the run as it is."""
else:
    Case = object  # what is none of these is refused, in words
AT = ("last", "all")
_TYPICAL = 32  # positions of a prompt, by which windows are sized


@dataclass(frozen=True, kw_only=True)
class BatchSettings(Settings):
    """How many cases are measured together."""

    positions: str = "last"
    """Where the next token is measured: after the prompt, or after every token of it."""
    through: int | None = None
    """Clamp MLP outputs up to this layer e; left out, the last edited one of each case."""
    leave_out_first: bool = True
    """Never edit the first position when its token is a special one, or it is measured to be an attention sink."""
    add_bos: bool = field(default=True, metadata=option("--add-bos/--no-bos", kind=bool))
    """Begin a text with what the tokenizer puts there, or its BOS."""

    def __post_init__(self) -> None:
        if self.positions not in AT:
            raise InputError(f"positions={self.positions!r}: choose from {', '.join(AT)}")


@dataclass(frozen=True, kw_only=True, eq=False)
class NextTokens:
    """What the model says next in one case: logits before a final soft-cap, probabilities after it."""

    token_ids: tuple[int, ...]
    edits: tuple[Edit, ...]
    through: int | None
    """The last layer whose MLP output was clamped (e); None when none was."""
    logits: Float[Tensor, "*pos vocab"]
    """Of the token behind the prompt; one row a position where all were asked for."""
    probabilities: Float[Tensor, "*pos vocab"]

    def __repr__(self) -> str:
        made = f"{len(self.edits)} edits" if self.edits else "no edits"
        top = self.probabilities.reshape(-1, self.probabilities.shape[-1])[-1].max(-1)
        return f"NextTokens({len(self.token_ids)} tokens, {made}: token {int(top.indices)} {float(top.values):.3f})"


@accepts(BatchSettings)
def next_tokens(
    subject: Subject, dictionary: Dictionary, prompts: Iterable[Prompt], settings: BatchSettings
) -> Iterator[NextTokens]:
    """What the model says after each prompt, in their order; InputError for a prompt that cannot be encoded."""
    return next_tokens_with(subject, dictionary, prompts, settings)


def next_tokens_with(
    subject: Subject, dictionary: Dictionary, prompts: Iterable[Prompt], settings: BatchSettings
) -> Iterator[NextTokens]:
    """`next_tokens` with its settings as a value."""
    return edited_with(subject, dictionary, ((prompt, ()) for prompt in _several(prompts)), settings)


@accepts(BatchSettings)
def edited(
    subject: Subject, dictionary: Dictionary, cases: Iterable[Case], settings: BatchSettings
) -> Iterator[NextTokens]:
    """What the model says in each case, in their order.

    InputError for an edit that is impossible or contradicts another, naming the case; MismatchError when the Dictionary
    belongs to another model.
    """
    return edited_with(subject, dictionary, cases, settings)


def edited_with(
    subject: Subject, dictionary: Dictionary, cases: Iterable[Case], settings: BatchSettings
) -> Iterator[NextTokens]:
    """`edited` with its settings as a value."""
    dictionary.check_fits(subject)
    dictionary.check_order()
    return _measured(subject, dictionary, cases, settings)


@dataclass(frozen=True, kw_only=True, eq=False)
class Readings:
    """Targets read off the next tokens of many cases."""

    names: tuple[str, ...]
    logits: Float[Tensor, "case target"]
    """What `Readout.logit` gives, before a final soft-cap."""
    probabilities: Float[Tensor, "case target"]
    """What `Readout.probability` gives."""
    through: tuple[int | None, ...]
    """The last clamped layer of every case."""

    def __repr__(self) -> str:
        return f"Readings({len(self.through):,} cases of {', '.join(brief(name, 24) for name in self.names)})"


def readings(
    subject: Subject,
    dictionary: Dictionary,
    cases: Iterable[Case],
    targets: Sequence[object],
    settings: BatchSettings,
) -> Readings:
    """What some targets come to behind the prompt of every case: tokens, differences or contrasts, not directions.

    Nothing but these numbers is kept, so that cases may be many. InputError without a target, where all positions are
    asked for, and see `edited` and `readout`.
    """
    if settings.positions != "last":
        raise InputError("readings are taken behind the prompt: give positions='last', or read next tokens one by one")
    if not targets or isinstance(targets, str):
        raise InputError("give a list of targets to read, such as [' Paris'] or a Contrast")
    readers = [readout(subject, target) for target in targets]
    logits, probabilities, through = list[Tensor](), list[Tensor](), list[int | None]()
    for measured in edited_with(subject, dictionary, cases, settings):
        logits.append(torch.stack([reader.logit(measured.logits) for reader in readers]))
        probabilities.append(torch.stack([reader.probability(measured.probabilities) for reader in readers]))
        through.append(measured.through)
    empty = torch.zeros(0, len(readers))
    return Readings(
        names=tuple(reader.name for reader in readers),
        logits=torch.stack(logits).cpu() if logits else empty,
        probabilities=torch.stack(probabilities).cpu() if probabilities else empty,
        through=tuple(through),
    )


def _several(prompts: Iterable[Prompt]) -> Iterable[Prompt]:
    if isinstance(prompts, str):
        raise InputError(f"give a list of prompts: {brief(prompts)} is one text")
    return prompts


@torch.no_grad()
def _measured(
    subject: Subject, dictionary: Dictionary, cases: Iterable[Case], settings: BatchSettings
) -> Iterator[NextTokens]:
    every, done = settings.positions == "all", 0
    bytes_each = 8 * len(subject.unembedding)  # logits and probabilities of a position
    most = positions_at_once(subject, bytes_each if every else 0)
    size = max(1, min(WINDOW, KEPT_BYTES // (bytes_each * (_TYPICAL if every else 1))))
    firsts: dict[tuple[int, ...], int] = {}
    for window in windows(cases, size):
        read = [_read(subject, dictionary, case, settings, firsts, done + i) for i, case in enumerate(window)]
        order = sorted(range(len(read)), key=lambda i: (len(read[i].key), read[i].key))
        costs = [case.cost for case in read]
        results: list[NextTokens | None] = [None] * len(read)
        for batch in batches(order, [len(case.key) for case in read], costs, most):
            for place, result in zip(batch, _run(subject, dictionary, [read[i] for i in batch], every), strict=True):
                results[place] = result
            measured = done + sum(result is not None for result in results)
            settings.report(Progress(what="measuring", done=measured, of=0, unit="cases"))
        yield from (result for result in results if result is not None)
        done += len(window)


@dataclass(frozen=True, kw_only=True)
class _Read:
    """One case, checked."""

    ids: Int[Tensor, " pos"]
    key: tuple[int, ...]
    edits: tuple[Edit, ...]
    first: int
    through: int
    needs_base: bool

    @property
    def cost(self) -> int:
        """Positions that are run for it, and those at which something is written."""
        n = len(self.key)
        written = sum(len(edit.positions) if isinstance(edit.positions, tuple) else n for edit in self.edits)
        return n * (1 + self.needs_base) + written // 8


def _read(
    subject: Subject,
    dictionary: Dictionary,
    case: Case,
    settings: BatchSettings,
    firsts: dict[tuple[int, ...], int],
    number: int,
) -> _Read:
    try:
        prompt, edits = case
        ids = subject.encode(prompt, add_bos=settings.add_bos)
    except (TypeError, ValueError):
        raise InputError(f"case {number} is {case!r:.60}: give a prompt and a list of edits") from None
    key, edits = tuple(ids.tolist()), tuple(edits)
    if key not in firsts:
        firsts[key] = first_counted(subject, ids) if settings.leave_out_first else 0
    through = 0
    if edits:
        limits = {"n_positions": len(key), "first": firsts[key], "growing": 0}
        try:
            through = check(edits, dictionary, through=settings.through, **limits)
        except InputError as error:
            raise InputError(f"case {number}: {error}") from None
    needs = bool(edits) and needs_base(dictionary, edits, through)
    return _Read(ids=ids, key=key, edits=edits, first=firsts[key], through=through, needs_base=needs)


def _run(subject: Subject, dictionary: Dictionary, cases: Sequence[_Read], every: bool) -> list[NextTokens]:
    """One batch: rows of all cases, and of prompts whose run without edits is needed beside them."""
    rows: list[EditedRow] = []
    ids: list[Tensor] = []
    plain: dict[tuple[int, ...], int] = {}

    def row(case: _Read, edits: tuple[Edit, ...], base: int) -> int:
        rows.append(EditedRow(edits=edits, base=base, n_prompt=len(case.key), first=case.first, through=case.through))
        ids.append(case.ids)
        return len(rows) - 1

    place_of = []
    for case in cases:
        if (case.needs_base or not case.edits) and case.key not in plain:
            plain[case.key] = row(case, (), len(rows))
        if case.edits:
            place_of.append(row(case, case.edits, plain[case.key] if case.needs_base else len(rows)))
        else:
            place_of.append(plain[case.key])
    clamp = Clamp(dictionary, rows)
    tokens = padded(ids)
    run = subject.run(tokens, change=clamp.changes(0, tokens.shape[1]), reads=clamp.reads)
    logits = _logits(subject, run.final, place_of, [len(case.key) for case in cases], every)
    return [_result(subject, dictionary, case, values) for case, values in zip(cases, logits, strict=True)]


def _logits(
    subject: Subject, final: Float[Tensor, "row pos d_model"], rows: list[int], lengths: list[int], every: bool
) -> list[Float[Tensor, "*pos vocab"]]:
    if every:
        return [subject.unembed(final[row, :length]) for row, length in zip(rows, lengths, strict=True)]
    at = torch.tensor(rows, device=final.device), torch.tensor(lengths, device=final.device) - 1
    return list(subject.unembed(final[at]))


def _result(subject: Subject, dictionary: Dictionary, case: _Read, logits: Float[Tensor, "*pos vocab"]) -> NextTokens:
    clamps = dictionary.kind != "sae" and any(edit.feature is not None and edit.verb != "steer" for edit in case.edits)
    return NextTokens(
        token_ids=case.key,
        edits=case.edits,
        through=case.through if clamps else None,
        logits=logits,
        probabilities=subject.probabilities(logits),
    )
