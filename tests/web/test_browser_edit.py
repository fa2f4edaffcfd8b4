"""Edits and audits as a person meets them, in Chromium: what was run is what is shown, and what cannot run is said."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.browser import Tab, traced

if TYPE_CHECKING:
    from playwright.sync_api import Page

PROMPT = "The capital of France is"


def edited(page: Page, address: str, edits: str, prompt: str = PROMPT) -> None:
    """Open the edit view by its address, and run what it says."""
    page.goto(f"{address}#/edit?prompt={prompt}&edits={edits}")
    page.get_by_role("button", name="Run", exact=True).click()


def test_results_say_which_run_they_are_of_and_are_found_again_after_a_reload(opened: Tab, address: str) -> None:
    page = opened.page
    edited(page, address, "scale L0/5@all=2")
    page.wait_for_function("() => /run=.*text=/.test(document.location.hash)")
    page.wait_for_selector(".running", state="detached")
    texts = page.locator(".stream").all_inner_texts()
    rows = page.locator("table.numbers tbody tr").all_inner_texts()
    assert all(text.startswith(PROMPT) and len(text) > len(PROMPT) for text in texts)
    page.reload()
    page.get_by_text("Next token: probability").wait_for()
    page.locator(".stream .tok").last.wait_for()
    page.wait_for_selector(".running", state="detached")
    assert page.locator(".stream").all_inner_texts() == texts
    assert page.locator("table.numbers tbody tr").all_inner_texts() == rows
    assert page.locator(".stale").count() == 0
    page.get_by_role("textbox", name="Prompt", exact=True).fill("The capital of Spain is")
    assert PROMPT in page.locator(".stale").inner_text()
    assert page.locator(".stream").all_inner_texts() == texts  # not under the new prompt
    assert "run=" not in page.url
    page.get_by_role("textbox", name="Prompt", exact=True).fill(PROMPT)
    page.wait_for_selector(".stale", state="detached")
    assert "run=" in page.url


def test_positions_that_say_none_are_refused_and_generated_ones_are_written_with(opened: Tab, address: str) -> None:
    page = opened.page
    page.goto(f"{address}#/edit?prompt={PROMPT}&edits=ablate L0/5@all")
    positions, run = page.get_by_label(re.compile("^Positions")), page.get_by_role("button", name="Run", exact=True)
    for text in ("abc", "4,x"):
        positions.fill(text)
        page.get_by_text(f"“{text}” is no position").wait_for()
        assert run.is_disabled()
    page.reload()
    page.get_by_text("“4,x” is no position").wait_for()
    positions.fill("generated")
    run.click()
    page.get_by_text("These edits act on generated tokens alone").wait_for()
    page.wait_for_function("() => document.querySelectorAll('.tok.new').length > 1")


def test_an_audit_whose_server_goes_away_is_given_up(opened: Tab, address: str) -> None:
    page = opened.page
    traced(page)
    page.get_by_role("link", name="Edit").click()
    page.locator("#audit input").fill("2000")
    page.route("**/api/jobs/**", lambda route: route.abort())
    page.get_by_role("button", name="Audit", exact=True).click()
    page.get_by_text("the server went away while it worked").wait_for()
    assert page.get_by_role("button", name="Audit", exact=True).is_enabled()
    page.unroute("**/api/jobs/**")
    for job in page.request.get(f"{address}api/jobs").json()["jobs"]:
        page.request.delete(f"{address}api/jobs/{job['id']}")
    opened.complaints.clear()  # of the lines that were cut


def test_the_audits_plot_holds_every_point_and_says_how_many_are_far_from_the_diagonal(
    opened: Tab, address: str
) -> None:
    page = opened.page
    traced(page)
    page.get_by_role("link", name="Edit").click()
    page.locator("#audit input").fill("12")
    page.get_by_role("button", name="Audit", exact=True).click()
    plot = page.get_by_role("img", name=re.compile("^This graph: "))
    plot.wait_for()
    jobs = page.request.get(f"{address}api/jobs").json()["jobs"]
    job = next(each["id"] for each in jobs if each["kind"] == "audit")
    result = page.request.get(f"{address}api/jobs/{job}").json()["result"]
    both = [(points["predicted"], points["measured"]) for points in (result["points"], result["null_points"])]
    largest = max(abs(value) for columns in both for column in columns for value in column)
    ends = re.search(r"both from −([\d.]+) to ([\d.]+)", plot.get_attribute("aria-label") or "")
    assert ends is not None
    assert float(ends[1]) == float(ends[2]) == pytest.approx(largest, rel=0.01)
    caption = page.locator(".plots figure").first.locator("p").inner_text()
    far, large, linear = (float(text.replace(",", "")) for text in re.findall(r"[\d,.]*\d", caption)[:3])
    pairs = [(p, m) for p, m in zip(*both[0], strict=True) if max(abs(p), abs(m)) > linear]
    assert large == len(pairs)
    assert far == sum(p * m <= 0 or not 0.5 <= p / m <= 2 for p, m in pairs)
