"""Notes and lists as a person meets them: written where they are read, found again, never overwritten unseen."""

from __future__ import annotations

from playwright.sync_api import Page

from tests.browser import Tab, axe_script, explained


def saved_note(page: Page, address: str) -> str:
    """What the workspace holds, once it holds something else than before."""
    page.wait_for_timeout(900)
    return page.request.get(address).json()["text"]


def test_a_note_on_a_graph_is_found_again_and_what_another_tab_wrote_is_seen(opened: Tab, address: str) -> None:
    page = opened.page
    explained(page)
    graph = page.url.partition("/trace/")[2].partition("?")[0]
    at = f"{address}api/graphs/{graph}/note"
    field = page.get_by_role("textbox", name="Note", exact=True)
    field.fill("France acts through L0")
    assert saved_note(page, at) == "France acts through L0"
    page.keyboard.press("Escape")
    page.keyboard.press("v")  # the graph has the same note
    page.wait_for_selector("g[role=option].target")
    field.wait_for()
    assert field.input_value() == "France acts through L0"
    page.request.put(at, data={"revision": 1, "text": "theirs"})
    field.fill("mine")
    page.get_by_text("Another tab has written meanwhile: “theirs”").wait_for()
    assert page.request.get(at).json()["text"] == "theirs"
    page.get_by_role("button", name="Keep both").click()
    page.get_by_text("Another tab has written meanwhile").wait_for(state="detached")
    assert page.request.get(at).json()["text"] == "theirs\n\nmine"
    opened.complaints[:] = [text for text in opened.complaints if "409" not in text]


def test_a_feature_is_put_into_a_list_found_there_and_taken_out(opened: Tab, address: str) -> None:
    page = opened.page
    page.goto(f"{address}#/feature/L0/2027")
    line = page.get_by_label("Name of a list")
    line.fill("capitals")
    line.press("Enter")
    page.get_by_role("button", name="Take it out of “capitals”").wait_for()
    page.evaluate(axe_script())
    assert [each["id"] for each in page.evaluate("axe.run()")["violations"] if each["impact"] != "minor"] == []
    page.get_by_role("button", name="capitals", exact=True).click()
    page.get_by_role("button", name="L0/2027", exact=True).wait_for()
    assert page.get_by_label("a list of yours").input_value() == "capitals"
    page.get_by_role("button", name="Take L0/2027 out of “capitals”").click()
    page.get_by_role("button", name="L0/2027", exact=True).wait_for(state="detached")
    page.get_by_role("button", name="Undo").click()
    page.get_by_role("button", name="L0/2027", exact=True).wait_for()
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
