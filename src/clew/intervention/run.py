"""Edits carried out: one prompt or many, in the frozen and in the live model, beside the run without them.

Four semantics answer four questions. *direct*: what do the edges say? Patterns, norms and all other features held.
*frozen*: what does the local replacement model say? Patterns, norms and errors held, features recomputed. *effects*:
what does a graph with effects say? To first order, patterns and norm scales respond, errors are held; final norm and
softmax are exact. *live*: what does the real model do? See `clew.intervention.clamp` for what each makes of an MLP.
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

from clew.attribution.local_model import LocalModel
from clew.attribution.room import pattern_bytes
from clew.dictionary.dictionary import Dictionary
from clew.displays import Displayed, brief
from clew.errors import InputError
from clew.ids import NodeId
from clew.intervention.clamp import LIVE, Clamp, EditedRow, Regime, Semantics
from clew.intervention.edit import Edit, check
from clew.memory import check_room
from clew.settings import Settings, accepts, option
from clew.subject.positions import first_counted
from clew.subject.recording import SiteAt
from clew.subject.subject import Prompt, Run, Subject

ROWS = 64  # edited copies of a prompt that are run together
ROWS_BYTES = 2 << 30  # of what these keep, if that is more
LIKELY = 20  # next tokens of which an Effect has the texts


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """How a run went: logits before a final soft-cap, probabilities after it, what features read."""

    logits: Float[Tensor, "pos vocab"]
    probabilities: Float[Tensor, "pos vocab"]
    reads: Mapping[int, Float[Tensor, "pos d_model"]]
    """What the Dictionary's read site held, by layer."""

    def __repr__(self) -> str:
        positions, tokens = self.logits.shape
        return f"Outcome({positions:,} positions, {tokens:,} tokens; reads of {len(self.reads)} layers)"


@dataclass(frozen=True)
class Change:
    """One feature's activation at one position: without edits, as predicted (None where nothing was), as measured."""

    node: NodeId
    before: float
    predicted: float | None
    measured: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Effect(Displayed):
    """What edits did to one prompt: `measured` in the real model, `predicted` where asked for."""

    tokens: tuple[str, ...]
    token_ids: tuple[int, ...]
    edits: tuple[Edit, ...]
    through: int | None
    """The last layer whose MLP output was clamped (e); None when none was."""
    prediction: str | None
    """The semantics of `predicted`: `effects`, `frozen` or `direct`."""
    before: Outcome
    predicted: Outcome | None
    measured: Outcome
    changes: tuple[Change, ...]
    """Features whose activation changed, the largest measured change first, then what was only predicted."""
    likely: Mapping[int, str] = field(default_factory=dict)
    """Texts of the likeliest next tokens, before and after."""

    def __repr__(self) -> str:
        edits = ", ".join(map(str, self.edits[:3])) + (
            f" and {len(self.edits) - 3} more" if len(self.edits) > 3 else ""
        )
        tokens = "; ".join(
            f"{brief(self.likely.get(i, f'token {i}'), 24)} {before:.3f} to {measured:.3f}"
            + ("" if predicted is None else f" (predicted {predicted:.3f})")
            for i, before, predicted, measured in self.top_tokens(count=2)
        )
        clamped = "nothing clamped" if self.through is None else f"clamped through layer {self.through}"
        return f"Effect({edits}, {clamped}: {tokens}; {len(self.changes):,} features changed)"

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
    predict: str | None = "effects"
    """What is predicted beside: by effects, as `clew.Kit.predict` does from a graph; by the frozen model (patterns and
    norm scales held); or direct (all other features held too)."""
    leave_out_first: bool = True
    """Never edit the first position when its token is a special one, or it is measured to be an attention sink."""
    add_bos: bool = field(default=True, metadata=option("--add-bos/--no-bos", kind=bool))
    """Begin a text with what the tokenizer puts there, or its BOS."""

    def __post_init__(self) -> None:
        if self.predict not in (None, "direct", "frozen", "effects"):
            raise InputError(f"predict={self.predict!r}: choose from effects, frozen, direct, or None")


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
    if dictionary.kind == "sae" and predict in ("frozen", "effects"):
        predict = None  # an SAE stands for no MLP: nothing could be recomputed
    ids = [subject.encode(prompt, add_bos=settings.add_bos) for prompt in prompts]
    longest, n_vocab = max(map(len, ids), default=0), len(subject.unembedding)
    needed = 2 * len(ids) * longest * n_vocab * 4 * (2 if predict is None else 4)
    what = f"the logits and probabilities of {len(ids)} prompts of up to {longest:,} tokens"
    check_room(needed, what, "give fewer prompts at once, or shorter ones", subject.device)
    first = [first_counted(subject, prompt_ids) if settings.leave_out_first else 0 for prompt_ids in ids]
    rows: list[EditedRow] = []
    for prompt_ids, start in zip(ids, first, strict=True):
        e = check(edits, dictionary, n_positions=len(prompt_ids), first=start, through=settings.through, growing=False)
        for row_edits in ((), edits):
            rows.append(
                EditedRow(
                    edits=row_edits, base=len(rows) - bool(row_edits), n_prompt=len(prompt_ids), first=start, through=e
                )
            )
    measured = outcomes(
        subject, dictionary, Clamp(dictionary, rows), [prompt_ids for prompt_ids in ids for _ in range(2)]
    )
    results = []
    for place, prompt_ids in enumerate(ids):
        before, after = measured[2 * place], measured[2 * place + 1]
        row, prediction = rows[2 * place + 1], None
        if predict is not None:
            if predict == "effects":
                prediction = _by_effects(subject, dictionary, prompt_ids, row, before)
            else:
                prediction = _predicted(subject, dictionary, prompt_ids, row, before, cast(Semantics, predict))
        likely = sorted({*_likeliest(before), *_likeliest(after)})
        results.append(
            Effect(
                tokens=subject.token_strings(prompt_ids.tolist()),
                token_ids=tuple(prompt_ids.tolist()),
                edits=edits,
                through=row.through if row.edited_layers and dictionary.kind != "sae" else None,
                prediction=predict,
                before=before,
                predicted=prediction,
                measured=after,
                changes=_changes(dictionary, row, before, prediction, after),
                likely=dict(zip(likely, subject.token_strings(likely), strict=True)),
            )
        )
    return results


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


def _predicted(
    subject: Subject,
    dictionary: Dictionary,
    ids: Int[Tensor, " pos"],
    row: EditedRow,
    before: Outcome,
    semantics: Semantics,
) -> Outcome:
    """What the frozen model's answer to the edits makes of the run without them."""
    frozen = LocalModel.record(subject, dictionary, ids).frozen_parts()
    rows = [replace(row, edits=(), base=0), replace(row, base=0)]
    clamp = Clamp(dictionary, rows, Regime(semantics=semantics, frozen=frozen))
    plain, edited = outcomes(subject, dictionary, clamp, [ids, ids])
    logits = before.logits + (edited.logits - plain.logits)
    reads = {layer: read + (edited.reads[layer] - plain.reads[layer]) for layer, read in before.reads.items()}
    return Outcome(logits=logits, probabilities=subject.probabilities(logits), reads=reads)


def _by_effects(
    subject: Subject, dictionary: Dictionary, ids: Int[Tensor, " pos"], row: EditedRow, before: Outcome
) -> Outcome:
    """What effects predict, from one forward derivative of the replacement model; final norm and softmax are exact."""
    last: SiteAt = ("resid_post", subject.n_layers - 1)
    rows = [replace(row, edits=(), base=0), replace(row, base=0)]
    clamp = Clamp(dictionary, rows, Regime(semantics="linear", tangent=True))
    options: dict[str, Any] = {"reads": clamp.reads, "change": clamp.changes(0, len(ids))}
    with _forward_derivatives():
        run = subject.run(ids.expand(2, -1), eager=True, keep=[*read_sites(dictionary), last], **options)
        stream = forward_ad.unpack_dual(run.kept[last]).primal[0].clone()
        slopes = _tangents(run).kept
    stream = stream.to(torch.promote_types(stream.dtype, torch.float32))  # half precision would round a change away
    final = torch.stack([stream, stream + slopes[last][1]])
    plain, edited = subject.unembed(subject.normed(final, subject.final_norm).to(subject.dtype))
    logits = before.logits + (edited - plain)
    reads = {layer: read + slopes[dictionary.read_site, layer][1] for layer, read in before.reads.items()}
    return Outcome(logits=logits, probabilities=subject.probabilities(logits), reads=reads)


def outcomes(subject: Subject, dictionary: Dictionary, clamp: Clamp, ids: Sequence[Int[Tensor, " _"]]) -> list[Outcome]:
    """Run the rows of a clamp, padded to one batch, and cut them apart again."""
    padded = torch.nn.utils.rnn.pad_sequence(list(ids), batch_first=True)
    changes = clamp.changes(0, padded.shape[1])
    run = subject.run(
        padded, change=changes, reads=clamp.reads, keep=read_sites(dictionary), frozen=clamp.regime.frozen
    )
    results = []
    for place, row_ids in enumerate(ids):
        logits = subject.unembed(run.final[place, : len(row_ids)])
        reads = {layer: kept[place, : len(row_ids)] for (_, layer), kept in run.kept.items()}
        results.append(Outcome(logits=logits, probabilities=subject.probabilities(logits), reads=reads))
    return results


def read_sites(dictionary: Dictionary) -> list[SiteAt]:
    """Where a Dictionary's features are read."""
    return [(dictionary.read_site, layer) for layer in sorted(dictionary.layers)]


def _changes(
    dictionary: Dictionary, row: EditedRow, before: Outcome, predicted: Outcome | None, measured: Outcome
) -> tuple[Change, ...]:
    """The features whose activation changed; edited ones have the activation that they were given."""
    changes = []
    for layer in sorted(dictionary.layers):
        outcomes = [before, measured] + ([] if predicted is None else [predicted])
        values = torch.stack([_activations(dictionary, layer, outcome.reads[layer], row.first) for outcome in outcomes])
        _edited(values, layer, row)
        changed = (values - values[0]).abs().amax(0)
        scale = values.abs().amax().clamp_min(1e-12)
        for position, index in (changed > 1e-5 * scale).nonzero().tolist():
            activations = values[:, position, index].tolist()
            node = NodeId("feature", position, layer, index)
            changes.append(Change(node, activations[0], None if predicted is None else activations[2], activations[1]))
    changes.sort(key=lambda change: (-abs(change.measured - change.before), -abs(_moved(change))))
    return tuple(changes)


def _edited(values: Float[Tensor, "outcome pos feature"], layer: int, row: EditedRow) -> None:
    """Put in place what edits made of their features, several additions summed; outcome 0 is the run without edits."""
    matching = [
        (edit.mask(0, values.shape[1], n_prompt=row.n_prompt, first=row.first), edit.feature.index, edit)
        for edit in row.edits
        if edit.feature is not None and edit.feature.layer == layer and edit.verb != "steer"
    ]
    for mask, index, _ in matching:
        values[1:, mask, index] = values[0, mask, index]
    for mask, index, edit in matching:
        before = values[0, mask, index]
        values[1:, mask, index] += edit.result(before) - before


def _moved(change: Change) -> float:
    return 0.0 if change.predicted is None else change.predicted - change.before


def _activations(dictionary: Dictionary, layer: int, x: Tensor, first: int) -> Float[Tensor, "pos feature"]:
    values = dictionary.activations(layer, x)
    values[:first] = 0
    return values


# --- many edits of one prompt ---------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some of many cases, run as one batch: row 0 is the run without edits, positions before `start` are its prefix."""

    cases: tuple[int, ...]
    start: int
    run: Run


def rows_at_once(subject: Subject, n_positions: int) -> int:
    """How many edited copies of a prompt run together: ROWS, or as many as keep no more than ROWS_BYTES.

    In every layer a copy keeps keys, values, what features read and what changes there; the patterns are one layer's at
    a time, with their derivatives.
    """
    kept = 4 * 4 * subject.n_layers * n_positions * subject.d_model + 3 * pattern_bytes(subject, n_positions)
    return max(1, min(ROWS, ROWS_BYTES // kept))


@torch.no_grad()
def cases(
    subject: Subject,
    dictionary: Dictionary,
    ids: Int[Tensor, " pos"],
    edits: Sequence[Sequence[Edit]],
    *,
    through: Sequence[int],
    regime: Regime = LIVE,
    first: int = 0,
    keep: Sequence[SiteAt] | None = None,
) -> Iterator[Part]:
    """Run many sets of edits on one prompt, each a row; unless others are given, the Dictionary's read sites are kept.

    Rows are taken in order of their first edited position. What lies before it is computed once a batch and kept as
    keys and values, unless parts are frozen, which needs the whole prompt. In a tangent regime a part's run holds the
    forward derivatives along the edits instead of values.
    """
    n_pos, tangent = len(ids), regime.tangent
    batch = rows_at_once(subject, n_pos)
    starts = [0 if regime.frozen is not None else _begin(row_edits, n_pos, first) for row_edits in edits]
    order = sorted(range(len(edits)), key=lambda i: starts[i])
    for chunk in (order[i : i + batch] for i in range(0, len(order), batch)):
        start = starts[chunk[0]]
        plan = [((), 0)] + [(tuple(edits[i]), through[i]) for i in chunk]
        rows = [EditedRow(edits=row_edits, base=0, n_prompt=n_pos, first=first, through=e) for row_edits, e in plan]
        cache = None
        if start > 0:
            cache = subject.new_cache()
            subject.run(ids[None, :start], cache=cache, eager=tangent)
            cache.batch_repeat_interleave(len(rows))
        clamp = Clamp(dictionary, rows, regime)
        tokens = ids[None, start:].expand(len(rows), -1)
        options: dict[str, Any] = {"cache": cache, "frozen": regime.frozen, "keep": keep or read_sites(dictionary)}
        options |= {"reads": clamp.reads, "change": clamp.changes(start, n_pos - start)}
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
        tangent = forward_ad.unpack_dual(value).tangent
        return torch.zeros_like(value) if tangent is None else tangent.clone()

    return Run(final=slope(run.final), kept={site: slope(value) for site, value in run.kept.items()})


def _begin(edits: Sequence[Edit], n_pos: int, first: int) -> int:
    """The first position that a set of edits touches; the last one when it touches none."""
    masks = [edit.mask(0, n_pos, n_prompt=n_pos, first=first) for edit in edits]
    touched = torch.stack(masks).any(0).nonzero() if masks else torch.empty(0)
    return int(touched[0]) if len(touched) else n_pos - 1
