"""Texts that go on from many prompts, each with edits of its own or none.

Prompts of one length grow together as rows of one batch: nothing is padded, so that each text is what it is alone. Each
row draws by its own seed, and a prompt alone with that seed gives the same text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from clew.dictionary.dictionary import Dictionary
from clew.displays import brief
from clew.errors import InputError
from clew.intervention.batches import Case
from clew.intervention.edit import Edit
from clew.intervention.generate import End, GenerateSettings, Step, Streams, run_streams
from clew.intervention.run import rows_at_once
from clew.progress import Progress
from clew.settings import accepts
from clew.subject.subject import Subject


@dataclass(frozen=True, kw_only=True)
class Generated:
    """How one text went on."""

    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    text: str
    """Of the generated tokens alone."""
    probabilities: tuple[float, ...]
    """Of every token when it was drawn, by the model as edited, at temperature 1."""
    end: End
    seed: int

    def __repr__(self) -> str:
        return f"Generated({brief(self.text)}: {len(self.token_ids)} tokens, ended by {self.end})"


@accepts(GenerateSettings)
def generate_many(
    subject: Subject, dictionary: Dictionary, cases: Sequence[Case], settings: GenerateSettings
) -> list[Generated]:
    """Continue many prompts, the i-th with the seed `settings.seed + i`; errors are those of `generate`, by case."""
    return generate_seeded(subject, dictionary, cases, settings, [settings.seed + i for i in range(len(cases))])


def generate_seeded(
    subject: Subject, dictionary: Dictionary, cases: Sequence[Case], settings: GenerateSettings, seeds: Sequence[int]
) -> list[Generated]:
    """`generate_many` with a seed for every case; InputError where there are not as many."""
    if isinstance(cases, str):
        raise InputError(f"give a list of prompts with their edits: {brief(cases)} is one text")
    if len(seeds) != len(cases):
        raise InputError(f"there are {len(cases)} cases, but {len(seeds)} seeds")
    read = [_encoded(subject, case, number, settings) for number, case in enumerate(cases)]
    results: list[Generated | None] = [None] * len(read)
    by_length: dict[int, list[int]] = {}
    for place, (ids, _) in enumerate(read):
        by_length.setdefault(len(ids), []).append(place)
    for length, places in sorted(by_length.items()):
        size = max(1, rows_at_once(subject, length + settings.tokens) // 2)  # a row may need its twin
        for start in range(0, len(places), size):
            batch = places[start : start + size]
            streams = Streams(subject, dictionary, [read[i] for i in batch], settings)
            steps = list(zip(*run_streams(streams, [seeds[i] for i in batch]), strict=True))
            for place, of_stream in zip(batch, steps, strict=True):
                results[place] = _joined(read[place][0], of_stream, seeds[place])
            done = sum(result is not None for result in results)
            settings.report(Progress(what="generating", done=done, of=len(read), unit="texts"))
    return [result for result in results if result is not None]


def _encoded(
    subject: Subject, case: Case, number: int, settings: GenerateSettings
) -> tuple[tuple[int, ...], tuple[Edit, ...]]:
    try:
        prompt, edits = case
    except (TypeError, ValueError):
        raise InputError(f"case {number} is {case!r:.60}: give a prompt and a list of edits") from None
    return tuple(subject.encode(prompt, add_bos=settings.add_bos).tolist()), tuple(edits)


def _joined(prompt_ids: tuple[int, ...], steps: Sequence[Step | None], seed: int) -> Generated:
    taken = [step for step in steps if step is not None]
    last = taken[-1].end
    assert last is not None, "every stream ends"
    return Generated(
        prompt_ids=prompt_ids,
        token_ids=tuple(step.token_id for step in taken),
        text="".join(step.text for step in taken),
        probabilities=tuple(step.probability for step in taken),
        end=last,
        seed=seed,
    )
