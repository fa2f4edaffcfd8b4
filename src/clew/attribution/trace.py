"""From a prompt to its Graph.

1. Record the run; find the active features, the errors, the targets.
2. Sweep the targets' rows, then the features' rows. With `max_features`, features are taken in batches by the influence
   that the rows so far give them, so that the ranking sharpens as rows arrive.
3. Features without a row lose their column too; the sum of what they contributed goes to the offset `left_out`, so that
   incoming edges and offsets still add up to every pre-activation.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clew.attribution import influence
from clew.attribution import targets as _targets
from clew.attribution.graph import OFFSETS, Graph
from clew.attribution.sources import Sources
from clew.attribution.sweep import Block, Readers, Sweep
from clew.dictionary.dictionary import Dictionary
from clew.errors import InputError
from clew.subject.recording import Recording
from clew.subject.subject import Prompt, Subject

Progress = Callable[[int, int], None]  # rows done, rows in all


@torch.no_grad()
def trace(
    subject: Subject,
    dictionary: Dictionary,
    prompt: Prompt,
    *,
    targets: _targets.Spec | Sequence[_targets.Spec] | None = None,
    position: int = -1,
    answer: str | None = None,
    max_features: int | None = None,
    target_mass: float = 0.95,
    max_targets: int = 10,
    leave_out_first: bool = True,
    add_bos: bool = True,
    budget: int = 512 << 20,
    progress: Progress | None = None,
) -> Graph:
    """The attribution graph of one prompt.

    `answer` is text that follows the prompt: it is traced token by token, each token at the position that predicts it.
    `budget` bounds the bytes of gradients held at once and of decoder rows kept. The first position is left out when
    its token is a special one. InputError for a prompt, target or limit that cannot be used (an SAE among them),
    MismatchError when the Dictionary was made for another model.
    """
    if dictionary.kind == "sae":
        raise InputError("an SAE has no linear path through an MLP and cannot be traced: use a transcoder (PLT or CLT)")
    if max_features is not None and max_features < 1:
        raise InputError(f"max_features is {max_features}: give at least 1")
    dictionary.check_fits(subject)
    dictionary.check_order()
    ids = subject.encode(prompt, add_bos=add_bos)
    answer_ids = _answer_ids(subject, answer)
    if answer_ids:
        ids = subject.encode(torch.cat([ids, torch.tensor(answer_ids[:-1], dtype=torch.long)]))
    recording = subject.record(ids)
    if answer_ids:
        goals = _targets.answer(subject, recording, answer_ids)
    else:
        goals = _targets.resolve(subject, recording, targets, position=position, mass=target_mass, most=max_targets)
    left_out = leave_out_first and int(ids[0]) in subject.special_ids
    sources = Sources(recording, dictionary, first_position=int(left_out), cache_bytes=budget)
    rows = _Rows(sources, goals, max_features, budget, progress)
    rows.fill()
    text = prompt if isinstance(prompt, str) else "".join(subject.token_strings(ids.tolist()))
    return rows.graph(
        prompt=text,
        next_tokens=_likely(subject, recording, goals[-1].position),
        tokens=subject.token_strings(ids.tolist()),
        token_ids=tuple(ids.tolist()),
        subject=subject.name,
        dictionary=dictionary.name,
        dictionary_kind=dictionary.kind,
        dictionary_fingerprint=_fingerprint(dictionary),
        settings={
            "n_active": sources.n_features,
            "max_features": max_features,
            "position": position,
            "answer": answer,
            "budget": budget,
        },
    )


def _answer_ids(subject: Subject, answer: str | None) -> list[int]:
    if answer is None:
        return []
    ids = subject.token_ids(answer)
    if not ids:
        raise InputError("the answer is empty: give the text that follows the prompt, with its leading space")
    return ids


def _fingerprint(dictionary: Dictionary) -> str:
    """The Dictionary's hash, or nothing where reading all of it would take longer than the trace."""
    size = sum(tensor.nbytes for layer in dictionary.layers.values() for tensor in layer.tensors().values())
    return dictionary.fingerprint if size <= _HASHED_BYTES else ""


def _likely(subject: Subject, recording: Recording, position: int, count: int = 10) -> tuple[tuple[str, float], ...]:
    """The most probable next tokens at one position."""
    probabilities = recording.probabilities[position]
    top = torch.topk(probabilities, min(count, len(probabilities)))
    return tuple(zip(subject.token_strings(top.indices.tolist()), top.values.tolist(), strict=True))


class _Rows:
    """The rows of one graph: which are wanted, which are done."""

    def __init__(
        self,
        sources: Sources,
        goals: Sequence[_targets.Target],
        max_features: int | None,
        budget: int,
        progress: Progress | None,
    ) -> None:
        self.sources, self.goals, self.budget, self.progress = sources, goals, budget, progress
        self.sweep = Sweep(sources)
        self.limit = sources.n_features if max_features is None else min(max_features, sources.n_features)
        self.rows = _untouched(len(goals) + self.limit, sources.n_nodes, dtype=sources.dtype)
        self.offsets = torch.zeros(len(self.rows), len(OFFSETS), dtype=sources.dtype)
        self.mass = torch.zeros(len(self.rows), dtype=sources.dtype)
        self.row_features = torch.full((len(self.rows),), -1)  # the feature of each row; -1 for the targets'
        self.done = 0

    # --- which rows -------------------------------------------------------------------------------------------

    def fill(self) -> None:
        """Sweep every wanted row."""
        self._run(torch.empty(0, dtype=torch.long), self._outputs())
        n_features = self.sources.n_features
        if self.limit == n_features:
            for part in self._blocks(torch.arange(n_features)):
                self._run(part)
            return
        batch = max(64, min(1024, self.limit // 8))
        while self.done < len(self.rows):
            chosen = self._most_influential(min(batch, len(self.rows) - self.done))
            for part in self._blocks(chosen):
                self._run(part)

    def _most_influential(self, count: int) -> Int[Tensor, " feature"]:
        """The features without a row through which the rows so far pass the most influence."""
        n_goals, n_nodes = len(self.goals), self.sources.n_nodes
        rows, features = self.rows[: self.done], self.row_features[: self.done]
        row_nodes = torch.where(features >= 0, features, n_nodes + torch.arange(self.done).clamp_max(n_goals - 1))
        layers = torch.where(features >= 0, self.sources.feature_keys[features, 0], self.sources.n_layers)
        start = rows.new_zeros(n_nodes + n_goals)
        start[n_nodes:] = torch.tensor([goal.weight for goal in self.goals], dtype=rows.dtype)
        through = influence.flow(rows, row_nodes, self.sources.col_nodes, layers, self.mass[: self.done], start)
        through = through[: self.sources.n_features].clone()
        through[features[features >= 0]] = -1
        return torch.sort(through, descending=True, stable=True).indices[:count]

    def _blocks(self, features: Int[Tensor, " feature"]) -> Iterator[Int[Tensor, " feature"]]:
        """Cut features into blocks of neighbouring positions, within the budget for gradients."""
        keys = self.sources.feature_keys[features]
        order = torch.argsort(keys[:, 1] * self.sources.n_layers - keys[:, 0], stable=True)
        features, positions = features[order], keys[order, 1]
        places = positions.tolist()
        start, width = 0, self.sources.dictionary.d_model * self.rows.itemsize * 5  # the gradient and what it becomes
        for end in range(1, len(places) + 1):
            full = end == len(places) or (
                places[end] != places[end - 1] and (end - start >= _WIDE or places[end] - places[start] >= _REACH)
            )
            if full or (end - start + 1) * (places[end] + 1) * width > self.budget:
                yield features[start:end]
                start = end

    # --- one block --------------------------------------------------------------------------------------------

    def _outputs(self) -> Readers:
        directions = torch.stack([goal.direction for goal in self.goals]).to(self.sources.dtype)
        return Readers(
            directions,
            torch.tensor([goal.position for goal in self.goals]),
            torch.tensor([goal.bias for goal in self.goals], dtype=self.sources.dtype),
        )

    def _run(self, features: Int[Tensor, " feature"], outputs: Readers | None = None) -> None:
        keys = self.sources.feature_keys[features]
        order = torch.argsort(keys[:, 0], descending=True, stable=True)
        features, keys = features[order], keys[order]
        readers = []
        for layer in torch.unique(keys[:, 0]).flip(0).tolist():
            _, positions, ids = keys[keys[:, 0] == layer].T
            directions = self.sources.dictionary.encoder_rows(layer, ids).to(self.sources.dtype)
            biases = self.sources.dictionary.encoder_bias(layer, ids).to(self.sources.dtype)
            readers.append((layer, Readers(directions, positions, biases)))
        block = Block(outputs, readers)
        part = slice(self.done, self.done + block.n_targets)
        self.sweep.run(block, self.rows[part], self.offsets[part])
        reached = self.sources.position_ends[block.last_position]
        self.mass[part] = torch.linalg.vector_norm(self.rows[part, :reached], ord=1, dim=1)
        self.row_features[part.stop - len(features) : part.stop] = features
        self.done = part.stop
        if self.progress is not None:
            self.progress(self.done, len(self.rows))

    # --- the graph --------------------------------------------------------------------------------------------

    def graph(self, **described: Any) -> Graph:
        """The Graph on the features that have rows."""
        sources, n_goals = self.sources, len(self.goals)
        kept = torch.ones(sources.n_nodes, dtype=torch.bool)
        kept[: sources.n_features] = False
        kept[self.row_features[n_goals:]] = True
        number = torch.cumsum(kept.long(), 0) - 1
        rows, mass, col_nodes = self.rows, self.mass, sources.col_nodes
        if not bool(kept.all()):
            columns = kept[col_nodes]
            self.offsets[:, OFFSETS.index("left_out")] = rows @ (~columns).to(rows.dtype)
            rows, col_nodes = rows.index_select(1, columns.nonzero()[:, 0]), col_nodes[columns]
            mass = torch.linalg.vector_norm(rows, ord=1, dim=1)
        features = kept[: sources.n_features]
        row_nodes = int(kept.sum()) + torch.arange(len(self.rows))
        row_nodes[n_goals:] = number[self.row_features[n_goals:]]
        return Graph(
            n_layers=sources.n_layers,
            first_position=sources.first_position,
            feature_keys=sources.feature_keys[features],
            activations=sources.activations[features],
            preactivations=sources.preactivations[features],
            error_keys=sources.error_keys,
            targets=tuple(goal.info(value) for goal, value in zip(self.goals, self._values(), strict=True)),
            rows=rows,
            row_nodes=row_nodes,
            col_nodes=number[col_nodes],
            row_offsets=self.offsets,
            input_mass=mass,
            **described,
        )

    def _values(self) -> list[float]:
        """The targets' centred logits, from the recorded stream and not from the rows."""
        final = self.sources.recording.final
        return [float(final[goal.position] @ goal.direction.to(final.dtype)) + goal.bias for goal in self.goals]


# A block takes positions until it has this many targets, or reaches over this many positions.
_WIDE, _REACH = 192, 4
_HASHED_BYTES = 256 << 20


def _untouched(n_rows: int, n_cols: int, dtype: torch.dtype) -> Float[Tensor, "row col"]:
    """Zeros in pages that take memory only once written: those behind a target's position never are.

    An anonymous map, because allocators fill zeros in or round up to huge pages.
    """
    pages = mmap.mmap(-1, max(1, n_rows * n_cols * dtype.itemsize))
    return torch.frombuffer(pages, dtype=dtype, count=n_rows * n_cols).view(n_rows, n_cols)
