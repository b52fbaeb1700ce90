"""Boosters of LightGBM and XGBoost: trained under a method, then turned into arrays."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from focalkit.errors import ConfigError
from focalkit.trees import Boosted, FocalObjective, boost

from ._forest import Forest, of_nodes

if TYPE_CHECKING:
    from focalkit.compare.methods import Method

BOOSTERS = ("lightgbm", "xgboost")


def fit_booster(
    method: "Method", x: NDArray[Any], labels: NDArray[np.int64], weight: NDArray[Any] | None, k: int, threads: int,
    seed: int,
) -> tuple[Forest, dict[str, Any]]:  # fmt: skip
    """The library's trees with its own log loss, or with focal loss where the method names that.

    Raises:
        ConfigError: Another loss; the library is not installed.
    """
    rounds = int(method.settings.get("max_iter", 100))
    found = boost(
        method.model, x, labels, objective=_objective(method), classes=k, weight=weight, rounds=rounds,
        params=_params(method.model, method.settings), threads=threads, seed=seed,
    )  # fmt: skip
    return of_booster(found), {"rounds": rounds}


def of_booster(boosted: Boosted) -> Forest:
    """Arrays that give the same scores."""
    k = len(boosted.start)
    trees = _lightgbm(boosted.booster) if boosted.library == "lightgbm" else _xgboost(boosted.booster)
    return of_nodes(trees, k, boosted.start)


def _objective(method: "Method") -> FocalObjective | None:
    from focalkit.losses import parse

    if method.loss == "default":
        return None
    name, arguments = parse(method.loss)
    if name != "focal" or set(arguments) - {"alpha", "gamma"}:
        raise ConfigError(
            f"{method.name}: the model {method.model!r} has its own log loss and focal(alpha=None, gamma=2.0), "
            f"not {method.loss!r}"
        )
    return FocalObjective(float(arguments.get("gamma", 2.0)), arguments.get("alpha", 0.25))


def _params(library: str, settings: Mapping[str, float]) -> dict[str, Any]:
    if library == "lightgbm":
        return {
            "learning_rate": float(settings.get("learning_rate", 0.1)),
            "num_leaves": int(settings.get("max_leaf_nodes", 31)),
            "min_data_in_leaf": int(settings.get("min_samples_leaf", 20)),
            "lambda_l2": float(settings.get("l2", 0.0)),
        }
    return {
        "learning_rate": float(settings.get("learning_rate", 0.3)),
        "max_depth": int(settings.get("max_depth", 6)),
        "min_child_weight": float(settings.get("min_child_weight", 1.0)),
        "reg_lambda": float(settings.get("l2", 1.0)),
    }


Node = tuple[int, float, bool, int, int, float]
"""Feature (-1 at a leaf), threshold, whether NaN goes to the left, left, right, value."""


def _lightgbm(booster: Any) -> list[list[Node]]:
    trees = []
    for tree in booster.dump_model()["tree_info"]:
        nodes: list[Node] = []

        def walk(node: dict[str, Any], nodes: list[Node] = nodes) -> int:
            place = len(nodes)
            nodes.append((-1, 0.0, False, 0, 0, float(node.get("leaf_value", 0.0))))
            if "split_feature" in node:
                threshold = float(node["threshold"])
                # a feature without gaps in training takes NaN for 0
                to_left = bool(node["default_left"]) if node["missing_type"] == "NaN" else threshold >= 0
                left, right = walk(node["left_child"]), walk(node["right_child"])
                nodes[place] = (int(node["split_feature"]), threshold, to_left, left, right, 0.0)
            return place

        walk(tree["tree_structure"])
        trees.append(nodes)
    return trees


def _xgboost(booster: Any) -> list[list[Node]]:
    trees = []
    for text in booster.get_dump(dump_format="json"):
        nodes: list[Node] = []

        def walk(node: dict[str, Any], nodes: list[Node] = nodes) -> int:
            place = len(nodes)
            nodes.append((-1, 0.0, False, 0, 0, float(np.float32(node.get("leaf", 0.0)))))
            if "split" in node:
                # subtle: it goes to the left below its threshold, in float32; ours at or below the number before it
                threshold = float(np.nextafter(np.float32(node["split_condition"]), np.float32(-np.inf)))
                of = {child["nodeid"]: child for child in node["children"]}
                left, right = walk(of[node["yes"]]), walk(of[node["no"]])
                nodes[place] = (int(node["split"][1:]), threshold, node["missing"] == node["yes"], left, right, 0.0)
            return place

        walk(json.loads(text))
        trees.append(nodes)
    return trees
