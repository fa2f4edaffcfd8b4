"""A run that begins with a finished dictionary and takes no step: what `clew tune --start` goes on from.

Its folder is that of a finished run: run.json, the rows of text, a checkpoint, and the dictionary as it was.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from clew import files
from clew.dictionary import BatchTopK, Dictionary, TopK
from clew.errors import InputError
from clew.kit import load_subject
from clew.runs.plan import Plan
from clew.runs.sources import is_kit, kit_dictionary
from clew.runs.train import TRAINING, open_run
from clew.training import trainer
from clew.training.config import DictionaryConfig, FineTuneConfig
from clew.training.corpus_config import CorpusConfig
from clew.training.trainer import TrainingOptions


def begin_tuning(
    folder: Path, start: str, *, model: str | None = None, steps: int = FineTuneConfig.steps, skip: bool = False
) -> None:
    """Make a folder a run that begins with a dictionary: that of a kit by name or folder, or any other by its own.

    Text for so many steps of training is read from the small world. `skip` adds a linear connection, zero at first, to
    a dictionary that has none. InputError for an SAE, for a dictionary that says no model when none is given, or when
    the folder holds a run; MismatchError for a dictionary of another model.
    """
    of_kit = is_kit(start)
    dictionary = kit_dictionary(start) if of_kit else Dictionary.load(start)
    if model is None and not of_kit:
        raise InputError(f"{start} is a dictionary, not a kit: say its model with --model")
    subject = load_subject(model or start)
    dictionary.check_fits(subject)
    config = settings_of(dictionary)
    config = replace(config, steps=steps, skip=config.skip or skip)
    recorded = dictionary.provenance.get("layer_weights")
    weights = None if recorded is None else [float(weight) for weight in recorded]
    plan = Plan(
        model=model or start, config=config, corpus=CorpusConfig(), cache=False, start=start, layer_weights=weights
    )
    with files.lock_folder(folder, TRAINING):
        run = open_run(subject, plan, folder)
        options = TrainingOptions(start=run.start, layer_weights=weights, buffer=plan.corpus.buffer)
        trainer.begin_run(subject, run.documents, config, folder, options)
        dictionary.save(folder / "dictionary")


def settings_of(dictionary: Dictionary) -> DictionaryConfig:
    """The settings under which a dictionary is trained on: those that it records, or what its tensors say.

    InputError for an SAE, and for layers that differ in k or in their kind of sparsity.
    """
    if dictionary.kind == "sae":
        raise InputError("an SAE does not stand in for MLPs: there is nothing to fine-tune on")
    layers = [dictionary.layers[i] for i in sorted(dictionary.layers)]
    features = tuple(dictionary.d_features(i) for i in sorted(dictionary.layers))
    recorded = dictionary.provenance.get("training")
    if isinstance(recorded, dict):
        return replace(DictionaryConfig.of(recorded), features=features)
    kinds = {layer.nonlinearity.name for layer in layers}
    ks = {layer.nonlinearity.k for layer in layers if isinstance(layer.nonlinearity, TopK | BatchTopK)}
    if len(kinds) > 1 or len(ks) > 1:
        raise InputError(f"its layers differ in how they are sparse ({', '.join(sorted(kinds))}; k {sorted(ks)})")
    reach = max(len(written) for written in dictionary.writes.values())
    return DictionaryConfig(
        kind="clt" if dictionary.kind == "clt" else "plt",
        reach=reach if dictionary.kind == "clt" and reach < dictionary.n_layers else 0,
        features=features,
        k=next(iter(ks), 1),
        nonlinearity=kinds.pop(),  # type: ignore[arg-type]
        skip=any(layer.skip is not None for layer in layers),
    )
