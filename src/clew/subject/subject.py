"""A causal language model and its tokenizer, read as a residual stream.

`record` runs the model once and returns a Recording, the ordered list of linear steps. The other verbs run the model as
it is: `capture` keeps what passes a site, `replaced_logits` puts something else in the place of every MLP.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from clew.errors import FileError, InputError, UnsupportedModelError
from clew.subject.families import FAMILIES, Family
from clew.subject.hooks import (
    FrozenParts,
    Watch,
    changing,
    eager_attention,
    freezing,
    named_modules,
    normalized,
    watching,
)
from clew.subject.parts import Block, Side, places
from clew.subject.recorder import record
from clew.subject.recording import Recording, SiteAt, SiteName

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Prompt = str | Sequence[int] | Sequence[Mapping[str, str]] | Tensor


@dataclass(frozen=True, kw_only=True)
class Neurons:
    """The weights of an ungated ReLU MLP: relu(x @ w_in.T + b_in) @ w_out + b_out."""

    w_in: Float[Tensor, "feature d_model"]
    b_in: Float[Tensor, " feature"]
    w_out: Float[Tensor, "feature d_model"]
    b_out: Float[Tensor, " d_model"]


Seen = Callable[[SiteName, int], Tensor]
Change = Callable[[Tensor, Seen], Tensor]


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a run left: the final normed stream, and the sites that were asked for."""

    final: Float[Tensor, "batch pos d_model"]
    kept: Mapping[SiteAt, Float[Tensor, "batch pos d_model"]]


class Subject:
    """A causal language model with its tokenizer. Build it with `load`."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None, name: str) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.name = name
        self.family = _family(type(model).__name__)

    @classmethod
    def load(
        cls,
        source: str | Path | PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase | None = None,
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
    ) -> Subject:
        """Load from a folder or hub id (float32 unless `dtype` says otherwise), or wrap a model that is loaded already.

        FileError when nothing can be read there, UnsupportedModelError when the architecture is not in the table.
        """
        if not isinstance(source, str | Path):
            model = source.to(device) if dtype is None else source.to(device, dtype)
            return cls(model, tokenizer, getattr(source, "name_or_path", "") or type(source).__name__)
        from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

        where = str(source)
        if Path(where).exists() and not (Path(where) / "config.json").is_file():
            raise FileError(f"{where} holds no config.json: give a model folder in Hugging Face layout")
        try:
            config = AutoConfig.from_pretrained(where)
            _family((getattr(config, "architectures", None) or [type(config).__name__])[0])
            with _no_bars():
                model = AutoModelForCausalLM.from_pretrained(where, dtype=dtype or torch.float32)
                tokenizer = tokenizer or AutoTokenizer.from_pretrained(where)
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise FileError(f"cannot load a model from {where}: {str(error).splitlines()[0]}") from error
        except Exception as error:
            if "safetensors" not in type(error).__module__ and type(error).__name__ != "SafetensorError":
                raise
            raise FileError(f"the weights in {where} are not whole safetensors files ({error})") from error
        return cls(model.to(device), tokenizer, Path(where).name if Path(where).exists() else where)

    # --- what it is -------------------------------------------------------------------------------------------

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

    @cached_property
    def special_ids(self) -> frozenset[int]:
        return frozenset(self.tokenizer.all_special_ids) if self.tokenizer is not None else frozenset()

    @property
    def unembedding(self) -> Float[Tensor, "vocab d_model"]:
        return self.model.get_output_embeddings().weight.detach()

    @property
    def block(self) -> Block:
        """The parts of every block, in the order in which a run passes them."""
        return self.family.block(self.config)

    @cached_property
    def modules(self) -> dict[tuple[str, int], nn.Module]:
        """The blocks and their modules by role and layer."""
        return named_modules(self.model, self.family)

    @cached_property
    def _places(self) -> dict[SiteName, tuple[str, Side]]:
        return places(self.block)

    # --- text -------------------------------------------------------------------------------------------------

    def encode(self, prompt: Prompt, *, add_bos: bool = True) -> Int[Tensor, " pos"]:
        """Token ids of a text (a BOS prepended if the tokenizer has one and did not), of chat messages, or as given.

        InputError when the prompt is empty, longer than the context, or holds an id outside the vocabulary.
        """
        ids = torch.tensor(self._ids(prompt, add_bos), dtype=torch.long, device=self.device)
        if len(ids) == 0:
            raise InputError("the prompt is empty: give at least one token")
        if len(ids) > self.context_length:
            raise InputError(
                f"the prompt has {len(ids)} tokens, the model's context holds {self.context_length}: shorten it"
            )
        n_vocab = len(self.unembedding)
        if int(ids.min()) < 0 or int(ids.max()) >= n_vocab:
            raise InputError(f"a token id of the prompt is outside 0..{n_vocab - 1}")
        return ids

    def _ids(self, prompt: Prompt, add_bos: bool) -> list[int]:
        if isinstance(prompt, Tensor):
            return prompt.flatten().tolist()
        if not isinstance(prompt, str) and (len(prompt) == 0 or isinstance(prompt[0], int)):
            return list(prompt)  # type: ignore[arg-type]
        tokenizer = self._need_tokenizer()
        if not isinstance(prompt, str):
            if not getattr(tokenizer, "chat_template", None):
                raise InputError(f"{self.name} has no chat template: give plain text instead of messages")
            rendered = tokenizer.apply_chat_template(list(prompt), add_generation_prompt=True, tokenize=False)
            return tokenizer(rendered, add_special_tokens=False)["input_ids"]
        if not prompt:
            return []
        ids = tokenizer(prompt)["input_ids"]
        bos = tokenizer.bos_token_id
        if add_bos and bos is not None and ids[:1] != [bos]:
            ids = [bos, *ids]
        return ids

    def token_ids(self, text: str) -> list[int]:
        """The ids of a piece of text inside a longer one: no special token is added."""
        return self._need_tokenizer()(text, add_special_tokens=False)["input_ids"]

    def token_strings(self, ids: Iterable[int]) -> tuple[str, ...]:
        """Each token as text; a token that is part of a character shows as the tokenizer writes it."""
        ids = [int(i) for i in ids]
        if self.tokenizer is None:
            return tuple(f"<{i}>" for i in ids)
        texts = [self.tokenizer.decode([i], clean_up_tokenization_spaces=False) for i in ids]
        raw = self.tokenizer.convert_ids_to_tokens(ids)
        return tuple(str(r) if "\ufffd" in text or not text else text for text, r in zip(texts, raw, strict=True))

    def _need_tokenizer(self) -> Any:
        if self.tokenizer is None:
            raise InputError(f"{self.name} came without a tokenizer: give token ids instead of text")
        return self.tokenizer

    # --- runs -------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def record(self, prompt: Prompt) -> Recording:
        """Run once and keep the run as linear steps, checked against the model.

        UnsupportedModelError, naming the first step that fails, when the steps do not reproduce the model.
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
        """What each site holds in every layer while the model runs on a batch."""
        asked = [(site, layer) for site in sites for layer in range(self.n_layers)]
        with self._watching(asked) as watch:
            self.model.base_model(ids.to(self.device), use_cache=False)  # no logits: nobody looks
        return {(site, layer): self._site(watch, site, layer) for site, layer in asked}

    def _watching(self, sites: Iterable[SiteAt]) -> AbstractContextManager[Watch]:
        inputs: dict[tuple[str, int], nn.Module] = {}
        outputs: dict[tuple[str, int], nn.Module] = {}
        for site, layer in sites:
            role, side = self._places[site]
            (outputs if side == "output" else inputs)[role, layer] = self.modules[role, layer]
        return watching(inputs, outputs)

    def _site(self, watch: Watch, site: SiteName, layer: int) -> Tensor:
        """What a site holds in a run that is watched."""
        role, side = self._places[site]
        seen = (watch.outputs if side == "output" else watch.inputs)[role, layer]
        if side == "scaled":
            return normalized(seen, self.modules[role, layer], self.family.centred)[0]
        return seen if isinstance(seen, Tensor) else seen[0]

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

        A change is given what its site holds, and a function that tells what an earlier site holds in this run: any,
        or only `reads`, when it is given, which saves watching the rest. With a `cache` (from `new_cache`), `ids` are
        the tokens that follow what it has seen, and it is extended. What is kept of a changed site is what it held
        before. Gradients flow unless the caller turns them off; forward derivatives need `eager` attention.
        """
        if reads is None:
            reads = [(site, layer) for site in get_args(SiteName) for layer in range(self.n_layers)] if change else []
        with ExitStack() as stack:
            if eager:
                stack.enter_context(eager_attention(self.model))
            if frozen is not None:
                stack.enter_context(freezing(frozen))
            watch = stack.enter_context(self._watching((*reads, *keep)))

            def seen(site: SiteName, layer: int) -> Tensor:
                return self._site(watch, site, layer)

            inputs: dict[nn.Module, Callable[[Tensor], Tensor]] = {}
            outputs: dict[nn.Module, Callable[[Tensor], Tensor]] = {}
            before: dict[SiteAt, Tensor] = {}
            for at, new in (change or {}).items():
                module, is_input = self._changeable(*at)
                side = inputs if is_input else outputs
                step = partial(_changed, new, seen, side.get(module))
                side[module] = partial(_noted, before, at, step) if is_input and at in keep else step
            stack.enter_context(changing(inputs, outputs))
            made = self.model.base_model(ids.to(self.device), past_key_values=cache, use_cache=cache is not None)
            kept = {at: before[at] if at in before else seen(*at) for at in keep}
        return Run(final=made.last_hidden_state, kept=kept)

    def _changeable(self, site: SiteName, layer: int) -> tuple[nn.Module, bool]:
        """The module where a site is changed, and whether it is the module's input; InputError inside a norm."""
        role, side = self._places[site]
        if side == "scaled":
            raise InputError(f"{site} lies inside a norm and cannot be edited: use a dictionary that writes elsewhere")
        return self.modules[role, layer], side == "input"

    def new_cache(self) -> Any:
        """An empty cache of keys and values for `run`."""
        from transformers import DynamicCache

        return DynamicCache(config=self.config)

    def unembed(self, final: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch vocab"]:
        """Logits, before a final soft-cap, of what the final norm gives out."""
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
        """Logits when `mlp(layer, read, real)` stands in the place of every MLP, everything else live.

        `read` is what the layer's read site holds in this run, `real` what the model's own MLP makes of it.
        """

        def stand_in(layer: int, real: Tensor, seen: Seen) -> Tensor:
            return mlp(layer, seen(read_site, layer), real)

        change = {(write_site, layer): partial(stand_in, layer) for layer in range(self.n_layers)}
        return self._capped(self.unembed(self.run(ids, change=change).final))

    def mlp_neurons(self, layer: int) -> Neurons:
        """The weights of one MLP; InputError unless it is ungated and ReLU, the kind that is its own Dictionary."""
        config = self.config
        kind = next(
            (
                getattr(config, n)
                for n in ("activation_function", "hidden_act", "hidden_activation")
                if hasattr(config, n)
            ),
            "",
        )
        if self.family.neurons is None or kind != "relu":
            gate = "gated " if self.family.neurons is None else ""
            raise InputError(f"{self.name} has {gate}{kind} MLPs: only an ungated ReLU MLP is its own exact dictionary")
        w_in, b_in, w_out, b_out = (
            None if t is None else t.detach() for t in self.family.neurons(self.modules["mlp", layer])
        )
        assert w_in is not None
        assert w_out is not None
        b_in = w_in.new_zeros(len(w_in)) if b_in is None else b_in
        b_out = w_out.new_zeros(w_out.shape[1]) if b_out is None else b_out
        return Neurons(w_in=w_in, b_in=b_in, w_out=w_out, b_out=b_out)


def _changed(new: Change, seen: Seen, before: Callable[[Tensor], Tensor] | None, value: Tensor) -> Tensor:
    """Apply a change after the one that another name of the same place asked for."""
    return new(value if before is None else before(value), seen)


def _noted(notes: dict[SiteAt, Tensor], at: SiteAt, step: Callable[[Tensor], Tensor], value: Tensor) -> Tensor:
    """Keep what an input held: it is about to be overwritten."""
    notes[at] = value
    return step(value)


@contextmanager
def _no_bars() -> Iterator[None]:
    """Load without the progress bars that transformers draws."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _family(architecture: str) -> Family:
    if architecture not in FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        raise UnsupportedModelError(f"architecture {architecture} is not supported; supported are {known}")
    return FAMILIES[architecture]
