"""Every swap and ablation of the study on one dictionary, as runs by name; a run is one case a pair of countries.

swap, swap.null.N            identity carriers at the last token; matched random features
first, first.null.N          those of the first layer alone; `first.through.E` the same with layers up to E clamped
upto.L, from.L               those of the layers up to L, from L on
token                        every feature at the country's own token
output                       output features of both prompts alone (those whose influence goes straight to the answer)
transplant, third.N          one-hop activations of country b, or of a third one, in the two-hop prompt of country a
ablate.*, ablate.*.null.N    carriers of identity or of the question set to zero; matched random features
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from clew.attribution.algebra import roles
from clew.intervention.edit import Edit
from clew.kit import Kit
from clew.studies.capital.carriers import Carriers, find_carriers
from clew.studies.capital.facts import CapitalConfig, CountryPair, CountryPrompts
from clew.studies.case import Steps
from clew.studies.columns import Columns
from clew.studies.measuring import likeliest, read_answers
from clew.studies.slots import SlottedPrompt
from clew.studies.swaps import Swap, SwapAnswers, read_features


@dataclass(frozen=True, kw_only=True, eq=False)
class CountryFeatures:
    """What one dictionary reads in all prompts, and which of its features carry what."""

    columns: Columns
    reads: Mapping[str, tuple[Float[Tensor, "country feature"], ...]]
    """At the last token, by kind and sentence."""
    token_columns: Columns
    token_reads: tuple[Float[Tensor, "country token_feature"], ...]
    """At the country's token, by one-hop sentence."""
    carriers: tuple[Carriers, ...]
    """By one-hop sentence, found in the others; and last those found in all."""


def features_of(kit: Kit, asked: CountryPrompts, config: CapitalConfig) -> CountryFeatures:
    """Read all prompts and find the carriers."""
    kinds = ("one_hop", "other", "two_hop")
    columns, rows = read_features(kit, [each for kind in kinds for each in asked.prompts[kind]], None)
    reads, start = {}, 0
    for kind in kinds:
        reads[kind] = tuple(rows[start : start + len(asked.prompts[kind])])
        start += len(asked.prompts[kind])
    token_columns, token_rows = read_features(kit, asked.prompts["one_hop"], "country")
    one_hop = reads["one_hop"]
    left_out = [[rows for place, rows in enumerate(one_hop) if place != out] for out in range(len(one_hop))]
    return CountryFeatures(
        columns=columns,
        reads=reads,
        token_columns=token_columns,
        token_reads=tuple(token_rows),
        carriers=tuple(find_carriers(r, reads["other"], columns.norm, config.share) for r in (*left_out, one_hop)),
    )


@dataclass(frozen=True, kw_only=True)
class _Run:
    """Cases of one name before they are measured."""

    cases: list[tuple[SlottedPrompt, list[Edit]]]
    through: int | None = None
    written: float = 1.0


class Runs:
    """The runs of one dictionary."""

    def __init__(
        self,
        kit: Kit,
        asked: CountryPrompts,
        features: CountryFeatures,
        config: CapitalConfig,
        pairs: list[CountryPair],
    ) -> None:
        self.kit, self.asked, self.features, self.config, self.pairs = kit, asked, features, config, pairs
        layers = torch.unique(features.columns.layer).tolist()
        self.layers: list[int] = layers
        self.generator = torch.Generator().manual_seed(config.seed)

    @property
    def two_hop_pairs(self) -> list[CountryPair]:
        """Pairs whose first country has a two-hop prompt that the model answers."""
        return [pair for pair in self.pairs if bool(self.asked.known["two_hop"][pair.two, pair.a])]

    def measured(self, names: Sequence[str]) -> Steps:
        """The most likely tokens of the runs of these names (`swap` stands for swap and its null), by name."""
        found: dict[str, Tensor] = {}
        for name in names:
            for key, run in self._of(name):
                counts = [len(edits) for _, edits in run.cases]
                cases = [(prompt.token_ids, edits) for prompt, edits in run.cases]
                found[f"{key}/top"] = yield from read_answers(
                    self.kit, cases, likeliest, what=f"swaps ({name})", through=run.through
                )
                found[f"{key}/size"] = torch.tensor([sum(counts) / max(len(counts), 1), run.written])
        return found

    def _of(self, name: str) -> Iterator[tuple[str, _Run]]:
        """The runs that stand behind a name."""
        if name == "output":
            yield name, self._outputs()
        elif name == "transplant":
            yield name, self._transplant(None)
            for draw in range(self.config.draws):
                yield f"third.{draw}", self._transplant(draw)
        elif name == "token":
            yield name, _set([self._token_swap(pair) for pair in self.pairs], self.features.token_columns)
        elif name == "layers":
            for layer in self.layers:
                of_layer = self.features.columns.layer
                yield f"upto.{layer}", self._set(of_layer <= layer)
                yield f"from.{layer}", self._set(of_layer >= layer)
        elif name == "through":
            for layer in self.layers:
                yield f"first.through.{layer}", replace(self._set(self._first), through=layer)
        else:
            yield from self._beside_null(name)

    @property
    def _first(self) -> Bool[Tensor, " feature"]:
        return self.features.columns.layer == self.layers[0]

    def _beside_null(self, name: str) -> Iterator[tuple[str, _Run]]:
        """One set and its matched random sets."""
        if name.startswith("ablate"):
            swaps = [self._ablation(pair, name.removeprefix("ablate.")) for pair in self.pairs]
        else:
            swaps = self._swaps(self._first if name == "first" else None)
        columns = self.features.columns
        yield name, _set(swaps, columns)
        for draw in range(self.config.draws):
            drawn = [swap.matched(columns, self.generator, ablate=name.startswith("ablate")) for swap in swaps]
            share = sum(moved for _, moved in drawn) / max(len(drawn), 1)
            cases = [(swap.prompt, edits) for swap, (edits, _) in zip(swaps, drawn, strict=True)]
            yield f"{name}.null.{draw}", _Run(cases=cases, written=share)

    def _swaps(self, within: Bool[Tensor, " feature"] | None) -> list[Swap]:
        """The identity carriers of every pair, or those of them that lie within."""
        swaps = []
        for pair in self.pairs:
            rows, chosen = self.features.reads["one_hop"][pair.sentence], self.features.carriers[pair.sentence].identity
            prompt = self._prompt("one_hop", pair.sentence, pair.a)
            swaps.append(
                Swap(
                    prompt=prompt,
                    position=len(prompt.token_ids) - 1,
                    own=rows[pair.a],
                    other=rows[pair.b],
                    chosen=chosen if within is None else chosen & within,
                )
            )
        return swaps

    def _set(self, within: Bool[Tensor, " feature"]) -> _Run:
        return _set(self._swaps(within), self.features.columns)

    def _ablation(self, pair: CountryPair, group: str) -> Swap:
        own, carriers = self.features.reads["one_hop"][pair.sentence][pair.a], self.features.carriers[pair.sentence]
        chosen = carriers.identity if group == "identity" else carriers.question
        prompt = self._prompt("one_hop", pair.sentence, pair.a)
        return Swap(
            prompt=prompt, position=len(prompt.token_ids) - 1, own=own, other=torch.zeros_like(own), chosen=chosen
        )

    def _token_swap(self, pair: CountryPair) -> Swap:
        rows, prompt = self.features.token_reads[pair.sentence], self._prompt("one_hop", pair.sentence, pair.a)
        everything = torch.ones(rows.shape[1], dtype=torch.bool)
        return Swap(
            prompt=prompt, position=prompt.last("country"), own=rows[pair.a], other=rows[pair.b], chosen=everything
        )

    def _transplant(self, third: int | None) -> _Run:
        swaps = []
        for pair in self.two_hop_pairs:
            prompt = self._prompt("two_hop", pair.two, pair.a)
            source = pair.b if third is None else pair.thirds[third]
            swaps.append(
                Swap(
                    prompt=prompt,
                    position=len(prompt.token_ids) - 1,
                    own=self.features.reads["two_hop"][pair.two][pair.a],
                    other=self.features.reads["one_hop"][pair.sentence][source],
                    chosen=self.features.carriers[-1].identity,
                )
            )
        return _set(swaps, self.features.columns)

    def _outputs(self) -> _Run:
        """Output features of the first sentence's graphs, those of both countries."""
        columns, rows = self.features.columns, self.features.reads["one_hop"][0]
        place = {pair: i for i, pair in enumerate(zip(columns.layer.tolist(), columns.index.tolist(), strict=True))}
        of_country: dict[int, Tensor] = {}
        for country in sorted({c for pair in self.pairs for c in (pair.a, pair.b)}):
            prompt = self._prompt("one_hop", 0, country)
            graph = self.kit.trace(list(prompt.token_ids))
            keys = graph.feature_keys[list(roles(graph).outputs)].tolist()
            chosen = torch.zeros(len(columns.layer), dtype=torch.bool)
            last = len(prompt.token_ids) - 1
            chosen[[place[layer, index] for layer, at, index in keys if at == last and (layer, index) in place]] = True
            of_country[country] = chosen
        swaps = []
        for pair in self.pairs:
            prompt, both = self._prompt("one_hop", 0, pair.a), of_country[pair.a] | of_country[pair.b]
            last = len(prompt.token_ids) - 1
            swaps.append(Swap(prompt=prompt, position=last, own=rows[pair.a], other=rows[pair.b], chosen=both))
        return _set(swaps, columns)

    def _prompt(self, kind: str, sentence: int, country: int) -> SlottedPrompt:
        prompt = self.asked.prompts[kind][sentence][country]
        assert prompt is not None
        return prompt


def _set(swaps: Sequence[Swap], columns: Columns) -> _Run:
    return _Run(cases=[(swap.prompt, swap.edits(columns)) for swap in swaps])


def read_runs(found: Mapping[str, Tensor]) -> dict[str, SwapAnswers]:
    """What `Runs.measured` found, by name."""
    names = [key.removesuffix("/top") for key in found if key.endswith("/top")]
    sizes = {name: found[f"{name}/size"].tolist() for name in names}
    return {
        name: SwapAnswers(top=found[f"{name}/top"].long(), features=sizes[name][0], written=sizes[name][1])
        for name in names
    }
