"""Long work as the queue runs it: what is asked for becomes a function that reports as it goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from clew.attribution.influence import top_features
from clew.attribution.trace import trace
from clew.errors import InputError
from clew.features.atlas import Atlas
from clew.ids import FeatureId
from clew.intervention.edit import Edit, check
from clew.intervention.generate import side_by_side
from clew.intervention.run import first_of
from clew.web.errors import RefusedError
from clew.web.schema.bodies import MOST_FEATURES, AuditBody, EffectBody, GenerateBody, HarvestBody, JobBody, TraceBody
from clew.web.schema.graphs import GraphMade
from clew.web.schema.jobs import AuditView, EffectView, GeneratedView, HarvestMade, StepPair
from clew.web.views.jobs import audit_view, edit_of, effect_view, step_view, unedited_view
from clew.web.workbench.job_queue import Report, Work

if TYPE_CHECKING:
    from clew.training.corpus import Documents
    from clew.web.workbench.workbench import Bench

_NAMED = 400  # features of a kept graph that get names for those who open its file elsewhere


def work_of(bench: Bench, body: JobBody) -> tuple[str, Work]:
    """A title and the work; InputError for what is impossible from the start."""
    match body:
        case TraceBody():
            return _trace(bench, body)
        case EffectBody():
            return _edit(bench, body)
        case GenerateBody():
            return _generate(bench, body)
        case AuditBody():
            return _audit(bench, body)
        case HarvestBody():
            return _harvest(bench, body)


def _trace(bench: Bench, body: TraceBody) -> tuple[str, Work]:
    bench.subject.encode(body.prompt)
    if bench.dictionary.kind == "sae":
        raise InputError("an SAE has no linear path through an MLP and cannot be traced: use a transcoder (PLT or CLT)")

    def work(report: Report) -> GraphMade:
        graph = trace(
            bench.subject,
            bench.dictionary,
            body.prompt,
            max_features=body.max_features or MOST_FEATURES,
            report=lambda stage: report(stage.done, stage.of),
        )
        keys = graph.feature_keys[top_features(graph, _NAMED)].tolist()
        names = bench.names_of.of([FeatureId(layer, index) for layer, _, index in keys])
        named = graph.with_labels({feature: name.text for feature, name in names.items() if name.text})
        return GraphMade(graph=bench.workspace.keep(named, "trace"))

    return body.prompt, work


def _edit(bench: Bench, body: EffectBody) -> tuple[str, Work]:
    edits = [edit_of(one) for one in body.edits]
    acting = [edit for edit in edits if edit.positions != "generated"]
    idle = [edit for edit in edits if edit.positions == "generated"]
    if idle:
        _possible(bench, body, edits, growing=1)  # of these everything but where they act
    if acting:
        _possible(bench, body, acting, growing=0)

    def work(report: Report) -> EffectView:
        report(0, 1)
        if not acting:
            return unedited_view(bench.subject, body.prompt, idle, body.predict)
        found = bench.kit.edit(body.prompt, acting, through=body.through, predict=body.predict)
        return effect_view(found, bench.subject, bench.names_of.of, idle)

    return body.prompt, work


def _generate(bench: Bench, body: GenerateBody) -> tuple[str, Work]:
    edits = [edit_of(one) for one in body.edits]
    _possible(bench, body, edits, growing=body.tokens)

    def work(report: Report) -> GeneratedView:
        steps = side_by_side(
            bench.subject,
            bench.dictionary,
            body.prompt,
            edits,
            tokens=body.tokens,
            temperature=body.temperature,
            top_p=body.top_p,
            seed=body.seed,
            through=body.through,
        )
        default, edited = "", ""
        for number, (one, other) in enumerate(steps):
            report.step(StepPair(default=step_view(one), edited=step_view(other)))
            default += one.text if one is not None else ""
            edited += other.text if other is not None else ""
            report(number + 1, body.tokens)
        return GeneratedView(prompt=body.prompt, default=default, edited=edited)

    return body.prompt, work


def _possible(bench: Bench, body: EffectBody | GenerateBody, edits: Sequence[Edit], growing: int) -> None:
    """InputError where an edit is impossible, before it waits for its turn."""
    ids = bench.subject.encode(body.prompt)
    first = first_of(bench.subject, ids)
    check(edits, bench.dictionary, n_positions=len(ids), first=first, through=body.through, growing=growing)


def _audit(bench: Bench, body: AuditBody) -> tuple[str, Work]:
    held, of_kit = bench.held(body.graph)
    if not of_kit:
        raise RefusedError(f"graph {body.graph} was not traced with {bench.dictionary.name!r}: open its own kit")

    def work(report: Report) -> AuditView:
        found = bench.kit.audit(held.graph, nodes=body.nodes, report=lambda stage: report(stage.done, stage.of))
        return audit_view(body.graph, found)

    return held.graph.prompt, work


def _harvest(bench: Bench, body: HarvestBody) -> tuple[str, Work]:
    if body.texts is None and bench.kit.name != "minnow":
        raise InputError("say what to read: the small world's text is only minnow's, give texts")

    def work(report: Report) -> HarvestMade:
        from clew.harvest.write_atlas import harvest

        report(0, body.tokens, "reading text")
        documents = _documents(bench, body)
        made, path = bench.workspace.new_atlas()
        try:
            for step in harvest(bench.subject, bench.dictionary, documents, path, tokens=body.tokens):
                report(step.done, step.total, step.stage)
        except BaseException:
            bench.workspace.drop_atlas(made)
            raise
        bench.workspace.keep_atlas(made)
        bench.look_for_atlas()
        with Atlas.load(path) as atlas:
            dead = int((atlas.summary.density == 0).sum())
            used = bench.atlas is not None and bench.atlas.path == atlas.path
            return HarvestMade(atlas=made, features=len(atlas), dead=dead, positions=atlas.positions, used=used)

    return "harvest", work


def _documents(bench: Bench, body: HarvestBody) -> Documents:
    from clew.organism.world import World
    from clew.training.corpus import encode_documents

    if body.texts is not None:
        return encode_documents(bench.subject, body.texts, positions=body.tokens)
    world = World(seed=0)
    texts = world.corpus(min(world.n_statements, body.tokens // 8 + 100)).documents
    return encode_documents(bench.subject, texts, positions=body.tokens)
