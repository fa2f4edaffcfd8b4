"""What a training run measured of itself, as a table: one row a report, kept as Parquet beside a picture."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clew import files
from clew.errors import FileError
from clew.runs.fidelity import Fidelity
from clew.training.trainer import TrainingReport

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HELD_OUT = ("agreement", "agreement_sure", "kl", "loss_recovered")

ENVELOPE = files.Envelope(format="clew.metrics", schema=1, what="table of a run")


@dataclass(frozen=True)
class Metrics:
    """The reports of a run so far, oldest first; columns are step, tokens, seconds and what was measured."""

    rows: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def load(cls, path: Path | str, *, until: int) -> Metrics:
        """What an earlier part of the run measured up to a step; nothing when there is no such file.

        FileError when it is damaged, another program's or of a newer schema.
        """
        if not Path(path).is_file():
            return cls()
        ENVELOPE.check_note(files.table_note(path), path)
        columns = files.read_table(path)
        if "step" not in columns:
            raise FileError(f"{path} has no column of steps: it is damaged, remove it to go on without it")
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        return cls([row for row in rows if row["step"] <= until])

    def add(self, report: TrainingReport, *, batch: int, seconds: float, held_out: Fidelity | None) -> None:
        """Append a report; `held_out` is what was measured on text that is not trained on, if it was this time."""
        row: dict[str, Any] = {
            "step": report.step,
            "tokens": report.step * batch,
            "seconds": seconds,
            "tokens_per_second": report.tokens_per_second,
            "loss": report.loss,
            "dead": report.dead,
        }
        row |= {f"nmse_{layer}": value for layer, value in enumerate(report.nmse)}
        row |= {f"l0_{layer}": value for layer, value in enumerate(report.l0)}
        for name in HELD_OUT:
            row[f"held_out_{name}"] = None if held_out is None else getattr(held_out.replaced, name)
        self.rows.append(row)

    def columns(self) -> dict[str, list[Any]]:
        """The table by column."""
        return {name: [row[name] for row in self.rows] for name in self.rows[0]} if self.rows else {}

    def save(self, path: Path | str) -> None:
        """Write the table as Parquet, atomically."""
        if self.rows:
            files.write_table(path, self.columns(), ENVELOPE.note())

    def figure(self) -> Figure:
        """Error and active features of every layer, dead features and held-out quality, over the tokens seen."""
        from matplotlib.figure import Figure

        columns = self.columns()
        figure = Figure(figsize=(10, 7), layout="constrained")
        axes = figure.subplots(2, 2, sharex=True)
        tokens = columns["tokens"]
        for axis, prefix, title in ((axes[0, 0], "nmse_", "relative squared error"), (axes[0, 1], "l0_", "active")):
            layers = [name for name in columns if name.startswith(prefix)]
            for name in layers:
                shade = 0.15 + 0.75 * int(name.removeprefix(prefix)) / max(1, len(layers) - 1)
                axis.plot(tokens, columns[name], color=(shade, 0.35, 1 - shade), label=f"L{name.removeprefix(prefix)}")
            axis.set(title=f"{title}, by layer", yscale="log")
            axis.legend(fontsize=7, ncols=3)
        axes[1, 0].plot(tokens, columns["dead"], color="black")
        axes[1, 0].set(title="share of dead features", xlabel="positions", ylim=(0, None))
        for name in ("agreement", "agreement_sure", "loss_recovered"):
            values = columns[f"held_out_{name}"]
            seen = [(t, v) for t, v in zip(tokens, values, strict=True) if v is not None]
            axes[1, 1].plot(
                *zip(*seen, strict=True) if seen else ([], []), marker="o", markersize=3, label=_WORDS[name]
            )
        axes[1, 1].set(title="all layers replaced, held-out text", xlabel="positions")
        axes[1, 1].legend(fontsize=8)
        return figure


_WORDS = {
    "agreement": "agreement",
    "agreement_sure": "agreement where the model is sure",
    "loss_recovered": "loss recovered",
}
