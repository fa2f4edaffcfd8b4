"""Many prompts at once: what one prompt after the other gives, without edits and with them."""

import pytest
import torch

from clew.errors import InputError
from clew.intervention.edit import Edit
from clew.kit import Kit
from clew.progress import Progress
from clew.studies.columns import read_columns
from clew.studies.measuring import AT_ONCE, likeliest, next_probabilities, read_answers
from tests import models

PROMPTS = [(0, 5, 9, 3), (0, 7), (0, 8, 8, 2, 6, 1), (0, 4, 4)]
EDITS = [
    [Edit.ablate("L0/3", positions=2), Edit.ablate("L1/5", positions=3)],
    [Edit.set("L1/2", 2.0, positions=1)],
    [Edit.scale("L0/7", 3.0)],
    [Edit.ablate("L1/1", positions=2)],
]


@pytest.fixture(scope="module", params=["clt", "neurons"])
def kit(request):
    subject = models.subject("gpt2", torch.float32)
    if request.param == "neurons":
        return Kit(subject, name="tiny")
    return Kit(subject, models.dictionary(request.param, subject, dtype=torch.float32), name="tiny")


def ended(steps):
    """What a generator returns, and its reports."""
    reports = []
    while True:
        try:
            reports.append(next(steps))
        except StopIteration as end:
            return end.value, reports


def test_next_probabilities_are_those_of_each_prompt_alone(kit):
    together = next_probabilities(kit, PROMPTS)
    for row, prompt in zip(together, PROMPTS, strict=True):
        logits = kit.subject.logits(torch.tensor([prompt]))[0, -1]
        assert torch.allclose(row, logits.softmax(-1), atol=1e-6)


@pytest.mark.parametrize("through", [None, 1])
def test_every_case_is_read_with_its_own_number_and_its_own_edits(kit, through):
    cases = [*zip(PROMPTS, EDITS, strict=True)] * (AT_ONCE // 4 + 1)
    numbered, reports = ended(
        read_answers(
            kit, cases, lambda i, said: torch.cat([torch.tensor([i]), said.probabilities]), what="x", through=through
        )
    )
    assert numbered[:, 0].tolist() == [*range(len(cases))]
    assert [(each.done, each.of) for each in reports] == [(0, len(cases)), (AT_ONCE, len(cases))]
    assert all(isinstance(each, Progress) for each in reports)
    for row, (prompt, edits) in zip(numbered[-4:, 1:], cases[-4:], strict=True):
        alone = kit.edit(list(prompt), edits, through=through, predict=None).measured.probabilities[-1]
        assert torch.allclose(row, alone, atol=1e-6)


def test_the_likeliest_token_is_read_and_without_cases_nothing_is(kit):
    tops, _ = ended(read_answers(kit, [(prompt, ()) for prompt in PROMPTS], likeliest, what="x"))
    assert tops.tolist() == next_probabilities(kit, PROMPTS).argmax(1).tolist()
    assert ended(read_answers(kit, [], likeliest, what="x"))[0].tolist() == []


def test_an_impossible_edit_is_refused(kit):
    with pytest.raises(InputError, match="position 9 is outside"):
        ended(read_answers(kit, [(PROMPTS[0], [Edit.ablate("L0/3", positions=9)])], likeliest, what="x"))


def test_columns_are_the_features_that_are_ever_active_with_their_decoders_length(kit):
    positions = [1, 1, 4, 2]
    columns, rows = read_columns(kit, PROMPTS, positions)
    read = [*kit.activations([list(prompt) for prompt in PROMPTS], positions=positions)]
    for layer in kit.dictionary.layers:
        dense = torch.cat([each.layers[layer] for each in read])
        here = columns.layer == layer
        assert columns.index[here].tolist() == (dense != 0).any(0).nonzero()[:, 0].tolist()
        assert torch.equal(rows[:, here], dense[:, columns.index[here]])
        for index, norm in zip(columns.index[here].tolist()[:5], columns.norm[here].tolist()[:5], strict=True):
            decoders = kit.dictionary.decoder_rows(layer, torch.tensor([index]))[0]
            assert norm == pytest.approx(float(sum((row**2).sum() for row in decoders) ** 0.5), rel=1e-5)
    assert [str(each) for each in columns.ids[:1]] == [f"L{int(columns.layer[0])}/{int(columns.index[0])}"]
