"""What a kit must have for a study, asked in one place, and whether its dictionary is its model's own neurons."""

from __future__ import annotations

from clew.errors import InputError
from clew.kit import Kit


def lacking(kit: Kit) -> str:
    """What a kit lacks whose prompts are text, and whose features must stand for MLP outputs; empty for nothing."""
    if kit.subject.tokenizer is None:
        return "its model has no tokenizer, and the prompts are text"
    if kit.dictionary.kind == "sae":
        return "its dictionary is an SAE, whose features stand for no MLP output: it has no graphs"
    return ""


def with_neurons(kit: Kit) -> Kit | None:
    """The kit, its world too, with its model's own neurons; None where its dictionary is these, or none can be read."""
    try:
        training = {"model": kit.provenance["model"]} if "model" in kit.provenance else {}
        neurons = Kit(kit.subject, name=kit.name, provenance=training, facts_path=kit.facts_path)
    except InputError:
        return None
    return None if neurons.dictionary.fingerprint == kit.dictionary.fingerprint else neurons
