"""What is followed through a story: one number, or one vector, for every sentence.

valence    a direction of the model's stream, fitted on sentences of the small world whose valence is known
stream     the whole stream behind a layer, at the last token of every sentence
FILE       another direction of the stream, from a safetensors file: one tensor [d_model], `L3` behind layer 3
L3/120     a feature's mean activation over the sentence
vader      the compound score of the package vaderSentiment
lexicon    the mean score of a sentence's words, by a user's table

The model reads a story as it is ordered: another order is read anew. Where a story is longer than the model's context,
reading begins again with the sentence that did not fit.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from clew import extras, files
from clew.errors import FileError, InputError
from clew.ids import FeatureId
from clew.kit import Kit
from clew.progress import Progress
from clew.studies.arcs.stories import StoryText, world_stories
from clew.studies.user_rows import read_rows
from clew.subject.subject import Subject

VALENCE, STREAM, VADER, LEXICON = "valence", "stream", "vader", "lexicon"
FITTED = 160
"""Stories of the world on which the direction of valence is fitted; a fourth of them chooses the layer."""
_BATCH, _RIDGE = 64, 1e-2
Series = Float[np.ndarray, "_ d"]
Reading = Generator[Progress, None, list[Series]]


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Sentences that the model reads together, and where each ends."""

    story: int
    ids: tuple[int, ...]
    starts: tuple[int, ...]
    """The first token of every sentence."""
    ends: tuple[int, ...]
    """The last."""


@dataclass(frozen=True, kw_only=True, eq=False)
class StreamDirection:
    """Signal = stream . direction + offset, behind one layer."""

    layer: int
    direction: Float[np.ndarray, " d_model"]
    offset: float


def pieces_of(subject: Subject, stories: Sequence[StoryText]) -> list[Piece]:
    """Every story as token ids, cut before the sentence that no longer fits into the context.

    A sentence that is longer than the context keeps its last tokens.
    """
    room, pieces = subject.context_length, []
    for number, story in enumerate(stories):
        ids = subject.encode(story.opening).tolist() if story.opening else list(subject.start_ids)
        n_start = len(ids)
        starts: list[int] = []
        ends: list[int] = []
        for sentence in story.sentences:
            text = sentence if not ends and not story.opening else f" {sentence}"
            tokens = subject.token_ids(text)
            if len(ids) + len(tokens) > room and ends:
                pieces.append(Piece(story=number, ids=tuple(ids), starts=tuple(starts), ends=tuple(ends)))
                ids, starts, ends = list(subject.start_ids), [], []
                n_start = len(ids)
            tokens = tokens[-(room - n_start) :]
            starts.append(len(ids))
            ids += tokens
            ends.append(len(ids) - 1)
        pieces.append(Piece(story=number, ids=tuple(ids), starts=tuple(starts), ends=tuple(ends)))
    return pieces


def sentence_streams(
    subject: Subject, stories: Sequence[StoryText], layers: Sequence[int], what: str
) -> Generator[Progress, None, list[Float[np.ndarray, "layer _ d_model"]]]:
    """The stream behind some layers at the last token of every sentence."""
    pieces = pieces_of(subject, stories)
    order = sorted(range(len(pieces)), key=lambda place: len(pieces[place].ids))
    found: dict[int, np.ndarray] = {}
    for start in range(0, len(order), _BATCH):
        yield Progress(what=what, done=start, of=len(order), unit="texts")
        batch = order[start : start + _BATCH]
        ids = torch.zeros(len(batch), max(len(pieces[place].ids) for place in batch), dtype=torch.long)
        for row, place in zip(ids, batch, strict=True):
            row[: len(pieces[place].ids)] = torch.tensor(pieces[place].ids)
        seen = subject.capture(ids, ["resid_post"])
        for row, place in enumerate(batch):
            ends = torch.tensor(pieces[place].ends)
            found[place] = _numbers(torch.stack([seen["resid_post", layer][row, ends] for layer in layers]))
    whole: list[list[np.ndarray]] = [[] for _ in stories]
    for place, piece in enumerate(pieces):
        whole[piece.story].append(found[place])
    return [np.concatenate(parts, 1) for parts in whole]


def fit_valence(subject: Subject) -> Generator[Progress, None, StreamDirection]:
    """The direction of valence, by least squares on the world's sentences; the layer is chosen on stories left out."""
    stories, layers = world_stories(FITTED, "arcs: fitted"), range(subject.n_layers)
    streams = yield from sentence_streams(subject, stories, layers, "fit of valence")
    cut, wanted = FITTED * 3 // 4, [np.array(story.valences, dtype=float) for story in stories]
    best: tuple[float, StreamDirection] | None = None
    for layer in layers:
        rows = [each[layer] for each in streams]
        fitted = _fit(layer, np.concatenate(rows[:cut]), np.concatenate(wanted[:cut]))
        left = np.concatenate(rows[cut:]) @ fitted.direction + fitted.offset
        error = float(np.square(left - np.concatenate(wanted[cut:])).mean())
        if best is None or error < best[0]:
            best = error, fitted
    assert best is not None
    return best[1]


def _fit(layer: int, rows: Float[np.ndarray, "row d_model"], wanted: Float[np.ndarray, " row"]) -> StreamDirection:
    """Ridge regression; the penalty is a hundredth of the mean variance of a coordinate."""
    mean, middle = rows.mean(0), float(wanted.mean())
    centred = rows - mean
    products = centred.T @ centred
    penalty = _RIDGE * np.trace(products) / len(products)
    direction = np.linalg.solve(products + penalty * np.eye(len(products)), centred.T @ (wanted - middle))
    return StreamDirection(layer=layer, direction=direction, offset=middle - float(mean @ direction))


def direction_path(signal: str) -> Path | None:
    """The safetensors file that a signal names; None for another signal."""
    return Path(signal) if signal.endswith(".safetensors") else None


def read_direction(path: Path, subject: Subject) -> StreamDirection:
    """A direction of the stream from a file with one tensor, named after the layer behind which it is read: `L3`.

    FileError when the file holds something else, or does not fit the model.
    """
    tensors = files.load_tensors(path)
    names = ", ".join(tensors) or "none"
    if len(tensors) != 1 or not (named := re.fullmatch(r"L(\d+)", names)):
        raise FileError(f"{path} must hold one tensor, named after its layer as in L3: it has {names:.80}")
    layer, vector = int(named[1]), tensors[names]
    if layer >= subject.n_layers:
        raise FileError(f"{path} is of layer {layer}: {subject.name} has the layers 0 to {subject.n_layers - 1}")
    if vector.shape != (subject.d_model,):
        raise FileError(
            f"{path} has the shape {list(vector.shape)}: the stream of {subject.name} is [{subject.d_model}]"
        )
    direction = _numbers(vector)
    if not np.isfinite(direction).all() or not direction.any():
        raise FileError(f"{path} holds no direction: its numbers must be finite, and not all zero")
    return StreamDirection(layer=layer, direction=direction, offset=0.0)


def feature_series(kit: Kit, feature: FeatureId, stories: Sequence[StoryText], what: str) -> Reading:
    """A feature's mean activation over every sentence."""
    pieces = pieces_of(kit.subject, stories)
    whole: list[list[float]] = [[] for _ in stories]
    for place, (piece, read) in enumerate(
        zip(pieces, kit.activations([list(piece.ids) for piece in pieces]), strict=True)
    ):
        if place % _BATCH == 0:
            yield Progress(what=what, done=place, of=len(pieces), unit="texts")
        values = read.layers[feature.layer][:, feature.index].double()
        whole[piece.story] += [
            float(values[start : end + 1].mean()) for start, end in zip(piece.starts, piece.ends, strict=True)
        ]
    return [np.array(values)[:, None] for values in whole]


class Lexicon:
    """Scores of words; a sentence's is the mean over its words that have one, and 0 where none has."""

    def __init__(self, scores: Mapping[str, float]) -> None:
        self._scores = {word.casefold(): score for word, score in scores.items()}

    def __call__(self, sentence: str) -> float:
        words = re.findall(r"\w+(?:['’]\w+)*", sentence.casefold())
        scores = [self._scores[word] for word in words if word in self._scores]
        return float(np.mean(scores)) if scores else 0.0


def read_lexicon(path: Path | str) -> Lexicon:
    """A table with the columns `word` and `score`; FileError, with the line, for a score that is no number."""
    scores: dict[str, float] = {}
    for row in read_rows(path, ("word", "score")):
        try:
            score = float(row.cells["score"])
        except ValueError:
            score = float("nan")
        if not np.isfinite(score):
            raise FileError(f"line {row.line} of {path} has the score {row.cells['score']!r}: give a number")
        scores[row.cells["word"]] = score
    return Lexicon(scores)


class Vader:
    """The compound score of a sentence, -1 to 1 (Hutto and Gilbert 2014); InputError when the package is missing."""

    def __init__(self) -> None:
        if not extras.installed("vaderSentiment"):
            raise InputError("the signal vader needs the package vaderSentiment: pip install vaderSentiment")
        self._analyser = import_module("vaderSentiment.vaderSentiment").SentimentIntensityAnalyzer()

    def __call__(self, sentence: str) -> float:
        return float(self._analyser.polarity_scores(sentence)["compound"])


def feature_named(signal: str, kit: Kit) -> FeatureId:
    """The feature that a signal names; InputError when it is no feature of the kit, or no signal at all."""
    try:
        feature = FeatureId.parse(signal)
    except InputError:
        names = ", ".join((VALENCE, STREAM, VADER, LEXICON))
        raise InputError(
            f"no signal {signal!r}: give {names}, a .safetensors file, or a feature such as L3/120"
        ) from None
    if feature.layer not in kit.dictionary.layers or feature.index >= kit.dictionary.d_features(feature.layer):
        raise InputError(f"there is no feature {signal} in {kit.dictionary.name}")
    return feature


def lexicon_missing(signal: str, lexicon: Path | None) -> str:
    """What is wrong between a signal and its table, in words for an error; empty for nothing."""
    if signal == LEXICON and lexicon is None:
        return "the signal lexicon needs a table with the columns word and score: give --lexicon FILE"
    if signal != LEXICON and lexicon is not None:
        return f"a lexicon is given, and the signal is {signal!r}: give --signal lexicon with it"
    return ""


def _numbers(values: Tensor) -> np.ndarray:
    array: np.ndarray = values.detach().double().cpu().numpy()
    return array
