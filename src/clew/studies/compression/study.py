"""The study `compression`: does a circuit survive quantisation?

1. Prompts are traced in the model as it is, with the kit's dictionary.
2. The matrices of its blocks are rounded, coded by a tuned codebook, given noise as long as each of these errors, and
   shuffled (`weights`); every such model is traced on the same prompts with the same dictionary.
3. Graphs are compared, and so are next tokens; on a few prompts the original graph's predictions are measured in the
   compressed model (`measures`).
4. The absent case compresses matrices whose entries are shuffled.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from clew.attribution.graph import Graph
from clew.errors import InputError
from clew.kit import Kit
from clew.organism.prompts import listed_prompts, taught_prompts
from clew.progress import Progress
from clew.settings import option
from clew.studies.case import Case, Steps
from clew.studies.case_findings import CaseFindings
from clew.studies.compression.claims import CompressionMeasures, claims_of
from clew.studies.compression.exhibits import prediction_picture, share_picture, way_table
from clew.studies.compression.measures import beside, losses, next_logits, other, to_ablate
from clew.studies.compression.weights import Weights, coded, matrices, noisy, rounded, shuffled, tuned, with_weights
from clew.studies.config_checks import at_least
from clew.studies.kit_needs import lacking
from clew.studies.study import Absent, Study

BITS = (8, 4, 3)
CODEBOOK = "codebook.3"


@dataclass(frozen=True, kw_only=True)
class CompressionConfig:
    """Settings of the study."""

    texts: tuple[str, ...] | None = field(default=None, metadata=option("--prompt", kind=list[str] | None))
    """A prompt; repeat it for several: every other one is traced, on the rest the codebook is tuned. Left out, those
    of the world."""
    prompts: int = 12
    """How many prompts are traced."""
    audited: int = 4
    """On how many of them effects are measured."""
    features: int = 24
    """How many features of each of these are ablated."""
    draws: int = 3
    """How many models with noise, and with shuffled matrices, stand beside the compressed ones."""
    steps: int = 96
    """Steps in which the codebook is tuned."""
    shuffle: bool = field(default=False, metadata={"option": False})
    """Compress shuffled matrices: the case in which nothing must be left."""
    seed: int = 0
    """Seed of noise, shuffles, codebooks and features."""

    def __post_init__(self) -> None:
        at_least(self, prompts=3, audited=2, features=4, draws=2, steps=1)
        if self.texts is not None and len(self.texts) < 6:
            raise InputError(f"{len(self.texts)} prompts are given: give at least 6, of which half are traced")

    @property
    def traced(self) -> tuple[str, ...]:
        """The prompts that are traced."""
        texts = listed_prompts(self.prompts) if self.texts is None else self.texts[::2]
        return tuple(texts)[: self.prompts]

    @property
    def tuning(self) -> tuple[str, ...]:
        """The prompts on which the codebook is tuned."""
        return taught_prompts(48) if self.texts is None else self.texts[1::2]


def measure(case: Case[CompressionConfig]) -> Iterator[Progress | CaseFindings]:
    """Measure one case; ends with its CaseFindings."""
    kit, config = case.kit, case.config
    books = yield from case.part("codebook", _codebook(kit, config))
    graphs = []
    for done, text in enumerate(config.traced):
        yield Progress(what="original graphs", done=done, of=len(config.traced), unit="prompts")
        graphs.append(kit.trace(text, effects=done < config.audited))
    found = yield from case.part("models", _models(kit, config, graphs, books))
    measured = CompressionMeasures(
        found=found,
        bits=BITS,
        codebook=CODEBOOK,
        prompts=len(graphs),
        seed=config.seed,
    )
    yield CaseFindings(
        claims=claims_of(measured),
        tables={"ways": way_table(measured)},
        figures={"shares": share_picture(measured), "predictions": prediction_picture(measured)},
    )


def _weights(kit: Kit, config: CompressionConfig) -> dict[str, Tensor]:
    """What is compressed: the model's matrices, or in the absent case shuffled ones."""
    whole, generator = matrices(kit.subject), torch.Generator().manual_seed(config.seed + 1)
    return {name: shuffled(each, generator) for name, each in whole.items()} if config.shuffle else whole


def _codebook(kit: Kit, config: CompressionConfig) -> Steps:
    """Matrices of a tuned codebook."""
    generator = torch.Generator().manual_seed(config.seed)
    bits = int(CODEBOOK.partition(".")[2])
    yield Progress(what="codebook", done=0, of=2, unit="steps")
    books = {name: coded(weight, bits, generator) for name, weight in _weights(kit, config).items()}
    yield Progress(what="codebook", done=1, of=2, unit="steps")
    ids = [kit.subject.encode(text).tolist() for text in config.tuning]
    return {name: each.contiguous() for name, each in tuned(kit.subject, books, ids, config.steps).items()}


def _ways(kit: Kit, config: CompressionConfig, books: Mapping[str, Tensor]) -> Iterator[tuple[str, Weights]]:
    """Every compressed or damaged set of matrices by name, the noise of a way as `noise.WAY.DRAW`."""
    whole, chosen = matrices(kit.subject), _weights(kit, config)
    generator = torch.Generator().manual_seed(config.seed)
    ways = {f"round.{bits}": {n: rounded(w, bits) for n, w in chosen.items()} for bits in BITS} | {CODEBOOK: books}
    for name, weights in ways.items():
        yield name, weights
        for draw in range(config.draws):
            errors = {n: weights[n] - chosen[n] for n in whole}
            yield f"noise.{name}.{draw}", {n: noisy(w, errors[n], generator) for n, w in whole.items()}
    for draw in range(config.draws):
        yield f"shuffle.{draw}", {n: shuffled(w, generator) for n, w in whole.items()}


def _models(kit: Kit, config: CompressionConfig, graphs: Sequence[Graph], books: Mapping[str, Tensor]) -> Steps:
    """By way: MEASURES of every prompt, the length of the errors, and measured losses of the ablated features."""
    said, whole = next_logits(kit.subject, graphs), matrices(kit.subject)
    size = sum(float(weight.square().sum()) for weight in whole.values())
    audited = [
        to_ablate(graph, config.features, int(logits.argmax()), config.seed)
        for graph, logits in zip(graphs[: config.audited], said, strict=False)
    ]
    found: dict[str, Tensor] = {"predicted": torch.stack([each.predicted for each in audited])}
    found["losses/original"] = torch.stack([losses(kit, each) for each in audited])
    of = (len(BITS) + 1) * (1 + config.draws) + config.draws
    for done, (name, weights) in enumerate(_ways(kit, config, books)):
        yield Progress(what="models", done=done, of=of, unit="models", note=name)
        model = other(kit, with_weights(kit.subject, weights, name))
        says = next_logits(model.subject, graphs)
        rows = []
        for graph, own, others in zip(graphs, said, says, strict=True):  # one at a time: some graphs are large
            rows.append(beside(graph, own, model.trace(list(graph.token_ids)), others))
        found[f"prompts/{name}"] = torch.stack(rows)
        error = sum(float((weights[n] - w).square().sum()) for n, w in whole.items())
        found[f"error/{name}"] = torch.tensor((error / size) ** 0.5)
        if not name.startswith("noise") or name.endswith(".0"):
            found[f"losses/{name}"] = torch.stack([losses(model, each) for each in audited])
    return found


def needs(kit: Kit, config: CompressionConfig) -> str:
    """What the kit lacks."""
    if nothing := lacking(kit):
        return nothing
    if kit.dictionary.reads_by_position:
        return "its dictionary is its model's own neurons, which are another model's only where they are a ReLU's"
    if not matrices(kit.subject):
        return "its model's blocks have no weight matrices, so that there is nothing to round"
    return ""


def absent(kit: Kit, config: CompressionConfig) -> Absent[CompressionConfig]:
    """The same ways on shuffled matrices."""
    return Absent(
        kit=kit,
        config=replace(config, shuffle=True, prompts=min(config.prompts, 8), draws=2),
        why="The entries of every matrix are shuffled before it is compressed: sizes and scales are the same, and no "
        "circuit of the model can be left.",
    )


COMPRESSION = Study(
    name="compression",
    question="Does a circuit survive quantisation?",
    source="Egiazarian et al. 2024, Extreme Compression of Large Language Models via Additive Quantization; Ameisen et "
    "al. 2025, Circuit Tracing",
    config=CompressionConfig,
    needs=needs,
    measure=measure,
    absent=absent,
    reduced=lambda config: replace(
        config, prompts=min(config.prompts, 6), audited=2, features=min(config.features, 12), draws=2
    ),
)
