"""Relations: CoNLL-U and its mistakes, attention between words, the best head beside the best offset."""

import numpy as np
import pytest

from clew.errors import FileError
from clew.studies.heads.conllu import read_sentences
from clew.studies.heads.relations import (
    DOWN,
    UP,
    between_words,
    known_relations,
    most_attended,
    pairs_of,
    word_ids,
)

ROW = "{}\t{}\t_\t_\t_\t_\t{}\t{}\t_\t{}\n"


def block(*rows, notes=()):
    """Rows of word, head, relation; `notes` are the last columns."""
    notes = [*notes, *["_"] * (len(rows) - len(notes))]
    lines = [ROW.format(place, *row, note) for place, (row, note) in enumerate(zip(rows, notes, strict=True), 1)]
    return "".join(lines) + "\n"


CAT = (("the", 2, "det"), ("cat", 3, "nsubj"), ("sat", 0, "root"), (".", 3, "punct"))
SIMPLE = block(*CAT, notes=("_", "_", "SpaceAfter=No"))


def saved(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_a_sentence_is_read_with_comments_multiword_tokens_and_empty_nodes_left_out(tmp_path):
    empty = "\t_" * 8
    rows = SIMPLE.replace("3\tsat", f"2-3\tcatsat{empty}\n2.1\tx{empty}\n3\tsat")
    [sentence] = read_sentences(saved(tmp_path / "a.conllu", f"# text = the cat sat.\n{rows}"))
    assert [word.word for word in sentence.words] == ["the", "cat", "sat", "."]
    assert [word.governor for word in sentence.words] == [1, 2, None, 2]
    assert [word.space_after for word in sentence.words] == [True, True, False, True]
    pieces = []
    _, words = word_ids(sentence, lambda text: pieces.append(text) or [len(text)] * 2)
    assert pieces == ["the", " cat", " sat", "."]
    assert words == [0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no sentence: it must be CoNLL-U"),
        ("a b c\n", "line 1 of .* has 1 columns: CoNLL-U has 10"),
        (SIMPLE.replace("2\tcat", "7\tcat"), "line 2 of .* has the id '7', and 2 is next"),
        (SIMPLE.replace("\t3\tnsubj", "\t9\tnsubj"), "line 2 of .*: 'cat' depends on '9'"),
        (SIMPLE.replace("\t3\tnsubj", "\tx\tnsubj"), "depends on 'x'"),
        (SIMPLE.replace("\t3\tpunct", "\t4\tpunct"), "depends on '4', which is no other word"),
        (SIMPLE.replace("\t2\tdet", "\t0\tdet"), "has 2 roots"),
        (
            SIMPLE + block(("a", 2, "det"), ("b", 1, "x"), ("c", 0, "root")),
            "line 6 of .*: 'a' depends on itself through others: a cycle",
        ),
    ],
)
def test_mistakes_in_a_treebank_are_told_with_their_line(text, words, tmp_path):
    with pytest.raises(FileError, match=words):
        read_sentences(saved(tmp_path / "b.conllu", text))


def test_attention_between_words_sums_over_what_is_seen_and_averages_over_who_looks():
    pattern = np.zeros((1, 5, 5))
    pattern[0, 1] = [0.1, 0.2, 0.3, 0.4, 0.0]
    pattern[0, 2] = [0.3, 0.0, 0.1, 0.2, 0.4]
    pattern[0, 3] = [0.0, 0.5, 0.1, 0.4, 0.0]
    found = between_words(pattern, 1, [0, 0, 1], 2)[0]
    assert found == pytest.approx(np.array([[(0.5 + 0.1) / 2, (0.4 + 0.2) / 2], [0.6, 0.4]]))


def test_the_word_that_is_attended_to_most_is_another_one_that_is_seen():
    attention = np.array([[[0.9, 0.06, 0.04], [0.2, 0.1, 0.7], [0.1, 0.2, 0.7]]])
    assert most_attended(attention, causal=False).tolist() == [[1, 2, 1]]
    assert most_attended(attention, causal=True).tolist() == [[-1, 0, 1]]


def test_a_planted_head_beats_the_best_offset_on_sentences_that_chose_neither(tmp_path):
    """Objects stand one or two words behind their verb; head 1 knows which, head 0 looks one ahead."""
    near = block(("she", 2, "nsubj"), ("fed", 0, "root"), ("birds", 2, "obj"), ("daily", 2, "advmod"))
    far = block(("she", 2, "nsubj"), ("fed", 0, "root"), ("old", 4, "amod"), ("birds", 2, "obj"))
    sentences = read_sentences(saved(tmp_path / "c.conllu", (near + near + far + far) * 12))
    pairs = pairs_of(sentences, causal=False)
    assert {*pairs.direction} == {UP, DOWN}
    ahead = pairs.asked + 1 == pairs.wanted
    knows = np.array([relation == "obj" for relation in pairs.relation])
    found = known_relations(pairs, np.stack([ahead, knows], 1).astype(np.int64))
    by_name = {each.relation: each for each in found}
    objects = by_name["obj"]
    assert (objects.head, objects.right.mean()) == (1, 1.0)
    assert objects.offset_right.mean() == pytest.approx(0.5)
    assert (by_name["nsubj"].offset_right.mean(), by_name["nsubj"].offset) == (1.0, 1)
    assert all((each.sentence % 2 == 1).all() for each in found)
    behind = pairs_of(sentences, causal=True)
    assert (behind.wanted < behind.asked).all()
    assert len(behind.asked) == len(pairs.asked) // 2
