"""Text that goes on under edits, token by token, beside the text that goes on without.

Semantics are *live*: each token is drawn from what `effect` measures at that position of the finished text, with
`generated` positions being those behind the prompt. Keys and values are kept, so a token costs one step of the model.

1. Every stream is a row of one batch. A row whose clamped outputs need the run without edits gets that run on its own
   text as a twin beside it; where nothing upstream of the clamped outputs changes, the row is its own base.
2. The prompt runs once; then each row runs on its stream's last token.
3. A token is the argmax of log-probability over temperature plus Gumbel noise. The noise is drawn once a step and seed,
   whatever the edits: streams of one seed differ by their edits only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, ParamSpec, Protocol, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clew.dictionary.dictionary import Dictionary
from clew.errors import InputError
from clew.intervention.clamp import Clamp, EditedRow, needs_base
from clew.intervention.edit import Edit, check
from clew.settings import Settings, accepts, option, with_keywords
from clew.subject.positions import first_counted
from clew.subject.subject import Prompt, Subject

End = Literal["eos", "tokens", "context"]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One generated token."""

    token_id: int
    position: int
    """Counted from the first token of the prompt."""
    text: str
    """What the text grows by. A part of a character waits for the rest, so that all texts together are the text."""
    probability: float
    """By the model as edited, at temperature 1."""
    logits: Float[Tensor, " vocab"] = field(repr=False, compare=False)
    """What the token was drawn from, before a final soft-cap."""
    end: End | None = None
    """Why this token is the last: a token that ends texts, as many tokens as asked for, a full context."""


@dataclass(frozen=True, kw_only=True)
class GenerateSettings(Settings):
    """How a text goes on. InputError for a value without meaning."""

    tokens: int = 20
    """Tokens to generate, at most."""
    temperature: float = 0.0
    """0 takes the likeliest token."""
    top_p: float = 1.0
    """Draw from the smallest set of tokens that has this probability, at the given temperature."""
    seed: int = 0
    """Seed of the draws: the same for texts with and without edits."""
    stop: bool = True
    """End at a token that ends texts."""
    through: int | None = None
    """Clamp MLP outputs up to this layer e; left out, the last edited one."""
    leave_out_first: bool = True
    """Never edit the first position when its token is a special one, or it is measured to be an attention sink."""
    add_bos: bool = field(default=True, metadata=option("--add-bos/--no-bos", kind=bool))
    """Begin a text with what the tokenizer puts there, or its BOS."""

    def __post_init__(self) -> None:
        if self.tokens < 1:
            raise InputError(f"tokens={self.tokens}: generate at least one")
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise InputError(f"temperature={self.temperature}: give 0 or a positive number")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p={self.top_p}: give a probability above 0, at most 1")


P = ParamSpec("P")
S = TypeVar("S")


class _Generates(Protocol[P]):
    """The typed form of `generate`: edits may be left out."""

    def __call__(
        self,
        subject: Subject,
        dictionary: Dictionary,
        prompt: Prompt,
        edits: Sequence[Edit] = (),
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Iterator[Step]: ...


def _generates(kind: Callable[P, S]) -> Callable[[Callable[..., Iterator[Step]]], _Generates[P]]:
    return lambda verb: with_keywords(verb, kind)


@_generates(GenerateSettings)
def generate(
    subject: Subject, dictionary: Dictionary, prompt: Prompt, edits: Sequence[Edit] = (), *, settings: GenerateSettings
) -> Iterator[Step]:
    """Continue a prompt under edits, or without any; what is impossible is refused before the first token.

    Errors are those of `effects`. The last Step says why the text ends.
    """
    return generate_with(subject, dictionary, prompt, edits, settings)


def generate_with(
    subject: Subject, dictionary: Dictionary, prompt: Prompt, edits: Sequence[Edit], settings: GenerateSettings
) -> Iterator[Step]:
    """`generate` with its settings as a value."""
    streams = Streams(subject, dictionary, [(prompt, edits)], settings)
    return (step for (step,) in run_streams(streams) if step is not None)


@accepts(GenerateSettings)
def side_by_side(
    subject: Subject, dictionary: Dictionary, prompt: Prompt, edits: Sequence[Edit], settings: GenerateSettings
) -> Iterator[tuple[Step | None, Step | None]]:
    """The default and the edited continuation in one batch, each with its own tokens; None for one that has ended.

    InputError when there are no edits; other errors are those of `effects`.
    """
    if not edits:
        raise InputError("no edit is given: name at least one, for example Edit.ablate('L3/1207@4')")
    streams = Streams(subject, dictionary, [(prompt, ()), (prompt, edits)], settings)
    return ((default, edited) for default, edited in run_streams(streams))


def run_streams(streams: Streams, seeds: Sequence[int] | None = None) -> Iterator[tuple[Step | None, ...]]:
    """Every stream's next token, step by step; None for one that has ended. Each draws by its own seed, if it has one.

    Streams of one seed draw by the same noise, so that they differ by their edits and prompts only.
    """
    subject, n_prompt, settings = streams.subject, streams.n_prompt, streams.settings
    chosen = _Choice(subject, settings, [settings.seed] * streams.count if seeds is None else seeds)
    texts = [_Text(subject, prompt.tolist()) for prompt in streams.prompts]
    ended, ends = [False] * streams.count, _ends(subject) if settings.stop else set()
    logits = streams.start()
    for position in range(n_prompt, n_prompt + settings.tokens):
        tokens, probabilities = chosen(logits)
        steps: list[Step | None] = []
        for stream, token in enumerate(tokens):
            if ended[stream]:
                steps.append(None)
                continue
            end = _end(token in ends, position, n_prompt + settings.tokens, subject.context_length)
            ended[stream] = end is not None
            steps.append(
                Step(
                    token_id=token,
                    position=position,
                    text=texts[stream].add(token, last=ended[stream]),
                    probability=probabilities[stream],
                    logits=logits[stream],
                    end=end,
                )
            )
        yield tuple(steps)
        if all(ended):
            return
        logits = streams.advance(tokens)


def _end(is_last: bool, position: int, stop: int, context: int) -> End | None:
    if is_last:
        return "eos"
    return "tokens" if position + 1 == stop else "context" if position >= context else None


def _ends(subject: Subject) -> set[int]:
    """The tokens that end a text, by the model's and its tokenizer's configuration."""
    ends: set[int] = set()
    for source in (subject.config, getattr(subject.model, "generation_config", None), subject.tokenizer):
        ids = getattr(source, "eos_token_id", None)
        ends |= set(ids) if isinstance(ids, list | tuple) else {ids} if ids is not None else set()
    return ends


class Streams:
    """The rows of a batch that grows by one token a step, and which of them each stream is read from.

    Every stream has its prompt and edits; the prompts are of one length.
    """

    def __init__(
        self,
        subject: Subject,
        dictionary: Dictionary,
        cases: Sequence[tuple[Prompt, Sequence[Edit]]],
        settings: GenerateSettings,
    ) -> None:
        dictionary.check_fits(subject)
        dictionary.check_order()
        self.subject, self.settings, self.count = subject, settings, len(cases)
        same: dict[int, Int[Tensor, " pos"]] = {}  # prompts of several streams, by where they are in memory
        self.prompts = [
            same[id(prompt)]
            if id(prompt) in same
            else same.setdefault(id(prompt), subject.encode(prompt, add_bos=settings.add_bos))
            for prompt, _ in cases
        ]
        self.n_prompt = n_prompt = len(self.prompts[0])
        rows: list[EditedRow] = []
        self.stream_of: list[int] = []
        self.row_of: list[int] = []
        firsts: dict[int, int] = {}
        for stream, (_, edits) in enumerate(cases):
            ids = self.prompts[stream]
            if id(ids) not in firsts:
                firsts[id(ids)] = first_counted(subject, ids) if settings.leave_out_first else 0
            first = firsts[id(ids)]
            limits: dict[str, Any] = {"n_positions": n_prompt, "first": first, "growing": settings.tokens}
            e = check(edits, dictionary, through=settings.through, **limits) if edits else 0
            twin = needs_base(dictionary, edits, e)
            if twin:
                rows.append(EditedRow(edits=(), base=len(rows), n_prompt=n_prompt, first=first, through=e))
            base = len(rows) - twin
            self.row_of.append(len(rows))
            rows.append(EditedRow(edits=tuple(edits), base=base, n_prompt=n_prompt, first=first, through=e))
            self.stream_of += [stream] * (1 + twin)
        self.clamp = Clamp(dictionary, rows)
        self.cache, self.seen = subject.new_cache(), 0

    def start(self) -> Float[Tensor, "stream vocab"]:
        """Run the prompts: each stream's logits of its first token."""
        return self._extend(torch.stack([self.prompts[stream] for stream in self.stream_of]))

    def advance(self, tokens: Sequence[int]) -> Float[Tensor, "stream vocab"]:
        """Append a token to each stream: its logits of the next."""
        ids = [[tokens[stream]] for stream in self.stream_of]
        return self._extend(torch.tensor(ids, device=self.prompts[0].device))

    @torch.no_grad()
    def _extend(self, ids: Int[Tensor, "row pos"]) -> Float[Tensor, "stream vocab"]:
        changes = self.clamp.changes(self.seen, ids.shape[1])
        run = self.subject.run(ids, change=changes, reads=self.clamp.reads, cache=self.cache)
        self.seen += ids.shape[1]
        rows = torch.tensor(self.row_of, device=run.final.device)
        return self.subject.unembed(run.final[rows, -1])


class _Choice:
    """The next token of every stream, by noise that is drawn from the stream's seed."""

    def __init__(self, subject: Subject, settings: GenerateSettings, seeds: Sequence[int]) -> None:
        self.subject, self.settings = subject, settings
        self.seed_of, self.generators = seeds, {seed: torch.Generator().manual_seed(seed) for seed in seeds}

    def __call__(self, logits: Float[Tensor, "stream vocab"]) -> tuple[list[int], list[float]]:
        probabilities = self.subject.probabilities(logits)
        tokens = logits.argmax(-1) if self.settings.temperature == 0 else self._drawn(probabilities)
        return tokens.tolist(), probabilities.gather(1, tokens[:, None])[:, 0].tolist()

    def _drawn(self, probabilities: Float[Tensor, "stream vocab"]) -> Int[Tensor, " stream"]:
        logs = probabilities.double().log()
        logs = torch.log_softmax((logs - logs.amax(-1, keepdim=True)) / self.settings.temperature, -1)
        if self.settings.top_p < 1:
            ordered, order = torch.sort(logs.exp(), dim=-1, descending=True, stable=True)
            outside = ordered.cumsum(-1) - ordered >= self.settings.top_p
            logs = logs.masked_fill(torch.zeros_like(outside).scatter(-1, order, outside), -math.inf)
        n_vocab = logs.shape[-1]
        drawn = {
            seed: torch.rand(n_vocab, generator=generator, dtype=torch.float64)
            for seed, generator in self.generators.items()
        }
        uniform = torch.stack([drawn[seed] for seed in self.seed_of]).to(logs.device)
        return (logs - (-uniform.log()).log()).argmax(-1)


class _Text:
    """A growing text. A token may end inside a character; what is not yet one is held back until it is, or the end."""

    def __init__(self, subject: Subject, prompt: list[int]) -> None:
        self.subject, self.ids, self.read = subject, prompt, len(prompt)
        self.shown = "" if subject.tokenizer is None else self._decode().rstrip("\ufffd")

    def add(self, token: int, *, last: bool) -> str:
        """What the text grows by with one more token; one that the tokenizer does not know is shown as its id."""
        name = self.subject.token_strings([token])[0]
        if self.subject.tokenizer is None:
            return name
        if name == f"#{token}":
            return self._grown(last=last) + name
        self.ids.append(token)
        return self._grown(last=last)

    def _grown(self, *, last: bool) -> str:
        text = self._decode()
        whole = text if last else text.rstrip("\ufffd")
        if not whole.startswith(self.shown) or whole == self.shown:
            return ""
        new, self.shown = whole[len(self.shown) :], whole
        if whole == text:  # the tokens since the text was last whole are enough to say how the next one joins
            self.ids, self.read = self.ids[self.read :], len(self.ids) - self.read
            self.shown = self._decode()
        return new

    def _decode(self) -> str:
        tokenizer = self.subject.tokenizer
        assert tokenizer is not None
        return tokenizer.decode(self.ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
