"""What a harvest costs over the model and its encoder alone, and how an atlas grows. `make bench-harvest`.

Speed, on minnow: the same documents go through (1) the model and the encoder of every layer, nothing kept; (2) the
harvest; (3) a straightforward dense harvest, which keeps every activation and sorts each feature's column. By turns in
one process; medians by the clock and by CPU seconds. What follows from weights alone is timed apart: it is paid once,
whatever the corpus.

One layer: SAEDashboard, in an environment of its own, and a harvest of the same features (`harvest_layer.py`).

Size: generated atlases with as many features as asked, each in a process of its own (`harvest_size.py`).

    python benchmarks/harvest.py [--positions 16384] [--rounds 5] [--peer-rounds 3] [--features 24576,590000]
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from harvest_layer import against_peer, seconds

import clew
from clew.harvest import gather as reading
from clew.harvest.write_atlas import finish
from clew.runs.sources import small_world
from clew.training.activations import parts_of
from clew.training.corpus import Documents, encode_documents

BAR = 0.75
SIZE = Path(__file__).with_name("harvest_size.py")


@torch.no_grad()
def bare(kit: clew.Kit, documents: Documents) -> None:
    """The model and the encoders, batched as a harvest does."""
    site = kit.dictionary.read_site
    for first in range(0, len(documents), reading.CHUNK):
        for part in parts_of(documents, torch.arange(first, min(len(documents), first + reading.CHUNK))):
            ids, counted = documents.padded(part)
            held = kit.subject.capture(ids, [site])  # type: ignore[list-item]
            for layer in kit.dictionary.layers:
                kit.dictionary.encode(layer, held[site, layer][counted])  # type: ignore[index]


@torch.no_grad()
def dense(kit: clew.Kit, documents: Documents) -> int:
    """Keep every activation in 16 bits, then the ten largest, the density and a histogram of every feature."""
    site, kept = kit.dictionary.read_site, []
    for first in range(0, len(documents), reading.CHUNK):
        for part in parts_of(documents, torch.arange(first, min(len(documents), first + reading.CHUNK))):
            ids, counted = documents.padded(part)
            held = kit.subject.capture(ids, [site])  # type: ignore[list-item]
            rows = []
            for layer, own in kit.dictionary.layers.items():
                x = held[site, layer][counted]  # type: ignore[index]
                rows.append(own.nonlinearity.apply(kit.dictionary.preactivations(layer, x)).half())
            kept.append(torch.cat(rows, 1))
    whole = torch.cat(kept)
    size = whole.numel() * 2
    for block in whole.split(512, dim=1):
        values = block.float()
        values.topk(10, dim=0)
        (values > 0).sum(0)
        torch.bucketize(values, torch.linspace(0, 64, 65)).flatten().bincount()
    return size


def speed(positions: int, rounds: int) -> None:
    """Print tokens a second of all three, and the harvest's share of the bare pass."""
    kit = clew.load("minnow")
    documents = encode_documents(kit.subject, small_world(positions), positions=positions)
    n = int(documents.counts.sum())
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / "a.part"

        def harvest() -> None:
            for _ in reading.gather(kit.subject, kit.dictionary, documents, part):
                pass

        cases = {"bare": lambda: bare(kit, documents), "harvest": harvest, "dense": lambda: dense(kit, documents)}
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
        for number in range(rounds + 1):  # the first one warms up
            for name, work in cases.items():
                spent = seconds(work)
                taken[name] += [spent] if number else []
        for name, times in taken.items():
            clock, busy = (n / statistics.median(side) for side in zip(*times, strict=True))
            print(f"  {name:8} {clock:8,.0f} tokens/s, {busy:8,.0f} a CPU second")
        for name, other in (("harvest", "bare"), ("harvest", "dense")):
            ratios = [
                statistics.median(b[i] / a[i] for a, b in zip(taken[name], taken[other], strict=True)) for i in (0, 1)
            ]
            said = f" (bar {BAR})" if other == "bare" else ""
            print(f"  {name} against {other}: {ratios[0]:.2f} by the clock, {ratios[1]:.2f} by CPU seconds{said}")
        features = sum(kit.dictionary.d_features(layer) for layer in kit.dictionary.layers)
        print(f"  the dense one keeps {2 * n * features / 1e6:,.0f} MB for {n:,} positions, {features:,} features")
        spent = seconds(lambda: list(finish(kit.subject, kit.dictionary, documents, [part], Path(folder) / "a.sqlite")))
        print(f"  relations by weights and writing: {spent[0]:.1f} s, {spent[1]:.1f} CPU seconds, once")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--positions", type=int, default=16384, help="positions of text that are timed")
    parser.add_argument("--rounds", type=int, default=5, help="times that they are read")
    parser.add_argument("--peer-rounds", type=int, default=3, help="times that SAEDashboard is run; 0 leaves it out")
    parser.add_argument("--features", default="24576,590000", help="sizes of generated atlases; empty for none")
    arguments = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; minnow, {arguments.positions:,} positions")
    if arguments.rounds:
        speed(arguments.positions, arguments.rounds)
    if arguments.peer_rounds:
        against_peer(arguments.peer_rounds)
    for features in filter(None, arguments.features.split(",")):
        subprocess.run([sys.executable, SIZE, features], check=True)


if __name__ == "__main__":
    main()
