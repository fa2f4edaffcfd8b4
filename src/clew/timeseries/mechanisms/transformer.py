"""A small transformer that classifies series, made so that every tool for language models fits it.

It is a causal GPT-2 with ReLU MLPs (whose neurons are an exact dictionary) over patches: a mark in front, one token a
patch, a mark at the end, where the class is read off. The logits of the classes are the unembedding at that position.
Because it reads from left to right and its tokens embed linearly, recordings, graphs, effects and edits are those of
any other Subject. A classifier that reads in both directions is not one of these.

Each channel is centred and scaled by the mean and the standard deviation of the series that were trained on; a value of
0 is the channel's mean. A last patch that is not full is filled with it.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from clew import files
from clew.errors import FileError, InputError
from clew.settings import Settings
from clew.timeseries.mechanisms.patch_embedding import PatchEmbedding
from clew.timeseries.mechanisms.series_arrays import checked_series

if TYPE_CHECKING:
    from transformers import GPT2LMHeadModel

ENVELOPE = files.Envelope(format="clew.series-transformer", schema=1, what="transformer of series")
AT_ONCE = 256
"""Series that run together."""


@dataclass(frozen=True, kw_only=True)
class TransformerSettings(Settings):
    """Sizes of the transformer, and how it is trained."""

    patch: int = 4
    """Time steps of a patch; a patch holds all channels."""
    layers: int = 3
    """Transformer blocks."""
    heads: int = 8
    """Attention heads in a block."""
    width: int = 64
    """Width of the residual stream; the MLPs are four times as wide."""
    epochs: int = 60
    """Times that every series is seen; with 0 the weights are as they were drawn."""
    batch: int = 32
    """Series in one step."""
    learning_rate: float = 2e-3
    """AdamW's at its height, from which it falls linearly to zero."""
    weight_decay: float = 0.05
    """Of matrices."""
    dropout: float = 0.1
    """While it is trained."""
    seed: int = 0
    """Seed of the weights and of the order of the series."""

    def __post_init__(self) -> None:
        for name in ("patch", "layers", "heads", "width", "batch"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}: give at least 1")
        if self.width % self.heads:
            raise InputError(f"width {self.width} must be a multiple of heads {self.heads}")
        if self.epochs < 0 or not self.learning_rate > 0 or self.weight_decay < 0:
            raise InputError("epochs and weight decay must not be below 0, and the learning rate above it")
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout is {self.dropout}: give a share in [0, 1)")


@dataclass(frozen=True, kw_only=True, eq=False)
class SeriesTransformer:
    """A classifier of series (case, channel, time); made by `clew.timeseries.mechanisms.train`."""

    model: GPT2LMHeadModel
    classes: tuple[str, ...]
    n_times: int
    patch: int
    mean: Float[np.ndarray, " channel"]
    std: Float[np.ndarray, " channel"]
    name: str = "series transformer"

    def __repr__(self) -> str:
        config = self.model.config
        return (
            f"SeriesTransformer({self.name!r}: {len(self.classes)} classes of {self.n_channels} channels x "
            f"{self.n_times} times, patches of {self.patch}, {config.n_layer} layers x {config.n_head} heads, width "
            f"{config.n_embd})"
        )

    @property
    def n_channels(self) -> int:
        return len(self.mean)

    @property
    def n_patches(self) -> int:
        """Of one series."""
        return -(-self.n_times // self.patch)

    def times_of(self, place: int) -> range:
        """The time steps of a patch."""
        return range(place * self.patch, min(self.n_times, (place + 1) * self.patch))

    def standardized(self, series: Any) -> Float[np.ndarray, "case channel time"]:
        """Series as they are read: centred and scaled by channel; InputError for another shape, and NaN."""
        array = checked_series(series, n_channels=self.n_channels, n_times=self.n_times)
        return (array - self.mean[:, None]) / self.std[:, None]

    def patches(self, series: Any) -> Float[Tensor, "case patch value"]:
        """The values of every patch, channel by channel, as they are read; errors are those of `standardized`."""
        scaled = torch.from_numpy(self.standardized(series))
        scaled = nn.functional.pad(scaled, (0, self.n_patches * self.patch - self.n_times))
        return scaled.unflatten(2, (self.n_patches, self.patch)).permute(0, 2, 1, 3).flatten(2)

    def loaded(self, series: Any, dtype: torch.dtype = torch.float32) -> GPT2LMHeadModel:
        """A copy of the model whose tokens are the patches of these series."""
        model = copy.deepcopy(self.model).to(dtype)
        embedding = model.get_input_embeddings()
        assert isinstance(embedding, PatchEmbedding)
        embedding.patches = self.patches(series).flatten(0, 1).to(embedding.weight)
        return model.eval()

    def rows(self, n_cases: int) -> Int[Tensor, "case pos"]:
        """The token ids of so many loaded series: mark, patches, mark."""
        start, end, first = len(self.classes), len(self.classes) + 1, len(self.classes) + 2
        patches = first + torch.arange(n_cases * self.n_patches).view(n_cases, self.n_patches)
        return nn.functional.pad(nn.functional.pad(patches, (1, 0), value=start), (0, 1), value=end)

    @torch.no_grad()
    def logits(self, series: Any) -> Float[Tensor, "case class"]:
        """Of the classes; InputError for another shape, and NaN."""
        model = self.loaded(series)
        parts = [class_logits(model, rows) for rows in self.rows(len(series)).split(AT_ONCE)]
        return torch.cat(parts)

    def probabilities(self, series: Any) -> Float[np.ndarray, "case class"]:
        """Of the classes, in their order; errors are those of `logits`."""
        return torch.softmax(self.logits(series).double(), -1).numpy()

    def predict(self, series: Any) -> list[str]:
        """The likeliest class of every case; errors are those of `logits`."""
        return [self.classes[place] for place in self.logits(series).argmax(-1).tolist()]

    def save(self, path: Path | str) -> None:
        """Write weights, classes and scaling as one safetensors file, atomically."""
        config = self.model.config
        head = {
            "classes": self.classes,
            "n_times": self.n_times,
            "patch": self.patch,
            "name": self.name,
            "sizes": {"layers": config.n_layer, "heads": config.n_head, "width": config.n_embd},
            "provenance": files.provenance(),
        }
        tensors = {f"weight.{name}": value.detach().contiguous() for name, value in self.model.named_parameters()}
        tensors |= {"mean": torch.from_numpy(self.mean), "std": torch.from_numpy(self.std)}
        files.save_tensors(path, tensors, ENVELOPE.note(head=json.dumps(head)))

    @classmethod
    def load(cls, path: Path | str) -> SeriesTransformer:
        """Read what `save` wrote; FileError for another file, a damaged one, or one of a newer schema."""
        note = files.load_note(path)
        ENVELOPE.check_note(note, path)
        tensors = files.load_tensors(path)
        try:
            head = json.loads(note["head"])
            settings = TransformerSettings(patch=head["patch"], **head["sizes"])
            mean, std = tensors.pop("mean").numpy().copy(), tensors.pop("std").numpy().copy()
            made = build(head["classes"], n_times=head["n_times"], mean=mean, std=std, settings=settings)
            weights = {name.removeprefix("weight."): value for name, value in tensors.items()}
            made.model.load_state_dict(weights, strict=True)
        except (KeyError, TypeError, ValueError, RuntimeError, InputError) as error:
            raise FileError(f"{path} holds a damaged transformer of series ({error})") from error
        return made.named(str(head["name"]))

    def named(self, name: str) -> SeriesTransformer:
        """The same under another name."""
        return SeriesTransformer(**{**vars(self), "name": name})


def class_logits(model: Any, ids: Int[Tensor, "case pos"]) -> Float[Tensor, "case class"]:
    """What a loaded model gives at the end of rows; gradients flow."""
    final = model.base_model(ids.to(model.device), use_cache=False).last_hidden_state
    return model.get_output_embeddings()(final[:, -1])


def build(
    classes: Sequence[str],
    *,
    n_times: int,
    mean: Float[np.ndarray, " channel"],
    std: Float[np.ndarray, " channel"],
    settings: TransformerSettings,
) -> SeriesTransformer:
    """A transformer whose weights are drawn from the seed."""
    from transformers import GPT2Config, GPT2LMHeadModel

    patches = -(-n_times // settings.patch)
    config = GPT2Config(
        vocab_size=len(classes),
        n_positions=patches + 2,
        n_embd=settings.width,
        n_layer=settings.layers,
        n_head=settings.heads,
        activation_function="relu",
        resid_pdrop=settings.dropout,
        embd_pdrop=settings.dropout,
        attn_pdrop=settings.dropout,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model = GPT2LMHeadModel(config)
        n_values = settings.patch * len(mean)
        model.set_input_embeddings(PatchEmbedding(n_classes=len(classes), n_values=n_values, width=settings.width))
    return SeriesTransformer(
        model=model.eval(), classes=tuple(classes), n_times=n_times, patch=settings.patch, mean=mean, std=std
    )
