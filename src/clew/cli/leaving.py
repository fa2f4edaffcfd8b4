"""How the program ends when something outside ends it: one line at most, never a traceback.

2    a user's mistake, output that cannot be written (a full disk), memory that is not there
1    the reader of the output went away, such as `head`; nothing is said
130  Ctrl-C
"""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NoReturn, TextIO

from clew.errors import ClewError, InputError

MISTAKE, CLOSED, INTERRUPTED = 2, 1, 130
_GONE = (errno.EPIPE, errno.EINVAL) if sys.platform == "win32" else (errno.EPIPE,)
_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)
_NO_MEMORY = ("not enough memory", "out of memory", "can't allocate memory", "cannot allocate memory")
_LESS = "a shorter prompt, a smaller --max-features or fewer prompts at once need less"


def settle_streams() -> None:
    """Make the standard streams such that printing cannot fail on a character or because a stream is closed.

    A closed one goes nowhere, under its own number, which no other file gets then. Pipes and files get UTF-8 unless
    PYTHONIOENCODING says otherwise; a character that an encoding lacks is written as its number.
    """
    if sys.stdin is None:
        sys.stdin = io.TextIOWrapper(io.FileIO(os.devnull), encoding="utf-8")
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, io.TextIOWrapper(io.FileIO(os.devnull, "w"), encoding="utf-8"))
    output = sys.stdout
    if isinstance(output, io.TextIOWrapper):
        chosen = output.isatty() or "PYTHONIOENCODING" in os.environ
        output.reconfigure(encoding=None if chosen else "utf-8", errors="backslashreplace")


def check_arguments(arguments: Sequence[str]) -> None:
    """InputError when an argument is not UTF-8, unless it names a file that is there."""
    for number, argument in enumerate(arguments, 1):
        try:
            argument.encode()
        except UnicodeEncodeError:
            if not os.path.lexists(argument):
                shown = os.fsencode(argument)[:40]
                raise InputError(f"argument {number}, {shown!r}, is not UTF-8: write it in UTF-8") from None


def interruptible() -> None:
    """From here on Ctrl-C is a KeyboardInterrupt; `clew.__main__` lets it end the process at once until then."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def one_line_at_most() -> Iterator[None]:
    """Turn what ends the program in this block into an exit code, with a line on the error stream where one helps."""
    try:
        yield
        sys.stdout.flush()
    except SystemExit:
        _flush_at_exit()
        raise
    except ClewError as error:
        _end(MISTAKE, str(error))
    except KeyboardInterrupt:
        _end(INTERRUPTED)
    except OSError as error:
        _end_output(error)
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not any(text in str(error).lower() for text in _NO_MEMORY):
            raise
        _end(MISTAKE, f"the machine has not enough memory for this: {_LESS}")


def _flush_at_exit() -> None:
    try:
        sys.stdout.flush()
    except OSError as error:
        _end_output(error)


def _end_output(error: OSError) -> NoReturn:
    """End because of a stream that does not take what is printed; other errors of the system are ours, and raised."""
    if error.errno in _GONE:
        _end(CLOSED)
    if error.errno not in _UNWRITABLE or error.filename is not None:
        raise error
    _end(MISTAKE, f"cannot write the output: {error.strerror}")


def _end(code: int, message: str = "") -> NoReturn:
    """Leave, and let nothing that waits in a stream fail later."""
    with suppress(OSError):
        if message:
            print(f"clew: {message}", file=sys.stderr, flush=True)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            _give_up(stream)
    sys.exit(code)


def _give_up(stream: TextIO) -> None:
    """Send what waits in a stream nowhere: the interpreter would try to write it again, and complain."""
    with suppress(OSError), io.FileIO(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())
