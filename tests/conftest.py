"""One thread in every test: models are tiny, and the machine may have other work. The command line as users run it."""

import sys

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run the command line in an empty folder; returns exit code, output, error stream."""
    from clew.cli import main  # not above: what is imported before the tests begin has no shapes checked

    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["clew", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call
