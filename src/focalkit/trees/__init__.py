"""Focal loss for gradient-boosted trees: objectives for LightGBM and XGBoost, and a classifier that uses them."""

from ._boosted import LIBRARIES as LIBRARIES
from ._boosted import Boosted as Boosted
from ._boosted import boost as boost
from ._classifier import FocalTreesClassifier as FocalTreesClassifier
from ._objective import FocalObjective as FocalObjective

__all__ = ["LIBRARIES", "Boosted", "FocalObjective", "FocalTreesClassifier", "boost"]
