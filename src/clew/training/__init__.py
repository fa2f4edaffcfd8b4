"""Training of dictionaries on the activations of a model, and measuring how good they are."""

from clew.training.activations import Documents, encode_documents
from clew.training.evaluate import Evaluation, evaluate, replaced_logits
from clew.training.run import DictionaryConfig
from clew.training.trainer import TrainingReport, train_dictionary

__all__ = [
    "DictionaryConfig",
    "Documents",
    "Evaluation",
    "TrainingReport",
    "encode_documents",
    "evaluate",
    "replaced_logits",
    "train_dictionary",
]
