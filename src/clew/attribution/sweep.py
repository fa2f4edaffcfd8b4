"""The adjoint sweep: rows of the attribution matrix, without autograd and without another forward pass.

A *reader* is what a row belongs to: the encoder of an active feature, or the direction of a target. A block of readers
is walked backwards through the Recording's steps. `gradient[register]` is [pos, d_model, reader]: how much each reader
would gain from each entry of the register. Readers come sorted from the last layer to the first, so that those in play
are always the first n.

1. Where a reader reads, its direction joins the gradient at the reader's position.
2. Where the Dictionary writes, the gradient is contracted with everything written there, one matrix product a position.
   Behind the write lies nothing linear but a skip connection, and for effects what responds without a row (`rest`):
   their gradients wait for the read site.
3. At every other step the gradient goes through the transpose. What the step adds by itself goes to the offset `bias`.
4. At the start the tokens and the learned positions are contracted, and the rows are complete.

The same walk over steps with their full derivative (`subject.jacobian`) gives *effects*, where patterns and norm scales
follow what changes, in place of *values*, where they are held. It has no offsets.

Three things save work. A norm that only an attention reads is folded into that attention's weights, so that the walk
passes it at no cost. A reader that has just joined has a gradient at one position only, up to its first attention. And
before the first site of the Dictionary the stream holds nothing but tokens, positions and biases: in a short prompt
these are pushed forward to there once, so that no reader need be walked back through the first attention.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clew.attribution.nodes import OFFSETS
from clew.attribution.rest import Rest
from clew.attribution.sources import Sources
from clew.subject.jacobian import AttendJacobian, FullStep, NormalizeJacobian
from clew.subject.recording import Add, Affine, Attend, Embed, Mlp, Normalize, Recording, Site, SiteAt, Step, Unembed

_Mapped = Normalize | NormalizeJacobian | Affine | Attend | AttendJacobian
_MOST_IMAGES = 1 << 22  # entries of the images of tokens and biases at the start; a longer prompt has none
_BIAS, _POSITION, _SINK = OFFSETS.index("bias"), OFFSETS.index("position"), OFFSETS.index("sink")


@dataclass(frozen=True)
class Readers:
    """Readers at one site: directions that act there, positions, constant parts."""

    directions: Float[Tensor, "reader d_model"]
    positions: Int[Tensor, " reader"]
    biases: Float[Tensor, " reader"]

    def __len__(self) -> int:
        return len(self.positions)


@dataclass(frozen=True)
class Block:
    """Readers to sweep together: targets first, then the features that read each layer, from the last to the first."""

    targets: Readers | None
    features: Sequence[tuple[int, Readers]]
    target_site: SiteAt | None = None
    """Where the targets read: a site, or (None) what is unembedded."""

    @property
    def n_readers(self) -> int:
        return sum(len(readers) for _, readers in self.features) + (0 if self.targets is None else len(self.targets))

    @property
    def last_position(self) -> int:
        readers = [r for _, r in self.features] + ([] if self.targets is None else [self.targets])
        return max(int(r.positions.max()) for r in readers)


@dataclass(frozen=True)
class _Points:
    """A gradient with one position a reader: that of readers which have just joined."""

    first: int
    positions: Int[Tensor, " reader"]
    vectors: Float[Tensor, "reader d_model"]


def program(recording: Recording) -> list[Step]:
    """The steps to walk: those of the Recording, with a norm folded into the attention that alone reads it."""
    steps: list[Step] = []
    for step in recording.steps:
        match step, steps[-2:]:
            case Attend() as attend, [Normalize() as normalize, Affine() as affine] if (
                attend.source == affine.target == affine.source == normalize.target != normalize.source
            ):
                steps[-2:] = [attend.after(normalize, affine)]
            case _:
                steps.append(step)
    return steps


@dataclass(frozen=True)
class Start:
    """What the registers hold where the walk ends, by cause: a column a token, one for positions, one for biases."""

    images: dict[str, Float[Tensor, "pos d_model cause"]]


def shortened(steps: Sequence[FullStep], sites: Container[tuple[str, int]]) -> list[FullStep | Start]:
    """The steps from the first of `sites` on, after a Start; as they are when the prompt is too long for its images."""
    embed = steps[0]
    assert isinstance(embed, Embed)
    n_pos, width = embed.tokens.shape
    if n_pos * width * (n_pos + 2) > _MOST_IMAGES:
        return list(steps)
    causes = embed.tokens.new_zeros(n_pos + 2, n_pos, width)
    diagonal = torch.arange(n_pos, device=causes.device)
    causes[diagonal, diagonal] = embed.tokens
    if embed.positions is not None:
        causes[n_pos] = embed.positions
    registers = {embed.target: causes}
    rest = list(steps[1:])
    while True:
        step = rest[0]
        match step:
            case Normalize() | Affine() | Attend() | NormalizeJacobian() | AttendJacobian():
                moved = step.forward(registers[step.source])
                constant = step.constant() if isinstance(step, Affine | Attend) else None
                if constant is not None:
                    moved[:-1] -= constant
                registers[step.target] = moved
            case Add():
                registers[step.target] = registers[step.target] + registers[step.source]
            case Site() if (step.name, step.layer) not in sites:
                pass
            case _:
                break
        rest.pop(0)
    return [Start({name: image.permute(1, 2, 0).contiguous() for name, image in registers.items()}), *rest]


class Sweep:
    """Fills rows of the attribution matrix for blocks of readers of one prompt."""

    def __init__(
        self,
        sources: Sources,
        *,
        full_steps: Sequence[FullStep] | None = None,
        target_site: SiteAt | None = None,
        rest: Rest | None = None,
    ) -> None:
        """Effects over `full_steps`, or without them values; a `rest` responds to what reaches it."""
        self.sources, self.rest = sources, rest
        dictionary, layers = sources.dictionary, range(sources.n_layers)
        sites = {(name, layer) for name in (dictionary.read_site, dictionary.write_site) for layer in layers}
        sites |= {target_site} if target_site is not None else set()
        steps: Sequence[FullStep] = program(sources.recording) if full_steps is None else full_steps
        self.steps = shortened(steps, sites)
        self.attended = {step.target for step in self.steps if isinstance(step, Attend | AttendJacobian)}
        offset = (Attend, Affine) if full_steps is None else ()
        self.constants = [step.constant() if isinstance(step, offset) else None for step in self.steps]

    def run(self, block: Block, rows: Float[Tensor, "reader col"], offsets: Float[Tensor, "reader 4"]) -> None:
        """Sweep one block; `rows` and `offsets` must be zero and are filled in place, readers in the block's order."""
        _Walk(self, block, rows, offsets).walk()


class _Walk:
    """The state of one block on its way from the unembedding to the embedding."""

    def __init__(self, sweep: Sweep, block: Block, rows: Tensor, offsets: Tensor) -> None:
        self.sweep, self.sources, self.block = sweep, sweep.sources, block
        self.rows, self.offsets = rows, offsets
        self.n_positions = block.last_position + 1
        self.dense: dict[str, Tensor] = {}
        self.points: dict[str, _Points] = {}
        self.waiting: dict[int, Tensor] = {}  # gradients on skip connections and on the rest, by the layer that reads
        self.n_joined = 0
        self.by_layer = dict(block.features)
        dictionary = sweep.sources.dictionary
        self.read_site, self.write_site = dictionary.read_site, dictionary.write_site

    def walk(self) -> None:
        for step, constant in zip(reversed(self.sweep.steps), reversed(self.sweep.constants), strict=True):
            match step:
                case Unembed():
                    if self.block.targets is not None and self.block.target_site is None:
                        self._join(step.source, self.block.targets)
                case Site():
                    self._site(step)
                case Add():
                    self._add(step)
                case Mlp():
                    self.dense.pop(step.target, None)
                case Embed():
                    self._embed(step)
                case Start():
                    self._start(step)
                case _:
                    self._through(step, constant)

    # --- readers ----------------------------------------------------------------------------------------------

    def _site(self, site: Site) -> None:
        if site.name == self.write_site:
            self._contract(site)
        if site.name == self.read_site:
            if site.layer in self.waiting:
                self._gain(site.register, self.waiting.pop(site.layer))
            if site.layer in self.by_layer:
                self._join(site.register, self.by_layer[site.layer])
        if (site.name, site.layer) == self.block.target_site and self.block.targets is not None:
            self._join(site.register, self.block.targets)

    def _join(self, register: str, readers: Readers) -> None:
        points = _Points(self.n_joined, readers.positions, readers.directions)
        self.n_joined += len(readers)
        self.offsets[points.first : self.n_joined, _BIAS] += readers.biases
        self._hold(register, points)

    def _hold(self, register: str, points: _Points) -> None:
        """Keep points as such until something needs the register's whole gradient; a register has one group of them."""
        self._settle(register)
        self.points[register] = points

    def _settle(self, register: str, moved: Tensor | None = None) -> None:
        """Widen a register's gradient by its points, put onto `moved` (their other part) where that is given."""
        points = self.points.pop(register, None)
        if points is None:
            return
        gradient, n_new = self.dense.get(register), len(points.positions)
        wide = points.vectors.new_empty(self.n_positions, points.vectors.shape[1], points.first + n_new)
        n_old = 0 if gradient is None else gradient.shape[2]
        wide[:, :, n_old : points.first] = 0
        if gradient is not None:
            wide[:, :, :n_old] = gradient
        wide[:, :, points.first :] = 0 if moved is None else moved
        members = torch.arange(points.first, points.first + n_new, device=wide.device)
        wide[points.positions, :, members] += points.vectors
        self.dense[register] = wide

    # --- steps ------------------------------------------------------------------------------------------------

    def _add(self, step: Add) -> None:
        if step.target in self.points:
            if step.source in self.sweep.attended:
                self.points[step.source] = self.points[step.target]
            else:
                self._settle(step.target)
        if step.target in self.dense:
            self.dense[step.source] = self.dense[step.target]

    def _through(self, step: _Mapped, constant: Tensor | None) -> None:
        points, gradient = self.points.pop(step.target, None), self.dense.pop(step.target, None)
        if gradient is not None:
            if constant is not None:
                self._add_offset(_BIAS, gradient, constant)
            self._gain(step.source, step.transpose(gradient))
        if points is None:
            return
        if isinstance(step, Attend | AttendJacobian):
            self._points_attend(step, points, constant)
        else:
            self._points_through(step, points, constant)

    def _gain(self, register: str, moved: Tensor) -> None:
        """Add to a register's gradient, in place unless another register still shares it."""
        gradient = self.dense.get(register)
        if gradient is None:
            self.dense[register] = moved
            return
        if any(other is gradient for name, other in self.dense.items() if name != register):
            gradient = self.dense[register] = gradient.clone()
        gradient[:, :, : moved.shape[2]] += moved

    def _points_through(
        self, step: Normalize | NormalizeJacobian | Affine, points: _Points, constant: Tensor | None
    ) -> None:
        """A norm maps a joined reader as it maps any gradient, only at that reader's position."""
        if constant is not None:
            self.offsets[points.first : points.first + len(points.positions), _BIAS] += points.vectors @ constant
        vectors = step.transpose_points(points.positions, points.vectors)
        self._hold(step.source, _Points(points.first, points.positions, vectors))

    def _points_attend(self, step: Attend | AttendJacobian, points: _Points, constant: Tensor | None) -> None:
        """The first attention behind readers spreads them over the positions, where they join the stream's gradient."""
        if constant is not None:
            offsets = (points.vectors * constant[points.positions]).sum(1)
            self.offsets[points.first : points.first + len(offsets), _BIAS] += offsets
        moved = step.transpose_at(points.positions, points.vectors, self.n_positions)
        assert self.points[step.source].first == points.first, "they wait on the stream since it was added to"
        self._settle(step.source, moved)

    def _add_offset(self, which: int, gradient: Tensor, constant: Tensor) -> None:
        n_pos, _, n_readers = gradient.shape
        constant = constant[:n_pos] if constant.ndim == 2 else constant.expand(n_pos, -1)
        self.offsets[:n_readers, which] += torch.bmm(constant[:, None], gradient).sum((0, 1))

    # --- sources ----------------------------------------------------------------------------------------------

    def _contract(self, site: Site) -> None:
        gradient = self.dense.pop(site.register, None)
        if gradient is None:
            return
        sources, layer, first = self.sources, site.layer, self.sources.first_position
        n_readers = gradient.shape[2]
        columns, at_positions = self.rows[:n_readers].T, gradient.unbind(0)
        for position, first_column, last_column, written in sources.pieces(layer):
            if position >= self.n_positions:
                break
            columns[first_column:last_column].addmm_(written, at_positions[position])
        if first:
            self.offsets[:n_readers, _SINK] += sources.sink[layer] @ gradient[0]
        rest = gradient[first:]
        bias = sources.bias(layer)
        if len(rest) and bool(bias.any()):
            self._add_offset(_BIAS, rest, bias)
        skip = sources.skip(layer)
        if skip is not None:
            back = torch.matmul(skip.T, gradient)
            back[:first] = 0
            self._wait(layer, back)
        if self.sweep.rest is not None:
            for read, back in self.sweep.rest.back(layer, gradient):
                self._wait(read, back)

    def _wait(self, layer: int, back: Tensor) -> None:
        """Keep a gradient for what a layer reads; one that came earlier is of fewer readers."""
        earlier = self.waiting.get(layer)
        if earlier is not None:
            back[:, :, : earlier.shape[2]] += earlier
        self.waiting[layer] = back

    def _start(self, start: Start) -> None:
        """Contract with what each cause put into the registers."""
        n_pos, n_causes = self.n_positions, next(iter(start.images.values())).shape[2]
        gains = self.offsets.new_zeros(len(self.offsets), n_causes)
        for name, image in start.images.items():
            gradient, points = self.dense.get(name), self.points.get(name)
            if gradient is not None:
                gains[: gradient.shape[2]] += gradient.flatten(0, 1).T @ image[:n_pos].flatten(0, 1)
            if points is not None:
                for position in torch.unique(points.positions).tolist():
                    readers = (points.positions == position).nonzero()[:, 0]
                    gains[points.first + readers] += points.vectors[readers] @ image[position]
        self.rows[:, self.sources.token_columns[:n_pos]] += gains[:, :n_pos]
        self.offsets[:, _POSITION] += gains[:, -2]
        self.offsets[:, _BIAS] += gains[:, -1]

    def _embed(self, step: Embed) -> None:
        self._settle(step.target)
        gradient = self.dense.pop(step.target, None)
        if gradient is None:
            return
        n_pos, _, n_readers = gradient.shape
        columns = self.sources.token_columns[:n_pos]
        self.rows[:n_readers, columns] += torch.bmm(step.tokens[:n_pos, None], gradient)[:, 0].T
        if step.positions is not None:
            self._add_offset(_POSITION, gradient, step.positions)
