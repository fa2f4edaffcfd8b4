"""A Subject is the model as it is: text to ids, what passes its sites, and what it says when MLPs are replaced."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import linear
from transformers import BertConfig, BertLMHeadModel, OPTConfig, OPTForCausalLM

from clew.errors import ClewError, FileError, InputError, UnsupportedModelError
from clew.subject.families import FAMILIES
from clew.subject.recording import READ_SITES, WRITE_SITES
from clew.subject.subject import Subject
from tests import models
from tests.models import ARCHITECTURES, BOS, PROMPT
from tests.subject.test_recording import hooks_of

BATCH = torch.tensor([PROMPT, [BOS, 9, 8, 7, 6, 5, 4, 3, 2]])
SITES = (*READ_SITES, *WRITE_SITES)


@pytest.fixture(scope="module", params=ARCHITECTURES)
def subject(request: pytest.FixtureRequest) -> Subject:
    return models.subject(request.param)


# --- what passes its sites --------------------------------------------------------------------------------------


def test_logits_are_those_of_the_model(subject: Subject) -> None:
    with torch.no_grad():
        real = subject.model(BATCH, use_cache=False).logits
    assert torch.equal(subject.logits(BATCH), real)


def test_captured_streams_are_the_hidden_states(subject: Subject) -> None:
    with torch.no_grad():
        states = subject.model(BATCH, output_hidden_states=True, use_cache=False).hidden_states
    captured = subject.capture(BATCH, ["resid_pre", "resid_post"])
    for layer in range(subject.n_layers):
        assert torch.equal(captured["resid_pre", layer], states[layer])
        if layer + 1 < subject.n_layers:  # the last hidden state is normed
            assert torch.equal(captured["resid_post", layer], states[layer + 1])


def test_captured_mlp_sites_are_what_its_modules_get_and_give(subject: Subject) -> None:
    seen: dict[str, Tensor] = {}
    layer, gemma = 1, "Gemma" in type(subject.model).__name__
    modules = {role: subject.modules.get((role, layer)) for role in ("mlp_norm", "mlp", "post_mlp_norm")}
    norm, mlp, post = modules["mlp_norm"], modules["mlp"], modules["post_mlp_norm"]

    def keep(site: str, value: Tensor | tuple[Tensor, ...]) -> None:
        seen[site] = value if isinstance(value, Tensor) else value[0]  # experts give their routing too

    assert mlp is not None
    handles = [
        (norm or mlp).register_forward_pre_hook(lambda m, args: keep("resid_mid", args[0])),
        mlp.register_forward_pre_hook(lambda m, args: keep("mlp_in", args[0])),
        mlp.register_forward_hook(lambda m, args, out: keep("mlp_raw_out", out)),
        (post or mlp).register_forward_hook(lambda m, args, out: keep("mlp_out", out)),
    ]
    subject.logits(BATCH)
    for handle in handles:
        handle.remove()
    captured = subject.capture(BATCH, SITES)
    for site, value in seen.items():
        assert torch.equal(captured[site, layer], value)  # type: ignore[index]
    normalized = captured["mlp_normalized", layer]
    if norm is None:
        assert torch.equal(normalized, captured["mlp_in", layer])
        return
    weight = norm.weight + 1 if gemma else norm.weight
    bias = getattr(norm, "bias", None)
    again = normalized * weight + (0 if bias is None else bias)
    torch.testing.assert_close(again, captured["mlp_in", layer], rtol=1e-9, atol=1e-9)


def test_a_soft_cap_is_never_left_out() -> None:
    """Attention by sdpa has none; older versions of transformers take it for Gemma 2 without a word."""
    model = models.model("gemma2")
    model.config._attn_implementation = "sdpa"
    subject = Subject(model, None, "gemma")
    assert subject.model.config._attn_implementation == "eager"
    ids = torch.tensor([models.PROMPT])
    probabilities = subject.probabilities(subject.unembed(subject.run(ids).final[0]))
    torch.testing.assert_close(probabilities, subject.record(models.PROMPT).probabilities, rtol=1e-6, atol=1e-6)
    assert models.subject("llama").model.config._attn_implementation == "sdpa"


def test_captured_sites_are_those_of_the_recordings(subject: Subject) -> None:
    captured = subject.capture(BATCH, SITES)
    for i, ids in enumerate(BATCH.tolist()):
        recording = subject.record(ids)
        for key, value in captured.items():
            torch.testing.assert_close(recording.sites[key], value[i], rtol=1e-5, atol=1e-5)
    assert hooks_of(subject.model) == 0


# --- replaced MLPs ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("read", READ_SITES[:2] + READ_SITES[3:])
@pytest.mark.parametrize("write", WRITE_SITES)
def test_replacing_every_mlp_by_itself_changes_nothing(subject: Subject, read: str, write: str) -> None:
    logits = subject.replaced_logits(BATCH, lambda i, x, real: real, read_site=read, write_site=write)  # type: ignore[arg-type]
    assert torch.equal(logits, subject.logits(BATCH))
    assert hooks_of(subject.model) == 0


def test_a_replaced_mlp_is_given_what_its_site_holds_in_the_replaced_run(subject: Subject) -> None:
    captured = subject.capture(BATCH, ["mlp_in", "mlp_out"])
    seen: dict[int, Tensor] = {}

    def doubled(layer: int, x: Tensor, real: Tensor) -> Tensor:
        seen[layer] = x
        if layer == 0:
            torch.testing.assert_close(real, captured["mlp_out", 0])
        return 2 * real if layer == 0 else real

    logits = subject.replaced_logits(BATCH, doubled, read_site="mlp_in", write_site="mlp_out")
    assert torch.equal(seen[0], captured["mlp_in", 0])
    assert not torch.allclose(seen[1], captured["mlp_in", 1])
    assert not torch.allclose(logits, subject.logits(BATCH))


def test_neurons_are_the_mlp(subject: Subject) -> None:
    if subject.family.mlp_weights is None:
        with pytest.raises(InputError, match="several experts"):
            subject.mlp_neurons(0)
        return
    captured = subject.capture(BATCH, ["mlp_in", "mlp_raw_out"])
    for layer in range(subject.n_layers):
        n, x = subject.mlp_neurons(layer), captured["mlp_in", layer]
        inner, gate = linear(x, n.w_in, n.b_in), None if n.w_gate is None else linear(x, n.w_gate, n.b_gate)
        activations = n.function(inner) if gate is None else n.function(gate) * inner
        if n.router is not None:
            shares = n.router.shares(x)
            assert bool(((shares > 0).sum(-1) == n.router.n_chosen).all())
            activations = (activations.unflatten(-1, (n.router.n_experts, -1)) * shares[..., None]).flatten(-2)
        output = linear(activations, n.w_out.T, n.b_out)
        torch.testing.assert_close(output, captured["mlp_raw_out", layer], rtol=1e-10, atol=1e-10)
        assert not n.w_in.requires_grad


# --- text -------------------------------------------------------------------------------------------------------


def test_text_gets_a_bos_once_and_id_lists_are_taken_as_given() -> None:
    subject = models.subject("gpt2")
    assert subject.encode("w5 w8").tolist() == [BOS, 5, 8]
    assert subject.encode("<bos> w5 w8").tolist() == [BOS, 5, 8]
    assert subject.encode("w5 w8", add_bos=False).tolist() == [5, 8]
    assert subject.encode([5, 8]).tolist() == [5, 8]
    assert subject.encode((5, 8)).tolist() == [5, 8]
    assert subject.encode(torch.tensor([5, 8])).tolist() == [5, 8]
    assert subject.special_ids == {BOS}


def test_chat_messages_are_rendered_by_the_tokenizers_template() -> None:
    tokenizer = models.tokenizer()
    messages = [{"role": "user", "content": "w5 w8"}]
    with pytest.raises(InputError, match="no chat template"):
        Subject.load(models.model("gpt2"), tokenizer).encode(messages)
    tokenizer.chat_template = "<bos> {% for m in messages %}w1 {{ m.content }} w2{% endfor %} w3"
    assert Subject.load(models.model("gpt2"), tokenizer).encode(messages).tolist() == [BOS, 1, 5, 8, 2, 3]


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("", "empty"),
        ([], "empty"),
        ([1] * 65, "65 tokens"),
        ([97], "0..96"),
        ([-1], "0..96"),
        (torch.empty(0), "empty"),
    ],
)
def test_prompts_that_cannot_be_used_are_refused(prompt: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        models.subject("gpt2").encode(prompt)  # type: ignore[arg-type]


def test_tokens_are_shown_as_text_and_parts_of_a_character_as_bytes() -> None:
    tokenizer = models.byte_tokenizer()
    subject = Subject.load(models.model("gpt2", vocab_size=len(tokenizer)), tokenizer)
    ids = subject.encode("aЯ")
    assert subject.token_strings(ids.tolist()) == ("<bos>", "a", "<0xD0>", "<0xAF>")
    assert subject.token_strings([]) == ()


def test_text_of_a_subject_without_tokenizer_is_refused() -> None:
    subject = models.subject("gpt2", with_tokenizer=False)
    with pytest.raises(InputError, match="without a tokenizer"):
        subject.encode("w5")
    assert subject.special_ids == frozenset()
    assert subject.token_strings([3]) == ("#3",)


# --- loading ----------------------------------------------------------------------------------------------------


def test_a_saved_model_loads_back_with_the_same_logits(tmp_path: Path) -> None:
    model = models.model("llama", torch.float32)
    model.save_pretrained(tmp_path)
    models.tokenizer().save_pretrained(tmp_path)
    subject = Subject.load(tmp_path)
    assert subject.dtype == torch.float32
    assert subject.name == tmp_path.name
    assert (subject.n_layers, subject.d_model, subject.context_length) == (3, models.WIDTH, models.CONTEXT)
    with torch.no_grad():
        assert torch.equal(subject.logits(BATCH), model(BATCH).logits)
    assert subject.encode("w5").tolist() == [BOS, 5]
    assert Subject.load(tmp_path, dtype=torch.bfloat16).dtype == torch.bfloat16


@pytest.mark.parametrize("kind", ["wrapped", "folder"])
def test_an_unknown_architecture_is_refused_and_the_known_ones_named(kind: str, tmp_path: Path) -> None:
    small = {"vocab_size": 20, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = OPTForCausalLM(OPTConfig(**small, ffn_dim=16, word_embed_proj_dim=16))
    model.save_pretrained(tmp_path)
    with pytest.raises(UnsupportedModelError, match="OPTForCausalLM") as caught:
        Subject.load(tmp_path if kind == "folder" else model)
    assert all(name in str(caught.value) for name in FAMILIES)
    assert "\n" not in str(caught.value)
    bert = BertLMHeadModel(BertConfig(**small, intermediate_size=16, is_decoder=True))
    with pytest.raises(UnsupportedModelError, match="BertLMHeadModel"):
        Subject.load(bert)


def test_folders_that_hold_no_whole_model_are_refused_in_one_line(tmp_path: Path) -> None:
    model = models.model("gpt2", torch.float32)
    empty, truncated, bare = tmp_path / "empty", tmp_path / "truncated", tmp_path / "bare"
    empty.mkdir()
    for folder in (truncated, bare):
        model.save_pretrained(folder)
        models.tokenizer().save_pretrained(folder)
    weights = truncated / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:2000])
    (bare / "model.safetensors").unlink()
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text("{ not json")
    for folder in (empty, truncated, bare, broken, tmp_path / "missing" / "folder" / "deep"):
        with pytest.raises(ClewError) as caught:
            Subject.load(folder)
        assert isinstance(caught.value, FileError)
        assert "\n" not in str(caught.value)


def test_a_wrapped_model_keeps_its_dtype_and_leaves_training_mode() -> None:
    model = models.model("gpt2", torch.bfloat16).train()
    subject = Subject.load(model, models.tokenizer())
    assert subject.dtype == torch.bfloat16
    assert not model.training


# --- what a run watches -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("site", SITES)
def test_a_change_is_told_the_sites_it_reads_and_nothing_else_is_watched(subject: Subject, site: str) -> None:
    captured = subject.capture(BATCH, [site])  # type: ignore[list-item]
    read, hooks = {}, []

    def look(value: Tensor, seen: object) -> Tensor:
        hooks.append(hooks_of(subject.model))
        read[0] = seen(site, 0)  # type: ignore[operator]
        return value

    run = subject.run(BATCH, change={("resid_post", 1): look}, reads=[(site, 0)], keep=[(site, 0), (site, 2)])  # type: ignore[dict-item,list-item]
    assert hooks == [3]  # the change, the site read and the site kept
    assert torch.equal(read[0], captured[site, 0])  # type: ignore[index]
    assert torch.equal(run.kept[site, 2], captured[site, 2])  # type: ignore[index]
    subject.run(BATCH, change={("resid_post", 1): look})
    assert hooks[1] > 3
    assert torch.equal(read[0], captured[site, 0])  # type: ignore[index]


def test_a_run_without_changes_registers_no_hook(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise AssertionError("a hook")

    for name in ("register_forward_hook", "register_forward_pre_hook"):
        monkeypatch.setattr(torch.nn.Module, name, refuse)
    run = subject.run(BATCH)
    assert torch.equal(subject._capped(subject.unembed(run.final)), subject.logits(BATCH))


@pytest.mark.parametrize("architecture", ["olmoe", "mixtral"])
def test_changed_router_logits_choose_other_experts_and_theirs_are_the_shares(architecture: str) -> None:
    subject = models.subject(architecture)

    def without_first(layer: int, logits: Tensor) -> Tensor:
        return logits.index_fill(1, torch.tensor([0]), -torch.inf)

    with subject.rerouting(without_first):
        captured = subject.capture(BATCH, ["mlp_in", "mlp_raw_out"])
    n, x, wanted = subject.mlp_neurons(1), captured["mlp_in", 1], captured["mlp_raw_out", 1]
    assert n.router is not None
    assert n.w_gate is not None
    odds = (x @ n.router.weight.T).exp()
    odds[..., 0] = 0
    least = odds.sort(-1).values[..., -n.router.n_chosen, None]
    chosen = torch.where(odds >= least, odds, 0)
    shares = chosen / (chosen if n.router.normalised else odds).sum(-1, keepdim=True)
    activations = (n.function(x @ n.w_gate.T) * (x @ n.w_in.T)).unflatten(-1, (4, -1)) * shares[..., None]
    torch.testing.assert_close(activations.flatten(-2) @ n.w_out, wanted, rtol=1e-10, atol=1e-10)
    assert not torch.allclose(subject.capture(BATCH, ["mlp_raw_out"])["mlp_raw_out", 1], wanted)


def test_a_model_without_a_router_is_told_in_one_line() -> None:
    with pytest.raises(InputError, match="has no router that is read: give an OLMoE or a Mixtral"):
        models.subject("gpt2").rerouting(lambda layer, logits: logits)
