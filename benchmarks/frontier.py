"""What minnow's dictionaries can reach: active features against error, divergence, replacement, for three activations.

Every point is trained alike but for its activation and budget, on text of the small world, and measured on held-out
text and on 100 listed prompts. Results go into a JSON file, one line a dictionary; points that it holds are not trained
again, so that a stopped run goes on. Then the picture is drawn, with the bars and, where given, finished dictionaries.

    python benchmarks/frontier.py RESULTS [--points batchtopk:8,topk:8] [--steps 1500] [--beside FOLDER] [--figure PNG]
    python benchmarks/frontier.py RESULTS --points "" --families FOLDER   # where its divergence comes from

make bench-frontier
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import defaultdict
from itertools import islice
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from clew.dictionary import Dictionary
from clew.organism.prompts import listed_prompts
from clew.organism.world import World
from clew.runs.evaluate import Material, assess
from clew.runs.fidelity import measure_fidelity
from clew.runs.sources import load_subject, small_world
from clew.training.config import DictionaryConfig
from clew.training.corpus import encode_documents, open_corpus, split_held_out
from clew.training.corpus_config import CorpusConfig
from clew.training.trainer import train_dictionary

POINTS = "batchtopk:4,batchtopk:8,batchtopk:16,topk:4,topk:8,topk:16,jumprelu:3e-3,jumprelu:1e-3,jumprelu:3e-4"
BARS = {"nmse": 0.01, "kl": 0.005, "sure": 0.995, "replacement": 0.93, "completeness": 0.98}
MOST_ACTIVE = 8
TITLES = {"nmse": "relative squared error", "kl": "divergence, nats", "replacement": "replacement, 100 prompts"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="JSON lines, one a dictionary")
    parser.add_argument("--points", default=POINTS, help="activation:budget, k or the price of an active feature")
    parser.add_argument("--features", type=int, default=1280)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--beside", action="append", default=[], help="a finished dictionary's folder")
    parser.add_argument("--figure", type=Path, help="where to draw the picture")
    parser.add_argument("--families", help="a dictionary's folder, measured on each family of text alone")
    chosen = parser.parse_args()
    known = [json.loads(line) for line in chosen.results.read_text().splitlines()] if chosen.results.exists() else []
    names = {point["name"] for point in known}
    for name in [*chosen.points.split(","), *chosen.beside]:
        if name and name not in names:
            point = measured(name, chosen.features, chosen.steps)
            known.append(point)
            chosen.results.parent.mkdir(parents=True, exist_ok=True)
            with chosen.results.open("a") as out:
                out.write(json.dumps(point) + "\n")
    show(known)
    if chosen.families:
        by_family(Dictionary.load(chosen.families))
    if chosen.figure:
        drawn(known).savefig(chosen.figure, dpi=110)


def measured(name: str, features: int, steps: int) -> dict[str, Any]:
    """One dictionary, trained unless the name is a folder's, and what was measured of it."""
    subject, corpus, began = load_subject("minnow"), CorpusConfig(), time.perf_counter()
    wanted = max(int(1.02 * steps * 1024) + corpus.buffer + corpus.held_out, 10 * corpus.held_out)
    held_out, seen = split_held_out(open_corpus(subject, corpus, positions=wanted, world=small_world), corpus.held_out)
    kind, _, budget = name.rpartition(":")
    if kind:
        given: dict[str, Any] = {"sparsity": float(budget)} if kind == "jumprelu" else {"k": int(budget)}
        rate = 4e-3 * min(1.0, (1024 / features) ** 0.5)
        config = DictionaryConfig.of(
            {"features": features, "steps": steps, "nonlinearity": kind, "learning_rate": rate} | given
        )
        with tempfile.TemporaryDirectory() as folder:
            for _ in train_dictionary(subject, seen, config, folder):
                pass
            dictionary = Dictionary.load(Path(folder) / "dictionary")
    else:
        dictionary = Dictionary.load(name)
    material = Material(documents=held_out, prompts=listed_prompts(100), by_layer=False)
    assessment = assess(subject, dictionary, material)
    e, scores = assessment.evaluation, assessment.scores
    assert scores is not None
    return {
        "name": name,
        "features": [dictionary.d_features(i) for i in range(subject.n_layers)],
        "active": sum(e.l0) / len(e.l0),
        "nmse": sum(e.nmse) / len(e.nmse),
        "kl": e.kl,
        "sure": e.agreement_sure,
        "agreement": e.agreement,
        "never": sum(e.dead) / len(e.dead),
        "replacement": scores.replacement.value,
        "completeness": scores.completeness.value,
        "seconds": round(time.perf_counter() - began),
    }


def by_family(dictionary: Dictionary, statements: int = 12000, few: int = 150) -> None:
    """Print the divergence on statements of every family, and the family's share of the corpus' divergence."""
    subject, texts = load_subject("minnow"), defaultdict[str, list[str]](list)
    for statement in islice(World(seed=0).statements(), statements):
        texts[statement.family].append(statement.text)
    found = {
        name: measure_fidelity(subject, dictionary, encode_documents(subject, own[:few])) for name, own in texts.items()
    }
    weight = {name: e.kl * e.positions / min(few, len(texts[name])) * len(texts[name]) for name, e in found.items()}
    print("| family | statements | KL | share of all KL | agreement where sure |")
    print("|---|---|---|---|---|")
    for name, own in sorted(weight.items(), key=lambda item: -item[1]):
        e, share = found[name], own / sum(weight.values())
        print(f"| {name} | {len(texts[name]):,} | {e.kl:.4f} | {share:.1%} | {e.agreement_sure:.4f} |")


def show(points: list[dict[str, Any]]) -> None:
    """Print a table, a line a dictionary."""
    print("| dictionary | active | error | KL | agreement where sure | replacement | completeness |")
    print("|---|---|---|---|---|---|---|")
    for p in points:
        print(
            f"| {p['name']} | {p['active']:.2f} | {p['nmse']:.4f} | {p['kl']:.4f} | {p['sure']:.4f} "
            f"| {p['replacement']:.3f} | {p['completeness']:.3f} |"
        )


def drawn(points: list[dict[str, Any]]) -> Figure:
    """Active features against three measures, a line an activation, a star a finished dictionary."""
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    groups: dict[str, list[dict[str, Any]]] = {}
    for point in points:
        groups.setdefault(point["name"].rpartition(":")[0], []).append(point)
    for axis, (measure, title) in zip(figure.subplots(1, 3), TITLES.items(), strict=True):
        for kind, own in groups.items():
            own = sorted(own, key=lambda p: p["active"])
            style = {"marker": "o"} if kind else {"marker": "*", "markersize": 13, "linestyle": ""}
            label = kind or "trained longer"
            axis.plot([p["active"] for p in own], [p[measure] for p in own], label=label, **style)
        axis.axhline(BARS[measure], color="grey", linewidth=0.8, linestyle=":")
        axis.axvline(MOST_ACTIVE, color="grey", linewidth=0.8, linestyle=":")
        axis.set_xscale("log", base=2)
        axis.set_title(title, fontsize=10)
        if measure != "replacement":
            axis.set_yscale("log")
    figure.axes[0].legend(fontsize=8)
    figure.supxlabel("active features a position and layer", fontsize=9)
    return figure


if __name__ == "__main__":
    main()
