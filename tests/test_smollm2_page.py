"""The docs' page of SmolLM2, run where its extra is installed: it prints what the page shows."""

import pytest

from clew.subject.packaged import SMOLLM2, model_installed
from tests.pages import ROOT, blocks, difference
from tests.test_docs import EXTRA, commanded, executed


@pytest.mark.smollm2
def test_the_page_of_smollm2_prints_what_it_shows(run, monkeypatch, user_cache):
    if not model_installed(SMOLLM2):
        pytest.skip("the extra 'smollm2' is not installed")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("XDG_CACHE_HOME", str(user_cache))
    names, printed, shown = {"__name__": "__main__"}, None, 0
    for block in blocks((ROOT / "docs" / "smollm2.md").read_text()):
        if block.language == "text" and printed is not None:
            assert difference(block.text, printed) is None, f"line {block.line} is not what is printed:\n{printed}"
            printed, shown = None, shown + 1
        elif block.not_run == EXTRA:
            place = f"docs/smollm2.md:{block.line}"
            printed = (
                executed(block.text, names, place)
                if block.language == "python"
                else commanded(block.commands, run, place)
            )
    assert shown > 1
