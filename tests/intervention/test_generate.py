"""Generated text is what the real model, edited, would have said: token by token, for every architecture."""

from collections import Counter
from itertools import product

import pytest
import torch
from torch import Tensor

import clew
from clew.dictionary import Dictionary, JumpReLU, Layer
from clew.errors import InputError, MismatchError
from clew.intervention.edit import Edit
from clew.intervention.generate import Step, generate, side_by_side
from clew.intervention.run import effect
from clew.subject.subject import Subject
from tests import models
from tests.models import BOS, CONTEXT, DISTINCT, PROMPT, VOCAB, WIDTH
from tests.subject.test_recording import hooks_of

pytestmark = pytest.mark.usefixtures("exact_softmax")

PUSH = [4.0] + [0.0] * (WIDTH - 1)


@pytest.fixture(scope="module", params=DISTINCT)
def subject(request: pytest.FixtureRequest) -> Subject:
    return models.subject(request.param)


@pytest.fixture(scope="module")
def gpt2() -> Subject:
    return models.subject("gpt2")


@pytest.fixture(scope="module")
def clt(gpt2: Subject) -> Dictionary:
    return models.dictionary("clt", gpt2)


def sae(subject: Subject, site: str) -> Dictionary:
    generator = torch.Generator().manual_seed(4)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    layer = Layer(
        encoder=draw(40, WIDTH) / WIDTH**0.5,
        bias=draw(40) * 0.1,
        nonlinearity=JumpReLU(threshold=torch.full((40,), 0.5, dtype=torch.float64)),
        decoder=draw(40, 1, WIDTH) / 40**0.5,
        decoder_bias=draw(WIDTH) * 0.1,
    )
    shape = {"n_layers": subject.n_layers, "d_model": WIDTH, "name": "random sae"}
    return Dictionary(kind="sae", layers={1: layer}, writes={1: (1,)}, read_site=site, write_site=site, **shape)


def ids_of(steps: list[Step]) -> list[int]:
    return [step.token_id for step in steps]


def explicit(edit: Edit, n_prompt: int, n: int) -> Edit:
    """The same edit with `prompt` and `generated` written as positions."""
    where = {"all": "all", "prompt": tuple(range(1, n_prompt)), "generated": tuple(range(n_prompt, n))}
    positions = where[edit.positions] if isinstance(edit.positions, str) else edit.positions
    return Edit(
        verb=edit.verb,
        feature=edit.feature,
        strength=edit.strength,
        positions=positions,
        layer=edit.layer,
        direction=edit.direction,
    )


def assert_is_what_effect_measures(
    subject: Subject, dictionary: Dictionary, edits: list[Edit], through: int | None = None
) -> None:
    n = len(PROMPT)
    steps = list(generate(subject, dictionary, PROMPT, edits, tokens=8, through=through, stop=False))
    whole = [*PROMPT, *ids_of(steps)]
    spelled = [explicit(edit, n, len(whole)) for edit in edits]
    found = effect(subject, dictionary, whole, spelled, through=through, predict=None)
    logits = torch.stack([step.logits for step in steps])
    torch.testing.assert_close(logits, found.measured.logits[n - 1 : -1], rtol=1e-9, atol=1e-9)
    probabilities = found.measured.probabilities[torch.arange(n - 1, len(whole) - 1), ids_of(steps)]
    assert [step.probability for step in steps] == pytest.approx(probabilities.tolist(), abs=1e-9)
    moved = (logits - found.before.logits[n - 1 : -1]).abs().amax(-1)
    assert float(moved.max()) > 1e-3, "the edits change nothing here"
    if all(edit.positions == "generated" for edit in edits):
        assert float(moved[0]) < 1e-9


# --- live semantics ---------------------------------------------------------------------------------------------

CASES = {
    "one feature everywhere": ([Edit.set("L0/3", 2.5)], None),
    "one feature of what is generated": ([Edit.add("L1/7@generated", 2.5)], None),
    "one feature through later layers": ([Edit.add("L0/7@generated", 2.5)], 2),
    "two of a layer, in prompt and text": ([Edit.set("L1/3@prompt", 2.0), Edit.scale("L1/5", -3.0)], None),
    "several layers": (
        [Edit.add("L0/2@generated", 3.0), Edit.ablate("L1/9"), Edit.scale("L2/4", 5.0), Edit.steer("L1/8", 2.0)],
        None,
    ),
    "steered upstream of a clamp": ([Edit.steer(PUSH, 1.0, layer=0), Edit.set("L1/4@generated", 3.0)], None),
    "steered only": ([Edit.steer("L1/6@generated", 4.0), Edit.steer(PUSH, 0.5, layer=2)], None),
    "one position of the text": ([Edit.set("L1/3@10,12", 3.0), Edit.steer("L0/3@4", 3.0)], None),
}


@models.in_turn("subject", DISTINCT, "kind, case", product(["clt", "plt", "skip-clt"], CASES), times=4)
def test_a_generated_token_is_drawn_from_what_effect_measures_on_the_finished_text(
    subject: Subject, kind: str, case: str
) -> None:
    edits, through = CASES[case]
    assert_is_what_effect_measures(subject, models.dictionary(kind, subject), edits, through)


@models.in_turn("subject", DISTINCT, "read, write", product(models.READS, models.WRITES), times=2)
def test_wherever_the_dictionary_reads_and_writes(subject: Subject, read: str, write: str) -> None:
    dictionary = models.dictionary("clt", subject, read=read, write=write)
    assert_is_what_effect_measures(subject, dictionary, [Edit.set("L0/3@generated", 3.0), Edit.scale("L2/4", 3.0)])
    assert_is_what_effect_measures(subject, dictionary, [Edit.set("L1/3@generated", 3.0)])


@pytest.mark.parametrize("site", ["resid_pre", "resid_mid", "resid_post", "mlp_in"])
def test_edits_of_an_sae(subject: Subject, site: str) -> None:
    edits = [Edit.set("L1/3@generated", 3.0), Edit.scale("L1/5", 4.0)]
    assert_is_what_effect_measures(subject, sae(subject, site), edits)
    assert_is_what_effect_measures(subject, sae(subject, site), [Edit.steer("L1/3@generated", 3.0)])


def test_without_edits_it_is_the_greedy_text_of_the_model_itself(subject: Subject) -> None:
    steps = list(generate(subject, models.dictionary("clt", subject), PROMPT, tokens=12, stop=False))
    options = {"max_new_tokens": 12, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    ids = torch.tensor([PROMPT])
    real = subject.model.generate(ids, attention_mask=torch.ones_like(ids), **options)
    assert ids_of(steps) == real[0, len(PROMPT) :].tolist()
    assert [step.position for step in steps] == list(range(len(PROMPT), len(PROMPT) + 12))


# --- side by side -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("architecture", ["gpt2", "gemma2"])
def test_side_by_side_is_the_default_and_the_edited_text(architecture: str, case: str) -> None:
    edits, through = CASES[case]
    subject = models.subject(architecture)
    dictionary = models.dictionary("clt", subject)
    options = {"tokens": 8, "temperature": 1.3, "seed": 5, "stop": False}
    pairs = list(side_by_side(subject, dictionary, PROMPT, edits, through=through, **options))
    for mine, alone in zip(
        zip(*pairs, strict=True),
        (
            generate(subject, dictionary, PROMPT, **options),
            generate(subject, dictionary, PROMPT, edits, through=through, **options),
        ),
        strict=True,
    ):
        for step, other in zip(mine, alone, strict=True):
            assert step is not None
            assert step.token_id == other.token_id
            torch.testing.assert_close(step.logits, other.logits, rtol=1e-9, atol=1e-9)


def test_one_text_may_end_before_the_other(gpt2: Subject, clt: Dictionary) -> None:
    push = Edit.steer((gpt2.unembedding[BOS] * 40).tolist(), 1.0, layer=2, positions=(11,))
    pairs = list(side_by_side(gpt2, clt, PROMPT, [push], tokens=8))
    default, edited = ([step for step in stream if step is not None] for stream in zip(*pairs, strict=True))
    assert [step is None for _, step in pairs] == [False] * 4 + [True] * 4
    assert edited[-1].end == "eos"
    assert edited[-1].token_id == BOS
    assert default[-1].end == "tokens"
    assert ids_of(default) == ids_of(list(generate(gpt2, clt, PROMPT, tokens=8)))


# --- sampling ---------------------------------------------------------------------------------------------------


def test_a_seed_gives_one_text_and_another_seed_another(gpt2: Subject, clt: Dictionary) -> None:
    def text(seed: int) -> list[int]:
        return ids_of(list(generate(gpt2, clt, PROMPT, temperature=1.0, seed=seed, stop=False)))

    torch.manual_seed(1)
    first = text(7)
    torch.manual_seed(2)
    assert text(7) == first
    assert text(8) != first


def test_an_edit_that_changes_nothing_draws_the_same_text(gpt2: Subject, clt: Dictionary) -> None:
    for edit in (Edit.scale("L1/3", 1.0), Edit.add("L1/3", 0.0), Edit.steer("L0/3", 0.0)):
        pairs = side_by_side(gpt2, clt, PROMPT, [edit], temperature=1.5, seed=3, stop=False)
        assert all(a.token_id == b.token_id for a, b in pairs if a is not None and b is not None)


def test_a_slight_edit_changes_far_fewer_tokens_than_another_seed(gpt2: Subject, clt: Dictionary) -> None:
    def first(seed: int, edits: list[Edit]) -> int:
        return next(generate(gpt2, clt, PROMPT, edits, tokens=1, temperature=1.0, seed=seed)).token_id

    slight, none = [Edit.steer("L1/3", 0.1)], list[Edit]()
    changed = sum(first(seed, slight) != first(seed, none) for seed in range(60))
    reseeded = sum(first(seed + 1, none) != first(seed, none) for seed in range(60))
    assert changed * 3 < reseeded


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.6, 1.0), (1.5, 0.5)])
def test_tokens_come_with_their_probability(gpt2: Subject, clt: Dictionary, temperature: float, top_p: float) -> None:
    options = {"tokens": 1, "temperature": temperature, "top_p": top_p}
    drawn = [next(generate(gpt2, clt, PROMPT, seed=seed, **options)) for seed in range(250)]
    wanted = torch.softmax(gpt2.logits(torch.tensor([PROMPT]))[0, -1] / temperature, -1)
    order = wanted.argsort(descending=True)
    kept = order[: int((wanted[order].cumsum(0) < top_p).sum()) + 1]  # the smallest set with that probability
    wanted = torch.zeros(VOCAB, dtype=torch.float64).index_copy(0, kept, wanted[kept] / wanted[kept].sum())
    counts = Counter(step.token_id for step in drawn)
    found = torch.tensor([counts[i] / len(drawn) for i in range(VOCAB)], dtype=torch.float64)
    assert float((found - wanted).abs().sum() / 2) < 0.6 * (len(kept) / len(drawn)) ** 0.5
    assert set(counts) <= set(kept.tolist())
    assert all(step.probability == pytest.approx(float(step.logits.softmax(-1)[step.token_id])) for step in drawn)


def test_the_token_that_reaches_the_probability_is_still_drawn(gpt2: Subject, clt: Dictionary) -> None:
    values, ids = gpt2.logits(torch.tensor([PROMPT]))[0, -1].softmax(-1).topk(2)
    likeliest, both = float(values[0]), set(ids.tolist())
    for top_p, wanted in ((0.99 * likeliest, {int(ids[0])}), (1.01 * likeliest, both)):
        options = {"tokens": 1, "temperature": 1.0, "top_p": top_p}
        drawn = {next(generate(gpt2, clt, PROMPT, seed=seed, **options)).token_id for seed in range(40)}
        assert drawn == wanted


def test_a_cold_draw_and_a_small_set_are_the_likeliest_text(gpt2: Subject, clt: Dictionary) -> None:
    greedy = ids_of(list(generate(gpt2, clt, PROMPT, stop=False)))
    for options in ({"temperature": 1e-9}, {"temperature": 1e-320}, {"temperature": 1.0, "top_p": 1e-9}):
        assert ids_of(list(generate(gpt2, clt, PROMPT, stop=False, seed=11, **options))) == greedy


# --- where it ends ----------------------------------------------------------------------------------------------


def test_a_text_ends_at_an_end_token_unless_told_to_go_on(gpt2: Subject, clt: Dictionary) -> None:
    push = [Edit.steer((gpt2.unembedding[BOS] * 40).tolist(), 1.0, layer=2, positions=(10,))]
    steps = list(generate(gpt2, clt, PROMPT, push, tokens=9))
    assert len(steps) == 3
    assert [step.end for step in steps] == [None, None, "eos"]
    assert steps[-1].text == ""
    steps = list(generate(gpt2, clt, PROMPT, push, tokens=9, stop=False))
    assert ids_of(steps)[2] == BOS
    assert [step.end for step in steps] == [None] * 8 + ["tokens"]


def test_a_full_context_ends_the_text(subject: Subject) -> None:
    dictionary = models.dictionary("clt", subject)
    steps = list(generate(subject, dictionary, PROMPT, tokens=500, stop=False))
    assert len(steps) == CONTEXT - len(PROMPT) + 1
    assert steps[-1].end == "context"
    assert [step.end for step in steps[:-1]] == [None] * (len(steps) - 1)
    full = ids_of(steps)[:-1]
    (only,) = generate(subject, dictionary, [*PROMPT, *full], tokens=500, stop=False)
    assert (only.token_id, only.end) == (steps[-1].token_id, "context")


# --- cost and tidiness ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("edits", "through", "rows"),
    [
        ([], None, 1),
        ([Edit.steer("L0/3", 2.0), Edit.steer(PUSH, 1.0, layer=1)], None, 1),
        ([Edit.set("L1/3", 2.0), Edit.ablate("L1/4"), Edit.steer(PUSH, 1.0, layer=1)], None, 1),
        ([Edit.set("L1/3", 2.0)], 2, 2),
        ([Edit.set("L1/3", 2.0), Edit.ablate("L0/4")], None, 2),
        ([Edit.set("L1/3", 2.0), Edit.steer(PUSH, 1.0, layer=0)], None, 2),
    ],
)
def test_a_token_costs_one_position_and_a_twin_only_where_a_base_is_needed(
    gpt2: Subject, clt: Dictionary, monkeypatch: pytest.MonkeyPatch, edits: list[Edit], through: int | None, rows: int
) -> None:
    shapes, run = [], gpt2.run
    monkeypatch.setattr(gpt2, "run", lambda ids, **options: shapes.append(tuple(ids.shape)) or run(ids, **options))
    for step in generate(gpt2, clt, PROMPT, edits, through=through, tokens=4, stop=False):
        assert hooks_of(gpt2.model) == 0
        assert not step.logits.requires_grad
    assert shapes == [(rows, len(PROMPT))] + [(rows, 1)] * 3


def test_a_text_left_in_its_middle_leaves_the_model_as_it_was(gpt2: Subject, clt: Dictionary) -> None:
    before = gpt2.logits(torch.tensor([PROMPT]))
    stream = generate(gpt2, clt, PROMPT, [Edit.set("L1/3", 9.0)])
    next(stream)
    assert torch.equal(gpt2.logits(torch.tensor([PROMPT])), before)


# --- text -------------------------------------------------------------------------------------------------------


def test_streamed_text_of_minnow_is_its_decoded_text_in_two_languages() -> None:
    kit = clew.load("minnow")
    for prompt, said in (("The capital of France is", " Paris."), ("Столица Франции —", " Париж.")):
        assert "".join(step.text for step in kit.generate(prompt)) == said
        steps = list(kit.generate(prompt, temperature=2.0, tokens=60, stop=False, seed=1))
        ids, new = kit.subject.encode(prompt).tolist(), ids_of(steps)
        whole = kit.subject.tokenizer.decode(ids + new, skip_special_tokens=True)
        assert prompt + "".join(step.text for step in steps) == whole


def test_chat_messages_are_a_prompt(clt: Dictionary) -> None:
    tokenizer = models.tokenizer()
    tokenizer.chat_template = "<bos> {% for m in messages %}w1 {{ m.content }} w2{% endfor %} w3"
    subject = Subject.load(models.model("gpt2"), tokenizer)
    chat = generate(subject, clt, [{"role": "user", "content": "w5 w8"}], [Edit.set("L0/3@2", 2.0)], stop=False)
    ids = generate(subject, clt, [BOS, 1, 5, 8, 2, 3], [Edit.set("L0/3@2", 2.0)], stop=False)
    assert ids_of(list(chat)) == ids_of(list(ids))


# --- mistakes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("edits", "options", "message"),
    [
        ([Edit.set("L9/3", 1.0)], {}, "no layer 9"),
        ([Edit.set("L1/400", 1.0)], {}, "features 0..39"),
        ([Edit.set("L1/3@60", 1.0)], {}, "position 60 is outside the prompt's 9 tokens and 20 generated"),
        ([Edit.set("L1/3@29", 1.0)], {}, "position 29"),
        ([Edit.set("L1/3@0", 1.0)], {}, "left out"),
        ([Edit.set("L1/3@generated", 1.0), Edit.ablate("L1/3@12")], {}, "contradict"),
        ([Edit.set("L1/3", 1.0)], {"through": 0}, "through=0"),
        ([Edit.set("L1/3", 1.0)], {"through": 3}, "through=3"),
        ([Edit.steer("L1/3", 1.0)], {"through": 2}, "steering clamps nothing"),
        ([], {"tokens": 0}, "at least one"),
        ([], {"temperature": -1.0}, "temperature=-1.0"),
        ([], {"temperature": float("nan")}, "temperature=nan"),
        ([], {"top_p": 0.0}, "top_p=0.0"),
        ([], {"top_p": 1.5}, "top_p=1.5"),
    ],
)
def test_what_is_impossible_is_refused_before_the_first_token(
    gpt2: Subject, clt: Dictionary, edits: list[Edit], options: dict[str, float], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        generate(gpt2, clt, PROMPT, edits, **options)


def test_positions_up_to_the_last_generated_token_exist(gpt2: Subject, clt: Dictionary) -> None:
    assert len(list(generate(gpt2, clt, PROMPT, [Edit.set("L1/3@28", 1.0)], stop=False))) == 20


def test_side_by_side_needs_an_edit_and_a_dictionary_of_this_model(gpt2: Subject, clt: Dictionary) -> None:
    with pytest.raises(InputError, match="no edit"):
        side_by_side(gpt2, clt, PROMPT, [])
    with pytest.raises(MismatchError, match="layers"):
        generate(models.subject("gemma2"), clt, PROMPT)
    with pytest.raises(InputError, match="context"):
        generate(gpt2, clt, [BOS] * (CONTEXT + 1))
