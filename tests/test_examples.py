"""The notebooks in `examples/` run from the first cell to the last, and are committed without outputs."""

import subprocess
import sys

import pytest

from tests.pages import ROOT

NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))


def read(path):
    import nbformat

    return nbformat.read(path, as_version=4)


@pytest.mark.long
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_without_an_error(path, tmp_path):
    """In a process of its own: a kernel leaves sockets open, and warnings of that are errors here."""
    program = (
        "import sys, nbformat, nbclient; notebook = nbformat.read(sys.argv[1], as_version=4);"
        "nbclient.NotebookClient(notebook, kernel_name='python3', timeout=300).execute();"
        "assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == 'code')"
    )
    call = [sys.executable, "-c", program, str(path)]
    ended = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-4000:]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs_and_explains_itself(path):
    cells = read(path).cells
    assert all(not cell.outputs and cell.execution_count is None for cell in cells if cell.cell_type == "code")
    assert cells[0].source.startswith("# ")
    assert sum(cell.cell_type == "markdown" for cell in cells) >= len(cells) / 3


def test_there_are_three_notebooks():
    assert [path.stem[:2] for path in NOTEBOOKS] == ["01", "02", "03"]
