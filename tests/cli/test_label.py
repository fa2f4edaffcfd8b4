"""`clew label`, `clew labels` and `clew features search` as a user meets them."""

import json
import re
import sys

import pytest

from clew.cli import main
from clew.cli.kits import labels_file
from clew.labels.store import LabelStore
from tests.chat_server import chat_server, failed, said
from tests.cli.test_train import refused

PLACES = (("France", "Paris"), ("Italy", "Rome"), ("Spain", "Madrid"), ("Greece", "Athens"), ("Egypt", "Cairo"))


@pytest.fixture(scope="module")
def atlas(tmp_path_factory):
    """A small atlas of the bundled dictionary."""
    folder = tmp_path_factory.mktemp("atlas")
    lines = [
        f"The capital of {a} is {b}. The sum of {n} and {m} is {n + m}."
        for a, b in PLACES
        for n in range(5, 9)
        for m in (11, 13, 17)
    ]
    (folder / "text.txt").write_text("\n".join(lines))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        arguments = ["--text", "text.txt", "--pool", "50", "--pairs", "500", "--tokens", "700", "--silent", "8"]
        patch.setattr(sys, "argv", ["clew", "harvest", "a.sqlite", *arguments, "--no-scores"])
        with pytest.raises(SystemExit) as end:
            main()
    assert not end.value.code
    return folder / "a.sqlite"


@pytest.fixture
def run(run, atlas):
    """The command line in an empty folder, with the small atlas."""
    return lambda *arguments: run(*arguments, "--atlas", atlas)


@pytest.fixture(scope="module")
def busy(atlas):
    """Features with the most to read: contexts in which they rest, and contexts in which they fire."""
    from clew.features.atlas import Atlas

    with Atlas.load(atlas) as opened:
        cards = sorted((opened[feature] for feature in opened), key=lambda card: (-len(card.silent), -len(card.top)))
        return [str(card.feature) for card in cards[:20]]


def labels_of(atlas):
    from clew.features.atlas import Atlas

    with Atlas.load(atlas) as opened, LabelStore(labels_file(), opened.dictionary) as store:
        return list(store.all(history=True))


def test_every_feature_gets_a_heuristic_label_with_scores_beside_their_nulls(run, atlas, busy):
    code, out, err = run("label", *busy, "--json")
    assert code == 0, err
    value = json.loads(out)
    assert value["labelled"] == 20
    assert 0 < value["clear"] <= 20
    assert {score["test"] for score in value["scores"]} == {"detection", "fuzzing"}
    for score in value["scores"]:
        assert score["mean"] > score["null"]
        assert score["low"] <= score["mean"] <= score["high"]
    kept = labels_of(atlas)
    assert sorted(str(label.feature) for label in kept) == sorted(busy)
    assert {label.kind for label in kept} == {"heuristic"}
    assert all(label.scores == () for label in kept if not label.clear)
    out = run("label", *busy)[1]
    assert f"20 labels in {labels_file()}" in out
    assert "above null" in out
    assert len(labels_of(atlas)) == 20  # the same labels are not kept twice


def test_a_person_labels_one_feature_and_is_shown_before_the_heuristic(run, busy):
    run("label", busy[0])
    code, out, _ = run("label", busy[0], "--text", "names of capitals", "--author", "Ann")
    assert code == 0
    assert f"{busy[0]}: names of capitals" in out
    out = run("labels", "show", busy[0])[1]
    assert out.index("names of capitals") < out.index("clew (heuristic)")
    run("label", busy[0], "--text", "capitals", "--author", "Ann")
    shown = json.loads(run("labels", "show", busy[0], "--json")[1])
    assert shown[0]["text"] == "capitals"
    assert "names of capitals" not in [label["text"] for label in shown]
    history = json.loads(run("labels", "show", busy[0], "--history", "--json")[1])
    assert "names of capitals" in [label["text"] for label in history]
    assert "has no label" in run("labels", "show", busy[1])[1]


def test_a_card_shows_its_labels_with_their_scores_and_what_the_rules_say(run, atlas, busy):
    from clew.features.atlas import Atlas

    with Atlas.load(atlas) as opened:
        clear = {str(feature): label.text for feature, label in opened.rules().items() if label.clear}
    feature = next(name for name in busy if name in clear)
    out = run("features", "show", feature)[1].splitlines()
    assert out[0] == f"{feature}  {clear[feature]}  (heuristic clew)"
    assert out[1].strip() == "not scored"
    run("label", feature, "--text", "names of capitals", "--author", "Ann")
    (score, *_) = json.loads(run("labels", "show", feature, "--json")[1])[0]["scores"]
    out = run("features", "show", feature)[1].splitlines()
    assert out[0] == f"{feature}  names of capitals  (person Ann)"
    shown = f"{score['test']} {score['value']:.2f} [{score['low']:.2f}, {score['high']:.2f}] null {score['null']:.2f}"
    assert f"{shown} by tokens" in out[1]
    assert out[2].startswith(f"also {clear[feature]}  (heuristic clew)")
    assert "not scored" in out[2]
    run("label", feature)
    (line,) = (line for line in run("features", "show", feature)[1].splitlines() if line.startswith("also "))
    assert "detection" in line
    labels = json.loads(run("features", "show", feature, "--json")[1])["labels"]
    assert [label["text"] for label in labels] == ["names of capitals", clear[feature]]
    assert labels[0]["scores"][0] == score


def test_reading_commands_make_no_file(run, tmp_path, busy):
    for arguments in (("labels", "show", busy[0]), ("labels", "list"), ("labels", "export", "l.jsonl")):
        refused(run(*arguments, "--labels", "typo.sqlite"), "no file typo.sqlite")
    assert "has no label" in run("labels", "show", busy[0])[1]
    assert "no list" in run("labels", "list")[1]
    refused(run("labels", "export", "l.jsonl"), "labels.sqlite", "clew label")
    assert list(tmp_path.iterdir()) == []


def test_features_are_kept_in_lists_and_searched_in_one(run, search, busy):
    run("label", busy[0], "--text", "names of capitals", "--judge", "none")
    run("label", busy[1], "--text", "capitals", "--judge", "none")
    out = run("labels", "list", "mine", "--add", busy[0], "--add", busy[2])[1]
    assert busy[0] in out
    assert "names of capitals" in out
    assert busy[1] not in out
    assert sorted(json.loads(run("labels", "list", "--json")[1])["mine"]) == sorted([busy[0], busy[2]])
    assert "mine" in run("labels", "list")[1]
    assert busy[1] in [row["feature"] for row in found(search("capitals", "--json"))]
    assert [row["feature"] for row in found(search("capitals", "--list", "mine", "--json"))] == [busy[0]]
    inside = found(search("--text", "The capital of France is Paris.", "--list", "mine", "--json"))
    assert {row["feature"] for row in inside} <= {busy[0], busy[2]}
    refused(search("capitals", "--list", "yours"), "no list 'yours'", "mine")
    assert "is empty" in run("labels", "list", "mine", "--remove", busy[0], "--remove", busy[2])[1]
    refused(run("labels", "list", "mine", "--add", "L99/1"), "L99/1")
    refused(run("labels", "list", "--add", busy[0]), "which list")


def test_labels_go_out_and_come_in_and_broken_lines_are_told(run, tmp_path, busy):
    run("label", *busy[:3], "--judge", "none")
    assert "3 labels in l.jsonl" in run("labels", "export", "l.jsonl")[1]
    refused(run("labels", "export", "l.jsonl"), "l.jsonl", "--replace")
    refused(run("labels", "export", labels_file(), "--replace"), "labels.sqlite", "no export of labels")
    assert "3 labels in l.jsonl" in run("labels", "export", "l.jsonl", "--replace")[1]
    out = run("labels", "import", "l.jsonl", "--labels", "other.sqlite")[1]
    assert "3 labels from l.jsonl" in out
    with (tmp_path / "l.jsonl").open("a") as opened:
        opened.write('{"feature": "L99/1", "text": "a", "kind": "person", "author": "a"}\n{\n')
    refused(run("labels", "import", "l.jsonl", "--labels", "third.sqlite"), "line 5", "L99/1", "line 6")
    out = run("labels", "import", "l.jsonl", "--labels", "third.sqlite", "--keep-rest")[1]
    assert "3 labels from l.jsonl" in out
    assert "line 6 left out" in out


def test_a_language_model_labels_within_its_budget_and_goes_on_later(run, atlas, busy, monkeypatch):
    monkeypatch.setenv("MY_KEY", "secret")
    with chat_server(lambda n, body: said('{"label": "the token \\"is\\""}', 300, 20)) as chat:
        model = ("label", *busy[:6], "--endpoint", chat.url, "--model", "parrot", "--key-env", "MY_KEY")
        code, out, err = run(*model, "--budget-tokens", 1500, "--concurrency", 1)
        assert code == 0, err
        assert "At most 36 calls" in err
        assert "(6 calls" in err
        assert "the budget is 1500 tokens" in err
        assert "The budget is used up" in out
        first = len(labels_of(atlas))
        assert 0 < first < 6
        code, out, _ = run(*model, "--price-in", 1, "--price-out", 2, "--json")
        value = json.loads(out)
        assert (code, value["labelled"], value["failures"]) == (0, 6 - first, [])
        assert value["spent"]["money"] > 0
        assert len(chat.asked) == 6
        assert all({k.lower(): v for k, v in h.items()}["authorization"] == "Bearer secret" for h in chat.headers)
    assert {(label.kind, label.author) for label in labels_of(atlas)} == {("model", "parrot")}


def test_a_model_may_judge_and_a_failed_call_is_told(run, atlas, busy):
    def script(n, body):
        if "feature of a language model was given a name" in body["messages"][0]["content"]:
            return said('{"active": [1, 2, 3]}')
        return said("oops") if n == 1 else said('{"label": "digits"}')

    with chat_server(script) as chat:
        model = ("label", *busy[:4], "--endpoint", chat.url, "--model", "parrot", "--judge", "model")
        code, out, err = run(*model, "--concurrency", 1)
    assert code == 0, err
    assert out.count("no label:") == 1
    assert "not JSON" in out
    kept = labels_of(atlas)
    assert len(kept) == 3
    assert {score.judge for label in kept for score in label.scores} == {"parrot"}


JUDGING = "feature of a language model was given a name"


def model_script(label="digits", lost=()):
    """A model that counts as its bytes say, and hangs up at the first of every prompt in `lost`: naming, judging."""
    hung = set()

    def script(n, body):
        kind = "judging" if JUDGING in body["messages"][0]["content"] else "naming"
        told = json.dumps(body["messages"])
        if kind in lost and told not in hung:
            hung.add(told)
            return None
        size = sum(len(message["content"].encode()) for message in body["messages"])
        return said('{"active": [1, 2, 3]}' if kind == "judging" else json.dumps({"label": label}), size // 4, 12)

    return script


def asking(chat, *features):
    """The command; what fails is tried again once, and at once."""
    told = ("--endpoint", chat.url, "--model", "parrot", "--concurrency", 1, "--retries", 1, "--backoff", 0.001)
    return "label", *features, *told


def announced(err):
    """The calls and tokens that were said to be the most: with all retries, and without."""
    line = next(line for line in err.splitlines() if line.startswith("At most"))
    return [tuple(map(int, found)) for found in re.findall(r"(\d+) calls, (\d+) tokens", line)]


def test_a_rerun_scores_labels_that_were_made_and_not_scored(run, atlas, busy):
    with chat_server(model_script()) as chat:
        code, out, err = run(*asking(chat, *busy[:4]), "--judge", "none", "--json")
        assert (code, json.loads(out)["labelled"], json.loads(out)["scores"]) == (0, 4, []), err
        for judge, name in (("tokens", "tokens"), ("model", "parrot")):
            code, out, err = run(*asking(chat, *busy[:4]), "--judge", judge, "--json")
            value = json.loads(out)
            assert (code, value["labelled"]) == (0, 0), err
            assert {(score["test"], score["judge"], score["labels"]) for score in value["scores"]} == {
                ("detection", name, 4),
                ("fuzzing", name, 4),
            }
            asked = len(chat.asked)
            again = json.loads(run(*asking(chat, *busy[:4]), "--judge", judge, "--json")[1])
            assert (again["scores"], again["spent"]["calls"], len(chat.asked)) == ([], 0, asked)


def test_a_budget_that_ends_while_a_model_judges_leaves_the_rest_to_another_run(run, atlas, busy):
    def judged():
        return [label for label in labels_of(atlas) if label.scores]

    with chat_server(model_script()) as chat:
        (_, naming) = announced(run(*asking(chat, *busy[:4]), "--judge", "none", "--budget-tokens", 0)[2])
        command = (*asking(chat, *busy[:4]), "--judge", "model", "--json")
        code, out, err = run(*command, "--budget-tokens", naming[1] + 3000)
        value = json.loads(out)
        assert (code, value["labelled"]) == (0, 4), err
        assert "the budget is used up" in value["stopped"]
        assert 0 < len(judged()) < 4
        value = json.loads(run(*command)[1])
        assert (value["labelled"], value["stopped"]) == (0, "")
        assert len(judged()) == 4
        assert len(chat.asked) == len({json.dumps(body) for body in chat.asked})  # nothing was paid for twice


def test_a_budget_that_ends_while_a_model_labels_does_not_keep_the_free_judge_from_scoring(run, atlas, busy):
    with chat_server(model_script()) as chat:
        (_, naming) = announced(run(*asking(chat, *busy[:6]), "--judge", "none", "--budget-tokens", 0)[2])
        code, out, err = run(*asking(chat, *busy[:6]), "--budget-tokens", naming[1] // 2, "--json")
    value = json.loads(out)
    assert code == 0, err
    assert 0 < value["labelled"] < 6
    assert value["stopped"]
    assert {score["labels"] for score in value["scores"]} == {value["labelled"]}
    assert all(label.scores for label in labels_of(atlas))


@pytest.mark.parametrize("lost", [(), ("naming", "judging")])
@pytest.mark.parametrize("judge", ["none", "model"])
def test_what_is_announced_is_never_less_than_what_is_spent(run, atlas, busy, judge, lost):
    """Dead features are asked nothing and count nothing; scores and retries count."""
    from clew.features.atlas import Atlas

    with Atlas.load(atlas) as opened:
        dead = [str(opened.feature(n)) for n in (opened.summary.density == 0).nonzero()[0][:120].tolist()]
    assert len(dead) == 120
    label = "what stands in many words " * 4
    with chat_server(model_script(label, lost)) as chat:
        code, out, err = run(*asking(chat, *dead, *busy[:5]), "--judge", judge, "--json")
    spent = json.loads(out)["spent"]
    most, once = announced(err)
    assert code == 0, err
    assert once[0] == (5 if judge == "none" else 5 + 5 * 4)
    assert most == (2 * once[0], 2 * once[1])
    assert spent["calls"] == (most if lost else once)[0]
    tokens = spent["tokens_in"] + spent["tokens_out"]
    assert once[1] / 4 < tokens <= (most if lost else once)[1]


def test_spending_is_told_beside_the_budget_where_no_bar_can_be_drawn(run, busy, monkeypatch):
    from clew.cli.labels import label_model

    monkeypatch.setattr(label_model, "_EVERY", 0.0)
    with chat_server(model_script()) as chat:
        code, _, err = run(*asking(chat, *busy[:3]), "--judge", "model", "--budget-tokens", 90_000)
    assert code == 0, err
    lines = [line for line in err.splitlines() if "spent" in line]
    assert [line.split(";")[0] for line in lines[:3]] == ["labelling: 1 of 3", "labelling: 2 of 3", "labelling: 3 of 3"]
    assert any(line.startswith("scoring: 3 of 3; ") for line in lines)
    assert all("calls" in line and line.endswith("the budget is 90000 tokens") for line in lines)


def test_a_typed_label_is_scored_beside_labels_by_rule_where_the_file_holds_no_others(run, atlas, busy):
    code, out, err = run("label", busy[0], "--text", 'the token "is"', "--author", "Ann", "--json")
    assert code == 0, err
    scores = json.loads(out)["scores"]
    assert {score["test"] for score in scores} == {"detection", "fuzzing"}
    assert all(score["null"] is not None for score in scores)


def test_every_mistake_is_one_line_and_writes_no_label(run, atlas, busy, monkeypatch):
    monkeypatch.delenv("NO_KEY", raising=False)
    feature = busy[0]
    refused(run("label", "L99/1"), "L99/1")
    refused(run("label", "x"), "'x' is not a feature")
    refused(run("label", "--text", "a"), "--text labels one feature")
    refused(run("label", feature, "--text", " "), "is empty")
    refused(run("label", feature, "--judge", "god"), "no judge 'god'")
    refused(run("label", feature, "--model", "m"), "m is no model folder here")
    refused(run("label", feature, "--judge", "model"), "--endpoint")
    refused(run("label", feature, "--endpoint", "http://localhost:1/v1"), "give --model")
    refused(run("label", feature, "--endpoint", "localhost", "--model", "m"), "'localhost' is no address")
    refused(run("label", feature, "--endpoint", "http://x/v1", "--model", "m", "--key-env", "NO_KEY"), "NO_KEY")
    refused(run("labels", "import", "gone.jsonl"), "gone.jsonl")
    with chat_server(lambda n, body: failed(401)) as chat:
        code, _, err = run("label", feature, "--endpoint", chat.url, "--model", "m")
        assert code == 2
        assert "401, the key is missing or wrong" in err.splitlines()[-1]
    assert labels_of(atlas) == []
    labels_file().write_bytes(b"foreign" * 200)
    refused(run("label", feature), "labels.sqlite")


# --- search ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def search(run):
    return lambda *arguments: run("features", "search", *arguments)


def found(result):
    code, out, err = result
    assert code == 0, err
    return json.loads(out)


def test_features_are_found_by_words_and_by_the_token_they_promote(run, search, busy):
    run("label", busy[0], "--text", "names of capitals", "--judge", "none")
    mine, *by_rule = found(search("capit", "--json"))
    assert (mine["feature"], mine["label"]) == (busy[0], "names of capitals")
    assert {row["by"] for row in by_rule} <= {"clew"}
    assert "names of capitals" in search("capit")[1]
    assert "No feature found" in search("nonsense")[1]
    promoting = found(search("--token", "Paris", "--limit", "3", "--json"))
    assert len(promoting) == 3
    for row in promoting:
        assert "Paris" in run("features", "show", row["feature"])[1]


def test_features_are_found_by_the_text_they_fire_on(search):
    strongest = {}
    for order in ("activation", "share"):
        rows = found(search("--text", "The capital of France is", "--limit", "4", "--order", order, "--json"))
        strongest[order] = [row["feature"] for row in rows]
        assert len(rows) == 4
        assert [row[order] for row in rows] == sorted((row[order] for row in rows), reverse=True)
    assert strongest["activation"] != strongest["share"]
    rows = found(search("--text", "The capital of France is", "--limit", "4", "--json"))
    assert [row["feature"] for row in rows] == strongest["activation"]
    everywhere = found(search("--text", "The capital of France is", "--by-token", "--limit", "2", "--json"))
    assert [row["at"] for row in everywhere][::2] == ["'The'", "' capital'", "' of'", "' France'", "' is'"]
    assert found(search("--text", "The capital of France is", "--max-density", "0", "--json")) == []


def test_features_are_found_by_example(search, busy):
    rows = found(search("--like", busy[0], "--json"))
    assert rows
    assert {"writes alike", "reads alike"} <= {row["how"] for row in rows}
    assert all(isinstance(row["strength"], float) for row in rows)


def test_a_search_that_cannot_be_is_refused(search):
    refused(search(), "say in one way")
    refused(search("a", "--token", "b"), "say in one way")
    refused(search("a", "--limit", "0"), "the limit is 0")
    refused(search("--token", "Paris and Rome"), "not one token")
    refused(search("--text", "a", "--max-density", "-1"), "--max-density is -1")
    refused(search("--text", "a", "--max-density", "nan"), "--max-density is nan")
    refused(search("a", "--by-token"), "--by-token", "--text")
    refused(search("a", "--max-density", "0.5"), "--max-density", "--text")
    refused(search("a", "--order", "share"), "--order", "--text")
    refused(search("--like", "L99/0"), "L99/0")


def test_a_labeller_whose_every_call_failed_does_not_end_with_0(run, busy):
    with chat_server(lambda n, body: (400, '{"error": {"message": "context too short"}}', {})) as chat:
        model = ("label", *busy[:2], "--endpoint", chat.url, "--model", "parrot", "--judge", "none")
        code, _, err = run(*model)
        assert code == 1
        assert "clew: 2 of 2 calls failed, the last because of: status 400 (context too short)" in err
        value = json.loads(run(*model, "--json")[1])
        assert value["labelled"] == 0
        assert "context too short" in value["fruitless"]


def test_a_judge_whose_every_call_failed_is_said_and_the_labels_stay(run, busy, atlas):
    def script(n, body):
        naming = "was given a name" not in body["messages"][0]["content"]
        return said('{"label": "a place"}') if naming else failed(400)

    with chat_server(script) as chat:
        model = ("label", *busy[:2], "--endpoint", chat.url, "--model", "parrot", "--judge", "model")
        code, _, err = run(*model)
    assert code == 0
    assert "calls failed, the last because of: status 400 (no)" in err
    assert len(labels_of(atlas)) == 2


def test_a_search_says_how_many_there_are_beyond_its_limit(run):
    search = ("features", "search", "--token", " is", "--kit", "minnow")
    code, out, err = run(*search, "--limit", "1")
    assert code == 0, err
    said_more = re.compile(r"1 of [0-9,]+ features: --limit ([0-9]+) shows all\n")
    assert err == ""
    total = int(said_more.search(out)[1])
    assert int(said_more.fullmatch(run(*search, "--limit", "1", "--json")[2])[1]) == total  # JSON stays JSON
    code, out, err = run(*search, "--limit", total, "--json")
    assert (len(json.loads(out)), err) == (total, "")
