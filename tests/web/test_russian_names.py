"""The page reads names by rule in order to tell them in Russian: it must know every word that a rule can say."""

import re
from pathlib import Path

from clew.labels import pattern
from clew.labels.reading import GENERAL_KINDS, of_kind
from clew.organism.word_kinds import word_kinds

SOURCE = (Path(__file__).parents[2] / "web" / "src" / "i18n" / "rule_names_ru.ts").read_text()


def test_the_page_has_a_russian_word_for_every_kind():
    kinds = {kind for each in word_kinds().values() for kind in each} | {*GENERAL_KINDS}
    known = re.findall(r'^  "(an? [^"]+)": \[', SOURCE, re.MULTILINE)
    assert sorted(known) == sorted(map(of_kind, kinds))


def test_the_page_reads_every_relation():
    for words in pattern._WORDS.values():
        assert f"^{words.format('${operands}')}" in SOURCE, words
