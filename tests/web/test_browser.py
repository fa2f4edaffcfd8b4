"""The workbench as a person meets it, in Chromium: trace, read, label, edit, group, come back, compare, export."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import clew
from tests.browser import Tab, axe_script, chances, tab, to_graph, traced

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PROMPT = "The capital of France is"
PAYLOAD = "<img src=x onerror=\"document.title='stolen'\"><script>document.title='stolen'</script>"


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
    page.keyboard.press("g")
    page.wait_for_function("() => document.location.hash.includes('groups=')")
    page.reload()
    page.wait_for_selector("g.group")
    assert "my own name for it" in (page.locator("g.group").get_attribute("aria-label") or "")

    page.keyboard.press("Escape")
    page.locator("#panel h3").filter(has_text="Output features").get_by_role("button", name="choose all").click()
    page.keyboard.press("e")
    page.get_by_role("heading", name="Edit", exact=True).wait_for()
    page.get_by_text("my own name for it").first.wait_for()
    page.get_by_role("button", name="Run", exact=True).click()
    before, predicted, measured = chances(page, "Paris")
    assert before > 99
    assert 0 <= predicted < 50
    assert measured < 90  # the real model, too, says something else


def test_a_graph_is_found_as_it_was_left_and_another_link_to_it_is_followed(opened: Tab, address: str) -> None:
    page = opened.page
    traced(page)
    node = strongest(page)
    page.get_by_label("Colour").select_option("sign")
    mark = page.locator(f'[id="node-{node}"]')
    box = mark.bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] - 90, box["y"] - 60, steps=4)
    page.mouse.up()
    page.wait_for_function("() => document.location.hash.includes('moved=')")
    left, moved = page.url, mark.bounding_box()
    assert moved
    assert moved["x"] < box["x"] - 50

    page.get_by_role("link", name="Features").click()
    page.get_by_role("heading", name="Features", exact=True).wait_for()
    page.get_by_label("Layer").select_option("2")
    page.wait_for_function("() => document.location.hash.includes('layer=2')")
    page.get_by_role("link", name="Trace").click()
    page.wait_for_selector("g[role=option].target")
    assert page.url == left
    page.get_by_role("link", name="Features").click()
    page.wait_for_function("() => document.location.hash.includes('layer=2')")

    page.goto(left)
    page.wait_for_selector("g[role=option].target")
    other = page.locator("g.feature").nth(3).get_attribute("id") or ""
    other = other.removeprefix("node-")
    page.evaluate("hash => { location.hash = hash }", f"{left.partition('#')[2].partition('?')[0]}?sel={other}")
    page.wait_for_function("id => document.querySelector('#panel p.kind code')?.textContent === id", arg=other)
    page.reload()
    page.wait_for_selector("g[role=option].target")
    again = mark.bounding_box()
    assert again
    assert abs(again["x"] - moved["x"]) < 2


def test_a_graph_is_removed_once_it_was_said_twice_and_then_nothing_is_open(opened: Tab) -> None:
    page = opened.page
    traced(page)
    page.get_by_role("button", name=re.compile("^History")).click()
    drop = page.get_by_role("button", name=re.compile("^Remove the graph of"))
    drop.click()
    page.get_by_role("button", name="Do not remove", exact=True).click()
    drop.click()
    page.get_by_role("button", name="Remove", exact=True).click()
    page.get_by_role("heading", name="Follow the thread").wait_for()
    assert page.url.endswith("#/trace")
    page.get_by_text("No graphs yet.").wait_for()


def test_the_logo_leads_to_the_start_and_escape_never_off_the_page(opened: Tab, address: str) -> None:
    page = opened.page
    traced(page)
    page.get_by_role("link", name="Clew, start").click()
    page.get_by_role("heading", name="Follow the thread").wait_for()
    page.goto("about:blank")
    page.goto(f"{address}#/feature/L0/5")
    page.get_by_text("Strongest contexts").wait_for()
    page.evaluate("document.getElementById('main').scrollTop = 400")
    page.keyboard.press("Escape")
    page.get_by_role("heading", name="Features", exact=True).wait_for()
    assert page.evaluate("document.getElementById('main').scrollTop") == 0


def test_what_is_unknown_is_said_to_be(opened: Tab, address: str) -> None:
    page = opened.page
    page.goto(f"{address}#/feature/L0/99999999")
    page.get_by_role("alert").filter(has_text="there is no feature L0/99999999").wait_for()
    page.goto(f"{address}#/feature/nonsense")
    page.get_by_role("alert").filter(has_text="is no feature").wait_for()
    page.goto(f"{address}#/compare?a=zz&b=yy")
    page.get_by_role("alert").filter(has_text="there is no graph 'zz'").wait_for()
    opened.complaints.clear()  # of the answers 404


def test_search_finds_what_the_thresholds_hide(opened: Tab) -> None:
    page = opened.page
    traced(page)
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    page.keyboard.type("layer 2 feature")
    page.get_by_role("heading", name="Below the thresholds, hidden").wait_for()
    hidden = page.locator("#panel button.row.away").first
    node = (hidden.get_attribute("title") or "").partition(",")[0]
    assert page.locator(f'[id="node-{node}"]').count() == 0
    hidden.click()
    page.wait_for_selector(f'[id="node-{node}"]')
    assert f"pins={node}" in page.url


def test_the_guide_steers_by_doing_and_shows_that_the_answer_gives_way(opened: Tab, address: str) -> None:
    page = opened.page
    page.goto(f"{address}#/guide")
    page.get_by_role("button", name="Begin", exact=True).click()
    after = page.get_by_role("button", name="Next", exact=True)
    after.click()  # no graph yet: it is traced first
    page.get_by_role("button", name="Do it for me").click()
    page.wait_for_selector(".task.done")
    for _ in range(5):
        after.click()
    page.get_by_role("heading", name="Predict, then switch them off").wait_for()
    page.get_by_role("button", name="fall", exact=True).click()
    page.keyboard.press("Escape")
    page.locator("#panel h3").filter(has_text="Output features").get_by_role("button", name="choose all").click()
    page.keyboard.press("e")
    page.get_by_role("button", name="Run", exact=True).click()
    page.wait_for_selector(".task.done")
    shown = page.locator(".question .note").inner_text()
    was, now = (float(text.strip(" %<")) for text in shown.split("→"))
    assert was > 99
    assert now < 50

    page.wait_for_selector(".running", state="detached")
    after.click()
    page.get_by_role("heading", name="Steering").wait_for()
    assert page.locator(".question .note").count() == 0  # an earlier run gives no answer away
    strength = page.get_by_label("Strength as a number")
    assert strength.input_value() == "1"
    strength.fill("-3")
    page.get_by_role("button", name="Run", exact=True).click()
    page.wait_for_selector(".task.done")
    page.wait_for_selector(".running", state="detached")
    texts = "[...document.querySelectorAll('.stream')].map((each) => each.innerText)"
    page.wait_for_function(f"() => {{ const [a, b] = {texts}; return b !== undefined && a !== b; }}")
    where = page.url
    assert "guide=8" in where
    page.reload()
    page.get_by_role("heading", name="Steering").wait_for()
    assert page.url.count("guide=8") == 1


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
    to_graph(page)
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
        page.locator(".menu ul button").filter(has_text="HTML").first.click()
    path = tmp_path / "shared.html"
    coming.value.save_as(path)
    assert path.stat().st_size < 3_000_000
    with tab(chromium, offline=True) as alone:
        alone.page.goto(path.as_uri())
        to_graph(alone.page)
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
    page.wait_for_selector("#sentence")
    page.keyboard.press("Escape")
    page.keyboard.press("v")  # to the graph behind the explanation
    page.wait_for_selector("g[role=option].target")
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
    page.keyboard.press("g")
    page.wait_for_selector("g.group")
    page.keyboard.press("u")
    page.wait_for_selector("g.group", state="detached")
    page.keyboard.press("/")
    page.keyboard.type("written by")
    page.get_by_role("heading", name="1 node matches").wait_for()
    page.keyboard.press("Enter")
    page.wait_for_selector("#plot:focus")
    # another alphabet's key, as its layout sends it
    page.evaluate(
        "document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {key: 'з', code: 'KeyP', bubbles: true}))"
    )
    page.wait_for_function("() => document.location.hash.includes('pins=L')")
    page.keyboard.press("e")
    page.get_by_role("heading", name="Edit", exact=True).wait_for()
    run = page.get_by_role("button", name="Run", exact=True)
    for _ in range(60):
        if run.evaluate("button => button === document.activeElement"):
            break
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_text("Next token: probability").wait_for()
    page.keyboard.press("?")
    page.get_by_role("dialog").wait_for()
    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="hidden")
    assert page.locator("dialog[open]").count() == 0


def test_arrows_in_a_menu_and_on_tabs_stay_there(opened: Tab) -> None:
    page = opened.page
    traced(page)
    strongest(page)
    page.get_by_role("button", name=re.compile("^Examples")).click()
    for _ in range(2):
        page.keyboard.press("ArrowDown")
    lines = page.locator(".menu ul button")
    assert lines.nth(1).evaluate("line => line === document.activeElement")
    page.keyboard.press("Escape")
    page.wait_for_selector(".menu ul", state="detached")
    page.get_by_role("tab", name="In this graph").focus()
    page.keyboard.press("ArrowRight")
    card = page.get_by_role("tab", name="Card")
    assert card.get_attribute("aria-selected") == "true"
    assert card.evaluate("tab => tab === document.activeElement")


def test_markup_in_a_label_a_prompt_and_an_imported_graph_stays_text(opened: Tab, tmp_path: Path) -> None:
    page = opened.page
    traced(page, f"{PROMPT} {PAYLOAD}"[:120])
    node = strongest(page)
    page.keyboard.press("l")
    page.get_by_label(f"Label of {node.partition('@')[0]}").fill(PAYLOAD)
    page.get_by_role("button", name="Keep").click()
    page.get_by_role("heading", name=PAYLOAD, exact=True).wait_for()
    page.reload()
    page.wait_for_selector("g[role=option]")
    assert page.title() != "stolen"
    assert page.locator("img[src=x]").count() == 0
    path = tmp_path / "graph.json"
    graph = clew.load("minnow").trace(PROMPT, max_features=30)
    graph = graph.with_labels(dict.fromkeys(graph.labels, PAYLOAD))
    graph.to_json(path)
    before = page.url.partition("?")[0]
    page.get_by_role("button", name=re.compile("^History")).click()
    page.locator("input[type=file]").set_input_files(path)
    page.wait_for_function("was => document.location.href.split('?')[0] !== was", arg=before)
    page.wait_for_selector("g[role=option].target")
    page.wait_for_function("prompt => document.title === `${prompt} · Clew`", arg=PROMPT)  # not the one before
    assert page.title() != "stolen"
    assert page.locator("img[src=x]").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_any_view(chromium: Browser, address: str, scheme: str) -> None:
    with tab(chromium, color_scheme=scheme, bypass_csp=True) as opened_tab:
        page = opened_tab.page
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
