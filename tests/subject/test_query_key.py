"""What is behind a pattern gives it back; where an entry of the table is wrong, values stay and effects are refused."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from clew.errors import UnsupportedModelError
from clew.subject.attention_weights import QueryKeyOf, normed_query_key, rotary_of, split_query_key
from clew.subject.families import Family
from clew.subject.jacobian import AttendJacobian, linearized
from clew.subject.query_key import HeadNorm, Projection, QueryKey
from tests import models
from tests.models import ARCHITECTURES, PROMPT


@pytest.mark.usefixtures("exact_softmax")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_pattern_is_found_again_from_queries_and_keys(architecture: str) -> None:
    recording = models.subject(architecture).record(PROMPT)
    full = [step for step in linearized(recording) if isinstance(step, AttendJacobian)]
    assert len(full) == recording.n_layers
    for step in full:
        again = step.query_key.pattern(step.input, step.attend.pattern)
        torch.testing.assert_close(again, step.attend.pattern, rtol=1e-10, atol=1e-12)


def test_a_sink_takes_a_share_of_every_row_and_gives_nothing() -> None:
    subject = models.subject("gpt_oss")
    for step in linearized(subject.record(PROMPT)):
        if isinstance(step, AttendJacobian):
            sinks = subject.modules["attention", step.attend.layer].sinks.detach().exp()[:, None]
            scores = step.query_key.scores(step.input).exp() * (step.attend.pattern > 0)
            share = sinks / (scores.sum(-1) + sinks)
            torch.testing.assert_close(step.attend.pattern.sum(-1), 1 - share, rtol=1e-9, atol=0)
            assert float(share.min()) > 0.01


# --- norms of queries and keys ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("together", [False, True])
def test_the_derivative_of_a_norm_of_heads_is_autograds(together: bool) -> None:
    generator = torch.Generator().manual_seed(5)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    norm = HeadNorm(weight=draw(3, 8), eps=1e-2, together=together)
    x, change, g = draw(3, 5, 8), draw(3, 5, 8), draw(4, 3, 8, 2)

    def weighted(x: Tensor) -> Tensor:
        return norm.at(x).weighted

    value, slope = torch.autograd.functional.jvp(weighted, x, change)
    axes = (0, 2) if together else 2
    rms = (x.square().mean(axes, keepdim=True) + norm.eps).sqrt()
    torch.testing.assert_close(value, x / rms * norm.weight[:, None], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(norm.at(x).forward(change), slope, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(norm.at(x).held.forward(change), change / rms * norm.weight[:, None], rtol=1e-12, atol=0)
    back = norm.at(x).transpose(g)  # the first four positions
    for target in range(2):
        wide = torch.zeros_like(x)
        wide[:, :4] = g[..., target].transpose(0, 1)
        wanted = torch.autograd.functional.vjp(weighted, x, wide)[1]
        torch.testing.assert_close(back[..., target].transpose(0, 1), wanted[:, :4], rtol=1e-12, atol=1e-12)
    positions, points = torch.tensor([3, 0, 3]), draw(3, 8)
    for head in range(3):
        projection = Projection(weight=draw(3, 6, 8), bias=draw(3, 8), norm=norm)
        found = projection.transpose_head(head, positions, points, norm.at(x))[0]
        for row, position in enumerate(positions.tolist()):
            wide = torch.zeros_like(x)
            wide[head, position] = points[row]
            own = torch.autograd.functional.vjp(weighted, x, wide)[1][:, position]
            wanted = torch.einsum("hd,hmd->m", own, projection.weight)
            torch.testing.assert_close(found[row], wanted, rtol=1e-12, atol=1e-12)


# --- a wrong entry ----------------------------------------------------------------------------------------------------


def _with(change: Callable[[QueryKey], QueryKey]) -> Callable[[Family], Family]:
    """The family whose queries and keys are found otherwise."""

    def changed(family: Family) -> Family:
        right = family.query_key
        assert right is not None

        def wrong(attention: Any, config: Any) -> QueryKey:
            return change(right(attention, config))

        return replace(family, query_key=wrong)

    return changed


def _of(query_key: QueryKeyOf) -> Callable[[Family], Family]:
    return lambda family: replace(family, query_key=query_key)


def _biasless(maps: QueryKey) -> QueryKey:
    return replace(maps, query=replace(maps.query, bias=None))


def _as_stored(maps: QueryKey) -> QueryKey:
    """GPT-J's entries in the order of its weights."""
    order = [0, 2, 1, 3, 4, 5, 6, 7]
    query, key = (replace(side, weight=side.weight[:, :, order]) for side in (maps.query, maps.key))
    return replace(maps, query=query, key=key)


SABOTAGES: dict[str, tuple[str, Callable[[Family], Family], int]] = {
    "another scale": ("mistral", _with(lambda maps: replace(maps, scale=1.1 * maps.scale)), 0),
    "no bias": ("qwen2", _with(_biasless), 0),
    "queries of other heads": ("phi3", _with(lambda maps: replace(maps, query=replace(
        maps.query, weight=maps.query.weight.flip(0)))), 0),
    "halves turned where neighbours are": ("gptj", _with(_as_stored), 0),
    "no norms": ("qwen3", _of(split_query_key), 0),
    "one norm for all heads": ("olmo2", _with(lambda maps: replace(maps, key=replace(
        maps.key, norm=replace(maps.key.norm, together=False)))), 0),
    "weight not less one": ("gemma3", _of(normed_query_key()), 0),
    "rotary everywhere": ("smollm3", lambda family: replace(family, rotary=rotary_of("model.rotary_emb")), 1),
    "the other base": ("gemma3", lambda family: replace(family, rotary=lambda model, layer, x:
        family.rotary and family.rotary(model, 0, x)), 1),
    "no rotary": ("llama", lambda family: replace(family, rotary=None), 0),
    "no sinks": ("gpt_oss", _of(split_query_key), 0),
    "no soft-cap": ("gemma2", _with(lambda maps: replace(maps, cap=None)), 0),
}  # fmt: skip


@pytest.mark.parametrize("name", SABOTAGES)
def test_with_a_wrong_entry_values_stay_and_effects_are_refused_by_the_layer(name: str) -> None:
    architecture, sabotage, layer = SABOTAGES[name]
    subject = models.subject(architecture)
    right = subject.record(PROMPT)
    subject.family = sabotage(subject.family)
    wrong = subject.record(PROMPT)
    assert torch.equal(wrong.logits, right.logits)
    with pytest.raises(UnsupportedModelError, match=f"pattern of layer {layer} found again.*trace without effects"):
        linearized(wrong)
