"""Rows of tokens that share a character: it is read at one of them, and the names of all are there too."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clew.web.views.token_rows import shown_row
from tests.cards import card
from tests.workbench import FRANCE, opened, traced

CAFE = "The café is"


def whole(view: dict[str, Any]) -> bool:
    """Whether a row shows the é once, beside one empty place, and the names show it as two halves."""
    names, shown = view["tokens"], view["shown"]
    at = names.index("<0xC3>")
    assert names[at : at + 2] == ["<0xC3>", "<0xA9>"]
    others = [*names[:at], *names[at + 2 :]]
    return shown[at : at + 2] == ["", "é"] and [*shown[:at], *shown[at + 2 :]] == others


def test_a_row_without_halves_is_its_names():
    assert shown_row(["The", " café"]) is None
    assert shown_row(["<0xC3>", "<0xA9>"]) == ["", "é"]
    assert shown_row(["<0xC3>", "<0xA9>"], peak=0) == ["é", ""]
    assert shown_row(["<0xA9>", " is"]) is None  # a half that is alone


def test_the_rows_of_a_text_a_graph_and_a_comparison_show_whole_characters(tmp_path: Path) -> None:
    with opened(tmp_path) as client:
        text = client.post("/api/tokens", json={"prompt": CAFE}).json()
        assert whole({"tokens": [token["text"] for token in text["tokens"]], "shown": text["shown"]})
        graph = traced(client, CAFE)
        view = client.get(f"/api/graphs/{graph}").json()
        assert whole(view)
        labels = [node["label"] for node in view["nodes"] if node["kind"] == "token"]
        assert labels == view["tokens"]  # a node is of one token alone
        assert whole(client.get("/api/graphs").json()["graphs"][0])
        other = traced(client, FRANCE)
        assert client.get(f"/api/graphs/{other}").json()["shown"] is None
        compared = client.post("/api/compare", json={"a": graph, "b": other}).json()
        assert whole(compared["a"])
        assert compared["b"]["shown"] is None


def test_what_fires_on_a_text_and_one_feature_on_it_show_whole_characters(tmp_path: Path) -> None:
    with opened(tmp_path) as client:
        fires = client.post("/api/features/fires", json={"text": CAFE}).json()
        assert whole(fires)
        half = fires["tokens"].index("<0xC3>")
        at_half = next(at["features"] for at in fires["by_token"] if at["position"] == half)
        probes = [client.post(f"/api/features/{f['feature']}/test", json={"text": CAFE}).json() for f in at_half]
        for probe in probes:
            peak = probe["activations"].index(max(probe["activations"]))
            pair = probe["shown"][half : half + 2]
            assert pair == (["é", ""] if peak == half else ["", "é"])


def test_a_card_shows_whole_characters_at_the_recorded_token_and_a_half_only_where_it_is_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = card(["a [b] c"], ["d e"], bands=["f [g]"], feature="L0/1")
    halves = {"tokens": ("<0xC3>", "<0xA9>", "<0xC3>"), "token_ids": (1, 2, 3), "activations": (1.0, 0.0, 0.0), "at": 0}
    halved = replace(plain.top[0], **halves)
    band = replace(plain.bands[0], contexts=(replace(halved, at=1), *plain.bands[0].contexts))
    whole_card = replace(plain, top=(halved,), bands=(band,), silent=(*plain.silent, halved))
    with opened(tmp_path) as client:
        monkeypatch.setattr(client.app.state.workbench.open_kit, "atlas", {whole_card.feature: whole_card})
        view = client.get("/api/features/L0/1").json()["card"]
    assert view["top"][0]["tokens"] == ["<0xC3>", "<0xA9>", "<0xC3>"]
    assert view["top"][0]["shown"] == view["silent"][1]["shown"] == ["é", "", "<0xC3>"]
    assert [context["shown"] for context in view["bands"][0]["contexts"]] == [["", "é", "<0xC3>"], None]
    assert view["silent"][0]["shown"] is None
