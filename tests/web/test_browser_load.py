"""What the page asks for and when: little at first, a view or a language when it is wanted."""

from __future__ import annotations

from clew.web.built_page import STATIC
from tests.browser import Tab, first_load


def test_the_first_load_is_small_and_views_and_languages_come_when_they_are_wanted(opened: Tab, address: str) -> None:
    page = opened.page
    assert sum(first_load().values()) < 95_000

    def scripts() -> set[str]:
        return {url.removeprefix(address) for url in opened.asked if url.endswith(".js")}

    page.locator("#prompt").wait_for()
    at_first = {name[1:] for name in first_load() if name.endswith(".js")}
    assert scripts() == at_first
    page.get_by_role("link", name="Studies").click()
    page.get_by_role("heading", name="Studies", level=1).wait_for()
    page.get_by_role("button", name="Русский").click()
    page.get_by_role("heading", name="Опыты", level=1).wait_for()
    (view, language) = sorted(scripts() - at_first, reverse=True)
    assert view.startswith("assets/studies-")
    assert language.startswith("assets/in_russian-")


def test_a_view_that_does_not_come_says_why_and_what_to_do(opened: Tab) -> None:
    page = opened.page
    page.route("**/assets/compare-*", lambda route: route.abort())
    page.get_by_role("link", name="Compare").click()
    page.get_by_text("This view did not come").wait_for()
    page.unroute("**/assets/compare-*")
    page.get_by_role("button", name="Load the page again").click()
    page.get_by_role("heading", name="Compare", level=1).wait_for()
    assert any("ERR_FAILED" in text for text in opened.complaints)
    opened.complaints.clear()


def test_a_self_contained_file_fetches_nothing() -> None:
    script = (STATIC / "file" / "page.js").read_text()
    assert "import(" not in script
    assert "assets/" not in script
