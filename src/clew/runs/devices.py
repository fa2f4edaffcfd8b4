"""Kinds of devices: what they hold and do a second, as their data sheets say it, and what of that kernels reach.

Prices are what an hour of one cost to rent from large and small providers in 2026, roughly: they are for comparison.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

from clew.errors import InputError

MATRIX_SHARE, BANDWIDTH_SHARE, LINK_SHARE = 0.55, 0.7, 0.8
"""Of the data sheet's figures, what products, kernels on rows, and exchanges are taken to reach on a GPU. They are
assumptions until `benchmarks/gpu.sh` was run."""
GB, TB, TERA = 10**9, 10**12, 10**12


@dataclass(frozen=True, kw_only=True)
class DeviceRates:
    """What one device does a second while it trains."""

    matrix: float
    """FLOP of dense products, in the precision that picks features."""
    pick: float
    """Pre-activations from which active features are picked, or infinite where products and choice are one."""
    rows: float
    """Bytes of the rows of active features that are added up."""
    gradient: float
    """Bytes of the outputs' gradient that are read for every active feature."""
    moments: float
    """Bytes of weights and moments, read and written."""
    stream: float
    """Bytes of outputs and batches that go through plain arithmetic."""
    pairs: float = math.inf
    """Active pairs that are listed, sorted and weighed."""
    call: float = 0.0
    """Seconds that a step takes for every layer beside all that."""


@dataclass(frozen=True, kw_only=True)
class DeviceKind:
    """A kind of device, and how several are connected."""

    name: str
    matrix_16: float
    """FLOP a second in bfloat16, dense."""
    matrix_32: float
    bandwidth: float
    """Bytes a second of its memory."""
    memory: int
    link: float
    """Bytes a second, each way, to the other devices of a node."""
    network: float
    """Bytes a second for each device, each way, to those of other nodes."""
    node: int
    """Devices in a node."""
    price: float
    """Dollars an hour."""
    measured: DeviceRates | None = None
    """In place of the data sheet's, where they were."""

    def rates(self, precision: str) -> DeviceRates:
        """Rates of the kernels, measured or from the data sheet."""
        if self.measured is not None:
            return self.measured if precision != "float32" else replace(self.measured, matrix=self.matrix_32)
        speed = self.bandwidth * BANDWIDTH_SHARE
        matrix = (self.matrix_32 if precision == "float32" else self.matrix_16) * MATRIX_SHARE
        return DeviceRates(
            matrix=matrix,
            pick=speed / 4,
            rows=speed,
            gradient=speed,
            moments=speed,
            stream=speed,
            pairs=5e8,
            call=150e-6,
        )

    def exchange(self, n_devices: int) -> float:
        """Bytes a second of a sum or gathering over so many devices.

        Between nodes each device sends a part of what its node has summed, so that a node's connections count together.
        """
        return LINK_SHARE * (self.link if n_devices <= self.node else min(self.link, self.node * self.network))


def _gpu(name: str, tera_16: float, tera_32: float, tb: float, gb: float, link: float, network: float, price: float,
         ) -> DeviceKind:  # fmt: skip
    return DeviceKind(
        name=name, matrix_16=tera_16 * TERA, matrix_32=tera_32 * TERA, bandwidth=tb * TB, memory=int(gb * GB),
        link=link * GB, network=network * GB, node=8, price=price,
    )  # fmt: skip


KINDS = {
    kind.name: kind
    for kind in (
        _gpu("L4", 121, 30, 0.3, 24, 32, 12, 0.7),
        _gpu("RTX4090", 165, 83, 1.008, 24, 32, 12, 0.5),
        _gpu("A100", 312, 19.5, 2.039, 80, 300, 25, 1.5),
        _gpu("H100", 989, 67, 3.35, 80, 450, 50, 2.5),
        _gpu("H200", 989, 67, 4.8, 141, 450, 50, 3.5),
        _gpu("B200", 2250, 80, 8.0, 180, 900, 50, 5.0),
        DeviceKind(
            name="CPU", matrix_16=0.8 * TERA, matrix_32=0.11 * TERA, bandwidth=18 * GB, memory=4 * GB, link=5 * GB,
            network=1.25 * GB, node=64, price=0.04,
            measured=DeviceRates(matrix=0.8 * TERA, pick=1.9e9, rows=14.5 * GB, gradient=11 * GB, moments=16 * GB,
                           stream=10.5 * GB, pairs=8e6),
        ),  # one core of a server with matrix instructions for 16 bits, and 4 GB of its memory; benchmarks/plan.py
    )
}  # fmt: skip


def devices_of(words: str) -> tuple[int, DeviceKind]:
    """How many devices of which kind `8xH100` or `H200` are; InputError where that is neither."""
    match = re.fullmatch(r"\s*(?:(\d+)\s*[x*×]\s*)?([A-Za-z]+[\w-]*)\s*", words)
    kinds = {name.lower(): kind for name, kind in KINDS.items()}
    if match is None or match[2].lower() not in kinds:
        raise InputError(f"{words!r} names no devices: give a number and a kind, as 8xH100; kinds: {', '.join(KINDS)}")
    count = int(match[1] or 1)
    if not 1 <= count <= 100_000:
        raise InputError(f"{words!r} asks for {count} devices: give at least 1, at most 100000")
    return count, kinds[match[2].lower()]
