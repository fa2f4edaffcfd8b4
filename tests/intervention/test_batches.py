"""Batches of prompts with edits: equal to each alone, in their order, in bounded memory; a bad case is named."""

import pytest
import torch

import clew
from clew.attribution.contrast import Contrast
from clew.dictionary import Dictionary
from clew.dictionary.prompt_activations import activations, mean_activations
from clew.errors import InputError
from clew.intervention import batches
from clew.intervention.batches import edited, next_tokens
from clew.intervention.edit import Edit
from clew.intervention.run import effect
from clew.subject.subject import Subject
from tests import models

PROMPTS = ([0, 5, 8, 3, 9], [0, 5, 8], [0, 22, 4, 7, 7, 9, 1], [0, 5, 8, 3, 9], [5, 9])
ARCHITECTURES = ("gpt2", "llama", "gemma2", "gptj")


@pytest.fixture(scope="module", params=ARCHITECTURES)
def subject(request: pytest.FixtureRequest) -> Subject:
    return models.subject(request.param)


def sae_of(subject: Subject) -> Dictionary:
    plt = models.dictionary("plt", subject)
    return Dictionary(
        kind="sae", layers=plt.layers, writes=plt.writes, read_site="resid_post", write_site="resid_post",
        n_layers=plt.n_layers, d_model=plt.d_model, name="random sae",
    )  # fmt: skip


def cases_of(dictionary: Dictionary) -> list[tuple[list[int], list[Edit]]]:
    """Every verb, several layers at once, all positions and some, prompts of several lengths, cases without edits."""
    last = max(dictionary.layers)
    return [
        (PROMPTS[0], [Edit.ablate("L0/3")]),
        (PROMPTS[2], [Edit.set(f"L{last}/7", 2.5, positions=(2, 4)), Edit.ablate("L0/1")]),
        (PROMPTS[1], []),
        (PROMPTS[3], [Edit.scale("L1/5", -2.0), Edit.add("L0/5", 1.5)]),
        (PROMPTS[4], [Edit.add("L1/2", 1.5), Edit.add("L1/2", -0.5, positions=1)]),
        (PROMPTS[2], [Edit.steer("L1/4", 3.0, positions=3)]),
        (PROMPTS[0], [Edit.steer("L0/4", 3.0), Edit.ablate("L0/3"), Edit.ablate(f"L{last}/3")]),
        (PROMPTS[0], [Edit.scale("L0/3", 3.0, positions=4)]),
    ]


@pytest.mark.parametrize("kind", ["plt", "skip-clt", "sae"])
def test_every_case_of_a_batch_is_the_case_alone(subject: Subject, kind: str) -> None:
    dictionary = sae_of(subject) if kind == "sae" else models.dictionary(kind, subject, threshold=0.3)
    cases = cases_of(dictionary)
    together = list(edited(subject, dictionary, cases, positions="all"))
    last = list(edited(subject, dictionary, iter(cases)))
    assert len(together) == len(last) == len(cases)
    moved = 0
    for (prompt, edits), found, at_last in zip(cases, together, last, strict=True):
        assert found.token_ids == tuple(prompt)
        torch.testing.assert_close(at_last.logits, found.logits[-1], rtol=1e-5, atol=1e-7)
        if not edits:
            logits = subject.logits(torch.tensor([prompt]))[0]
            torch.testing.assert_close(found.probabilities, logits.softmax(-1), rtol=1e-5, atol=1e-7)
            continue
        alone = effect(subject, dictionary, prompt, edits, predict=None)
        assert found.through == alone.through
        torch.testing.assert_close(found.logits, alone.measured.logits, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(found.probabilities, alone.measured.probabilities, rtol=1e-5, atol=1e-7)
        moved += not torch.allclose(alone.measured.logits, alone.before.logits)
    assert moved >= 5, "few edits change anything: the test says little"


def test_through_is_what_was_asked_for_and_stated(subject: Subject) -> None:
    dictionary = models.dictionary("clt", subject, threshold=0.3)
    through = subject.n_layers - 1
    case = (PROMPTS[2], [Edit.scale("L0/3", 4.0)])
    near, far = (next(edited(subject, dictionary, [case], through=e)) for e in (None, through))
    assert (near.through, far.through) == (0, through)
    assert not torch.allclose(near.logits, far.logits)
    alone = effect(subject, dictionary, *case, predict=None, through=through)
    torch.testing.assert_close(far.logits, alone.measured.logits[-1], rtol=1e-5, atol=1e-6)


def test_many_small_batches_and_windows_give_what_one_gives(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    dictionary = models.dictionary("plt", subject, threshold=0.3)
    cases = cases_of(dictionary) * 3
    whole = [found.logits for found in edited(subject, dictionary, cases)]
    monkeypatch.setattr(batches, "WINDOW", 5)
    monkeypatch.setattr(batches, "positions_at_once", lambda *_: 12)
    for found, expected in zip(edited(subject, dictionary, cases), whole, strict=True):
        torch.testing.assert_close(found.logits, expected, rtol=1e-5, atol=1e-6)


def test_cases_are_read_as_they_are_wanted(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a stream without an end costs the memory of a window."""
    monkeypatch.setattr(batches, "WINDOW", 3)
    dictionary, taken = models.dictionary("plt", subject), []

    def endless():
        while True:
            taken.append(1)
            yield PROMPTS[len(taken) % 3]

    stream = next_tokens(subject, dictionary, endless())
    for _ in range(4):
        next(stream)
    assert len(taken) == 6


def test_readings_are_sums_of_logits_and_probabilities_by_hand() -> None:
    subject = models.subject("gpt2")
    kit = clew.Kit(subject, models.dictionary("plt", subject, threshold=0.3))
    contrast = Contrast("some", plus={"w3": 2.0, 17: 1.0}, minus=["w5", "w6"])
    cases = [(PROMPTS[0], [Edit.ablate("L0/3")]), (PROMPTS[2], [])]
    found = kit.readings(cases, [contrast, "w9", "w9 - w8"])
    assert found.names == ("some", "w9", "w9 - w8")
    assert found.through == (0, None)
    for row, measured in enumerate(kit.edits(cases)):
        z, p = measured.logits, measured.probabilities
        expected = [(2 * z[3] + z[17]) / 3 - (z[5] + z[6]) / 2, z[9] - z.mean(), z[9] - z[8]]
        torch.testing.assert_close(found.logits[row], torch.stack(expected))
        expected = [2 * p[3] + p[17] - p[5] - p[6], p[9], p[9] - p[8]]
        torch.testing.assert_close(found.probabilities[row], torch.stack(expected))
        torch.testing.assert_close(contrast.readout(subject).mass(p), p[[3, 17, 5, 6]].sum())


def test_a_bad_case_is_named_in_one_line() -> None:
    subject = models.subject("gpt2")
    kit = clew.Kit(subject, models.dictionary("plt", subject))
    good = (PROMPTS[0], [Edit.ablate("L0/3")])
    for case, message in (
        ((PROMPTS[1], [Edit.ablate("L0/3@7")]), "case 1: ablate L0/3@7: position 7 is outside"),
        ((PROMPTS[1], [Edit.ablate("L0/999")]), "case 1: .* has features 0..39"),
        ((PROMPTS[1], [Edit.set("L0/3", 1.0), Edit.ablate("L0/3")]), "case 1: .* contradict each other"),
        (PROMPTS[1], "case 1 is .*: give a prompt and a list of edits"),
    ):
        with pytest.raises(InputError, match=message):
            list(kit.edits([good, case]))
    with pytest.raises(InputError, match="choose from last, all"):
        kit.next_tokens([PROMPTS[0]], positions="some")
    with pytest.raises(InputError, match="is one text"):
        kit.next_tokens("w1 w2")
    with pytest.raises(InputError, match="give a list of targets"):
        kit.readings([good], [])
    with pytest.raises(InputError, match="behind the prompt"):
        kit.readings([good], ["w3"], positions="all")
    with pytest.raises(InputError, match="not read off next tokens"):
        kit.readings([good], [torch.ones(32)])
    assert list(kit.edits([])) == []
    assert kit.readings([], ["w3"]).logits.shape == (0, 1)


@pytest.mark.parametrize("kind", ["plt", "sae"])
def test_activations_are_those_of_the_encoder_on_each_prompt(subject: Subject, kind: str) -> None:
    dictionary = sae_of(subject) if kind == "sae" else models.dictionary(kind, subject, threshold=0.3)
    for prompt, found in zip(PROMPTS, activations(subject, dictionary, PROMPTS), strict=True):
        reads = subject.capture(torch.tensor([prompt]), [dictionary.read_site])
        assert found.positions == tuple(range(len(prompt)))
        for layer in dictionary.layers:
            expected = dictionary.activations(layer, reads[dictionary.read_site, layer][0])
            expected[: int(prompt[0] == 0)] = 0
            torch.testing.assert_close(found.layers[layer], expected, rtol=1e-5, atol=1e-7)
    [one] = activations(subject, dictionary, PROMPTS[:1], positions=[(-1, 2)])
    assert one.positions == (4, 2)
    whole = next(activations(subject, dictionary, PROMPTS[:1]))
    torch.testing.assert_close(one.of(["L0/3", "L1/4"]), whole.of(["L0/3", "L1/4"])[[4, 2]])


def test_a_mean_counts_every_position_but_a_left_out_first_one() -> None:
    subject = models.subject("gpt2")
    kit = clew.Kit(subject, models.dictionary("plt", subject, threshold=0.3))
    means = kit.mean_activations(PROMPTS)
    assert means is not None
    rows = [found.layers[1][int(found.token_ids[0] == 0) :] for found in kit.activations(PROMPTS)]
    torch.testing.assert_close(means[1], torch.cat(rows).double().mean(0))
    at_last = kit.mean_activations(PROMPTS, positions=[-1] * len(PROMPTS))
    torch.testing.assert_close(at_last[1], torch.stack([row[-1] for row in rows]).double().mean(0))


def test_positions_that_do_not_fit_the_prompts_are_refused() -> None:
    subject = models.subject("gpt2")
    dictionary = models.dictionary("plt", subject)
    for positions, message in (
        (9, "prompt 0: position 9 is outside its 5 tokens"),
        ([1], "given for 1 prompts, but there are more"),
        ([1] * 7, "given for 7 prompts, but there are 5"),
    ):
        with pytest.raises(InputError, match=message):
            list(activations(subject, dictionary, PROMPTS, positions))
    with pytest.raises(InputError, match="no feature of this dictionary"):
        next(activations(subject, dictionary, PROMPTS)).of(["L9/3"])
    with pytest.raises(InputError, match="no position to take a mean over"):
        mean_activations(subject, dictionary, [[0]])
    with pytest.raises(InputError, match="is one text"):
        activations(subject, dictionary, "w1")
