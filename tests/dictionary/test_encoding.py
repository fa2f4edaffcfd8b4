"""Active features found in blocks are those of the dense form: the same places, the same numbers."""

import pytest
import torch
from torch import Tensor

from clew.dictionary import BatchTopK, JumpReLU, ReLU, TopK
from clew.dictionary.encoding import active_features, block_size
from clew.dictionary.layer import ActiveFeatures
from clew.dictionary.nonlinearity import Nonlinearity

F, P = 43, 6
NONLINEARITIES = {
    "relu": ReLU(),
    "jumprelu": JumpReLU(threshold=torch.arange(F).remainder(5).double() - 1),  # a negative threshold lets some through
    "topk": TopK(k=7),
    "topk of all": TopK(k=F + 1),
    "batchtopk": BatchTopK(k=3, threshold=torch.tensor(2.0, dtype=torch.float64)),
    "batchtopk by feature": BatchTopK(k=3, threshold=torch.arange(F).remainder(4).double()),
}


def dense(nonlinearity: Nonlinearity, pre: Tensor) -> ActiveFeatures:
    activations = nonlinearity.apply(pre)
    position, index = activations.nonzero(as_tuple=True)
    values = activations[position, index], pre[position, index]
    return ActiveFeatures(position=position, index=index, activation=values[0], preactivation=values[1])


@pytest.mark.parametrize("name", NONLINEARITIES)
@pytest.mark.parametrize("size", [1, 5, 16, F, 100])
@pytest.mark.parametrize("seed", range(4))
def test_blocks_give_the_bits_of_the_dense_form_ties_included(name: str, size: int, seed: int) -> None:
    nonlinearity, g = NONLINEARITIES[name], torch.Generator().manual_seed(seed)
    pre = torch.randint(-4, 5, (P, F), generator=g).double()  # nine values, so that many are equal
    pre[0] = pre[0].clamp_max(0)  # a position without any, and one with fewer than k
    pre[1] = -1
    pre[1, [3, 40]] = 2
    blocks = active_features(lambda block: pre[:, block], nonlinearity, F, size)
    expected = dense(nonlinearity, pre)
    for part in ("position", "index", "activation", "preactivation"):
        assert torch.equal(getattr(blocks, part), getattr(expected, part)), part


def test_no_block_holds_a_layer_of_a_large_dictionary() -> None:
    looked_at = []

    def preactivations(block: slice) -> Tensor:
        looked_at.append(block.stop - block.start)
        return torch.zeros(2000, looked_at[-1])

    active_features(preactivations, ReLU(), 49_152, block_size(2000, 768))
    assert sum(looked_at) == 49_152
    assert max(looked_at) * 2000 <= 1 << 22
