"""Training of dictionaries on the activations of a model, and measuring how good they are.

Names are imported when they are first used: a configuration alone, as the command line needs it, costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clew.training.config import DictionaryConfig, FineTuneConfig
    from clew.training.corpus import Documents, encode_documents
    from clew.training.corpus_config import CorpusConfig
    from clew.training.finetune import fine_tune
    from clew.training.trainer import TrainingReport, train_dictionary

_HOMES = {
    "CorpusConfig": "corpus_config",
    "DictionaryConfig": "config",
    "Documents": "corpus",
    "FineTuneConfig": "config",
    "TrainingReport": "trainer",
    "encode_documents": "corpus",
    "fine_tune": "finetune",
    "train_dictionary": "trainer",
}

__all__ = [
    "CorpusConfig",
    "DictionaryConfig",
    "Documents",
    "FineTuneConfig",
    "TrainingReport",
    "encode_documents",
    "fine_tune",
    "train_dictionary",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'clew.training' has no attribute {name!r}")
    return getattr(import_module(f"clew.training.{_HOMES[name]}"), name)
