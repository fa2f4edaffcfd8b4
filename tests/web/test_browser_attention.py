"""The attention of a whole prompt as a person meets it, in Chromium: heads, matrix, lines, keys, Russian."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.browser import Tab, axe_script
from tests.workbench import FRANCE, minnow

if TYPE_CHECKING:
    from playwright.sync_api import Page

LAYER, HEAD = 0, 1
STARTS = {"matrix": "Rows look", "lines": "Left looks"}
POINTING = """async () => {  // the slowest of some moves of the pointer, until what they redraw is seen
    const plot = document.getElementById('attentionplot'), box = plot.getBoundingClientRect();
    const frame = () => new Promise(requestAnimationFrame);
    let slowest = 0;
    for (let i = 1; i < 20; i++) {
        const started = performance.now();
        const place = {clientX: box.left + box.width * i / 40, clientY: box.top + box.height * i / 20, bubbles: true};
        plot.dispatchEvent(new MouseEvent('mousemove', place));
        await frame();
        await frame();
        slowest = Math.max(slowest, performance.now() - started);
    }
    return slowest;
}"""


def trace(page: Page, prompt: str) -> str:
    """The id of a graph of this prompt, traced by the open page's server."""
    ask = """async body => {
        const started = await fetch('/api/jobs', {
            method: 'POST', body: JSON.stringify(body), headers: {'content-type': 'application/json'}});
        const {id} = await started.json();
        for (;;) {
            const job = await (await fetch(`/api/jobs/${id}`)).json();
            if (!['queued', 'running'].includes(job.state)) return job;
            await new Promise(done => setTimeout(done, 50));
        }
    }"""
    job = page.evaluate(ask, {"kind": "trace", "prompt": prompt, "max_features": 50})
    assert job["state"] == "done", job
    return job["result"]["graph"]


def said(page: Page) -> str:
    return page.locator("#pair").inner_text()


def test_a_head_of_the_whole_prompt_is_chosen_pointed_at_and_walked_by_keys_and_leads_to_why(opened: Tab) -> None:
    page, subject = opened.page, minnow().subject
    pattern = subject.record(subject.encode(FRANCE)).patterns()[LAYER][HEAD]
    graph = trace(page, FRANCE)
    page.goto(f"{page.url.partition('#')[0]}#/trace/{graph}?pane=graph")
    page.get_by_role("link", name="Attention", exact=True).click()
    page.locator("#head-5-3 canvas").wait_for()
    assert page.locator(".headgrid button").count() == 24
    page.locator(f"#head-{LAYER}-{HEAD}").click()
    page.wait_for_function("() => document.getElementById('pair').innerText.includes('(4)')")  # it looks most at France
    assert f"from ·is (5) to ·France (4): {100 * float(pattern[5, 4]):.1f} %" in said(page)

    canvas = page.locator("#attentionplot canvas").first.bounding_box()
    row, margin = 24, 118
    page.mouse.move(canvas["x"] + margin + 2.5 * row, canvas["y"] + margin + 3.5 * row)
    assert f"from ·of (3) to ·capital (2): {100 * float(pattern[3, 2]):.1f} %" in said(page)
    page.mouse.move(5, 5)
    page.locator("#attentionplot").focus()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowLeft")
    assert f"from ·France (4) to ·of (3): {100 * float(pattern[4, 3]):.1f} %" in said(page)
    page.evaluate(axe_script())
    assert [
        each["id"] for each in page.evaluate("axe.run()")["violations"] if each["impact"] in ("serious", "critical")
    ] == []

    page.get_by_role("button", name="Lines").click()
    page.wait_for_function("() => document.location.hash.includes('as=lines')")
    canvas = page.locator("#attentionplot canvas").first.bounding_box()
    page.mouse.move(canvas["x"] + 20, canvas["y"] + 4 + 5.5 * 24)  # the last token, at the left
    assert "from ·is (5) to ·France (4)" in said(page)
    page.locator("#attentionplot").focus()
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="At the keys").wait_for()
    page.get_by_role("link", name="This head at every position").click()
    page.locator("#attentionplot").wait_for()
    assert f"head={LAYER}.{HEAD}.4.3" in page.url
    page.get_by_role("button", name="Русский").click()
    page.get_by_role("button", name="Матрица").wait_for()
    assert "с ·France (4) на ·of (3)" in said(page)
    page.keyboard.press("Escape")
    page.wait_for_function("() => document.location.hash.startsWith('#/trace/')")


@pytest.mark.alone
def test_three_hundred_tokens_are_drawn_within_a_tenth_of_a_second_and_so_is_what_is_pointed_at(opened: Tab) -> None:
    """The answers are made up here, because no bundled model reads a prompt so long."""
    page, n_tokens, n_heads = opened.page, 300, 12
    scores = np.random.default_rng(0).normal(scale=2.5, size=(n_heads, n_tokens, n_tokens))
    weights = np.exp(scores) * np.tri(n_tokens)
    weights /= weights.sum(2, keepdims=True)
    packed = np.round(65535 * weights[:, *np.tril_indices(n_tokens)]).astype("<u2")
    view = {
        "layer": 0, "n_layers": 1, "heads": list(range(n_heads)), "tokens": [f" word{i}" for i in range(n_tokens)],
        "weights": base64.b64encode(packed.tobytes()).decode(),
    }  # fmt: skip
    page.route("**/api/graphs/long/attention*", lambda route: route.fulfill(json=view))
    took = {}
    for kind in ("matrix", "lines"):
        page.goto(f"{page.url.partition('#')[0]}#/attention/long?head=0.3.200.7&as={kind}")
        page.locator("#attentionplot[data-took]").wait_for()
        page.wait_for_function("kind => document.querySelector('.note')?.innerText.startsWith(kind)", arg=STARTS[kind])
        took[kind] = float(page.locator("#attentionplot").get_attribute("data-took") or "inf")
        assert f"from ·word200 (200) to ·word7 (7): {100 * weights[3, 200, 7]:.1f} %" in said(page)
        took[f"pointing at {kind}"] = page.evaluate(POINTING)
    print(took)
    assert max(took.values()) < 100, took
