"""A Subject, a Dictionary and an Atlas together; `load` finds the bundled one by name (`clew.kit_folders`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clew import files
from clew.attribution.edge_parts import EdgeParts, edge_parts
from clew.attribution.graph import Graph
from clew.attribution.influence import top_features
from clew.attribution.local_model import LocalModel
from clew.attribution.prediction import Prediction
from clew.attribution.trace import TraceSettings, trace_with
from clew.attribution.trace_look import LookSettings, trace_look_with
from clew.attribution.why_not import WhyNot, named, why_not
from clew.dictionary.dictionary import Dictionary
from clew.dictionary.prompt_activations import Activations, Places, activations, mean_activations
from clew.errors import FileError, InputError
from clew.ids import FeatureId, NodeId
from clew.intervention import batches as batched
from clew.intervention.audit import Audit, audit_with
from clew.intervention.batches import BatchSettings, Case, NextTokens, Readings
from clew.intervention.doubt import estimated_losses
from clew.intervention.edit import Edit
from clew.intervention.generate import GenerateSettings, Step, generate_with
from clew.intervention.generate_many import Generated, generate_seeded
from clew.intervention.integrated import integrated_gradients
from clew.intervention.live_effects import live_effects
from clew.intervention.measurements import AuditSettings
from clew.intervention.predict_edits import predict_edits
from clew.intervention.run import EditSettings, Effect, effects_with
from clew.kit_circuits import CircuitVerbs
from clew.kit_folders import ATLAS, BUNDLED, ENVELOPE, FACTS, bundled, kit_folder, read_head
from clew.kit_folders import build as build
from clew.kit_verbs import on_graph, on_many, on_many_read, on_prompt, with_edits, with_or_without_edits
from clew.labels.display_names import Name, Names
from clew.labels.store import LabelStore
from clew.organism.fact_table import load_facts, world_of
from clew.organism.world import Fact
from clew.published import PUBLISHED, PublishedPair
from clew.subject.packaged import PACKAGED, load_packaged
from clew.subject.subject import Prompt, Subject

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float
    from torch import Tensor

    from clew.search.searchable_atlas import SearchableAtlas

NEURONS = "neurons"
"""In place of a dictionary: the model's own neurons."""
_LABELLED = 400  # features named in a traced graph, the most influential ones


@dataclass(frozen=True)
class Kit(CircuitVerbs):
    """A Subject and the Dictionary made for it. MismatchError when they do not fit each other.

    clew.Kit(subject).trace("The capital of France is")    # by the model's own neurons
    """

    subject: Subject
    dictionary: Dictionary = None  # type: ignore[assignment]  # until __post_init__ puts the neurons there
    """Left out, the model's own neurons; InputError where its MLPs are a choice of experts."""
    name: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)
    atlas_path: Path | None = None
    facts_path: Path | None = None
    labels: Path | None = None
    """A file of labels, by which features are named where it has some."""
    other_model: bool = False
    """Use the Dictionary on this model although it was made for another; the provenance of all results says so."""

    def __post_init__(self) -> None:
        if self.dictionary is None:
            object.__setattr__(self, "dictionary", Dictionary.from_neurons(self.subject))
        if self.other_model:
            object.__setattr__(self, "dictionary", self.dictionary.for_other_model(self.subject))
        self.dictionary.check_fits(self.subject)

    def __repr__(self) -> str:
        atlas = "without an atlas" if self.atlas_path is None else "with an atlas"
        return f"Kit({self.name!r}: {self.subject!r}, {self.dictionary!r}, {atlas})"

    @on_prompt(TraceSettings)
    def trace(self, prompt: Prompt, settings: TraceSettings) -> Graph:
        """The attribution graph of one prompt, its most influential features named; see `clew.trace`."""
        return self._named(trace_with(self.subject, self.dictionary, prompt, settings))

    @on_prompt(LookSettings)
    def looks(self, prompt: Prompt, settings: LookSettings) -> Graph:
        """The graph of why a head looks from one token to another: its outputs are the two sides of the head's score.

            graph = kit.looks("Again: 14 93 button fence clay; 14 93 button", layer=4, head=0)

        See `clew.attribution.looks`; errors are those of `clew.attribution.trace_look`.
        """
        return self._named(trace_look_with(self.subject, self.dictionary, prompt, settings))

    def _named(self, graph: Graph) -> Graph:
        keys = graph.feature_keys[top_features(graph, _LABELLED)].tolist()
        return graph.with_labels(self.names(FeatureId(layer, index) for layer, _, index in keys))

    def names(self, features: Iterable[FeatureId]) -> dict[FeatureId, str]:
        """A name for each feature: its label in `labels`, else what the atlas' rules say, else what it promotes."""
        return {feature: name.text for feature, name in self.sourced_names(features).items()}

    def sourced_names(self, features: Iterable[FeatureId]) -> dict[FeatureId, Name]:
        """The same, each with its source: the kind of its author, or that it is what the feature promotes."""
        atlas = self.atlas if self.atlas_path else None
        if self.labels is None:
            return Names(self.subject, self.dictionary, None, atlas).of(features)
        with LabelStore(self.labels, self.dictionary.fingerprint, name=self.name) as store:
            return Names(self.subject, self.dictionary, store, atlas).of(features)

    @with_edits(EditSettings)
    def edit(self, prompt: Prompt, edits: Sequence[Edit], settings: EditSettings) -> Effect:
        """What edits do to the next tokens and to other features: predicted by the frozen model, measured in the real.

        InputError for an edit that is impossible or contradicts another.
        """
        return effects_with(self.subject, self.dictionary, [prompt], edits, settings)[0]

    @with_or_without_edits(GenerateSettings)
    def generate(self, prompt: Prompt, edits: Sequence[Edit] = (), *, settings: GenerateSettings) -> Iterator[Step]:
        """How the text goes on, token by token, under edits or without; errors are those of `edit`."""
        return generate_with(self.subject, self.dictionary, prompt, edits, settings)

    def generate_many(
        self, cases: Sequence[Case], seeds: Sequence[int] | None = None, **settings: Any
    ) -> list[Generated]:
        """How the texts of many cases go on, a prompt with its own edits or none; `settings` are those of `generate`.

            kit.generate_many([("The capital of France is", [])] * 100, temperature=1.0)

        Every case draws by its own seed, `seed` + its place unless `seeds` are given: alone with it, it gives the same
        text. Errors are those of `generate`.
        """
        chosen = GenerateSettings(**settings)
        seeds = [chosen.seed + i for i in range(len(cases))] if seeds is None else seeds
        return generate_seeded(self.subject, self.dictionary, cases, chosen, seeds)

    @on_many(BatchSettings)
    def next_tokens(self, cases: Iterable[Prompt], settings: BatchSettings) -> Iterator[NextTokens]:
        """What the model says after each of many prompts, in their order: logits and probabilities.

            for said in kit.next_tokens(["The capital of France is", "The capital of Italy is"]): ...

        Batched and streamed; with positions="all" after every token. InputError for a prompt that cannot be encoded.
        """
        return batched.next_tokens_with(self.subject, self.dictionary, cases, settings)

    @on_many(BatchSettings)
    def edits(self, cases: Iterable[Case], settings: BatchSettings) -> Iterator[NextTokens]:
        """What the model says in each of many cases, a prompt with its own edits or none: measured, nothing predicted.

            kit.edits([("The capital of France is", [clew.Edit.ablate("L4/1637@5")]), ...])

        Batched and streamed; equal to `edit` of each alone, and its errors, which name the case.
        """
        return batched.edited_with(self.subject, self.dictionary, cases, settings)

    @on_many_read(BatchSettings)
    def readings(self, cases: Iterable[Case], targets: Sequence[object], settings: BatchSettings) -> Readings:
        """What tokens, differences or a `clew.Contrast` come to in each of many cases; see `edits`."""
        return batched.readings(self.subject, self.dictionary, cases, targets, settings)

    def activations(self, prompts: Iterable[Prompt], positions: Places = None) -> Iterator[Activations]:
        """Every feature's activation on each of many prompts, at all positions or at those given: batched, streamed.

            [found] = kit.activations(["The capital of France is"], positions=-1)
            found.of(["L4/1637", "L0/200"])  # [position, feature]

        InputError for a position outside its prompt.
        """
        return activations(self.subject, self.dictionary, prompts, positions)

    @on_graph(AuditSettings)
    def audit(self, graph: Graph, settings: AuditSettings) -> Audit:
        """How far the predictions of a graph hold in the real model, beside baselines.

        `means` left out are those of the atlas, if there is one. InputError for a graph that cannot be measured,
        MismatchError for one of another Dictionary.
        """
        if settings.means is None:
            settings = replace(settings, means=self.mean_activations())
        return audit_with(self.subject, self.dictionary, [graph], settings)

    def why_not(self, prompt: Prompt | Graph, token: str | int, *, position: int = -1) -> WhyNot:
        """What speaks for the likeliest next token against another: features with signed effects, and a sentence.

            kit.why_not("The capital of France is", " Rome").sentence

        Of a graph, on its prompt, where its first output stands. InputError for a token that is the likeliest itself.
        """
        answer = why_not(self.subject, self.dictionary, prompt, token, TraceSettings(position=position))
        return named(answer, self.names(NodeId.parse(reason.node).feature for reason in answer.reasons[:_LABELLED]))

    def predict(self, graph: Graph, edits: Sequence[Edit]) -> Prediction:
        """What the graph's effects predict of edits to its features: probabilities, logits, other features.

            graph = kit.trace("The capital of France is", effects=True)
            kit.predict(graph, [clew.Edit.ablate("L4/1590@5")]).probabilities

        `edit` measures the same in the model. InputError for a graph without effects, and see `predict_edits`.
        """
        return predict_edits(self.subject, self.dictionary, graph, edits)

    def live_effects(self, graph: Graph) -> Float[Tensor, "feature target"]:
        """What the model itself loses of every target, to first order, with each feature: one reverse pass a target.

        Beside the graph's total effects: what parts them goes through what the dictionary misses.
        """
        return live_effects(self.subject, self.dictionary, graph)

    def estimated_losses(self, graph: Graph, nodes: Sequence[int]) -> Float[Tensor, "node target"]:
        """What every target loses with each of some features, by the model's own derivatives up to the second.

        `clew.intervention.doubt.doubtful` says of which predictions these are too far.
        """
        return estimated_losses(self.subject, self.dictionary, graph, nodes)

    def integrated_gradients(self, graph: Graph) -> Float[Tensor, " node"]:
        """What each feature contributed to the targets while all of them come in together; a measure for `prune`.

            graph.prune(by=kit.integrated_gradients(graph))

        On minnow it keeps the answer with fewer features than any ranking by the graph alone, and loses it sooner
        without them. See `clew.intervention.integrated`.
        """
        return integrated_gradients(self.subject, self.dictionary, graph)

    def parts(self, graph: Graph, node: NodeId | str | int) -> EdgeParts:
        """What the edges into one node are made of: which heads carry values, which steps make effects of them."""
        return edge_parts(LocalModel.of_graph(self.subject, self.dictionary, graph), graph, node)

    def mean_activations(
        self, prompts: Iterable[Prompt] | None = None, positions: Places = None
    ) -> dict[int, Float[Tensor, " feature"]] | None:
        """Of every feature, by layer: over some prompts, or over the atlas' corpus; then None without an atlas."""
        if prompts is not None:
            return mean_activations(self.subject, self.dictionary, prompts, positions)
        if self.atlas_path is None:
            return None
        import torch

        return {layer: torch.from_numpy(mean) for layer, mean in self.atlas.means().items()}

    @cached_property
    def facts(self) -> list[Fact]:
        """How often the corpus of the small world states each fact: read from the kit, else counted, in seconds.

        InputError for a model that was not trained on the small world.
        """
        if self.facts_path is not None:
            return load_facts(self.facts_path)
        return world_of(self.provenance.get("model", {})).facts()

    @cached_property
    def atlas(self) -> SearchableAtlas:
        """A card for every feature: `kit.atlas["L3/1207"]`.

        FileError when the kit has none, MismatchError when it is that of another dictionary.
        """
        from clew.search.searchable_atlas import SearchableAtlas

        if self.atlas_path is None:
            raise FileError(f"{self.name or 'this kit'} has no atlas: run clew harvest, and give its file with --atlas")
        atlas = SearchableAtlas.load(self.atlas_path)
        atlas.check_fits(self.dictionary)
        return replace(
            atlas,
            names=None if self.subject.tokenizer is None else self.subject.token_strings,
            labels=self.labels,
            subject=self.subject,
            loaded_dictionary=self.dictionary,
            shared=True,
        )

    @classmethod
    def load(cls, folder: Path | str, *, device: str | torch.device = "cpu") -> Kit:
        """Read a kit folder; FileError when it is none, of a newer schema, or a file is missing or damaged."""
        folder = files.recover(folder)
        head = read_head(folder)
        files.check_listing(folder, head["files"], ENVELOPE.what)
        subject = Subject.load(folder / "model", device=device)
        subject.name = head["name"]
        return cls(
            subject=subject,
            dictionary=Dictionary.load(folder / "dictionary", device=device).of_model(subject),
            name=head["name"],
            provenance=head["provenance"],
            atlas_path=folder / ATLAS if ATLAS in head["files"] else None,
            facts_path=folder / FACTS if FACTS in head["files"] else None,
        )


def load(
    name: str | Path = "minnow",
    *,
    dictionary: str | Path | None = None,
    labels: str | Path | None = None,
    device: str = "cpu",
    other_model: bool = False,
) -> Kit:
    """A kit by name (`names`) or folder, or a model (`load_subject`) and a dictionary put together.

    The dictionary "neurons" stands for the own neurons of a kit's model or of any other.

    `labels` is a file of labels, which is made when there is none. FileError when there is no such kit or a part of it
    is neither here nor on the hub, InputError when it needs an extra, MismatchError when the dictionary is another
    model's, unless `other_model` says that this is meant.
    """
    if labels is not None:
        kit = load(name, dictionary=dictionary, device=device, other_model=other_model)
        return replace(kit, labels=Path(labels))
    if dictionary == NEURONS:
        if other_model:
            raise InputError("other_model goes with a dictionary that was made for another model: neurons are its own")
        return _with_neurons(name, device)
    if dictionary is not None:
        return Kit(
            subject=load_subject(name, device=device),
            dictionary=Dictionary.load(dictionary, device=device),
            name=f"{name} + {dictionary}",
            other_model=other_model,
        )
    if other_model:
        raise InputError("other_model goes with a model and its dictionary: a kit has its own")
    if (folder := kit_folder(name)) is not None:
        return Kit.load(folder, device=device)
    if str(name) in PACKAGED:
        return _with_neurons(name, device)
    if (pair := PUBLISHED.get(str(name))) is not None:
        return _published(pair, device)
    if Path(name).is_dir():
        raise FileError(f"{name} is no kit: it holds no kit.json")
    raise FileError(f"no kit {str(name)!r}: clew kit list names those that are known ({', '.join(names())})")


def _published(pair: PublishedPair, device: str) -> Kit:
    try:
        return Kit(
            Subject.load(pair.model.repository, device=device),
            Dictionary.load(pair.dictionary, device=device),
            name=pair.name,
            provenance={"model": pair.model.repository, "dictionary": pair.dictionary},
        )
    except FileError as error:
        if (absent := pair.absent()) is None:
            raise
        raise FileError(absent) from error


def names() -> list[str]:
    """Every kit that has a name: bundled ones, models that come as packages, published pairs."""
    return [*bundled(), *PACKAGED, *PUBLISHED]


def _with_neurons(name: str | Path, device: str) -> Kit:
    """A kit's model, or any other, with its own neurons."""
    if (folder := kit_folder(name)) is not None:
        kit = Kit.load(folder, device=device)
        return Kit(subject=kit.subject, name=kit.name, provenance=kit.provenance, facts_path=kit.facts_path)
    facts = PACKAGED[str(name)].facts if str(name) in PACKAGED else {}
    return Kit(subject=load_subject(name, device=device), name=str(name), provenance=facts)


def load_subject(name: str | Path, *, device: str = "cpu") -> Subject:
    """A kit's model, by the kit's name or folder, or any other by its folder, file or hub id.

    Errors are those of `Subject.load`, and InputError when it needs an extra.
    """
    if (folder := kit_folder(name)) is not None:
        subject = Subject.load(folder / "model", device=device)
        subject.name = str(name) if folder.parent == BUNDLED else folder.name
        return subject
    if (packaged := PACKAGED.get(str(name))) is not None:
        return load_packaged(packaged, device=device)
    return Subject.load(PUBLISHED[str(name)].model.repository if str(name) in PUBLISHED else name, device=device)
