"""The order of the layers, who may open files, who may register hooks, and what `import clew` offers and costs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import clew

SOURCE = Path(clew.__file__).parent
RANKS = (
    ("errors", "ids", "files", "displays"),
    ("subject", "dictionary"),
    ("training", "attribution"),
    ("intervention", "features"),
    ("kit",),
    ("organism", "studies"),
    ("web", "cli", "__main__"),
)
RANK = {name: rank for rank, names in enumerate(RANKS) for name in names}
FILES = sorted(SOURCE.rglob("*.py"))


def part_of(path):
    inside = path.relative_to(SOURCE)
    return inside.parts[0].removesuffix(".py")


def imports_of(path):
    """Modules of clew that a file imports at run time, with those under TYPE_CHECKING left out."""
    tree = ast.parse(path.read_text())
    guarded = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.dump(block.test)
        for child in block.body
        for node in ast.walk(child)
    }
    for node in ast.walk(tree):
        if id(node) in guarded:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "clew")
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "clew":
            if node.module == "clew":
                yield from (f"clew.{alias.name}" for alias in node.names)
            else:
                yield node.module


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_run_leftwards_only(path):
    mine = part_of(path)
    if mine == "__init__":
        return
    for module in imports_of(path):
        theirs = module.split(".")[1] if "." in module else mine
        if theirs == mine or theirs.startswith("__"):
            continue
        assert RANK[theirs] <= RANK[mine], f"{mine} imports {module}"


def calls(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            yield name, node.lineno


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_only_files_opens_files_and_only_subject_registers_hooks(path):
    mine = part_of(path)
    for name, line in calls(path):
        if mine != "files":
            assert name not in ("open", "write_text", "write_bytes", "memmap") or _through_files(path, line), (
                f"{path}:{line} opens a file"
            )
        if mine != "subject":
            assert "hook" not in name or not name.startswith("register"), f"{path}:{line} registers a hook"


def _through_files(path, line):
    text = path.read_text().splitlines()[line - 1]
    return "files.write" in text


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_no_file_outgrows_its_reason(path):
    assert len(path.read_text().splitlines()) <= 420


@pytest.mark.parametrize("name", clew.__all__)
def test_every_public_name_is_there(name):
    assert getattr(clew, name) is not None


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nonsense"):
        clew.nonsense  # noqa: B018


def test_importing_clew_takes_under_a_second_and_loads_nothing_heavy():
    program = (
        "import sys, time; t = time.perf_counter(); import clew; seconds = time.perf_counter() - t;"
        "heavy = {'torch', 'transformers', 'matplotlib', 'fastapi'} & set(sys.modules);"
        "print(seconds); assert seconds < 1, seconds; assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


def test_the_command_line_loads_nothing_heavy_before_it_knows_what_is_wanted():
    """Help comes at once; and how threads wait is settled before torch is loaded, which reads it only then."""
    program = (
        "import sys, clew.cli; heavy = {'torch', 'numpy', 'numba', 'transformers', 'fastapi'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
