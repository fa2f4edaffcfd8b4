"""All that stands behind the addresses of one server: an open kit, its graphs, its features, and a queue of jobs."""

from __future__ import annotations

import getpass
from pathlib import Path

from clew.kit import Kit
from clew.labels import sentence_encoder
from clew.version import __version__
from clew.web.errors import NotFoundError
from clew.web.schema.bodies import MOST_EDITS, MOST_GENERATED, JobBody
from clew.web.schema.jobs import Job
from clew.web.schema.workbench import KitView, Limits, WorkbenchView
from clew.web.security import MOST_BYTES, MOST_IMPORTED
from clew.web.workbench.circuits import WorkbenchCircuits
from clew.web.workbench.example_prompts import examples, gallery
from clew.web.workbench.explanations import WorkbenchExplanations
from clew.web.workbench.features import WorkbenchFeatures
from clew.web.workbench.graph_reads import GraphReads
from clew.web.workbench.graphs import WorkbenchGraphs
from clew.web.workbench.job_functions import job_function
from clew.web.workbench.job_queue import JobQueue
from clew.web.workbench.notes_and_lists import NotesAndLists
from clew.web.workbench.open_kit import OpenKit
from clew.web.workbench.studies import WorkbenchStudies

_LONGEST_TITLE = 200  # characters of a job's title


class Workbench:
    """An open kit and what can be asked of it. Several threads may share it."""

    def __init__(self, kit: Kit, workspace: Path | str) -> None:
        """FileError when the workspace cannot be written."""
        self.open_kit = OpenKit(kit, workspace)
        self.features = WorkbenchFeatures(self.open_kit)
        self.graphs = WorkbenchGraphs(self.open_kit, self.features)
        self.circuits = WorkbenchCircuits(self.open_kit)
        self.explanations = WorkbenchExplanations(self.open_kit)
        self.notes_and_lists = NotesAndLists(self.open_kit)
        self.studies = WorkbenchStudies(self.open_kit)
        self.graph_reads = GraphReads()
        self.folders = (self.open_kit.workspace.folder, Path.cwd(), Path.home())
        """Folders of this machine that no message names."""
        self.jobs = JobQueue(self.open_kit.model_lock, self.open_kit.workspace.keep_result, folders=self.folders)

    def close(self) -> None:
        """End the jobs and close the workspace."""
        self.jobs.close()
        self.open_kit.workspace.close()

    def view(self) -> WorkbenchView:
        """The kit that is open, example prompts, and limits."""
        kit, subject, dictionary, atlas = (
            self.open_kit.kit,
            self.open_kit.subject,
            self.open_kit.dictionary,
            self.open_kit.atlas,
        )
        layers = sorted(dictionary.layers)
        kit_view = KitView(
            name=kit.name,
            subject=subject.name,
            dictionary=dictionary.name,
            dictionary_kind=dictionary.kind,
            fingerprint=dictionary.fingerprint,
            n_layers=subject.n_layers,
            start=list(self.open_kit.start),
            features={str(layer): dictionary.d_features(layer) for layer in layers},
            writes={str(layer): list(dictionary.written_layers(layer)) for layer in layers},
            can_trace=dictionary.kind != "sae",
            has_atlas=atlas is not None,
            has_meaning=atlas is not None and sentence_encoder.installed(),
            positions=0 if atlas is None else atlas.positions,
        )
        limits = Limits(
            prompt_tokens=subject.context_length,
            generated_tokens=MOST_GENERATED,
            edits=MOST_EDITS,
            body_bytes=MOST_BYTES,
            import_bytes=MOST_IMPORTED,
        )
        return WorkbenchView(
            version=__version__,
            kit=kit_view,
            examples=examples(kit.name),
            gallery=gallery(kit.name),
            author=_user_name(),
            limits=limits,
        )

    def start(self, body: JobBody) -> Job:
        """Put long work into the queue.

        InputError or RefusedError at once for work that cannot be done, BusyError when too much waits already.
        """
        title, work = job_function(self.open_kit, self.circuits, body)
        return self.jobs.start(body.kind, title[:_LONGEST_TITLE], work)

    def job(self, job: str) -> Job:
        """A job of this server, or the kept result of an earlier one; NotFoundError when there is none."""
        try:
            return self.jobs.get(job)
        except NotFoundError:
            return self.open_kit.workspace.result(job)


def _user_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "me"
