"""Requests for long work as functions that the queue runs: each reports its progress and returns a view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from clew.attribution.local_model import check_traceable
from clew.attribution.named_tokens import difference, token_of
from clew.attribution.trace import MOST_FEATURES
from clew.errors import InputError
from clew.features.atlas import Atlas
from clew.intervention.edit import Edit, check
from clew.intervention.generate import side_by_side
from clew.progress import Progress
from clew.web.errors import RefusedError
from clew.web.schema.bodies import (
    AuditBody,
    CircuitBody,
    EffectBody,
    GenerateBody,
    HarvestBody,
    JobBody,
    StudyBody,
    SwapBody,
    TraceBody,
)
from clew.web.schema.circuits import CircuitView, SwapView
from clew.web.schema.graphs import GraphMade
from clew.web.schema.jobs import AuditView, EffectView, GeneratedView, HarvestMade, StepPair, StudyMade
from clew.web.views.jobs import audit_view, edit_of, effect_view, step_view, unedited_view
from clew.web.workbench.circuits import WorkbenchCircuits
from clew.web.workbench.job_queue import JobReport, Work
from clew.web.workbench.open_kit import OpenKit
from clew.web.workbench.studies import study_config, study_folder

if TYPE_CHECKING:
    from clew.training.corpus import Documents


def job_function(open_kit: OpenKit, circuits: WorkbenchCircuits, body: JobBody) -> tuple[str, Work]:
    """A title and the work of a job; InputError or RefusedError for work that cannot be done."""
    match body:
        case TraceBody():
            return _trace(open_kit, body)
        case SwapBody():
            return _swap(open_kit, circuits, body)
        case CircuitBody():
            return _circuit(circuits, body)
        case EffectBody():
            return _edit(open_kit, body)
        case GenerateBody():
            return _generate(open_kit, body)
        case AuditBody():
            return _audit(open_kit, body)
        case HarvestBody():
            return _harvest(open_kit, body)
        case StudyBody():
            return _study(open_kit, body)


def _trace(open_kit: OpenKit, body: TraceBody) -> tuple[str, Work]:
    n_tokens = len(open_kit.subject.encode(body.prompt, add_bos=body.add_bos))
    check_traceable(open_kit.subject, open_kit.dictionary)
    if body.position >= n_tokens:
        raise InputError(f"position {body.position} is outside the prompt's {n_tokens} tokens (0..{n_tokens - 1})")
    for target in body.targets or ():
        if difference(open_kit.subject, target) is None:
            token_of(open_kit.subject, target)

    def work(report: JobReport) -> GraphMade:
        limit = MOST_FEATURES if body.max_features is None else body.max_features
        graph = open_kit.labelled_kit.trace(
            body.prompt,
            targets=body.targets,
            position=body.position,
            max_features=limit,
            add_bos=body.add_bos,
            report=report,
        )
        if body.targets:
            graph = replace(graph, settings={**graph.settings, "targets": body.targets})
        workspace = open_kit.workspace
        return GraphMade(graph=workspace.keep(graph, "trace", arrangement=workspace.earlier_arrangement(graph)))

    return body.prompt, work


def _circuit(circuits: WorkbenchCircuits, body: CircuitBody) -> tuple[str, Work]:
    prompt = circuits.check(body)

    def work(report: JobReport) -> CircuitView:
        report(Progress(what="circuit", done=0, of=1, note="measuring groups"))
        return circuits.find(body)

    return prompt, work


def _swap(open_kit: OpenKit, circuits: WorkbenchCircuits, body: SwapBody) -> tuple[str, Work]:
    prompt = circuits.check(body)
    open_kit.subject.encode(body.prompt, add_bos=body.add_bos)

    def work(report: JobReport) -> SwapView:
        report(Progress(what="swap", done=0, of=1, note="tracing the other prompt"))
        return circuits.swap(body)

    return prompt, work


def _edit(open_kit: OpenKit, body: EffectBody) -> tuple[str, Work]:
    edits = [edit_of(edit_body) for edit_body in body.edits]
    acting = [edit for edit in edits if edit.positions != "generated"]
    idle = [edit for edit in edits if edit.positions == "generated"]
    if idle:
        _check_edits(open_kit, body, edits, growing=1)  # as if one token was generated, so that idle edits act
    if acting:
        _check_edits(open_kit, body, acting, growing=0)

    def work(report: JobReport) -> EffectView:
        report(Progress(what="edit", done=0, of=1))
        if not acting:
            return unedited_view(open_kit.subject, body, idle)
        effect = open_kit.kit.edit(
            body.prompt, acting, through=body.through, predict=body.predict, add_bos=body.add_bos
        )
        return effect_view(effect, open_kit.subject, open_kit.names.of, idle)

    return body.prompt, work


def _generate(open_kit: OpenKit, body: GenerateBody) -> tuple[str, Work]:
    edits = [edit_of(edit_body) for edit_body in body.edits]
    _check_edits(open_kit, body, edits, growing=body.tokens)

    def work(report: JobReport) -> GeneratedView:
        steps = side_by_side(
            open_kit.subject,
            open_kit.dictionary,
            body.prompt,
            edits,
            tokens=body.tokens,
            temperature=body.temperature,
            top_p=body.top_p,
            seed=body.seed,
            through=body.through,
            add_bos=body.add_bos,
        )
        default, edited = "", ""
        for number, (default_step, edited_step) in enumerate(steps):
            report.step(StepPair(default=step_view(default_step), edited=step_view(edited_step)))
            default += default_step.text if default_step is not None else ""
            edited += edited_step.text if edited_step is not None else ""
            report(Progress(what="generate", done=number + 1, of=body.tokens, unit="tokens"))
        return GeneratedView(prompt=body.prompt, default=default, edited=edited)

    return body.prompt, work


def _check_edits(open_kit: OpenKit, body: EffectBody | GenerateBody, edits: Sequence[Edit], growing: int) -> None:
    """InputError when an edit is impossible, before it waits in the queue."""
    ids = open_kit.subject.encode(body.prompt, add_bos=body.add_bos)
    first = int(int(ids[0]) in open_kit.subject.marker_ids)  # what must be measured is checked by the job
    check(edits, open_kit.dictionary, n_positions=len(ids), first=first, through=body.through, growing=growing)


def _audit(open_kit: OpenKit, body: AuditBody) -> tuple[str, Work]:
    open_graph, of_kit = open_kit.graph(body.graph)
    if not of_kit:
        raise RefusedError(f"graph {body.graph} was not traced with {open_kit.dictionary.name!r}: open its own kit")

    def work(report: JobReport) -> AuditView:
        audit = open_kit.kit.audit(open_graph.graph, nodes=body.nodes, report=report)
        return audit_view(body.graph, audit)

    return open_graph.graph.prompt, work


def _harvest(open_kit: OpenKit, body: HarvestBody) -> tuple[str, Work]:
    if body.texts is None and open_kit.kit.name != "minnow":
        raise InputError("say what to read: the small world's text is only minnow's, give texts")

    def work(report: JobReport) -> HarvestMade:
        from clew.harvest.write_atlas import harvest

        report(Progress(what="harvest", done=0, of=body.tokens, note="reading text"))
        documents = _documents(open_kit, body)
        id, path = open_kit.workspace.new_atlas()
        try:
            for step in harvest(open_kit.subject, open_kit.dictionary, documents, path, tokens=body.tokens):
                report(Progress(what="harvest", done=step.done, of=step.of, note=step.what))
        except BaseException:
            open_kit.workspace.drop_atlas(id)
            raise
        open_kit.workspace.keep_atlas(id)
        open_kit.choose_atlas()
        with Atlas.load(path) as atlas:
            dead = int((atlas.summary.density == 0).sum())
            used = open_kit.atlas is not None and open_kit.atlas.path == atlas.path
            return HarvestMade(atlas=id, features=len(atlas), dead=dead, positions=atlas.positions, used=used)

    return "harvest", work


def _documents(open_kit: OpenKit, body: HarvestBody) -> Documents:
    """The texts of a request, else as much of the small world's text as was asked for."""
    from clew.organism.world import World
    from clew.training.corpus import encode_documents

    if body.texts is not None:
        return encode_documents(open_kit.subject, body.texts, positions=body.tokens)
    world = World(seed=0)
    statements = min(world.n_statements, body.tokens // 8 + 100)  # at least eight tokens each
    return encode_documents(open_kit.subject, world.corpus(statements).documents, positions=body.tokens)


def _study(open_kit: OpenKit, body: StudyBody) -> tuple[str, Work]:
    chosen, config = study_config(body.study, body.settings)
    chosen.check(open_kit.kit, config)

    def work(report: JobReport) -> StudyMade:
        folder = study_folder(open_kit, chosen, config)
        chosen.run(open_kit.labelled_kit, folder, config=config, report=report)
        return StudyMade(result=folder.name)

    return chosen.name, work
