"""Keys that lead to text fields, in Chromium: what is typed for a field that is not there is no command."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.browser import Tab, traced

if TYPE_CHECKING:
    from playwright.sync_api import Page

WORDS = "plural league, text"  # p pins, l labels, u undoes, e edits, g groups, t changes the theme


def state(page: Page) -> tuple[str, str, int]:
    """What commands would change: address, theme, and how many groups there are."""
    theme = page.evaluate("document.documentElement.dataset.theme")
    return page.url, theme, page.locator("g.group").count()


def refused(page: Page, reason: str) -> None:
    """The words are typed at once and change nothing; the dialog says why, and Escape ends it."""
    before = state(page)
    page.keyboard.type("l" + WORDS)
    dialog = page.get_by_role("alertdialog")
    assert reason in dialog.inner_text()
    assert state(page) == before
    assert page.locator(".labeleditor").count() == 0
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog.refusal", state="detached")  # its role is gone a moment earlier, when it is hidden
    page.keyboard.press("t")  # commands again
    page.wait_for_function("was => document.documentElement.dataset.theme !== was", arg=before[1])


def test_a_label_without_a_feature_is_refused_and_what_is_typed_is_no_command(opened: Tab) -> None:
    page = opened.page
    traced(page)
    page.locator("#plot").focus()
    page.keyboard.press("Escape")
    refused(page, "Choose a feature first")
    box = page.locator("g.error").first.bounding_box()
    assert box
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_selector("g.error[aria-selected=true]")
    refused(page, "Only features have labels")


def test_a_group_and_a_hidden_feature_have_no_label_to_write(opened: Tab, address: str) -> None:
    page = opened.page
    traced(page)
    page.locator("#panel button.row").filter(has_text="L").first.click()
    page.keyboard.press("g")
    page.wait_for_selector("g.group")
    refused(page, "A group has its name")
    graph = page.url.partition("#/trace/")[2].partition("?")[0]
    while not page.request.get(f"{address}api/graphs/{graph}/arrangement").json()["groups"]:
        page.wait_for_timeout(50)  # until it is kept
    page.goto("about:blank")
    page.goto(f"{address}#/trace/{graph}?sel=L5/1@5")
    page.get_by_text("This node is not shown").wait_for()
    page.wait_for_selector("g.group")  # the workspace's, after which the address names it
    refused(page, "L5/1 cannot be labelled here")


def test_a_feature_without_a_card_is_not_labelled_by_typing(opened: Tab, address: str) -> None:
    page = opened.page
    page.goto(f"{address}#/feature/L0/99999999")
    page.get_by_role("alert").filter(has_text="there is no feature").wait_for()
    refused(page, "L0/99999999 cannot be labelled here")
    opened.complaints.clear()  # of the answer 404


@pytest.mark.parametrize("view", ["guide", "compare"])
def test_a_search_where_there_is_none_is_refused_too(opened: Tab, address: str, view: str) -> None:
    page = opened.page
    page.goto(f"{address}#/{view}")
    page.get_by_role("heading", level=1).wait_for()
    theme = page.evaluate("document.documentElement.dataset.theme")
    page.keyboard.type("/the text")
    assert "nothing to search" in page.get_by_role("alertdialog").inner_text()
    assert page.evaluate("document.documentElement.dataset.theme") == theme


def test_slash_in_the_list_of_all_features_begins_a_search(opened: Tab, address: str) -> None:
    page = opened.page
    page.goto(f"{address}#/features")
    page.get_by_role("heading", name="Features", exact=True).wait_for()
    page.keyboard.press("/")
    page.wait_for_selector("#search:focus")
    page.keyboard.type("the token")
    page.wait_for_function("() => document.location.hash.includes('query=the+token')")
    assert "how=words" in page.url


def test_l_beside_a_search_opens_the_editor_and_takes_the_text(opened: Tab) -> None:
    page = opened.page
    traced(page)
    page.locator("#panel button.row").filter(has_text="L").first.click()
    page.wait_for_selector("#panel p.kind code")
    feature = page.locator("#panel p.kind code").inner_text().partition("@")[0]
    page.keyboard.press("/")
    page.keyboard.type("says")
    page.get_by_role("heading", name=re.compile("match")).wait_for()
    page.locator("#plot").focus()
    page.keyboard.press("l")
    page.wait_for_selector(".labeleditor input:focus")
    page.keyboard.type(WORDS)
    page.get_by_role("heading", name="Edit", exact=True).wait_for(state="detached")
    assert page.get_by_label(f"Label of {feature}").input_value() == WORDS
    page.locator("#plot").focus()
    page.keyboard.press("l")  # the editor is open, but the focus is elsewhere
    page.wait_for_selector(".labeleditor input:focus")
