"""Activations on disk: the batches of the running model, whole or refused, and only for that model and text."""

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch import Tensor

from clew import files
from clew.errors import FileError, InputError, MismatchError
from clew.subject.subject import Subject
from clew.training import cache
from clew.training.activations import Batch, stream
from clew.training.cache import build_cache, cache_bytes, open_cache
from clew.training.corpus import Documents, encode_documents
from tests.models import subject


@pytest.fixture(scope="module")
def small() -> Subject:
    return subject("gpt2", torch.float32)


def batches(small: Subject, documents: Documents, **changes: int) -> Iterator[Batch]:
    sizes = {"batch": 16, "buffer": 60, "seed": 1, **changes}
    return stream(small, documents, read_site="mlp_in", write_site="mlp_out", **sizes)


@pytest.fixture
def documents(small: Subject) -> Documents:
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(2, 20, (40,), generator=generator).tolist()
    return encode_documents(small, [torch.randint(1, 97, (n,), generator=generator) for n in lengths])


def test_a_cache_gives_the_batches_of_the_running_model(small: Subject, documents: Documents, tmp_path: Path) -> None:
    sites = {"read_site": "mlp_in", "write_site": "mlp_out"}
    cache.SHARD_BYTES, before = 30_000, cache.SHARD_BYTES
    try:
        done = list(build_cache(small, documents, tmp_path, **sites))
        shards = sorted(tmp_path.glob("*.safetensors"))
        assert (done[-1].done, done[-1].of) == (40, 40)
        assert len(done) == len(shards) > 3
        stored = sum(files.load_tensors(path)["activations"].nbytes for path in shards)
        assert stored == cache_bytes(small, documents)
        cached = open_cache(small, documents, tmp_path, **sites)
        for one, two in zip(islice(batches(small, documents), 60), islice(batches(small, cached), 60), strict=True):
            torch.testing.assert_close(one.inputs, two.inputs, rtol=1e-3, atol=1e-3)
            torch.testing.assert_close(one.outputs, two.outputs, rtol=1e-3, atol=1e-3)
        # a build that was stopped writes what is missing, and only that
        times = {path: path.stat().st_mtime_ns for path in shards}
        content = shards[2].read_bytes()
        shards[2].unlink()
        with pytest.raises(FileError, match="lacks 00002"):
            open_cache(small, documents, tmp_path, **sites)
        assert len(list(build_cache(small, documents, tmp_path, **sites))) == 1
        assert shards[2].read_bytes() == content
        assert all(path.stat().st_mtime_ns == times[path] for path in shards if path != shards[2])
        path = sorted(tmp_path.glob("*.safetensors"))[0]
        whole = path.read_bytes()
        path.write_bytes(whole[:-9])
        with pytest.raises(FileError, match=r"00000\.safetensors, or it is not whole"):
            open_cache(small, documents, tmp_path, **sites)
        assert len(list(build_cache(small, documents, tmp_path, **sites))) == 1
        assert path.read_bytes() == whole
    finally:
        cache.SHARD_BYTES = before
    last = list(small.model.parameters())[-1]
    with changed(last, 0.5), pytest.raises(MismatchError, match="another model or text"):
        open_cache(small, documents, tmp_path, **sites)
    other = documents.slice(1, 30)
    for make in (open_cache, lambda *a, **k: next(build_cache(*a, **k))):
        with pytest.raises(MismatchError, match="another model or text"):
            make(small, other, tmp_path, **sites)


def test_a_cache_without_room_or_beyond_16_bits_is_refused(
    small: Subject, documents: Documents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sites = {"read_site": "mlp_in", "write_site": "mlp_out"}
    monkeypatch.setattr(files, "free_bytes", lambda path: cache.SPARE + cache_bytes(small, documents) - 1)
    with pytest.raises(FileError, match=r"0\.0 GB in .*, 1\.1 GB are free"):
        next(build_cache(small, documents, tmp_path / "a", **sites))
    assert not (tmp_path / "a").exists()
    monkeypatch.setattr(files, "free_bytes", lambda path: cache.SPARE + cache_bytes(small, documents))
    assert len(list(build_cache(small, documents, tmp_path / "a", **sites))) == 1
    bias = small.model.transformer.h[1].mlp.c_proj.bias
    with changed(bias, 7e4), pytest.raises(InputError, match="layer 1 reach 7e"):
        next(build_cache(small, documents, tmp_path / "b", **sites))


def test_activations_that_are_not_finite_are_told_with_the_batch_that_was_cached(
    small: Subject, documents: Documents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "SHARD_BYTES", 30_000)
    ids = documents.tokens.tolist()
    rare = next(i for i in range(96, 0, -1) if ids.count(i) == 1 and ids.index(i) > 200)
    row = int((documents.starts <= ids.index(rare)).sum()) - 1
    embedding = small.model.transformer.wte.weight
    before = embedding[rare].clone()
    try:
        embedding.data[rare] = float("nan")
        done = []
        with pytest.raises(InputError, match="mlp_in of layer 0 hold NaN or infinity in batch") as error:
            done.extend(build_cache(small, documents, tmp_path, read_site="mlp_in", write_site="mlp_out"))
    finally:
        embedding.data[rare] = before
    batch, first, last = (int(n) for n in re.findall(r"\d+", str(error.value).split("infinity")[1]))
    assert batch == len(done) > 0
    assert first <= row <= last


class changed:  # noqa: N801
    """A parameter filled with one value for a while."""

    def __init__(self, parameter: Tensor, value: float) -> None:
        self.parameter, self.value, self.before = parameter, value, parameter.detach().clone()

    def __enter__(self) -> None:
        self.parameter.data.fill_(self.value)

    def __exit__(self, *_: object) -> None:
        self.parameter.data.copy_(self.before)
