"""Models of time series: what in a series made the answer, and does it hold when tested.

from clew.timeseries import explain, load_series, train_net

train, test = load_series("GunPoint"), load_series("GunPoint", part="test")
net = train_net(train.values, train.labels)
explain(net, test.values[:3], method="integrated-gradients")
explain(net, test.values[:3], method="native-guide", reference=train.values)
"""

from clew.timeseries.answers import Attribution, Counterfactual, load_answer
from clew.timeseries.evaluate import MethodScore, SeriesEvaluation, evaluate_methods, evaluate_planted
from clew.timeseries.explain_series import ExplainSettings, explain
from clew.timeseries.labelled_series import BUNDLED, LabelledSeries, load_pair, load_series
from clew.timeseries.map_scores import truth_scores
from clew.timeseries.methods import METHODS
from clew.timeseries.models import SeriesModel, classifier, regressor
from clew.timeseries.nets import ConvNet, CubeNet, train_net
from clew.timeseries.planted_series import PLANTED, PlantedSeries, planted
from clew.timeseries.question import Method
from clew.timeseries.segments import segment_labels
from clew.timeseries.series import as_series

__all__ = [
    "BUNDLED",
    "METHODS",
    "PLANTED",
    "Attribution",
    "ConvNet",
    "Counterfactual",
    "CubeNet",
    "ExplainSettings",
    "LabelledSeries",
    "Method",
    "MethodScore",
    "PlantedSeries",
    "SeriesEvaluation",
    "SeriesModel",
    "as_series",
    "classifier",
    "evaluate_methods",
    "evaluate_planted",
    "explain",
    "load_answer",
    "load_pair",
    "load_series",
    "planted",
    "regressor",
    "segment_labels",
    "train_net",
    "truth_scores",
]
