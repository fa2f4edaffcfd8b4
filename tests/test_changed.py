"""Which tests `make quick` runs for a change."""

import pytest

from tests.changed import imports, mirrored, select


@pytest.mark.parametrize(
    ("path", "nearest"),
    [
        ("src/clew/attribution/sweep.py", "tests/attribution/test_sweep.py"),
        ("src/clew/files/locks.py", "tests/files/test_locks.py"),
        ("src/clew/web/workbench/workspace.py", "tests/web/test_workspace.py"),
        ("tests/attribution/test_graph.py", "tests/attribution/test_graph.py"),
        ("README.md", "tests/test_docs.py"),
        ("docs/minnow.md", "tests/test_docs.py"),
        ("examples/01_trace_and_read_a_graph.ipynb", "tests/test_examples.py"),
    ],
)
def test_a_changed_file_has_its_mirrored_test_first(path, nearest):
    assert select([path])[0] == nearest


def test_tests_that_import_a_changed_module_follow_its_own():
    chosen = select(["src/clew/attribution/algebra.py"])
    others = [test for test in chosen if test not in mirrored("clew.attribution.algebra")]
    assert others[-1] == "tests/test_layers.py"
    assert others[:-1]
    assert all("clew.attribution.algebra" in imports(test) for test in others[:-1])


def test_a_changed_helper_has_the_tests_that_import_it():
    assert all("tests.toy" in imports(test) for test in select(["tests/toy.py"]))
    assert select(["tests/toy.py"])


def test_what_no_test_covers_has_none():
    assert select(["LICENSE", "web/src/gone.ts", "tests/test_that_was_deleted.py"]) == []
