"""The table of methods: what each is, what it needs, what its values count, and who published it."""

from __future__ import annotations

from clew.errors import InputError
from clew.timeseries import (
    activation_maps,
    gradient,
    leftist,
    masks,
    neighbours,
    perturbation,
    search_counterfactuals,
    temporal,
)
from clew.timeseries.question import Method

_ALL = (
    Method(name="integrated-gradients", run=gradient.integrated_gradients, needs="gradient", additive=True,
           samples=50, summary="gradients along the straight line from the baseline", paper="Sundararajan et al. 2017"),
    Method(name="gradient", run=gradient.gradient, needs="gradient",
           summary="the gradient times the difference from the baseline", paper="Shrikumar et al. 2016"),
    Method(name="deep-lift", run=gradient.deep_lift, needs="gradient", additive=True,
           summary="differences from the baseline passed through each nonlinearity", paper="Shrikumar et al. 2017"),
    Method(name="gradient-shap", run=gradient.gradient_shap, needs="gradient", samples=50,
           summary="gradients at random places between reference cases and the case", paper="Erion et al. 2021"),
    Method(name="occlusion", run=perturbation.occlusion, segments="uniform:15",
           summary="a sliding window goes to the baseline", paper="Zeiler and Fergus 2014"),
    Method(name="feature-ablation", run=perturbation.feature_ablation,
           summary="one point or segment after the other goes to the baseline", paper="captum"),
    Method(name="shapley-sampling", run=perturbation.shapley_sampling, additive=True, samples=25,
           segments="uniform:10", summary="what a segment adds, mean over orders", paper="Castro et al. 2009"),
    Method(name="lime", run=perturbation.lime, samples=300, segments="uniform:10",
           summary="a sparse linear model around the case", paper="Ribeiro et al. 2016"),
    Method(name="kernel-shap", run=perturbation.kernel_shap, samples=300, segments="uniform:10", additive=True,
           summary="a linear model weighted for Shapley values", paper="Lundberg and Lee 2017"),
    Method(name="leftist", run=leftist.leftist, samples=300, segments="uniform:10",
           summary="a linear model over segments that are bridged by lines", paper="Guillemé et al. 2019"),
    Method(name="temporal-integrated-gradients", run=temporal.temporal_integrated_gradients, needs="gradient",
           additive=True, samples=10, summary="a path that fills one time after the other", paper="Enguehard 2023"),
    Method(name="temporal-saliency-rescaling", run=temporal.temporal_saliency_rescaling, needs="gradient",
           signed=False, units="change of saliency", samples=8,
           summary="how a saliency map moves without a time, and a channel", paper="Ismail et al. 2020"),
    Method(name="fit", run=temporal.fit, units="nats", signed=False, samples=10, reference=True,
           summary="how much of a prediction's move one channel of a new column tells",
           paper="Tonekaboni et al. 2020"),
    Method(name="dynamask", run=masks.dynamask, needs="gradient", signed=False, units="share kept", samples=150,
           summary="the smallest mask that keeps the prediction", paper="Crabbé and van der Schaar 2021"),
    Method(name="extremal-mask", run=masks.extremal_mask, needs="gradient", signed=False, units="share kept",
           samples=300, summary="a mask learned with what stands for masked points", paper="Enguehard 2023"),
    Method(name="cam", run=activation_maps.cam, needs="activations", units="logit",
           summary="the class's weights times the last features", paper="Zhou et al. 2016"),
    Method(name="grad-cam", run=activation_maps.grad_cam, needs="activations",
           summary="mean gradients times the last features, with its sign", paper="Selvaraju et al. 2017"),
    Method(name="dcam", run=activation_maps.dcam, needs="activations", signed=False, units="map x variance",
           samples=20, summary="class activation with channels, over orders of them", paper="Boniol et al. 2022"),
    Method(name="nearest-unlike-neighbour", run=neighbours.nearest_unlike_neighbour, kind="counterfactual",
           reference=True, summary="the nearest case of the other class", paper="Dasarathy 1995"),
    Method(name="native-guide", run=neighbours.native_guide, kind="counterfactual", reference=True,
           summary="the shortest run copied from the neighbour", paper="Delaney et al. 2021"),
    Method(name="comte", run=neighbours.comte, kind="counterfactual", reference=True,
           summary="the fewest channels copied from near cases", paper="Ates et al. 2021"),
    Method(name="sets", run=neighbours.sets, kind="counterfactual", reference=True,
           summary="shapelets taken away and put in", paper="Bahri et al. 2022"),
    Method(name="tsevo", run=search_counterfactuals.tsevo, kind="counterfactual", reference=True, samples=40,
           summary="evolution over distance, sparsity and prediction", paper="Höllig et al. 2022"),
    Method(name="wachter", run=search_counterfactuals.wachter, kind="counterfactual", needs="gradient",
           reference=True, samples=400, summary="the least change that gradients find", paper="Wachter et al. 2017"),
)  # fmt: skip
METHODS = {method.name: method for method in _ALL}
"""Every method, by its name."""


def method_named(name: str) -> Method:
    """A row of the table; InputError for a name that it does not have."""
    key = name.strip().lower().replace("_", "-")
    if key not in METHODS:
        kinds = {kind: ", ".join(m.name for m in _ALL if m.kind == kind) for kind in ("attribution", "counterfactual")}
        raise InputError(
            f"method={name!r} is not known: attributions are {kinds['attribution']}; counterfactuals are "
            f"{kinds['counterfactual']}"
        )
    return METHODS[key]
