"""What is left of the Leak-Rate without the features that carry the concept, beside matched random features."""

from __future__ import annotations

import numpy as np
import torch

from clew.stats import UNKNOWN, Interval, bootstrap, cluster_sums, null_range, ratio
from clew.studies.case_findings import BLUE, GREY, ORANGE, Picture, Table, new_figure
from clew.studies.charts import banded, legend, open_corner, standing
from clew.studies.claim import Bar, Claim, Null
from clew.studies.leakage.leak_rate import leak_rates, means_of_others, normal
from clew.studies.leakage.rates import Measured, clustered_mean


class LeakAblations:
    """Leak-Rates at temperature 1 with carriers ablated, beside matched random features; the control is left whole."""

    def __init__(self, measured: Measured) -> None:
        self.measured = measured
        chosen = measured.where("associated", "taught")
        self.clusters, concept = measured.clusters(chosen), measured.concepts(chosen)
        plain = measured.answers[chosen]
        kinds = np.array([item.kind for item in measured.ablated_items])
        similarity, control = np.empty_like(plain), np.empty_like(plain)
        for pair in measured.kinds:
            of_kind = kinds == pair.kind
            similarity[of_kind] = pair.similarity[concept[of_kind]]
            control[of_kind] = means_of_others(plain[of_kind], concept[of_kind])
        self.kinds, self.plain = kinds, leak_rates(similarity, plain, control)
        self.rates = {
            name: leak_rates(similarity, normal(rows[:, :-1]), control) for name, rows in measured.ablated.items()
        }
        self.random = [name for name in self.rates if name.startswith("random.")]

    def removed(self, name: str) -> Interval:
        """The share of the excess over 50 that an ablation removes; NaN where there is no excess."""
        terms = np.stack([np.ones(len(self.plain)), self.plain, self.rates[name]])
        share = bootstrap(cluster_sums(terms, self.clusters), lambda s: ratio(s[1] - s[2], s[1] - 50 * s[0]))
        return share if np.isfinite(share.value) else UNKNOWN

    def claim(self) -> Claim:
        """Whether the carriers at the end carry the leak."""
        means, most = self.measured.means, self.measured.sizes[-1]
        sizes = [
            len(drawn)
            for (place, _), m in means.items()
            if place == "end"
            for drawn in m.matched(m.strongest(most), torch.Generator().manual_seed(self.measured.seed))
        ]
        active = float(
            np.mean([float((m.mean > 0).sum(1).float().mean()) for (p, _), m in means.items() if p == "end"])
        )
        clamped = "the last edited layer" if self.measured.through is None else f"layer {self.measured.through}"
        return Claim(
            text=f"The {most} features that carry the concept most at the sentence's last token ({active:.0f} are ever "
            f"active there) carry the leak: ablated, with MLP outputs clamped through {clamped}, they remove most of "
            "the Leak-Rate's excess over 50.",
            value=self.removed(f"end.{most}"),
            null=Null(
                what="matched random active features of the same layers and position",
                draws=tuple(self.removed(name).value for name in self.random),
                size=round(float(np.mean(sizes))),
                tested=most,
            ),
            bar=Bar(low=0.7),
        )

    def table(self) -> Table:
        """By place, number of features and kind of pair."""
        names = ("ablated", "features", "pairs", "Leak-Rate before", "after", "low", "high", "removed", "mass")
        rows = []
        for name in self.rates:
            place, _, size = name.partition(".")
            for kind in (None, *dict.fromkeys(self.kinds)):
                if place == "random" and kind is not None:
                    continue
                chosen = np.ones(len(self.kinds), dtype=bool) if kind is None else self.kinds == kind
                after = clustered_mean(self.rates[name][chosen], self.clusters[chosen])
                before = float(self.plain[chosen].mean())
                rows.append(
                    (
                        f"random set {size}" if place == "random" else f"carriers at the {place}",
                        self.measured.sizes[-1] if place == "random" else int(size),
                        "all" if kind is None else str(kind),
                        before,
                        *after,
                        float(ratio(before - after.value, before - 50)),
                        float(self.measured.ablated[name][chosen, :-1].sum(1).mean()),
                    )
                )
        note = (
            "Associated part, sentences that the corpus holds, temperature 1. `removed` is the share of the excess "
            "over 50; `mass` the probability that is left on the answers."
        )
        return Table.of_rows("Leak-Rates without some features", names, rows, note)

    def picture(self) -> Picture:
        """The Leak-Rate by the number of carriers ablated."""
        figure = new_figure(6.2, 3.4)
        axes = figure.subplots()
        sizes = self.measured.sizes
        for place, colour in (("end", BLUE), ("concept", ORANGE)):
            points = [clustered_mean(self.plain, self.clusters)]
            points += [clustered_mean(self.rates[f"{place}.{size}"], self.clusters) for size in sizes]
            where = "at the sentence's last token" if place == "end" else "at the concept's own token"
            banded(axes, [0, *sizes], points, colour, f"carriers {where}")
        null = null_range([float(self.rates[name].mean()) for name in self.random])
        standing(axes, null, sizes[-1], GREY, label="matched random features at the last token")
        axes.axhline(50, color=GREY, linewidth=0.8, linestyle="--")
        axes.set_xlabel("features ablated for each concept")
        axes.set_ylabel("Leak-Rate at temperature 1")
        open_corner(axes)
        legend(axes)
        return Picture.of(
            figure,
            title="How few features carry the leak",
            text="The Leak-Rate of the associated part falls as the features that carry the concept most are ablated, "
            "those at the sentence's last token (blue) and those at the concept's own token (orange). The grey square "
            "is where matched random features leave it; the broken line is no leak. Shaded: 95 % over concepts.",
        )
