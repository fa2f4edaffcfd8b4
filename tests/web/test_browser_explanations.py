"""Edges and heads as a person opens them, in Chromium: by the pointer, by a row, by keys, by an address."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import clew
from tests.browser import Tab, axe_script, tab, traced
from tests.workbench import minnow

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

PROMPT = "The capital of France is"


def number(cell: Locator) -> float:
    return float(cell.inner_text().replace("−", "-"))


def chosen(page: Page, node: str) -> None:
    """Choose a node by its address."""
    page.evaluate("node => { location.hash = location.hash.split('?')[0] + `?sel=${node}` }", node)
    page.wait_for_function("id => document.querySelector('#panel p.kind code')?.textContent === id", arg=node)


def heading(page: Page) -> str:
    return page.locator("#panel h2").inner_text()


def serious(page: Page) -> list[str]:
    page.evaluate(axe_script())
    violations = page.evaluate("axe.run()")["violations"]
    return [each["id"] for each in violations if each["impact"] in ("serious", "critical")]


def test_a_node_says_what_the_output_loses_and_its_edge_leads_to_a_head_and_why_it_looks_there(opened: Tab) -> None:
    page = opened.page
    traced(page)
    node = page.locator("g.feature[id^='node-L4']").first.get_attribute("id") or ""
    chosen(page, node := node.removeprefix("node-"))
    rows = page.locator(".effects .row")
    rows.first.wait_for()
    assert rows.locator(".what").all_inner_texts() == [
        "by the graph's effects",
        "live, in the model",
        "through the dictionary's errors",
    ]
    total, live, errors = (number(rows.locator(".num").nth(i)) for i in range(3))
    assert abs(live - total - errors) < 0.01

    page.get_by_role("button", name=re.compile("^Heads and steps of this edge")).first.click()
    page.get_by_role("heading", name="Heads that carry its value").wait_for()
    page.wait_for_function("() => document.location.hash.includes('link=')")
    value, effect = (number(page.locator("#panel .facts dd").nth(i)) for i in range(2))
    graph = page.url.partition("#/trace/")[2].partition("?")[0]
    source, target = page.url.partition("link=")[2].partition("&")[0].split("~")
    query = {"source": source, "target": target}
    edge = page.request.get(f"{page.url.partition('#')[0]}api/graphs/{graph}/edge", params=query).json()
    assert (abs(value - edge["value"]) < 0.01, abs(effect - edge["effect"]) < 0.01) == (True, True)
    assert serious(page) == []

    page.locator("#panel button.row").first.click()
    page.get_by_role("heading", name="What it looks at").wait_for()
    page.get_by_role("heading", name="At the query").wait_for()
    page.get_by_label("Layer", exact=True).fill("4")
    page.get_by_label("Layer", exact=True).press("Enter")
    page.get_by_role("heading", name="Layer 4").wait_for()
    measure = page.get_by_role("button", name=re.compile("^Measur"))
    measure.wait_for()
    page.wait_for_function("() => document.location.hash.includes('head=4.')")
    where = page.url
    measure.click()
    measure.wait_for(state="detached")
    losses = page.locator("#panel ul.rows").last.locator(".row")
    predicted, measured = (number(losses.first.locator(place)) for place in (".num", ".part"))
    assert abs(predicted - measured) < abs(predicted)
    assert serious(page) == []

    page.reload()
    page.get_by_role("heading", name="At the query").wait_for()
    assert page.url == where
    assert heading(page).startswith("Layer 4, head")
    page.evaluate("document.activeElement?.blur()")
    page.keyboard.press("Escape")
    page.get_by_role("heading", name="Heads that carry its value").wait_for()
    page.keyboard.press("Escape")
    page.wait_for_function("id => document.querySelector('#panel p.kind code')?.textContent === id", arg=node)


def test_a_line_of_the_drawing_is_an_edge_and_empty_paper_is_none(opened: Tab) -> None:
    page = opened.page
    traced(page)
    feature = page.locator("g.feature[id^='node-L0/'][id$='@4']").first.get_attribute("id") or ""
    ends = [page.locator(f'[id="{id}"]').bounding_box() for id in ("node-T@4", feature)]
    assert all(ends)
    x = sum(box["x"] + box["width"] / 2 for box in ends if box) / 2
    y = sum(box["y"] + box["height"] / 2 for box in ends if box) / 2
    page.mouse.click(x, y)
    page.get_by_role("heading", name="Heads that carry its value").wait_for()
    edge = page.url.partition("link=")[2].partition("&")[0]
    assert edge == f"T@4~{feature.removeprefix('node-')}"
    plot = page.locator("#plot").bounding_box()
    assert plot
    page.mouse.click(plot["x"] + 3, plot["y"] + 20)
    page.get_by_role("heading", name="Outputs").wait_for()
    assert "link=" not in page.url


def test_an_edge_and_a_head_need_the_keyboard_only(opened: Tab) -> None:
    page = opened.page
    traced(page)
    page.keyboard.press("Escape")
    page.keyboard.press("x")  # nothing is chosen
    page.get_by_text("Choose a node first").wait_for()
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.keyboard.press("x")
    page.get_by_role("heading", name="Heads that carry its value").wait_for()
    assert page.url.endswith("~O0@5")
    page.locator("#panel").focus()
    for _ in range(8):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('button.row')"):
            break
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Why at").wait_for()
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    page.keyboard.press("h")  # no edge is needed
    page.get_by_role("heading", name="Layer 0, head 0").wait_for()
    page.get_by_label("Looks from").select_option("4")
    page.wait_for_function("() => document.location.hash.includes('head=0.0.4')")
    page.get_by_label("At", exact=True).select_option("2")
    page.get_by_role("heading", name="Why at ·capital").wait_for()


def test_a_head_that_the_model_has_not_is_refused_in_one_line(opened: Tab) -> None:
    page = opened.page
    traced(page)
    page.evaluate("() => { location.hash = location.hash.replace(/&head=.*|$/, '&head=1.7.5') }")
    page.get_by_role("alert").filter(has_text="there is no head 7: layer 1 has heads 0 to 3").wait_for()
    assert page.get_by_role("alert").count() == 1
    opened.complaints.clear()  # of the answers 400


def test_a_file_has_the_effects_of_its_graph_and_opens_neither_edges_nor_heads(
    chromium: Browser, tmp_path: Path
) -> None:
    whole = minnow().trace(PROMPT, effects=True)
    for name, graph, note in (
        ("with", whole, "value · effect"),
        ("without", replace(whole, effect_rows=None), "weight"),
    ):
        path = tmp_path / f"{name}.html"
        clew.export_html(graph, path)
        with tab(chromium, offline=True) as alone:
            page = alone.page
            page.goto(f"{path.as_uri()}#/trace?node=1&edge=1&sel=O0@5&link=T@4~O0@5&head=1.0.5")
            page.get_by_role("heading", name="Inputs").wait_for()
            assert page.locator("#panel h3").filter(has_text="Inputs").inner_text().split("\n")[1].startswith(note)
            assert page.locator(".linkrow, .effects, .headform").count() == 0
            page.keyboard.press("h")
            page.get_by_text("Edges and heads are explained where clew serve runs").wait_for()


def test_a_phone_shows_edge_and_head_in_its_width_in_either_language(chromium: Browser, address: str) -> None:
    for language, words in (("en", "At the query"), ("ru", "Со стороны запроса")):
        with tab(chromium, has_touch=True, color_scheme="dark") as opened_tab:
            page = opened_tab.page
            page.set_viewport_size({"width": 360, "height": 740})
            page.add_init_script(f"localStorage.setItem('clew.language', '{language}')")
            page.goto(address)
            traced(page)
            start = page.url.partition("?")[0]
            for opened_part, sign in (("link=T@4~O0@5", ".facts"), ("link=T@4~O0@5&head=4.1.5.4", ".headform")):
                page.evaluate("hash => { location.hash = hash }", f"{start.partition('#')[2]}?sel=O0@5&{opened_part}")
                page.wait_for_selector(f"#panel {sign}")
                if "head" in opened_part:
                    page.get_by_role("heading", name=words).wait_for()
                assert page.evaluate("document.documentElement.scrollWidth") <= 360
                pieces = "'#panel .row, #panel .headform, #panel h3, #panel .split'"
                cut = (
                    f"[...document.querySelectorAll({pieces})].filter(each => each.scrollWidth > each.clientWidth + 1)"
                )
                assert page.evaluate(f"{cut}.map(each => each.innerText)") == []
