"""The attention of a whole prompt as a person meets it, in Chromium: heads, matrix, lines, keys, 300 tokens, Russian."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from clew.organism import World
from tests.browser import Tab, axe_script
from tests.workbench import FRANCE, minnow

if TYPE_CHECKING:
    from playwright.sync_api import Page

LAYER, HEAD = 0, 1


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
    row, margin = 34, 118
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
def test_a_long_prompt_is_drawn_within_a_tenth_of_a_second(opened: Tab) -> None:
    page, subject = opened.page, minnow().subject
    text, statements = "", World(seed=3).statements()
    for statement in itertools.islice(statements, 40):
        if len(subject.encode(text + statement.text)) < subject.context_length:
            text = f"{text} {statement.text}".strip()
    graph = trace(page, text)
    for kind in ("", "&as=lines"):
        page.goto(f"{page.url.partition('#')[0]}#/attention/{graph}?head=4.1.90{kind}")
        page.locator("#attentionplot[data-took]").wait_for()
        assert float(page.locator("#attentionplot").get_attribute("data-took") or 1e9) < 100
