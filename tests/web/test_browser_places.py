"""What stands where, in Chromium: forms follow the open trace, nothing covers the tokens, a phone shows the graph."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.browser import Tab, tab, to_graph, traced

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser, Locator, Page

FRANCE, GERMANY = "The capital of France is", "The capital of Germany is"


def choose_strongest(page: Page) -> str:
    """The id of the strongest feature, which is chosen."""
    page.locator("#panel button.row").filter(has_text="L").first.click()
    page.wait_for_selector("#panel p.kind code")
    return page.locator("#panel p.kind code").inner_text()


def traced_next(page: Page, prompt: str) -> None:
    """Trace another prompt, and wait until its graph is the open one."""
    before = page.url.partition("?")[0]
    traced(page, prompt)
    page.wait_for_function("was => document.location.href.split('?')[0] !== was", arg=before)
    page.wait_for_selector("g[role=option].target")
    page.get_by_role("heading", name=f"Trace of {prompt}").wait_for()


def test_a_text_without_bos_stays_so_where_it_is_retraced_and_edited(opened: Tab) -> None:
    page = opened.page
    line, switch = page.get_by_label("Prompt", exact=True), page.get_by_role("checkbox", name="begin with <bos>")
    line.fill("The café is")
    page.locator(".readas .token").first.wait_for()
    assert page.locator(".readas .token").all_inner_texts()[-3:] == ["∅", "é", "·is"]
    page.keyboard.press("Tab")
    while not switch.evaluate("each => each === document.activeElement"):  # it can be reached with the keyboard
        page.keyboard.press("Tab")
    page.keyboard.press("Space")
    page.wait_for_function("() => document.querySelector('.readas .token').textContent !== '<bos>'")
    line.press("Enter")
    to_graph(page)
    assert page.locator(".chip").first.inner_text() == "The"
    page.reload()
    page.wait_for_selector("g[role=option].target")
    before = page.url.partition("?")[0]
    line.press("Enter")
    page.wait_for_function("was => document.location.href.split('?')[0] !== was", arg=before)
    to_graph(page)
    assert page.locator(".chip").first.inner_text() == "The"
    page.get_by_role("link", name="Edit").click()
    assert not switch.is_checked()
    page.get_by_role("link", name="Compare").click()
    page.get_by_label("A", exact=True).wait_for()
    page.wait_for_function("() => document.querySelector('.side .startswitch input')?.checked === false")


def test_edit_shows_the_prompt_of_the_open_trace_and_keeps_each_prompts_edits(opened: Tab) -> None:
    page = opened.page
    traced(page, FRANCE)
    page.get_by_role("link", name="Edit").click()
    line = page.get_by_role("textbox", name="Prompt", exact=True)
    assert line.input_value() == FRANCE
    page.get_by_role("link", name="Trace").click()
    traced_next(page, GERMANY)
    page.get_by_role("link", name="Edit").click()
    assert line.input_value() == GERMANY
    assert page.locator("#audit h3 small").inner_text() == GERMANY
    page.get_by_role("link", name="Trace").click()
    node = choose_strongest(page)
    page.keyboard.press("e")
    page.locator(".editline").wait_for()
    page.get_by_role("link", name="Trace").click()
    page.get_by_role("button", name=re.compile("^History")).click()
    page.locator(".menu li button").filter(has_text=FRANCE).first.click()
    page.get_by_role("heading", name=f"Trace of {FRANCE}").wait_for()
    page.get_by_role("link", name="Edit").click()
    assert line.input_value() == FRANCE
    assert page.locator(".editline").count() == 0  # those are Germany's
    page.get_by_role("link", name="Trace").click()
    page.get_by_role("button", name=re.compile("^History")).click()
    page.locator(".menu li button").filter(has_text=GERMANY).first.click()
    page.get_by_role("heading", name=f"Trace of {GERMANY}").wait_for()
    page.get_by_role("link", name="Edit").click()
    page.locator(".editline").wait_for()
    assert line.input_value() == GERMANY
    assert page.locator(".editline").count() == 1
    assert node.partition("@")[0] in page.locator(".editline").inner_text()


def test_an_edit_that_was_linked_to_keeps_its_own_prompt(opened: Tab, address: str) -> None:
    page = opened.page
    traced(page, FRANCE)
    page.goto(f"{address}#/edit?prompt={GERMANY}&edits=ablate L0/5@all")
    assert page.get_by_role("textbox", name="Prompt", exact=True).input_value() == GERMANY
    page.reload()
    page.locator(".editline").wait_for()
    assert page.get_by_role("textbox", name="Prompt", exact=True).input_value() == GERMANY


def test_compare_opens_with_the_open_graph_and_the_latest_of_another_prompt(opened: Tab) -> None:
    page = opened.page
    traced(page, FRANCE)
    page.get_by_role("link", name="Compare").click()
    page.wait_for_function("prompt => document.querySelector('.side input')?.value === prompt", arg=FRANCE)
    page.get_by_text("A is the graph you looked at").wait_for()
    page.get_by_role("link", name="Trace").click()
    traced_next(page, GERMANY)
    page.goto("about:blank")
    page.goto(opened.asked[0])
    page.get_by_role("link", name="Compare").click()
    page.get_by_text("Features, the largest change first").wait_for()
    assert [page.get_by_label(name, exact=True).input_value() for name in "AB"] == [GERMANY, FRANCE]


def test_a_prompt_that_is_traced_again_keeps_its_groups_pins_and_thresholds(opened: Tab) -> None:
    page = opened.page
    traced(page, FRANCE)
    choose_strongest(page)
    page.keyboard.press("g")
    page.wait_for_selector("g.group")
    name = page.get_by_label("Name of the group")
    name.fill("my circuit")
    name.press("Enter")
    page.wait_for_function("() => document.location.hash.includes('my+circuit')")
    page.get_by_role("button", name="Back to the whole graph").click()
    page.locator("#panel h3").filter(has_text="Output features").get_by_role("button", name="choose all").click()
    page.keyboard.press("p")
    page.wait_for_function("() => document.location.hash.includes('pins=')")
    slider = page.get_by_label(re.compile("^Nodes: share"))
    for _ in range(8):
        slider.press("ArrowLeft")
    left = dict(re.findall(r"(node|groups|pins)=([^&]+)", page.url))
    for again in (True, False):
        if not again:  # from another graph, so that the latest of the prompt is meant
            traced_next(page, GERMANY)
            assert "groups=" not in page.url
        traced_next(page, FRANCE)
        page.wait_for_selector("g.group")
        assert "my circuit" in (page.locator("g.group").get_attribute("aria-label") or "")
        assert dict(re.findall(r"(node|groups|pins)=([^&]+)", page.url)) == left
    page.reload()
    page.wait_for_selector("g.group")


def test_the_guide_does_every_step_when_it_is_asked_to(opened: Tab, address: str) -> None:
    page = opened.page
    page.goto(f"{address}#/guide")
    page.get_by_role("button", name="Begin", exact=True).click()
    for step in range(1, 10):
        page.get_by_text(f"Step {step} of 9").wait_for()
        page.get_by_role("button", name="Do it for me").click()
        page.wait_for_selector(".task.done")
        page.wait_for_selector(".running", state="detached")
        if step == 4:
            name = page.locator("#panel .featurename h2").inner_text()
            assert page.locator("#panel .featurename .kindmark.person").count() == 1
            assert name in (page.locator("g.feature[aria-selected=true]").get_attribute("aria-label") or "")
        if step == 6:
            assert page.locator("#panel .path[aria-pressed=true]").count() == 1
        if step < 9:
            page.get_by_role("button", name="Next", exact=True).click()


def test_run_is_in_sight_under_however_many_edits(opened: Tab, address: str) -> None:
    page = opened.page
    page.set_viewport_size({"width": 1280, "height": 640})
    edits = ";".join(f"ablate L0/{n}@4" for n in range(22))
    page.goto(f"{address}#/edit?prompt={FRANCE}&edits={edits}")
    page.get_by_text("22 edits").wait_for()
    run = page.get_by_role("button", name="Run", exact=True)
    assert inside(run, page)
    assert page.locator(".editline").count() == 4
    assert "and 18 more: switch off" in page.locator(".editform").inner_text()
    page.get_by_role("button", name="Show all 22").click()
    assert page.locator(".editline").count() == 22
    assert inside(run, page)
    page.goto(f"{address}#/edit?prompt={FRANCE}&edits={edits.replace('L0/13@4', 'L0/13@x')}")
    page.get_by_role("button", name=re.compile("^Show the first")).click()
    page.get_by_text("“x” is no position").wait_for()  # a line that keeps Run from running is never hidden


def inside(element: Locator, page: Page) -> bool:
    """Whether an element lies within the window, and nothing lies over its middle."""
    box, window = element.bounding_box(), page.viewport_size
    assert box
    assert window
    fits = box["y"] >= 0 and box["y"] + box["height"] <= window["height"] and box["x"] + box["width"] <= window["width"]
    return fits and element.evaluate(
        """each => { const at = each.getBoundingClientRect();
        return each.contains(document.elementFromPoint(at.x + at.width / 2, at.y + at.height / 2)); }"""
    )


def test_a_notice_covers_neither_the_tokens_nor_the_guide(opened: Tab) -> None:
    page = opened.page
    traced(page)
    for guide in (False, True):
        if guide:
            page.goto(page.url + "&guide=5")
            page.locator(".coach").wait_for()
        page.locator("#plot").focus()
        page.keyboard.press("Escape")
        page.keyboard.press("g")
        page.keyboard.press("e")
        notices = page.locator(".notices p")
        notices.nth(1).wait_for()
        covered = [page.locator(".chips"), page.locator(".scroller"), *([page.locator(".coach")] if guide else [])]
        for part in covered:
            assert apart(part, notices.first)
            assert apart(part, notices.nth(1))
        for _ in range(notices.count()):
            page.get_by_role("button", name="Dismiss").first.click()


def apart(first: Locator, second: Locator) -> bool:
    """Whether two elements share no point of the window."""
    boxes = [first.bounding_box(), second.bounding_box()]
    across, down = (sorted(boxes, key=lambda box: box[axis]) for axis in ("x", "y"))
    return across[0]["x"] + across[0]["width"] <= across[1]["x"] or down[0]["y"] + down[0]["height"] <= down[1]["y"]


def test_a_phone_shows_the_graph_in_its_whole_width_and_no_view_is_cut_off(chromium: Browser, address: str) -> None:
    with tab(chromium) as opened_tab:
        page = opened_tab.page
        page.set_viewport_size({"width": 390, "height": 844})
        page.goto(address)
        traced(page)
        graph = page.locator(".scroller").bounding_box()
        panel = page.locator("#panel").bounding_box()
        assert graph
        assert panel
        assert graph["width"] == 390
        assert graph["height"] > 400
        assert panel["y"] >= graph["y"] + graph["height"]
        for name in ("Trace", "Edit", "Compare", "Features", "Studies", "Guide"):
            assert inside(page.get_by_role("link", name=name, exact=True), page), name
        for name in ("Help and keys", re.compile("^Switch to")):
            assert inside(page.get_by_role("button", name=name), page), name
        for menu in ("Examples", "History", "Export"):
            page.get_by_role("button", name=re.compile(f"^{menu}")).click()
            assert inside(page.locator(".menu ul li").first, page), menu
            page.keyboard.press("Escape")
        for view in ("edit", "compare", "features", "feature/L0/5", "studies", "guide"):
            page.goto(f"{address}#/{view}")
            page.get_by_role("heading", level=1).first.wait_for()
            page.wait_for_timeout(300)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), view
            assert page.evaluate("document.getElementById('main').scrollWidth <= innerWidth"), view


def test_an_exported_page_is_taken_in_again_with_its_groups_by_choosing_and_by_dropping_it(
    opened: Tab, tmp_path: Path
) -> None:
    page = opened.page
    traced(page)
    node = choose_strongest(page)
    page.keyboard.press("g")
    page.wait_for_selector("g.group")
    page.wait_for_timeout(600)  # until the group is in the workspace
    marks = page.locator("g[role=option]").count()
    page.get_by_role("button", name=re.compile("^Export")).click()
    with page.expect_download() as coming:
        page.locator(".menu ul button").filter(has_text="One HTML file").click()
    path = tmp_path / "Shared.HTML"
    coming.value.save_as(path)
    first = page.url.partition("?")[0]
    page.get_by_role("button", name=re.compile("^History")).click()
    page.locator("input[type=file]").set_input_files(path)
    page.wait_for_function("was => document.location.href.split('?')[0] !== was", arg=first)
    page.wait_for_selector("g.group")
    assert page.locator("g[role=option]").count() == marks  # the file holds what was shown, and all of it is
    page.wait_for_function("node => decodeURIComponent(document.location.hash).includes(`~${node}`)", arg=node)
    second = page.url.partition("?")[0]
    page.evaluate(
        """text => { const data = new DataTransfer();
        data.items.add(new File([text], "again.html", {type: "text/html"}));
        document.getElementById("main").dispatchEvent(
            new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true})); }""",
        path.read_text("utf-8"),
    )
    page.wait_for_function("was => document.location.href.split('?')[0] !== was", arg=second)
    page.wait_for_selector("g.group")


def test_a_page_that_holds_no_graph_is_refused_in_one_sentence(opened: Tab, tmp_path: Path) -> None:
    page = opened.page
    traced(page)
    data = '<script type="application/json" id="clew-data">{}</script>'
    files = {
        "strange.html": ("<!doctype html><p>hello", "none that Clew exported"),
        "older.html": (f"<!doctype html>{data}", "this file is no whole graph"),
        "cut.html": (f"<!doctype html>{data.replace('{}', '{')}", "is damaged"),
        "torn.html": ("<!doctype html>" + data.replace("{}", '{"source": "H4sIAAAA"}'), "cannot be unpacked"),
    }
    for name, (text, reason) in files.items():
        (tmp_path / name).write_text(text)
        page.get_by_role("button", name=re.compile("^History")).click()
        page.locator("input[type=file]").set_input_files(tmp_path / name)
        page.locator(".notices p.fail").filter(has_text=reason).wait_for()
    opened.complaints.clear()  # of the answer 422


def test_a_token_is_searched_by_its_id_as_by_its_name(opened: Tab, address: str) -> None:
    page = opened.page
    paris = page.request.post(f"{address}api/tokens", data={"prompt": "is Paris"}).json()["tokens"][-1]
    lists = []
    for query in (" Paris", f"%23{paris['id']}"):
        page.goto("about:blank")
        page.goto(f"{address}#/features?how=promotes&query={query}")
        page.locator(".featurelist tbody tr").first.wait_for()
        lists.append(page.locator(".featurelist tbody tr th").all_inner_texts())
    assert lists[0] == lists[1]
    assert lists[0]


def test_names_here_targets_and_what_follows_a_token(opened: Tab) -> None:
    page = opened.page
    traced(page, FRANCE)
    here = page.locator("#panel .row").filter(has_text="in general:").first
    name, general = here.locator(".what").inner_text().split("\n")[0], here.locator(".general").inner_text()
    here.click()
    page.wait_for_selector("#panel .featurename")
    assert name.startswith(page.locator("#panel h2").inner_text())
    assert page.locator("#panel p.general").inner_text() == general

    field = page.get_by_label("What to explain")
    page.locator("#prompt").focus()
    field.fill("Paris - Nowhereland")
    field.press("Enter")
    page.get_by_role("alert").wait_for()
    assert page.locator(".targets .wrong").inner_text().startswith("target 'Nowhereland' is not one token but ")
    assert ["400" in line for line in opened.complaints] == [True]  # Chromium's own, of the refusal
    opened.complaints.clear()
    field.fill("Paris - Rome")
    field.press("Enter")
    page.locator(".noexplanation").wait_for()
    assert page.locator("#panel .outs button").inner_text().split()[:3] == ["Paris", "-", "Rome"]
    assert "%" not in page.locator("#panel .outs button").inner_text()  # a difference has no probability
    page.locator("#prompt").focus()
    field.wait_for()
    assert field.input_value() == "Paris - Rome"  # Enter explains the same again

    page.locator("#plot").focus()
    page.locator(".chip").nth(3).click()
    page.get_by_role("button", name="Explain what follows here").click()
    page.locator("#sentence").wait_for()
    row = page.locator(".tokenrow .chipword")
    assert row.nth(3).get_attribute("aria-current") == "true"
    row.nth(3).click()
    page.get_by_text("What follows this token is explained here.").wait_for()
    row.nth(5).click()
    page.get_by_role("button", name="Explain what follows here").click()
    page.wait_for_function("() => document.querySelectorAll('.tokenrow .chipword')[5]?.ariaCurrent === 'true'")
    page.locator("#sentence").get_by_text("Paris").first.wait_for()
