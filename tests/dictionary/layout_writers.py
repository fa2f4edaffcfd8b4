"""Small files of every published layout, written from its documented keys alone, each with a plain computation.

A writer draws weights, writes them as the layout says, and returns what they compute, in float64 and one matrix product
at a time: nothing of Clew is used.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor

F, D, L, P = 24, 8, 3, 7


@dataclass(frozen=True, kw_only=True)
class Plain:
    """What a written dictionary computes."""

    folder: Path
    kind: str
    sites: tuple[str, str]
    layers: tuple[int, ...]
    activations: Callable[[int, Tensor], Tensor]
    """Of one layer, [pos, feature], of what it reads."""
    outputs: Callable[[dict[int, Tensor]], dict[int, Tensor]]
    """Reconstructions by written layer, of what each layer reads."""


class Draw:
    """Weights from a seed, rounded to the dtype in which they are stored."""

    def __init__(self, seed: int, dtype: torch.dtype = torch.float32) -> None:
        self.generator, self.dtype = torch.Generator().manual_seed(seed), dtype

    def __call__(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator).to(self.dtype)


def inputs(seed: int = 1) -> dict[int, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return {i: torch.randn(P, D, generator=g, dtype=torch.float64) for i in range(L)}


def put(path: Path, tensors: dict[str, Tensor]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.clone().contiguous() for name, tensor in tensors.items()}, path)


def put_json(path: Path, config: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(config))


def jump(pre: Tensor, threshold: Tensor) -> Tensor:
    """A ReLU whose values below a threshold are zero."""
    return pre.relu() * (pre > threshold.double())


def top(pre: Tensor, k: int) -> Tensor:
    values, places = pre.relu().topk(k, -1)
    return torch.zeros_like(pre).scatter(-1, places, values)


def per_layer(
    folder: Path, kind: str, sites: tuple[str, str], layers: tuple[int, ...],
    activations: Callable[[int, Tensor], Tensor], decode: Callable[[int, Tensor, Tensor], Tensor],
) -> Plain:  # fmt: skip
    """Of layers that write to themselves alone; decode(layer, activations, x) is a layer's output."""
    return Plain(
        folder=folder, kind=kind, sites=sites, layers=layers, activations=activations,
        outputs=lambda x: {i: decode(i, activations(i, x[i]), x[i]) for i in layers},
    )  # fmt: skip


def gemma_scope(
    folder: Path, dtype: torch.dtype = torch.float32, *, layers: tuple[int, ...] = (0, 1, 2),
    repository: str = "gemma-scope-2b-pt-transcoders", save: Callable[..., None] = np.savez, negative: bool = False,
) -> Plain:  # fmt: skip
    w = {}
    for i in layers:
        draw = Draw(i, dtype)
        w[i] = {"W_enc": draw(D, F), "W_dec": draw(F, D), "b_enc": draw(F), "b_dec": draw(D), "threshold": draw(F)}
        w[i]["threshold"] = w[i]["threshold"] if negative else w[i]["threshold"].abs()
        path = folder / repository / f"layer_{i}" / "width_16k" / f"average_l0_{20 + i}" / "params.npz"
        path.parent.mkdir(parents=True)
        save(path, **{name: tensor.numpy() for name, tensor in w[i].items()})
    transcoder = repository.endswith("transcoders")
    return per_layer(
        folder / repository,
        "plt" if transcoder else "sae",
        ("mlp_normalized", "mlp_out") if transcoder else ("resid_post", "resid_post"),
        layers,
        lambda i, x: jump(x @ w[i]["W_enc"].double() + w[i]["b_enc"], w[i]["threshold"]),
        lambda i, a, x: a @ w[i]["W_dec"].double() + w[i]["b_dec"],
    )


def gemma_scope_2(
    folder: Path, dtype: torch.dtype = torch.float32, *, affine: bool = True, config: bool = True, read: str = "mlp_in"
) -> Plain:
    w = {}
    for i in range(L):
        draw = Draw(i, dtype)
        w[i] = {"w_enc": draw(D, F), "w_dec": draw(F, D), "b_enc": draw(F), "b_dec": draw(D)}
        w[i] |= {"threshold": draw(F).abs()} | ({"affine_skip_connection": draw(D, D)} if affine else {})
        place = folder / "transcoder_all" / f"layer_{i}_width_16k_l0_small{'_affine' if affine else ''}"
        put(place / "params.safetensors", w[i])
        if config:
            put_json(place / "config.json", {
                "architecture": "jump_relu", "model_name": "gemma-v3-1b-pt", "affine_connection": affine,
                "hf_hook_point_in": f"model.layers.{i}.pre_feedforward_layernorm.output",
                "hf_hook_point_out": f"model.layers.{i}.post_feedforward_layernorm.output",
            })  # fmt: skip
    return per_layer(
        folder / "transcoder_all",
        "plt",
        (read, "mlp_out"),
        tuple(range(L)),
        lambda i, x: jump(x @ w[i]["w_enc"].double() + w[i]["b_enc"], w[i]["threshold"]),
        lambda i, a, x: (
            a @ w[i]["w_dec"].double() + w[i]["b_dec"] + (x @ w[i]["affine_skip_connection"].double() if affine else 0)
        ),
    )


def gemma_scope_2_clt(folder: Path, dtype: torch.dtype = torch.float32) -> Plain:
    w = {}
    place = folder / "clt" / "width_16k_l0_big_affine"
    for i in range(L):
        draw = Draw(i, dtype)
        w[i] = {"w_enc": draw(D, F), "w_dec": draw(F, L, D), "b_enc": draw(F), "b_dec": draw(D)}
        w[i] |= {"threshold": draw(F).abs(), "affine_skip_connection": draw(D, D)}
        w[i]["w_dec"][:, :i] = 0
        put(place / f"params_layer_{i}.safetensors", w[i])

    def activations(i: int, x: Tensor) -> Tensor:
        return jump(x @ w[i]["w_enc"].double() + w[i]["b_enc"], w[i]["threshold"])

    def outputs(x: dict[int, Tensor]) -> dict[int, Tensor]:
        return {
            t: sum(activations(i, x[i]) @ w[i]["w_dec"][:, t].double() for i in range(t + 1))
            + w[t]["b_dec"] + x[t] @ w[t]["affine_skip_connection"].double()
            for t in range(L)
        }  # fmt: skip

    return Plain(folder=place, kind="clt", sites=("mlp_in", "mlp_out"), layers=tuple(range(L)),
                 activations=activations, outputs=outputs)  # fmt: skip


HOOKS = {"resid": ("hook_resid_pre", "hook_resid_pre"), "mlp": ("ln2.hook_normalized", "hook_mlp_out")}


def saelens(
    folder: Path, dtype: torch.dtype = torch.float32, *, architecture: str = "jumprelu", old: bool = False,
    layers: tuple[int, ...] = (0, 1, 2), centred: bool | None = None, scaled: str = "", rescaled: bool = False,
) -> Plain:  # fmt: skip
    """`scaled`: "factor" (norm_scaling_factor), "finetuned" (scaling_factor) or nothing."""
    transcoder = "transcoder" in architecture
    hook_in, hook_out = HOOKS["mlp" if transcoder else "resid"]
    skip, factor, w = "skip" in architecture, 1.7 if scaled == "factor" else 1.0, {}
    centred = (not transcoder) if centred is None else centred
    for i in layers:
        draw = Draw(i, dtype)
        w[i] = {"W_enc": draw(D, F), "W_dec": draw(F, D), "b_dec": draw(D)}
        gated = architecture == "gated"
        w[i] |= {name: draw(F) for name in (("b_gate", "b_mag", "r_mag") if gated else ("b_enc",))}
        w[i] |= {"threshold": draw(F)} if architecture in ("batchtopk",) or "jumprelu" in architecture else {}
        w[i] |= {"W_skip": draw(D, D)} if skip else {}
        w[i] |= {"scaling_factor": draw(F).abs() + 0.5} if scaled == "finetuned" else {}
        place = folder / f"blocks.{i}.{hook_in}"
        put(place / "sae_weights.safetensors", w[i])
        names = {"hook_name": f"blocks.{i}.{hook_in}", "model_name": "gpt2-small"}
        names |= {"hook_name_out": f"blocks.{i}.{hook_out}"} if transcoder else {}
        config: dict[str, Any] = {"d_in": D, "d_sae": F, "dtype": "float32", "normalize_activations": "none"}
        if scaled == "factor":
            config |= {"normalize_activations": "expected_average_only_in", "norm_scaling_factor": factor}
        if old:
            names = {{"hook_name": "hook_point"}.get(key, key): value for key, value in names.items()}
            topk = {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 5}}
            config |= names | {"finetuning_scaling_factor": scaled == "finetuned", "hook_point_layer": i}
            config |= topk if architecture == "topk" else {"activation_fn_str": "relu", "architecture": architecture}
            config |= {} if centred else {"apply_b_dec_to_input": False}
        else:
            config |= {"metadata": names, "architecture": architecture, "apply_b_dec_to_input": centred}
            config |= {"k": 5} if "topk" in architecture else {}
            config |= {"rescale_acts_by_decoder_norm": True} if rescaled else {}
            config |= {"finetuning_scaling_factor": True} if scaled == "finetuned" else {}
        put_json(place / "cfg.json", config)

    def activations(i: int, x: Tensor) -> Tensor:
        v = {name: tensor.double() for name, tensor in w[i].items()}
        x = x * factor - (v["b_dec"] if centred else 0)
        if architecture == "gated":
            return (x @ (v["W_enc"] * v["r_mag"].exp()) + v["b_mag"]).relu() * (x @ v["W_enc"] + v["b_gate"] > 0)
        pre = x @ v["W_enc"] + v["b_enc"]
        pre = pre * v["W_dec"].norm(dim=-1) if rescaled else pre
        if architecture == "topk":
            return top(pre, 5)
        return jump(pre, v["threshold"]) if "threshold" in v else pre.relu()

    def decode(i: int, a: Tensor, x: Tensor) -> Tensor:
        v = {name: tensor.double() for name, tensor in w[i].items()}
        a = a / v["W_dec"].norm(dim=-1) if rescaled else a
        out = (a * v.get("scaling_factor", torch.ones(F)) @ v["W_dec"] + v["b_dec"]) / factor
        return out + x @ v["W_skip"].T if skip else out

    sites = ("mlp_normalized", "mlp_out") if transcoder else ("resid_pre", "resid_pre")
    return per_layer(folder, "plt" if transcoder else "sae", sites, layers, activations, decode)


def put_yaml(path: Path, config: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(config))


def sparsify(
    folder: Path, dtype: torch.dtype = torch.float32, *, transcode: bool = True, skip: bool = False,
    normalized: bool = False, layers: tuple[int, ...] = (0, 1, 2), k: int = 5,
) -> Plain:  # fmt: skip
    w = {}
    for i in layers:
        draw = Draw(i, dtype)
        w[i] = {"encoder.weight": draw(F, D), "encoder.bias": draw(F), "W_dec": draw(F, D), "b_dec": draw(D)}
        w[i] |= {"W_skip": draw(D, D)} if skip else {}
        w[i] |= {"in_norm": torch.tensor([3.0 + i]), "out_norm": torch.tensor([5.0])} if normalized else {}
        place = folder / f"layers.{i}{'.mlp' if transcode else ''}"
        put(place / "sae.safetensors", w[i])
        put_json(place / "cfg.json", {"activation": "topk", "k": k, "d_in": D, "num_latents": F, "expansion_factor": 32,
                                      "normalize_decoder": True, "skip_connection": skip, "transcode": transcode,
                                      "normalize_io": normalized})  # fmt: skip
    put_json(folder / "config.json", {"model": "EleutherAI/pythia-160m", "hookpoints": [f"layers.{i}" for i in layers]})

    def read(i: int, x: Tensor) -> Tensor:
        return x * (D**0.5 / (3.0 + i)) if normalized else x

    def activations(i: int, x: Tensor) -> Tensor:
        x = read(i, x) if transcode else read(i, x) - w[i]["b_dec"]
        return top(x @ w[i]["encoder.weight"].double().T + w[i]["encoder.bias"], k)

    def decode(i: int, a: Tensor, x: Tensor) -> Tensor:
        out = a @ w[i]["W_dec"].double() + w[i]["b_dec"]
        out = out + read(i, x) @ w[i]["W_skip"].double().T if skip else out
        return out * (5.0 / D**0.5) if normalized else out

    sites = ("mlp_in", "mlp_raw_out") if transcode else ("resid_post", "resid_post")
    return per_layer(folder, "plt" if transcode else "sae", sites, layers, activations, decode)


def sparsify_clt(
    folder: Path, dtype: torch.dtype = torch.float32, *, normalized: bool = False, scaled: bool = False,
    tied: bool = False, targets: int = L, offset: float = 0.0, cross_skip: bool = False,
) -> Plain:  # fmt: skip
    w, n = {}, {i: min(targets, L - i) for i in range(L)}
    for i in range(L):
        draw = Draw(i, dtype)
        w[i] = {"encoder.weight": draw(F, D), "encoder.bias": draw(F)}
        w[i] |= {"W_dec": draw(F, D)} if tied or n[i] == 1 else {f"W_decs.{t}": draw(F, D) for t in range(n[i])}
        w[i] |= {f"b_decs.{t}": draw(D) for t in range(n[i])} | {"W_skips.0": draw(D, D)}
        w[i] |= {f"post_encs.{t}": torch.full((F,), offset) for t in range(n[i])}
        w[i] |= {f"W_skips.{t}": draw(D, D) * cross_skip for t in range(1, n[i])}
        w[i] |= {f"post_enc_scales.{t}": draw(F) for t in range(n[i])} if scaled else {}
        w[i] |= {"in_norm": torch.tensor([3.0]), "out_norm": torch.tensor([5.0 + i])} if normalized else {}
        put(folder / f"h.{i}.mlp" / "sae.safetensors", w[i])
        put_json(folder / f"h.{i}.mlp" / "cfg.json", {
            "activation": "topk", "k": 4, "d_in": D, "num_latents": F, "skip_connection": True, "transcode": True,
            "normalize_io": normalized, "n_targets": n[i], "post_encoder_scale": scaled, "per_source_tied": tied,
            "coalesce_topk": "none", "divide_cross_layer": False, "secondary_target_tied": False,
        })  # fmt: skip

    def read(x: Tensor) -> Tensor:
        return x * (D**0.5 / 3.0) if normalized else x

    def activations(i: int, x: Tensor) -> Tensor:
        return top(read(x) @ w[i]["encoder.weight"].double().T + w[i]["encoder.bias"], 4)

    def outputs(x: dict[int, Tensor]) -> dict[int, Tensor]:
        out = {}
        for t in range(L):
            out[t] = read(x[t]) @ w[t]["W_skips.0"].double().T
            for i in (source for source in range(t + 1) if t - source < n[source]):
                a = activations(i, x[i]) * (w[i][f"post_enc_scales.{t - i}"] if scaled else 1)
                decoder = w[i]["W_dec"] if "W_dec" in w[i] else w[i][f"W_decs.{t - i}"]
                out[t] = out[t] + a @ decoder.double() + w[i][f"b_decs.{t - i}"]
            out[t] = out[t] * ((5.0 + t) / D**0.5) if normalized else out[t]
        return out

    return Plain(folder=folder, kind="clt", sites=("mlp_in", "mlp_raw_out"), layers=tuple(range(L)),
                 activations=activations, outputs=outputs)  # fmt: skip
