"""Why a request is refused: an error of the library as the answer that HTTP has for it, one line of JSON.

What a user can mend is 4xx. A full disk is 507. A traceback never leaves the server.
"""

from __future__ import annotations

import errno
import sqlite3
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from clew.errors import ClewError
from clew.web.schema.base import Problem
from clew.web.validation_errors import plain_line

STATUSES: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "What was asked for cannot be done"},
    401: {"model": Problem, "description": "The token is missing"},
    403: {"model": Problem, "description": "Asked for by another site"},
    404: {"model": Problem, "description": "There is nothing of this name"},
    405: {"model": Problem, "description": "Not done at this address"},
    413: {"model": Problem, "description": "Too large"},
    415: {"model": Problem, "description": "Not JSON"},
    422: {"model": Problem, "description": "Not of the form that is asked for"},
    429: {"model": Problem, "description": "Too much is waiting already"},
    507: {"model": Problem, "description": "The disk is full"},
}
"""What every address may answer beside its view."""


class RefusedError(ClewError):
    """A request that is refused with a status of its own."""

    status = 400


class NotFoundError(RefusedError):
    status = 404


class TooLargeError(RefusedError):
    status = 413


class BusyError(RefusedError):
    status = 429


def disk_is_full(error: BaseException) -> bool:
    """Whether a write failed for want of space, whoever reported it."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return True
        if isinstance(seen, sqlite3.Error) and getattr(seen, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
            return True
        if "No space left on device" in str(seen):  # all that safetensors says
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def problem(status: int, line: str) -> JSONResponse:
    """A refusal as an answer."""
    return JSONResponse({"error": line}, status)


def status_of(error: ClewError) -> int:
    return error.status if isinstance(error, RefusedError) else 507 if disk_is_full(error) else 400


def line_of(error: ClewError) -> str:
    """What to tell a user."""
    return f"the disk is full: {error}" if disk_is_full(error) else str(error)


def handle_errors(app: FastAPI) -> None:
    """Give every error its answer."""

    @app.exception_handler(ClewError)
    async def refused(request: Request, error: ClewError) -> JSONResponse:
        return problem(status_of(error), line_of(error))

    @app.exception_handler(RequestValidationError)
    async def malformed(request: Request, error: RequestValidationError) -> JSONResponse:
        if any(one.get("type") == "json_invalid" for one in error.errors()):
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
