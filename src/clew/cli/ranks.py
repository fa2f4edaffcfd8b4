"""A command under torchrun: this process' rank, and one line for a mistake that all ranks have seen."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from clew.cli.leaving import MISTAKE
from clew.distributed import ManyRanks, Ranks, joined
from clew.errors import ClewError, RankError


@contextmanager
def joined_ranks() -> Iterator[Ranks]:
    """The ranks of this command, one without torchrun; a mistake that the first one reports is not said again."""
    with joined(os.environ) as ranks:
        try:
            yield ranks
        except ClewError as error:
            if not isinstance(ranks, ManyRanks) or ranks.first:
                raise
            if isinstance(error, RankError):
                if ranks.end_of(0) != str(error):
                    raise
                raise typer.Exit(MISTAKE) from error
            if ranks.first_says(str(error)):
                raise typer.Exit(MISTAKE) from error
            raise type(error)(f"rank {ranks.rank} of {ranks.size}: {error}") from error
