"""Tables and pictures of the study `compression`."""

from __future__ import annotations

from clew.studies.case_findings import BLUE, GREY, ORANGE, Picture, Table, new_figure
from clew.studies.charts import legend, open_corner, whiskers
from clew.studies.compression.claims import CompressionMeasures, over_prompts
from clew.studies.compression.measures import MEASURES


def shown(way: str) -> str:
    """What a way is called."""
    kind, _, rest = way.partition(".")
    if kind == "noise":
        return f"noise as long as {shown(rest.rpartition('.')[0])}"
    return {"round": f"int{rest}", "codebook": f"codebook, {rest} bits", "shuffle": "shuffled"}[kind]


def way_table(m: CompressionMeasures) -> Table:
    """Every model beside the original."""
    titles = ("shared influence", "overlap", "top token kept", "divergence")
    rows = []
    for name in m.models:
        shared = over_prompts(m.column(name, "shared"))
        means = [float(m.column(name, measure).mean()) for measure in MEASURES]
        agreed = m.agreement(name).value if f"losses/{name}" in m.found else None
        rows.append((shown(name), float(m.found[f"error/{name}"]), *means, shared.low, shared.high, agreed))
    return Table.of_rows(
        "Compressed models beside the original",
        ("model", "error", *titles, "low", "high", "prediction"),
        rows,
        "`error` is the length of the change of all matrices as a share of their own; `overlap` the sum over features "
        "of the smaller of both shares of influence; `divergence` in nats; low and high belong to the shared "
        "influence; `prediction` is the rank correlation of predicted and measured losses (in the original "
        f"{m.agreement('original').value:.2f}).",
    )


def share_picture(m: CompressionMeasures) -> Picture:
    """Shared influence by error, for rounding, codebook and noise."""
    figure = new_figure(6.4, 3.5)
    axes = figure.subplots()
    kinds = (("round", BLUE, "o"), ("codebook", ORANGE, "D"), ("noise", GREY, "s"))
    for kind, colour, marker in kinds:
        names = m.draws(kind)
        points = [(float(m.found[f"error/{name}"]), over_prompts(m.column(name, "shared"))) for name in names]
        x, y = [error for error, _ in points], [interval.value for _, interval in points]
        error = whiskers([interval for _, interval in points])
        label = {"round": "rounded", "codebook": "codebook", "noise": "noise as long"}[kind]
        axes.errorbar(x, y, yerr=None if kind == "noise" else error, color=colour, marker=marker, markersize=5,
                      capsize=3, linestyle="none", label=label)  # fmt: skip
        for name, place in zip(names, zip(x, y, strict=True), strict=True):
            if kind != "noise":
                axes.annotate(shown(name), place, xytext=(6, 5), textcoords="offset points", fontsize=8)
    axes.set_xlabel("error of the matrices, as a share of their length")
    axes.set_ylabel("shared influence")
    open_corner(axes)
    legend(axes, loc="lower left")
    shuffled = ", ".join(f"{value:.2f}" for value in m.null("shared"))
    return Picture.of(
        figure,
        title="What is left of the circuits",
        text="The share of the original graphs' influence in features that the other model's graphs have too, by how "
        "far the matrices are from the original ones: rounded, coded by a tuned codebook, and with noise as long. "
        f"Models with shuffled matrices share {shuffled}. Whiskers: 95 % over prompts.",
    )


def prediction_picture(m: CompressionMeasures) -> Picture:
    """Losses as the original graph predicts them, beside those measured in the original and at 4 bits."""
    figure = new_figure(6.6, 3.2)
    ways = ("original", "round.4")
    for axes, way in zip(figure.subplots(1, 2, sharex=True, sharey=True), ways, strict=True):
        predicted, measured = m.found["predicted"].flatten(), m.found[f"losses/{way}"].flatten()
        ends = [float(min(predicted.min(), measured.min())), float(max(predicted.max(), measured.max()))]
        axes.plot(ends, ends, color=GREY, linewidth=0.8)
        axes.plot(predicted.tolist(), measured.tolist(), ".", color=BLUE, markersize=5, alpha=0.7)
        name = "original" if way == "original" else shown(way)
        axes.set_title(f"{name}: rank correlation {m.agreement(way).value:.2f}", fontsize=9)
        axes.set_xlabel("predicted loss of the logit")
        open_corner(axes)
        if way == "original":
            axes.set_ylabel("measured")
    return Picture.of(
        figure,
        title="Predictions of the original graph",
        text="Every point is a feature of one prompt: what the answer's logit loses without it, as the original "
        "graph's effects predict and as it is measured in the original model (left) and in the one at 4 bits (right).",
    )
