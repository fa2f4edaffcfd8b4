"""How much memory can be had, and how much was taken, on Linux, macOS and Windows.

What only one system has is imported where it is used, so that this file can be read everywhere.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress

import torch

from clew import files
from clew.errors import FileError, InputError

SMALL = 256 << 20
"""Bytes that are taken without asking how many are free."""
_CPU = torch.device("cpu")


def available_memory() -> int:
    """Bytes of memory that this process can still get without swapping.

    The least of what the system has, what a container may use, and what the process' own limit leaves; the whole
    machine's where the system does not say what is free.
    """
    if sys.platform == "win32":
        return _windows_memory()[1]
    bounds = [address_space(), *_containers()]
    for line in _lines("/proc/meminfo"):
        if line.startswith("MemAvailable:"):
            bounds.append(int(line.split()[1]) * 1024)
    if all(bound is None for bound in bounds[1:]):
        bounds.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return max(0, min(bound for bound in bounds if bound is not None))


def free_memory(device: torch.device) -> int:
    """Bytes that can still be had on a device; on a GPU what torch keeps for later use counts as free."""
    if device.type != "cuda":
        return available_memory()
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + kept


def check_room(needed: int, what: str, advice: str, device: torch.device = _CPU) -> None:
    """InputError when something needs more memory than is free; small amounts are taken without asking."""
    if needed > SMALL and needed > (free := free_memory(device)):
        raise InputError(f"{what} takes {in_words(needed)} of memory, and {in_words(free)} are free: {advice}")


def in_words(n_bytes: int) -> str:
    """Bytes as a person reads them."""
    return f"{n_bytes / 1e6:,.0f} MB" if n_bytes < 1e9 else f"{n_bytes / 1e9:,.1f} GB"


def resident_peak() -> int:
    """The peak of this process' resident memory, in bytes; 0 where the system does not say."""
    if sys.platform == "win32":
        return _windows_peak()
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


# --- Linux and macOS ------------------------------------------------------------------------------------------------


def address_space() -> int | None:
    """What a limit on the address space (ulimit -v) leaves; None where there is no limit."""
    if sys.platform == "win32":
        return None
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return None
    used = [int(line.split()[1]) * 1024 for line in _lines("/proc/self/status") if line.startswith("VmSize:")]
    return limit - sum(used)


def _containers() -> list[int | None]:
    """What the control groups of a container leave (versions 2 and 1); caches that can be given back count as free."""
    names = ("", "memory.max", "memory.current"), ("memory/", "memory.limit_in_bytes", "memory.usage_in_bytes")
    return [_left(f"/sys/fs/cgroup/{folder}", limit, usage) for folder, limit, usage in names]


def _left(folder: str, limit: str, usage: str) -> int | None:
    (most,), (used,) = (_lines(folder + name)[:1] or [""] for name in (limit, usage))
    if not (most.isdecimal() and used.isdecimal()) or int(most) >= 1 << 60:
        return None
    files_cached = [
        int(line.split()[1]) for line in _lines(f"{folder}memory.stat") if line.startswith("inactive_file ")
    ]
    return int(most) - int(used) + sum(files_cached)


def _lines(path: str) -> list[str]:
    """The lines of a file of the system; none where it is not there."""
    with suppress(FileError):
        return list(files.lines(path))
    return []


# --- Windows --------------------------------------------------------------------------------------------------------


def _windows_memory() -> tuple[int, int]:
    """The machine's memory and what of it is free."""
    import ctypes

    class Status(ctypes.Structure):
        _fields_ = (
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            *((name, ctypes.c_ulonglong) for name in ("total", "free", "pages", "free_pages", "space", "free_space")),
            ("extended", ctypes.c_ulonglong),
        )

    status = Status(length=ctypes.sizeof(Status))
    ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))  # type: ignore[attr-defined]
    return status.total, status.free


def _windows_peak() -> int:
    import ctypes

    class Counters(ctypes.Structure):
        _fields_ = (
            ("length", ctypes.c_ulong),
            ("faults", ctypes.c_ulong),
            ("peak", ctypes.c_size_t),
            *((f"rest{number}", ctypes.c_size_t) for number in range(7)),
        )

    counters = Counters(length=ctypes.sizeof(Counters))
    kernel = ctypes.windll.kernel32  # type: ignore[attr-defined]
    kernel.GetCurrentProcess.restype = ctypes.c_void_p
    process = ctypes.c_void_p(kernel.GetCurrentProcess())
    kernel.K32GetProcessMemoryInfo(process, ctypes.byref(counters), counters.length)
    return counters.peak
