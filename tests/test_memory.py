"""What memory there is: the machine's, a container's, what a limit on the address space leaves."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from clew import memory
from clew.errors import InputError

MEMINFO = {"/proc/meminfo": ["MemTotal: 9000 kB", "MemAvailable:    5000 kB"]}
GROUP = "/sys/fs/cgroup/"


@pytest.fixture
def system(monkeypatch):
    """A machine whose files say what they are told to, without a limit on the address space."""
    monkeypatch.setattr(memory, "address_space", lambda: None)

    def says(texts):
        monkeypatch.setattr(memory, "_lines", lambda path: texts.get(path, []))

    return says


def test_what_is_free_is_the_least_that_machine_and_container_leave(system):
    system(MEMINFO)
    assert memory.available_memory() == 5000 * 1024
    version_2 = {"memory.max": ["3000000"], "memory.current": ["1000000"], "memory.stat": ["inactive_file 200000"]}
    system(MEMINFO | {GROUP + name: text for name, text in version_2.items()})
    assert memory.available_memory() == 3_000_000 - 1_000_000 + 200_000  # what is only cached can be given back
    version_1 = {"memory.limit_in_bytes": ["2000000"], "memory.usage_in_bytes": ["500000"]}
    system(MEMINFO | {f"{GROUP}memory/{name}": text for name, text in version_1.items()})
    assert memory.available_memory() == 1_500_000
    system(MEMINFO | {GROUP + "memory.max": ["max"], GROUP + "memory.current": ["1000000"]})
    assert memory.available_memory() == 5000 * 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux says how much is mapped")
def test_a_limit_on_the_address_space_counts():
    program = (
        "import resource; from clew import memory; before = memory.available_memory();"
        "mapped = next(int(l.split()[1]) << 10 for l in open('/proc/self/status') if l.startswith('VmSize'));"
        "resource.setrlimit(resource.RLIMIT_AS, (mapped + (1 << 28), resource.RLIM_INFINITY));"
        "print(before, memory.available_memory(), memory.address_space())"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    before, after, space = map(int, ended.stdout.split())
    assert before > 1 << 28
    assert after == space
    assert (1 << 27) < space <= 1 << 28


def test_what_does_not_fit_is_refused_with_both_numbers_and_advice(monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda: 3_000_000_000)
    memory.check_room(3_000_000_000, "this", "take less")
    with pytest.raises(InputError, match=r"this takes 3\.1 GB of memory, and 3\.0 GB are free: take less"):
        memory.check_room(3_100_000_000, "this", "take less")


def test_the_peak_of_this_process_is_no_less_than_what_it_holds():
    held = torch.ones(40 << 20, dtype=torch.uint8)
    assert memory.resident_peak() > held.nbytes
