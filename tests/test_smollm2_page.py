"""What the docs say of SmolLM2, run where its extra is installed: it prints what the pages show."""

import pytest

from clew.subject.packaged import SMOLLM2, model_installed
from tests.pages import ROOT, blocks, difference
from tests.test_docs import EXTRA, commanded, executed


@pytest.mark.stress
@pytest.mark.smollm2
@pytest.mark.parametrize(("page", "least"), [("smollm2.md", 2), ("explanations.md", 1)])
def test_what_a_page_says_of_smollm2_is_what_is_printed(page, least, run, monkeypatch, user_cache):
    if not model_installed(SMOLLM2):
        pytest.skip("the extra 'smollm2' is not installed")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("XDG_CACHE_HOME", str(user_cache))
    names, printed, shown = {"__name__": "__main__"}, None, 0
    for block in blocks((ROOT / "docs" / page).read_text()):
        if block.language == "text" and printed is not None:
            assert difference(block.text, printed) is None, f"line {block.line} is not what is printed:\n{printed}"
            printed, shown = None, shown + 1
        elif block.not_run == EXTRA:
            place = f"docs/{page}:{block.line}"
            printed = (
                executed(block.text, names, place)
                if block.language == "python"
                else commanded(block.commands, run, place)
            )
    assert shown >= least
