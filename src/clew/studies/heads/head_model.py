"""A model whose attention heads are watched and silenced: a causal Subject, or an encoder of text.

A head is silenced by its mean: what it writes before the attention's output projection becomes its mean over texts.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from clew.errors import UnsupportedModelError
from clew.labels.text_encoder import TextEncoder
from clew.subject.hooks import changing, eager_parts, watching
from clew.subject.subject import Subject

_PROJECTIONS = ("o_proj", "c_proj", "out_proj", "out_lin", "output.dense", "dense", "Wo", "o")
"""What attentions call the map behind their heads."""
_PIECES = "#Ġ▁ "
"""Marks of tokenizers at the front of a token."""
Silenced = Mapping[int, tuple[int, Tensor]]
"""By layer: a head, and what it writes instead."""


@dataclass(frozen=True, kw_only=True, eq=False)
class HeadModel:
    """Build it with `of_subject` or `of_encoder`."""

    name: str
    causal: bool
    n_layers: int
    n_heads: int
    longest: int
    n_vocabulary: int
    special: frozenset[int]
    prefix: tuple[int, ...]
    suffix: tuple[int, ...]
    """What stands before and behind the tokens of every text."""
    projections: tuple[nn.Module, ...]
    subject: Subject | None = None
    encoder: TextEncoder | None = None

    @classmethod
    def of_subject(cls, subject: Subject) -> HeadModel:
        """The heads of a causal model; UnsupportedModelError when its attention has no output projection."""
        attentions = [subject.modules["attention", layer] for layer in range(subject.n_layers)]
        return cls(
            name=subject.name,
            causal=True,
            n_layers=subject.n_layers,
            n_heads=subject.config.num_attention_heads,
            longest=subject.context_length,
            n_vocabulary=len(subject.unembedding),
            special=frozenset({*subject.special_ids, *subject.start_ids}),
            prefix=tuple(subject.start_ids),
            suffix=(),
            projections=tuple(_projection(subject.name, module) for module in attentions),
            subject=subject,
        )

    @classmethod
    def of_encoder(cls, encoder: TextEncoder) -> HeadModel:
        """The heads of an encoder; UnsupportedModelError when it gives no attention patterns."""
        config, tokenizer = encoder.model.config, encoder.tokenizer
        whole = tokenizer("a")["input_ids"]
        bare = tokenizer("a", add_special_tokens=False)["input_ids"]
        start = next(place for place in range(len(whole)) if whole[place : place + len(bare)] == bare)
        model = cls(
            name=encoder.name,
            causal=False,
            n_layers=getattr(config, "num_hidden_layers", 0),
            n_heads=getattr(config, "num_attention_heads", 0),
            longest=encoder.longest,
            n_vocabulary=len(tokenizer),
            special=frozenset(tokenizer.all_special_ids),
            prefix=tuple(whole[:start]),
            suffix=tuple(whole[start + len(bare) :]),
            projections=_of_layers(encoder, getattr(config, "num_hidden_layers", 0)),
            encoder=encoder,
        )
        model.patterns(whole)
        return model

    # --- tokens ------------------------------------------------------------------------------------------------

    def text_ids(self, text: str) -> list[int]:
        """The ids of a text, with what stands around it."""
        if self.subject is not None:
            return self.subject.encode_texts([text])[0]
        assert self.encoder is not None
        ids: list[int] = self.encoder.tokenizer(text, verbose=False)["input_ids"]
        return ids

    def piece_ids(self, text: str) -> list[int]:
        """The ids of a piece of text inside a longer one."""
        if self.subject is not None:
            return self.subject.token_ids(text)
        assert self.encoder is not None
        ids: list[int] = self.encoder.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return ids

    def strings(self, ids: Sequence[int]) -> list[str]:
        """What tokens are called."""
        if self.subject is not None:
            return list(self.subject.token_strings(ids))
        assert self.encoder is not None
        names: list[str] = self.encoder.tokenizer.convert_ids_to_tokens(list(ids))
        return names

    def content(self, ids: Sequence[int]) -> Bool[Tensor, " pos"]:
        """Which tokens are text, and not special."""
        return torch.tensor([token not in self.special for token in ids])

    def delimiters(self, ids: Sequence[int]) -> Bool[Tensor, " pos"]:
        """Which tokens delimit: special ones behind the first, and punctuation."""
        found = []
        for place, (token, name) in enumerate(zip(ids, self.strings(ids), strict=True)):
            letters = name.strip(_PIECES)
            marks = bool(letters) and all(unicodedata.category(letter).startswith("P") for letter in letters)
            found.append(place > 0 and (token in self.special or marks))
        return torch.tensor(found)

    # --- runs --------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def patterns(self, ids: Sequence[int]) -> Float[Tensor, "head pos pos"]:
        """The attention of all heads, layer by layer: row = query, column = key.

        UnsupportedModelError when the model gives none.
        """
        with self._stepwise():
            try:
                output = self._base(torch.tensor([list(ids)]), output_attentions=True)
            except TypeError:
                output = None
        attentions = getattr(output, "attentions", None) or ()
        shape = (1, self.n_heads, len(ids), len(ids))
        if len(attentions) != self.n_layers or any(each is None or each.shape != shape for each in attentions):
            raise UnsupportedModelError(f"{self.name} gives no attention patterns: give a model whose heads attend")
        return torch.cat([each[0] for each in attentions]).float().cpu()

    @torch.no_grad()
    def written(self, ids: Sequence[int]) -> Float[Tensor, "layer pos d"]:
        """What the heads of every layer write before the output projection, head after head."""
        with watching(dict(enumerate(self.projections)), {}) as watch:
            self._base(torch.tensor([list(ids)]))
        return torch.stack([watch.inputs[layer][0].float().cpu() for layer in range(self.n_layers)])

    @torch.no_grad()
    def outcome(
        self, ids: Int[Tensor, "text pos"], mask: Int[Tensor, "text pos"], silenced: Silenced | None = None
    ) -> Tensor:
        """What a text comes to: its mean next-token loss in nats [text], or an encoder's unit vector [text, d]."""
        with self._silencing(silenced or {}):
            if self.encoder is not None:
                states = self._base(ids, attention_mask=mask).last_hidden_state
                return self.encoder.pooled(states, mask)
            assert self.subject is not None
            logits = self.subject.logits(ids)[:, :-1].float()
        wanted, counted = ids[:, 1:].to(logits.device), mask[:, 1:].to(logits)
        losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="none")
        return ((losses.view_as(counted) * counted).sum(1) / counted.sum(1)).cpu()

    def _base(self, ids: Tensor, **options: Any) -> Any:
        if self.subject is not None:
            model = self.subject.model
            return model.base_model(ids.to(self.subject.device), use_cache=False, **options)
        assert self.encoder is not None
        return self.encoder.model(input_ids=ids, **options)

    def _stepwise(self) -> Any:
        return nullcontext() if self.subject is None else eager_parts(self.subject.model)

    @contextmanager
    def _silencing(self, silenced: Silenced) -> Iterator[None]:
        def mean_for(head: int, mean: Tensor) -> Any:
            def changed(x: Tensor) -> Tensor:
                size = x.shape[-1] // self.n_heads
                x[..., head * size : (head + 1) * size] = mean.to(x)
                return x

            return changed

        changes = {self.projections[layer]: mean_for(*each) for layer, each in silenced.items()}
        with changing(changes, {}):
            yield

    def head_name(self, head: int) -> str:
        """`L4H0`, of a head counted through all layers."""
        return f"L{head // self.n_heads}H{head % self.n_heads}"


def _projection(name: str, attention: nn.Module) -> nn.Module:
    """The map behind an attention's heads."""
    modules = dict(attention.named_modules())
    found = next((modules[path] for path in _PROJECTIONS if path in modules), None)
    if found is None:
        raise UnsupportedModelError(f"the attention of {name} has no output projection: its heads cannot be told apart")
    return found


def _of_layers(encoder: TextEncoder, n_layers: int) -> tuple[nn.Module, ...]:
    """The same of every layer of an encoder, found by its name."""
    modules = dict(encoder.model.named_modules())
    for path in _PROJECTIONS:
        names = [name for name in modules if name.endswith(f".{path}") and "att" in name.removesuffix(path)]
        if n_layers and len(names) == n_layers:
            return tuple(modules[name] for name in names)
    raise UnsupportedModelError(f"{encoder.name} has no attention whose heads can be told apart: give one like BERT")
