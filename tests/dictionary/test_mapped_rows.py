"""Rows that are put together when they are asked for are those of the whole tensor, in every way of asking."""

import pytest
import torch
from torch import Tensor

from clew.dictionary.mapped_rows import MappedRows, mapped_rows
from clew.kernels.decode import decode_dense, decode_sparse

F, D, S = 11, 6, 3


def drawn(dtype: torch.dtype = torch.float32) -> tuple[list[list[Tensor]], Tensor]:
    """Two shards of 4 and 7 features with three slots each, and the tensor [feature, slot, d_model] they make."""
    g = torch.Generator().manual_seed(0)
    shards = [[torch.randn(n, D, generator=g).to(dtype) for _ in range(S)] for n in (4, 7)]
    return shards, torch.cat([torch.stack(shard, 1) for shard in shards])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("scaled", ["", "numbers", "columns", "rows", "all"])
def test_every_way_of_asking_gives_what_the_whole_tensor_gives(dtype: torch.dtype, scaled: str) -> None:
    shards, plain = drawn(dtype)
    columns = {"numbers": [2.0, 0.5, 3.0], "columns": [torch.rand(D) for _ in range(S)]}.get(scaled)
    columns = [torch.rand(D) for _ in range(S)] if scaled == "all" else columns
    rows = torch.rand(F) if scaled in ("rows", "all") else None
    if scaled:
        plain = plain.to(torch.promote_types(dtype, torch.float32))
    if columns is not None:
        plain = plain * torch.stack([torch.as_tensor(c).expand(D) for c in columns]).to(plain)
    if rows is not None:
        plain = plain * rows[:, None, None].to(plain)
    lazy = mapped_rows(shards, slots=True, columns=columns, rows=rows)
    ids = torch.tensor([9, 0, 3, 4, 4])
    assert isinstance(lazy, MappedRows)
    assert (lazy.shape, lazy.dtype) == (plain.shape, plain.dtype)
    same = [
        (lazy.index_select(0, ids), plain.index_select(0, ids)),
        (lazy[ids], plain[ids]),
        (lazy[2:9].index_select(0, ids[:1] - 3), plain[2:9].index_select(0, ids[:1] - 3)),
        (lazy[:, 1:].clone(), plain[:, 1:]),
        (lazy[:, 2].clone(), plain[:, 2]),
        (torch.cat([part.clone() for part in lazy.split(3)]), plain),
        (lazy.detach().cpu().contiguous(), plain),
        (lazy.to(torch.float64) + 0, plain.to(torch.float64)),
        (lazy * 2, plain * 2),
        (lazy.flatten(1), plain.flatten(1)),
        (lazy[5:5].clone(), plain[5:5]),
    ]
    assert all(type(a) is Tensor and a.dtype == b.dtype and torch.equal(a, b) for a, b in same)
    assert isinstance(lazy[2:9], MappedRows)
    assert isinstance(lazy[:, 1], MappedRows)


def test_an_encoder_in_shards_is_one_matrix() -> None:
    shards, plain = drawn()
    lazy = mapped_rows([[shard[0]] for shard in shards], slots=False)
    assert torch.equal(torch.nn.functional.linear(torch.ones(2, D), lazy), torch.ones(2, D) @ plain[:, 0].T)


def test_what_needs_nothing_stays_the_plain_tensor_it_is() -> None:
    slot = torch.randn(F, D)
    assert mapped_rows([[slot]], slots=False) is slot
    assert mapped_rows([[slot]], slots=True).data_ptr() == slot.data_ptr()
    assert type(mapped_rows([[slot[:1], slot[:1]]], slots=True)) is Tensor


def test_only_the_rows_asked_for_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    shards, _ = drawn()
    lazy = mapped_rows(shards, slots=True, columns=[1.0, 2.0, 3.0])
    monkeypatch.setattr(MappedRows, "whole", lambda self: pytest.fail("the whole tensor was made"))
    position, index = torch.tensor([0, 0, 1]), torch.tensor([1, 8, 3])
    decode_sparse(position, index, torch.ones(3), lazy, 2)
    lazy.index_select(0, index)
    lazy.detach()[2:5].index_select(0, index[:1])


@pytest.mark.parametrize("view", ["rows", "permuted"])
def test_decoding_reads_them_as_it_reads_a_plain_decoder(view: str) -> None:
    shards, plain = drawn()
    stacked = plain.permute(1, 0, 2).contiguous().permute(1, 0, 2)
    decoder = mapped_rows(shards, slots=True) if view == "rows" else stacked
    assert not decoder.is_contiguous()
    dense = torch.zeros(2, F)
    dense[0, 1], dense[0, 8], dense[1, 3] = 2.0, -1.0, 0.5
    position, index = dense.nonzero(as_tuple=True)
    got = decode_sparse(position, index, dense[position, index], decoder, 2)
    torch.testing.assert_close(got, decode_dense(dense, plain))


def test_nothing_is_written_into_mapped_files() -> None:
    shards, _ = drawn()
    with pytest.raises(TypeError, match="cannot be written"):
        mapped_rows(shards, slots=True).mul_(2)
