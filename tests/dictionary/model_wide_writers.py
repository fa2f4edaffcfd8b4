"""As `layout_writers`, the layouts that keep all layers in one file, and OpenMOSS'."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from tests.dictionary.layout_writers import (
    HOOKS,
    D,
    Draw,
    F,
    L,
    P,
    Plain,
    jump,
    per_layer,
    put,
    put_json,
    put_yaml,
    top,
)


def crosslayer_transcoder(
    folder: Path, dtype: torch.dtype = torch.float32, *, rule: str = "JumpReLU", standardizer: str = "Dimensionwise",
    plt: bool = False, folded: bool = False,
) -> Plain:  # fmt: skip
    draw, module = Draw(0, dtype), "crosslayer_transcoder.model"
    w = {"encoder.W": draw(L, D, F), "encoder.b": draw(L, F)}
    w |= {"decoder.W": draw(L, F, D)} if plt else {f"decoder.W_{t}": draw(t + 1, F, D) for t in range(L)}
    w |= {} if plt else {"decoder.b": draw(L, D)}
    shape = (L, D) if standardizer == "Dimensionwise" else (L,)
    for end in ("input", "output") if standardizer else ():
        w |= {f"{end}_standardizer.mean": draw(*shape), f"{end}_standardizer.std": draw(*shape).abs() + 0.3}
    thresholds = {"JumpReLU": draw(1, L, F), "BatchTopK": draw(1).abs(), "PerLayerBatchTopK": draw(L)}
    if rule in thresholds:
        w["nonlinearity.theta" if rule == "JumpReLU" else "nonlinearity.threshold"] = thresholds[rule]
    w |= {"nonlinearity.bandwidth": torch.tensor(1.0)} if rule == "JumpReLU" else {}
    put(folder / "checkpoint.safetensors", w)
    names = {end: f"{standardizer}{end.title()}" if standardizer else "" for end in ("input", "output")}
    parts = {end: {"class_path": f"{module}.standardize.{name}Standardizer"} for end, name in names.items()}
    path = "torch.nn.ReLU" if rule == "ReLU" else f"{module}.x.{rule}"
    put_yaml(folder / "config.yaml", {"model": {
        "class_path": f"{module}.clt.CrossLayerTranscoder", "is_folded": folded,
        "init_args": {
            "nonlinearity": {"class_path": path, "init_args": {"k": 5}},
            "input_standardizer": parts["input"], "output_standardizer": parts["output"],
        },
    }})  # fmt: skip
    on = bool(standardizer) and not folded

    def scale(end: str, i: int) -> tuple[Tensor, Tensor]:
        return w[f"{end}_standardizer.mean"][i].double(), w[f"{end}_standardizer.std"][i].double()

    def activations(i: int, x: Tensor) -> Tensor:
        x = (x - scale("input", i)[0]) / scale("input", i)[1] if on else x
        pre = x @ w["encoder.W"][i].double() + w["encoder.b"][i]
        if rule == "PerLayerTopK":
            return top(pre, 5)
        threshold = thresholds[rule].reshape(-1, F)[i] if rule == "JumpReLU" else thresholds.get(rule, torch.zeros(1))
        return jump(pre, threshold[i] if rule == "PerLayerBatchTopK" else threshold)

    def outputs(x: dict[int, Tensor]) -> dict[int, Tensor]:
        out = {}
        for t in range(L):
            sources = [t] if plt else range(t + 1)
            decoders = {i: w["decoder.W"][t] if plt else w[f"decoder.W_{t}"][i] for i in sources}
            out[t] = sum(activations(i, x[i]) @ decoders[i].double() for i in sources) + (
                0 if plt else w["decoder.b"][t]
            )
            out[t] = out[t] * scale("output", t)[1] + scale("output", t)[0] if on else out[t]
        return out

    return Plain(folder=folder, kind="plt" if plt else "clt", sites=("resid_mid", "mlp_raw_out"),
                 layers=tuple(range(L)), activations=activations, outputs=outputs)  # fmt: skip


def clt_forge(
    folder: Path, dtype: torch.dtype = torch.float32, *, ranks: int = 0, cross: bool = True, scaled: bool = True,
    topk: bool = False,
) -> Plain:  # fmt: skip
    draw, pairs = Draw(0, dtype), [(i, t) for i in range(L) for t in range(L) if (t >= i if cross else t == i)]
    w = {"W_enc": draw(L, D, F), "b_enc": draw(L, F), "W_dec": draw(len(pairs), F, D), "b_dec": draw(len(pairs), D)}
    w["log_threshold"] = draw(L, F) - 1
    into, out = (torch.rand(L, generator=draw.generator) + 0.5 for _ in "io")
    into, out = (into, out) if scaled else (torch.ones(L), torch.ones(L))
    axis = {"W_enc": 2, "b_enc": 1, "W_dec": 1, "log_threshold": 1}
    for rank in range(max(1, ranks)):
        part = {n: t.chunk(max(1, ranks), axis[n])[rank] if n in axis else t for n, t in w.items()}
        part |= {"estimated_norm_scaling_factor_in": into, "estimated_norm_scaling_factor_out": out}
        part["feature_count"] = torch.zeros(L, part["b_enc"].shape[1], dtype=torch.long)
        put(folder / f"{f'rank{rank}_' if ranks else ''}clt_weights.safetensors", part)
    config = {"model_name": "gpt2", "d_in": D, "d_latent": F, "n_layers": L, "cross_layer_decoders": cross}
    config |= {"activation_fn": "topk", "k": 5} if topk else {}
    put_json(folder / "clt_cfg.json", config | {"feature_sharding": bool(ranks)})

    def activations(i: int, x: Tensor) -> Tensor:
        pre = (x * into[i].double()) @ w["W_enc"][i].double() + w["b_enc"][i]
        return top(pre, 5) if topk else jump(pre, w["log_threshold"][i].double().exp())

    def outputs(x: dict[int, Tensor]) -> dict[int, Tensor]:
        total = {t: torch.zeros(P, D, dtype=torch.float64) for t in range(L)}
        for number, (i, t) in enumerate(pairs):
            total[t] = total[t] + activations(i, x[i]) @ w["W_dec"][number].double() + w["b_dec"][number]
        return {t: value / out[t].double() for t, value in total.items()}

    return Plain(folder=folder, kind="clt" if cross else "plt", sites=("mlp_normalized", "mlp_out"),
                 layers=tuple(range(L)), activations=activations, outputs=outputs)  # fmt: skip


def openmoss(
    folder: Path, dtype: torch.dtype = torch.float32, *, act: str = "jumprelu", transcoder: bool = True,
    norm: str = "dataset-wise", decoder_norm: bool = True, old: bool = False, layers: tuple[int, ...] = (0, 1, 2),
) -> Plain:  # fmt: skip
    w = {}
    for i in layers:
        draw = Draw(i, dtype)
        w[i] = {"W_E": draw(D, F), "b_E": draw(F), "W_D": draw(F, D), "b_D": draw(D)}
        w[i] |= {"activation_function.log_jumprelu_threshold": draw(F)} if act == "jumprelu" else {}
        hooks = [f"blocks.{i}.{name}" for name in HOOKS["mlp" if transcoder else "resid"]]
        norms = {f"dataset_average_activation_norm.{h}": torch.tensor(2.0 + n) for n, h in enumerate(hooks)}
        names = {"W_E": "encoder.weight", "b_E": "encoder.bias", "W_D": "decoder.weight", "b_D": "decoder.bias"}
        names |= {"activation_function.log_jumprelu_threshold": "log_jumprelu_threshold"}
        stored = {names[n]: t.T if t.ndim == 2 else t for n, t in w[i].items()} if old else w[i]
        put(folder / f"L{i}" / "sae_weights.safetensors", stored | norms)
        put_json(folder / f"L{i}" / "config.json", {
            "sae_type": "sae", "d_model": D, "expansion_factor": F / D, "act_fn": act, "top_k": 5,
            "norm_activation": norm, "sparsity_include_decoder_norm": decoder_norm,
            "hook_point_in": hooks[0], "hook_point_out": hooks[1],
        })  # fmt: skip
    size_in, size_out = (D**0.5 / 2, D**0.5 / (3 if transcoder else 2)) if norm == "dataset-wise" else (1.0, 1.0)
    size_in, size_out = (D**0.5 / 3, D**0.5 / 3) if norm == "dataset-wise" and not transcoder else (size_in, size_out)

    def stored_activations(i: int, x: Tensor) -> Tensor:
        pre = (x * size_in) @ w[i]["W_E"].double() + w[i]["b_E"]
        return _openmoss_rule(pre, w[i], w[i]["W_D"].double().norm(dim=1) if decoder_norm else None, act)

    def activations(i: int, x: Tensor) -> Tensor:
        size = w[i]["W_D"].double().norm(dim=1) if decoder_norm and act == "topk" else 1.0
        return stored_activations(i, x) / size_in * size

    def decode(i: int, a: Tensor, x: Tensor) -> Tensor:
        return (stored_activations(i, x) @ w[i]["W_D"].double() + w[i]["b_D"]) / size_out

    sites = ("mlp_normalized", "mlp_out") if transcoder else ("resid_pre", "resid_pre")
    return per_layer(folder, "plt" if transcoder else "sae", sites, layers, activations, decode)


def _openmoss_rule(pre: Tensor, weights: dict[str, Tensor], norms: Tensor | None, act: str) -> Tensor:
    pre = pre if norms is None else pre * norms
    if act == "jumprelu":
        a = jump(pre, weights["activation_function.log_jumprelu_threshold"].double().exp())
    else:
        a = top(pre, 5) if act == "topk" else pre.relu()
    return a if norms is None else a / norms


def openmoss_clt(folder: Path, dtype: torch.dtype = torch.float32, *, act: str = "jumprelu") -> Plain:
    draw = Draw(0, dtype)
    w = {"W_E": draw(L, D, F), "b_E": draw(L, F)} | {f"W_D.{t}": draw(t + 1, F, D) for t in range(L)}
    w |= {f"b_D.{t}": draw(D) for t in range(L)}
    w |= {"activation_function.log_jumprelu_threshold": draw(L, F)} if act == "jumprelu" else {}
    ends = [[f"blocks.{i}.{name}" for i in range(L)] for name in ("hook_resid_mid", "hook_mlp_out")]
    sizes = [[2.0 + i for i in range(L)], [3.0 + 2 * i for i in range(L)]]
    norms = {
        f"dataset_average_activation_norm.{hook}": torch.tensor(size)
        for hooks, values in zip(ends, sizes, strict=True)
        for hook, size in zip(hooks, values, strict=True)
    }
    put(folder / "sae_weights.safetensors", w | norms)
    put_json(folder / "config.json", {
        "sae_type": "clt", "act_fn": act, "top_k": 5, "norm_activation": "dataset-wise", "hook_points_in": ends[0],
        "hook_points_out": ends[1], "sparsity_include_decoder_norm": True, "d_model": D,
    })  # fmt: skip

    def norm(i: int) -> Tensor:
        return torch.stack([w[f"W_D.{t}"][i].double().square().sum(1) for t in range(i, L)]).sum(0).sqrt()

    def stored_activations(i: int, x: Tensor) -> Tensor:
        pre = x * (D**0.5 / sizes[0][i]) @ w["W_E"][i].double() + w["b_E"][i]
        thresholds = {name: tensor[i] for name, tensor in w.items() if name.startswith("activation")}
        return _openmoss_rule(pre, thresholds, norm(i), act)

    def outputs(x: dict[int, Tensor]) -> dict[int, Tensor]:
        return {
            t: (sum(stored_activations(i, x[i]) @ w[f"W_D.{t}"][i].double() for i in range(t + 1)) + w[f"b_D.{t}"])
            * (sizes[1][t] / D**0.5)
            for t in range(L)
        }

    return Plain(
        folder=folder, kind="clt", sites=("resid_mid", "mlp_out"), layers=tuple(range(L)), outputs=outputs,
        activations=lambda i, x: stored_activations(i, x) * (sizes[0][i] / D**0.5) * (norm(i) if act == "topk" else 1),
    )  # fmt: skip
