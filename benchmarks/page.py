"""How quick the workbench's page is, in Chromium without a GPU. `make bench-page`.

1. From Enter to the sentence that explains the answer, and from there to the drawn graph, on a warm server, for
   prompts of the small world.
2. A graph of 2,000 nodes and 50,000 edges in a file of its own: frames while the paper is dragged and while the pointer
   moves over it, and the time of a full redraw (names switched off and on), from the click to the frame after it.
3. A prompt of 300 tokens: a graph of 1,500 nodes, redrawn folded, as it opens.
4. What the first load takes, gzipped: the page and what it asks for before it is drawn, without the views that come on
   demand.

    python benchmarks/page.py [--rounds 5]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch

import clew
from clew.attribution.graph import Graph
from clew.attribution.nodes import TargetInfo
from clew.ids import FeatureId
from clew.web.app import make_app
from clew.web.export import export_html

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.browser import browser, first_load, serving, tab

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PROMPTS = ("The capital of {} is", ("France", "Italy", "Spain", "Greece", "Egypt", "Japan", "Kenya", "Peru"))
FRAMES = """() => {
    window.frames_ = []; window.on_ = true; let last = performance.now();
    const step = () => { const now = performance.now(); frames_.push(now - last); last = now;
                         if (window.on_) requestAnimationFrame(step); };
    requestAnimationFrame(step); }"""
REDRAW = """() => new Promise(done => {
    const began = performance.now();
    [...document.querySelectorAll('.switch input, label input[type=checkbox]')][1].click();
    requestAnimationFrame(() => requestAnimationFrame(() =>
        done([performance.now() - began, Number(document.documentElement.dataset.took)]))); })"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    print_first_load()
    with browser() as opened, tempfile.TemporaryDirectory() as folder:
        from_enter_to_sentence(opened, Path(folder) / "workspace", rounds)
        big = Path(folder) / "big.html"
        export_html(generated(tokens=40, layers=12, features=1850, edges=50_000), big, pruned=False)
        large_graph(opened, big, rounds)
        long = Path(folder) / "long.html"
        export_html(generated(tokens=300, layers=12, features=1190, edges=20_000), long, pruned=False)
        long_prompt(opened, long, rounds)


def print_first_load() -> None:
    print(f"first load, gzipped: {sum(first_load().values()) / 1000:.0f} kB (bar 120)")


def from_enter_to_sentence(opened: Browser, workspace: Path, rounds: int) -> None:
    seconds, graphs = [], []
    with serving(make_app(workspace, clew.load("minnow"))) as address, tab(opened) as found:
        page = found.page
        page.goto(address)
        for name in PROMPTS[1][: rounds + 1]:
            prompt = PROMPTS[0].format(name)
            line = page.get_by_label("Prompt", exact=True)
            line.fill(prompt)
            began, before = time.perf_counter(), page.url
            line.press("Enter")
            page.wait_for_function(
                """was => location.href.split("?")[0] !== was.split("?")[0]
                && document.getElementById("sentence") !== null && document.querySelector("g.groupbox") !== null""",
                arg=before,
                polling="raf",
            )
            seconds.append(time.perf_counter() - began)
            began = time.perf_counter()
            page.get_by_role("button", name="Graph", exact=True).click()
            page.wait_for_function("document.querySelector('g.target') !== null", polling="raf")
            graphs.append(time.perf_counter() - began)
    print(f"Enter to sentence: {_said(seconds[1:], 's', 2)}; the first of all {seconds[0]:.2f} s (bar 2)")
    print(f"sentence to graph: {_said(graphs[1:], 's', 2)}")


def large_graph(opened: Browser, path: Path, rounds: int) -> None:
    with tab(opened) as found:
        page = found.page
        _open(page, path)
        pan, hover = [], []
        for _ in range(rounds):
            pan.append(_frames(page, _drag))
            hover.append(_frames(page, _hover))
        redraws = [page.evaluate(REDRAW) for _ in range(2 * rounds)]
    print("2,000 nodes, 50,000 edges:")
    print(f"  dragging, 95th percentile of frames: {_said(pan, 'ms', 0)} (bar 33)")
    print(f"  pointing, 95th percentile of frames: {_said(hover, 'ms', 0)} (bar 33)")
    print(f"  redraw, drawing alone: {_said([r[1] for r in redraws], 'ms', 0)} (bar 150)")
    print(f"  redraw, click to frame: {_said([r[0] for r in redraws], 'ms', 0)}")


def long_prompt(opened: Browser, path: Path, rounds: int) -> None:
    with tab(opened) as found:
        _open(found.page, path)
        pan = [_frames(found.page, _drag) for _ in range(rounds)]
        redraws = [found.page.evaluate(REDRAW) for _ in range(2 * rounds)]
    print("300 tokens, 1,500 nodes, 20,000 edges:")
    print(f"  dragging, 95th percentile of frames: {_said(pan, 'ms', 0)}")
    print(f"  redraw, drawing alone: {_said([r[1] for r in redraws], 'ms', 0)}")


def _open(page: Page, path: Path) -> None:
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-links]")
    page.wait_for_timeout(500)


def _frames(page: Page, move) -> float:  # type: ignore[no-untyped-def]
    page.evaluate(FRAMES)
    move(page)
    frames = sorted(page.evaluate("() => { window.on_ = false; return window.frames_; }"))
    return frames[int(0.95 * len(frames))]


def _drag(page: Page) -> None:
    page.mouse.move(300, 142)
    page.mouse.down()
    for i in range(60):
        page.mouse.move(300 - 6 * min(i, 60 - i), 142 + i % 10)
        page.wait_for_timeout(16)
    page.mouse.up()


def _hover(page: Page) -> None:
    for i in range(120):
        page.mouse.move(100 + 6.5 * i, 200 + (37 * i) % 400)
        page.wait_for_timeout(16)


def generated(*, tokens: int, layers: int, features: int, edges: int) -> Graph:
    """A random graph of this size that obeys the order of layers and positions."""
    g = torch.Generator().manual_seed(0)
    n_errors, n_targets = 100, 10
    last = torch.rand(features, generator=g).sqrt()
    keys = torch.stack(
        [torch.randint(layers, (features,), generator=g), (last * tokens).long(), torch.arange(features)], 1
    )
    keys = torch.tensor(sorted(keys.tolist()))
    places = torch.randperm(layers * tokens, generator=g)[:n_errors].sort().values
    errors = torch.stack([places // tokens, places % tokens], 1)
    n = features + n_errors + tokens
    layer = torch.cat([keys[:, 0], errors[:, 0], torch.full((tokens,), -1), torch.full((n_targets,), layers)])
    position = torch.cat([keys[:, 1], errors[:, 1], torch.arange(tokens), torch.full((n_targets,), tokens - 1)])
    rows = torch.cat([torch.arange(features), torch.arange(n, n + n_targets)])
    allowed = (layer[rows, None] > layer[None, :n]) & (position[rows, None] >= position[None, :n])
    where = allowed.nonzero()
    where = where[torch.randperm(len(where), generator=g)[:edges]]
    weights = torch.zeros(len(rows), n)
    weights[where[:, 0], where[:, 1]] = torch.randn(len(where), generator=g) * torch.rand(len(where), generator=g) ** 3
    named = ("the token “the”", "says Paris", "capital cities", "before a number", "")
    return Graph(
        prompt="A graph that was drawn at random",
        tokens=tuple((" the", " capital", " of", " is", ".")[i % 5] for i in range(tokens)),
        token_ids=tuple(range(tokens)),
        n_layers=layers,
        first_position=0,
        feature_keys=keys,
        activations=torch.rand(features, generator=g),
        preactivations=torch.rand(features, generator=g),
        error_keys=errors,
        targets=tuple(
            TargetInfo(label=f" out{i}", position=tokens - 1, weight=0.1, value=1.0, probability=0.1)
            for i in range(n_targets)
        ),
        rows=weights,
        row_nodes=rows,
        col_nodes=torch.arange(n),
        row_offsets=torch.zeros(len(rows), 4),
        input_mass=weights.abs().sum(1),
        labels={FeatureId(a, c): named[c % 5] for a, _, c in keys.tolist()},
    )


def _said(values: list[float], unit: str, digits: int) -> str:
    middle = statistics.median(values)
    return f"{middle:.{digits}f} {unit} ({min(values):.{digits}f} to {max(values):.{digits}f})"


if __name__ == "__main__":
    main()
