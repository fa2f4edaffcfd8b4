"""The MCP server of one kit: its verbs as tools, over the standard streams.

A tool's schema is made from its parameters here and from `replies`. What a user got wrong comes back as a tool error of
one line; an argument that a tool does not have is refused rather than overlooked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Literal

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError, UnexpectedToolError
from mcp.types import CallToolResult, TextContent, ToolAnnotations
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from clew.agents import replies
from clew.agents.mistakes import one_line
from clew.agents.replies import Detail
from clew.agents.session import Session
from clew.agents.workshop import Workshop
from clew.circuit.ablation_claim import AblationClaim
from clew.errors import InputError
from clew.kit import Kit
from clew.version import __version__

INSTRUCTIONS = """\
Clew shows which features of a language model caused an output, and checks what is said of them.
1. explain a prompt: groups of features, what each does, measured, and one sentence.
2. Make a claim of your own: these features matter for that token. card and search say what a feature is.
3. audit the claim: it is measured in the model, beside random features. Report the verdict with its numbers;
   a claim that was not audited is a guess.
trace gives the graph behind an explanation, edit what changes when features are set, study whole experiments.
Features are written L3/1207, at a position L3/1207@4. Answers are small; detail="full" gives everything."""

_DETAIL = Field(description="small: what a reader needs first; full: everything")
_PROMPT = Field(description="The text; the model's next token is explained")
_GRAPH = Field(description="In place of a prompt: the id of a graph, such as g1")
DetailArgument = Annotated[Detail, _DETAIL]
PromptArgument = Annotated[str | None, _PROMPT]
GraphArgument = Annotated[str | None, _GRAPH]
_READS = ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False)


class ClaimArgument(BaseModel):
    """Without these features, the token's probability falls or rises by at least so many percentage points."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    features: list[str] = []
    """At their positions: L3/1207@4."""
    groups: list[str] = []
    """Of `circuit`, by id or name: G1, or country: France. Their features count too."""
    circuit: str | None = None
    """The id of the circuit whose groups are named, such as c1."""
    token: str | None = None
    """Left out, the answer that the graph explains."""
    moves: Literal["falls", "rises"] = "falls"
    points: float = 10.0


class KitServer(MCPServer[Any]):
    """An MCP server whose tool errors are one line each."""

    async def call_tool(self, name: str, arguments: dict[str, Any], context: Any = None) -> Any:
        """Call a tool; ToolError for one that there is not, and for arguments that it does not have."""
        tools = {tool.name: tool.input_schema for tool in await self.list_tools()}
        if name not in tools:
            raise ToolError(f"there is no tool {name!r}: there are {', '.join(tools)}")
        known: Mapping[str, Any] = tools[name].get("properties", {})
        if unknown := [argument for argument in arguments if argument not in known]:
            raise ToolError(f"{name} has no argument {unknown[0]!r}: it has {', '.join(known)}")
        try:
            answer = await super().call_tool(name, arguments, context)
        except UnexpectedToolError:
            raise
        except ToolError as error:
            if isinstance(error.__cause__, ValidationError):
                raise ToolError(f"{name}: {one_line(error.__cause__)}") from error
            raise error.__cause__ if isinstance(error.__cause__, ToolError) else error from None
        return _compact(answer)


def _compact(answer: Any) -> Any:
    """The same answer, its text on one line and without what is null."""
    if not isinstance(answer, CallToolResult) or answer.structured_content is None:
        return answer
    text = json.dumps(_without_null(answer.structured_content), ensure_ascii=False)
    return answer.model_copy(update={"content": [TextContent(type="text", text=text)]})


def _without_null(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_null(each) for name, each in value.items() if each is not None}
    return [_without_null(each) for each in value] if isinstance(value, list) else value


def serve(kit: Kit) -> None:
    """Answer on the standard streams until the input ends; what is printed meanwhile goes to the error stream."""
    workshop = Workshop()
    try:
        server_of(kit, workshop).run("stdio")
    finally:
        workshop.close()


def server_of(kit: Kit, workshop: Workshop | None = None) -> MCPServer[Any]:
    """A server whose tools work on a kit; `MCPServer.run` serves it."""
    session, workshop = Session(kit), workshop or Workshop()
    server = KitServer("clew", version=__version__, instructions=INSTRUCTIONS, log_level="ERROR")
    _add_reading(server, session, workshop)
    _add_measuring(server, session, workshop)
    return server


def _add_reading(server: MCPServer[Any], session: Session, workshop: Workshop) -> None:
    """What looks: trace, explain, card, search."""

    @server.tool(annotations=_READS)
    async def trace(
        context: Context[Any, Any],
        prompt: Annotated[str, _PROMPT],
        targets: Annotated[
            list[str] | None, Field(description="Tokens, or differences such as Paris - Rome; left out, the likeliest")
        ] = None,
        position: Annotated[int, Field(description="Whose next token is explained; -1 is the last")] = -1,
        detail: DetailArgument = "small",
    ) -> replies.Traced:
        """Trace how the model came to its next token: the features that count, their effects, the strongest paths."""
        return await workshop.run(context, partial(session.trace, prompt, targets, position, detail))

    @server.tool(annotations=_READS)
    async def explain(
        context: Context[Any, Any],
        prompt: PromptArgument = None,
        graph: GraphArgument = None,
        why_not: Annotated[str | None, Field(description="Another token: also say which groups hold it down")] = None,
        language: Annotated[str, Field(description="of the sentence and the names: en or ru")] = "en",
        detail: DetailArgument = "small",
    ) -> replies.Explained:
        """Explain a next token by a few groups of features: what each does, measured, and one sentence."""
        return await workshop.run(context, partial(session.explain, prompt, graph, why_not, language, detail))

    @server.tool(annotations=_READS)
    async def card(
        context: Context[Any, Any],
        feature: Annotated[str, Field(description="such as L3/1207")],
        detail: DetailArgument = "small",
    ) -> replies.CardReply:
        """Show what is known of a feature: its label, how often and where it fires, which tokens it promotes."""
        return await workshop.run(context, lambda report: session.card(feature, detail))

    @server.tool(annotations=_READS)
    async def search(
        context: Context[Any, Any],
        query: Annotated[str, Field(description="What is searched for")],
        by: Annotated[
            Literal["words", "meaning", "token", "text", "like"],
            Field(description="words of a label, its meaning, a token promoted, a text it fires on, a like feature"),
        ] = "words",
        limit: Annotated[int, Field(description="hits at most")] = 10,
        max_density: Annotated[float, Field(description="by text: leave out what fires on a larger share")] = 1.0,
    ) -> replies.Found:
        """Find features: by words of their labels, or in one of four other ways."""
        return await workshop.run(context, partial(session.search, query, by, limit, max_density))


def _add_measuring(server: MCPServer[Any], session: Session, workshop: Workshop) -> None:
    """What intervenes: edit, audit, study."""

    @server.tool(annotations=_READS)
    async def edit(
        context: Context[Any, Any],
        prompt: Annotated[str, Field(description="The text")],
        edits: Annotated[list[str], Field(description="such as ablate L3/1207@4, set L0/447@4=12, steer L2/7=4")],
        generate: Annotated[int, Field(description="go on for so many tokens, with and without the edits")] = 0,
        detail: DetailArgument = "small",
    ) -> replies.Edited:
        """Edit features and see what follows: next tokens before, predicted and measured, and other features."""
        return await workshop.run(context, partial(session.edit, prompt, edits, generate, detail))

    @server.tool(annotations=_READS)
    async def audit(
        context: Context[Any, Any],
        prompt: PromptArgument = None,
        graph: GraphArgument = None,
        claim: Annotated[ClaimArgument | None, Field(description="What is to be checked; left out, the graph")] = None,
        nodes: Annotated[int, Field(description="without a claim: features that are ablated")] = 100,
        detail: DetailArgument = "small",
    ) -> replies.Audited:
        """Check a claim about features in the model, beside random features; without a claim, how far the graph's
        predictions hold."""
        if claim is None:
            return await workshop.run(context, partial(session.audit, prompt, graph, nodes, detail))
        said = claim
        return await workshop.run(
            context, lambda report: session.check(prompt, graph, _claim(session, said), said.circuit, report)
        )

    @server.tool(annotations=_READS)
    async def study(
        context: Context[Any, Any],
        name: Annotated[str | None, Field(description="which; left out, the studies are listed")] = None,
        options: Annotated[dict[str, Any] | None, Field(description="settings of the study, by name")] = None,
        neurons: Annotated[bool, Field(description="measure the same by the model's own neurons")] = False,
        detail: DetailArgument = "small",
    ) -> replies.Studied:
        """Run an experiment of the catalogue, each claim beside its null. It takes minutes and can be cancelled."""
        return await workshop.run(context, partial(session.study, name, options or {}, neurons, detail))


def _claim(session: Session, claim: ClaimArgument) -> AblationClaim:
    """The claim with its groups' features; InputError for groups without their circuit, and the other way round."""
    if bool(claim.groups) != (claim.circuit is not None):
        raise InputError("a claim about groups names their circuit too: groups and circuit go together")
    members = () if claim.circuit is None else session.members_of(claim.circuit, claim.groups)
    return AblationClaim(
        features=tuple(dict.fromkeys((*claim.features, *members))),
        token=claim.token,
        moves=claim.moves,
        points=claim.points,
    )
