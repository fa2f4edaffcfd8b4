"""Files of the hub are found in its local cache without a network; what is missing is named with its place."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import clew
from clew.dictionary import Dictionary, save_circuit_tracer
from clew.errors import FileError
from tests import models
from tests.dictionary import layout_writers as writers
from tests.dictionary.layout_writers import L, put_yaml
from tests.dictionary.test_dictionary import build
from tests.dictionary.test_published_layouts import check

COMMIT, HOOKS = "0" * 40, {"feature_input_hook": "ln2.hook_normalized", "feature_output_hook": "hook_mlp_out"}
Cached = Callable[..., Path]


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cached:
    """Make a repository's folder in a cache that is offline."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    def repository(name: str, revision: str = "main") -> Path:
        folder = tmp_path / "hub" / f"models--{name.replace('/', '--')}"
        (folder / "refs").mkdir(parents=True, exist_ok=True)
        (folder / "refs" / revision).write_text(COMMIT)
        (folder / "snapshots" / COMMIT).mkdir(parents=True, exist_ok=True)
        return folder / "snapshots" / COMMIT

    return repository


def moved(written: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    if to.exists():
        to.rmdir()
    written.rename(to)


def test_a_list_of_files_of_the_hub_is_followed(cached: Cached, tmp_path: Path) -> None:
    plain = writers.gemma_scope(tmp_path)
    moved(plain.folder, cached("google/gemma-scope-2b-pt-transcoders"))
    listed = [
        f"hf://google/gemma-scope-2b-pt-transcoders/layer_{i}/width_16k/average_l0_{20 + i}/params.npz"
        for i in range(L)
    ]
    put_yaml(tmp_path / "list" / "config.yaml", HOOKS | {"model_kind": "transcoder_set", "transcoders": listed})
    check(plain, Dictionary.load(tmp_path / "list"), 1e-5)
    moved(tmp_path / "list", cached("mntss/gemma-scope-transcoders"))
    by_name = Dictionary.load("mntss/gemma-scope-transcoders")
    check(plain, by_name, 1e-5)
    assert by_name.name == "mntss/gemma-scope-transcoders"


def test_a_list_may_name_a_clt_of_gemma_scope_2(cached: Cached, tmp_path: Path) -> None:
    plain = writers.gemma_scope_2_clt(tmp_path)
    moved(plain.folder, cached("google/gemma-scope-2-1b-pt") / "clt" / "wide")
    listed = [f"hf://google/gemma-scope-2-1b-pt/clt/wide/params_layer_{i}.safetensors?revision=main" for i in range(L)]
    config = {"model_kind": "cross_layer_transcoder", "transcoders": listed, "feature_input_hook": "mlp.hook_in"}
    put_yaml(tmp_path / "list" / "config.yaml", HOOKS | config)
    check(plain, Dictionary.load(tmp_path / "list"), 1e-5)


def test_a_list_reads_each_file_as_what_its_tensors_are(tmp_path: Path) -> None:
    save_circuit_tracer(build("plt", "relu", dtype=torch.float32), tmp_path / "d", model_name="m", scan="s")
    for i in range(L):
        (tmp_path / "d" / f"layer_{i}.safetensors").rename(tmp_path / "d" / f"part-{i}.safetensors")
    put_yaml(tmp_path / "d" / "config.yaml", {"transcoders": [f"part-{i}.safetensors" for i in range(L)]})
    assert Dictionary.load(tmp_path / "d").fingerprint == build("plt", "relu", dtype=torch.float32).fingerprint


@pytest.mark.parametrize("end", ["", "/layer_1", "/layer_1/width_16k/average_l0_21/params.npz"])
@pytest.mark.parametrize("revision", ["", "@v1", "?revision=v1"])
def test_an_address_names_a_repository_a_folder_or_a_file(
    end: str, revision: str, cached: Cached, tmp_path: Path
) -> None:
    plain = writers.gemma_scope(tmp_path)
    moved(plain.folder, cached("google/gemma-scope-2b-pt-transcoders", "v1" if revision else "main"))
    read = Dictionary.load(f"hf://google/gemma-scope-2b-pt-transcoders{end}{revision}")
    assert sorted(read.layers) == ([1] if end else [0, 1, 2])
    x = writers.inputs()[1]
    active = read.encode(1, x)
    torch.testing.assert_close(
        active.activation, plain.activations(1, x)[active.position, active.index], rtol=1e-5, atol=1e-5
    )


def test_a_kit_takes_a_dictionary_by_its_address(cached: Cached, tmp_path: Path) -> None:
    models.model("llama", torch.float32).save_pretrained(tmp_path / "m")
    models.tokenizer().save_pretrained(tmp_path / "m")
    dictionary = models.dictionary("plt", models.subject("llama"), dtype=torch.float32)
    dictionary.save(cached("someone/plts") / "small")
    kit = clew.load(tmp_path / "m", dictionary="hf://someone/plts/small")
    assert kit.dictionary.fingerprint == dictionary.fingerprint


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("hf://someone/nothing/here", r"hf://someone/nothing/here is not in the hub's cache .*snapshots/<commit>/here"),
        ("hf://someone/plts/other", r"not in the hub's cache: put it at .*models--someone--plts/snapshots/0+/other"),
        ("someone/nothing", r"no folder here, and the hub gave no answer .*models--someone--nothing"),
        ("hf://someone", "is no address of the hub: write hf://owner/name/path"),
        ("hf://someone/plts/../../other", "leaves its repository"),
    ],
)
def test_what_is_not_in_the_cache_is_named_with_its_place(source: str, said: str, cached: Cached) -> None:
    cached("someone/plts")
    with pytest.raises(FileError, match=said) as caught:
        Dictionary.load(source)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("../secret.safetensors", "which lies outside"),
        ("/etc/secret.safetensors", "which lies outside"),
        ("..\\secret.safetensors", "which lies outside"),
        ("C:/secret.safetensors", "which lies outside"),
        ("hf://a/b/../../c.safetensors", "leaves its repository"),
        ("hf://a/b/x.pt", "is a pickle, which may run code"),
        ("hf://a/b/x.safetensors", r"not in the hub's cache .*snapshots/<commit>/x\.safetensors"),
        ("layer-0.safetensors", "layer-0.safetensors is missing"),
        ("layer.txt", "layer.txt is no file that holds a transcoder"),
    ],
)
def test_a_list_that_leads_elsewhere_is_refused(entry: str, said: str, cached: Cached, tmp_path: Path) -> None:
    put_yaml(tmp_path / "list" / "config.yaml", {"transcoders": [entry]})
    (tmp_path / "list" / "layer.txt").write_text("x")
    with pytest.raises(FileError, match=said):
        Dictionary.load(tmp_path / "list")


def test_a_configuration_that_lists_nothing_is_refused(tmp_path: Path) -> None:
    put_yaml(tmp_path / "config.yaml", {"model_kind": "transcoder_set"})
    with pytest.raises(FileError, match=r"holds no weights, and its config\.yaml lists none"):
        Dictionary.load(tmp_path)


def test_an_interrupted_download_is_said(cached: Cached, tmp_path: Path) -> None:
    plain = writers.gemma_scope(tmp_path)
    repository = cached("google/gemma-scope-2b-pt-transcoders")
    moved(plain.folder, repository)
    file = repository / "layer_1/width_16k/average_l0_21/params.npz"
    blobs = repository.parents[1] / "blobs"
    blobs.mkdir()
    file.rename(blobs / "abc.incomplete")
    file.write_bytes((blobs / "abc.incomplete").read_bytes()[:500])
    with pytest.raises(FileError, match=r"params\.npz is not a whole \.npz .*1 downloads there were interrupted"):
        Dictionary.load(repository)
