"""Training that begins with a finished dictionary: for another activation, for longer, or for a model that has changed.

The dictionary is unfolded into the run's units. Features that it lacks are silent, and the first to be revived.
JumpReLU trained from random weights spends its first steps with hundreds of features active at every position; when it
begins with BatchTopK's dictionary they are few from the start.
"""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from clew.dictionary import BatchTopK, Dictionary, JumpReLU, Layer
from clew.errors import MismatchError
from clew.subject.subject import Subject
from clew.training.checkpoint import open_run
from clew.training.config import DictionaryConfig
from clew.training.objective import FIRST_THRESHOLD
from clew.training.run_state import RunState, finished

SMALLEST_THRESHOLD = 1e-3
SILENT = -1.0  # bias of a feature that never fires


@torch.no_grad()
def begin_with(run: RunState, dictionary: Dictionary) -> None:
    """Load a dictionary's weights into a run whose scales are fitted.

    Encoders get norm one, unless both sides are TopK, which ranks features by their size. MismatchError when the
    dictionary reads or writes elsewhere, or has more features than the run.
    """
    check_start(run.config, dictionary, run.n_layers, run.d_model)
    for i in range(run.n_layers):
        tensors = {name: tensor.to(run.device) for name, tensor in dictionary.layers[i].tensors().items()}
        _begin_layer(run, i, dictionary.layers[i].with_tensors(tensors))
    run.grown = True


def stopped(folder: Path, subject: Subject) -> Dictionary:
    """The dictionary of the checkpoint of an unfinished run; MismatchError when it was trained on another model."""
    run, _ = open_run(folder, subject)
    return finished(run, subject, run.cut if run.config.nonlinearity == "batchtopk" else None)


def check_start(config: DictionaryConfig, dictionary: Dictionary, n_layers: int, d_model: int) -> None:
    """MismatchError when a run on such a model cannot begin with this dictionary."""
    name = dictionary.name or "the dictionary"
    wanted = (config.kind, *config.sites(), n_layers, d_model)
    present = (dictionary.kind, dictionary.read_site, dictionary.write_site, dictionary.n_layers, dictionary.d_model)
    if wanted != present:
        raise MismatchError(f"{name} is {_summary(present)}, but the run's is {_summary(wanted)}")
    if sorted(dictionary.layers) != list(range(n_layers)):
        raise MismatchError(f"{name} has features in layers {sorted(dictionary.layers)} only: a run begins with all")
    for i, layer in dictionary.layers.items():
        written, n = list(config.written(i, n_layers)), dictionary.d_features(i)
        if list(dictionary.writes[i]) != written:
            raise MismatchError(f"{name} writes from layer {i} to {list(dictionary.writes[i])}, the run to {written}")
        if n > config.widths(n_layers)[i]:
            raise MismatchError(f"{name} has {n:,} features in layer {i}: give --features {n} or more")
        if layer.skip is not None and not config.skip:
            raise MismatchError(f"{name} has a skip connection: add --skip")


def _summary(facts: tuple[object, ...]) -> str:
    kind, read, write, layers, width = facts
    return f"a {kind} from {read} to {write} of {layers} layers, width {width}"


def _begin_layer(run: RunState, i: int, layer: Layer) -> None:
    features, s, written = run.layers[i], run.scales, list(run.written(i))
    n, topk = len(layer.bias), run.config.nonlinearity == layer.nonlinearity.name == "topk"
    raw = layer.encoder.float()
    encoder = raw * s["input_scale"][i]
    size = torch.ones(n, dtype=raw.dtype, device=raw.device) if topk else encoder.norm(dim=1).clamp_min(1e-12)
    bias = layer.bias.float() + raw @ s["input_centre"][i]
    decoder = layer.decoder.float() / s["output_scale"][written][:, None]
    features.encoder.weight[:n] = encoder / size[:, None]
    features.bias.weight[:n, 0] = bias / size
    features.decoder.weight[:n] = (decoder * size[:, None, None]).flatten(1)
    features.encoder.weight[n:], features.bias.weight[n:], features.decoder.weight[n:] = 0.0, SILENT, 0.0
    features.norm.copy_(features.decoder.weight.norm(dim=1))
    features.quiet[n:] = torch.inf
    if features.log_threshold is not None:
        features.log_threshold.weight[:n, 0] = _thresholds(layer, size).clamp_min(SMALLEST_THRESHOLD).log()
    shift = layer.decoder_bias.float() - s["output_centre"][i]
    if layer.skip is not None:
        skip = layer.skip.float()
        shift = shift + skip @ s["input_centre"][i]
        run.skip_of(i).copy_(skip * s["input_scale"][i] / s["output_scale"][i])
    run.decoder_bias.weight[i] = shift / s["output_scale"][i]


def _thresholds(layer: Layer, size: Float[Tensor, " feature"]) -> Float[Tensor, " feature"]:
    """What a feature must exceed, in the units of training."""
    if isinstance(layer.nonlinearity, JumpReLU | BatchTopK):
        return layer.nonlinearity.threshold.float() / size
    return torch.full_like(size, FIRST_THRESHOLD)
