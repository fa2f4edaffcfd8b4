"""What is kept beside another tab, brought back, or made elsewhere, in Chromium: nothing goes without a word."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser import Tab, tab, traced

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PROMPT = "The capital of France is"


def begun(page: Page, address: str, text: str) -> None:
    """Type a label of a feature, and do not keep it yet."""
    page.goto(f"{address}#/feature/L0/5")
    page.locator(".contexts").first.wait_for()
    page.keyboard.press("l")
    page.locator(".labeleditor > input").fill(text)
    page.locator(".labeleditor .author").fill("ann")


@pytest.mark.parametrize(("locale", "notice"), [("en-GB", "says “first”"), ("ru-RU", "гласит «first»")])
def test_a_label_changed_in_another_tab_is_told_and_what_both_wrote_is_seen(
    opened: Tab, chromium: Browser, address: str, locale: str, notice: str
) -> None:
    with tab(chromium, locale=locale) as other:
        begun(other.page, address, "second")
        begun(opened.page, address, "first")
        opened.page.get_by_role("button", name="Keep").click()
        opened.page.get_by_role("heading", name="first").wait_for()
        other.page.get_by_role("button", name=re.compile("^(Keep|Сохранить)$")).click()
        other.page.get_by_role("alert").filter(has_text=notice).wait_for()
        assert other.page.locator(".labeleditor > input").input_value() == "second"
        other.complaints.clear()  # of the answer 409
        other.page.get_by_role("button", name=re.compile("^(Keep|Сохранить)$")).click()
        other.page.get_by_role("heading", name="second").wait_for()
        for page in (other.page, opened.page):
            page.reload()
            page.get_by_role("heading", name="second").wait_for()
            lines = page.locator("ul.labels li").filter(has_text="ann")
            lines.filter(has_text="second").wait_for()
            lines.filter(has_text="first").filter(
                has_text=re.compile("said earlier|сказано раньше")
            ).wait_for()  # in sight, not only there


def test_a_removed_graph_is_brought_back_as_it_was_by_undo(opened: Tab) -> None:
    page = opened.page
    traced(page)
    page.locator("#panel button.row").filter(has_text="L").first.click()
    page.wait_for_selector("#panel p.kind code")
    page.keyboard.press("p")  # on its way to the workspace while the graph is removed
    page.wait_for_function("() => document.location.hash.includes('pins=')")
    graph, pins = page.url.partition("#/trace/")[2].partition("?")[0], re.findall(r"pins=[^&]*", page.url)
    page.get_by_role("button", name=re.compile("^History")).click()
    page.get_by_role("button", name=re.compile("^Remove the graph of")).click()
    page.get_by_role("button", name="Remove", exact=True).click()
    page.get_by_role("heading", name="Follow the thread").wait_for()
    page.get_by_text("No graphs yet.").wait_for()
    page.get_by_role("status").get_by_role("button", name="Undo").click()
    page.wait_for_selector("g[role=option].target")
    page.wait_for_function("() => document.location.hash.includes('pins=')")
    assert graph in page.url
    assert re.findall(r"pins=[^&]*", page.url) == pins
    page.get_by_text(f"The graph of “{PROMPT}” is removed.").wait_for(state="detached")


def test_an_atlas_that_was_harvested_and_is_not_used_is_said_not_to_be(opened: Tab, address: str) -> None:
    page = opened.page
    page.get_by_role("link", name="Features").click()
    page.locator("table.featurelist").wait_for()
    assert page.get_by_text("harvested last").count() == 0
    started = page.request.post(f"{address}api/jobs", data={"kind": "harvest", "tokens": 60}).json()
    page.request.get(f"{address}api/jobs/{started['id']}/events")  # which end with the job
    result = page.request.get(f"{address}api/jobs/{started['id']}").json()["result"]
    assert result["used"] is False
    page.reload()
    line = page.get_by_role("status").filter(has_text="is kept but not used")
    assert f"from {result['positions']:,} positions" in line.inner_text()


def test_an_exported_page_says_what_it_had_no_room_for(
    opened: Tab, chromium: Browser, address: str, tmp_path: Path
) -> None:
    page = opened.page
    traced(page)
    graph = page.url.partition("#/trace/")[2].partition("?")[0]
    whole = page.request.get(f"{address}api/graphs/{graph}/export?as=html").text()
    counts = re.findall(r'"left_out": ?\{[^}]*\}', whole)
    assert len(counts) == 1
    for left, notice in ((0, None), (3, "it had no room for 3 nodes, 3 edges, 3 cards, the whole inputs of 3 nodes")):
        path = tmp_path / f"{left}.html"
        path.write_text(whole.replace(counts[0], re.sub(r"\d+", str(left), counts[0])))
        with tab(chromium, offline=True) as alone:
            alone.page.goto(path.as_uri())
            alone.page.wait_for_selector("g[role=option].target")
            head = alone.page.locator(".filehead .note").inner_text()
            assert notice in head if notice else "no room" not in head
