"""Features with encoders and decoders, in one class: where each layer reads, which layers it writes to.

A per-layer transcoder (PLT) writes to its own layer, a cross-layer transcoder (CLT) to its own and later ones, an SAE
back to the site it reads. Nothing outside needs to know which: callers ask for rows of encoders and decoders, so that a
Dictionary of millions of features can stay on disk, mapped into memory. Weights may be stored in 16 bits; every
computation is done in float32 or better, rows being converted after they are gathered.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import linear

from clew import files
from clew.dictionary import neurons, origin
from clew.dictionary.encoding import active_features, block_size
from clew.dictionary.fingerprint import blocks, fingerprint
from clew.dictionary.layer import ActiveFeatures, Layer
from clew.dictionary.layer_checks import check_layer
from clew.dictionary.mapped_rows import MappedRows
from clew.dictionary.nonlinearity import BatchTopK, JumpReLU, TopK
from clew.errors import InputError, MismatchError
from clew.kernels.decode import decode_sparse
from clew.kernels.present import present_device
from clew.progress import Progress, Report, silent
from clew.subject.recording import READ_SITES, WRITE_SITES, SiteName

if TYPE_CHECKING:
    from clew.subject import Subject

Kind = Literal["plt", "clt", "sae"]
SAE_SITES = (*READ_SITES, *WRITE_SITES)
"""Where an SAE may read and write back; it has no part in a trace, so an MLP's output is as good as its input."""
BLOCK = 1 << 26
"""How many elements of dense pre-activations, or of encoder rows in another dtype, are in memory at once."""
ENCODED = 1 << 13
"""Positions that are encoded together: rows in another dtype are converted once for all of them."""


@dataclass(frozen=True, kw_only=True)
class Dictionary:
    """Features of a model, by the layer that they read, and the layers that each layer's features write to.

    InputError when the tensors do not fit each other, the sites or the model's depth.
    """

    kind: Kind
    layers: Mapping[int, Layer]
    writes: Mapping[int, tuple[int, ...]]
    read_site: SiteName
    write_site: SiteName
    n_layers: int
    """Layers of the model, not of the Dictionary: it may cover some of them. Where `origin.AT_LEAST` stands in the
    provenance, the files do not say how many the model has, and this is the least."""
    d_model: int
    name: str
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise InputError(f"a dictionary of kind {self.kind!r}: choose from {', '.join(get_args(Kind))}")
        sae = self.kind == "sae"
        read_sites, write_sites = (SAE_SITES, (self.read_site,)) if sae else (READ_SITES, WRITE_SITES)
        if self.read_site not in read_sites:
            raise InputError(f"unknown read site {self.read_site!r}: choose from {', '.join(read_sites)}")
        if self.write_site not in write_sites:
            raise InputError(f"a {self.kind} cannot write at {self.write_site!r}: choose from {', '.join(write_sites)}")
        if not self.layers:
            raise InputError("a dictionary needs at least one layer")
        if set(self.writes) != set(self.layers):
            raise InputError(f"layers {sorted(self.layers)} are read, but writes are given for {sorted(self.writes)}")
        for index in self.layers:
            check_layer(self.kind, index, self.layers[index], self.writes[index], self.n_layers, self.d_model)

    def __repr__(self) -> str:
        counts = sorted({len(layer.bias) for layer in self.layers.values()})
        each = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
        covered = f"{len(self.layers)} of {self.n_layers} layers"
        return (
            f"Dictionary({self.name!r}: {self.kind}, {covered} with {each} features, "
            f"from {self.read_site} to {self.write_site}, width {self.d_model})"
        )

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(iter(self.layers.values())).bias.device

    # Rows

    def d_features(self, layer: int) -> int:
        """The number of features that read this layer."""
        return len(self.layers[layer].encoder)

    def written_layers(self, layer: int) -> tuple[int, ...]:
        """The layers that the features of this layer write to, rising: the slots of their decoders."""
        return self.writes[layer]

    def encoder_rows(self, layer: int, ids: Int[Tensor, " n"]) -> Float[Tensor, "n d_model"]:
        """Encoders of some features; InputError when they hold NaN or infinity."""
        return self._finite(self._rows(self.layers[layer].encoder, ids), layer, "encoder", ids)

    def encoder_bias(self, layer: int, ids: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Encoder biases of some features."""
        return self._finite(self._rows(self.layers[layer].bias, ids), layer, "bias", ids)

    def decoder_rows(self, layer: int, ids: Int[Tensor, " n"]) -> Float[Tensor, "n out_layer d_model"]:
        """Decoders of some features, one slot a written layer; InputError when they hold NaN or infinity."""
        return self._finite(self._rows(self.layers[layer].decoder, ids), layer, "decoder", ids)

    def reader_rows(
        self, layer: int, ids: Int[Tensor, " n"], x: Float[Tensor, "n d_model"]
    ) -> tuple[Float[Tensor, "n d_model"], Float[Tensor, " n"]]:
        """What some features read and its constant, each at a position that holds x there: it gives `preactivation`.

        Encoders and their biases; of a model's own neurons what adds up to their activations (see `neurons`).
        """
        tensors = self.layers[layer]
        if tensors.reads_by_position:
            return neurons.reader_rows(tensors, ids, x)
        return self.encoder_rows(layer, ids), self.encoder_bias(layer, ids)

    def slope_rows(
        self, layer: int, ids: Int[Tensor, " n"], x: Float[Tensor, "n d_model"]
    ) -> Float[Tensor, "n d_model"]:
        """The derivative of what `reader_rows` give: encoders, and of a model's own neurons their true derivative."""
        tensors = self.layers[layer]
        return neurons.slope_rows(tensors, ids, x) if tensors.reads_by_position else self.encoder_rows(layer, ids)

    @property
    def reads_by_position(self) -> bool:
        """Whether the features are neurons whose reading depends on the position, nearly all of them active."""
        return any(layer.reads_by_position for layer in self.layers.values())

    @staticmethod
    def _rows(tensor: Tensor, ids: Tensor) -> Tensor:
        rows = tensor.index_select(0, ids.to(tensor.device))
        return rows.to(torch.promote_types(rows.dtype, torch.float32))

    @staticmethod
    def _finite(rows: Tensor, layer: int, name: str, ids: Tensor | None = None) -> Tensor:
        if not torch.isfinite(rows.sum()):  # cheaper than a mask, but finite rows may overflow it: the mask decides
            damaged = (~torch.isfinite(rows)).flatten(1).any(1) if rows.ndim > 1 else ~torch.isfinite(rows)
            if damaged.any():
                first = int(damaged.nonzero()[0])
                where = first if ids is None else int(ids[first])
                raise InputError(f"the dictionary's {name} holds NaN or infinity (layer {layer}, row {where})")
        return rows

    # Encode and decode

    def preactivations(
        self, layer: int, x: Float[Tensor, "pos d_model"], *, bias: bool = True
    ) -> Float[Tensor, "pos feature"]:
        """Encoder times x plus bias, dense, in float32 or better; without the bias for what x differs by."""
        tensors, dtype = self.layers[layer], self._dtype(layer, x)
        assert not tensors.reads_by_position, "such neurons have activations and responses, and nothing linear"
        x, encoder = x.to(dtype), tensors.encoder
        added = tensors.bias.to(dtype) if bias else None
        if encoder.dtype == dtype and not isinstance(encoder, MappedRows):
            return linear(x, encoder, added)
        n_rows = max(1, BLOCK // self.d_model)  # converted a block at a time: the whole may not fit into memory
        whole = torch.cat([linear(x, rows.to(dtype)) for rows in encoder.split(n_rows)], 1)
        return whole if added is None else whole + added

    def encode(self, layer: int, x: Float[Tensor, "pos d_model"]) -> ActiveFeatures:
        """The features that are active on x; InputError when a pre-activation is NaN or infinite."""
        if self.layers[layer].reads_by_position:
            values = neurons.activations(self.layers[layer], x)
            self._check_preactivations(layer, values, x, 0)
            return ActiveFeatures.of(values)
        starts = range(0, max(1, len(x)), ENCODED)
        return ActiveFeatures.joined([(start, self._encoded(layer, x[start : start + ENCODED])) for start in starts])

    def _encoded(self, layer: int, x: Float[Tensor, "pos d_model"]) -> ActiveFeatures:
        tensors, dtype = self.layers[layer], self._dtype(layer, x)
        x = x.to(dtype)

        def preactivations(block: slice) -> Tensor:
            encoder, bias = tensors.encoder[block].to(dtype), tensors.bias[block].to(dtype)
            pre = linear(x, encoder, bias) if tensors.encoder.dtype == dtype else linear(x, encoder) + bias
            self._check_preactivations(layer, pre, x, block.start)
            return pre

        size = block_size(len(x), self.d_model)
        return active_features(preactivations, tensors.nonlinearity, self.d_features(layer), size)

    def activations(self, layer: int, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch feature"]:
        """Dense activations, in float32 or better; zero where a feature is off."""
        tensors = self.layers[layer]
        if tensors.reads_by_position:
            return neurons.activations(tensors, x)
        return tensors.nonlinearity.apply(self.preactivations(layer, x.flatten(0, -2)).unflatten(0, x.shape[:-1]))

    def responses(
        self, layer: int, x: Float[Tensor, "*batch d_model"], moved: Float[Tensor, "*batch d_model"]
    ) -> Float[Tensor, "*batch feature"]:
        """How activations on x change when x moves, to first order, the active set held."""
        tensors = self.layers[layer]
        if tensors.reads_by_position:
            return neurons.responses(tensors, x, moved)
        change = self.preactivations(layer, moved.flatten(0, -2), bias=False).unflatten(0, moved.shape[:-1])
        return change * (self.activations(layer, x) != 0)

    def _check_preactivations(self, layer: int, pre: Tensor, x: Tensor, first: int) -> None:
        if torch.isfinite(pre.sum()) or torch.isfinite(pre).all():
            return
        if not torch.isfinite(x).all():
            raise InputError(f"the model's activations at {self.read_site} of layer {layer} hold NaN or infinity")
        self._finite(pre.T, layer, "encoder or bias", torch.arange(first, first + pre.shape[1]))

    def activations_of(
        self, layer: int, x: Float[Tensor, "n pos d_model"], ids: Int[Tensor, " n"]
    ) -> Float[Tensor, "n pos"]:
        """The activation of another feature in every row of x.

        Only these features' encoders are read, except for TopK, where each feature depends on all others.
        """
        tensors = self.layers[layer]
        nonlinearity = tensors.nonlinearity
        if tensors.reads_by_position:
            return neurons.activations_of(tensors, x, ids)
        if isinstance(nonlinearity, TopK):
            dense = self.activations(layer, x)
            return dense.gather(2, ids.to(dense.device)[:, None, None].expand(-1, x.shape[1], 1))[..., 0]
        dtype = self._dtype(layer, x)
        pre = torch.matmul(x.to(dtype), self.encoder_rows(layer, ids).to(dtype)[..., None])[..., 0]
        pre = pre + self.encoder_bias(layer, ids).to(pre)[:, None]
        if isinstance(nonlinearity, JumpReLU | BatchTopK) and nonlinearity.threshold.ndim:
            threshold = nonlinearity.threshold
            nonlinearity = replace(nonlinearity, threshold=threshold[ids.to(threshold.device)])
        return nonlinearity.apply(pre.T).T

    def check_order(self) -> None:
        """InputError when a layer reads what it writes itself: its features would be their own causes."""
        if self.read_site != "resid_post" or self.kind == "sae":
            return
        for layer, tensors in self.layers.items():
            if layer in self.writes[layer] or tensors.skip is not None:
                raise InputError(
                    f"the dictionary reads resid_post of layer {layer} and writes to that layer's MLP output, which "
                    "lies before it: such features cannot be traced or edited"
                )

    def decode_layer(self, layer: int, active: ActiveFeatures, n_pos: int) -> dict[int, Float[Tensor, "pos d_model"]]:
        """What the features that read one layer write, by written layer; no biases, no skip."""
        parts = decode_sparse(active.position, active.index, active.activation, self.layers[layer].decoder, n_pos)
        return dict(zip(self.writes[layer], parts, strict=True))

    def reconstruct(
        self,
        active: Mapping[int, ActiveFeatures],
        inputs: Mapping[int, Float[Tensor, "pos d_model"]],
        n_pos: int,
    ) -> dict[int, Float[Tensor, "pos d_model"]]:
        """Outputs at the write site by output layer: decoded features, decoder bias, skip of the inputs.

        `inputs` are the activations at the read site; InputError when those of a layer with a skip are missing.
        """
        decoded: dict[int, Tensor] = {}
        for layer in sorted(active):
            for written, part in self.decode_layer(layer, active[layer], n_pos).items():
                decoded[written] = decoded[written] + part if written in decoded else part
        return {
            layer: decoded[layer] + self.offset(layer, inputs.get(layer), decoded[layer]) for layer in sorted(decoded)
        }

    def offset(
        self, layer: int, x: Float[Tensor, "pos d_model"] | None, like: Float[Tensor, "pos d_model"]
    ) -> Float[Tensor, "pos d_model"]:
        """The part of a layer's output that no feature writes: decoder bias and skip of x, shaped `like` an output.

        InputError when the layer has a skip and x is None.
        """
        if layer not in self.layers:
            return torch.zeros_like(like)
        tensors = self.layers[layer]
        bias = tensors.decoder_bias.to(like).expand_as(like)
        if tensors.skip is None:
            return bias
        if x is None:
            raise InputError(f"layer {layer} has a skip connection: its input is needed to reconstruct")
        return bias + linear(x.to(like), tensors.skip.to(like))

    def _dtype(self, layer: int, x: Tensor) -> torch.dtype:
        return torch.promote_types(torch.promote_types(self.layers[layer].encoder.dtype, x.dtype), torch.float32)

    # Whole

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Dictionary:
        """The same Dictionary on another device or stored in another dtype."""
        layers = {
            index: layer.with_tensors({k: v.to(device=device, dtype=dtype) for k, v in layer.tensors().items()})
            for index, layer in self.layers.items()
        }
        return replace(self, layers=layers)

    def validate(self, report: Report = silent) -> None:
        """Read every weight; InputError at the first NaN or infinity."""
        for done, index in enumerate(sorted(self.layers)):
            report(Progress(what="weights", done=done, of=len(self.layers), unit="layers"))
            for name, tensor in self.layers[index].tensors().items():
                for start, block in blocks(tensor, BLOCK):
                    self._finite(block, index, name, torch.arange(start, start + len(block), device=block.device))

    def check_fits(self, subject: Subject) -> None:
        """MismatchError unless the Dictionary is for this model, as far as its provenance tells (see `origin`)."""
        self._check_sizes(subject)
        if reason := origin.why_not(self.provenance, subject):
            made_for = origin.model_of(self.provenance) or "another model"
            raise MismatchError(
                f"dictionary {self.name!r} was made for {made_for}, and {subject.name!r} is another model ({reason}): "
                "give its own, or say that this one is meant with --other-model (other_model=True in Python)"
            )

    def _check_sizes(self, subject: Subject) -> None:
        if difference := origin.other_size(self.provenance, self.d_model, self.n_layers, subject):
            raise MismatchError(f"dictionary {self.name!r} does not fit model {subject.name!r}: {difference}")

    def of_model(self, subject: Subject) -> Dictionary:
        """The same Dictionary, recorded as this model's where it has no record of weights."""
        if origin.WEIGHTS in self.provenance:
            return self
        return replace(self, provenance={**self.provenance, origin.WEIGHTS: subject.rounded_hashes()})

    def for_other_model(self, subject: Subject) -> Dictionary:
        """The same Dictionary, to be used on a model that it was not made for; the provenance of all results says so.

        MismatchError when the sizes differ.
        """
        self._check_sizes(subject)
        if origin.why_not(self.provenance, subject) is None:
            return self
        return replace(self, provenance={**self.provenance, origin.OTHER: origin.other_model(self.provenance, subject)})

    @property
    def other_model(self) -> dict[str, Any]:
        """What results say of a Dictionary that is used on a model it was not made for; empty where it is not."""
        return {origin.OTHER: self.provenance[origin.OTHER]} if origin.OTHER in self.provenance else {}

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of what the Dictionary computes: kind, sites, nonlinearities and every weight; not its name.

        Of neurons it is that of their model, which has hashes of its weights that are cheap.
        """
        head = [self.kind, self.read_site, self.write_site, self.n_layers, self.d_model]
        if self.reads_by_position:
            return hashlib.sha256(json.dumps([*head, self.provenance[origin.WEIGHTS]]).encode()).hexdigest()
        return fingerprint(head, self.layers, self.writes)

    def save(self, folder: Path | str, *, packed: bool = False) -> None:
        """Write the native layout; InputError when a weight is NaN, FileError when the folder holds something else.

        Packed, a weight of an encoder or decoder takes one byte and is off by at most a 254th of its row's largest.
        """
        from clew.dictionary.layouts import native  # it builds Dictionaries, so it imports this module

        native.save(self, folder, packed=packed)

    @classmethod
    def load(
        cls, folder: Path | str, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Dictionary:
        """Map a folder in a layout of `dictionary.layouts`, or one of the hub (`owner/name[@revision]`,
        `hf://owner/name/path[@revision]`); rows are read when asked for, all of them where another dtype is given.

        FileError when the folder is missing, truncated, foreign or of a newer schema, InputError at an absent device.
        """
        from clew.dictionary import layouts  # they build Dictionaries, so they import this module

        dictionary = layouts.load(files.local_folder(folder, without=layouts.NOT_FETCHED))
        place = None if device is None else present_device(device)
        return dictionary if place is None and dtype is None else dictionary.to(place, dtype)

    @classmethod
    def from_neurons(cls, subject: Subject) -> Dictionary:
        """The model's own neurons as an exact PLT; InputError where its MLPs are a choice of experts."""
        layers = {index: neurons.neuron_layer(subject, index) for index in range(subject.n_layers)}
        return cls(
            kind="plt",
            layers=layers,
            writes={index: (index,) for index in layers},
            read_site="mlp_in",
            write_site="mlp_raw_out",
            n_layers=subject.n_layers,
            d_model=subject.d_model,
            name=f"neurons of {subject.name}",
            provenance={"model": subject.name, origin.WEIGHTS: subject.rounded_hashes()},
        )
