"""What may import what, who may open files and register hooks, how large things may grow, what `import clew` costs."""

import ast
import subprocess
import sys
import tomllib
from collections import defaultdict
from pathlib import Path

import pytest

import clew

SOURCE = Path(clew.__file__).parent
ORDER = (
    "errors version | ids displays extras progress stats | settings files | distributed kernels memory published"
    " | subject | dictionary organism | training attribution | intervention | features | labels | harvest"
    " | search kit_folders kit_verbs | circuit | kit_circuits | kit | runs timeseries | studies | web agents | cli"
)
"""Packages from left to right; a package imports only those to its left, none of its own level."""
RANK = {name: rank for rank, level in enumerate(ORDER.split("|")) for name in level.split()}
FACADES = (
    {"attribution.graph", "attribution.graph_json"},
    {"dictionary.dictionary", "dictionary.layouts"},
)
"""Modules that may import each other while they run: a noun that saves and loads itself, and its formats."""
LINES, FUNCTION_LINES, PARAMETERS = 400, 60, 8
FILES = sorted(path for path in SOURCE.rglob("*.py"))


def module_of(path):
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path) for path in FILES}


def imports_of(path, *, typing_only=False):
    """Modules of clew that a file imports while it runs, or (`typing_only`) under TYPE_CHECKING."""
    tree = ast.parse(path.read_text())
    guarded = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.dump(block.test)
        for child in block.body
        for node in ast.walk(child)
    }
    for node in ast.walk(tree):
        if (id(node) in guarded) != typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name[5:] for alias in node.names if alias.name.startswith("clew."))
        elif isinstance(node, ast.ImportFrom) and node.module and f"{node.module}.".startswith("clew."):
            package = node.module[5:]
            for alias in node.names:
                name = f"{package}.{alias.name}" if package else alias.name
                yield name if name in MODULES else package


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_a_package_imports_only_what_stands_to_its_left(path):
    package = module_of(path).split(".")[0]
    if package in ("", "__main__"):
        return
    for module in imports_of(path):
        other = module.split(".")[0]
        if other not in ("", package):
            assert RANK[other] < RANK[package], f"{module_of(path)} imports {module}"


def circles(*, typing):
    """Groups of modules that import each other, with those under TYPE_CHECKING counted or not (Tarjan 1972)."""
    arrows = defaultdict(set)
    for path in FILES:
        arrows[module_of(path)] |= {*imports_of(path), *(imports_of(path, typing_only=True) if typing else ())}
    del arrows[""]
    order, low, stack, groups = {}, {}, [], []

    def visit(module):
        order[module] = low[module] = len(order)
        stack.append(module)
        for other in arrows.get(module, ()):
            if other and other not in order:
                visit(other)
            if other in stack:
                low[module] = min(low[module], low[other])
        if low[module] == order[module]:
            group = set(stack[stack.index(module) :])
            del stack[stack.index(module) :]
            groups.append(group)

    for module in list(arrows):
        if module not in order:
            visit(module)
    return [group for group in groups if len(group) > 1]


def test_no_modules_import_each_other_but_the_two_facades():
    left = [group for group in circles(typing=False) if not any(group <= facade for facade in FACADES)]
    layouts = [group for group in left if not all(module.startswith("dictionary.") for module in group)]
    assert not layouts


def test_imports_that_only_serve_typing_make_few_circles():
    """They cost nothing at run time, but two modules that name each other's types are often one."""
    assert len(circles(typing=True)) <= TYPING_CIRCLES


TYPING_CIRCLES = 4


def calls(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            yield name, node.lineno


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_only_files_opens_files_and_only_subject_registers_hooks(path):
    package, lines = module_of(path).split(".")[0], path.read_text().splitlines()
    for name, line in calls(path):
        if package != "files" and name in ("open", "write_text", "write_bytes", "memmap"):
            assert "files.write" in lines[line - 1], f"{path}:{line} opens a file"
        if package != "subject":
            assert "hook" not in name or not name.startswith("register"), f"{path}:{line} registers a hook"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_no_file_and_no_function_outgrows_its_reason(path):
    text = path.read_text()
    assert len(text.splitlines()) <= LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno + 1 <= FUNCTION_LINES, f"{path}:{node.lineno} {node.name}"
            parameters = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
            count = len(parameters) - (parameters[:1] in (["self"], ["cls"]))
            assert count <= PARAMETERS or f"{module_of(path)}:{node.name}" in WIDE, (
                f"{path}:{node.lineno} {node.name} has {count} parameters"
            )


WIDE: frozenset[str] = frozenset()
"""Functions whose parameters are another program's to decide, such as the options of a command."""


@pytest.mark.parametrize("name", clew.__all__)
def test_every_public_name_is_there(name):
    assert getattr(clew, name) is not None


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nonsense"):
        clew.nonsense  # noqa: B018


def cpu_seconds(program):
    """The CPU seconds of a Python program in a process of its own, the least of three runs."""
    timed = f"import time; {program}; print(time.process_time())"
    runs = [subprocess.run([sys.executable, "-c", timed], check=True, capture_output=True, text=True) for _ in range(3)]
    return min(float(run.stdout.split()[-1]) for run in runs)


def test_importing_clew_loads_nothing_heavy():
    program = (
        "import sys, clew; heavy = {'torch', 'numpy', 'transformers', 'matplotlib', 'fastapi'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


@pytest.mark.alone
def test_importing_clew_takes_little_time():
    assert cpu_seconds("import clew") < 0.15


def test_the_command_line_loads_nothing_heavy_before_it_knows_what_is_wanted():
    """Help comes at once; and how threads wait is settled before torch is loaded, which reads it only then."""
    program = (
        "import sys, clew.cli; heavy = {'torch', 'numpy', 'numba', 'transformers', 'fastapi'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


def test_every_module_that_names_shapes_has_them_checked_in_the_tests():
    options = tomllib.loads((SOURCE.parents[1] / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"][
        "addopts"
    ]
    [packages] = [option.partition("=")[2].split(",") for option in options.split() if "jaxtyping" in option]
    naming = {f"clew.{module_of(path)}" for path in FILES if "from jaxtyping import" in path.read_text()}
    assert {name for name in naming if not any(f"{name}.".startswith(f"{each}.") for each in packages)} == set()
