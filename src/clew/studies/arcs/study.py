"""The study `arcs`: do stories have shapes, beyond what noise and another order of their sentences give?

1. One number (or one vector) is read for every sentence of every story (`signals`): a direction of the model's stream
   that tells valence, a feature, a lexicon's score.
2. It is averaged over windows of sentences, set on equally many points, centred, and taken apart into components
   (`spectra`).
3. Beside the spectrum stand white noise, a moving average, random walks, and the same stories with their sentences
   shuffled and read anew. Of the small world's stories the arcs are known; they are to be recovered.
4. The absent case shuffles the sentences to begin with.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from clew.errors import InputError
from clew.kit import Kit
from clew.progress import Progress
from clew.studies.arcs.claims import claims_of
from clew.studies.arcs.exhibits import shape_picture, spectrum_picture, spectrum_table, story_table
from clew.studies.arcs.measured import ArcsMeasured
from clew.studies.arcs.signals import (
    LEXICON,
    STREAM,
    VADER,
    VALENCE,
    Reading,
    StreamDirection,
    Vader,
    direction_path,
    feature_named,
    feature_series,
    fit_valence,
    lexicon_missing,
    read_direction,
    read_lexicon,
    sentence_streams,
)
from clew.studies.arcs.stories import StoryText, in_random_order, read_stories, world_stories
from clew.studies.case import Case, Steps
from clew.studies.case_findings import CaseFindings
from clew.studies.config_checks import within
from clew.studies.study import Study, with_settings


@dataclass(frozen=True, kw_only=True)
class ArcsConfig:
    """Settings of the study."""

    texts: Path | None = None
    """Your stories: a CSV or TSV with a column `text`, one story a row. Left out, stories of the small world."""
    signal: str = VALENCE
    """What is followed: valence (a direction of the model's stream, fitted on the small world's sentences), stream (all
    of it, behind the middle layer), a safetensors file with a direction of your own (one tensor L3 [d_model] for the
    stream behind layer 3), a feature such as L3/120, vader, or lexicon."""
    lexicon: Path | None = None
    """A CSV or TSV with the columns word and score, for the signal lexicon."""
    stories: int = 240
    """How many stories of the small world are drawn."""
    window: int = 1
    """Over how many sentences each point is a mean."""
    points: int = 7
    """On how many points every trajectory is set."""
    components: int = 3
    """How many components are claimed of."""
    draws: int = 20
    """How often the sentences of every story are shuffled, and read anew."""
    shuffled: bool = field(default=False, metadata={"option": False})
    """Shuffle the sentences to begin with: the case without arcs."""
    seed: int = 0
    """Seed of stories, orders and noise."""

    def __post_init__(self) -> None:
        within(
            self, stories=(20, 10_000), window=(1, 10_000), points=(4, 500), components=(1, 50), draws=(2, 1000)
        )  # fmt: skip
        if self.components > self.points - 2:
            raise InputError(
                f"components is {self.components}, and {self.points} points have {self.points - 1}: give fewer"
            )
        if self.texts is None and self.window > 3:
            raise InputError(f"window is {self.window}: stories of the small world have 5 sentences, give 1 to 3")
        if wrong := lexicon_missing(self.signal, self.lexicon):
            raise InputError(wrong)

    def read(self) -> list[StoryText]:
        """The stories; errors are those of `read_stories`."""
        stories = (
            world_stories(self.stories, f"arcs: {self.seed}")
            if self.texts is None
            else read_stories(self.texts, self.window)
        )
        return in_random_order(stories, [self.seed, 1]) if self.shuffled else stories


def measure(case: Case[ArcsConfig]) -> Iterator[Progress | CaseFindings]:
    """Measure one case; ends with its CaseFindings."""
    config, kit = case.config, case.kit
    stories = config.read()
    direction = None
    if (path := direction_path(config.signal)) is not None:
        direction = read_direction(path, kit.subject)
    elif config.signal == VALENCE:
        fitted = yield from case.part("direction", _fitted(kit))
        direction = StreamDirection(
            layer=int(fitted["layer"]), direction=fitted["direction"].numpy(), offset=float(fitted["offset"])
        )
    read = yield from case.part("own", _read(kit, config, stories, direction, "stories"))
    shuffled = []
    for draw in range(config.draws):
        others = in_random_order(stories, [config.seed, 2, draw])
        work = _read(kit, config, others, direction, f"shuffled stories, draw {draw + 1} of {config.draws}")
        shuffled.append(_cut(stories, (yield from case.part(f"shuffled.{draw}", work))["values"].numpy()))
    measured = ArcsMeasured(
        stories=stories,
        series=_cut(stories, read["values"].numpy()),
        shuffled=shuffled,
        title=_title(config.signal, direction, kit),
        window=config.window,
        points=config.points,
        components=config.components,
        seed=config.seed,
    )
    yield CaseFindings(
        claims=claims_of(measured),
        tables={"spectrum": spectrum_table(measured), "stories": story_table(measured)},
        figures={"spectrum": spectrum_picture(measured), "shapes": shape_picture(measured)},
    )


def _fitted(kit: Kit) -> Steps:
    fitted = yield from fit_valence(kit.subject)
    return {
        "layer": torch.tensor(fitted.layer),
        "direction": torch.from_numpy(fitted.direction),
        "offset": torch.tensor(fitted.offset, dtype=torch.float64),
    }


def _read(
    kit: Kit, config: ArcsConfig, stories: Sequence[StoryText], direction: StreamDirection | None, what: str
) -> Steps:
    """What is followed in every sentence, the stories' sentences in a row."""
    series = yield from _series(kit, config, stories, direction, what)
    return {"values": torch.from_numpy(np.concatenate(series))}


def _series(
    kit: Kit, config: ArcsConfig, stories: Sequence[StoryText], direction: StreamDirection | None, what: str
) -> Reading:
    if config.signal in (VADER, LEXICON):
        yield Progress(what=what, done=0, of=len(stories), unit="texts")
        score = Vader() if config.lexicon is None else read_lexicon(config.lexicon)
        return [np.array([[score(sentence)] for sentence in story.sentences]) for story in stories]
    if config.signal == STREAM or direction is not None:
        layer = kit.subject.n_layers // 2 if direction is None else direction.layer
        streams = yield from sentence_streams(kit.subject, stories, [layer], what)
        if direction is None:
            return [each[0] for each in streams]
        return [(each[0] @ direction.direction + direction.offset)[:, None] for each in streams]
    return (yield from feature_series(kit, feature_named(config.signal, kit), stories, what))


def _cut(stories: Sequence[StoryText], values: np.ndarray) -> list[np.ndarray]:
    """Rows of all sentences, story by story."""
    ends = np.cumsum([len(story.sentences) for story in stories])
    return np.split(values, ends[:-1])


def _title(signal: str, direction: StreamDirection | None, kit: Kit) -> str:
    if direction is not None and signal != VALENCE:
        return f"the direction of {Path(signal).name} in the stream behind layer {direction.layer}"
    if direction is not None:
        return f"the valence read from the stream behind layer {direction.layer}"
    if signal == STREAM:
        return f"the stream behind layer {kit.subject.n_layers // 2}"
    names = {VADER: "VADER's score", LEXICON: "the lexicon's score"}
    return names.get(signal) or f"the activation of {signal}"


def needs(kit: Kit, config: ArcsConfig) -> str:
    """What the kit lacks; errors of what the config names are raised here, before anything is measured."""
    if config.texts is not None:
        config.read()
    if config.signal == VADER:
        Vader()
    elif config.lexicon is not None:
        read_lexicon(config.lexicon)
    elif kit.subject.tokenizer is None:
        return "its model has no tokenizer, and the stories are text"
    elif (path := direction_path(config.signal)) is not None:
        read_direction(path, kit.subject)
    elif config.signal not in (VALENCE, STREAM):
        feature_named(config.signal, kit)
    return ""


ARCS = Study(
    name="arcs",
    question="Do stories have shapes, beyond those that noise and shuffled text have?",
    source="Reagan et al. 2016, The emotional arcs of stories are dominated by six basic shapes",
    config=ArcsConfig,
    needs=needs,
    measure=measure,
    absent=with_settings(
        "The sentences of every story are shuffled before anything is read: what each says is the same, and no "
        "story has an arc.",
        shuffled=True,
    ),
    reduced=lambda config: None,
    tables=lambda config: (config.texts, config.lexicon, direction_path(config.signal)),
)
