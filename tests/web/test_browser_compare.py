"""Two graphs drawn as one, as a person meets it."""

from __future__ import annotations

import csv
from pathlib import Path

from tests.browser import Tab, axe_script, traced


def test_two_graphs_are_one_drawing_with_a_table_of_what_went_and_came(opened: Tab, tmp_path: Path) -> None:
    page = opened.page
    for prompt in ("The capital of France is", "The capital of Italy is"):
        traced(page, prompt)
    page.get_by_role("link", name="Compare").click()
    row = page.locator(".differencerow").first
    row.wait_for()
    assert page.locator("svg.difference[role=img] circle").count() == 24
    assert page.locator("svg.difference .after").all_text_contents() == ["·France", "·Paris"]  # A is the latest
    row.focus()
    page.keyboard.press("Enter")
    lines = page.locator(".differencechosen tbody tr")
    lines.first.wait_for()
    assert page.locator("svg.difference path.away").count() > 0
    page.evaluate(axe_script())
    assert [each["id"] for each in page.evaluate("axe.run()")["violations"] if each["impact"] != "minor"] == []

    page.get_by_role("button", name="Export").click()
    with page.expect_download() as coming:
        page.get_by_role("button", name="Table as CSV").click()
    coming.value.save_as(tmp_path / "table.csv")
    table = list(csv.DictReader((tmp_path / "table.csv").read_text().split("\r\n\r\n")[0].splitlines()))
    assert {each["status"] for each in table} >= {"gone", "new", "changed"}
    assert table[0]["name"] in row.inner_text()
    page.get_by_role("button", name="by feature").click()
    page.wait_for_function(
        "() => document.querySelectorAll('svg.difference .after').length === 1"
    )  # words by their text
    assert "by=feature" in page.url
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
