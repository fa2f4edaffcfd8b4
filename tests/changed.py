"""Print the test files of what changed, the nearest first: `make quick` runs them.

    python tests/changed.py          # since the branch left main, and in the working tree
    python tests/changed.py HEAD~3   # since another commit

1. A changed test is its own test; a changed helper of the tests has the tests that import it.
2. `src/clew/a/b.py` has `tests/a/test_b.py` and `tests/a/test_b_*.py`, then every test that imports `clew.a.b`: those
   with few imports first, because they are about this module.
3. A module that no test names has its package's own test, else those of the modules that import it.
4. Any change of the source is also a matter of `tests/test_layers.py`; pages and notebooks have tests of their own.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
GUARD = "tests/test_layers.py"
OF_PAGES = {"README.md": "tests/test_docs.py", "docs": "tests/test_docs.py", "examples": "tests/test_examples.py"}


def changed_files(base: str = "main") -> list[str]:
    """Every path that differs from the merge base with `base`, committed or not, new files included."""
    start = git("merge-base", "HEAD", base)
    return sorted(
        {*git("diff", "--name-only", start).splitlines(), *git("ls-files", "-o", "--exclude-standard").splitlines()}
    )


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def select(paths: Iterable[str]) -> list[str]:
    """The test files of some changed paths, without repeats; those that were deleted are left out."""
    paths = list(paths)
    chosen = [path for path in paths if is_test(path)]
    modules = [module for path in paths if (module := module_of(path))]
    for module in modules:
        chosen += mirrored(module)
    for module in modules:
        nearest = importers(module, all_tests())
        if not nearest and not mirrored(module):
            package = module.split(".")[1] if "." in module else module
            nearest = mirrored(f"clew.{package}.{package}") or [
                test for user in importers(module, source_files()) for test in mirrored(module_of(user))
            ]
        chosen += nearest
    chosen += [page_test for path in paths for start, page_test in OF_PAGES.items() if path.split("/")[0] == start]
    if any(module.startswith("clew") for module in modules):
        chosen.append(GUARD)
    return [test for test in dict.fromkeys(chosen) if (ROOT / test).is_file()]


def is_test(path: str) -> bool:
    return path.startswith("tests/") and Path(path).name.startswith("test_") and path.endswith(".py")


def module_of(path: str) -> str:
    """The name by which a file is imported; empty for what is not imported."""
    if not path.endswith(".py") or is_test(path) or path == "tests/conftest.py":
        return ""
    for root, prefix in (("src/", ""), ("tests/", "tests.")):
        if path.startswith(root):
            return prefix + path.removeprefix(root).removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    return ""


def mirrored(module: str) -> list[str]:
    """`tests/a/test_b.py` of `clew.a.b`, or of a folder above where tests have no such folder."""
    *packages, name = module.split(".")[1:] if module.startswith("clew.") else [""]
    for depth in range(len(packages), -1, -1):
        folder = ROOT.joinpath("tests", *packages[:depth])
        near = [*folder.glob(f"test_{name}.py"), *folder.glob(f"test_{name}_*.py")]
        if depth == len(packages):
            near += folder.joinpath(name).glob("test_*.py")
        if name and near:
            return sorted(str(path.relative_to(ROOT)) for path in near)
    return []


def importers(module: str, paths: Iterable[str]) -> list[str]:
    """Which of the files import a module, those with the fewest imports first."""
    return sorted((path for path in paths if module in imports(path)), key=lambda path: (len(imports(path)), path))


@cache
def imports(path: str) -> frozenset[str]:
    """Every module of Clew or its tests that a file imports, anywhere in it."""
    return frozenset(
        name for name in _imported(ast.parse((ROOT / path).read_text())) if name.startswith(("clew.", "tests."))
    )


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def all_tests() -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("test_*.py"))


def source_files() -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for path in (ROOT / "src").rglob("*.py"))


if __name__ == "__main__":
    print("\n".join(select(changed_files(*sys.argv[1:2]))))
