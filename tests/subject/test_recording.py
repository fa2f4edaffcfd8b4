"""A recording is the model: its steps give back what Hugging Face computes; a wrong table entry is refused by step."""

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clew.errors import InputError, UnsupportedModelError
from clew.subject.attention_weights import ValueOutput, fused_query_key, fused_value_output
from clew.subject.families import FAMILIES, Family
from clew.subject.hooks import changing, watching
from clew.subject.parts import Block, ModulePart, parallel_block, serial_block
from clew.subject.recording import READ_SITES, WRITE_SITES, Attend, Embed, Linear, Mlp, replay
from clew.subject.subject import Subject
from tests import models
from tests.models import ARCHITECTURES, PROMPT

IDS = torch.tensor([PROMPT])
CLOSE = {torch.float64: 1e-10, torch.float32: 1e-6, torch.bfloat16: 1e-1}


def hooks_of(model: nn.Module) -> int:
    """Clew's hooks on a model; transformers leaves some of its own behind."""
    places = [h for m in model.modules() for h in (m._forward_hooks, m._forward_pre_hooks)]
    return sum(hook.__module__.startswith("clew") for place in places for hook in place.values())


def assert_near(replayed: Tensor, real: Tensor, relative: float) -> None:
    assert replayed.shape == real.shape
    assert float((replayed - real).norm() / real.norm()) < relative


# --- the same numbers as the model ------------------------------------------------------------------------------


@pytest.mark.usefixtures("exact_softmax")  # which rounds to float32 otherwise
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("dtype", CLOSE)
def test_replayed_stream_and_logits_are_those_of_hugging_face(architecture: str, dtype: torch.dtype) -> None:
    model = models.model(architecture, dtype)
    with torch.no_grad():
        real = model(IDS, output_hidden_states=True)
    recording = Subject.load(model).record(PROMPT)
    wide = torch.promote_types(dtype, torch.float32)
    assert recording.logits.dtype == wide
    for layer in range(recording.n_layers):
        assert_near(recording.sites["resid_pre", layer], real.hidden_states[layer][0].to(wide), CLOSE[dtype])
    assert_near(recording.final, real.hidden_states[-1][0].to(wide), CLOSE[dtype])
    cap = getattr(model.config, "final_logit_softcapping", None)
    logits = recording.logits if cap is None else cap * torch.tanh(recording.logits / cap)
    assert_near(logits, real.logits[0].to(wide), CLOSE[dtype])
    assert_near(recording.probabilities, torch.softmax(real.logits[0].to(wide), -1), CLOSE[dtype])
    assert len(recording) == len(PROMPT)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_replaying_the_steps_gives_the_recorded_sites_to_the_bit(architecture: str) -> None:
    recording = models.subject(architecture).record(PROMPT)
    sites, logits = replay(recording.steps)
    assert torch.equal(logits, recording.logits)
    assert set(sites) == {(s, i) for s in (*READ_SITES, *WRITE_SITES) for i in range(recording.n_layers)}
    for key, value in sites.items():
        assert torch.equal(value, recording.sites[key])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_recorded_patterns_are_the_models_own_and_causal(architecture: str) -> None:
    model = models.model(architecture)
    patterns = Subject.load(model).record(PROMPT).patterns()
    model.set_attn_implementation("eager")
    with torch.no_grad():
        real = model(IDS, output_attentions=True).attentions
    for layer, pattern in patterns.items():
        torch.testing.assert_close(pattern, real[layer][0], rtol=1e-12, atol=1e-12)
        assert float(pattern.triu(1).abs().max()) == 0
    if architecture == "gemma2":  # layer 0 slides over 4 positions, layer 1 sees all
        assert float(patterns[0].tril(-4).abs().max()) == 0
        assert float(patterns[1].tril(-4).abs().max()) > 0


def test_steps_say_what_they_read_and_write() -> None:
    for step in models.subject("gemma2").record(PROMPT).steps:
        if isinstance(step, Linear):
            assert step.source in {"stream", "normed", "mixed", "out"}
            assert step.target in {"normed", "mixed", "out", "logits"}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_prompt_is_a_prefix_of_a_longer_one(architecture: str) -> None:
    """Nothing of the future reaches a recording."""
    subject = models.subject(architecture)
    short, long = subject.record(PROMPT[:5]), subject.record(PROMPT)
    for key, value in short.sites.items():
        torch.testing.assert_close(value, long.sites[key][:5], rtol=1e-6, atol=1e-6)


# --- a wrong table entry ----------------------------------------------------------------------------------------


def _scaled(function: Callable[..., ValueOutput], which: int) -> Callable[..., ValueOutput]:
    def wrong(attention: nn.Module, config: Any) -> ValueOutput:
        parts = list(function(attention, config))
        parts[which] = None if parts[which] is None else parts[which] * 1.5
        return tuple(parts)  # type: ignore[return-value]

    return wrong


def _keys_as_values(attention: Any, config: Any) -> ValueOutput:
    _, bias, output, output_bias = fused_value_output(attention, config)
    return fused_query_key(attention, config).key.weight, bias, output, output_bias


def _with_paths(**paths: str) -> Callable[[Family], Family]:
    """The family with other modules in some roles of its block."""

    def changed(family: Family) -> Family:
        return replace(
            family,
            block=lambda config: tuple(
                replace(part, path=paths.get(part.role, part.path)) if isinstance(part, ModulePart) else part
                for part in family.block(config)
            ),
        )

    return changed


def _without(role: str) -> Callable[[Family], Family]:
    """The family without one part of its block."""

    def changed(family: Family) -> Family:
        return replace(
            family,
            block=lambda config: tuple(part for part in family.block(config) if getattr(part, "role", "") != role),
        )

    return changed


def _with_block(build: Callable[..., Block]) -> Callable[[Family], Family]:
    """The family with its modules in a block of another build."""

    def changed(family: Family) -> Family:
        def block(config: Any) -> Block:
            return build(**{part.role: part.path for part in family.block(config) if isinstance(part, ModulePart)})

        return replace(family, block=block)

    return changed


SABOTAGES: dict[str, tuple[str, Callable[[Family], Family], str]] = {
    "norms swapped": ("gpt2", _with_paths(attention_norm="ln_2", mlp_norm="ln_1"), "attention of block 0"),
    "norm not centred": ("gpt2", lambda f: replace(f, centred=False), "attention of block 0"),
    "norm centred": ("llama", lambda f: replace(f, centred=True), "attention of block 0"),
    "weight not less one": ("gemma2", lambda f: replace(f, one_plus_weight=False), "attention of block 0"),
    "weight less one": ("llama", lambda f: replace(f, one_plus_weight=True), "attention of block 0"),
    "no positions": ("gpt2", lambda f: replace(f, position_embedding=None), "the embedding"),
    "parallel": ("neox_serial", _with_block(parallel_block), "MLP's input of block 0"),
    "serial": ("neox", _with_block(serial_block), "MLP's input of block 0"),
    "values": ("llama", lambda f: replace(f, value_output=_scaled(f.value_output, 0)), "attention of block 0"),
    "value bias": ("gpt2", lambda f: replace(f, value_output=_scaled(f.value_output, 1)), "attention of block 0"),
    "outputs": ("neox", lambda f: replace(f, value_output=_scaled(f.value_output, 2)), "attention of block 0"),
    "output bias": ("gpt2", lambda f: replace(f, value_output=_scaled(f.value_output, 3)), "attention of block 0"),
    "MLP norm": ("gemma2", _with_paths(mlp_norm="input_layernorm"), "MLP's input of block 0"),
    "post-norm of the attention": (
        "gemma2", _with_paths(post_attention_norm="post_feedforward_layernorm"), "MLP's input of block 0"
    ),
    "post-norm of the MLP": ("gemma2", _with_paths(post_mlp_norm="post_attention_layernorm"), "end of block 0"),
    "no post-norm of the MLP": ("gemma2", _without("post_mlp_norm"), "end of block 0"),
    "fused parts in another order": (
        "phi3", lambda f: replace(f, value_output=_keys_as_values), "attention of block 0"
    ),
    "a norm for each in a shared one": ("gptj", _with_block(serial_block), "MLP's input of block 0"),
    "post-norms alone": ("olmo2", _without("post_attention_norm"), "MLP's input of block 0"),
    "post-norms swapped": (
        "olmo2", _with_paths(post_attention_norm="post_feedforward_layernorm"), "MLP's input of block 0"
    ),
    "Gemma 3's weight": ("gemma3", lambda f: replace(f, one_plus_weight=False), "attention of block 0"),
    "a bias of values": (
        "qwen2", lambda f: replace(f, value_output=_scaled(f.value_output, 1)), "attention of block 0"
    ),
    "a bias of outputs": (
        "gpt_oss", lambda f: replace(f, value_output=_scaled(f.value_output, 3)), "attention of block 0"
    ),
    "final norm": ("llama", lambda f: replace(f, final_norm="model.layers.0.input_layernorm"), "the logits"),
}  # fmt: skip


@pytest.mark.parametrize("name", SABOTAGES)
def test_a_wrong_table_entry_is_refused_at_its_first_wrong_step(name: str) -> None:
    architecture, sabotage, step = SABOTAGES[name]
    subject = models.subject(architecture)
    subject.family = sabotage(subject.family)
    subject.__dict__.pop("modules", None)
    with pytest.raises(UnsupportedModelError, match=step) as caught:
        subject.record(PROMPT)
    assert subject.family.architecture in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_norm_read_by_nobody_else_is_still_checked_in_a_late_block() -> None:
    """A model that changes in its last block only is refused there."""
    model = models.model("gpt2")
    model.transformer.h[2].ln_2.forward = lambda x: x
    with pytest.raises(UnsupportedModelError, match="MLP's input of block 2"):
        Subject.load(model).record(PROMPT)


def test_damaged_weights_are_called_damaged_and_not_unsupported() -> None:
    model = models.model("llama")
    model.model.layers[1].mlp.down_proj.weight.data[0, 0] = float("nan")
    with pytest.raises(InputError, match="NaN"):
        Subject.load(model).record(PROMPT)


# --- the model is left as it was --------------------------------------------------------------------------------


def test_hooks_are_there_while_a_model_is_watched() -> None:
    subject = models.subject("gpt2")
    with watching(subject.modules):
        assert hooks_of(subject.model) == 2 * len(subject.modules)
        with changing({}, {subject.modules["mlp", 0]: lambda out: out}):
            assert hooks_of(subject.model) == 2 * len(subject.modules) + 1
    assert hooks_of(subject.model) == 0


@pytest.mark.parametrize(
    ("architecture", "implementation"),
    [*product(("gpt2", "llama", "neox", "neox_serial"), ["sdpa", "eager"]), ("gemma2", "eager"), ("gpt_oss", "eager")],
)
def test_recording_leaves_no_hook_and_the_attention_as_it_was(architecture: str, implementation: str) -> None:
    """Soft-caps and sinks need eager attention; experts are taken one by one meanwhile."""
    subject = models.subject(architecture, torch.float32)
    subject.model.set_attn_implementation(implementation)
    experts = getattr(subject.config, "_experts_implementation", None)
    before = subject.logits(IDS)
    subject.record(PROMPT)
    assert hooks_of(subject.model) == 0
    assert subject.config._attn_implementation == implementation
    assert getattr(subject.config, "_experts_implementation", None) == experts
    assert torch.equal(subject.logits(IDS), before)


class InterruptError(Exception):
    """Stands for anything that stops a run in its middle."""


@pytest.mark.parametrize("verb", ["record", "capture", "replaced_logits"])
def test_an_interrupted_run_leaves_no_hook_and_the_attention_as_it_was(
    verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = models.subject("llama")
    before = subject.logits(IDS)

    def stop(*args: object, **kwargs: object) -> None:
        raise InterruptError

    run: dict[str, Callable[[], object]] = {
        "record": lambda: subject.record(PROMPT),
        "capture": lambda: subject.capture(IDS, ["mlp_in"]),
        "replaced_logits": lambda: subject.replaced_logits(
            IDS, lambda i, x, real: real, read_site="mlp_in", write_site="mlp_out"
        ),
    }
    with monkeypatch.context() as patch:
        patch.setattr(subject.model.model.layers[1].mlp, "forward", stop)
        with pytest.raises(InterruptError):
            run[verb]()
    assert hooks_of(subject.model) == 0
    assert subject.config._attn_implementation == "sdpa"
    assert torch.equal(subject.logits(IDS), before)


def test_a_recording_does_not_change_with_the_model() -> None:
    subject = models.subject("gpt2")
    recording = subject.record(PROMPT)
    logits = recording.logits.clone()
    for step in recording.steps:
        if isinstance(step, Embed | Mlp | Attend):
            kept = {k: v.clone() for k, v in vars(step).items() if isinstance(v, Tensor)}
            subject.record(PROMPT[::-1])
            assert all(torch.equal(vars(step)[k], v) for k, v in kept.items())
            break
    subject.record([1, 2, 3])
    assert torch.equal(replay(recording.steps)[1], logits)


def test_every_family_has_a_tiny_model_and_every_tiny_model_a_family() -> None:
    """So that whatever is tested of all models is tested of the whole table."""
    assert {type(models.model(architecture)).__name__ for architecture in ARCHITECTURES} == set(FAMILIES)


def test_a_model_that_sees_what_comes_is_refused() -> None:
    """Embedding models of Gemma 3 do: the walk back takes for granted that nothing of the future reaches a token."""
    model = models.model("gemma3", use_bidirectional_attention=True)
    with pytest.raises(UnsupportedModelError, match="attention of block 0 sees tokens that come later"):
        Subject.load(model).record(PROMPT)


def test_every_family_names_modules_that_its_model_has() -> None:
    for architecture in ARCHITECTURES:
        subject = models.subject(architecture)
        roles = {role for role, _ in subject.modules}
        assert {"attention", "mlp", "block"} <= roles
        assert roles & {"mlp_norm", "post_mlp_norm"}
        assert FAMILIES[type(subject.model).__name__] is subject.family
