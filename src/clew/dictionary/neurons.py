"""A model's own neurons as features.

An ungated ReLU MLP is relu(x @ w_in.T + b_in) @ w_out + b_out, which is what a per-layer transcoder computes. Its
neurons are therefore an exact dictionary, the reference for every dictionary that is trained.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clew.dictionary.layer import Layer
from clew.dictionary.nonlinearity import ReLU

if TYPE_CHECKING:
    from clew.subject import Subject


def neuron_layer(subject: Subject, layer: int) -> Layer:
    """The neurons of one MLP; InputError when it is gated or not ReLU."""
    neurons = subject.mlp_neurons(layer)
    return Layer(
        encoder=neurons.w_in.contiguous(),
        bias=neurons.b_in,
        nonlinearity=ReLU(),
        decoder=neurons.w_out.contiguous()[:, None],
        decoder_bias=neurons.b_out,
    )
