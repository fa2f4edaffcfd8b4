"""Models whose dictionaries are published on the hub, by the name of the pair: facts alone, nothing is fetched here.

A size is computed from the shapes, where these and the numbers' format are known, and left open elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from clew import files

_MODEL_FILES = ("config.json", "model*.safetensors", "tokenizer*.json")
_CLT_FILES = ("config.yaml", "W_enc_*.safetensors", "W_dec_*.safetensors")
_PLT_FILES = ("config.yaml", "layer_*.safetensors")


@dataclass(frozen=True, kw_only=True)
class HubFiles:
    """A repository of the hub, and the files of it that are read."""

    repository: str
    files: tuple[str, ...]
    bytes: int | None
    """None where nothing is known."""
    gated: bool = False
    """Its licence is to be accepted on the hub before it can be downloaded."""

    @property
    def folder(self) -> Path:
        """Where the hub's cache keeps it."""
        return files.hub_folder(self.repository)

    def is_here(self) -> bool:
        """Whether the hub's cache has files of every kind that is read."""
        return all(any(self.folder.glob(f"snapshots/*/{pattern}")) for pattern in self.files)


@dataclass(frozen=True, kw_only=True)
class PublishedModel:
    """A model of the hub."""

    repository: str
    parameters: int
    layers: int
    width: int
    gated: bool = False

    @property
    def sources(self) -> tuple[HubFiles, ...]:
        """What is to be downloaded for it, in 16 bits."""
        size = 2 * self.parameters
        return (HubFiles(repository=self.repository, files=_MODEL_FILES, bytes=size, gated=self.gated),)


@dataclass(frozen=True, kw_only=True)
class PublishedPair:
    """A model and a dictionary that was trained for it."""

    name: str
    model: PublishedModel
    dictionary: str
    """Its repository."""
    kind: Literal["clt", "plt"]
    features: int | None = None
    """A layer; None where it is not known."""
    number_bytes: int | None = None
    """Bytes of one number on disk; None where it is not known."""
    files: tuple[str, ...]
    weights: str | None = None
    """The repository that holds the weights, where the dictionary's own holds a list of them alone."""

    @property
    def size(self) -> int | None:
        """Bytes of the encoders and decoders."""
        if self.features is None or self.number_bytes is None:
            return None
        layers = self.model.layers
        decoders = layers * (layers + 1) // 2 if self.kind == "clt" else layers
        return self.features * self.model.width * (layers + decoders) * self.number_bytes

    @property
    def sources(self) -> tuple[HubFiles, ...]:
        """Everything that is to be downloaded for the pair."""
        if self.weights is None:
            return (*self.model.sources, HubFiles(repository=self.dictionary, files=self.files, bytes=self.size))
        listed = HubFiles(repository=self.dictionary, files=("config.yaml",), bytes=None)
        return (*self.model.sources, listed, HubFiles(repository=self.weights, files=self.files, bytes=self.size))

    def absent(self) -> str | None:
        """What to do where the hub gives no answer and its cache lacks some of the pair; None where it lacks none."""
        absent = [source for source in self.sources if not source.is_here()]
        if not absent:
            return None
        wanted = " and ".join(f"{source.repository} ({', '.join(source.files)})" for source in absent)
        folders, cache = ", ".join(source.folder.name for source in absent), absent[0].folder.parent
        return (
            f"{self.name} needs {wanted}, which the hub did not give: run hf download where there is a network and "
            f"copy {folders} into {cache}, or give two folders that hold them with --model and --dictionary"
        )


GPT2 = PublishedModel(repository="openai-community/gpt2", parameters=124_439_808, layers=12, width=768)
GEMMA = PublishedModel(repository="google/gemma-2-2b", parameters=2_614_341_888, layers=26, width=2304, gated=True)
LLAMA = PublishedModel(
    repository="meta-llama/Llama-3.2-1B", parameters=1_235_814_400, layers=16, width=2048, gated=True
)
QWEN = {
    "0.6b": PublishedModel(repository="Qwen/Qwen3-0.6B", parameters=596_049_920, layers=28, width=1024),
    "1.7b": PublishedModel(repository="Qwen/Qwen3-1.7B", parameters=1_720_574_976, layers=28, width=2048),
    "4b": PublishedModel(repository="Qwen/Qwen3-4B", parameters=4_022_468_096, layers=36, width=2560),
    "8b": PublishedModel(repository="Qwen/Qwen3-8B", parameters=8_190_735_360, layers=36, width=4096),
    "14b": PublishedModel(repository="Qwen/Qwen3-14B", parameters=14_768_307_200, layers=40, width=5120),
}


def _clt(name: str, model: PublishedModel, dictionary: str, features: int) -> PublishedPair:
    return PublishedPair(
        name=name,
        model=model,
        dictionary=dictionary,
        kind="clt",
        features=features,
        number_bytes=2,
        files=_CLT_FILES,
    )


def _qwen(size: str, dictionary: str, features: int | None, number_bytes: int | None) -> PublishedPair:
    return PublishedPair(
        name=f"qwen3-{size}-plt",
        model=QWEN[size],
        dictionary=dictionary,
        kind="plt",
        features=features,
        number_bytes=number_bytes,
        files=_PLT_FILES,
    )


PUBLISHED: Mapping[str, PublishedPair] = {
    pair.name: pair
    for pair in (
        PublishedPair(
            name="gpt2-clt",
            model=GPT2,
            dictionary="georglange/gpt2-clt-topk-16-f-10k",
            kind="clt",
            files=("config.yaml", "checkpoint.safetensors"),
        ),
        PublishedPair(
            name="gemma-2-2b-plt",
            model=GEMMA,
            dictionary="mntss/gemma-scope-transcoders",
            kind="plt",
            features=16_384,
            number_bytes=4,
            files=("layer_*/width_16k/average_l0_*/params.npz",),
            weights="google/gemma-scope-2b-pt-transcoders",
        ),
        _clt("gemma-2-2b-clt", GEMMA, "mntss/clt-gemma-2-2b-426k", 16_384),
        _clt("gemma-2-2b-clt-2.5m", GEMMA, "mntss/clt-gemma-2-2b-2.5M", 98_304),
        PublishedPair(
            name="llama-3.2-1b-plt",
            model=LLAMA,
            dictionary="mntss/transcoder-Llama-3.2-1B",
            kind="plt",
            features=131_072,
            number_bytes=4,
            files=_PLT_FILES,
        ),
        _clt("llama-3.2-1b-clt", LLAMA, "mntss/clt-llama-3.2-1b-524k", 32_768),
        _qwen("0.6b", "mwhanna/qwen3-0.6b-transcoders-lowl0", 163_840, None),
        _qwen("1.7b", "mwhanna/qwen3-1.7b-transcoders-lowl0", 163_840, None),
        _qwen("4b", "mwhanna/qwen3-4b-transcoders", 163_840, 4),
        _qwen("8b", "mwhanna/qwen3-8b-transcoders", None, None),
        _qwen("14b", "mwhanna/qwen3-14b-transcoders-lowl0", None, None),
    )
}
"""Every pair, by its name."""
