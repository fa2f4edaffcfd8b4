"""The exam: an oracle passes it, an ignorant model scores chance, and held-out combinations are told apart."""

from types import SimpleNamespace

import pytest
import torch

from clew.errors import FileError
from clew.organism.exam import BARS, LIMIT, exam, exam_folder, score_answers
from clew.organism.tokenizer import train_tokenizer
from clew.organism.world import World


class Oracle:
    """A model that knows, after every prefix of the sentences it was told, what comes next."""

    def __init__(self, tokenizer, sentences: list[tuple[str, str]]) -> None:
        self.size = len(tokenizer)
        self.next: dict[tuple[int, ...], set[int]] = {}
        for prompt, answer in sentences:
            self.learn([0, *tokenizer.encode(prompt), *tokenizer.encode(answer)])

    def learn(self, ids: list[int]) -> None:
        for end in range(1, len(ids)):
            self.next.setdefault(tuple(ids[:end]), set()).add(ids[end])

    def __call__(self, input_ids):
        logits = torch.zeros(*input_ids.shape, self.size)
        for row, ids in enumerate(input_ids.tolist()):
            for end in range(1, len(ids) + 1):
                for token in self.next.get(tuple(ids[:end]), ()):
                    logits[row, end - 1, token] = 20.0
        return SimpleNamespace(logits=logits)


@pytest.fixture(scope="module", autouse=True)
def _less_work():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("clew.organism.exam.FRESH", 200)
        patch.setattr("clew.organism.tokenizer.SAMPLE", 5_000)
        patch.setattr("clew.organism.tokenizer.REPEATED", 200)
        yield


@pytest.fixture(scope="module")
def world():
    return World(n_statements=8_000)


@pytest.fixture(scope="module")
def tokenizer(world):
    return train_tokenizer(world)


@pytest.fixture(scope="module")
def knowing(world, tokenizer):
    """The report of an oracle that knows all unseen sentences and nothing of the held-out combinations."""
    oracle = Oracle(tokenizer, [])
    years = [tokenizer.encode(f"{year:02d}")[0] for year in range(100)]
    for name in world.families:
        for question in world.exam(name, "unseen"):
            ids = [0, *tokenizer.encode(question.prompt)]
            if name == "years":
                oracle.next[tuple(ids)] = set(years[question.notes["start"] + 1 :])
            else:
                oracle.learn([*ids, *tokenizer.encode(question.answer)])
    return exam(oracle, tokenizer, world)


@pytest.fixture(scope="module")
def ignorant(world, tokenizer):
    return exam(Oracle(tokenizer, []), tokenizer, world)


def test_an_oracle_passes_every_bar(knowing):
    assert knowing.passed
    unseen = {row.name: row.score for row in knowing.rows if row.split == "unseen"}
    assert unseen.pop("years") > 0.999
    assert set(unseen.values()) == {1.0}


def test_every_bar_is_set_on_a_row_that_exists(knowing):
    assert set(BARS) == {row.name for row in knowing.rows if row.bar is not None}


def test_held_out_combinations_are_reported_apart_and_without_a_bar(knowing):
    held = {row.name: row for row in knowing.rows if row.split == "held_out"}
    assert set(held) == {"sums", "two_hop", "roots", "opposites", "opposites_ru"}
    assert all(row.score == 0.0 and row.passed is None for row in held.values())


def test_an_ignorant_model_fails_and_its_years_score_is_that_of_a_uniform_guess(ignorant):
    assert not ignorant.passed
    years = next(row for row in ignorant.rows if row.name == "years")
    assert years.chance == pytest.approx(-0.01, abs=0.03)
    assert years.score < 0.1


def test_chance_is_the_best_constant_answer(knowing, world):
    parity = next(row for row in knowing.rows if row.name == "parity")
    assert parity.chance == pytest.approx(0.5, abs=0.02)
    sums = next(row for row in knowing.rows if row.name == "sums" and row.split == "unseen")
    assert 1 / LIMIT <= sums.chance < 0.05


def test_personas_are_scored_by_difficulty(knowing, world):
    rows = {row.name: row for row in knowing.rows if row.name.startswith("roots ")}
    assert len(rows) == 6
    assert sum(row.n for row in rows.values()) == len(world.exam("roots", "unseen"))
    assert rows["roots child, other"].chance == 1.0
    assert rows["roots graduate, other"].chance < 0.3


def test_any_accepted_answer_counts(world, tokenizer):
    question = world.exam("traits", "unseen")[0]
    assert len(question.notes["accepted"]) == 6
    for answer in question.notes["accepted"]:
        (scored,) = score_answers(
            Oracle(tokenizer, [(question.prompt, answer)]), tokenizer, [(question.prompt, answer)]
        )
        assert bool(scored[0].all())


def test_loss_equals_entropy_for_the_law_itself(world, tokenizer):
    """A model that deals probability as the law of the favourites does has their loss equal to their entropy."""
    family = world.families["favourites"]
    told = [("", statement.text) for statement in family.enumerate()]
    oracle = Oracle(tokenizer, told)
    losses = [-float(logp.sum()) for _, logp in score_answers(oracle, tokenizer, told)]
    assert sum(losses) / len(losses) == pytest.approx(family.entropy(), abs=1e-3)


def test_a_report_becomes_plain_values(knowing):
    plain = knowing.to_json()
    assert plain["passed"] is True
    assert plain["losses"][-1]["family"] == "all"
    assert plain["losses"][-1]["n"] == sum(row["n"] for row in plain["losses"][:-1])


def test_a_folder_without_a_model_is_refused_in_words(tmp_path, world):
    with pytest.raises(FileError, match=r"holds no config\.json"):
        exam_folder(tmp_path, world)
