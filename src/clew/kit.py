"""A folder with a model, a Dictionary, an Atlas and their provenance; `load` finds the bundled one by name.

kit/kit.json      schema, provenance, size and sha256 of every file
kit/model/        Hugging Face layout
kit/dictionary/   native layout
kit/atlas.sqlite  cards of the dictionary's features; may be missing
"""

from __future__ import annotations

import shutil
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
from clew.dictionary.dictionary import Dictionary
from clew.errors import FileError, InputError
from clew.ids import FeatureId, NodeId
from clew.intervention.audit import Audit, audit_with
from clew.intervention.doubt import estimated_losses
from clew.intervention.edit import Edit
from clew.intervention.generate import GenerateSettings, Step, generate_with
from clew.intervention.integrated import integrated_gradients
from clew.intervention.live_effects import live_effects
from clew.intervention.measurements import AuditSettings
from clew.intervention.predict_edits import predict_edits
from clew.intervention.run import EditSettings, Effect, effects_with
from clew.kit_verbs import on_graph, on_prompt, with_edits, with_or_without_edits
from clew.labels.display_names import Names
from clew.labels.store import LabelStore
from clew.published import PUBLISHED, PublishedPair
from clew.subject.packaged import HEAD, PACKAGED, load_packaged, packaged_folder
from clew.subject.subject import Prompt, Subject

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float
    from torch import Tensor

    from clew.search.searchable_atlas import SearchableAtlas

ENVELOPE = files.Envelope(format="clew.kit", schema=1, what="kit")
ATLAS = "atlas.sqlite"
BUNDLED = Path(__file__).parent / "kits"
NEURONS = "neurons"
"""In place of a dictionary: the model's own neurons."""
_LABELLED = 400  # features named in a traced graph, the most influential ones


@dataclass(frozen=True)
class Kit:
    """A Subject and the Dictionary made for it. MismatchError when they do not fit each other.

    clew.Kit(subject).trace("The capital of France is")    # by the model's own neurons
    """

    subject: Subject
    dictionary: Dictionary = None  # type: ignore[assignment]  # until __post_init__ puts the neurons there
    """Left out, the model's own neurons; InputError where its MLPs are a choice of experts."""
    name: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)
    atlas_path: Path | None = None
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
        atlas = None if self.atlas_path is None else self.atlas
        if self.labels is None:
            names = Names(self.subject, self.dictionary, None, atlas).of(features)
        else:
            with LabelStore(self.labels, self.dictionary.fingerprint, name=self.name) as store:
                names = Names(self.subject, self.dictionary, store, atlas).of(features)
        return {feature: name.text for feature, name in names.items()}

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

    @on_graph(AuditSettings)
    def audit(self, graph: Graph, settings: AuditSettings) -> Audit:
        """How far the predictions of a graph hold in the real model, beside baselines.

        `means` left out are those of the atlas, if there is one. InputError for a graph that cannot be measured,
        MismatchError for one of another Dictionary.
        """
        if settings.means is None:
            settings = replace(settings, means=self.mean_activations())
        return audit_with(self.subject, self.dictionary, [graph], settings)

    def predict(self, graph: Graph, edits: Sequence[Edit]) -> Prediction:
        """What the graph's effects predict of edits to its features: probabilities, logits, other features.

            graph = kit.trace("The capital of France is", effects=True)
            kit.predict(graph, [clew.Edit.ablate("L4/1637@5")]).probabilities

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

    def mean_activations(self) -> dict[int, Float[Tensor, " feature"]] | None:
        """Of every feature over the atlas' corpus, by layer; None without an atlas."""
        if self.atlas_path is None:
            return None
        import torch

        return {layer: torch.from_numpy(mean) for layer, mean in self.atlas.means().items()}

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
        head = _head(folder)
        files.check_listing(folder, head["files"], ENVELOPE.what)
        subject = Subject.load(folder / "model", device=device)
        subject.name = head["name"]
        return cls(
            subject=subject,
            dictionary=Dictionary.load(folder / "dictionary", device=device).of_model(subject),
            name=head["name"],
            provenance=head["provenance"],
            atlas_path=folder / ATLAS if ATLAS in head["files"] else None,
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


def kit_folder(name: str | Path) -> Path | None:
    """The folder of a bundled kit, or one that holds a kit; None for another name."""
    folders = ([BUNDLED / str(name)] if str(name) in bundled() else []) + [files.recover(name)]
    return next((folder for folder in folders if (folder / "kit.json").is_file()), None)


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
        return Kit(subject=kit.subject, name=kit.name, provenance=kit.provenance)
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


def bundled() -> list[str]:
    """The names of the kits that came with this package."""
    return sorted(path.parent.name for path in BUNDLED.glob("*/kit.json"))


def build(
    folder: Path | str,
    *,
    name: str,
    model: Path | str,
    dictionary: Path | str,
    atlas: Path | str | None = None,
    packed: bool = False,
    other_model: bool = False,
    **facts: Any,
) -> None:
    """Put a model, a dictionary and an atlas together into a kit; atomic, and refused when they do not fit.

    FileError while another process builds a kit there.

    Packed, the dictionary's weights take one byte each; the atlas is then that of the rounded dictionary. With
    `other_model` the dictionary may be one that was made for another model.
    """
    model = _model_folder(model)
    parts = Kit(Subject.load(model), Dictionary.load(dictionary), other_model=other_model)
    loaded = parts.dictionary.of_model(parts.subject)
    training = Path(model).parent / "training.json"
    facts = {
        "model": files.read_json(training) if training.is_file() else {},
        "dictionary": dict(loaded.provenance),
        **facts,
    }
    with files.lock_file(folder, "a kit is built"), files.new_folder(folder) as new:
        shutil.copytree(model, new / "model", ignore=shutil.ignore_patterns(HEAD))
        named = replace(loaded, name=f"{loaded.kind.upper()} of {name}")
        named.save(new / "dictionary", packed=packed)
        if atlas is not None:
            _copy_atlas(atlas, Dictionary.load(new / "dictionary"), new / ATLAS)
        for path in new.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        head = ENVELOPE.head(name=name, provenance=files.provenance(**facts), files=files.listing(new))
        files.write_json(new / "kit.json", head)


def _model_folder(model: Path | str) -> Path:
    """A model's folder, by the name of a kit or packaged model or by its path."""
    if (folder := kit_folder(model)) is not None:
        return folder / "model"
    return packaged_folder(PACKAGED[str(model)]) if str(model) in PACKAGED else Path(model)


def _copy_atlas(atlas: Path | str, dictionary: Dictionary, to: Path) -> None:
    from clew.features.atlas import Atlas

    with Atlas.load(atlas) as opened:
        opened.check_fits(dictionary)
        opened.check_whole()
    shutil.copyfile(atlas, to)


def _head(folder: Path) -> dict[str, Any]:
    if not (folder / "kit.json").is_file():
        raise FileError(f"{folder} is no kit: it holds no kit.json")
    head = files.read_json(folder / "kit.json")
    ENVELOPE.check(head, folder / "kit.json")
    if missing := [key for key in ("name", "provenance", "files") if key not in head]:
        raise FileError(f"{folder / 'kit.json'} lacks {', '.join(missing)}")
    return head
