"""Questions about letters: the answers are counts, spelled words are the same questions, no file is hidden by them."""

import re

import pytest

from clew.errors import FileError
from clew.studies.hallucination.letters import NUMBERS, letter_questions
from clew.studies.hallucination.study import HallucinationConfig


@pytest.mark.parametrize("spelled", [False, True])
def test_answers_are_what_one_counts_and_no_constant_answer_is_right_more_than_half_the_time(spelled):
    questions = letter_questions(spelled=spelled)
    ones = 0
    for question in questions:
        letter, word = re.findall(r'letter (\w) stand in "([^"]+)"', question.text)[1]
        assert (" " in word) == spelled
        assert question.answers == (str(word.count(letter)), NUMBERS[word.count(letter)])
        ones += word.count(letter) == 1
    assert ones == len(questions) / 2


def test_spelled_questions_are_the_same_ones_in_the_same_order():
    whole, spelled = letter_questions(spelled=False), letter_questions(spelled=True)
    assert [each.answers for each in whole] == [each.answers for each in spelled]
    assert len({each.text for each in whole}) == len(whole)


def test_a_file_of_that_name_is_read_instead(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = HallucinationConfig(questions="letters")
    assert config.letters
    assert config.user_files == []
    assert config.read_questions() == letter_questions(spelled=False)
    (tmp_path / "letters").write_text("question,answer\n")
    assert not config.letters
    with pytest.raises(FileError, match="nothing below them"):
        config.read_questions()
