"""One thread in every test: models are tiny, and the machine may have other work. The command line as users run it, the
workbench as the page asks it, and the page in a browser."""

import os
import sys

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)
# How long a test takes is not what it claims.
settings.register_profile("clew", deadline=None, max_examples=40)
settings.load_profile("clew")


@pytest.fixture
def exact_softmax(monkeypatch):
    """Attention patterns in the model's float64: eager attention rounds them to float32, 3e-7 apart."""
    softmax = torch.nn.functional.softmax

    def exact(x, dim=None, dtype=None, **rest):
        return softmax(x, dim=dim, dtype=x.dtype if x.dtype == torch.float64 else dtype)

    monkeypatch.setattr(torch.nn.functional, "softmax", exact)


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run the command line in an empty folder; returns exit code, output, error stream."""
    from clew.cli import main  # not above: what is imported before the tests begin has no shapes checked

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))  # or the tests would write into their user's workspace

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


@pytest.fixture(scope="session")
def user_cache(tmp_path_factory):
    """A user's cache for all tests and processes of this run: what takes long to unpack is unpacked once."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "user-cache"


@pytest.fixture(scope="session")
def small_kit(tmp_path_factory):
    """A kit of minnow with every ninth of its features: what is done to all features takes a ninth of the time."""
    import clew
    from tests.models import every_nth

    folder = tmp_path_factory.mktemp("small")
    every_nth(clew.load("minnow").dictionary, 9).save(folder / "dictionary")
    clew.kit.build(folder / "kit", name="small", model="minnow", dictionary=folder / "dictionary")
    return folder / "kit"


@pytest.fixture
def few_rules(monkeypatch):
    """Atlases have a twentieth of their labels by rule, and that of "Paris": all of them take a minute to embed."""
    from clew.features.atlas import Atlas

    every, kept = Atlas.features_by_rule.func, {}

    def some(atlas):
        if atlas.path not in kept:
            features = every(atlas)
            kept[atlas.path] = {text: features[text] for text in (*list(features)[::20], 'says "Paris"')}
        return kept[atlas.path]

    monkeypatch.setattr(Atlas, "features_by_rule", property(some))


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """A client of a workbench on the bundled kit, one for a file of tests."""
    from tests.workbench import opened

    with opened(tmp_path_factory.mktemp("bench")) as client:
        yield client


@pytest.fixture(scope="module")
def graph(bench):
    """The id of a graph that this workbench holds."""
    from tests.workbench import traced

    return traced(bench)


@pytest.fixture(scope="module")
def chromium():
    from tests.browser import browser

    with browser() as opened:
        yield opened


@pytest.fixture
def address(tmp_path):
    """Where a workbench of the bundled kit answers, with a workspace of its own."""
    from clew.web.app import make_app
    from tests.browser import serving
    from tests.workbench import minnow

    with serving(make_app(tmp_path / "workspace", minnow())) as found:
        yield found


@pytest.fixture
def opened(chromium, address):
    """A tab that shows the workbench."""
    from tests.browser import tab

    with tab(chromium) as found:
        found.page.goto(address)
        yield found
