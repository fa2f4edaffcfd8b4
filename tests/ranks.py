"""Processes that act as the ranks of one run, for many checks at once: a server that has imported Clew forks them."""

import contextlib
import io
import multiprocessing
import os
import socket
import sys
import traceback
from collections.abc import Callable
from typing import Any

PRELOADED = [
    "torch.distributed", "transformers.models.gpt2.modeling_gpt2", "clew.cli.train", "clew.cli.harvest", "clew.web",
    "clew.kernels.compiled", "tests.ranks",
]  # fmt: skip


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


def as_rank(rank: int, size: int, port: int) -> None:
    """Set what torchrun tells a rank."""
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in names.items()}


def _act(answer: Any, rank: int, size: int, port: int, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    import torch

    torch.set_num_threads(1)
    as_rank(rank, size, port)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    try:
        answer.send((work(*arguments), None))
    except BaseException:
        answer.send((None, traceback.format_exc()))


def on_ranks(size: int, work: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What `work` returns on every rank, None where it was killed; a function of a module, with its rank in the
    environment."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    port, answers, processes = free_port(), [], []
    for rank in range(size):
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_act, args=(sender, rank, size, port, work, arguments))
        process.start()
        sender.close()  # so that the receiver sees the end of a process that is killed
        answers.append(receiver)
        processes.append(process)
    values = []
    for rank, answer in enumerate(answers):
        try:
            value, error = answer.recv()
        except EOFError:
            value, error = None, None
        assert error is None, f"rank {rank}: {error}"
        values.append(value)
    for process in processes:
        process.join()
    return values


def command(*arguments: object) -> tuple[int, str, str]:
    """Run the command line in this process; its exit code, output and error stream."""
    from clew.cli import main

    code, out, err = 0, io.StringIO(), io.StringIO()
    sys.argv = ["clew", *map(str, arguments)]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            code = end.code or 0  # type: ignore[assignment]
    return code, out.getvalue(), err.getvalue()
