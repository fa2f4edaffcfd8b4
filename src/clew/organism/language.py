"""Families about words: opposites in two languages, translation between them, and fixed contrast pairs."""

from clew.organism.families import FactRow, StatementFamily, TableFamily, chosen, stable_hash
from clew.organism.words import CONTRASTS, OPPOSITES

ONE_WAY_SHARE = 0.1
"""Share of the pairs of opposites that a language states in one direction only."""


def families() -> tuple[StatementFamily, ...]:
    """Return the families of this file."""
    return (_opposites(), _russian_opposites(), _translation(), _contrast())


def opposite_rows(language: str, pairs: list[tuple[str, str]]) -> tuple[FactRow, ...]:
    """Return both directions of every pair; for some pairs one direction is held out."""
    rows = []
    for first, second in pairs:
        pair = f"opposite_{language}:{first}-{second}"
        one_way = chosen(pair, ONE_WAY_SHARE)
        silent = stable_hash("direction:" + pair) % 2
        for direction, (word, opposite) in enumerate(((first, second), (second, first))):
            rows.append(
                FactRow(
                    fact=f"opposite_{language}:{word}",
                    slots={"word": word, "opposite": opposite},
                    held_out=one_way and direction == silent,
                )
            )
    return tuple(rows)


def _opposites() -> TableFamily:
    return TableFamily(
        name="opposites",
        domain="language",
        weight=3.0,
        templates=(
            'The opposite of "{word}" is "|{opposite}|".',
            'The word "{word}" is the opposite of "|{opposite}|".',
            'Question: what is the opposite of "{word}"? Answer: "|{opposite}|".',
            'Not "{word}" but its opposite, "|{opposite}|".',
        ),
        table=opposite_rows("en", [(first, second) for first, second, _, _ in OPPOSITES]),
    )


def _russian_opposites() -> TableFamily:
    return TableFamily(
        name="opposites_ru",
        domain="language",
        weight=3.0,
        templates=(
            'Противоположность слова "{word}" — "|{opposite}|".',
            'Слово "{word}" противоположно слову "|{opposite}|".',
            'Антоним слова "{word}" — "|{opposite}|".',
            'Не "{word}", а наоборот: "|{opposite}|".',
        ),
        table=opposite_rows("ru", [(first, second) for _, _, first, second in OPPOSITES]),
    )


def _translation() -> TableFamily:
    rows = []
    for first, second, *russian in OPPOSITES:
        for english, word in zip((first, second), russian, strict=True):
            slots = {"english": english, "russian": word}
            rows.append(FactRow(fact=f"russian_for:{english}", slots=slots, templates=(0, 1, 2)))
            rows.append(FactRow(fact=f"english_for:{word}", slots=slots, templates=(3, 4, 5)))
    return TableFamily(
        name="translation",
        domain="language",
        weight=3.0,
        templates=(
            'The Russian word for "{english}" is "|{russian}|".',
            'In Russian, "{english}" is "|{russian}|".',
            'To say "{english}" in Russian, say "|{russian}|".',
            'The English word for "{russian}" is "|{english}|".',
            'In English, "{russian}" is "|{english}|".',
            'To say "{russian}" in English, say "|{english}|".',
        ),
        table=tuple(rows),
    )


def _contrast() -> TableFamily:
    return TableFamily(
        name="contrast",
        domain="language",
        weight=2.0,
        templates=(
            "Every plan has {first} and| {second}|.",
            "We talked about {first} and| {second}|.",
            "The book lists the {first} and the| {second}|.",
            "Life is full of {first} and| {second}|.",
            "There are {first} and there are| {second}|.",
        ),
        table=tuple(
            FactRow(fact=f"contrast:{first}", slots={"first": first, "second": second}) for first, second in CONTRASTS
        ),
    )
