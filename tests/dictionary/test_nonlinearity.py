"""Which features are on: above zero, above a threshold, among the k largest; what is equal to a threshold is off."""

import pytest
import torch

from clew.dictionary import BatchTopK, JumpReLU, ReLU, TopK
from clew.errors import InputError

PRE = torch.tensor([[3.0, -1.0, 2.0, 2.0, 0.0], [-2.0, -1.0, -3.0, 0.5, 4.0]])


def test_each_keeps_what_it_says_and_leaves_it_unchanged() -> None:
    assert ReLU().apply(PRE).tolist() == [[3, 0, 2, 2, 0], [0, 0, 0, 0.5, 4]]
    threshold = torch.tensor([1.0, 0.0, 2.0, 1.0, 0.0])
    assert JumpReLU(threshold=threshold).apply(PRE).tolist() == [[3, 0, 0, 2, 0], [0, 0, 0, 0, 4]]
    assert TopK(k=1).apply(PRE).tolist() == [[3, 0, 0, 0, 0], [0, 0, 0, 0, 4]]
    assert TopK(k=2).apply(PRE).tolist() == [[3, 0, 2, 0, 0], [0, 0, 0, 0.5, 4]]  # the first of equals
    assert TopK(k=4).apply(PRE).tolist() == ReLU().apply(PRE).tolist()
    batch = BatchTopK(k=2, threshold=torch.tensor(2.0))
    assert batch.apply(PRE).tolist() == [[3, 0, 0, 0, 0], [0, 0, 0, 0, 4]]
    assert batch.apply_batch(PRE).tolist() == [[3, 0, 2, 2, 0], [0, 0, 0, 0, 4]]


@pytest.mark.parametrize("k", [0, -1])
def test_fewer_than_one_feature_is_refused(k: int) -> None:
    for make in (TopK, lambda k: BatchTopK(k=k, threshold=torch.tensor(1.0))):
        with pytest.raises(InputError, match=f"k is {k}: at least one"):
            make(k=k)
