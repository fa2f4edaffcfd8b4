"""Errors of the library as HTTP answers: a status and one line of JSON.

A user's mistake is 4xx, a full disk 507. A traceback never leaves the server.
"""

from __future__ import annotations

import errno
import os
import re
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from clew.errors import ClewError, InputError
from clew.web.schema.base import Problem
from clew.web.validation_errors import plain_line

STATUSES: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "What was asked for cannot be done"},
    401: {"model": Problem, "description": "The token is missing"},
    403: {"model": Problem, "description": "Asked for by another site"},
    404: {"model": Problem, "description": "There is nothing of this name"},
    405: {"model": Problem, "description": "Not done at this address"},
    408: {"model": Problem, "description": "The body did not arrive in time"},
    413: {"model": Problem, "description": "Too large"},
    415: {"model": Problem, "description": "Not JSON"},
    422: {"model": Problem, "description": "Not of the form that is asked for"},
    429: {"model": Problem, "description": "Too much is waiting already"},
    507: {"model": Problem, "description": "The disk is full"},
}
"""What every address may answer besides its view."""


_FOLDERS = re.compile(r"(?<![\w/.:\\])(?:[A-Za-z]:)?[/\\](?:[^\s/\\'\"]+[/\\])+")
"""The folders of an absolute path in a text, up to the name of its file."""


class RefusedError(ClewError):
    """A request that is refused with a status of its own."""

    status = 400


class NotFoundError(RefusedError):
    status = 404


class TooLargeError(RefusedError):
    status = 413


class UnreadableError(RefusedError):
    status = 422


class BusyError(RefusedError):
    status = 429


def disk_is_full(error: BaseException) -> bool:
    """Whether a write failed for want of space, by any error in the chain of causes."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return True
        if isinstance(cause, sqlite3.Error) and getattr(cause, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
            return True
        if "No space left on device" in str(cause):  # safetensors raises an error of its own with this text
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def problem(status: int, line: str) -> JSONResponse:
    """A refusal as an answer. Half of a character, which no JSON can hold, becomes a question mark."""
    return JSONResponse({"error": line.encode("utf-8", "replace").decode()}, status)


def status_of(error: ClewError) -> int:
    return error.status if isinstance(error, RefusedError) else 507 if disk_is_full(error) else 400


def line_of(error: Exception, folders: Iterable[Path] = ()) -> str:
    """The one line that a user sees, who may sit at another machine: of a file here it has the name and no path.

    `folders` are cut off also where they hold spaces, at which a path in a text ends otherwise.
    """
    line = " ".join(str(error).split())
    if not isinstance(error, InputError | RefusedError):  # which speak of what was asked for
        for path in sorted({str(path) for folder in folders for path in (folder.absolute(), folder.resolve())}):
            line = line.replace(f"{path}{os.sep}", "")
        line = _FOLDERS.sub("", line)
    return f"the disk is full: {line}" if disk_is_full(error) else line


def handle_errors(app: FastAPI) -> None:
    """Register the answer to every kind of error."""

    @app.exception_handler(ClewError)
    async def refused(request: Request, error: ClewError) -> JSONResponse:
        return problem(status_of(error), line_of(error, getattr(request.app.state, "folders", ())))

    @app.exception_handler(RequestValidationError)
    async def malformed(request: Request, error: RequestValidationError) -> JSONResponse:
        if any(part.get("type") == "json_invalid" for part in error.errors()):
            return problem(400, "the body is not JSON")
        return problem(422, plain_line(error.errors()))

    @app.exception_handler(HTTPException)
    async def other(request: Request, error: HTTPException) -> JSONResponse:
        return problem(error.status_code, " ".join(str(error.detail).split()))

    @app.exception_handler(OSError)
    async def unwritten(request: Request, error: OSError) -> JSONResponse:
        if disk_is_full(error):
            return problem(507, "the disk is full: nothing was kept")
        raise error
