"""From a prompt to its Graph.

1. Record the run; find the active features, the errors, the targets.
2. Sweep the targets' rows, then the features' rows. With `max_features`, features are taken in batches by the influence
   that the rows so far give them, so that the ranking sharpens as rows arrive.
3. Features without a row lose their column too; the sum of what they contributed goes to the offset `left_out`, so that
   incoming edges and offsets still add up to every pre-activation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from clew.attribution.graph import Graph
from clew.attribution.influence import flow
from clew.attribution.local_model import LocalModel, check_traceable
from clew.attribution.nodes import OFFSETS
from clew.attribution.room import check_recording, check_rows
from clew.attribution.strongest import with_strongest
from clew.attribution.sweep import Block
from clew.attribution.target_rows import TargetRows
from clew.attribution.targets import Spec, Target, resolve, targets_of_answer
from clew.dictionary.dictionary import Dictionary
from clew.errors import InputError
from clew.kernels.buffers import untouched
from clew.progress import Progress
from clew.settings import Settings, accepts, one_of, option
from clew.subject.positions import FirstPosition, first_position
from clew.subject.recording import Recording
from clew.subject.subject import Prompt, Subject

# A block takes positions until it has this many targets, or reaches over this many positions.
_WIDE, _REACH = 192, 4
MOST_FEATURES = 8192
"""Features with a row unless another number is asked for: 300 MB of edges."""
_HASHED_BYTES = 256 << 20  # larger dictionaries are not hashed: it would take longer than the trace


@dataclass(frozen=True, kw_only=True)
class TraceSettings(Settings):
    """What to explain, and how much of it."""

    targets: Spec | Sequence[Spec] | None = field(
        default=None, metadata=option("--target", "-t", kind=list[str] | None)
    )
    """Output to explain: a token, or a difference such as "Paris - Berlin"; left out, the likeliest tokens."""
    position: int = -1
    """Position whose next token is explained; -1 is the last."""
    answer: str | None = None
    """Trace this text after the prompt, token by token, each at the position that predicts it."""
    max_features: int | None = MOST_FEATURES
    """Rows for this many features at most, the most influential ones; the rest goes to the offset `left_out`."""
    rest_responds: bool = False
    """In effects, let the features beyond `max_features` respond to what changes, so that total effects do not depend
    on how many have rows; a model's own neurons always do."""
    effects: bool = False
    """Also find what changes when a source goes (`Graph.effects`); about as much work again, and twice the memory."""
    target_mass: float = 0.95
    """Without targets: the smallest top set of tokens with this probability is explained."""
    max_targets: int = 10
    """Without targets: at most so many tokens are explained."""
    leave_out_first: bool = True
    """Leave the first position out when its token is a special one, or it is measured to be an attention sink."""
    add_bos: bool = field(default=True, metadata=option("--add-bos/--no-bos", kind=bool))
    """Begin a text with what the tokenizer puts there, or its BOS."""
    budget: int = 512 << 20
    """Bytes of gradients held at once, and of decoder rows kept."""

    def __post_init__(self) -> None:
        if self.max_features is not None and self.max_features < 1:
            raise InputError(f"max_features is {self.max_features}: give at least 1")
        one_of(answer=self.answer, target=self.targets)
        one_of(answer=self.answer, position=None if self.position == -1 else self.position)
        for name in ("target_mass", "max_targets"):
            if getattr(self, name) != getattr(type(self), name):
                one_of(answer=self.answer, target=self.targets, **{name: True})


@accepts(TraceSettings)
def trace(subject: Subject, dictionary: Dictionary, prompt: Prompt, settings: TraceSettings) -> Graph:
    """The attribution graph of one prompt.

    InputError for a prompt, target or limit that cannot be used (an SAE among them), MismatchError when the Dictionary
    was made for another model.
    """
    return trace_with(subject, dictionary, prompt, settings)


@torch.no_grad()
def trace_with(subject: Subject, dictionary: Dictionary, prompt: Prompt, settings: TraceSettings) -> Graph:
    """`trace` with its settings as a value."""
    check_traceable(subject, dictionary)
    ids = subject.encode(prompt, add_bos=settings.add_bos)
    answer_ids = _answer_ids(subject, settings.answer)
    if answer_ids:
        ids = subject.encode(torch.cat([ids, ids.new_tensor(answer_ids[:-1])]))
    check_recording(subject, len(ids), effects=settings.effects)
    recording = subject.record(ids)
    first = first_position(subject, ids, recording)
    targets = _targets(subject, recording, answer_ids, settings)
    model = LocalModel(
        subject=subject,
        recording=recording,
        dictionary=dictionary,
        first_position=int(settings.leave_out_first and first.left_out),
        cache_bytes=settings.budget,
    )
    return graph_of(model, _OutputRows(model, targets), prompt, first, settings)


class _OutputRows:
    """Rows of tokens, differences and directions: what is read of the final normed stream."""

    def __init__(self, model: LocalModel, targets: Sequence[Target]) -> None:
        self.targets = targets
        values = model.target_values(targets)
        self.infos = tuple(target.info(value) for target, value in zip(targets, values, strict=True))

    def fill(self, model: LocalModel, rows: Tensor, offsets: Tensor, effects: Tensor | None) -> int:
        block = Block(model.target_readers(self.targets), [])
        model.fill(block, rows, offsets)
        if effects is not None:
            model.fill_effects(block, effects)
        return block.last_position


def graph_of(
    model: LocalModel, outputs: TargetRows, prompt: Prompt, first: FirstPosition, settings: TraceSettings, **more: Any
) -> Graph:
    """Fill all rows, and describe the graph; `more` goes into its settings."""
    subject, recording, dictionary = model.subject, model.recording, model.dictionary
    ids = recording.ids.tolist()
    if dictionary.reads_by_position:
        model, n_active = with_strongest(model, outputs, settings.max_features)
    else:
        n_active = model.sources.n_features
    rows = _Rows(model, outputs, settings)
    rows.fill()
    return rows.graph(
        prompt=prompt if isinstance(prompt, str) else subject.text_of(ids),
        first_reason=first.reason,
        first_ratio=first.ratio,
        next_tokens=_likely(subject, recording, outputs.infos[-1].position),
        tokens=subject.token_strings(ids),
        token_ids=tuple(ids),
        subject=subject.name,
        dictionary=dictionary.name,
        dictionary_kind=dictionary.kind,
        dictionary_fingerprint=_fingerprint(dictionary),
        provenance=dictionary.other_model,
        settings={
            "n_active": n_active,
            "max_features": settings.max_features,
            "position": settings.position,
            "answer": settings.answer,
            "budget": settings.budget,
            **rows.rest,
            **more,
        },
    )


def _targets(
    subject: Subject, recording: Recording, answer_ids: Sequence[int], settings: TraceSettings
) -> tuple[Target, ...]:
    if answer_ids:
        return targets_of_answer(subject, recording, answer_ids)
    mass, most = settings.target_mass, settings.max_targets
    return resolve(subject, recording, settings.targets, position=settings.position, mass=mass, most=most)


def _answer_ids(subject: Subject, answer: str | None) -> list[int]:
    if answer is None:
        return []
    ids = subject.token_ids(answer)
    if not ids:
        raise InputError("the answer is empty: give the text that follows the prompt, with its leading space")
    return ids


def _fingerprint(dictionary: Dictionary) -> str:
    """The Dictionary's hash, or nothing where reading all of it would take longer than the trace."""
    if dictionary.reads_by_position:
        return dictionary.fingerprint
    size = sum(tensor.nbytes for layer in dictionary.layers.values() for tensor in layer.tensors().values())
    return dictionary.fingerprint if size <= _HASHED_BYTES else ""


def _likely(subject: Subject, recording: Recording, position: int, count: int = 10) -> tuple[tuple[str, float], ...]:
    """The most probable next tokens at one position."""
    probabilities = recording.probabilities[position]
    top = torch.topk(probabilities, min(count, len(probabilities)))
    return tuple(zip(subject.token_strings(top.indices.tolist()), top.values.tolist(), strict=True))


class _Rows:
    """The rows of one graph: which are wanted, which are filled."""

    def __init__(self, model: LocalModel, outputs: TargetRows, settings: TraceSettings) -> None:
        self.model, self.outputs, self.settings = model, outputs, settings
        self.targets = targets = outputs.infos
        sources = self.sources = model.sources
        most = sources.n_features if settings.max_features is None else settings.max_features
        self.n_wanted = min(most, sources.n_features)
        check_rows(sources, len(targets), self.n_wanted, kinds=1 + settings.effects)
        n_rows, device = len(targets) + self.n_wanted, sources.device
        self.rows = untouched(n_rows, sources.n_nodes, sources.dtype, device)
        self.effects = untouched(n_rows, sources.n_nodes, sources.dtype, device) if settings.effects else None
        self.later = settings.rest_responds and model.rest is None and self.n_wanted < sources.n_features
        """Effects are swept once it is known which features have no row."""
        self.rest = {"rest": "neurons"} if model.rest is not None else {"rest": "left_out"} if self.later else {}
        self.offsets = torch.zeros(n_rows, len(OFFSETS), dtype=sources.dtype, device=device)
        self.mass = torch.zeros(n_rows, dtype=sources.dtype, device=device)
        self.row_features = torch.full((n_rows,), -1, device=device)  # the feature of each row; -1 for a target's
        self.n_filled = 0

    # --- which rows -------------------------------------------------------------------------------------------

    def fill(self) -> None:
        """Sweep every wanted row."""
        n_features, device = self.sources.n_features, self.sources.device
        self._run_targets()
        if self.n_wanted == n_features:
            for features in self._blocks(torch.arange(n_features, device=device)):
                self._run(features)
            return
        batch = max(64, min(1024, self.n_wanted // 8))
        while self.n_filled < len(self.rows):
            chosen = self._most_influential(min(batch, len(self.rows) - self.n_filled))
            for features in self._blocks(chosen):
                self._run(features)
        if self.later and self.effects is not None:
            self._run_effects(self.effects)

    def _run_effects(self, effects: Tensor) -> None:
        """Sweep the effects of all rows, now that it is known which features have none."""
        n_targets, chosen = len(self.targets), self.row_features[len(self.targets) :]
        left_out = torch.ones(self.sources.n_features, dtype=torch.bool, device=chosen.device)
        left_out[chosen] = False
        model = self.model.with_left_out(left_out.nonzero()[:, 0])
        values, offsets = torch.zeros_like(effects[:n_targets]), torch.zeros_like(self.offsets[:n_targets])
        self.outputs.fill(model, values, offsets, effects[:n_targets])
        row_of = torch.empty(self.sources.n_features, dtype=torch.long, device=chosen.device)
        row_of[chosen] = torch.arange(n_targets, len(self.rows), device=chosen.device)
        for features in self._blocks(chosen):
            block, features = model.block(features, slopes=True)
            found = effects.new_zeros(block.n_readers, effects.shape[1])
            model.fill_effects(block, found)
            effects[row_of[features]] = found

    def _most_influential(self, count: int) -> Int[Tensor, " feature"]:
        """The features without a row through which the rows so far pass the most influence."""
        n_targets, n_nodes, n_filled = len(self.targets), self.sources.n_nodes, self.n_filled
        rows, features = self.rows[:n_filled], self.row_features[:n_filled]
        target_nodes = n_nodes + torch.arange(n_filled, device=rows.device).clamp_max(n_targets - 1)
        row_nodes = torch.where(features >= 0, features, target_nodes)
        layers = torch.where(features >= 0, self.sources.feature_keys[features, 0], self.sources.n_layers)
        start = rows.new_zeros(n_nodes + n_targets)
        start[n_nodes:] = rows.new_tensor([target.weight for target in self.targets])
        through = flow(rows, row_nodes, self.sources.col_nodes, layers, self.mass[:n_filled], start)
        through = through[: self.sources.n_features].clone()
        through[features[features >= 0]] = -1
        return torch.sort(through, descending=True, stable=True).indices[:count]

    def _blocks(self, features: Int[Tensor, " feature"]) -> Iterator[Int[Tensor, " feature"]]:
        """Cut features into blocks of neighbouring positions, within the budget for gradients."""
        keys = self.sources.feature_keys[features]
        order = torch.argsort(keys[:, 1] * self.sources.n_layers - keys[:, 0], stable=True)
        features, positions = features[order], keys[order, 1].tolist()
        start, width = 0, self.model.dictionary.d_model * self.rows.itemsize * 5  # the gradient and what it becomes
        for end in range(1, len(positions) + 1):
            full = end == len(positions) or (
                positions[end] != positions[end - 1]
                and (end - start >= _WIDE or positions[end] - positions[start] >= _REACH)
            )
            if full or (end - start + 1) * (positions[end] + 1) * width > self.settings.budget:
                yield features[start:end]
                start = end

    def _run_targets(self) -> None:
        part = slice(0, len(self.targets))
        effects = None if self.effects is None or self.later else self.effects[part]
        self._filled(part, self.outputs.fill(self.model, self.rows[part], self.offsets[part], effects))

    def _run(self, features: Int[Tensor, " feature"]) -> None:
        """Sweep one block of features."""
        block, rows_of = self.model.block(features)
        part = slice(self.n_filled, self.n_filled + block.n_readers)
        self.model.fill(block, self.rows[part], self.offsets[part])
        if self.effects is not None and not self.later:
            if self.model.dictionary.reads_by_position:
                block, _ = self.model.block(features, slopes=True)
            self.model.fill_effects(block, self.effects[part])
        self.row_features[part] = rows_of
        self._filled(part, block.last_position)

    def _filled(self, part: slice, last_position: int) -> None:
        reached = self.sources.position_ends[last_position]
        self.mass[part] = torch.linalg.vector_norm(self.rows[part, :reached], ord=1, dim=1)
        self.n_filled = part.stop
        self.settings.report(Progress(what="tracing", done=self.n_filled, of=len(self.rows), unit="rows"))

    # --- the graph --------------------------------------------------------------------------------------------

    def graph(self, **described: Any) -> Graph:
        """The Graph on the features that have rows; its tensors are on the CPU, wherever the model is."""
        sources, n_targets = self.sources, len(self.targets)
        kept = torch.ones(sources.n_nodes, dtype=torch.bool, device=sources.device)
        kept[: sources.n_features] = False
        kept[self.row_features[n_targets:]] = True
        number = torch.cumsum(kept.long(), 0) - 1
        rows, mass, col_nodes, effects = self.rows, self.mass, sources.col_nodes, self.effects
        if not bool(kept.all()):
            columns = kept[col_nodes]
            self.offsets[:, OFFSETS.index("left_out")] = rows @ (~columns).to(rows.dtype)
            rows, col_nodes = rows.index_select(1, columns.nonzero()[:, 0]), col_nodes[columns]
            effects = None if effects is None else effects.index_select(1, columns.nonzero()[:, 0])
            mass = torch.linalg.vector_norm(rows, ord=1, dim=1)
        features = kept[: sources.n_features]
        row_nodes = int(kept.sum()) + torch.arange(len(self.rows), device=sources.device)
        row_nodes[n_targets:] = number[self.row_features[n_targets:]]
        tensors: dict[str, Any] = {
            "feature_keys": sources.feature_keys[features],
            "activations": sources.activations[features],
            "preactivations": sources.preactivations[features],
            "error_keys": sources.error_keys,
            "rows": rows,
            "row_nodes": row_nodes,
            "col_nodes": number[col_nodes],
            "row_offsets": self.offsets,
            "input_mass": mass,
        }
        if effects is not None:
            tensors["effect_rows"] = effects
        return Graph(
            n_layers=sources.n_layers,
            first_position=sources.first_position,
            targets=self.targets,
            **{name: tensor.cpu() for name, tensor in tensors.items()},
            **described,
        )
