"""The workbench as a person meets it, in Chromium: trace, read, label, edit, group, come back, compare, export."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import clew
from clew.web.app import make_app
from tests.browser import Tab, axe_script, browser, serving, tab

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PROMPT = "The capital of France is"
PAYLOAD = "<img src=x onerror=\"document.title='stolen'\"><script>document.title='stolen'</script>"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def kit() -> clew.Kit:
    return clew.load("minnow")


@pytest.fixture
def address(kit: clew.Kit, tmp_path: Path) -> Iterator[str]:
    with serving(make_app(tmp_path / "workspace", kit)) as address:
        yield address


@pytest.fixture
def opened(chromium: Browser, address: str) -> Iterator[Tab]:
    with tab(chromium) as found:
        found.page.goto(address)
        yield found


def traced(page: Page, prompt: str = PROMPT) -> None:
    """Type a prompt, press Enter, and wait for its graph."""
    line = page.get_by_label("Prompt", exact=True)
    line.fill(prompt)
    line.press("Enter")
    page.wait_for_selector("g[role=option].target")


def strongest(page: Page) -> str:
    """The id of the feature with the most influence, as the whole graph's panel lists it."""
    row = page.locator("#panel button.row").filter(has_text="L").first
    row.click()
    page.wait_for_selector("#panel p.kind code")
    return page.locator("#panel p.kind code").inner_text()


def test_a_prompt_is_traced_and_its_feature_read_labelled_switched_off_and_grouped(opened: Tab) -> None:
    page = opened.page
    traced(page)
    target = page.locator("g.target").first
    assert re.match(r"output ·Paris 99\.\d %", target.get_attribute("aria-label") or "")

    node = strongest(page)
    feature = node.partition("@")[0]
    page.get_by_role("tab", name="Card").click()
    page.get_by_text("Strongest contexts").wait_for()
    assert page.get_by_text("Density").first.is_visible()

    page.keyboard.press("l")
    page.get_by_label(f"Label of {feature}").fill("my own name for it")
    page.get_by_role("button", name="Keep").click()
    marked = page.locator(f'[id="node-{node}"]')
    page.wait_for_function(
        "id => document.getElementById(id)?.getAttribute('aria-label').includes('my own name')", arg=f"node-{node}"
    )

    page.keyboard.press("g")
    page.wait_for_selector("g.group")
    assert "my own name for it" in (page.locator("g.group").get_attribute("aria-label") or "")
    page.keyboard.press("u")
    page.wait_for_selector("g.group", state="detached")
    assert marked.count() == 1
    assert page.locator("#panel p.kind code").inner_text() == node  # chosen again, as before it was grouped

    page.keyboard.press("Escape")
    strongest(page)
    page.keyboard.press("p")
    page.wait_for_function("() => document.location.hash.includes('pins=')")
    where = page.url
    page.reload()
    page.wait_for_selector("g[role=option].target")
    assert page.url == where
    assert page.get_by_role("button", name=re.compile("^Pinned")).get_attribute("aria-pressed") == "true"
    assert "my own name for it" in (page.locator(f'[id="node-{node}"]').get_attribute("aria-label") or "")
    page.keyboard.press("u")  # what was done before the reload
    page.wait_for_function("() => !document.location.hash.includes('pins=')")

    page.get_by_role("button", name=re.compile("^Edit")).last.click()
    page.get_by_role("heading", name="Edit", exact=True).wait_for()
    assert page.get_by_text("my own name for it").first.is_visible()
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_text("Next token: probability").wait_for()
    row = page.locator("table.numbers tbody tr").first
    before, predicted, measured = (
        float(re.sub(r"[^\d.]", "", text)) for text in row.locator("td").all_inner_texts()[:3]
    )
    assert "Paris" in row.inner_text()
    assert before > 99
    assert 0 <= predicted <= 100
    assert 0 <= measured <= 100
    assert (before, predicted) != (before, before) or measured != before


def test_a_threshold_moved_alone_is_found_again_when_the_graph_is_opened_from_history(opened: Tab) -> None:
    page = opened.page
    traced(page)
    start = page.url.partition("#")[0]
    graph = page.url.partition("#/trace/")[2].partition("?")[0]
    slider = page.get_by_label(re.compile("^Nodes: share"))
    before = slider.input_value()
    for _ in range(20):
        slider.press("ArrowLeft")
    moved = slider.input_value()
    assert moved != before
    page.wait_for_function(
        """async id => {
            const kept = await (await fetch(`/api/graphs/${id}/arrangement`)).json();
            const here = new URLSearchParams(document.location.hash.split("?")[1]);
            return kept.revision > 0 && String(kept.thresholds.node) === here.get("node");
        }""",
        arg=graph,
    )
    page.goto("about:blank")
    page.goto(start)
    page.get_by_role("button", name=re.compile("^History")).click()
    page.locator(".menu li button").filter(has_text=PROMPT).first.click()
    page.wait_for_selector("g[role=option].target")
    assert slider.input_value() == moved


def test_a_page_left_while_a_save_is_on_its_way_keeps_what_came_after_it(opened: Tab) -> None:
    page = opened.page
    page.add_init_script(
        """const plain = window.fetch;
        window.fetch = async (address, how) => {
            const answer = await plain(address, how);
            if (how?.method === "PUT" && !how.keepalive) await new Promise((done) => setTimeout(done, 8000));
            return answer;
        };"""
    )
    page.reload()
    traced(page)
    start, graph = page.url.partition("#")[0], page.url.partition("#/trace/")[2].partition("?")[0]

    def kept() -> list[str]:
        return page.request.get(f"{start}api/graphs/{graph}/arrangement").json()["pins"]

    strongest(page)
    page.keyboard.press("p")
    while not kept():  # the server has it; the page waits for the answer
        page.wait_for_timeout(50)
    page.keyboard.press("p")  # off again: what the workspace has is what this page began with, but for that save
    page.wait_for_function("() => !document.location.hash.includes('pins=')")
    page.goto("about:blank")
    for _ in range(100):
        if not kept():
            break
        page.wait_for_timeout(50)
    assert kept() == []


def test_two_personas_are_compared_by_influence(opened: Tab) -> None:
    page = opened.page
    prompts = [
        each["prompt"] for each in page.request.get(f"{page.url.partition('#')[0]}api/workbench").json()["examples"]
        if "persona" in str(each["note"]).lower()
    ]  # fmt: skip
    assert len(prompts) == 2
    page.get_by_role("link", name="Compare").or_(page.get_by_role("button", name="Compare")).first.click()
    for name, prompt in zip(("A", "B"), prompts, strict=True):
        line = page.get_by_label(name, exact=True)
        line.fill(prompt)
        line.press("Enter")
        page.wait_for_function(
            "side => new URLSearchParams(document.location.hash.split('?')[1]).get(side)", arg=name.lower()
        )
    page.get_by_text("Features, the largest change first").wait_for()
    shared, only = (page.get_by_role("button", name=re.compile(f"^{name}")) for name in ("In both", "Only in B"))
    only.click()
    rows = page.locator(".comparerow")
    assert rows.count() > 0
    assert rows.first.inner_text().startswith("absent")
    shared.click()
    assert "absent" not in page.locator(".comparerow").first.inner_text()
    small = page.locator(".smallscroll canvas")
    small.nth(1).wait_for()
    assert small.count() == 2
    small.last.click()
    page.wait_for_selector("g[role=option].target")
    assert "preschooler" in page.get_by_label("Prompt", exact=True).input_value()


def test_an_exported_file_shows_graph_and_cards_with_the_network_off(
    opened: Tab, chromium: Browser, tmp_path: Path
) -> None:
    page = opened.page
    traced(page)
    marks = page.locator("g[role=option]").count()
    page.get_by_role("button", name=re.compile("^Export")).click()
    with page.expect_download() as coming:
        page.locator(".menu ul a").filter(has_text=re.compile("page|HTML", re.IGNORECASE)).first.click()
    path = tmp_path / "shared.html"
    coming.value.save_as(path)
    assert path.stat().st_size < 3_000_000
    with tab(chromium, offline=True) as alone:
        alone.page.goto(path.as_uri())
        alone.page.wait_for_selector("g[role=option].target")
        assert alone.page.locator("g[role=option]").count() == marks
        strongest(alone.page)
        alone.page.get_by_role("tab", name="Card").click()
        alone.page.get_by_text("Strongest contexts").wait_for()
        assert {url.partition(":")[0] for url in alone.asked} <= {"file", "data", "blob"}


def test_one_full_path_needs_the_keyboard_only(opened: Tab) -> None:
    page = opened.page
    page.wait_for_selector("#prompt")
    for _ in range(30):
        if page.evaluate("document.activeElement.id") == "prompt":
            break
        page.keyboard.press("Tab")
    page.keyboard.type(PROMPT)
    page.keyboard.press("Enter")
    page.wait_for_selector("g[role=option].target")
    page.keyboard.press("Escape")
    for _ in range(40):  # outputs first, then by influence: a token may come before the first feature
        page.keyboard.press("j")
        page.keyboard.press("Enter")
        page.wait_for_function("() => document.location.hash.includes('sel=')")
        if "sel=L" in page.url:
            break
    page.wait_for_function("() => document.location.hash.includes('sel=L')")
    page.keyboard.press("l")
    page.wait_for_selector(".labeleditor input:focus")
    page.keyboard.type("written by keyboard")
    page.keyboard.press("Enter")
    page.get_by_text("written by keyboard").first.wait_for()
    page.keyboard.press("p")
    page.wait_for_function("() => document.location.hash.includes('pins=L')")
    page.keyboard.press("u")
    page.wait_for_function("() => !document.location.hash.includes('pins=L')")
    page.keyboard.press("e")
    page.get_by_role("heading", name="Edit", exact=True).wait_for()
    page.keyboard.press("?")
    page.get_by_role("dialog").wait_for()
    page.keyboard.press("Escape")
    page.wait_for_selector("[role=dialog]", state="detached")


def test_markup_in_a_label_a_prompt_and_an_imported_graph_stays_text(opened: Tab, tmp_path: Path) -> None:
    page = opened.page
    traced(page, f"{PROMPT} {PAYLOAD}"[:120])
    node = strongest(page)
    page.keyboard.press("l")
    page.get_by_label(f"Label of {node.partition('@')[0]}").fill(PAYLOAD)
    page.get_by_role("button", name="Keep").click()
    page.get_by_role("heading", name=PAYLOAD).wait_for()
    page.reload()
    page.wait_for_selector("g[role=option]")
    assert page.title() != "stolen"
    assert page.locator("img[src=x]").count() == 0
    path = tmp_path / "graph.json"
    graph = clew.load("minnow").trace(PROMPT, max_features=30)
    graph = graph.with_labels(dict.fromkeys(graph.labels, PAYLOAD))
    graph.to_json(path)
    page.get_by_role("button", name=re.compile("^History")).click()
    page.locator("input[type=file]").set_input_files(path)
    page.wait_for_function(
        "() => document.title.includes('France') || document.querySelectorAll('g.target').length > 0"
    )
    page.wait_for_selector("g[role=option]")
    assert page.title() != "stolen"
    assert page.locator("img[src=x]").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_any_view(chromium: Browser, address: str, scheme: str) -> None:
    with tab(chromium, color_scheme=scheme, bypass_csp=True) as found:
        page = found.page
        page.goto(address)
        traced(page)
        node = strongest(page)
        views = ["", f"feature/{node.partition('@')[0]}", "features", "edit", "compare", "guide"]
        serious = []
        for view in views:
            if view:
                page.goto(f"{address}#/{view}")
                page.wait_for_timeout(500)
            page.evaluate(axe_script())
            result = page.evaluate("axe.run()")
            serious += [
                (view, each["id"], each["nodes"][0]["html"]) for each in result["violations"]
                if each["impact"] in ("serious", "critical")
            ]  # fmt: skip
        assert serious == []
