"""One layer's features: a harvest against SAEDashboard, by turns, on as many threads. A part of `make bench-harvest`.

1. The peer's environment is set up in `.peer-harvest` when it is missing; this alone needs the network.
2. One layer of minnow's dictionary becomes a dictionary of its own: its encoder, bias and thresholds, and what it
   writes into its own layer. Decoders are scaled to length one, as the peer does to whatever it is given, so that both
   mean the same by an activation. Text is cut into rows of one length, every position of which counts on both sides.
3. The peer is tried with several minibatch sizes. At the fastest it takes turns with the harvest, which stays at its
   defaults; the peer is a process of its own that lives through all rounds, and what runs first is not counted.
4. Every feature's largest activation, its number of firings and the tokens it promotes are compared. Exit code 1 when
   the two saw different things: their times would say nothing.

    python benchmarks/harvest_layer.py [--rounds 3] [--layer 3] [--rows 128]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import clew
from clew.dictionary.dictionary import Dictionary, Layer
from clew.dictionary.nonlinearity import BatchTopK, JumpReLU
from clew.features.atlas import Atlas
from clew.harvest.gather import gather
from clew.harvest.write_atlas import finish
from clew.runs.sources import small_world
from clew.subject.subject import Subject
from clew.training.corpus import Documents, encode_documents

ROOT = Path(__file__).parents[1]
PEER = ROOT / ".peer-harvest"
PEER_SCRIPT = Path(__file__).with_name("peer_harvest.py")
PACKAGES = (
    "torch==2.13.0",
    "sae-dashboard==0.8.0",
    "sae-lens==6.54.12",
    "transformer-lens==2.17.0",
    "transformers==4.56.2",
    "datasets==3.6.0",
    "numpy==1.26.4",
    "pandas==2.2.3",
    "pyarrow==19.0.1",  # later ones want numpy 2
)
UNWANTED = (
    "torchvision",
    "torchaudio",
)  # drawn in; built for another torch than the CPU's, and transformers tries them
LAYER, ROWS, LENGTH = 3, 128, 128
TRIED: tuple[dict[str, Any], ...] = (
    {"features": 256, "rows": 64, "cached": False},  # its defaults
    {"features": 64, "rows": 256, "cached": False},  # as in its README
    {"features": 256, "rows": 64, "cached": True},
    {"features": 256, "rows": 16, "cached": True},
    {"features": 512, "rows": 16, "cached": False},
)
CLOSE = 1e-4  # relative, of largest activations
FEW = 0.01  # share of features whose firings may differ, by an activation that rounding puts over its threshold


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds on the clock and of all threads together."""
    started, busy = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - started, time.process_time() - busy


# The peer


def prepare() -> None:
    """The peer's environment, made once."""
    python, made = PEER / "bin/python", PEER / "installed"
    if made.exists() and made.read_text().split() == [*PACKAGES]:
        return
    print(f"setting up {', '.join(PACKAGES)} in {PEER.name}", flush=True)
    subprocess.run([sys.executable, "-m", "venv", PEER], check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    subprocess.run([python, "-m", "pip", "uninstall", "--quiet", "--yes", *UNWANTED], check=True)
    made.write_text("\n".join(PACKAGES))


class Peer:
    """The peer's process, which answers one run after the other."""

    def __init__(self, folder: Path, layer: int) -> None:
        self._said = (folder / "peer.log").open("w+")
        command = [PEER / "bin/python", PEER_SCRIPT, folder, "--layer", layer, "--threads", torch.get_num_threads()]
        self._process = subprocess.Popen(
            [*map(str, command)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
        )

    def run(self, settings: dict[str, Any], keep: Path | None = None) -> dict[str, float]:
        """Seconds of one run."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        answer = ""
        try:
            self._process.stdin.write(json.dumps(settings | {"keep": keep and str(keep)}) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            pass
        if not answer:
            self._said.seek(0)
            raise SystemExit(f"SAEDashboard failed:\n{self._said.read()[-2000:]}")
        return json.loads(answer)

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.kill() if error else self._process.communicate()
        self._process.wait()
        self._said.close()


# What both are given


def layer_alone(dictionary: Dictionary, layer: int) -> Dictionary:
    """The features of one layer, with what they write into it, decoders of length one; float32."""
    own = dictionary.layers[layer]
    assert isinstance(own.nonlinearity, BatchTopK | JumpReLU)
    decoder = own.decoder[:, dictionary.written_layers(layer).index(layer)].float()
    length = decoder.norm(dim=1, keepdim=True)
    threshold = own.nonlinearity.threshold.float() * length[:, 0]
    assert bool((length > 0).all() and (threshold >= 0).all())
    alone = Layer(
        encoder=own.encoder.float() * length,
        bias=own.bias.float() * length[:, 0],
        nonlinearity=JumpReLU(threshold=threshold),
        decoder=(decoder / length)[:, None],
        decoder_bias=own.decoder_bias.float(),
    )
    return replace(dictionary, kind="plt", layers={layer: alone}, writes={layer: (layer,)}, name=f"layer {layer}")


def rows_of_text(subject: Subject, rows: int) -> Tensor:
    """The small world's text behind one another, without special tokens, cut into rows."""
    documents = encode_documents(subject, small_world(2 * rows * LENGTH))
    text = documents.tokens[~torch.isin(documents.tokens, torch.tensor(sorted(subject.special_ids)))]
    assert len(text) >= rows * LENGTH
    return text[: rows * LENGTH].long().view(rows, LENGTH)


def as_documents(tokens: Tensor) -> Documents:
    """Rows of one length, every position of which counts."""
    rows, length = tokens.shape
    starts = torch.arange(rows + 1) * length
    return Documents(tokens=tokens.flatten().int(), starts=starts, counted=torch.ones(tokens.numel(), dtype=torch.bool))


def export(folder: Path, subject: Subject, dictionary: Dictionary, layer: int, tokens: Tensor) -> None:
    """What the peer reads."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    own = dictionary.layers[layer]
    held = own.tensors() | {"decoder": own.decoder[:, 0].contiguous(), "tokens": tokens}
    save_file(held, folder / "layer.safetensors")
    subject.model.save_pretrained(folder / "model")  # type: ignore[operator]


# The comparison


def against_peer(rounds: int, layer: int = LAYER, rows: int = ROWS) -> None:
    """Print both sides' tokens a second, their ratio, and how far they agree."""
    prepare()
    kit = clew.load("minnow")
    dictionary, tokens = layer_alone(kit.dictionary, layer), rows_of_text(kit.subject, rows)
    documents, n = as_documents(tokens), tokens.numel()
    print(
        f"  layer {layer} against SAEDashboard: {dictionary.d_features(layer):,} features, {n:,} positions in rows of "
        f"{LENGTH}, {torch.get_num_threads()} threads, {rounds} rounds"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        export(folder, kit.subject, dictionary, layer, tokens)
        atlas, part, found = folder / "a.sqlite", folder / "a.part", folder / "found.safetensors"

        def harvest() -> tuple[tuple[float, float], tuple[float, float]]:
            read = seconds(lambda: list(gather(kit.subject, dictionary, documents, part)))
            return read, seconds(lambda: list(finish(kit.subject, dictionary, documents, [part], atlas)))

        with Peer(folder, layer) as peer:
            best = fastest(peer)
            harvest()
            theirs, ours = [], []
            for number in range(rounds):
                theirs.append(peer.run(best, keep=found if number == rounds - 1 else None))
                ours.append(harvest())
        report(theirs, ours, n)
        agree(load_file(found), atlas, n)


def fastest(peer: Peer) -> dict[str, Any]:
    """The settings that are quoted: each is tried once, after a run that warms up."""
    peer.run(TRIED[0])
    taken = [peer.run(settings) for settings in TRIED]
    for settings, spent in zip(TRIED, taken, strict=True):
        cached = ", the model's activations cached" if settings["cached"] else ""
        print(
            f"    SAEDashboard in minibatches of {settings['features']} features, {settings['rows']} rows{cached}: "
            f"{spent['clock']:.1f} s, {spent['cpu']:.1f} CPU seconds",
            flush=True,
        )
    return min(zip(taken, TRIED, strict=True), key=lambda each: each[0]["clock"])[1]


def report(theirs: list[dict[str, float]], ours: list[tuple[tuple[float, float], tuple[float, float]]], n: int) -> None:
    """Medians, and the medians of each round's ratio."""
    whole = [[read[i] + rest[i] for read, rest in ours] for i in (0, 1)]
    sides = {"SAEDashboard": [[run[key] for run in theirs] for key in ("clock", "cpu")], "harvest": whole}
    for name, (clock, busy) in sides.items():
        rates = n / statistics.median(clock), n / statistics.median(busy)
        print(f"    {name:12} {rates[0]:8,.0f} tokens/s, {rates[1]:8,.0f} a CPU second")
    ratios = [
        statistics.median(b / a for a, b in zip(mine, other, strict=True))
        for mine, other in zip(sides["harvest"], sides["SAEDashboard"], strict=True)
    ]
    print(f"    harvest against SAEDashboard: {ratios[0]:.1f} by the clock, {ratios[1]:.1f} by CPU seconds")
    read, rest = (statistics.median(each[i][1] for each in ours) for i in (0, 1))
    print(
        f"    of the harvest's CPU seconds {read:.2f} go into reading, {rest:.2f} into relations and the file, once; "
        f"writing SAEDashboard's data as JSON, not counted, takes {theirs[-1]['json']:.1f}"
    )


def agree(found: dict[str, Tensor], atlas: Path, n: int) -> None:
    """Print how far both saw the same; exit code 1 when they did not."""
    with Atlas.load(atlas) as opened:
        cards = list(opened.cards())
    most = torch.tensor([card.max_activation for card in cards])
    fired = torch.tensor([card.fired for card in cards])
    apart = float(((most - found["most"]).abs() / most.clamp_min(1e-6)).max())
    counts = (found["density"] * n).round().long()
    other = int((counts != fired).sum())
    tokens = [{each.token_id for each in card.promoted} for card in cards]
    same = sum(mine == set(theirs) for mine, theirs in zip(tokens, found["promoted"].tolist(), strict=True))
    print(
        f"    {len(cards):,} features, {int((fired > 0).sum()):,} of which fired, {int(fired.sum()):,} times: largest "
        f"activations within {apart:.0e}, the same number of firings in {len(cards) - other:,} (at most "
        f"{int((counts - fired).abs().max())} apart), the same ten promoted tokens in {same:,}"
    )
    if apart > CLOSE or other > FEW * len(cards) or same < (1 - FEW) * len(cards):
        raise SystemExit("SAEDashboard and the harvest did not see the same thing")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--layer", type=int, default=LAYER, help="layer of minnow's dictionary")
    parser.add_argument("--rows", type=int, default=ROWS, help=f"rows of {LENGTH} tokens")
    given = parser.parse_args()
    against_peer(given.rounds, given.layer, given.rows)
