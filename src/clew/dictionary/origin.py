"""Which model a Dictionary was made for, as its provenance says, and whether a Subject is that model.

A Dictionary that Clew trained records hashes of its model's weights (`model_weights`), and these decide. One published
in another layout, or trained before hashes were kept, records a name (`model_name`, `model`), and names decide as far
as they can be compared: a name of the hub, `owner/name`, must end as the Subject's does, and a name that begins with
that of a family, such as `gpt2`, must be used with that family. The name of a folder says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from clew.subject.identity import same_weights

if TYPE_CHECKING:
    from clew.subject import Subject

WEIGHTS, OTHER = "model_weights", "other_model"
"""Keys of a provenance: hashes of the weights that a Dictionary is made for, and the other model that it is used on."""
AT_LEAST = "n_layers_at_least"
"""Key of a provenance whose files tell no more of the model's depth than the last layer that they hold."""
_FAMILIES = {
    "gpt2": "GPT2",
    "pythia": "GPTNeoX",
    "gemma": "Gemma",
    "llama": "Llama",
    "qwen": "Qwen",
    "mistral": "Mistral",
}
"""How names of published models begin, and how the classes of their architectures do."""
_ALIASES = {"gpt2-small": "gpt2"}


def model_of(provenance: Mapping[str, Any]) -> str:
    """The name of the model that a Dictionary was made for; empty where none is recorded."""
    name = provenance.get("model_name") or provenance.get("model")
    return name if isinstance(name, str) else ""


def why_not(provenance: Mapping[str, Any], subject: Subject) -> str | None:
    """What says that a Dictionary is another model's; None where nothing does, or where this use was asked for."""
    other, weights = provenance.get(OTHER), provenance.get(WEIGHTS)
    if isinstance(other, Mapping) and same_weights(other.get("weights", {}), subject.rounded_hashes()):
        return None
    same = same_weights(weights, subject.rounded_hashes()) if isinstance(weights, Mapping) else None
    if same is None:
        return _other_name(model_of(provenance), subject)
    return None if same else "its weights are others"


def other_size(provenance: Mapping[str, Any], d_model: int, n_layers: int, subject: Subject) -> str | None:
    """What says that a Dictionary is of another width or depth; None where nothing does."""
    deeper = n_layers > subject.n_layers if AT_LEAST in provenance else n_layers != subject.n_layers
    if d_model != subject.d_model:
        return f"d_model {d_model} against {subject.d_model}"
    return f"layers {n_layers} against {subject.n_layers}" if deeper else None


def other_model(provenance: Mapping[str, Any], subject: Subject) -> dict[str, Any]:
    """What to record when a Dictionary is used on another model: both names, and the hashes of the weights."""
    return {"name": subject.name, "made_for": model_of(provenance), "weights": subject.rounded_hashes()}


def _other_name(name: str, subject: Subject) -> str | None:
    architecture = type(subject.model).__name__
    family = re.match(r"(?:[\w.-]+/)?(?:meta-)?([a-z]+2?)(?:[\d._-]|$)", name.lower())
    known = _FAMILIES.get(family[1]) if family else None
    if known is not None and not architecture.startswith(known):
        return f"it is a {architecture}"
    if not re.fullmatch(r"\w[\w.-]*/[\w.-]+", name):
        return None
    names = {_last(each) for each in (subject.name, getattr(subject.model, "name_or_path", ""))} - {""}
    if not names - {architecture.lower()} or _last(name) in names:
        return None
    return "its name is another"


def _last(name: str) -> str:
    """The last part of a name or path, without its case, as the hub spells it."""
    last = name.rstrip("/").replace("\\", "/").rsplit("/", 1)[-1].lower()
    return _ALIASES.get(last, last)
