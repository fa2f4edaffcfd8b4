"""The nulls of a Dictionary: one that was never trained, and one of a model that has learned nothing.

1. *Untrained*: random directions, thresholds fitted so that every layer has the same active features a position,
   decoders scaled to explain as much of each output as they can, and the outputs' means. It shows what a dictionary of
   this density owes to its size alone.
2. *Random weights*: the model with the entries of every weight matrix and vector shuffled, and a dictionary trained on
   it with the same settings, measured on that model. It shows what training a dictionary finds where there is nothing
   to find (Heap et al. 2025).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from clew.dictionary import Dictionary, JumpReLU, Layer
from clew.subject.subject import Subject
from clew.training.activations import Batch, collect
from clew.training.config import DictionaryConfig
from clew.training.documents import Documents

SAMPLE = 8192  # positions that fit thresholds and scales


@torch.no_grad()
def untrained(
    subject: Subject, dictionary: Dictionary, documents: Documents, l0: Mapping[int, float], *, seed: int = 0
) -> Dictionary:
    """A random Dictionary of the same shape with `l0` active features a position by layer, fitted on some text."""
    generator = torch.Generator().manual_seed(seed)
    few = documents.counts.cumsum(0) < SAMPLE
    rows = torch.arange(min(len(documents), int(few.sum()) + 1))
    batch = collect(subject, documents, rows, dictionary.read_site, dictionary.write_site)
    layers = {}
    for index, layer in sorted(dictionary.layers.items()):
        encoder = torch.randn(layer.encoder.shape, generator=generator)
        encoder /= encoder.norm(dim=1, keepdim=True)
        decoder = torch.randn(layer.decoder.shape, generator=generator)
        bias = -encoder @ batch.inputs[index].mean(0).cpu()
        pre = batch.inputs[index].cpu() @ encoder.T + bias
        layers[index] = Layer(
            encoder=encoder,
            bias=bias,
            nonlinearity=JumpReLU(threshold=torch.full((len(encoder),), _cut(pre, l0[index]))),
            decoder=decoder / decoder.flatten(1).norm(dim=1)[:, None, None].clamp_min(1e-12),
            decoder_bias=torch.zeros(dictionary.d_model),
            skip=None,
        )
    random = replace(dictionary, layers=layers, name=f"untrained {dictionary.kind}", provenance={"seed": seed})
    return _scaled(random, batch).to(subject.device)


def _cut(pre: Tensor, l0: float) -> float:
    """The positive value that so many pre-activations a position exceed."""
    n = min(round(l0 * len(pre)), pre.numel() - 1)
    return max(0.0, float(pre.flatten().kthvalue(pre.numel() - n).values))


def _scaled(random: Dictionary, batch: Batch) -> Dictionary:
    """Each written layer's decoders scaled by least squares, and the bias that keeps the output's mean."""
    inputs = {i: batch.inputs[i].cpu() for i in random.layers}
    n = batch.inputs.shape[1]
    whole = random.reconstruct({i: random.encode(i, x) for i, x in inputs.items()}, inputs, n)
    scale = torch.ones(random.n_layers)
    bias = {}
    for i in random.layers:
        real, output = batch.outputs[i].cpu(), whole[i]
        spread = output - output.mean(0)
        scale[i] = float((spread * (real - real.mean(0))).sum() / spread.square().sum().clamp_min(1e-12))
        bias[i] = real.mean(0) - scale[i] * output.mean(0)
    layers = {
        i: replace(layer, decoder=layer.decoder * scale[list(random.writes[i])][:, None], decoder_bias=bias[i])
        for i, layer in random.layers.items()
    }
    return replace(random, layers=layers)


@torch.no_grad()
def with_random_weights(subject: Subject, *, seed: int = 0) -> Subject:
    """The same model with the entries of every parameter shuffled: the same scales, nothing learned."""
    generator = torch.Generator().manual_seed(seed)
    model = copy.deepcopy(subject.model)
    for parameter in model.parameters():
        order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
        parameter.copy_(parameter.flatten()[order].view_as(parameter))
    return Subject(model, subject.tokenizer, f"{subject.name} with random weights")


def config_like(dictionary: Dictionary, l0: float, *, steps: int) -> DictionaryConfig:
    """The settings that a Dictionary was trained with, or settings for one of its shape, for so many steps."""
    trained: Any = dictionary.provenance.get("training", {})
    known = {field.name for field in fields(DictionaryConfig)}
    if trained and set(trained) <= known:
        return replace(DictionaryConfig(**trained), steps=min(steps, trained["steps"]))
    features = max(dictionary.d_features(layer) for layer in dictionary.layers)
    k = min(features, max(1, round(l0)))
    skip = any(layer.skip is not None for layer in dictionary.layers.values())
    return DictionaryConfig(kind=dictionary.kind, features=features, k=k, skip=skip, steps=steps)
