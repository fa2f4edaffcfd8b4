"""Generation under edits against generation without: ours and Hugging Face's own, interleaved, one thread.

    .venv/bin/python benchmarks/generate.py [--rounds 15] [--tokens 100]

Greedy, with keys and values kept, on minnow. Every round runs each case once, in turn; printed are medians of tokens a
second, and each case beside the faster of the two without edits in the same round. Exit code 1 when steering runs
below 80 % of it.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

import clew
from clew import Edit
from clew.intervention.generate import side_by_side

PROMPT = "The capital of France is"
BAR = 0.8
PLAIN = ("Hugging Face generate", "ours, no edit")
STEERED = ("steered, generated tokens", "steered, all tokens", "steered along 8 features")


def cases(tokens: int) -> dict[str, Callable[[], int]]:
    """Each generates on from the prompt and says how many tokens it made."""
    kit = clew.load("minnow")
    subject, dictionary = kit.subject, kit.dictionary
    ids = subject.encode(PROMPT)[None]
    mask = torch.ones_like(ids)
    options = {"max_new_tokens": tokens, "do_sample": False, "use_cache": True}

    def peer() -> int:
        made = subject.model.generate(ids, attention_mask=mask, eos_token_id=None, pad_token_id=0, **options)
        return made.shape[1] - ids.shape[1]

    def ours(*edits: Edit, through: int | None = None) -> Callable[[], int]:
        return lambda: sum(1 for _ in kit.generate(PROMPT, edits, tokens=tokens, through=through, stop=False))

    def pairs() -> int:
        edits = [Edit.ablate("L1/80")]
        return sum(1 for _ in side_by_side(subject, dictionary, PROMPT, edits, tokens=tokens, stop=False))

    return {
        PLAIN[0]: peer,
        PLAIN[1]: ours(),
        STEERED[0]: ours(Edit.steer("L2/83@generated", 1.0)),
        STEERED[1]: ours(Edit.steer("L2/83", 1.0)),
        STEERED[2]: ours(*(Edit.steer(f"L{i % 4}/{i}", 0.5) for i in range(8))),
        "ablated, one layer clamped": ours(Edit.ablate("L1/80")),
        "ablated, three layers clamped": ours(Edit.ablate("L1/80"), through=3),
        "ablated and default in one batch": pairs,
    }


def measure(rounds: int, tokens: int) -> dict[str, list[float]]:
    """Tokens a second of each case, by round; the first round warms up and is left out."""
    made = cases(tokens)
    found: dict[str, list[float]] = {name: [] for name in made}
    for turn in range(rounds + 1):
        for name, run in made.items():
            started = time.perf_counter()
            count = run()
            seconds = time.perf_counter() - started
            assert count == tokens, (name, count)
            if turn:
                found[name].append(count / seconds)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--tokens", type=int, default=100)
    given = parser.parse_args()
    torch.set_num_threads(1)
    found = measure(given.rounds, given.tokens)
    plain = [max(pair) for pair in zip(*(found[name] for name in PLAIN), strict=True)]
    print(f"{platform.machine()}, torch {torch.__version__}, {given.tokens} tokens, medians of {given.rounds} rounds\n")
    missed = False
    for name, rates in found.items():
        ratio = statistics.median(rate / best for rate, best in zip(rates, plain, strict=True))
        bar = f"   bar {BAR:.0%}" if name in STEERED else ""
        missed |= name in STEERED and ratio < BAR
        print(f"{name:34} {statistics.median(rates):7.0f} tokens/s {ratio:8.1%}{bar}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
