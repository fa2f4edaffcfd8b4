"""Ways to make the weight matrices of a model's blocks coarser; embeddings, biases and norms stay whole.

round       to the nearest of 2^bits - 1 levels, evenly spaced and symmetric, one scale a row (an output unit)
noise       normal noise, in every matrix as long as another way's error there
codebook    rows scaled to unit length; four neighbouring weights are the sum of one entry of each of two books of
            2^(2 bits) entries, found by k-means, the second on what the first leaves; entries and row scales are then
            tuned so that the model says on a few prompts what it said, codes held (in the spirit of AQLM, Egiazarian
            et al. 2024). Codes take `bits` bits a weight; the books come on top
shuffle     the entries of every matrix dealt among its places
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.func import functional_call

from clew.subject.subject import Subject

WIDTH = 4
"""Neighbouring weights that one code stands for."""
BOOKS = 2
ROUNDS = 8
"""Of k-means."""
_RATE = 2e-4
_CHUNK = 8192  # vectors whose distances are held at once
Weights = Mapping[str, Float[Tensor, "row col"]]


def matrices(subject: Subject) -> dict[str, Float[Tensor, "row col"]]:
    """The weight matrices of the blocks by name, a row an output unit."""
    whole = {id(subject.unembedding)}
    whole |= {id(p) for m in subject.model.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}
    head = subject.model.get_output_embeddings()
    whole |= {id(p) for p in head.parameters()} if head is not None else set()
    turned = _turned(subject)
    return {
        name: p.detach().T if name in turned else p.detach()
        for name, p in subject.model.named_parameters()
        if p.ndim == 2 and id(p) not in whole
    }


def _turned(subject: Subject) -> set[str]:
    """Matrices whose columns are the output units, as those of GPT-2."""
    return {f"{name}.weight" for name, m in subject.model.named_modules() if type(m).__name__ == "Conv1D"}


@torch.no_grad()
def with_weights(subject: Subject, weights: Weights, name: str) -> Subject:
    """The same model with other matrices."""
    model, turned = copy.deepcopy(subject.model), _turned(subject)
    for key, parameter in model.named_parameters():
        if key in weights:
            parameter.copy_(weights[key].T if key in turned else weights[key])
    return Subject(model, subject.tokenizer, f"{subject.name}, {name}")


def rounded(weight: Float[Tensor, "row col"], bits: int) -> Float[Tensor, "row col"]:
    """Every row to the nearest of its levels."""
    top = 2 ** (bits - 1) - 1
    scale = weight.abs().amax(1, keepdim=True).clamp_min(1e-12) / top
    return (weight / scale).round().clamp(-top, top) * scale


def noisy(
    weight: Float[Tensor, "row col"], error: Float[Tensor, "row col"], generator: torch.Generator
) -> Float[Tensor, "row col"]:
    """Normal noise as long as an error is added."""
    noise = torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
    return weight + noise * (error.norm() / noise.norm())


def shuffled(weight: Float[Tensor, "row col"], generator: torch.Generator) -> Float[Tensor, "row col"]:
    """The entries in another order."""
    order = torch.randperm(weight.numel(), generator=generator)
    return weight.flatten()[order].view_as(weight)


@dataclass(frozen=True, kw_only=True, eq=False)
class Coded:
    """A matrix as codes, entries and scales of rows."""

    codes: Int[Tensor, "book vector"]
    entries: Float[Tensor, "book entry width"]
    scale: Float[Tensor, "row 1"]
    columns: int

    def weight(self, entries: Tensor | None = None, scale: Tensor | None = None) -> Float[Tensor, "row col"]:
        """The matrix, with its own entries and scales or others in their place."""
        entries, scale = self.entries if entries is None else entries, self.scale if scale is None else scale
        vectors = torch.stack([book[codes] for book, codes in zip(entries, self.codes, strict=True)]).sum(0)
        return vectors.reshape(len(self.scale), -1)[:, : self.columns] * scale


def coded(weight: Float[Tensor, "row col"], bits: int, generator: torch.Generator) -> Coded:
    """Codes by k-means, one book after the other."""
    scale = weight.norm(dim=1, keepdim=True).clamp_min(1e-12)
    padded = nn.functional.pad(weight / scale, (0, -weight.shape[1] % WIDTH))
    left = padded.reshape(-1, WIDTH)
    codes, entries = [], []
    for _ in range(BOOKS):
        book = _k_means(left, 2 ** (bits * WIDTH // BOOKS), generator)
        nearest = _nearest(left, book)
        left = left - book[nearest]
        codes.append(nearest)
        entries.append(book)
    return Coded(codes=torch.stack(codes), entries=torch.stack(entries), scale=scale, columns=weight.shape[1])


def _k_means(vectors: Float[Tensor, "vector width"], count: int, generator: torch.Generator) -> Tensor:
    book = vectors[torch.randint(len(vectors), (count,), generator=generator)].clone()
    for _ in range(ROUNDS):
        nearest = _nearest(vectors, book)
        sums = torch.zeros_like(book).index_add_(0, nearest, vectors)
        sizes = torch.bincount(nearest, minlength=count)[:, None]
        book = torch.where(sizes > 0, sums / sizes.clamp_min(1), book)
    return book


def _nearest(vectors: Float[Tensor, "vector width"], book: Float[Tensor, "entry width"]) -> Int[Tensor, " vector"]:
    half = book.square().sum(1) / 2
    return torch.cat([(part @ book.T - half).argmax(1) for part in vectors.split(_CHUNK)])


def tuned(
    subject: Subject, books: Mapping[str, Coded], prompts: Sequence[Sequence[int]], steps: int
) -> dict[str, Float[Tensor, "row col"]]:
    """Matrices of coded weights, entries and scales tuned on some prompts: the divergence of all next tokens falls."""
    turned = _turned(subject)
    tokens = [torch.tensor([list(ids)], device=subject.device) for ids in prompts]
    with torch.no_grad():
        said = [subject.model(ids).logits.log_softmax(-1) for ids in tokens]
    free = {name: [each.entries.clone(), each.scale.clone()] for name, each in books.items()}
    learned = [tensor.requires_grad_() for pair in free.values() for tensor in pair]
    optimizer = torch.optim.Adam(learned, lr=_RATE)
    for step in range(steps):
        weights = {name: books[name].weight(*pair) for name, pair in free.items()}
        placed = {name: each.T if name in turned else each for name, each in weights.items()}
        place = step % len(tokens)
        logits = functional_call(subject.model, placed, (tokens[place],)).logits.log_softmax(-1)
        loss = nn.functional.kl_div(logits, said[place], log_target=True, reduction="sum") / tokens[place].numel()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return {name: books[name].weight(*pair).detach() for name, pair in free.items()}
