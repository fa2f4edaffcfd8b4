"""Short stories about one person, whose emotional arc is known.

Law: a person, an arc and a length, each uniform; then for every sentence one of its valence's bin that the story has
not used yet, uniform. The question is the last sentence, given all before it.
"""

import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from clew.organism.families import FactRow, Split, Statement, StatementFamily, logsumexp, stable_hash
from clew.organism.social import PERSONS
from clew.organism.tales import ARCS, LENGTHS, SENTENCES, valences

EXAM_STORIES = 60


def families() -> tuple[StatementFamily, ...]:
    """Return the families of this file."""
    return (Stories(),)


def _sentences_logp(path: Sequence[int]) -> float:
    """Return the log probability of one choice of sentences along a path of valences."""
    used: Counter[int] = Counter()
    logp = 0.0
    for valence in path:
        logp -= math.log(len(SENTENCES[valence]) - used[valence])
        used[valence] += 1
    return logp


@dataclass(frozen=True, kw_only=True, eq=False)
class Stories(StatementFamily):
    """Five to seven sentences whose valences follow one of six arcs; arc and valences are in the notes."""

    name = "stories"
    domain = "social"
    weight = 2.0
    templates = ("This is the story of {name}.",)

    def rows(self) -> tuple[FactRow, ...]:
        return ()

    def draw(self, rng: random.Random) -> Statement:
        person = PERSONS[rng.randrange(len(PERSONS))]
        arc = tuple(ARCS)[rng.randrange(len(ARCS))]
        path = valences(arc, LENGTHS[rng.randrange(len(LENGTHS))])
        used: list[str] = []
        for valence in path:
            left = [sentence for sentence in SENTENCES[valence] if sentence not in used]
            used.append(left[rng.randrange(len(left))])
        return self._statement(person, arc, path, used)

    def exam(self, split: Split) -> list[Statement]:
        if split == "held_out":
            return []
        rng = random.Random(stable_hash("exam:stories"))
        return [self.draw(rng) for _ in range(EXAM_STORIES)]

    def entropy(self) -> float:
        paths = [valences(arc, length) for arc in ARCS for length in LENGTHS]
        return math.log(len(PERSONS) * len(paths)) - sum(map(_sentences_logp, paths)) / len(paths)

    def _statement(self, person: dict[str, str], arc: str, path: tuple[int, ...], used: list[str]) -> Statement:
        forms = {key: word for key, word in person.items() if key != "name"}
        forms |= {key.capitalize(): word.capitalize() for key, word in forms.items()}
        sentences = [sentence.format(**forms) for sentence in used]
        prompt = " ".join([self.templates[0].format(**person), *sentences[:-1]])
        choices = math.log(len(ARCS) * len(LENGTHS))
        body = _sentences_logp(path) - choices
        return Statement(
            text=f"{prompt} {sentences[-1]}",
            family=self.name,
            domain="social",
            prompt=prompt,
            answer=" " + sentences[-1],
            fact=f"story:{arc}",
            template=0,
            logp=body - math.log(len(PERSONS)),
            answer_logp=body - self._prefix_logp(path[:-1]) + choices,
            notes={"arc": arc, "valences": path, "name": person["name"]},
        )

    def _prefix_logp(self, prefix: tuple[int, ...]) -> float:
        """Return the log probability of these sentences opening a story, times the number of arcs and lengths."""
        fitting = [
            _sentences_logp(prefix)
            for arc in ARCS
            for length in LENGTHS
            if len(valences(arc, length)) > len(prefix) and valences(arc, length)[: len(prefix)] == prefix
        ]
        return logsumexp(fitting)
