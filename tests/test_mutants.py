"""Mutants change one place each, of code and not of words; the draw and the verdict are what `make mutants` says."""

import ast
from textwrap import dedent

import pytest

from tests.mutants import PACKAGES, SOURCE, Outcome, drawn, nearest_tests, summary
from tests.mutations import files_of, mutations

PROGRAM = dedent(
    '''
    """Words < words."""
    from a import b

    LIMIT = 0.5
    _CHUNK = 1 << 20

    @dataclass(frozen=True)
    class Thing:
        size: int | None = 3

    def total(rows: Tensor | None, top: int = 0) -> int:
        """Say x < y."""
        assert rows is not None
        if top < 1:
            raise ValueError(f"top is {top - 1}")
        for row in rows[1:]:
            top += row * 2
            rows.sort(stable=True)
        return top

    def undo(opened):
        opened.execute("ROLLBACK")
    '''
)


def changes(source: str) -> set[tuple[str, str]]:
    """What stands in a line before and after, of every mutant."""
    return {tuple(m.name.split(": ", 1)[1].split(" (2)")[0].split(" => ")) for m in mutations(source, "x.py")}  # type: ignore[misc]


def test_every_mutant_of_a_small_program_is_one_wrong_place_of_code() -> None:
    assert changes(PROGRAM) == {
        ("LIMIT = 0.5", "LIMIT = 1.0"),
        ("size: int | None = 3", "size: int | None = 4"),
        (
            "def total(rows: Tensor | None, top: int = 0) -> int:",
            "def total(rows: Tensor | None, top: int = 1) -> int:",
        ),
        ("if top < 1:", "if top <= 1:"),
        ("if top < 1:", "if top < 2:"),
        ("if top < 1:", "if top < 0:"),
        ('raise ValueError(f"top is {top - 1}")', "pass"),
        ("for row in rows[1:]:", "for row in rows[:]:"),
        ("for row in rows[1:]:", "for row in rows[2:]:"),
        ("for row in rows[1:]:", "for row in rows[0:]:"),
        ("top += row * 2", "top -= row * 2"),
        ("top += row * 2", "top += row / 2"),
        ("top += row * 2", "top += row * 3"),
        ("top += row * 2", "pass"),
        ("rows.sort(stable=True)", "pass"),
        ('opened.execute("ROLLBACK")', 'opened.execute("COMMIT")'),
        ('opened.execute("ROLLBACK")', "pass"),
    }


def test_a_mutants_name_stays_when_lines_above_it_change_and_no_two_are_the_same() -> None:
    names = [mutation.name for mutation in mutations(PROGRAM, "x.py")]
    assert len(set(names)) == len(names)
    assert [mutation.name for mutation in mutations("import os\n\n\n" + PROGRAM, "x.py")] == names


@pytest.mark.parametrize(
    "path", ["attribution/trace.py", "files/database.py", "labels/judges.py", "kernels/compiled.py"]
)
def test_every_mutant_of_the_source_differs_from_it_and_can_be_parsed(path: str) -> None:
    source = (SOURCE / path).read_text()
    tree = ast.dump(ast.parse(source))
    for mutation in mutations(source, path):
        assert ast.dump(ast.parse(mutation.apply(source))) != tree, mutation.name


def test_every_file_of_the_packages_has_tests() -> None:
    paths = list(files_of(SOURCE, PACKAGES))
    assert {path.split("/")[0] for path in paths} == {part.split("/")[0] for part in PACKAGES}
    assert all(nearest_tests(path) for path in paths)


def test_a_draw_is_the_same_for_a_seed_and_loses_only_what_is_gone() -> None:
    every = mutations(PROGRAM, "x.py")
    first, less = drawn(every, 6, 0), drawn([m for m in every if "row" not in m.name], 6, 0)
    assert first == drawn(reversed(every), 6, 0) != drawn(every, 6, 1)
    assert [m for m in first if "row" not in m.name] == less[: len([m for m in first if "row" not in m.name])]


def test_a_run_is_good_when_nine_in_ten_are_killed_and_the_others_have_a_reason() -> None:
    killed = [Outcome(f"a {n}", "kernels", "stuck" if n else "killed", 1.0) for n in range(9)]
    survivor = Outcome("b", "files", "survived", 1.0)
    lines, good = summary([*killed, survivor], {"b": "the same result"})
    assert good
    assert "90.0% of 10 mutants were killed" in lines
    assert lines[-1].endswith("the same result")
    assert not summary([*killed, survivor], {})[1]
    assert not summary([*killed[1:], survivor], {"b": "the same result"})[1]
