"""Nothing imports, when it is loaded, what only Unix has."""

import ast
from pathlib import Path

import pytest

import clew

SOURCE = Path(clew.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
UNIX = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}
UNIX_NAMES = {
    "os": {
        "fork",
        "forkpty",
        "getuid",
        "geteuid",
        "getgid",
        "killpg",
        "setsid",
        "sysconf",
        "sched_getaffinity",
        "mkfifo",
    },
    "signal": {"SIGHUP", "SIGKILL", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGPIPE", "alarm", "setitimer", "pause"},
    "socket": {"AF_UNIX"},
}


def run_at_import(tree):
    """The nodes of a module that are executed when it is imported: all but those inside functions."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting += ast.iter_child_nodes(node)


def unix_only(source):
    for node in run_at_import(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names if alias.name in UNIX)
            case ast.ImportFrom(module=str(module), names=names):
                yield from [module] if module in UNIX else ()
                yield from (alias.name for alias in names if alias.name in UNIX_NAMES.get(module, ()))
            case ast.Attribute(value=ast.Name(id=module), attr=name) if name in UNIX_NAMES.get(module, ()):
                yield f"{module}.{name}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_no_module_needs_unix_to_be_imported(path):
    assert not list(unix_only(path.read_text()))


@pytest.mark.parametrize(
    "source",
    ["import resource", "from fcntl import flock", "try:\n    import pwd\nfinally:\n    pass", "HUP = signal.SIGHUP"],
)
def test_what_only_unix_has_is_seen(source):
    assert list(unix_only(source))


def test_an_import_inside_a_function_is_none_at_import():
    assert not list(unix_only("def peak():\n    import resource"))
