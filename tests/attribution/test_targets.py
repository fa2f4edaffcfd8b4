"""Targets: which outputs a graph explains by default, and how a person names others."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers import models as tokenizer_models
from transformers import PreTrainedTokenizerFast

from clew.attribution.targets import resolve, targets_of_answer, token_of
from clew.errors import InputError
from clew.subject.recording import Recording, Unembed
from clew.subject.subject import Subject
from tests import models
from tests.models import PROMPT

ARCHITECTURES = ("gpt2", "gemma2", "gptj")  # without and with a final soft-cap, with a bias of the head


@pytest.fixture(scope="module", params=ARCHITECTURES)
def subject(request: pytest.FixtureRequest) -> Subject:
    return models.subject(request.param)


@pytest.fixture(scope="module")
def recording(subject: Subject) -> Recording:
    return subject.record(PROMPT)


def test_default_targets_are_the_smallest_top_set_with_the_mass(subject: Subject, recording: Recording) -> None:
    chances = sorted(recording.probabilities[-1].tolist(), reverse=True)
    for mass in (0.05, 0.3, 0.95):
        found = resolve(subject, recording, mass=mass, most=97)
        weights = [t.weight for t in found]
        assert weights == [1.0] if len(found) == 1 else weights == chances[: len(found)]
        assert sum(chances[: len(found)]) >= mass > sum(chances[: len(found) - 1])
    assert len(resolve(subject, recording)) == 10  # random logits are broad: the limit is what counts
    assert len(resolve(subject, recording, most=3)) == 3


def test_the_mean_row_of_the_unembedding_is_taken_once_for_all_targets(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording, mean = subject.record(PROMPT), vars(Unembed)["mean"]
    taken: list[Unembed] = []
    whole = mean.func
    monkeypatch.setattr(mean, "func", lambda head: taken.append(head) or whole(head))
    targets = resolve(subject, recording, [3, 17, 40])
    assert len(taken) == 1
    for target, token in zip(targets, (3, 17, 40), strict=True):
        torch.testing.assert_close(target.direction, subject.unembedding[token] - subject.unembedding.mean(0))


def test_all_the_mass_is_all_the_vocabulary(subject: Subject, recording: Recording) -> None:
    found = resolve(subject, recording, mass=1.0, most=1000)
    assert len(found) <= models.VOCAB
    assert sum(t.weight for t in found) == pytest.approx(1)


def test_a_tokens_direction_gives_its_logit_less_the_mean_before_any_soft_cap(
    subject: Subject, recording: Recording
) -> None:
    for place in (-1, 3, 0):
        for target in resolve(subject, recording, [5, "w9"], position=place):
            logits = recording.logits[place]
            value = float(recording.final[target.position] @ target.direction) + target.bias
            assert value == pytest.approx(float(logits[target.token] - logits.mean()), rel=1e-9)
            assert target.position == place % len(PROMPT)
            assert target.weight == target.probability == float(recording.probabilities[place, target.token])


def test_a_difference_gives_the_difference_of_two_logits(subject: Subject, recording: Recording) -> None:
    (target,) = resolve(subject, recording, "w5 - w9")
    value = float(recording.final[-1] @ target.direction) + target.bias
    assert value == pytest.approx(float(recording.logits[-1, 5] - recording.logits[-1, 9]), rel=1e-9)
    assert (target.label, target.weight, target.token) == ("w5 - w9", 1.0, None)


def test_an_unembedding_bias_joins_the_centred_logit(recording: Recording) -> None:
    model = models.model("gpt2")
    model.lm_head.bias = torch.nn.Parameter(torch.linspace(-1, 1, models.VOCAB, dtype=torch.float64))
    subject = Subject.load(model, models.tokenizer())
    biased = subject.record(PROMPT)
    for spec, wanted in (
        (5, biased.logits[-1, 5] - biased.logits[-1].mean()),
        ("w5 - w9", biased.logits[-1, 5] - biased.logits[-1, 9]),
    ):
        (target,) = resolve(subject, biased, spec)
        assert target.bias != 0
        assert float(biased.final[-1] @ target.direction) + target.bias == pytest.approx(float(wanted), rel=1e-9)


def test_a_single_target_weighs_one_and_several_weigh_their_probabilities(
    subject: Subject, recording: Recording
) -> None:
    (alone,) = resolve(subject, recording, "w5")
    assert alone.weight == 1
    assert alone.probability == float(recording.probabilities[-1, 5])
    both = resolve(subject, recording, ["w5", "w9"])
    assert [t.weight for t in both] == [t.probability for t in both]


def test_an_answers_tokens_stand_where_each_is_predicted(subject: Subject) -> None:
    recording = subject.record([*PROMPT, 11, 12])
    found = targets_of_answer(subject, recording, [11, 12, 13])
    assert [(t.token, t.position) for t in found] == [(11, 8), (12, 9), (13, 10)]
    assert [t.probability for t in found] == [
        float(recording.probabilities[p, t]) for t, p in ((11, 8), (12, 9), (13, 10))
    ]


def test_a_word_is_found_with_the_leading_space_that_makes_it_one_token() -> None:
    words = {
        "<bos>": 0,
        "ĠParis": 1,
        "Lyon": 2,
        "ĠLyon": 3,
        "P": 4,
        "a": 5,
        "r": 6,
        "i": 7,
        "s": 8,
        "Ġ": 9,
        "L": 10,
        "y": 11,
        "o": 12,
        "n": 13,
    }
    merges = [
        ("P", "a"),
        ("r", "i"),
        ("Pa", "ri"),
        ("Pari", "s"),
        ("Ġ", "Paris"),
        ("L", "y"),
        ("o", "n"),
        ("Ly", "on"),
        ("Ġ", "Lyon"),
    ]
    words |= {"".join(pair): 20 + i for i, pair in enumerate(merges) if "".join(pair) not in words}
    made = Tokenizer(tokenizer_models.BPE(words, [m for m in merges if "".join(m) != "Paris"]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    subject = Subject.load(models.model("gpt2"), PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<bos>"))
    assert token_of(subject, "Lyon") == words["Lyon"]
    assert token_of(subject, " Lyon") == words["ĠLyon"]
    with pytest.raises(InputError, match="a target is empty"):
        token_of(subject, "")
    with pytest.raises(InputError, match="is not one token but"):
        token_of(subject, "Lyons")


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        ("two words", "not one token"),
        ("w5 - two words", "not one token"),
        (97, "outside the vocabulary"),
        (-1, "outside the vocabulary"),
        (torch.ones(31), "32 entries"),
        ([], "empty"),
        ("", "a target is empty"),
    ],
)
def test_targets_that_name_nothing_are_refused(
    subject: Subject, recording: Recording, specs: object, message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        resolve(subject, recording, specs)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("place", [9, -10, 1000])
def test_positions_outside_the_prompt_are_refused(subject: Subject, recording: Recording, place: int) -> None:
    with pytest.raises(InputError, match=f"position {place} is outside the prompt's 9 tokens"):
        resolve(subject, recording, position=place)


@pytest.mark.parametrize(("mass", "most"), [(0.0, 10), (1.1, 10), (0.5, 0)])
def test_a_mass_or_number_that_selects_nothing_is_refused(
    subject: Subject, recording: Recording, mass: float, most: int
) -> None:
    with pytest.raises(InputError, match="target mass"):
        resolve(subject, recording, mass=mass, most=most)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_direction_with_nan_is_refused(subject: Subject, recording: Recording, value: float) -> None:
    with pytest.raises(InputError, match="NaN or infinity"):
        resolve(subject, recording, torch.full((models.WIDTH,), value))


# --- names, ids, and targets that are nothing -------------------------------------------------------------------


@pytest.mark.parametrize("spec", ["#5", 5, np.int64(5), np.uint8(5), torch.tensor(5), np.array(5), "w5"])
def test_a_token_is_named_by_id_in_every_form(subject: Subject, recording: Recording, spec: object) -> None:
    (target,) = resolve(subject, recording, spec)  # type: ignore[arg-type]
    assert (target.label, target.token) == ("w5", 5)


@pytest.mark.parametrize("specs", [np.array([5, 9]), torch.tensor([5, 9]), (np.int32(5), "#9"), {"w5": 1, 9: 2}.keys()])
def test_several_ids_come_as_any_sequence(subject: Subject, recording: Recording, specs: object) -> None:
    assert [target.token for target in resolve(subject, recording, specs)] == [5, 9]  # type: ignore[arg-type]


def test_a_direction_may_be_an_array(subject: Subject, recording: Recording) -> None:
    values = np.linspace(-1, 1, models.WIDTH, dtype=np.float32)
    (target,) = resolve(subject, recording, values)
    assert torch.equal(target.direction, torch.from_numpy(values).double())


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        ("w5 - w5", "is zero"),
        ("w5 - #5", "is zero"),
        (torch.zeros(models.WIDTH), "zero everywhere"),
        (np.full(models.WIDTH, 1e-200, dtype=np.longdouble) ** 2, "zero everywhere"),
        (5.0, "not 5.0"),
        (True, "not True"),
        ([5, None], "not None"),
        (torch.tensor(5.0), "32 entries"),
        (torch.ones(models.WIDTH, dtype=torch.bool), "made of floats"),
        (torch.ones(models.WIDTH, dtype=torch.long), "array of whole numbers"),
        ("#97", "outside the vocabulary"),
        ("w5 - #97", "outside the vocabulary"),
        ("zanzibar", "not one token"),
        ("w5\ud800", "half a character"),
    ],
)
def test_targets_that_are_nothing_are_refused(
    subject: Subject, recording: Recording, specs: object, message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        resolve(subject, recording, specs)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_tokens_of_one_direction_cancel_and_a_mean_token_is_zero() -> None:
    model = models.model("gpt2")
    with torch.no_grad():
        model.lm_head.weight[7] = model.lm_head.weight[8]
    subject = Subject.load(model, models.tokenizer())
    recording = subject.record(PROMPT)
    with pytest.raises(InputError, match="its two tokens have one direction"):
        resolve(subject, recording, "w7 - w8")
    with torch.no_grad():
        model.lm_head.weight.copy_(model.lm_head.weight[7].expand(models.VOCAB, -1))
    with pytest.raises(InputError, match="its unembedding is the mean of all"):
        resolve(subject, subject.record(PROMPT), "w7")


def test_targets_that_weigh_nothing_are_refused(subject: Subject, recording: Recording) -> None:
    impossible = replace(recording, probabilities=torch.zeros_like(recording.probabilities))
    with pytest.raises(InputError, match="every target has probability 0"):
        resolve(subject, impossible, ["w5", "w9"])
    assert resolve(subject, impossible, "w5")[0].weight == 1


def test_a_difference_may_have_the_sign_inside_a_token() -> None:
    tokenizer = models.marked_tokenizer()
    tokenizer.add_tokens(["the - Paris", "x - x"])
    subject = Subject(models.model("llama", vocab_size=len(tokenizer)), tokenizer, "marked")
    recording, ids = subject.record(list(PROMPT)), tokenizer.get_vocab()

    def direction(plus: str, minus: str) -> torch.Tensor:
        return subject.unembedding[ids[plus]] - subject.unembedding[ids[minus]]

    assert resolve(subject, recording, "the - Paris")[0].token == ids["the - Paris"]
    assert torch.equal(resolve(subject, recording, "A - Paris")[0].direction, direction("A", "Paris"))
    assert torch.equal(resolve(subject, recording, "A -  Paris")[0].direction, direction("A", "▁Paris"))
    assert torch.equal(resolve(subject, recording, "x - x - A")[0].direction, direction("x - x", "A"))
    tokenizer.add_tokens(["x - A"])
    with pytest.raises(InputError, match="can be divided in 2 ways"):
        resolve(Subject(subject.model, tokenizer, "marked"), recording, "x - x - A")


def test_a_target_of_marked_pieces_is_the_piece_that_continues_the_text() -> None:
    tokenizer = models.marked_tokenizer()
    subject = Subject(models.model("llama", vocab_size=len(tokenizer)), tokenizer, "marked")
    ids = tokenizer.get_vocab()
    assert token_of(subject, "Paris") == ids["Paris"]
    assert token_of(subject, " Paris") == ids["▁Paris"]
    assert token_of(subject, "\n") == ids["<0x0A>"]
    assert token_of(subject, "<0xD0>") == ids["<0xD0>"]
