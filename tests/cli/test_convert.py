"""`clew convert`: what is written computes what was read, and nothing that is there is lost."""

import json

import pytest
import torch

from clew.dictionary import Dictionary, save_circuit_tracer
from tests.dictionary import layout_writers as writers
from tests.dictionary import model_wide_writers as wide
from tests.dictionary.test_dictionary import build


def same_outputs(plain, dictionary):
    x = {i: value for i, value in writers.inputs().items() if i in plain.layers}
    active = {i: dictionary.encode(i, x[i]) for i in plain.layers}
    out = dictionary.reconstruct(active, x, writers.P)
    for layer, expected in plain.outputs(x).items():
        torch.testing.assert_close(out[layer], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("layout", ["native", "circuit-tracer"])
@pytest.mark.parametrize(
    "write", [wide.clt_forge, wide.openmoss_clt, wide.crosslayer_transcoder, writers.gemma_scope_2, writers.sparsify]
)
def test_what_is_written_computes_what_was_read(write, layout, run, tmp_path):
    plain = write(tmp_path / "source")
    code, output, error = run("convert", plain.folder, "out", "--layout", layout, "--model", "org/model", "--json")
    assert (code, error) == (0, "")
    told = json.loads(output)
    assert (told["kind"], told["layers"], told["features"]) == (plain.kind, [0, 1, 2], 3 * writers.F)
    assert (told["layout"], told["model"]) == (layout, "org/model")
    read = Dictionary.load(tmp_path / "out")
    assert read.provenance["model_name"] == "org/model"
    same_outputs(plain, read)


def test_some_layers_are_converted_and_their_depth_stays_open(run, tmp_path):
    plain = writers.saelens(tmp_path / "source", architecture="gated", layers=(0, 2))
    code, output, _ = run("convert", plain.folder, "out")
    assert code == 0
    assert "SAELens -> native" in output
    assert "sae, 2 layers with 48 features, from resid_pre to resid_pre, width 8, for gpt2-small" in output
    read = Dictionary.load(tmp_path / "out")
    same_outputs(plain, read)
    assert read.provenance["n_layers_at_least"]


def test_packed_takes_a_byte_a_weight(run, tmp_path):
    build().save(tmp_path / "d")
    assert run("convert", "d", "packed", "--packed")[0] == 0
    assert Dictionary.load(tmp_path / "packed").provenance == {}
    assert (tmp_path / "packed/layer_0.safetensors").stat().st_size < (
        tmp_path / "d/layer_0.safetensors"
    ).stat().st_size / 3


def test_what_was_written_here_is_written_again_and_nothing_else_without_being_told(run, tmp_path):
    build("plt").save(tmp_path / "d")
    assert run("convert", "d", "out")[0] == run("convert", "d", "out")[0] == 0
    save_circuit_tracer(build("clt"), tmp_path / "theirs", model_name="m", scan="s")
    code, _, error = run("convert", "d", "theirs")
    assert (code, error.count("\n")) == (2, 1)
    assert "is there already and was not written here: give another folder, or --replace" in error
    assert Dictionary.load(tmp_path / "theirs").kind == "clt"
    assert run("convert", "d", "theirs", "--replace")[0] == 0
    assert Dictionary.load(tmp_path / "theirs").kind == "plt"
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").write_text("years of work")
    assert "holds no dictionary" in run("convert", "d", "thesis", "--replace")[2]
    assert (tmp_path / "thesis" / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nowhere", "out"), "no dictionary at nowhere: no such folder"),
        (("d", "d", "--replace"), "d holds what is converted: give another folder"),
        (("d", ".", "--replace"), "holds what is converted"),
        (("d", "out", "--layout", "saelens"), "layout 'saelens' cannot be written: choose from native, circuit-tracer"),
        (("d", "out", "--layout", "circuit-tracer", "--packed"), "--packed is of the native layout"),
        (("sae", "out", "--layout", "circuit-tracer"), "an SAE has no circuit-tracer layout: save it natively"),
        (("some", "out", "--layout", "circuit-tracer"), "this layout needs all 3 layers, got [0, 1]"),
        (("d", "file"), "file is a file: give a new folder"),
        (("hf://someone/nothing", "out"), "download it into"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(arguments, said, run, tmp_path):
    build().save(tmp_path / "d")
    build("sae").save(tmp_path / "sae")
    plts = build("plt")
    from dataclasses import replace

    part = {i: plts.layers[i] for i in (0, 1)}
    replace(plts, layers=part, writes={0: (0,), 1: (1,)}).save(tmp_path / "some")
    (tmp_path / "file").write_text("x")
    code, output, error = run("convert", *arguments)
    assert (code, output, error.count("\n")) == (2, "", 1)
    assert said in error
    assert not (tmp_path / "out").exists()
