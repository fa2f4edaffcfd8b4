"""The first view: twelve worked examples, one press each; the open kit, and how another one is served."""

from __future__ import annotations

from tests.browser import Tab, axe_script


def test_an_example_is_explained_by_one_press_and_kits_are_offered_with_their_command(opened: Tab) -> None:
    page = opened.page
    page.locator(".welcome li").nth(11).wait_for()
    assert page.locator(".welcome li").count() == 12
    page.locator(".kit button").first.focus()
    page.keyboard.press("ArrowDown")
    page.get_by_text("clew serve --kit minnow").wait_for()
    page.evaluate(axe_script())
    assert [each["id"] for each in page.evaluate("axe.run()")["violations"] if each["impact"] != "minor"] == []
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.get_by_role("status").get_by_text("clew serve --kit minnow").wait_for()  # copied, or to be copied by hand

    page.get_by_role("button", name="Русский").click()
    page.get_by_role("button", name="Шаг, которого не видно").click()
    page.wait_for_selector("#sentence")
    assert "Temuco" in page.locator("#sentence").inner_text()
    page.set_viewport_size({"width": 390, "height": 844})
    page.get_by_role("link", name="Clew").click()
    page.locator(".welcome li").nth(11).wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
