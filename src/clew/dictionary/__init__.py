"""Sparse features of a model: per-layer and cross-layer transcoders, SAEs."""

from clew.dictionary.dictionary import Dictionary
from clew.dictionary.layer import ActiveFeatures, Layer
from clew.dictionary.layouts.circuit_tracer import save_circuit_tracer
from clew.dictionary.nonlinearity import BatchTopK, JumpReLU, Nonlinearity, ReLU, TopK

__all__ = [
    "ActiveFeatures",
    "BatchTopK",
    "Dictionary",
    "JumpReLU",
    "Layer",
    "Nonlinearity",
    "ReLU",
    "TopK",
    "save_circuit_tracer",
]
