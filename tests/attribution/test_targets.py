"""Targets: which outputs a graph explains by default, and how a person names others."""

import pytest
import torch
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers import models as tokenizer_models
from transformers import PreTrainedTokenizerFast

from clew.attribution.targets import resolve, targets_of_answer, token_of
from clew.errors import InputError
from clew.subject.recording import Recording
from clew.subject.subject import Subject
from tests import models
from tests.models import PROMPT

ARCHITECTURES = ("gpt2", "gemma2")  # without and with a final soft-cap


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
        ("", "not one token"),
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
