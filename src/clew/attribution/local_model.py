"""The local replacement model of one prompt, as a value: a Recording and a Dictionary.

Each MLP output is the Dictionary's reconstruction plus an error, so that the sum is the real output; attention patterns
and norm scales are those of the recording. What is left is linear in the residual stream (Ameisen et al. 2025). The
model can be asked for rows of any readers, for the values of targets, for its errors, and for the parts that a run of
the real model keeps frozen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clew.attribution.graph import Graph
from clew.attribution.nodes import OFFSETS
from clew.attribution.rest import FeatureRest, NeuronRest, Rest
from clew.attribution.sources import Sources
from clew.attribution.sweep import Block, Readers, Sweep
from clew.attribution.targets import Target
from clew.dictionary.dictionary import Dictionary
from clew.errors import InputError, MismatchError
from clew.subject.frozen import FrozenParts, freeze
from clew.subject.jacobian import FullStep, linearized
from clew.subject.recording import Recording, SiteAt
from clew.subject.subject import Subject


@dataclass(frozen=True, kw_only=True, eq=False)
class LocalModel:
    """A Subject on one prompt with its MLPs replaced by a Dictionary and its errors."""

    subject: Subject
    recording: Recording
    dictionary: Dictionary
    first_position: int = 0
    """1 when the first position is left out: it then has no features and no errors."""
    target_site: SiteAt | None = None
    """Where targets read that are no outputs (`Block.target_site`)."""
    cache_bytes: int = 512 << 20
    """Decoder rows are kept between blocks when they take no more than this."""
    kept: Int[Tensor, "kept 3"] | None = None
    """Layer, position and index of the features that are sources of their own; None for all that are active."""
    rest: Rest | None = None
    """What responds in effects although it has no row; without it everything that has none is held."""

    @classmethod
    def record(
        cls, subject: Subject, dictionary: Dictionary, ids: Int[Tensor, " pos"], *, first_position: int = 0
    ) -> LocalModel:
        """Run the Subject once; errors are those of `Subject.record`."""
        recording = subject.record(ids)
        return cls(subject=subject, recording=recording, dictionary=dictionary, first_position=first_position)

    @classmethod
    def of_graph(cls, subject: Subject, dictionary: Dictionary, graph: Graph) -> LocalModel:
        """The run that a graph was traced on, once more; errors are those of `check_traced_with`.

        InputError for a pruned graph with a rest: what responded in it is not known any more.
        """
        check_traced_with(subject, dictionary, graph)
        ids = torch.tensor(graph.token_ids, device=subject.device)
        model = cls.record(subject, dictionary, ids, first_position=graph.first_position)
        keys = graph.feature_keys.to(subject.device)
        n_rows = graph.settings.get("max_features")
        if "rest" in graph.settings and isinstance(n_rows, int) and len(keys) < n_rows:
            raise InputError("the graph is pruned, and what had no row in it responds: give the graph as it was traced")
        if dictionary.reads_by_position:
            return model.with_kept(keys)
        if graph.settings.get("rest") != "left_out":
            return model
        left_out = torch.ones(model.sources.n_features, dtype=torch.bool, device=subject.device)
        left_out[_places(keys, model.sources.feature_keys)] = False
        return model.with_left_out(left_out.nonzero()[:, 0])

    @cached_property
    def sources(self) -> Sources:
        """Active features, errors and tokens; InputError when the Dictionary holds NaN or infinity."""
        return Sources(
            self.recording,
            self.dictionary,
            first_position=self.first_position,
            cache_bytes=self.cache_bytes,
            kept=self.kept,
        )

    def with_kept(self, kept: Int[Tensor, "kept 3"]) -> LocalModel:
        """The same run with these neurons as sources of their own, all others responding in effects."""
        rest = NeuronRest(self.recording, self.dictionary, kept, first_position=self.first_position)
        return replace(self, kept=kept, rest=rest)

    def with_left_out(self, features: Int[Tensor, " feature"]) -> LocalModel:
        """The same run and sources, these features responding in effects."""
        rest = FeatureRest(self.recording, self.dictionary, self.sources.feature_keys[features])
        model = replace(self, rest=rest)
        vars(model).update({name: vars(self)[name] for name in ("sources", "full_steps") if name in vars(self)})
        return model

    @property
    def errors(self) -> Float[Tensor, "layer pos d_model"]:
        """What the Dictionary misses of every MLP output; zero at a left-out first position."""
        return self.sources.errors

    def columns(self, graph: Graph) -> Int[Tensor, " source"]:
        """The columns of `sources` of a graph's features, errors and tokens, in the order of its nodes.

        MismatchError for a graph of another run.
        """
        if graph.token_ids != tuple(self.recording.ids.tolist()):
            raise MismatchError(
                f"the graph is of another prompt: {graph.n_tokens} tokens that are not those of this run"
            )
        sources = self.sources
        features = _places(graph.feature_keys.to(sources.device), sources.feature_keys)
        errors = _places(graph.error_keys.to(sources.device), sources.error_keys)
        return torch.cat(
            [sources.column_of[features], sources.column_of[sources.n_features + errors], sources.token_columns]
        )

    @cached_property
    def full_steps(self) -> list[FullStep]:
        """The recording's steps with their full derivative; errors are those of `linearized`."""
        return linearized(self.recording)

    @cached_property
    def _sweep(self) -> Sweep:
        return Sweep(self.sources, target_site=self.target_site)

    def rows(self, block: Block) -> tuple[Float[Tensor, "reader col"], Float[Tensor, "reader 4"]]:
        """Rows and offsets of a block of readers, targets first, then features from the last layer to the first.

        Columns are those of `sources`.
        """
        sources = self.sources
        rows = torch.zeros(block.n_readers, sources.n_nodes, dtype=sources.dtype, device=sources.device)
        offsets = rows.new_zeros(block.n_readers, len(OFFSETS))
        self.fill(block, rows, offsets)
        return rows, offsets

    def fill(self, block: Block, rows: Float[Tensor, "reader col"], offsets: Float[Tensor, "reader 4"]) -> None:
        """`rows` into tensors that are there already and zero."""
        self._sweep.run(block, rows, offsets)

    @cached_property
    def _effect_sweep(self) -> Sweep:
        return Sweep(self.sources, full_steps=self.full_steps, target_site=self.target_site, rest=self.rest)

    def fill_effects(self, block: Block, rows: Float[Tensor, "reader col"]) -> None:
        """Effects of every source on a block of readers, into a tensor that is there already and zero.

        An effect is a source's size times the derivative of what the reader reads, patterns and norm scales following,
        other features and errors held, and `rest` following. UnsupportedModelError where a pattern is not found again
        from queries and keys.
        """
        self._effect_sweep.run(block, rows, rows.new_zeros(len(rows), len(OFFSETS)))

    def target_readers(self, targets: Sequence[Target]) -> Readers:
        """What targets read of the final normed stream."""
        dtype, device = self.sources.dtype, self.sources.device
        return Readers(
            torch.stack([target.direction for target in targets]).to(dtype),
            torch.tensor([target.position for target in targets], device=device),
            torch.tensor([target.bias for target in targets], dtype=dtype, device=device),
        )

    def block(
        self, features: Int[Tensor, " feature"], targets: Readers | None = None, *, slopes: bool = False
    ) -> tuple[Block, Int[Tensor, " feature"]]:
        """Readers of active features, with targets before them; also the features in the order of their rows.

        They read what adds up to values, or for effects (`slopes`) the derivative, which is another for neurons only.
        """
        keys = self.sources.feature_keys[features]
        order = torch.argsort(keys[:, 0], descending=True, stable=True)
        keys = keys[order]
        readers = []
        for layer in torch.unique(keys[:, 0]).flip(0).tolist():
            _, positions, ids = keys[keys[:, 0] == layer].T
            x = self.recording.sites[self.dictionary.read_site, layer][positions]
            if slopes:
                directions = self.dictionary.slope_rows(layer, ids, x)
                biases = directions.new_zeros(len(ids))
            else:
                directions, biases = self.dictionary.reader_rows(layer, ids, x)
            directions, biases = directions.to(self.sources.dtype), biases.to(self.sources.dtype)
            readers.append((layer, Readers(directions, positions, biases)))
        return Block(targets, readers), features[order]

    def target_values(self, targets: Sequence[Target]) -> list[float]:
        """The targets' centred logits, from the recorded stream and not from rows."""
        final = self.recording.final
        return [float(final[t.position] @ t.direction.to(final.dtype)) + t.bias for t in targets]

    def frozen_parts(self, *, patterns: bool = True, norms: bool = True, final_norm: bool = True) -> FrozenParts | None:
        """What a run of the real model keeps of this recording; None when it is nothing."""
        return freeze(self.subject, self.recording, patterns=patterns, norms=norms, final_norm=final_norm)


def check_traced_with(subject: Subject, dictionary: Dictionary, graph: Graph) -> None:
    """MismatchError for a graph of another Dictionary or model, InputError for a Dictionary that cannot be traced."""
    check_traceable(subject, dictionary)
    if graph.dictionary_fingerprint and graph.dictionary_fingerprint != dictionary.fingerprint:
        raise MismatchError(
            f"the graph was traced with the dictionary {graph.dictionary!r}, and {dictionary.name!r} has other weights"
        )
    if max(graph.token_ids, default=0) >= subject.n_tokens:
        raise MismatchError(f"the graph's tokens are not {subject.name}'s: it belongs to another model")


def check_traceable(subject: Subject, dictionary: Dictionary) -> None:
    """InputError for an SAE and for features that would be their own causes, MismatchError for another model's."""
    if dictionary.kind == "sae":
        raise InputError("an SAE has no linear path through an MLP and cannot be traced: use a transcoder (PLT or CLT)")
    dictionary.check_fits(subject)
    dictionary.check_order()


def _places(keys: Int[Tensor, "key part"], among: Int[Tensor, "other part"]) -> Int[Tensor, " key"]:
    """Where each key stands among others; MismatchError for one that does not."""
    both = torch.cat([among, keys])
    numbers = both.new_zeros(len(both))
    for part in both.T:
        numbers = numbers * (int(part.max()) + 1 if len(part) else 1) + part
    known, order = numbers[: len(among)].sort()
    found = torch.searchsorted(known, numbers[len(among) :]).clamp_max(max(0, len(known) - 1))
    missing = numbers[len(among) :] != known[found] if len(known) else torch.ones_like(found, dtype=torch.bool)
    if bool(missing.any()):
        node = tuple(keys[missing][0].tolist())
        raise MismatchError(f"the graph has a node at {node} that this model's run of its tokens does not have")
    return order[found] if len(known) else found
