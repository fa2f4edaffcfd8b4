"""A causal language model and its tokenizer, read as a residual stream.

`record` runs the model once and returns a Recording, the ordered list of linear steps. The other verbs run the model as
it is: `capture` keeps what a site holds, `run` changes sites or freezes parts, `replaced_logits` replaces every MLP.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from clew import files
from clew.errors import InputError
from clew.kernels.present import present_device
from clew.subject.hooks import (
    GROUPED_EXPERTS,
    FrozenParts,
    eager_parts,
    freezing,
    module_at,
    named_modules,
    normalized,
    rerouting,
)
from clew.subject.identity import rounded_hashes, weights_hash
from clew.subject.loading import DeviceMap, check_devices, check_dtype, check_in_memory, family_of, name_of, read_model
from clew.subject.mlp_weights import ROUTER, MlpWeights
from clew.subject.parts import Block, places
from clew.subject.positions import marker_ids
from clew.subject.recorder import record
from clew.subject.recording import Recording, SiteAt, SiteName
from clew.subject.routing import LogitChange
from clew.subject.sites import Change, ModelSites, Seen
from clew.subject.snapshots import put_weights, snapshot_of
from clew.subject.text import Prompt, needed, prompt_ids, start_ids, text_ids
from clew.subject.token_names import TokenNames

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


_ACTIVATION_KEYS = ("activation_function", "hidden_act", "hidden_activation")
"""What configurations call the activation function of the MLPs."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """The final normed stream of a run, and the sites that were to be kept."""

    final: Float[Tensor, "batch pos d_model"]
    kept: Mapping[SiteAt, Float[Tensor, "batch pos d_model"]]


class Subject:
    """A causal language model with its tokenizer. Build it with `load`."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None, name: str) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.name = name
        self.family = family_of(type(model).__name__)
        capped = getattr(model.config, "attn_logit_softcapping", None) is not None
        if capped and getattr(model.config, "_attn_implementation", None) == "sdpa":
            # sdpa knows no soft-cap, and older versions of transformers left it out
            model.set_attn_implementation("eager")
        if model.dtype == torch.float64 and getattr(model.config, "_experts_implementation", None) == GROUPED_EXPERTS:
            model.set_experts_implementation("eager")  # products of groups are not there in float64
        self._hashes: tuple[list[tuple[int, int]], dict[str, str]] | None = None

    @classmethod
    def load(
        cls,
        source: str | Path | PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase | None = None,
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
        device_map: DeviceMap | None = None,
        step: int | None = None,
    ) -> Subject:
        """Load a model (float32 unless `dtype` says otherwise), or wrap one that is loaded already.

        A source is a folder, a GGUF file, a hub id, `hub-id@revision` or `hub-id/file.gguf`; or a snapshot of a
        training run, by its file or by the run's folder and the step (`clew.subject.snapshots`). With a `device_map`
        transformers puts the weights where they belong as it reads them; they must all lie on one device.

        FileError when nothing can be read there or it is not the whole model, UnsupportedModelError when the
        architecture is not in the table or the model is quantised, InputError for a dtype that is no 16, 32 or 64 bits,
        for a device that is not there, and when the extra `loading` is needed.
        """
        device = present_device(device)
        if dtype is not None:
            check_dtype(dtype)
        if not isinstance(source, str | Path):
            if device_map is not None:
                raise InputError("a device_map is for a model that is read: this one is in memory already")
            model = source if dtype is None else source.to(dtype)
            check_in_memory(model)
            model = model.to(device)
            return cls(model, tokenizer, name_of(getattr(source, "name_or_path", "")) or type(source).__name__)
        where = str(files.recover(source))
        if (snapshot := snapshot_of(where, step)) is not None:
            subject = cls.load(snapshot.model, tokenizer, device=device, dtype=dtype, device_map=device_map)
            put_weights(subject.model, snapshot)
            subject.name = snapshot.name
            return subject
        model, tokenizer = read_model(where, tokenizer, dtype or torch.float32, device_map)
        check_devices(model)
        return cls(model if device_map is not None else model.to(device), tokenizer, name_of(where))

    def __repr__(self) -> str:
        return (
            f"Subject({self.name!r}: {type(self.model).__name__}, {self.n_layers} layers of width {self.d_model}, "
            f"{len(self.unembedding):,} tokens, {self.dtype} on {self.device})"
        )

    # --- the model ---------------------------------------------------------------------------------------------

    @property
    def config(self) -> Any:
        return self.model.config

    @property
    def n_layers(self) -> int:
        return self.config.num_hidden_layers

    @property
    def d_model(self) -> int:
        return self.config.hidden_size

    @property
    def dtype(self) -> torch.dtype:
        return self.model.dtype

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def context_length(self) -> int:
        return self.config.max_position_embeddings

    def weights_hash(self) -> str:
        """What tells this model from others of its name (`clew.subject.identity`); read anew at every call."""
        return weights_hash(self.model)

    def rounded_hashes(self) -> dict[str, str]:
        """Cheap hashes of the weights, good for other dtypes too (`identity`); computed anew when one changes."""
        versions = [(id(parameter), parameter._version) for parameter in self.model.parameters()]
        if self._hashes is None or self._hashes[0] != versions:
            self._hashes = versions, rounded_hashes(self.model)
        return dict(self._hashes[1])

    @cached_property
    def special_ids(self) -> frozenset[int]:
        return frozenset(self.tokenizer.all_special_ids) if self.tokenizer is not None else frozenset()

    @cached_property
    def marker_ids(self) -> frozenset[int]:
        """The special tokens that are no text: nothing is learned from them or counted at them."""
        return marker_ids(self.tokenizer)

    @property
    def unembedding(self) -> Float[Tensor, "vocab d_model"]:
        return self.model.get_output_embeddings().weight.detach()

    @property
    def n_tokens(self) -> int:
        """How many tokens it reads: of a language model those that it says."""
        return len(self.unembedding)

    @property
    def block(self) -> Block:
        """The parts of every block, in the order in which a run passes them."""
        return self.family.block(self.config)

    @cached_property
    def modules(self) -> dict[tuple[str, int], nn.Module]:
        """The blocks and their modules by role and layer."""
        return named_modules(self.model, self.family)

    @cached_property
    def sites(self) -> ModelSites:
        """Where the sites lie in the model's modules."""
        return ModelSites(modules=self.modules, places=places(self.block), centred=self.family.centred)

    # --- text -------------------------------------------------------------------------------------------------

    @cached_property
    def start_ids(self) -> tuple[int, ...]:
        """The tokens at the front of every text: what the tokenizer puts there, else its BOS unless it opens turns."""
        return start_ids(self.tokenizer)

    @cached_property
    def token_names(self) -> TokenNames:
        """Names of tokens and the tokens that names mean."""
        return TokenNames(self.tokenizer)

    def encode(self, prompt: Prompt, *, add_bos: bool = True) -> Int[Tensor, " pos"]:
        """Token ids of a text or of chat messages; ids are taken as they are.

        A text begins with `start_ids` once, unless `add_bos` is off; nothing is put behind it.

        InputError when the prompt is empty, longer than the context, holds an id outside the vocabulary, or is several.
        """
        prompt_tokens = prompt_ids(prompt, self.tokenizer, self.name, self.start_ids, add_bos=add_bos)
        if not prompt_tokens:
            raise InputError("the prompt is empty: give at least one token")
        if len(prompt_tokens) > self.context_length:
            raise InputError(
                f"the prompt has {len(prompt_tokens)} tokens, the model's context holds {self.context_length}: "
                "shorten it"
            )
        if min(prompt_tokens) < 0 or max(prompt_tokens) >= self.n_tokens:
            raise InputError(f"a token id of the prompt is outside 0..{self.n_tokens - 1}")
        return torch.tensor(prompt_tokens, dtype=torch.long, device=self.device)

    def encode_texts(self, texts: Sequence[str], *, add_bos: bool = True) -> list[list[int]]:
        """The ids of many texts of any length, each as `encode` reads it; none for an empty one."""
        return text_ids(texts, needed(self.tokenizer, self.name), self.start_ids if add_bos else ())

    def token_ids(self, text: str) -> list[int]:
        """The ids of a piece of text inside a longer one: no special token and no mark at its front is added."""
        needed(self.tokenizer, self.name)
        return self.token_names.ids(text)

    def token_strings(self, ids: Iterable[int]) -> tuple[str, ...]:
        """Each token's name: the text it adds to a longer one, `<0xD0>` for half a character, else `#1234`."""
        return self.token_names.names(int(i) for i in ids)

    def text_of(self, ids: Iterable[int]) -> str:
        """Tokens as one text, special ones included."""
        return self.token_names.text(int(i) for i in ids)

    def substitutes(
        self, ids: Int[Tensor, " pos"], position: int, final: Float[Tensor, "pos d_model"], count: int
    ) -> list[int]:
        """Other tokens that could stand at a position: those that the model holds likeliest there.

        `final` is the final normed stream of the prompt.
        """
        likely = self.probabilities(self.unembed(final[max(0, position - 1)])).topk(count + 1).indices.tolist()
        return [token for token in likely if token != int(ids[position])][:count]

    def log_likelihood(
        self, final: Float[Tensor, "row pos d_model"], ids: Int[Tensor, "row pos"]
    ) -> Float[Tensor, " row"]:
        """Of every row as a text of the model's, behind its first token, in nats; float64."""
        said = self.probabilities(self.unembed(final[:, :-1])).clamp_min(1e-30).log()
        return said.gather(2, ids[:, 1:, None])[:, :, 0].double().sum(1)

    # --- runs -------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def record(self, prompt: Prompt) -> Recording:
        """Run once and keep the run as linear steps, checked against the model.

        InputError when the prompt cannot be encoded or the logits are not finite. UnsupportedModelError, naming the
        first step that fails, when the steps do not reproduce the model.
        """
        return record(self.model, self.family, self.modules, self.encode(prompt))

    @torch.no_grad()
    def logits(self, ids: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos vocab"]:
        """The model's own logits."""
        return self.model(ids.to(self.device), use_cache=False).logits

    @torch.no_grad()
    def capture(
        self, ids: Int[Tensor, "batch pos"], sites: Sequence[SiteName]
    ) -> dict[SiteAt, Float[Tensor, "batch pos d_model"]]:
        """What each of the sites holds in every layer when the model runs on a batch, by site and layer."""
        captured = [(site, layer) for site in sites for layer in range(self.n_layers)]
        with self.sites.watching(captured) as watch:
            self.model.base_model(ids.to(self.device), use_cache=False)  # without the unembedding: nobody reads logits
        return {(site, layer): self.sites.value(watch, site, layer) for site, layer in captured}

    def run(
        self,
        ids: Int[Tensor, "batch pos"],
        *,
        change: Mapping[SiteAt, Change] | None = None,
        keep: Sequence[SiteAt] = (),
        reads: Sequence[SiteAt] | None = None,
        cache: Any = None,
        frozen: FrozenParts | None = None,
        eager: bool = False,
    ) -> Run:
        """Run on a batch, with some sites changed and some parts frozen as they were recorded.

        A change gets what its site holds, and a function that returns what an earlier site holds in this run: any
        site, or those in `reads` only, which saves watching the rest. With a `cache` (from `new_cache`), `ids` are the
        tokens that follow those in the cache, and the cache is extended. Of a changed site, `keep` returns what it held
        before the change. Gradients flow unless the caller turns them off; forward derivatives need `eager` attention.
        InputError when a change names a site inside a norm.
        """
        if reads is None:
            reads = [(site, layer) for site in self.sites.places for layer in range(self.n_layers)] if change else []
        with ExitStack() as stack:
            if eager:
                stack.enter_context(eager_parts(self.model))
            if frozen is not None:
                stack.enter_context(freezing(frozen))
            watch = stack.enter_context(self.sites.watching((*reads, *keep)))
            seen = partial(self.sites.value, watch)
            overwritten = stack.enter_context(self.sites.changing(change or {}, seen, keep))
            output = self.model.base_model(ids.to(self.device), past_key_values=cache, use_cache=cache is not None)
            kept = {site: overwritten[site] if site in overwritten else seen(*site) for site in keep}
        return Run(final=output.last_hidden_state, kept=kept)

    @property
    def final_norm(self) -> nn.Module:
        """The norm in front of the unembedding."""
        return module_at(self.model, self.family.final_norm)

    def normed(self, x: Float[Tensor, "*batch d_model"], norm: nn.Module) -> Float[Tensor, "*batch d_model"]:
        """`x` after one of the model's norms, in the dtype of `x`."""
        weight, bias = self.family.norm_affine(norm, x)
        scaled = normalized(x, norm, self.family.centred)[0] * weight
        return scaled if bias is None else scaled + bias

    def new_cache(self) -> Any:
        """An empty cache of keys and values for `run`."""
        from transformers import DynamicCache

        return DynamicCache(config=self.config)

    def unembed(self, final: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch vocab"]:
        """Logits, before a final soft-cap, of the final normed stream."""
        head = self.model.get_output_embeddings()
        return torch.nn.functional.linear(final, head.weight, getattr(head, "bias", None))

    def probabilities(self, logits: Float[Tensor, "*batch vocab"]) -> Float[Tensor, "*batch vocab"]:
        """The model's probabilities: softmax after a final soft-cap, in float32 at least."""
        return torch.softmax(self._capped(logits.to(torch.promote_types(logits.dtype, torch.float32))), -1)

    def _capped(self, logits: Tensor) -> Tensor:
        cap = getattr(self.config, "final_logit_softcapping", None)
        return logits if cap is None else cap * torch.tanh(logits / cap)

    @torch.no_grad()
    def replaced_logits(
        self,
        ids: Int[Tensor, "batch pos"],
        mlp: Callable[[int, Tensor, Tensor], Tensor],
        *,
        read_site: SiteName,
        write_site: SiteName,
    ) -> Float[Tensor, "batch pos vocab"]:
        """Logits when the output of every MLP is replaced by `mlp(layer, read, real)`, everything else live.

        `read` is what the layer's read site holds in this run, `real` the output of the model's own MLP.
        """

        def stand_in(layer: int, real: Tensor, seen: Seen) -> Tensor:
            return mlp(layer, seen(read_site, layer), real)

        change = {(write_site, layer): partial(stand_in, layer) for layer in range(self.n_layers)}
        return self._capped(self.unembed(self.run(ids, change=change).final))

    def mlp_neurons(self, layer: int) -> MlpWeights:
        """The neurons of one MLP, without gradients; InputError where the MLP is a choice of experts."""
        cut = self.family.mlp_weights
        if cut is None:
            raise InputError(
                f"{self.name} has MLPs of several experts, whose neurons are not read: give a dictionary for it"
            )
        weights = cut(self.modules["mlp", layer])
        tensors: dict[str, Any] = {n: value.detach() for n, value in vars(weights).items() if isinstance(value, Tensor)}
        router = weights.router and replace(weights.router, weight=weights.router.weight.detach())
        return replace(weights, **tensors, router=router)

    def rerouting(self, change: LogitChange) -> AbstractContextManager[None]:
        """Let the routers of a mixture of experts choose by changed logits, in every run inside of the context.

        InputError for a model without routers.
        """
        routers = {
            layer: module
            for layer in range(self.n_layers)
            if (module := getattr(self.modules["mlp", layer], ROUTER, None)) is not None
        }
        if not routers:
            raise InputError(f"{self.name} has no router that is read: give an OLMoE or a Mixtral")
        return rerouting(routers, change)

    @property
    def mlp_function(self) -> str:
        """What the configuration calls the function that MLPs apply: `relu`, `gelu_new`, `silu`; empty if nothing."""
        return str(next((getattr(self.config, key) for key in _ACTIVATION_KEYS if hasattr(self.config, key)), ""))
