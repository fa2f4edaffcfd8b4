"""A model alone, without any dictionary: every command that takes a kit takes it by its neurons."""

import json
import shutil

import pytest
import torch

import clew
from tests import models

PROMPT = "w5 w8 w3 w9"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Two tiny models, one of them with experts."""
    folder = tmp_path_factory.mktemp("models")
    for name in ("llama", "gpt_oss"):
        models.model(name, torch.float32).save_pretrained(folder / name)
        models.tokenizer().save_pretrained(folder / name)
    return folder


@pytest.fixture
def run(run, saved, tmp_path):
    """The command line in a folder with the models."""
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    return run


def test_a_model_is_traced_by_its_neurons(run):
    code, out, err = run("trace", PROMPT, "--model", "llama", "--max-features", 40, "--effects")
    assert (code, err) == (0, "")
    words = " ".join(out.split())
    assert "neurons of llama" in words
    assert "with 40 of 768 active neurons, those that change it most; the others are the rest, one node a" in words
    assert "share of rest" in words
    assert "Strongest effects" in words
    code, out, _ = run("trace", PROMPT, "--model", "llama", "--max-features", 40, "--json")
    assert json.loads(out)["n_features"] == 40


def test_a_graph_of_neurons_comes_back_from_its_file_and_is_audited(run, tmp_path):
    assert run("trace", PROMPT, "--model", "llama", "--max-features", 40, "--effects", "--save", "x.graph")[0] == 0
    graph = clew.Graph.load(tmp_path / "x.graph")
    assert graph.node_label(graph.error_range[0]).endswith(" rest")
    code, out, err = run("audit", "--graph", "x.graph", "--model", "llama", "--nodes", 20, "--json")
    assert code == 0, err
    assert json.loads(out)
    code, out, err = run("audit", "--graph", "x.graph", "--nodes", 5)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "traced with" in err


def test_neurons_are_edited_and_looked_at(run):
    code, out, err = run("edit", PROMPT, "--model", "llama", "--ablate", "L1/3@2", "--generate", 2)
    assert (code, err) == (0, "")
    code, out, err = run("looks", PROMPT, "--model", "llama", "--layer", 2, "--head", 1, "--measure", 2)
    assert (code, err) == (0, "")
    assert "L0/" in out


def test_an_atlas_of_neurons_is_harvested_and_read_with_them(run, tmp_path):
    (tmp_path / "text.txt").write_text("\n".join(f"w{1 + i % 7} w{1 + i % 11} w{1 + i % 5}" for i in range(200)))
    assert run("harvest", "a.sqlite", "--model", "llama", "--text", "text.txt")[0] == 0
    code, out, err = run("features", "show", "L1/3", "--atlas", "a.sqlite", "--model", "llama", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["feature"] == "L1/3"
    kit = ("--kit", "minnow", "--dictionary", "neurons")
    code, out, err = run("features", "show", "L1/3", "--atlas", "a.sqlite", *kit)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "neurons of minnow" in err  # and not its CLT, which was not asked for


def test_neurons_of_a_kits_model_are_named_in_one_way(run):
    code, out, err = run("trace", "The capital of France is", "--dictionary", "neurons", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["error_share"] < 1e-5
    kit = clew.load("minnow", dictionary="neurons")
    assert kit.dictionary.fingerprint == clew.Kit(kit.subject).dictionary.fingerprint


def test_a_kit_of_a_model_alone_has_its_neurons():
    subject = models.subject("llama")
    graph = clew.Kit(subject).trace(list(models.PROMPT), max_features=10)
    assert graph.dictionary == f"neurons of {subject.name}"
    assert graph.n_features == 10


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--dictionary", "d"), "--dictionary needs the model"),
        (("--model", "llama", "--other-model"), "--other-model goes with --model and a --dictionary"),
        (("--dictionary", "neurons", "--kit", "minnow", "--model", "llama"), "--kit"),
        (("--model", "nowhere"), "nowhere"),
    ],
)
def test_mistakes_are_one_line(run, arguments, words):
    code, out, err = run("trace", PROMPT, *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert words in err


def test_experts_are_refused(run, tmp_path):
    code, out, err = run("trace", PROMPT, "--model", "gpt_oss")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "several experts" in err
