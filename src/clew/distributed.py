"""Ranks: the processes that share the work of one run, by torch.distributed.

torchrun starts them and tells each which one it is. One process is the case of one rank, `ALONE`, whose operations give
back what they are given: it loads nothing and pays nothing.

1. Ranks meet at torchrun's store, where their versions are compared, and connect then: by gloo, and by NCCL between
   GPUs.
2. Nothing waits for ever. Where a rank is gone, or does not answer for `ANSWER`, the others end with one line.
3. A rank that ends by a mistake leaves it in the store, so that the others can say it.
"""

from __future__ import annotations

import json
import platform
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from itertools import pairwise
from threading import Thread
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor

from clew.errors import ClewError, InputError, MismatchError, RankError
from clew.version import __version__

MEETING = timedelta(seconds=60)
"""How long a rank waits at the start for the others."""
ANSWER = timedelta(minutes=30)
"""How long a rank waits for the others in the midst of the work: the first one may be measuring, or writing."""
LOOK = 0.5  # seconds between two looks for what the first rank is doing
SAID = 2.0  # seconds in which the first rank says what all have seen
_NAMES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class Ranks(ABC):
    """The processes of a run, of which this one has a number, its rank, from 0."""

    rank: int
    size: int

    @property
    def first(self) -> bool:
        """Whether this is the rank that prints and writes."""
        return self.rank == 0

    def bounds(self, n: int) -> list[int]:
        """Where n things are cut into one part a rank, of about equal size: rank r has [bounds[r], bounds[r + 1])."""
        return [rank * n // self.size for rank in range(self.size + 1)]

    def part(self, n: int) -> slice:
        """This rank's part of n things."""
        return slice(*self.bounds(n)[self.rank : self.rank + 2])

    @abstractmethod
    def add_up(self, tensor: Shaped[Tensor, "*shape"]) -> Shaped[Tensor, "*shape"]:
        """The sum over all ranks, in place, with the same bits on each; RankError when one is gone."""

    @abstractmethod
    def fill(self, whole: Shaped[Tensor, "row *rest"], bounds: Sequence[int]) -> Shaped[Tensor, "row *rest"]:
        """Complete a tensor of which every rank has the rows [bounds[r], bounds[r + 1]); in place.

        RankError when one is gone.
        """

    @abstractmethod
    def copy(self, tensor: Shaped[Tensor, "*shape"], source: int) -> Shaped[Tensor, "*shape"]:
        """Overwrite a tensor with that of one rank; RankError when one is gone."""

    @abstractmethod
    def wait_for_first(self, name: str) -> None:
        """Wait until the first rank has said, by the same call, that something is done, however long that takes.

        RankError when it has ended before.
        """

    def gather(self, rows: Shaped[Tensor, "own *rest"]) -> tuple[Shaped[Tensor, "row *rest"], list[int]]:
        """The rows of all ranks behind one another, any number of each, and where those of each begin and end."""
        lengths = torch.zeros(self.size, dtype=torch.long, device=rows.device)
        lengths[self.rank] = len(rows)
        bounds = [0, *self.add_up(lengths).cumsum(0).tolist()]
        whole = rows.new_empty(bounds[-1], *rows.shape[1:])
        whole[bounds[self.rank] : bounds[self.rank + 1]] = rows
        return self.fill(whole, bounds), bounds

    def texts(self, text: str) -> list[str]:
        """One text of each rank, known to all."""
        content = bytearray(text.encode())
        rows = torch.frombuffer(content, dtype=torch.uint8) if content else torch.empty(0, dtype=torch.uint8)
        whole, bounds = self.gather(rows)
        return [bytes(part.tolist()).decode() for part in whole.split([b - a for a, b in pairwise(bounds)])]

    def total(self, number: int) -> int:
        """The sum of one whole number of each rank."""
        return int(self.add_up(torch.tensor(number)))

    def check_same(self, facts: Mapping[str, object]) -> None:
        """MismatchError on every rank unless all of them have the same facts; it names the first that differs."""
        known = [json.loads(text) for text in self.texts(json.dumps(dict(facts), default=str))]
        _check_same(known)


class OneRank(Ranks):
    """A process that works alone."""

    rank, size = 0, 1

    def add_up(self, tensor: Tensor) -> Tensor:
        """The tensor itself."""
        return tensor

    def fill(self, whole: Tensor, bounds: Sequence[int]) -> Tensor:
        """The tensor itself."""
        return whole

    def copy(self, tensor: Tensor, source: int) -> Tensor:
        """The tensor itself."""
        return tensor

    def wait_for_first(self, name: str) -> None:
        """At once: this is the first rank."""

    def gather(self, rows: Tensor) -> tuple[Tensor, list[int]]:
        """The rows themselves."""
        return rows, [0, len(rows)]

    def total(self, number: int) -> int:
        """The number itself."""
        return number


ALONE = OneRank()


class ManyRanks(Ranks):
    """Processes that talk by a group of torch.distributed, and by the store at which they have met."""

    def __init__(self, store: Any, group: Any = None) -> None:
        import torch.distributed as dist

        self._dist, self._group, self._store = dist, group, store
        self.rank, self.size = dist.get_rank(group), dist.get_world_size(group)
        self._members = dist.get_process_group_ranks(group) if group is not None else list(range(self.size))

    def add_up(self, tensor: Tensor) -> Tensor:
        """By an all-reduce."""
        with self._answers():
            self._dist.all_reduce(tensor, group=self._group)
        return tensor

    def fill(self, whole: Tensor, bounds: Sequence[int]) -> Tensor:
        """By a broadcast of each part, which need not be of one length and go where they belong without a copy."""
        assert whole.is_contiguous()
        with self._answers():
            parts = [(whole[a:b], member) for (a, b), member in zip(pairwise(bounds), self._members, strict=True)]
            for work in [self._send(part, member) for part, member in parts if part.numel()]:
                work.wait()
        return whole

    def copy(self, tensor: Tensor, source: int) -> Tensor:
        """By a broadcast."""
        with self._answers():
            self._send(tensor, self._members[source]).wait()
        return tensor

    def _send(self, tensor: Tensor, member: int) -> Any:
        return self._dist.broadcast(tensor, src=member, group=self._group, async_op=True)

    def wait_for_first(self, name: str) -> None:
        """By the store, so that no connection is kept waiting."""
        if self.first:
            self._store.set(f"done/{name}", "")
            return
        with self._answers():
            while not self._store.check([f"done/{name}"]):
                if self.end_of(0) is not None:
                    raise RuntimeError("the first rank has ended")
                time.sleep(LOOK)

    def tell_end(self, reason: str) -> None:
        """Leave for the others why this rank ends."""
        with suppress(RuntimeError):
            self._store.set(f"end/{self.rank}", reason)

    def leave(self) -> None:
        """Say that this rank needs the store no longer; where the first one, which may keep it, ends by a mistake it
        waits for the others a little."""
        others, until = range(1, self.size), time.monotonic() + 2 * SAID
        with suppress(RuntimeError):
            if not self.first:
                self._store.set(f"left/{self.rank}", "")
            elif self.end_of(0) is not None:
                while time.monotonic() < until and not all(self._store.check([f"left/{rank}"]) for rank in others):
                    time.sleep(0.05)

    def first_says(self, reason: str) -> bool:
        """Whether the first rank ends for the same reason, which is then said once."""
        until = time.monotonic() + SAID
        while time.monotonic() < until:
            if (said := self.end_of(0)) is not None:
                return said == reason
            time.sleep(0.05)
        return False

    def end_of(self, rank: int) -> str | None:
        """Why a rank has ended; None while it has not, or nobody knows."""
        with suppress(RuntimeError):
            if self._store.check([f"end/{rank}"]):
                return str(self._store.get(f"end/{rank}").decode())
        return None

    @contextmanager
    def _answers(self) -> Iterator[None]:
        """RankError when torch.distributed fails in this block: a connection is closed, or nobody has answered."""
        try:
            yield
        except RuntimeError as error:
            time.sleep(LOOK)  # the rank that ended may still be about to say why
            for rank in range(self.size):
                if (reason := self.end_of(rank)) is not None:
                    end = reason if rank == 0 else f"rank {self.rank} of {self.size}: rank {rank} has ended: {reason}"
                    raise RankError(end) from error
            raise RankError(
                f"rank {self.rank} of {self.size}: another rank has ended or does not answer: start all of them again; "
                "a run goes on from its last checkpoint with --resume"
            ) from error


@contextmanager
def joined(environment: Mapping[str, str], answer: timedelta = ANSWER) -> Iterator[Ranks]:
    """The ranks that torchrun has started, of which this process is one; `ALONE` where it has started none or one.

    RankError when some do not come, InputError when the port is in use, MismatchError when they have other versions.
    """
    numbers = _numbers(environment)
    if numbers is None or numbers[1] == 1:
        yield ALONE
        return
    import torch.distributed as dist

    rank, size = numbers
    store = _met(rank, size, environment)
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if gpus:
        torch.cuda.set_device(int(environment.get("LOCAL_RANK", "0")) % gpus)
    backend = "cpu:gloo,cuda:nccl" if gpus else "gloo"
    try:
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=answer)
    except RuntimeError as error:
        raise RankError(f"rank {rank} of {size} cannot connect to the others ({_line(error)})") from error
    ranks = ManyRanks(store)
    try:
        yield ranks
    except RankError:
        raise
    except ClewError as error:
        ranks.tell_end(str(error))
        raise
    except BaseException as error:
        ranks.tell_end(type(error).__name__)
        raise
    finally:
        ranks.leave()
        with suppress(RuntimeError):
            dist.destroy_process_group()


def _numbers(environment: Mapping[str, str]) -> tuple[int, int] | None:
    """Rank and number of ranks; None where no torchrun has set them."""
    if any(name not in environment for name in _NAMES):
        return None
    try:
        rank, size = int(environment["RANK"]), int(environment["WORLD_SIZE"])
    except ValueError:
        rank, size = 0, 0
    if not 0 <= rank < size:
        raise InputError(
            f"RANK is {environment['RANK']!r} and WORLD_SIZE is {environment['WORLD_SIZE']!r}: let torchrun set them"
        )
    return rank, size


def _met(rank: int, size: int, environment: Mapping[str, str]) -> Any:
    """The store at which all ranks have met, with the same versions."""
    import torch.distributed as dist

    place = f"{environment['MASTER_ADDR']}:{environment['MASTER_PORT']}"
    try:
        store = dist.PrefixStore("clew", _store(rank, size))
    except (RuntimeError, ValueError) as error:
        if "EADDRINUSE" in str(error) or "address already in use" in str(error).lower():
            raise InputError(
                f"port {environment['MASTER_PORT']} is in use: give torchrun another with --master-port"
            ) from error
        raise RankError(f"rank {rank} of {size} does not reach the others at {place} ({_line(error)})") from error
    versions = {"clew": __version__, "torch": torch.__version__, "python": platform.python_version()}
    known, late = [], []
    try:
        store.set(f"here/{rank}", json.dumps(versions))
        until = time.monotonic() + MEETING.total_seconds()
        for other in range(size):
            try:
                store.wait([f"here/{other}"], timedelta(seconds=max(0.01, until - time.monotonic())))
                known.append(json.loads(store.get(f"here/{other}")))
            except dist.DistStoreError:
                late.append(other)
    except RuntimeError as error:
        raise RankError(f"rank {rank} of {size} does not reach the others at {place} ({_line(error)})") from error
    if late:
        seconds = MEETING.total_seconds()
        raise RankError(f"rank {rank} of {size}: ranks {', '.join(map(str, late))} did not come in {seconds:.0f} s")
    _check_same(known)
    return store


def _store(rank: int, size: int) -> Any:
    """The store where the environment says it is; RuntimeError when it does not answer.

    In a thread of its own: torch waits for ever for what listens at the port and is no store.
    """
    import torch.distributed as dist

    result: list[Any] = []

    def connect() -> None:
        try:
            result.append(next(dist.rendezvous("env://", rank, size, timeout=MEETING))[0])
        except Exception as error:  # raised again below
            result.append(error)

    thread = Thread(target=connect, daemon=True)
    thread.start()
    thread.join(2 * MEETING.total_seconds())
    if not result:
        raise RuntimeError("nothing there answers as a store does")
    if isinstance(result[0], Exception):
        raise result[0]
    return result[0]


def _check_same(known: Sequence[Mapping[str, object]]) -> None:
    for rank, facts in enumerate(known):
        for name, value in known[0].items():
            if facts.get(name) != value:
                raise MismatchError(
                    f"rank 0 has {name} {value}, rank {rank} has {facts.get(name)}: all ranks need the same"
                )


def _line(error: BaseException) -> str:
    """The first line of an error of torch, without the trace of its C++ functions."""
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
