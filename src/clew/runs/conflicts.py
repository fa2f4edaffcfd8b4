"""Options of runs and evaluations that cannot be honoured together: refused, where one of them would be dropped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clew.errors import InputError
from clew.settings import one_of
from clew.training.config import DictionaryConfig, check_finite
from clew.training.corpus_readers import check_used


def check_run(options: Mapping[str, Any], chosen: Mapping[str, Any]) -> None:
    """InputError for a run's options (fields of RunOptions) and settings that contradict each other."""
    one_of(kit=options.get("kit"), model=options.get("model"))
    kind = chosen.get("nonlinearity", DictionaryConfig.nonlinearity)
    sparsity = chosen.get("sparsity", DictionaryConfig.sparsity)
    check_finite(sparsity=sparsity)
    if sparsity != DictionaryConfig.sparsity and kind in ("topk", "batchtopk"):
        raise InputError(f"sparsity is a price for JumpReLU and ReLU; {kind} has a budget: give k, or leave it out")
    check_used(chosen)


def check_evaluation(dictionary: object, subject: object, settings: Mapping[str, Any]) -> None:
    """InputError for settings of an evaluation that contradict each other."""
    one_of(subject=subject, model=settings.get("model"))
    if dictionary is not None:  # else the kit gives the dictionary, which may be measured on another model
        one_of(subject=subject, kit=settings.get("kit"), model=settings.get("model"))
    if settings.get("nulls") is False and "null_steps" in settings:
        raise InputError("null_steps is for a null that nulls=False (--no-nulls) leaves out: give one of them")
    check_used(settings)
