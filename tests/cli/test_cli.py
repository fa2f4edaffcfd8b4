"""The command line as a user meets it: what it prints, what it writes, and one clear line for every mistake."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

import clew
from clew.kit import BUNDLED

PROMPT = "The capital of France is"


@pytest.fixture
def broken(tmp_path_factory):
    """A copy of the bundled kit to damage, without the list of hashes that would notice first."""
    import shutil

    folder = tmp_path_factory.mktemp("kits") / "copy"
    shutil.copytree(BUNDLED / "minnow", folder)
    head = json.loads((folder / "kit.json").read_text())
    (folder / "kit.json").write_text(json.dumps({**head, "files": {}}))
    return folder


def damage(path, name, change):
    tensors = load_file(path)
    tensors[name] = change(tensors[name].clone())
    save_file(tensors, path, metadata={"format": "pt"})


def refused(result, *words, wrote=None):
    code, out, err = result
    assert code == 2, (code, out, err)
    assert len(err.strip().splitlines()) == 1, err
    assert out == ""
    for word in words:
        assert word in err
    if wrote is not None:
        assert list(wrote.iterdir()) == []


def test_trace_says_paris_and_what_led_there(run):
    code, out, _ = run("trace", PROMPT)
    assert code == 0
    first = next(line for line in out.splitlines() if "' Paris'" in line)
    assert float(first.split()[2 if first.split()[0] == "'" else 1]) > 0.9
    for word in (
        "replacement",
        "completeness",
        "share of error",
        "Strongest paths",
        "Input features",
        "Output features",
        " s,",
        "MB",
    ):
        assert word in out
    assert "' France' →" in out


def test_trace_prints_json_for_machines(run):
    code, out, _ = run("trace", PROMPT, "--json")
    value = json.loads(out)
    assert code == 0
    assert value["outputs"][0][0] == " Paris"
    assert 0 <= value["replacement"] <= 1
    assert value["tokens"][-1] == " is"


def test_trace_writes_page_graph_and_json_that_open_again(run, tmp_path):
    assert run("trace", PROMPT, "--html", "a.html", "--save", "a.graph")[0] == 0
    assert run("trace", PROMPT, "--save", "a.json")[0] == 0
    page = (tmp_path / "a.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
    graph = clew.Graph.load(tmp_path / "a.graph")
    again = clew.Graph.from_json(tmp_path / "a.json")
    assert graph.n_features == again.n_features > 10
    torch.testing.assert_close(again.adjacency, graph.adjacency, rtol=1e-4, atol=1e-6)


def test_several_prompts_from_a_file_are_numbered(run, tmp_path):
    (tmp_path / "prompts.txt").write_text(f"{PROMPT}\n\nThe capital of Italy is\n")
    code, out, _ = run("trace", "--prompts", "prompts.txt", "--json", "--save", "g.graph")
    assert code == 0
    assert [value["outputs"][0][0] for value in json.loads(out)] == [" Paris", " Rome"]
    assert clew.Graph.load(tmp_path / "g-2.graph").prompt == "The capital of Italy is"


def test_targets_position_answer_and_limit_reach_the_graph(run):
    value = json.loads(run("trace", PROMPT, "--target", "Paris - Rome", "--json")[1])
    assert value["targets"] == ["Paris - Rome"]
    value = json.loads(run("trace", PROMPT, "-t", "Paris", "-t", "Rome", "--position", "4", "--json")[1])
    assert value["targets"] == [" Paris", " Rome"]
    value = json.loads(run("trace", "The opposite of", "--answer", ' "small" is', "--json")[1])
    assert "".join(value["targets"]) == ' "small" is'
    value = json.loads(run("trace", PROMPT, "--max-features", "5", "--json")[1])
    assert value["n_features"] == 5
    assert value["n_left_out"] > 0


@pytest.mark.parametrize(
    "prompt",
    ["1", "Столица Франции —", "zyxw qwerty ☃ 漢字", " ", "You", "\n"],
    ids=["one", "russian", "foreign", "space", "word", "line"],
)
def test_any_text_can_be_traced(run, prompt):
    code, out, err = run("trace", prompt, "--json")
    assert code == 0, err
    assert 0 <= json.loads(out)["completeness"] <= 1


def test_empty_prompt_is_refused(run, tmp_path):
    refused(run("trace", "", "--html", "a.html"), "empty", wrote=tmp_path)


def test_prompt_longer_than_the_context_is_refused(run, tmp_path):
    refused(run("trace", "war " * 500, "--save", "a.graph"), "128", wrote=tmp_path)


def test_unknown_kit_and_folder_that_is_none_are_refused(run, tmp_path):
    refused(run("trace", PROMPT, "--kit", "whale"), "whale", "minnow")
    (tmp_path / "folder").mkdir()
    refused(run("trace", PROMPT, "--kit", "folder"), "kit.json")
    (tmp_path / "folder" / "kit.json").write_text('{"format": "other"}')
    refused(run("trace", PROMPT, "--kit", "folder"), "kit of Clew")


def test_newer_and_truncated_kits_are_refused(run, broken):
    head = json.loads((broken / "kit.json").read_text())
    (broken / "kit.json").write_text(json.dumps({**head, "schema": 999}))
    refused(run("trace", PROMPT, "--kit", broken), "999", "upgrade")
    (broken / "kit.json").write_text(json.dumps(head)[:40])
    refused(run("trace", PROMPT, "--kit", broken), "JSON")


def test_a_damaged_file_of_a_kit_is_named(run, broken):
    whole = json.loads((BUNDLED / "minnow" / "kit.json").read_text())
    (broken / "kit.json").write_text(json.dumps(whole))
    weights = broken / "model" / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1000])
    refused(run("trace", PROMPT, "--kit", broken), "model.safetensors", "bytes")
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    refused(run("trace", PROMPT, "--kit", broken), "model.safetensors", "sha256")


def test_truncated_weights_are_refused(run, broken):
    for name in ("model/model.safetensors", "dictionary/layer_2.safetensors"):
        path = broken / name
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        refused(run("trace", PROMPT, "--kit", broken), path.name if "layer" in name else "safetensors")
        path.write_bytes(content)


def test_nan_weights_are_refused(run, broken):
    damage(broken / "dictionary" / "layer_1.safetensors", "encoder_scale", lambda t: t.fill_(float("nan")))
    refused(run("trace", PROMPT, "--kit", broken), "encoder_scale", "NaN")
    damage(broken / "model" / "model.safetensors", "transformer.h.0.mlp.c_fc.bias", lambda t: t.fill_(float("nan")))
    refused(run("trace", PROMPT, "--kit", broken), "NaN")


def test_dictionary_of_another_width_is_refused(run, broken, tmp_path_factory):
    layer = clew.Dictionary.load(broken / "dictionary").layers[0]
    small = layer.with_tensors(
        {
            "encoder": layer.encoder[:, :64],
            "bias": layer.bias,
            "decoder": layer.decoder[:, :1, :64],
            "decoder_bias": layer.decoder_bias[:64],
        }
        | {k: v for k, v in layer.tensors().items() if k == "threshold"}
    )
    other = clew.Dictionary(
        kind="plt",
        layers={0: small},
        writes={0: (0,)},
        read_site="mlp_in",
        write_site="mlp_out",
        n_layers=6,
        d_model=64,
        name="narrow",
    )
    folder = tmp_path_factory.mktemp("narrow") / "dictionary"
    other.save(folder)
    refused(run("trace", PROMPT, "--model", broken / "model", "--dictionary", folder), "64", "128")


def test_an_sae_is_refused(run, broken, tmp_path_factory):
    layer = clew.Dictionary.load(broken / "dictionary").layers[0]
    tensors = {**layer.tensors(), "decoder": layer.decoder[:, :1]}
    sae = clew.Dictionary(
        kind="sae",
        layers={0: layer.with_tensors(tensors)},
        writes={0: (0,)},
        read_site="resid_post",
        write_site="resid_post",
        n_layers=6,
        d_model=128,
        name="sae",
    )
    folder = tmp_path_factory.mktemp("sae") / "dictionary"
    sae.save(folder)
    refused(run("trace", PROMPT, "--model", broken / "model", "--dictionary", folder), "SAE", "transcoder")


def test_unsupported_architecture_names_the_supported(run, broken):
    config = json.loads((broken / "model" / "config.json").read_text())
    config |= {"architectures": ["BloomForCausalLM"], "model_type": "bloom"}
    (broken / "model" / "config.json").write_text(json.dumps(config))
    refused(run("trace", PROMPT, "--kit", broken), "BloomForCausalLM", "GPT2LMHeadModel", "LlamaForCausalLM")


@pytest.mark.parametrize("number", ["0", "-3"])
def test_max_features_below_one_is_refused(run, number, tmp_path):
    refused(run("trace", PROMPT, "--max-features", number, "--save", "a.graph"), number, wrote=tmp_path)


def test_bad_targets_and_positions_are_refused(run):
    refused(run("trace", PROMPT, "--target", "Neverland and more"), "Neverland")
    refused(run("trace", PROMPT, "--position", "77"), "77")
    refused(run("trace", PROMPT, "--answer", ""), "answer")


def test_no_prompt_half_a_model_and_chat_without_template_are_refused(run, tmp_path):
    refused(run("trace"), "prompt")
    refused(run("trace", PROMPT, "--dictionary", "somewhere"), "--model")
    refused(run("trace", PROMPT, "--chat"), "chat template")
    (tmp_path / "none.txt").write_text("\n \n")
    refused(run("trace", "--prompts", "none.txt"), "none.txt")
    refused(run("trace", "--prompts", "missing.txt"), "missing.txt")


def test_organism_show_draws_the_same_world_twice(run):
    first, second = run("organism", "show", "--count", "5"), run("organism", "show", "--count", "5")
    assert first == second
    assert len(first[1].splitlines()) == 5


def test_kit_show_and_build(run, tmp_path):
    folder = BUNDLED / "minnow"
    code, out, _ = run("kit", "build", "own", "--model", folder / "model", "--dictionary", folder / "dictionary")
    assert (code, out) == (0, "built own\n")
    assert "6 layers of width 128" in run("kit", "show", "own")[1]
    refused(run("kit", "build", "own", "--model", folder / "model", "--dictionary", folder / "dictionary"), "own")


def test_a_small_model_is_traced_on_one_thread(run):
    torch.set_num_threads(2)
    try:
        assert run("trace", "The capital of France is")[0] == 0
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(1)
