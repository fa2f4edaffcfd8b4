"""The explanation as a person meets it, in Chromium: sentence, groups, changes, swaps, files, Russian, a phone."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import TYPE_CHECKING

import clew
from tests.browser import Tab, axe_script, explained, tab
from tests.graphs import capital_graph
from tests.workbench import minnow

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

COUNTRY = re.compile("^country: France: 5")
LATIN_ONLY = """() => [...document.querySelectorAll('button, summary, [role=tab], [role=button]')]
    .filter(each => each.checkVisibility() && !each.closest('[lang=en]') && !each.querySelector('[lang=en]'))
    .filter(each => !each.closest('.members, .rows, .chips, .tokenrow'))
    .map(each => (each.getAttribute('aria-label') ?? each.innerText).trim())
    .filter(text => /[A-Za-z]{3}/.test(text) && !/[А-Яа-яё]/.test(text))"""


def sentence(page: Page) -> str:
    return page.locator("#sentence").inner_text()


def wait_for(page: Page, text: str) -> None:
    """Until the sentence holds a text, and is measured."""
    page.wait_for_function(
        "text => document.getElementById('sentence')?.innerText.includes(text)"
        " && document.querySelector('.explanation')?.getAttribute('aria-busy') === 'false'",
        arg=text,
    )


def serious(page: Page) -> list[str]:
    page.evaluate(axe_script())
    violations = page.evaluate("axe.run()")["violations"]
    return [each["id"] for each in violations if each["impact"] in ("serious", "critical")]


def test_one_press_leads_from_a_prompt_to_the_sentence_and_groups_are_changed_saved_and_swapped(opened: Tab) -> None:
    page = opened.page
    page.locator(".welcome li button").first.click()  # one press: the first example
    page.wait_for_selector("#sentence")
    france = "'France' (token) makes country: France at 'is'"
    assert sentence(page).startswith(france)
    assert 4 <= page.locator("g.groupbox").count() <= 12
    assert page.locator("g.answer text").first.text_content() == "Paris"
    assert page.locator("g.word").count() == 2
    assert page.locator(".circuit path.line").count() >= 5
    assert serious(page) == []

    page.locator("#sentence button").first.click()  # a group that the sentence names
    assert page.get_by_role("button", name=COUNTRY).get_attribute("aria-pressed") == "true"
    page.keyboard.press("n")  # to the name
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("the land")
    page.keyboard.press("Enter")
    wait_for(page, "the land")
    before = sentence(page)
    page.get_by_label("Join with…").select_option(label="capital with France")
    wait_for(page, "'capital' and 'France'")
    members = page.locator(".members li").count()
    page.keyboard.press("Escape")
    page.keyboard.press("u")
    wait_for(page, before.partition(" at ")[0])
    page.locator("#sentence button").first.click()
    assert page.locator(".members li").count() < members
    for mark in page.locator(".members input").all()[:2]:
        mark.check()
    groups = page.locator("g.groupbox").count()
    page.get_by_role("button", name="Make a group of the marked").click()
    page.wait_for_function("n => document.querySelectorAll('g.groupbox').length === n", arg=groups + 1)

    page.keyboard.press("s")
    page.get_by_label("Name of this explanation").fill("mine")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Saved: mine").wait_for()
    page.wait_for_function("() => document.location.hash.includes('circuit=')")
    saved = sentence(page)
    page.reload()
    page.wait_for_selector("#sentence")
    assert sentence(page) == saved
    page.get_by_role("button", name="Saved: mine").click()
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_role("button", name="Replace “mine”").wait_for()  # not overwritten in silence
    page.get_by_role("button", name="Do not save").click()
    page.locator(".notices").wait_for(state="attached")
    opened.complaints.clear()  # of the answer 409

    if page.locator("#panel .close").count():
        page.locator("#panel .close").first.click()
    page.get_by_role("button", name="as it was found").click()
    wait_for(page, "country: France")
    page.get_by_role("button", name=COUNTRY).click()
    page.keyboard.press("w")
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("The capital of Italy is")
    page.keyboard.press("Enter")
    page.get_by_text("The answer follows: Rome").wait_for()
    row = page.locator(".swapresult tbody tr").nth(1).locator("td").all_inner_texts()
    assert float(row[1].removesuffix(" %")) > 50
    assert serious(page) == []
    page.locator(".members button.row").first.click()  # its feature, in the graph one click below
    page.wait_for_selector("g[role=option].target")
    page.locator("#panel p.kind code").wait_for()


def test_the_figure_is_saved_as_svg_and_png_and_a_page_carries_the_explanation(opened: Tab, tmp_path: Path) -> None:
    page = opened.page
    explained(page)
    paths = {}
    for name in ("Figure as SVG", "Figure as PNG", "One HTML file"):
        page.get_by_role("button", name=re.compile("^Export")).click()
        with page.expect_download() as coming:
            page.locator(".menu ul li").filter(has_text=name).locator("button, a").click()
        paths[name] = tmp_path / coming.value.suggested_filename
        coming.value.save_as(paths[name])
    svg = ElementTree.parse(paths["Figure as SVG"]).getroot()
    texts = [element.text for element in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert paths["Figure as SVG"].name == "capital-of-France-is.svg"
    assert {"country: France", "says Paris", "Paris", "without it"} <= {*texts}
    assert all(element.get("class") is None for element in svg.iter())  # it needs no style sheet
    lines = [element for element in svg.iter("{http://www.w3.org/2000/svg}path") if element.get("fill") == "none"]
    assert len(lines) >= 5
    assert all(element.get("stroke", "").startswith("rgb") for element in lines)
    png = paths["Figure as PNG"].read_bytes()
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = (int.from_bytes(png[at : at + 4], "big") for at in (16, 20))
    assert width > 2 * 900
    assert height > 2 * 300

    said = sentence(page)
    page.goto(paths["One HTML file"].as_uri())
    page.wait_for_selector("#sentence")
    assert sentence(page) == said
    page.get_by_role("button", name=COUNTRY).click()
    assert page.locator(".members li").count() > 3
    assert page.locator("#groupname, #swap, .members input").count() == 0  # it is for reading
    page.keyboard.press("v")
    page.wait_for_selector("g[role=option].target")


def test_the_keyboard_alone_reads_the_explanation_and_goes_to_the_graph_and_back(opened: Tab) -> None:
    page = opened.page
    explained(page)
    page.keyboard.press("Escape")  # out of the prompt
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("ArrowRight")
    first = page.evaluate("document.activeElement.id")
    page.keyboard.press("ArrowRight")
    second = page.evaluate("document.activeElement.id")
    assert first.startswith("group-G")
    assert second.startswith("group-G")
    assert first != second
    page.keyboard.press("Enter")
    page.wait_for_function("id => document.getElementById(id).getAttribute('aria-pressed') === 'true'", arg=second)
    page.keyboard.press("p")
    pinned = page.get_by_role("button", name=re.compile("^Pin"))
    page.wait_for_function("() => document.querySelector('#panel [aria-pressed=true]') !== null")
    assert pinned.get_attribute("aria-pressed") == "true"
    page.wait_for_function("() => document.location.hash.includes('changes=')")
    page.keyboard.press("u")
    page.wait_for_function("() => !document.location.hash.includes('changes=')")
    page.keyboard.press("v")
    page.wait_for_selector("g[role=option].target")
    where = page.url
    page.reload()
    page.wait_for_selector("g[role=option].target")
    assert page.url == where
    page.keyboard.press("v")
    page.wait_for_selector("#sentence")


def test_the_whole_interface_is_russian_by_one_press_and_by_a_link(opened: Tab, address: str) -> None:
    page = opened.page
    page.get_by_role("button", name="Русский").click()
    page.get_by_role("heading", name="Пройдите по нити от текста к ответу.").wait_for()
    assert page.evaluate("document.documentElement.lang") == "ru"
    seen = {"welcome": page.evaluate(LATIN_ONLY)}
    page.locator("#prompt").fill("The capital of France is")
    page.locator("#prompt").press("Enter")
    page.wait_for_selector("#sentence")
    assert sentence(page).startswith("«France» (токен) создаёт группу страна: France на «is»")
    seen["explanation"] = page.evaluate(LATIN_ONLY)
    page.locator("g.groupbox").first.click()
    seen["group"] = page.evaluate(LATIN_ONLY)
    assert serious(page) == []
    page.get_by_role("button", name="Граф", exact=True).click()
    page.wait_for_selector("g[role=option].target")
    page.locator("#panel button.row").first.click()
    page.get_by_role("tab", name="Карточка").wait_for()
    seen["graph"] = page.evaluate(LATIN_ONLY)
    page.get_by_role("button", name=re.compile("^Помощь")).click()
    seen["help"] = page.evaluate(LATIN_ONLY)
    page.keyboard.press("Escape")
    for view in ("edit", "compare", "studies", "guide"):
        page.goto(f"{address}#/{view}")
        page.get_by_role("heading", level=1).first.wait_for()
        page.wait_for_timeout(300)
        seen[view] = page.evaluate(LATIN_ONLY)
    assert {view: texts for view, texts in seen.items() if texts} == {}
    page.goto(f"{address}#/edit?lang=en")
    page.get_by_role("heading", name="Edit", exact=True).wait_for()
    page.goto(f"{address}#/edit")
    page.get_by_role("heading", name="Правка", exact=True).wait_for()  # as was chosen before


def test_a_phone_reads_the_explanation_and_its_panel_is_a_sheet(
    chromium: Browser, address: str, tmp_path: Path
) -> None:
    kit = minnow()
    with tab(chromium) as opened_tab:
        page = opened_tab.page
        page.set_viewport_size({"width": 390, "height": 844})
        page.goto(address)
        explained(page)
        box = page.locator("#sentence").bounding_box()
        assert box
        assert box["y"] + box["height"] < 844  # without scrolling
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        drawing, panel = page.locator(".circuit").bounding_box(), page.locator("#panel").bounding_box()
        assert drawing
        assert panel
        assert drawing["x"] >= 0
        assert drawing["x"] + drawing["width"] <= 390
        assert panel["height"] < 60
        assert serious(page) == []
        page.locator("#sentence button").first.click()
        page.get_by_label("Name of the group").wait_for()
        opened_box = page.locator("#panel").bounding_box()
        assert opened_box
        assert 300 < opened_box["height"] < 600
        page.locator("#panel .sheethandle").click()
        page.wait_for_function("() => document.getElementById('panel').getBoundingClientRect().height < 60")
        page.get_by_role("button", name="Graph", exact=True).click()
        page.wait_for_selector("g[role=option].target")
        scroller = page.locator(".scroller").bounding_box()
        assert scroller
        assert scroller["height"] > 400
        clew.export_html(kit.trace("The capital of France is"), tmp_path / "file.html", kit=kit)
        page.goto((tmp_path / "file.html").as_uri())
        page.wait_for_selector("g[role=option].target")
        file_panel = page.locator("#panel").bounding_box()
        assert file_panel
        assert file_panel["height"] < 60
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_graph_of_another_model_says_why_it_has_no_explanation(opened: Tab, address: str, tmp_path: Path) -> None:
    page = opened.page
    capital_graph().to_json(tmp_path / "other.json")
    content = (tmp_path / "other.json").read_text()
    head = {"Content-Type": "application/json"}
    made = page.request.post(f"{address}api/graphs/import", data=content, headers=head).json()["graph"]
    page.goto(f"{address}#/trace/{made}")
    page.locator(".noexplanation").filter(has_text="was not traced with").wait_for()  # above the graph, shown instead
    page.wait_for_selector("g[role=option].target")
    page.locator(".panes button").first.click()
    page.get_by_role("alert").filter(has_text="was not traced with").wait_for()
    page.get_by_role("button", name="Show the graph of its features").click()
    page.wait_for_selector("g[role=option].target")
    opened.complaints.clear()  # of the answer 400
