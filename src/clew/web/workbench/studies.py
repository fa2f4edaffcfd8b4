"""Studies of the open kit, and their results in the workspace: a folder each, named after study, settings and kit."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from clew import files
from clew.errors import FileError, InputError
from clew.studies.catalogue import STUDIES, study
from clew.studies.result import ENVELOPE, REPORT, RESULT, Result
from clew.studies.study import Study, identity, plain_config
from clew.version import __version__
from clew.web.errors import NotFoundError
from clew.web.responses import Download
from clew.web.schema.studies import StudyEntry, StudyList, StudyResult, StudyView
from clew.web.views.studies import result_view, settings_of, study_view
from clew.web.workbench.open_kit import OpenKit

_ID = re.compile(r"[a-z][a-z-]{0,40}-[0-9a-f]{12}")
_CASES = {"found": ".", "absent": "absent"}


def study_config(name: str, settings: Mapping[str, Any]) -> tuple[Study[Any], Any]:
    """A study and a config with these settings; InputError for a study or a setting that cannot be."""
    chosen = study(name)
    hints, known = get_type_hints(chosen.config), [setting.name for setting in settings_of(chosen.config)]
    for key, value in settings.items():
        if key not in known:
            raise InputError(f"{name} has no setting {key!r} here: there are {', '.join(known)}")
        try:
            TypeAdapter(hints[key]).validate_python(value, strict=True)
        except ValidationError as error:
            raise InputError(f"the setting {key!r} is {value!r}: {error.errors()[0]['msg'].lower()}") from error
    return chosen, chosen.configured(**settings)


def study_folder(open_kit: OpenKit, chosen: Study[Any], config: Any) -> Path:
    """Where the workspace keeps a study with this config and kit."""
    facts = [plain_config(config), identity(open_kit.kit), __version__]
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]
    return _folder(open_kit) / f"{chosen.name}-{digest}"


def _folder(open_kit: OpenKit) -> Path:
    return open_kit.workspace.folder / "studies"


class WorkbenchStudies:
    """What can be asked of studies. Several threads may share it."""

    def __init__(self, open_kit: OpenKit) -> None:
        self.open_kit = open_kit

    @cached_property
    def _studies(self) -> list[StudyView]:
        """What the kit lacks for a study is found by asking its model, which takes seconds: once."""
        return [study_view(study(name), self.open_kit.kit) for name in STUDIES]

    def all(self) -> StudyList:
        """The studies that there are, and the results in the workspace."""
        paths = [path for path in _folder(self.open_kit).glob(f"*/{RESULT}") if _ID.fullmatch(path.parent.name)]
        entries = [_entry(path) for path in sorted(paths, key=lambda path: -path.stat().st_mtime)]
        return StudyList(studies=self._studies, results=[entry for entry in entries if entry is not None])

    def result(self, id: str) -> StudyResult:
        """One result; NotFoundError when there is none, FileError when it is damaged."""
        return result_view(id, Result.load(self._path(id)))

    def figure(self, id: str, case: str, name: str) -> bytes:
        """A figure as PNG; NotFoundError when there is none."""
        path = self._path(id) / _CASES[case] / "figures" / f"{name}.png"
        if not re.fullmatch(r"[a-z0-9_-]{1,60}", name) or not path.is_file():
            raise NotFoundError(f"the result {id} has no figure {name[:60]!r}")
        return files.read_bytes(path)

    def report(self, id: str) -> Download:
        """The report as a file; NotFoundError when there is no such result."""
        return Download(content=files.read_bytes(self._path(id) / REPORT), kind="text/html", name=f"{id}.html")

    def _path(self, id: str) -> Path:
        path = _folder(self.open_kit) / id
        if not _ID.fullmatch(id) or not (path / RESULT).is_file():
            raise NotFoundError(f"there is no result {id[:60]!r} of a study")
        return path


def _entry(path: Path) -> StudyEntry | None:
    """A line of the list; None for a file that is none of ours."""
    try:
        head = files.read_json(path)
        ENVELOPE.check(head, path)
        return StudyEntry(
            id=path.parent.name,
            study=head["study"],
            kit=head["kit"]["name"],
            dictionary=head["kit"]["dictionary"],
            date=datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds"),
            verdicts=[claim["verdict"] for claim in head["claims"]],
            config=head["config"],
        )
    except (FileError, KeyError, TypeError, ValidationError):
        return None
