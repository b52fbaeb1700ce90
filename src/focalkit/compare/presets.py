"""Named settings of a comparison."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Preset:
    """Settings that flags may still change.

    Attributes:
        summary: What it is for.
        methods: Names; () for those that the task recommends.
        seeds: How many.
        tune: Trials per method and split.
        steps: Most steps of a fit; None leaves them to the task.
        tasks: Where it makes sense, by kind of task (`Task.kinds`); () everywhere.
        task: Another task than the one found by looking, as "module:attribute": with a model of its own.
    """

    summary: str
    methods: tuple[str, ...] = ()
    seeds: int = 3
    tune: int = 0
    steps: int | None = None
    tasks: tuple[str, ...] = ()
    task: str | None = None


_LONG_TAILS = ("ce", "focal", "cb_focal", "ldam_drw", "balanced_softmax", "logit_adjusted")

# fmt: off
PRESETS: Mapping[str, Preset] = MappingProxyType({
    "default": Preset("the methods that the task recommends, 3 seeds"),
    "quick": Preset("short trainings: a first look", steps=300),
    "thorough": Preset("10 seeds, 20 trials per method", seeds=10, tune=20),
    "losses": Preset(
        "every loss on the same network, without sampling",
        methods=("ce", "weighted", "weighted_effective", "alpha_ce", "focal", "cb_focal", "asl", "poly1", "ghm",
                 "balanced_softmax", "logit_adjusted", "vs", "ldam_drw", "drw", "label_smoothing"),
    ),
    "sensitivity": Preset(
        "focal loss over gamma and alpha, and plain and weighted cross-entropy",
        methods=("ce", "weighted", "focal(gamma=0.5)", "focal(gamma=1.0)", "focal", "focal(gamma=5.0)",
                 "focal_alpha(alpha=0.25)", "focal_alpha(alpha=0.5)", "focal_alpha(alpha=0.75)",
                 "focal_alpha(alpha=0.9)"),
    ),
    "sampling": Preset(
        "every way of sampling on the same network and on boosted trees",
        methods=("ce", "oversample", "undersample", "class_balanced", "sqrt_sampling", "repeat_factor", "smote",
                 "hist_gb", "hist_gb_oversample", "hist_gb_undersample", "hist_gb_smote"),
        tasks=("rows",),
    ),
    "peers": Preset(
        "no network: linear models, boosted trees and ensembles, plain and rebalanced",
        methods=("hist_gb", "hist_gb_balanced", "hist_gb_oversample", "hist_gb_undersample", "logistic",
                 "logistic_balanced", "balanced_forest", "easy_ensemble", "rus_boost"),
        tasks=("rows",),
    ),
    "cifar-lt": Preset(
        "long-tailed CIFAR as Cao et al. (2019) train it: ResNet-32, 200 epochs, ratio 100; needs a GPU",
        methods=_LONG_TAILS, tasks=("pixels",), task="focalkit.tasks.image:CIFAR_LT",
    ),
    "tables": Preset(
        "networks and boosted trees, each plain, weighted, focal, over-sampled and under-bagged: docs/evidence.md",
        methods=("ce", "focal", "weighted", "oversample", "threshold_moving", "logistic", "hist_gb",
                 "hist_gb_balanced", "hist_gb_oversample", "hist_gb_under_bagging", "balanced_forest", "easy_ensemble",
                 "lightgbm", "lightgbm_balanced", "lightgbm_focal", "xgboost", "xgboost_focal"),
        steps=600,
        tasks=("rows",),
    ),
    "paper-tables-mini": Preset(
        "tables 1a, 1b and 1d of the focal loss paper with a tiny detector at 128 px",
        methods=("ce_no_prior", "ce", "alpha_ce(alpha=0.25)", "alpha_ce(alpha=0.75)",
                 "focal_alpha(alpha=0.5,gamma=0.5)", "focal_alpha(alpha=0.25,gamma=1.0)", "focal_alpha",
                 "focal_alpha(alpha=0.25,gamma=5.0)", "ohem", "hard_negative_mining"),
        steps=300,
        tasks=("boxes",),
        task="focalkit.tasks.detection:MINI",
    ),
    "detr-losses-mini": Preset(
        "the classification losses of set predictors on a tiny RT-DETRv2 at 128 px",
        methods=("ce", "focal_alpha", "qfl", "varifocal", "mal", "ia_bce"),
        steps=1500,
        tasks=("boxes",),
        task="focalkit.tasks.detection:RTDETRV2_MINI",
    ),
})
# fmt: on
