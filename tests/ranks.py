"""Processes that act as the ranks of one run, started once for many checks: a server that has imported Clew forks them."""

import multiprocessing
import os
import socket
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

PRELOADED = ["torch", "torch.distributed", "transformers", "clew.training", "clew.runs.train", "tests.toy"]


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


def environment(rank: int, size: int, port: int) -> dict[str, str]:
    """What torchrun tells a rank."""
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return {name: str(value) for name, value in names.items()}


def _act(queue: Any, rank: int, size: int, port: int, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    import torch

    torch.set_num_threads(1)
    os.environ |= environment(rank, size, port) | {"GLOO_SOCKET_IFNAME": "lo"}
    try:
        queue.put((rank, work(*arguments), None))
    except BaseException:
        queue.put((rank, None, traceback.format_exc()))


def on_ranks(size: int, work: Callable[..., Any], *arguments: Any, port: int | None = None) -> list[Any]:
    """What `work` returns on every rank; it is a function of a module, and finds its rank in the environment."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    queue, port = context.SimpleQueue(), port or free_port()
    processes = [context.Process(target=_act, args=(queue, r, size, port, work, arguments)) for r in range(size)]
    for process in processes:
        process.start()
    answers = [queue.get() for _ in processes]
    for process in processes:
        process.join()
    failed = [f"rank {rank}: {error}" for rank, _, error in answers if error]
    assert not failed, "\n".join(failed)
    return [value for _, value, _ in sorted(answers, key=lambda answer: answer[0])]


def dictionary_mark(folder: Path) -> str:
    from clew.dictionary import Dictionary

    return Dictionary.load(folder / "dictionary").fingerprint
