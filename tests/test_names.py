"""Names say what a thing is: a small lint of locals, class names and module names. The rule is in CONTRIBUTING.md."""

import ast
from collections import Counter, defaultdict
from pathlib import Path

import pytest

import clew

SOURCE = Path(clew.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
RIDDLES = ("found", "own", "one", "held", "made", "at")
"""What happened to a thing, or whose it is; never what it is."""
SHARE = 0.01
MODULES = (
    *("find", "gate", "helpers", "marks", "misc", "observe", "plain", "removed"),
    *("row", "saw", "sending", "shelf", "tally", "utils", "work"),
)
"""Names that told only their builder what is inside, or that hold whatever comes."""


def targets(node):
    """The names that an assignment target binds."""
    if isinstance(node, ast.Name):
        yield node.id
    elif isinstance(node, ast.Tuple | ast.List):
        for element in node.elts:
            yield from targets(element)
    elif isinstance(node, ast.Starred):
        yield from targets(node.value)


def assigned(path):
    """Every local, loop variable and parameter of a file, once each time that it is bound."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Assign():
                for target in node.targets:
                    yield from targets(target)
            case ast.AnnAssign() | ast.AugAssign() | ast.NamedExpr() | ast.For() | ast.comprehension():
                yield from targets(node.target)
            case ast.With():
                for item in node.items:
                    yield from targets(item.optional_vars)
            case ast.arg():
                yield node.arg


def test_few_locals_say_only_what_happened_to_a_thing():
    names = Counter(name for path in FILES for name in assigned(path))
    riddles = {name: names[name] for name in RIDDLES if names[name]}
    assert sum(riddles.values()) < SHARE * names.total(), riddles


def test_a_public_class_name_stands_for_one_thing():
    homes = defaultdict(list)
    for path in FILES:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].append(str(path.relative_to(SOURCE)))
    assert {name: paths for name, paths in homes.items() if len(paths) > 1} == {}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_a_module_is_named_by_what_it_holds(path):
    assert path.stem not in MODULES
