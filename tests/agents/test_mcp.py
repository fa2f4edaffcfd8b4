"""`clew mcp`, driven by the SDK's own client: a whole session, mistakes, cancellation, and nothing else on stdout."""

import json
import os
import signal
import subprocess
import sys
import time

import anyio
import pytest

pytest.importorskip("mcp")

from mcp import Client
from mcp.client.stdio import StdioServerParameters

import clew
from clew import extras
from clew.agents.server import server_of

PROMPT = "The capital of France is"
VERBS = ["trace", "explain", "card", "search", "edit", "audit", "study"]
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}


@pytest.fixture(scope="module")
def server():
    return server_of(clew.load("minnow"))


def without_null(value):
    if isinstance(value, dict):
        return {name: without_null(each) for name, each in value.items() if each is not None}
    return [without_null(each) for each in value] if isinstance(value, list) else value


def talk(server, session):
    """Run a session of the SDK's client, in this process."""

    async def connected():
        async with Client(server) as client:
            return await session(client)

    return anyio.run(connected)


def answers(server, *calls):
    """What tools answer, one after the other: the structured value, or the text of an error."""

    async def session(client):
        results = [await client.call_tool(name, arguments) for name, arguments in calls]
        return [result.content[0].text if result.is_error else result.structured_content for result in results]

    return talk(server, session)


def test_a_session_over_the_standard_streams_ends_with_a_claim_that_was_checked():
    """Trace, explain, a claim about a group: the verdict is that of the model, and progress was told on the way."""
    told = []

    async def session():
        environment = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
        command = StdioServerParameters(command=sys.executable, args=["-m", "clew", "mcp"], env=environment)
        async with Client(command) as client:
            assert [tool.name for tool in (await client.list_tools()).tools] == VERBS

            async def noted(done, total, message):
                told.append((done, message))

            async def call(tool, **arguments):
                result = await client.call_tool(tool, arguments, progress_callback=noted)
                assert not result.is_error, result.content
                assert "\n" not in result.content[0].text
                text = json.loads(result.content[0].text)
                assert text == without_null(result.structured_content)
                return result.structured_content

            graph = await call("trace", prompt=PROMPT)
            assert graph["outputs"][0]["token"] == " Paris"
            circuit = await call("explain", graph=graph["graph"])
            claim = {"circuit": circuit["circuit"], "groups": ["country: France"], "points": 50}
            checked = (await call("audit", graph=graph["graph"], claim=claim))["claim"]
            wrong = {"features": [graph["strongest"][-1]["id"]], "points": 50}
            refuted = (await call("audit", graph=graph["graph"], claim=wrong))["claim"]

            with anyio.move_on_after(30) as scope:
                started = time.monotonic()

                async def cancel(done, total, message):
                    scope.cancel()

                await client.call_tool("study", {"name": "capital"}, progress_callback=cancel)
            assert scope.cancelled_caught
            await call("card", feature="L0/1278")  # the model is free again: it waits for what was cancelled to end
            return circuit, checked, refuted, time.monotonic() - started

    circuit, checked, refuted, seconds = anyio.run(session)
    group = next(group for group in circuit["groups"] if group["name"] == "country: France")
    assert circuit["sentence"].startswith("'France' (token) makes *country: France*")
    assert (checked["verdict"], refuted["verdict"]) == ("holds", "fails")
    assert checked["without"] == pytest.approx(group["measured"]["without"], abs=1e-4)
    assert checked["random_furthest"] > 0.9 > 0.5 > checked["without"]
    assert seconds < 60, "the study went on after it was cancelled"
    numbers = [done for done, _ in told]
    assert numbers
    assert any("tracing" in message for _, message in told)


def test_on_stdout_there_is_protocol_and_nothing_else():
    lines = [
        INITIALIZE,
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {
            "jsonrpc": "2.0",
            "id": 2,
            "method": "tools/call",
            "params": {"name": "card", "arguments": {"feature": "L0/0"}},
        },
    ]
    program = subprocess.Popen(
        [sys.executable, "-m", "clew", "mcp"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    for line in lines:
        program.stdin.write(json.dumps(line).encode() + b"\n")
    program.stdin.flush()
    read = [json.loads(program.stdout.readline()) for _ in range(2)]
    rest, errors = program.communicate(timeout=60)
    assert [message["id"] for message in read] == [1, 2]
    assert json.loads(read[1]["result"]["content"][0]["text"])["feature"] == "L0/0"
    assert (program.returncode, rest, errors) == (0, b"", b"")


def test_ctrl_c_ends_it_without_a_word():
    program = subprocess.Popen(
        [sys.executable, "-m", "clew", "mcp"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    program.stdin.write(json.dumps(INITIALIZE).encode() + b"\n")
    program.stdin.flush()
    program.stdout.readline()
    program.send_signal(signal.SIGINT)
    assert program.wait(timeout=60) == 130
    assert program.communicate() == (b"", b"")


@pytest.mark.parametrize(
    ("tool", "arguments", "words"),
    [
        ("trace", {"prompt": ""}, "the prompt is empty"),
        ("trace", {"promt": PROMPT}, "trace has no argument 'promt': it has prompt, targets, position, detail"),
        ("trace", {"prompt": 7}, "trace: prompt is 7: input should be a valid string"),
        ("trace", {}, "prompt is missing: give it"),
        ("trace", {"prompt": PROMPT, "detail": "huge"}, "detail is 'huge'"),
        ("trace", {"prompt": PROMPT, "targets": ["Zanzibar"]}, "'Zanzibar' is not one token"),
        ("explain", {}, "give a prompt, or the id of a graph"),
        ("explain", {"graph": "g99"}, "there is no graph 'g99'"),
        ("explain", {"prompt": PROMPT, "language": "de"}, "no language 'de'"),
        ("card", {"feature": "L99/1"}, "L99/1"),
        ("search", {"query": "x", "limit": 0}, "the limit is 0"),
        ("edit", {"prompt": PROMPT, "edits": ["remove L0/1"]}, "'remove L0/1' is no edit"),
        ("edit", {"prompt": PROMPT, "edits": []}, "no edit is given"),
        ("audit", {"prompt": PROMPT, "claim": {"features": ["T@1"]}}, "T@1 is no feature"),
        ("audit", {"prompt": PROMPT, "claim": {}}, "names no feature"),
        ("audit", {"prompt": PROMPT, "claim": {"groups": ["G1"]}}, "groups and circuit go together"),
        ("audit", {"prompt": PROMPT, "claim": {"circuit": "c9", "groups": ["G1"]}}, "there is no circuit 'c9'"),
        ("audit", {"prompt": PROMPT, "claim": {"points": "many"}}, "claim.points is 'many'"),
        ("audit", {"prompt": PROMPT, "claim": {"fetures": []}}, "claim.fetures is not known here"),
        ("study", {"name": "greatness"}, "no study 'greatness'"),
        ("study", {"name": "capital", "options": {"x": 1}}, "capital has no setting x"),
        ("study", {"name": "greater-than", "options": {"seed": "one"}}, "seed is 'one'"),
        ("dance", {}, "there is no tool 'dance': there are trace"),
    ],
)
def test_a_mistake_is_a_tool_error_of_one_line(server, tool, arguments, words):
    (said,) = answers(server, (tool, arguments))
    assert isinstance(said, str), "the mistake was overlooked"
    assert words in said
    assert "\n" not in said


def test_a_claim_about_the_groups_of_another_prompt_is_refused(server):
    (explained,) = answers(server, ("explain", {"prompt": PROMPT}))
    claim = {"circuit": explained["circuit"], "groups": ["G1"]}
    (said,) = answers(server, ("audit", {"prompt": "The capital of Germany is", "claim": claim}))
    assert said == (
        f"{explained['circuit']} is the circuit of {PROMPT!r}, and g{int(explained['graph'][1:]) + 1} the graph of "
        "'The capital of Germany is'"
    )


def test_answers_are_small_unless_all_of_it_is_asked_for(server):
    small, full = answers(server, ("explain", {"prompt": PROMPT}), ("explain", {"prompt": PROMPT, "detail": "full"}))
    assert len(json.dumps(small)) < 3_000 < len(json.dumps(full))
    assert small["edges"] is None
    (listed,) = answers(server, ("study", {}))
    assert "greater-than" in listed["studies"]
    assert all(group["members"] is None for group in small["groups"])
    assert sum(len(group["members"]) for group in full["groups"]) == sum(g["features"] for g in full["groups"])
    card, whole = answers(server, ("card", {"feature": "L0/1278"}), ("card", {"feature": "L0/1278", "detail": "full"}))
    assert whole["whole"]["promoted"][0]["token"] == card["promotes"][0]
    assert "«" in card["contexts"][0]


def test_search_and_edit_answer_as_their_commands_do(server):
    found, edited = answers(
        server,
        ("search", {"query": "capital", "limit": 3}),
        ("edit", {"prompt": "You find Lyon in", "edits": ["set L0/447@4=12"], "generate": 2}),
    )
    assert len(found["hits"]) == 3 < found["total"]
    assert all("capital" in hit["label"] for hit in found["hits"])
    kit = clew.load("minnow")
    effect = kit.edit("You find Lyon in", [clew.Edit.set("L0/447", 12.0, positions=4)])
    token, before, predicted, measured = effect.top_tokens(count=1)[0]
    assert edited["outputs"][0] == {
        "token": kit.subject.token_strings([token])[0],
        "before": pytest.approx(before, abs=1e-5),
        "predicted": pytest.approx(predicted, abs=1e-5),
        "measured": pytest.approx(measured, abs=1e-5),
    }
    assert edited["text"] != edited["edited_text"]


def test_without_the_extra_the_command_says_how_to_install_it(run, monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    code, out, err = run("mcp")
    assert (code, out) == (2, "")
    assert err == "clew: clew mcp needs the extra 'mcp': pip install 'clew-interp[mcp]'\n"
