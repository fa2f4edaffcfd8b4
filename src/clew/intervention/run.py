"""Edits carried out: one prompt or many, in the frozen and in the live model, beside the run without them.

Three semantics answer three questions. *direct*: what do the edges say? Patterns, norms and all other features held.
*frozen*: what does the local replacement model say? Patterns, norms and errors held, features recomputed. *live*: what
does the real model do? See `clew.intervention.clamp` for what each makes of an MLP's output.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd import forward_ad

from clew.dictionary.dictionary import Dictionary
from clew.displays import Displayed
from clew.errors import InputError
from clew.ids import NodeId
from clew.intervention.clamp import Clamp, Row, Semantics
from clew.intervention.edit import Edit, check
from clew.settings import Settings, accepts
from clew.subject.frozen import FrozenParts, freeze
from clew.subject.recording import SiteAt
from clew.subject.subject import Prompt, Run, Subject

LIKELY = 20  # next tokens of which an Effect has the texts


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """How a run went: logits before a final soft-cap, probabilities after it, what features read."""

    logits: Float[Tensor, "pos vocab"]
    probabilities: Float[Tensor, "pos vocab"]
    reads: Mapping[int, Float[Tensor, "pos d_model"]]
    """What the Dictionary's read site held, by layer."""


@dataclass(frozen=True)
class Change:
    """One feature's activation at one position: without edits, as predicted (None where nothing was), as measured."""

    node: NodeId
    before: float
    predicted: float | None
    measured: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Effect(Displayed):
    """What edits did to one prompt: `measured` in the real model, `predicted` by the frozen one where asked for."""

    tokens: tuple[str, ...]
    token_ids: tuple[int, ...]
    edits: tuple[Edit, ...]
    through: int | None
    """The last layer whose MLP output was clamped (e); None when none was."""
    prediction: str | None
    """The semantics of `predicted`: `direct` or `frozen`."""
    before: Outcome
    predicted: Outcome | None
    measured: Outcome
    changes: tuple[Change, ...]
    """Features whose activation changed, the largest measured change first, then what was only predicted."""
    likely: Mapping[int, str] = field(default_factory=dict)
    """Texts of the likeliest next tokens, before and after."""

    def top_tokens(self, position: int = -1, count: int = 10) -> tuple[tuple[int, float, float | None, float], ...]:
        """The likeliest next tokens before or after: (id, probability before, predicted, measured), likeliest first."""
        before, measured = self.before.probabilities[position], self.measured.probabilities[position]
        predicted = None if self.predicted is None else self.predicted.probabilities[position]
        ids = torch.maximum(before, measured).topk(min(count, len(before))).indices.tolist()
        return tuple(
            (i, float(before[i]), None if predicted is None else float(predicted[i]), float(measured[i])) for i in ids
        )


@dataclass(frozen=True, kw_only=True)
class EditSettings(Settings):
    """How edits are carried out."""

    through: int | None = None
    """Clamp MLP outputs up to this layer e; left out, the last edited one."""
    predict: str | None = "frozen"
    """What the frozen model predicts stands beside: frozen, or direct (all other features held)."""
    leave_out_first: bool = True
    """Never edit the first position when its token is a special one."""

    def __post_init__(self) -> None:
        if self.predict not in (None, "direct", "frozen"):
            raise InputError(f"predict={self.predict!r}: choose from direct, frozen, or None")


@accepts(EditSettings)
def effect(
    subject: Subject, dictionary: Dictionary, prompt: Prompt, edits: Sequence[Edit], settings: EditSettings
) -> Effect:
    """What edits do to one prompt; errors are those of `effects`."""
    return effects_with(subject, dictionary, [prompt], edits, settings)[0]


@accepts(EditSettings)
def effects(
    subject: Subject, dictionary: Dictionary, prompts: Sequence[Prompt], edits: Sequence[Edit], settings: EditSettings
) -> list[Effect]:
    """What the same edits do to each of several prompts; the real model runs them as one padded batch.

    InputError for an edit that is impossible or contradicts another, MismatchError when the Dictionary belongs to
    another model.
    """
    return effects_with(subject, dictionary, prompts, edits, settings)


@torch.no_grad()
def effects_with(
    subject: Subject, dictionary: Dictionary, prompts: Sequence[Prompt], edits: Sequence[Edit], settings: EditSettings
) -> list[Effect]:
    """`effects` with its settings as a value."""
    edits, predict = _checked(subject, dictionary, edits), settings.predict
    if dictionary.kind == "sae" and predict == "frozen":
        predict = None  # an SAE stands for no MLP: nothing could be recomputed
    ids = [subject.encode(prompt) for prompt in prompts]
    first = [first_of(subject, one) if settings.leave_out_first else 0 for one in ids]
    rows: list[Row] = []
    for one, start in zip(ids, first, strict=True):
        e = check(edits, dictionary, n_positions=len(one), first=start, through=settings.through, growing=False)
        for given in ((), edits):
            rows.append(Row(edits=given, base=len(rows) - bool(given), n_prompt=len(one), first=start, through=e))
    measured = outcomes(subject, dictionary, Clamp(dictionary, rows, "live"), [one for one in ids for _ in range(2)])
    found = []
    for place, one in enumerate(ids):
        before, after = measured[2 * place], measured[2 * place + 1]
        row, said = rows[2 * place + 1], None
        if predict is not None:
            said = _predicted(subject, dictionary, one, row, before, cast(Semantics, predict))
        likely = sorted({*_likeliest(before), *_likeliest(after)})
        found.append(
            Effect(
                tokens=subject.token_strings(one.tolist()),
                token_ids=tuple(one.tolist()),
                edits=edits,
                through=row.through if row.edited_layers and dictionary.kind != "sae" else None,
                prediction=predict,
                before=before,
                predicted=said,
                measured=after,
                changes=_changes(dictionary, row, before, said, after),
                likely=dict(zip(likely, subject.token_strings(likely), strict=True)),
            )
        )
    return found


def _likeliest(outcome: Outcome) -> list[int]:
    """The tokens that may be shown as next ones."""
    last = outcome.probabilities[-1]
    return last.topk(min(LIKELY, len(last))).indices.tolist()


def _checked(subject: Subject, dictionary: Dictionary, edits: Sequence[Edit]) -> tuple[Edit, ...]:
    dictionary.check_fits(subject)
    dictionary.check_order()
    if not edits:
        raise InputError("no edit is given: name at least one, for example Edit.ablate('L3/1207@4')")
    return tuple(edits)


def first_of(subject: Subject, ids: Int[Tensor, " pos"]) -> int:
    """The first position that counts: 1 behind a special first token."""
    return int(int(ids[0]) in subject.special_ids)


def _predicted(
    subject: Subject, dictionary: Dictionary, ids: Int[Tensor, " pos"], row: Row, before: Outcome, semantics: Semantics
) -> Outcome:
    """What the frozen model's answer to the edits makes of the run without them."""
    held = freeze(subject, subject.record(ids))
    clamp = Clamp(dictionary, [replace(row, edits=(), base=0), replace(row, base=0)], semantics)
    plain, edited = outcomes(subject, dictionary, clamp, [ids, ids], held)
    logits = before.logits + (edited.logits - plain.logits)
    reads = {layer: read + (edited.reads[layer] - plain.reads[layer]) for layer, read in before.reads.items()}
    return Outcome(logits=logits, probabilities=subject.probabilities(logits), reads=reads)


def outcomes(
    subject: Subject,
    dictionary: Dictionary,
    clamp: Clamp,
    ids: Sequence[Int[Tensor, " _"]],
    held: FrozenParts | None = None,
) -> list[Outcome]:
    """Run the rows of a clamp, padded to one batch, and cut them apart again."""
    padded = torch.nn.utils.rnn.pad_sequence(list(ids), batch_first=True)
    changes = clamp.changes(0, padded.shape[1])
    run = subject.run(padded, change=changes, reads=clamp.reads, keep=read_sites(dictionary), frozen=held)
    found = []
    for place, one in enumerate(ids):
        logits = subject.unembed(run.final[place, : len(one)])
        reads = {layer: kept[place, : len(one)] for (_, layer), kept in run.kept.items()}
        found.append(Outcome(logits=logits, probabilities=subject.probabilities(logits), reads=reads))
    return found


def read_sites(dictionary: Dictionary) -> list[SiteAt]:
    """Where a Dictionary's features are read."""
    return [(dictionary.read_site, layer) for layer in sorted(dictionary.layers)]


def _changes(
    dictionary: Dictionary, row: Row, before: Outcome, predicted: Outcome | None, measured: Outcome
) -> tuple[Change, ...]:
    """The features whose activation changed; edited ones have the activation that they were given."""
    found = []
    for layer in sorted(dictionary.layers):
        outcomes = [before, measured] + ([] if predicted is None else [predicted])
        values = torch.stack([_activations(dictionary, layer, one.reads[layer], row.first) for one in outcomes])
        _edited(values, layer, row)
        changed = (values - values[0]).abs().amax(0)
        scale = values.abs().amax().clamp_min(1e-12)
        for position, index in (changed > 1e-5 * scale).nonzero().tolist():
            at = values[:, position, index].tolist()
            node = NodeId("feature", position, layer, index)
            found.append(Change(node, at[0], None if predicted is None else at[2], at[1]))
    found.sort(key=lambda change: (-abs(change.measured - change.before), -abs(_moved(change))))
    return tuple(found)


def _edited(values: Float[Tensor, "outcome pos feature"], layer: int, row: Row) -> None:
    """Put in place what edits made of their features, several additions summed; outcome 0 is the run without edits."""
    own = [
        (edit.mask(0, values.shape[1], n_prompt=row.n_prompt, first=row.first), edit.feature.index, edit)
        for edit in row.edits
        if edit.feature is not None and edit.feature.layer == layer and edit.verb != "steer"
    ]
    for mask, index, _ in own:
        values[1:, mask, index] = values[0, mask, index]
    for mask, index, edit in own:
        before = values[0, mask, index]
        values[1:, mask, index] += edit.result(before) - before


def _moved(change: Change) -> float:
    return 0.0 if change.predicted is None else change.predicted - change.before


def _activations(dictionary: Dictionary, layer: int, x: Tensor, first: int) -> Float[Tensor, "pos feature"]:
    values = dictionary.layers[layer].nonlinearity.apply(dictionary.preactivations(layer, x))
    values[:first] = 0
    return values


# --- many edits of one prompt ---------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some of many cases, run as one batch: row 0 is the run without edits, positions before `start` are its prefix."""

    cases: tuple[int, ...]
    start: int
    run: Run


@torch.no_grad()
def cases(
    subject: Subject,
    dictionary: Dictionary,
    ids: Int[Tensor, " pos"],
    edits: Sequence[Sequence[Edit]],
    *,
    through: Sequence[int],
    semantics: Semantics = "live",
    held: FrozenParts | None = None,
    first: int = 0,
    batch: int = 64,
    tangent: bool = False,
) -> Iterator[Part]:
    """Run many sets of edits on one prompt, each a row; the kept sites are the Dictionary's read sites.

    Rows are taken in order of their first edited position. What lies before it is computed once a batch and kept as
    keys and values, unless something is held, which needs the whole prompt. With `tangent`, a part's run holds the
    forward derivatives along the edits instead of values.
    """
    n_pos = len(ids)
    starts = [0 if held is not None else _begin(own, n_pos, first) for own in edits]
    order = sorted(range(len(edits)), key=lambda i: starts[i])
    for chunk in (order[i : i + batch] for i in range(0, len(order), batch)):
        start = starts[chunk[0]]
        given = [((), 0)] + [(tuple(edits[i]), through[i]) for i in chunk]
        rows = [Row(edits=own, base=0, n_prompt=n_pos, first=first, through=e) for own, e in given]
        cache = None
        if start > 0:
            cache = subject.new_cache()
            subject.run(ids[None, :start], cache=cache, eager=tangent)
            cache.batch_repeat_interleave(len(rows))
        clamp = Clamp(dictionary, rows, semantics, tangent=tangent)
        tokens = ids[None, start:].expand(len(rows), -1)
        options: dict[str, Any] = {"cache": cache, "frozen": held, "reads": clamp.reads, "keep": read_sites(dictionary)}
        options["change"] = clamp.changes(start, n_pos - start)
        if tangent:
            with _forward_derivatives():
                run = _tangents(subject.run(tokens, eager=True, **options))
        else:
            run = subject.run(tokens, **options)
        yield Part(cases=tuple(chunk), start=start, run=run)


@contextmanager
def _forward_derivatives() -> Iterator[None]:
    """A level of dual numbers; when first entered, torch loads rules by a way of its own that it warns of."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=DeprecationWarning)
        with forward_ad.dual_level():
            yield


def _tangents(run: Run) -> Run:
    def slope(value: Tensor) -> Tensor:
        found = forward_ad.unpack_dual(value).tangent
        return torch.zeros_like(value) if found is None else found.clone()

    return Run(final=slope(run.final), kept={site: slope(value) for site, value in run.kept.items()})


def _begin(edits: Sequence[Edit], n_pos: int, first: int) -> int:
    """The first position that a set of edits touches; the last one when it touches none."""
    masks = [edit.mask(0, n_pos, n_prompt=n_pos, first=first) for edit in edits]
    touched = torch.stack(masks).any(0).nonzero() if masks else torch.empty(0)
    return int(touched[0]) if len(touched) else n_pos - 1
