"""What a notebook shows of a graph, a card, an effect and an audit: their figures, without script, all text escaped."""

import html
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

import clew
from clew.attribution.summary import summarise
from clew.features.card import Card
from clew.kit import Kit
from clew.web.export import page_options, render_html
from tests.graphs import capital_graph

PAYLOAD = "</script><script>document.title='stolen'</script><img src=x onerror=\"document.title='stolen'\">"
PROMPT = "The capital of France is"


@pytest.fixture(scope="module")
def kit() -> Kit:
    return clew.load("minnow")


class Balanced(HTMLParser):
    """Tags that are opened and closed, and the text between them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag != "img":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def shown(value: object) -> Balanced:
    page = value._repr_html_()  # type: ignore[attr-defined]
    parser = Balanced(page)
    assert not parser.tags & {"script", "style", "link", "iframe"}
    assert not {name for name in parser.attributes if name.startswith("on")}
    assert not re.search(r"https?:|//[a-z]", re.sub(r"data:image/png;base64,[^\"]*", "", page))
    return parser


def test_a_graph_shows_its_prompt_outputs_scores_and_features(kit: Kit) -> None:
    graph = kit.trace(PROMPT)
    text = shown(graph).text
    scores = graph.scores()
    assert PROMPT in text
    assert f"replacement {scores.replacement:.3f}, completeness {scores.completeness:.3f}" in text
    token, probability = graph.next_tokens[0]
    assert f"{token}{probability:.1%}" in text
    for feature in summarise(graph).input_features[:6]:
        assert f"{feature.id}{feature.token}{feature.label}{feature.share:.1%}" in text


def test_the_page_in_a_frame_is_the_exported_one_and_cannot_reach_the_notebook(kit: Kit) -> None:
    graph = kit.trace(PROMPT, max_features=50)
    frame = graph.show(height=500)._repr_html_()
    inside = re.search(r'srcdoc="([^"]*)"', frame)
    assert inside
    assert html.unescape(inside[1]) == render_html(graph)
    assert 'sandbox="allow-scripts allow-downloads"' in frame
    assert "height:500px" in frame
    with page_options(kit) as known:
        page = render_html(graph, **known)
    assert html.unescape(graph.show(kit=kit).page) == html.unescape(page) != render_html(graph)


def test_a_card_shows_where_and_how_often_a_feature_fires(kit: Kit) -> None:
    atlas = kit.atlas
    card = atlas[atlas.feature(int(atlas.summary.max_activation.argmax()))]
    text = shown(card).text
    assert str(card.feature) in text
    assert f"{card.density:.3%} of {card.positions:,}" in text
    assert "".join(card.top[0].tokens) in text
    assert all(weight.token in text for weight in (*card.promoted[:6], *card.suppressed[:6]))
    assert card._repr_html_().count("text-decoration:underline") == min(6, len(card.top))  # type: ignore[union-attr]


def test_a_dead_feature_says_so(kit: Kit) -> None:
    card = kit.atlas["L0/0"]
    dead = replace(card, fired=0, fired_documents=0, top=(), bands=(), max_activation=0.0, mean_activation=0.0)
    assert "a dead feature" in shown(dead).text


def test_an_effect_shows_before_predicted_and_measured(kit: Kit) -> None:
    strongest = kit.atlas.search(token="Paris", limit=1)[0].feature
    effect = kit.edit(PROMPT, [clew.Edit.set(strongest, 5.0, positions=5)])
    shown_text = shown(effect).text
    for token, before, predicted, measured in effect.top_tokens(count=12):
        text = kit.subject.token_strings([token])[0]
        assert predicted is not None
        assert f"{text}{before:.1%}{predicted:.1%}{measured:.1%}" in shown_text
    change = effect.changes[0]
    assert f"{change.node}{change.before:.3g}{change.predicted:.3g}{change.measured:.3g}" in shown_text


def test_an_audit_shows_its_verdict_and_its_figure(kit: Kit) -> None:
    audit = kit.audit(kit.trace(PROMPT, max_features=40), nodes=6)
    parser = shown(audit)
    assert audit.verdict in parser.text
    assert "img" in parser.tags


def hostile_card(kit: Kit) -> Card:
    card = kit.atlas["L0/1"]
    context = replace(card.top[0], tokens=(PAYLOAD,) * len(card.top[0].tokens))
    return replace(card, top=(context,), promoted=tuple(replace(w, token=PAYLOAD) for w in card.promoted))


def test_markup_in_prompts_tokens_and_labels_stays_text(kit: Kit) -> None:
    graph = capital_graph()
    labels = dict.fromkeys(graph.labels, PAYLOAD)
    graph = replace(graph, prompt=PAYLOAD, tokens=(PAYLOAD, *graph.tokens[1:]), labels=labels)
    effect = kit.edit(PROMPT, [clew.Edit.ablate("L0/1")])
    hostile = replace(effect, tokens=(PAYLOAD,) * len(effect.tokens), likely=dict.fromkeys(effect.likely, PAYLOAD))
    for value in (graph, hostile_card(kit), hostile):
        assert PAYLOAD in shown(value).text
    frame = graph.show()._repr_html_()
    assert "<script" not in frame
    assert set(Balanced(frame).tags) == {"iframe"}
