"""Dictionaries on disk: what is written is what is read, by rows, and what is wrong is named."""

import json
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from clew.dictionary import Dictionary, JumpReLU, Layer, ReLU, TopK, save_circuit_tracer
from clew.dictionary.layouts import LAYOUTS
from clew.errors import FileError, InputError
from tests.dictionary.test_dictionary import D, F, L, build, inputs

RULES = ["relu", "jumprelu", "topk", "batchtopk"]
DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64]
TOGETHER = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def same(first: Dictionary, second: Dictionary) -> None:
    assert first.fingerprint == second.fingerprint
    assert (first.kind, first.writes, first.read_site, first.write_site) == (
        second.kind,
        second.writes,
        second.read_site,
        second.write_site,
    )
    for i, layer in first.layers.items():
        theirs = second.layers[i].tensors()
        assert layer.tensors().keys() == theirs.keys()
        assert all(torch.equal(t, theirs[n]) and t.dtype == theirs[n].dtype for n, t in layer.tensors().items())


@TOGETHER
@given(
    st.sampled_from(["clt", "plt", "sae"]),
    st.sampled_from(RULES),
    st.booleans(),
    st.sampled_from(DTYPES),
    st.integers(0, 99),
)
def test_native_roundtrip(tmp_path: Path, kind: str, rule: str, skip: bool, dtype: torch.dtype, seed: int) -> None:
    dictionary = build(kind, rule, skip, dtype, seed)
    dictionary.save(tmp_path / "d")
    read = Dictionary.load(tmp_path / "d")
    same(dictionary, read)
    assert read.name == "toy"
    assert {i: v.nonlinearity.name for i, v in read.layers.items()} == dict.fromkeys(range(L), rule)


@TOGETHER
@given(st.sampled_from(["clt", "plt", "sae"]), st.sampled_from(RULES), st.sampled_from(DTYPES), st.integers(0, 99))
def test_packed_weights_are_off_by_half_a_step(
    tmp_path: Path, kind: str, rule: str, dtype: torch.dtype, seed: int
) -> None:
    dictionary = build(kind, rule, kind != "sae", dtype, seed)
    dictionary.layers[0].decoder[3] = 0
    dictionary.save(tmp_path / "d", packed=True)
    read = Dictionary.load(tmp_path / "d")
    for i, layer in dictionary.layers.items():
        theirs = read.layers[i].tensors()
        assert layer.tensors().keys() == theirs.keys()
        for name, tensor in layer.tensors().items():
            step = tensor.float().abs().amax(-1, keepdim=True) / 127 if name in ("encoder", "decoder") else 0.0
            assert bool(((theirs[name] - tensor.float()).abs() <= 0.5001 * torch.as_tensor(step)).all()), name
    read.save(tmp_path / "again", packed=True)
    for i, layer in Dictionary.load(tmp_path / "again").layers.items():  # nothing more is lost
        assert all(torch.allclose(t, read.layers[i].tensors()[n], rtol=1e-6) for n, t in layer.tensors().items())


def test_packed_a_dictionary_is_a_quarter_of_its_size(tmp_path: Path) -> None:
    big = build("plt", "relu")
    wide = {i: Layer(encoder=torch.randn(4000, D), bias=torch.zeros(4000), nonlinearity=ReLU(),
                     decoder=torch.randn(4000, 1, D), decoder_bias=torch.zeros(D)) for i in range(L)}  # fmt: skip
    dictionary = replace(big, layers=wide)
    sizes = []
    for packed in (False, True):
        dictionary.save(tmp_path / str(packed), packed=packed)
        sizes.append((tmp_path / str(packed) / "layer_0.safetensors").stat().st_size)
    assert sizes[0] == pytest.approx(4000 * (2 * D + 1) * 4, rel=0.02)
    assert sizes[1] == pytest.approx(4000 * (2 * D + 3 * 4), rel=0.02)  # with a bias and two scales a feature


@TOGETHER
@given(
    st.sampled_from(["clt", "plt"]), st.sampled_from(["relu", "jumprelu"]), st.sampled_from(DTYPES), st.integers(0, 99)
)
def test_circuit_tracer_roundtrip(tmp_path: Path, kind: str, rule: str, dtype: torch.dtype, seed: int) -> None:
    dictionary = build(kind, rule, kind == "plt" and seed % 2 == 0, dtype, seed)
    save_circuit_tracer(dictionary, tmp_path / "d", model_name="tiny", scan="toy")
    read = Dictionary.load(tmp_path / "d")
    same(dictionary, read)
    assert read.name == "toy"


def test_circuit_tracer_names_are_the_published_ones(tmp_path: Path) -> None:
    clt, plt = build("clt"), build("plt", skip=True)
    save_circuit_tracer(clt, tmp_path / "clt", model_name="tiny", scan="s")
    save_circuit_tracer(plt, tmp_path / "plt", model_name="tiny", scan="s")
    first = load_file(tmp_path / "clt" / "W_enc_1.safetensors")
    assert {n: tuple(t.shape) for n, t in first.items()} == {
        "W_enc_1": (F, D),
        "b_enc_1": (F,),
        "b_dec_1": (D,),
        "threshold_1": (F,),
    }
    assert load_file(tmp_path / "clt" / "W_dec_1.safetensors")["W_dec_1"].shape == (F, L - 1, D)
    assert {n: tuple(t.shape) for n, t in load_file(tmp_path / "plt" / "layer_1.safetensors").items()} == {
        "W_enc": (F, D),
        "W_dec": (F, D),
        "b_enc": (F,),
        "b_dec": (D,),
        "activation_function.threshold": (F,),
        "W_skip": (D, D),
    }
    assert yaml.safe_load((tmp_path / "clt" / "config.yaml").read_text()) == {
        "model_kind": "cross_layer_transcoder",
        "feature_input_hook": "mlp.hook_in",
        "feature_output_hook": "mlp.hook_out",
        "model_name": "tiny",
        "scan": "s",
    }


def test_a_set_without_config_or_with_the_misspelt_one_is_read(tmp_path: Path) -> None:
    dictionary = build("plt", "relu")
    save_circuit_tracer(dictionary, tmp_path / "d", model_name="tiny", scan="toy")
    (tmp_path / "d" / "config.yaml").rename(tmp_path / "d" / "wanb-config.yaml")
    assert Dictionary.load(tmp_path / "d").name == "toy"
    (tmp_path / "d" / "wanb-config.yaml").unlink()
    bare = Dictionary.load(tmp_path / "d")
    same(dictionary, bare)
    assert (bare.read_site, bare.name) == ("mlp_in", "d")
    assert "assumed" in bare.provenance["config"]


def test_a_topk_set_is_read_as_topk(tmp_path: Path) -> None:
    dictionary = build("plt", "topk")
    save_circuit_tracer(dictionary, tmp_path / "d", model_name="tiny", scan="toy")
    same(dictionary, Dictionary.load(tmp_path / "d"))
    assert Dictionary.load(tmp_path / "d").layers[0].nonlinearity == TopK(k=3)
    config = tmp_path / "d" / "config.yaml"
    config.write_text(config.read_text().replace("topk", "gated"))
    with pytest.raises(FileError, match="'gated'"):
        Dictionary.load(tmp_path / "d")


def test_batchtopk_becomes_the_jumprelu_it_computes(tmp_path: Path) -> None:
    dictionary, x = build("clt", "batchtopk"), inputs()
    save_circuit_tracer(dictionary, tmp_path / "d", model_name="tiny", scan="toy")
    read = Dictionary.load(tmp_path / "d")
    assert isinstance(read.layers[0].nonlinearity, JumpReLU)
    for i in range(L):
        assert torch.equal(dictionary.encode(i, x[i]).index, read.encode(i, x[i]).index)


@pytest.mark.parametrize(
    ("hook", "site"),
    [("hook_resid_mid", "resid_mid"), ("ln2.hook_normalized", "mlp_normalized"), ("mlp.hook_in", "mlp_in")],
)
@pytest.mark.parametrize(("out", "written"), [("mlp.hook_out", "mlp_raw_out"), ("hook_mlp_out", "mlp_out")])
def test_hooks_are_sites(tmp_path: Path, hook: str, site: str, out: str, written: str) -> None:
    save_circuit_tracer(build("clt"), tmp_path / "d", model_name="tiny", scan="toy")
    config = tmp_path / "d" / "config.yaml"
    config.write_text(yaml.safe_dump({"feature_input_hook": hook, "feature_output_hook": out}))
    read = Dictionary.load(tmp_path / "d")
    assert (read.read_site, read.write_site) == (site, written)


def test_what_the_layout_cannot_say_is_refused_and_nothing_written(tmp_path: Path) -> None:
    topk = build("plt", "topk")
    mixed, two_ks = (
        replace(topk, layers={**topk.layers, 1: replace(topk.layers[1], nonlinearity=rule)})
        for rule in (ReLU(), TopK(k=4))
    )
    for dictionary in (build("sae"), build("clt", "topk"), build("clt", skip=True), mixed, two_ks):
        with pytest.raises(InputError):
            save_circuit_tracer(dictionary, tmp_path / "d", model_name="tiny", scan="toy")
        assert list(tmp_path.iterdir()) == []


def test_nan_is_not_saved(tmp_path: Path) -> None:
    dictionary = build()
    dictionary.layers[1].decoder[3, 0, 0] = float("nan")
    for save in (dictionary.save, lambda d: save_circuit_tracer(dictionary, d, model_name="tiny", scan="toy")):
        with pytest.raises(InputError, match=r"decoder holds NaN.*layer 1, row 3"):
            save(tmp_path / "d")
    assert list(tmp_path.iterdir()) == []


def edit_config(folder: Path, **change: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def swap(path: Path, name: str, tensor: torch.Tensor | None) -> None:
    tensors = load_file(path)
    tensors = {n: t.clone() for n, t in tensors.items() if n != name} | ({} if tensor is None else {name: tensor})
    path.unlink()
    save_file(tensors, path)


BROKEN: list[tuple[str, Callable[[Path], object], str]] = [
    ("native", lambda d: truncate(d / "layer_1.safetensors"), "layer_1.safetensors is not a whole"),
    ("native", lambda d: (d / "layer_1.safetensors").unlink(), "layer_1.safetensors: no such file"),
    ("native", lambda d: truncate(d / "config.json"), "not whole JSON"),
    ("native", lambda d: (d / "config.json").write_text("[]"), "holds no dictionary of Clew"),
    ("native", lambda d: edit_config(d, schema="other"), "schema is 'other'"),
    ("native", lambda d: edit_config(d, version=7), "schema 7, this program reads up to 2"),
    ("native", lambda d: edit_config(d, d_model=9), "encoder is .*24, 8"),
    ("native", lambda d: edit_config(d, kind="lorsa"), "lorsa"),
    ("native", lambda d: edit_config(d, layers={"x": {}}), "no whole dictionary"),
    ("native", lambda d: swap(d / "layer_2.safetensors", "bias", None), "lacks 'bias'"),
    ("native", lambda d: swap(d / "layer_2.safetensors", "bias", torch.zeros(F + 1)), r"bias is \[25\]"),
    ("native", lambda d: swap(d / "layer_2.safetensors", "bias", torch.full((F,), torch.nan)), "bias holds NaN"),
    ("packed", lambda d: swap(d / "layer_1.safetensors", "decoder_scale", None), "decoder_scale is missing"),
    (
        "packed",
        lambda d: swap(d / "layer_1.safetensors", "encoder_scale", torch.ones(F, 1)),
        "encoder_scale is .*missh",
    ),
    (
        "packed",
        lambda d: swap(d / "layer_1.safetensors", "encoder_scale", torch.full((F,), torch.inf)),
        "encoder_scale holds NaN",
    ),
    ("packed", lambda d: swap(d / "layer_1.safetensors", "encoder", None), "lacks 'encoder'"),
    ("clt", lambda d: (d / "W_dec_1.safetensors").unlink(), "W_dec_1.safetensors: no such file"),
    ("clt", lambda d: (d / "W_enc_1.safetensors").unlink(), "W_enc_1.safetensors is missing"),
    ("clt", lambda d: truncate(d / "W_dec_0.safetensors"), "W_dec_0.safetensors is not a whole"),
    ("clt", lambda d: swap(d / "W_dec_0.safetensors", "W_dec_0", torch.zeros(F, L - 1, D)), "decoder is"),
    ("clt", lambda d: swap(d / "W_dec_0.safetensors", "W_dec_0", torch.zeros(F + 1, L, D)), "shapes disagree"),
    ("clt", lambda d: (d / "config.yaml").write_text("feature_input_hook: hook_q"), "hook 'hook_q'"),
    ("clt", lambda d: (d / "config.yaml").write_text("a: ["), "is not YAML"),
    ("plt", lambda d: swap(d / "layer_0.safetensors", "W_enc", None), "W_enc is missing"),
    ("plt", lambda d: swap(d / "layer_0.safetensors", "W_dec", torch.zeros(D)), "shapes disagree with the layout"),
]


@pytest.mark.parametrize(("layout", "damage", "message"), BROKEN)
def test_a_damaged_folder_is_refused_in_one_line(
    tmp_path: Path, layout: str, damage: Callable[[Path], object], message: str
) -> None:
    folder = tmp_path / "d"
    if layout in ("native", "packed"):
        build().save(folder, packed=layout == "packed")
    else:
        save_circuit_tracer(build(layout), folder, model_name="tiny", scan="toy")
    damage(folder)
    with pytest.raises(FileError, match=message) as caught:
        Dictionary.load(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("native", "clt"), ("native", "plt"), ("circuit-tracer CLT", "clt"), ("circuit-tracer PLT", "plt")],
)
def test_the_first_layout_that_recognises_a_folder_is_the_one_that_wrote_it(
    tmp_path: Path, name: str, kind: str
) -> None:
    if name == "native":
        build(kind).save(tmp_path / "d")
    else:
        save_circuit_tracer(build(kind), tmp_path / "d", model_name="tiny", scan="toy")
    names = {path.name for path in (tmp_path / "d").iterdir()}
    assert next(layout.name for layout in LAYOUTS if layout.recognise(names)) == name


def test_a_foreign_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no such folder"):
        Dictionary.load(tmp_path / "nowhere")
    (tmp_path / "weights.safetensors").write_bytes(b"")
    with pytest.raises(FileError, match=r"holds weights\.safetensors") as caught:
        Dictionary.load(tmp_path)
    assert all(layout.name in str(caught.value) for layout in LAYOUTS)


def test_a_folder_of_something_else_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(FileError, match="holds no dictionary"):
        build().save(tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"
    build().save(tmp_path / "d")
    build("plt").save(tmp_path / "d")
    assert Dictionary.load(tmp_path / "d").kind == "plt"


MEASURE = """
import sys, torch
from clew.dictionary import Dictionary
def resident():
    return next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("VmRSS")) / 1024
import safetensors.torch, json
before = resident()
d = Dictionary.load(sys.argv[1])
loaded = resident()
d.decoder_rows(0, torch.arange(0, 1 << 20, 1 << 16))
d.encoder_rows(0, torch.arange(0, 1 << 20, 1 << 16))
print(d.d_features(0), loaded - before, resident() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="resident memory is read from /proc")
def test_a_large_dictionary_is_mapped_and_only_touched_rows_are_read(tmp_path: Path) -> None:
    n, d = 1 << 20, 128
    shapes = {"encoder": [n, d], "bias": [n], "decoder": [n, 1, d], "decoder_bias": [d]}
    header, end = {}, 0
    for name, shape in shapes.items():
        size = 4 * int(torch.Size(shape).numel())
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with (tmp_path / "layer_0.safetensors").open("wb") as opened:  # a gigabyte of holes
        opened.write(struct.pack("<Q", len(text)) + text)
        opened.truncate(8 + len(text) + end)
    config = {"schema": "clew.dictionary", "version": 1, "kind": "plt", "name": "large", "n_layers": 1, "d_model": d}
    config |= {"read_site": "mlp_in", "write_site": "mlp_raw_out"}
    config |= {"layers": {"0": {"writes": [0], "nonlinearity": {"name": "relu"}}}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    run = subprocess.run([sys.executable, "-c", MEASURE, str(tmp_path)], capture_output=True, text=True, check=True)
    features, loaded, touched = (float(v) for v in run.stdout.split())
    assert features == n
    assert loaded < 60
    assert touched < 90


def test_the_name_is_no_part_of_the_fingerprint_and_every_weight_is() -> None:
    from dataclasses import replace

    dictionary = build()
    assert replace(dictionary, name="other").fingerprint == dictionary.fingerprint
    seen = {dictionary.fingerprint}
    for i, layer in dictionary.layers.items():
        for name, tensor in layer.tensors().items():
            changed = tensor.clone()
            changed.view(-1)[-1] += 1
            other = replace(
                dictionary, layers={**dictionary.layers, i: layer.with_tensors({**layer.tensors(), name: changed})}
            )
            seen.add(other.fingerprint)
        seen.add(replace(dictionary, layers={**dictionary.layers, i: replace(layer, nonlinearity=ReLU())}).fingerprint)
    assert len(seen) == 1 + 5 * L + L


def test_a_hub_id_is_found_in_the_local_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = tmp_path / "models--someone--tiny-plt"
    snapshot = repository / "snapshots" / ("0" * 40)
    dictionary = build("plt")
    dictionary.save(snapshot)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub._snapshot_download.constants.HF_HUB_OFFLINE", True, raising=False)
    assert Dictionary.load("someone/tiny-plt").fingerprint == dictionary.fingerprint
    with pytest.raises(FileError, match="someone/other"):
        Dictionary.load("someone/other")
