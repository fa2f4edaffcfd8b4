"""Published files stay on the disk: loading reads headers and vectors, whatever the layout's order of axes is."""

import json
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from clew.dictionary import Dictionary
from clew.dictionary.mapped_rows import MappedRows
from tests.dictionary import model_wide_writers as wide
from tests.dictionary.layout_writers import put_json, put_yaml

MEASURE = """
import sys, torch
from clew.dictionary import Dictionary
def resident():
    return next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("VmRSS")) / 1024
import safetensors.torch, yaml, numpy
before = resident()
d = Dictionary.load(sys.argv[1])
print(resident() - before)
"""
WIDTH, LAYERS = 64, 4
LARGE, MEDIUM = 1 << 20, 1 << 17


def holes(path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    """A safetensors file of zeros that takes no place on the disk."""
    header, end = {}, 0
    for name, shape in shapes.items():
        size = 4 * int(torch.Size(shape).numel())
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as opened:
        opened.write(struct.pack("<Q", len(text)) + text)
        opened.truncate(8 + len(text) + end)


def saelens(folder: Path) -> None:
    shapes = {"W_enc": (WIDTH, LARGE), "W_dec": (LARGE, WIDTH), "b_enc": (LARGE,), "b_dec": (WIDTH,)}
    holes(folder / "sae_weights.safetensors", shapes)
    names = {"hook_name": "blocks.0.mlp.hook_in", "hook_name_out": "blocks.0.hook_mlp_out"}
    put_json(folder / "cfg.json", {"architecture": "transcoder", "metadata": names})


def crosslayer(folder: Path) -> None:
    shapes = {"encoder.W": (LAYERS, WIDTH, MEDIUM), "encoder.b": (LAYERS, MEDIUM), "decoder.b": (LAYERS, WIDTH)}
    holes(folder / "checkpoint.safetensors", shapes | {f"decoder.W_{t}": (t + 1, MEDIUM, WIDTH) for t in range(LAYERS)})
    put_yaml(folder / "config.yaml", {"model": {"nonlinearity": {"class_path": "torch.nn.ReLU"}}})


def gemma_scope(folder: Path) -> None:
    path = folder / "gemma-scope-2b-pt-transcoders" / "layer_0" / "params.npz"
    path.parent.mkdir(parents=True)
    matrices = {"W_enc": np.zeros((WIDTH, MEDIUM), np.float32), "W_dec": np.zeros((MEDIUM, WIDTH), np.float32)}
    vectors = {"b_enc": np.zeros(MEDIUM, np.float32), "threshold": np.zeros(MEDIUM, np.float32)}
    np.savez(path, b_dec=np.zeros(WIDTH, np.float32), **matrices, **vectors)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="resident memory is read from /proc")
@pytest.mark.parametrize("write", [saelens, crosslayer, gemma_scope])
def test_loading_reads_a_twentieth_of_the_files_at_most(write: object, tmp_path: Path) -> None:
    write(tmp_path / "d")  # type: ignore[operator]
    size = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    run = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path / "d")], capture_output=True, text=True, check=True
    )
    assert size > 6e7
    assert float(run.stdout) < 12 + size / 20e6


def test_encoding_and_rows_never_make_the_whole_of_what_is_put_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = wide.clt_forge(tmp_path, ranks=2)
    dictionary = Dictionary.load(plain.folder)
    assert isinstance(dictionary.layers[0].decoder, MappedRows)
    assert isinstance(dictionary.layers[0].encoder, MappedRows)
    blocks = []
    whole = MappedRows.whole
    monkeypatch.setattr("clew.dictionary.encoding.BLOCK", 64)  # eight features at once
    monkeypatch.setattr("clew.dictionary.encoding._LEAST", 1)
    monkeypatch.setattr(MappedRows, "whole", lambda self: blocks.append(len(self)) or whole(self))
    x = torch.randn(3, 8)
    active = dictionary.encode(0, x)
    dictionary.decode_layer(0, active, 3)
    dictionary.encoder_rows(0, active.index)
    assert max(blocks) == 8
