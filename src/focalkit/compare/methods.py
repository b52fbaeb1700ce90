"""The methods: every treatment of imbalance is one row of one literal table.

A row says all that distinguishes a run: loss, weights, sampling, schedule, what happens to the logits afterwards, and
what tuning may move. Nothing else in a comparison depends on the method. A method of your own is one more row, in a
Python file of yours: `focal_mild = Method("focal_mild", loss="softmax_focal(gamma=0.5)")`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from focalkit.tasks import Range as Range
from focalkit.tasks import open_task

ALL = frozenset({"classes"})
"""One class per item: tasks that share losses and sampling."""
TABLES = frozenset({"rows"})
IMAGES = frozenset({"pixels"})
DETECTION = frozenset({"boxes"})
ANCHORS = frozenset({"anchors"})
"""Detectors whose priors are matched by their place."""
QUALITIES = frozenset({"qualities"})
"""Detectors whose classes can be taught how good a box is."""
DENSE = ALL | DETECTION
"""Losses on independent sigmoids serve a dense detector as well."""


@dataclass(frozen=True)
class Method:
    """One treatment of imbalance.

    Texts of the form "name(key=value)" take Python literals as arguments.

    Attributes:
        name: As in tables and folders.
        loss: A loss of `focalkit.losses.LOSSES`, or "my_pkg.mod:MyLoss(gamma=1)"; "default" is the task's.
        class_weight: "inverse", "sqrt_inverse", "effective_number(beta=0.999)": weights of items by their class.
        sampler: "class_balanced", "sqrt", "repeat_factor(t=0.01)", "over", "under", "smote"; of a
            detector's anchors "anchors(count=256, positive=0.5)", "hard_anchors(count=128, iou=0.5, positive=0.25)".
        augment: "mixup(alpha=0.2)".
        schedule: "drw(start=0.8)": class weights from that share of the steps on; "crt(start=0.8)": from there on a
            new classifier on features that stay; "self_distillation(start=0.5, weight=0.5, temperature=2.0)": from
            there on a new network, which learns from the first one as well; of a detector "guided": its classification
            as large as its box loss at every step, from a bias at the share of positive anchors.
        adjust: Of the logits after training: "logit_adjustment(tau=1.0)", "prior_correction", "tau_norm(tau=1.0)",
            "focal_posterior(gamma=2.0)".
        model: "default" is the task's network; other names are peers that are a whole model ("hist_gb").
        settings: Values that tuning found, or that you set, for names of the task's own space: "lr", "weight_decay".
        space: What tuning may move beside the task's own space: "loss.gamma", "class_weight.beta", "sampler.t", ...
        tasks: Where the method makes sense: `Task.kinds`, of which one is enough; None everywhere.
        paper: First author, year, arXiv number.
        summary: One line.
    """

    name: str
    loss: str = "default"
    class_weight: str | None = None
    sampler: str | None = None
    augment: str | None = None
    schedule: str | None = None
    adjust: str | None = None
    model: str = "default"
    settings: Mapping[str, float] = field(default_factory=dict)
    space: Mapping[str, Range] = field(default_factory=dict)
    tasks: frozenset[str] | None = ALL
    paper: str = "-"
    summary: str = ""

    def fits(self, task: str) -> bool:
        """Whether the method makes sense for the task of that name."""
        return self.tasks is None or bool(self.tasks & open_task(task).kinds)


_GAMMA = Range(0.0, 5.0)
_TAU = Range(0.0, 2.0)
_BETA = Range(0.9, 0.99999)
_SMOOTHING = Range(0.0, 0.3)
_RARE = Range(1e-3, 0.2, log=True)

# fmt: off
_ROWS = (
    # nothing, and weights
    Method("ce", tasks=None, summary="cross-entropy and nothing else: the yardstick"),
    Method("weighted", class_weight="inverse",
           summary="items weighted by the inverse frequency of their class"),
    Method("weighted_sqrt", class_weight="sqrt_inverse",
           summary="items weighted by the inverse square root of their class's frequency"),
    Method("weighted_effective", class_weight="effective_number(beta=0.999)", space={"class_weight.beta": _BETA},
           paper="Cui 2019, arXiv 1901.05555", summary="items weighted by the effective number of their class"),
    Method("alpha_ce", loss="bce(alpha=0.75)", space={"loss.alpha": Range(0.05, 0.95)},
           paper="Lin 2017, arXiv 1708.02002", tasks=DENSE, summary="alpha-balanced cross-entropy on sigmoids"),
    # losses that look at difficulty
    Method("focal", loss="focal(alpha=None, gamma=2.0)", space={"loss.gamma": _GAMMA},
           paper="Lin 2017, arXiv 1708.02002", tasks=DENSE, summary="focal loss on sigmoids, without alpha"),
    Method("focal_alpha", loss="focal(alpha=0.25, gamma=2.0)",
           space={"loss.gamma": _GAMMA, "loss.alpha": Range(0.05, 0.95)},
           paper="Lin 2017, arXiv 1708.02002", tasks=DENSE,
           summary="focal loss with the alpha of the paper's detector"),
    Method("softmax_focal", loss="softmax_focal(gamma=2.0)", space={"loss.gamma": _GAMMA},
           paper="Lin 2017, arXiv 1708.02002", summary="focal loss on a softmax"),
    Method("focal_posterior", loss="focal(alpha=None, gamma=2.0)", adjust="focal_posterior(gamma=2.0)",
           paper="Charoenphakdee 2021, arXiv 2011.09172", tasks=ALL,
           summary="focal loss, and what it did to probabilities undone"),
    Method("cb_focal", loss="focal(alpha=None, gamma=1.0)", class_weight="effective_number(beta=0.999)",
           space={"loss.gamma": _GAMMA, "class_weight.beta": _BETA},
           paper="Cui 2019, arXiv 1901.05555", tasks=DENSE, summary="class-balanced focal loss"),
    Method("reduced_focal", loss="reduced_focal", space={"loss.gamma": _GAMMA, "loss.threshold": Range(0.1, 0.9)},
           paper="Sergievskiy 2019, arXiv 1903.01347", tasks=DENSE,
           summary="focal above a threshold, cross-entropy below"),
    Method("asl", loss="asl(gamma_pos=0.0, gamma_neg=2.0, margin=0.05)",
           space={"loss.gamma_neg": _GAMMA, "loss.margin": Range(0.0, 0.3)},
           paper="Ridnik 2021, arXiv 2009.14119", tasks=DENSE, summary="asymmetric loss: only negatives are focused"),
    Method("poly1", loss="poly1_ce(epsilon=1.0)", space={"loss.epsilon": Range(-1.0, 4.0)},
           paper="Leng 2022, arXiv 2204.12511", summary="cross-entropy plus epsilon (1 - p)"),
    Method("ghm", loss="ghm_c(momentum=0.75)", space={"loss.momentum": Range(0.0, 0.95)},
           paper="Li 2019, arXiv 1811.05181", tasks=DENSE,
           summary="examples weighted by the density of their gradient norm"),
    # losses that know the frequencies
    Method("balanced_softmax", loss="balanced_softmax",
           paper="Ren 2020, arXiv 2007.10740", summary="log counts added to the logits in training"),
    Method("logit_adjusted", loss="logit_adjusted(tau=1.0)", space={"loss.tau": _TAU},
           paper="Menon 2021, arXiv 2007.07314", summary="tau log priors added to the logits in training"),
    Method("post_hoc_la", adjust="logit_adjustment(tau=1.0)", space={"adjust.tau": _TAU},
           paper="Menon 2021, arXiv 2007.07314", summary="tau log priors taken off the logits after training"),
    Method("vs", loss="vs(gamma=0.15, tau=1.0)", space={"loss.gamma": Range(0.0, 0.4), "loss.tau": _TAU},
           paper="Kini 2021, arXiv 2103.01550", summary="vector scaling: a factor and a shift per class"),
    # the scale of 30 in the paper is for cosines; the logits here are those of a plain linear layer
    Method("ldam_drw", loss="ldam(max_margin=0.5, scale=1.0)", class_weight="effective_number(beta=0.999)",
           schedule="drw(start=0.8)", space={"loss.max_margin": Range(0.1, 1.0), "class_weight.beta": _BETA},
           paper="Cao 2019, arXiv 1906.07413", summary="margins by frequency, class weights at the end"),
    Method("drw", class_weight="effective_number(beta=0.999)", schedule="drw(start=0.8)",
           space={"class_weight.beta": _BETA},
           paper="Cao 2019, arXiv 1906.07413", summary="cross-entropy, class weights at the end"),
    Method("seesaw", loss="seesaw", space={"loss.p": Range(0.0, 2.0), "loss.q": Range(0.0, 4.0)},
           paper="Wang 2021, arXiv 2008.10032", summary="frequent classes punish rarer ones less"),
    Method("eql", loss="eql(threshold=0.05)", space={"loss.threshold": _RARE},
           paper="Tan 2020, arXiv 2003.05176", summary="on sigmoids, rare classes are no negatives of other items"),
    Method("seql", loss="seql(threshold=0.05)",
           space={"loss.threshold": _RARE, "loss.drop_prob": Range(0.5, 1.0)},
           paper="Tan 2020, arXiv 2003.05176", summary="rare classes leave the softmax of other items at random"),
    # two stages: features first, then the classifier
    Method("crt", schedule="crt(start=0.8)", space={"schedule.start": Range(0.5, 0.9)}, tasks=IMAGES,
           paper="Kang 2020, arXiv 1910.09217", summary="cross-entropy, then a new classifier on balanced batches"),
    Method("tau_norm", adjust="tau_norm(tau=1.0)", space={"adjust.tau": _TAU}, tasks=IMAGES,
           paper="Kang 2020, arXiv 1910.09217", summary="cross-entropy, then the classifier's weights of equal norm"),
    # sampling
    Method("oversample", sampler="over", summary="rows of rarer classes repeated until the classes are equal"),
    Method("undersample", sampler="under", summary="rows of frequent classes dropped until the classes are equal"),
    Method("class_balanced", sampler="class_balanced", tasks=DENSE,
           summary="every batch drawn with equal shares of the classes"),
    Method("sqrt_sampling", sampler="sqrt", summary="classes drawn by the square root of their frequency"),
    Method("repeat_factor", sampler="repeat_factor(t=0.1)", space={"sampler.t": Range(1e-3, 0.5, log=True)},
           tasks=DENSE,
           paper="Gupta 2019, arXiv 1908.03195", summary="items of classes rarer than t repeated"),
    Method("smote", sampler="smote(k=5)", tasks=TABLES, space={"sampler.k": Range(1, 15, integer=True)},
           paper="Chawla 2002, arXiv 1106.1813", summary="rare rows invented between neighbours"),
    Method("oversample_corrected", sampler="over", adjust="prior_correction",
           summary="oversample, then the probabilities mapped back to the true frequencies"),
    Method("undersample_corrected", sampler="under", adjust="prior_correction",
           summary="undersample, then the probabilities mapped back to the true frequencies"),
    Method("weighted_corrected", class_weight="inverse", adjust="prior_correction",
           summary="weighted, then the probabilities mapped back to the true frequencies"),
    # regularisation, which rivals all of the above once it is tuned
    Method("label_smoothing", loss="ce(label_smoothing=0.1)", space={"loss.label_smoothing": _SMOOTHING},
           summary="targets softened"),
    Method("mixup", augment="mixup(alpha=0.2)", space={"augment.alpha": Range(0.05, 2.0, log=True)},
           paper="Zhang 2018, arXiv 1710.09412", summary="pairs of items mixed"),
    Method("self_distillation", schedule="self_distillation(start=0.5, weight=0.5, temperature=2.0)", tasks=IMAGES,
           space={"schedule.weight": Range(0.0, 1.0), "schedule.temperature": Range(1.0, 8.0, log=True)},
           paper="Furlanello 2018, arXiv 1805.04770", summary="half of the steps for a teacher, half for its pupil"),
    # hard items
    Method("ohem_items", loss="focalkit.tasks.mining:ohem(keep=0.5)", space={"loss.keep": Range(0.1, 1.0)},
           paper="Shrivastava 2016, arXiv 1604.03540", summary="the hardest half of every batch"),
    Method("hard_negatives", loss="focalkit.tasks.mining:hard_negative_mining(ratio=3.0)",
           space={"loss.ratio": Range(1.0, 100.0, log=True)},
           paper="Liu 2016, arXiv 1512.02325", summary="two classes: the rare one, the 3 hardest others for each"),
    # dense detectors: what anchors and boxes alone have
    Method("ce_no_prior", model="no_prior", tasks=DETECTION, paper="Lin 2017, arXiv 1708.02002",
           summary="ce, the class output starting at a probability of .5 and not of .01"),
    Method("focal_star", loss="focal_star", tasks=DETECTION,
           paper="Lin 2017, arXiv 1708.02002", summary="FL*: cross-entropy of a steeper, shifted logit"),
    Method("hard_negative_mining", loss="focalkit.tasks.detection.mining:hard_negative_mining(ratio=3.0)",
           space={"loss.ratio": Range(1.0, 100.0, log=True)}, tasks=DETECTION,
           paper="Liu 2016, arXiv 1512.02325", summary="all positives, the 3 hardest negatives for each"),
    Method("ohem", loss="focalkit.tasks.detection.mining:ohem(keep=1024)",
           space={"loss.keep": Range(128, 8192, log=True, integer=True)}, tasks=DETECTION,
           paper="Shrivastava 2016, arXiv 1604.03540", summary="the 1,024 hardest anchors of a batch"),
    Method("ohem_nms", sampler="hard_anchors(count=128, iou=0.5)", tasks=ANCHORS,
           space={"sampler.count": Range(32, 512, log=True, integer=True), "sampler.iou": Range(0.3, 0.9)},
           paper="Shrivastava 2016, arXiv 1604.03540",
           summary="the 128 hardest anchors of an image, of overlapping ones the hardest"),
    Method("ohem_1to3", sampler="hard_anchors(count=128, iou=0.5, positive=0.25)", tasks=ANCHORS,
           space={"sampler.count": Range(32, 512, log=True, integer=True), "sampler.iou": Range(0.3, 0.9)},
           paper="Lin 2017, arXiv 1708.02002", summary="ohem_nms with three negatives for each positive"),
    Method("sampling_free", schedule="guided", tasks=ANCHORS, paper="Chen 2019, arXiv 1909.04868",
           summary="ce as large as the box loss at every step, starting at the share of positive anchors"),
    Method("sampled_anchors", sampler="anchors(count=256, positive=0.5)", tasks=ANCHORS,
           paper="Ren 2015, arXiv 1506.01497", summary="256 anchors of an image, at most half of them positive"),
    Method("eqlv2", loss="eqlv2", tasks=DENSE,
           paper="Tan 2021, arXiv 2012.08548", summary="the summed gradients of every class balanced"),
    Method("efl", loss="efl", tasks=DENSE,
           paper="Li 2022, arXiv 2201.02593", summary="focal with a gamma per class, from its gradients"),
    # subtle: a detector that takes the quality of a box as its target keeps its place; others give way to `model`
    Method("qfl", loss="qfl", model="gfl", tasks=DETECTION,
           paper="Li 2020, arXiv 2006.04388", summary="quality focal loss; in GFL, where the detector cannot take it"),
    Method("varifocal", loss="varifocal", model="vfnet", tasks=DETECTION, paper="Zhang 2021, arXiv 2008.13367",
           summary="varifocal loss; in VarifocalNet, where the detector cannot take it"),
    Method("mal", loss="mal", space={"loss.gamma": Range(0.5, 3.0)}, tasks=QUALITIES,
           paper="Huang 2025, arXiv 2412.04234", summary="matchability-aware loss: badly placed matches count too"),
    Method("ia_bce", loss="ia_bce", tasks=QUALITIES, paper="Cai 2023, arXiv 2304.07527",
           summary="IoU-aware cross-entropy: scores that say class and place"),
    Method("position_focal", loss="position_focal", tasks=QUALITIES, paper="Liu 2023, arXiv 2304.04742",
           summary="focal loss whose positive target is the position's quality alone"),
    # thresholds
    Method("threshold_moving",
           summary="the yardstick's model: every method is judged at a tuned threshold, this one has nothing else"),
    # peers that are a whole model
    Method("logistic", model="logistic", tasks=TABLES, summary="logistic regression"),
    Method("logistic_balanced", model="logistic", class_weight="inverse", tasks=TABLES,
           summary="logistic regression with class weights"),
    Method("hist_gb", model="hist_gb", tasks=TABLES, summary="gradient-boosted trees"),
    Method("hist_gb_balanced", model="hist_gb", class_weight="inverse", tasks=TABLES,
           summary="gradient-boosted trees with class weights"),
    Method("hist_gb_oversample", model="hist_gb", sampler="over", tasks=TABLES,
           summary="gradient-boosted trees on repeated rare rows"),
    Method("hist_gb_undersample", model="hist_gb", sampler="under", tasks=TABLES,
           summary="gradient-boosted trees on fewer frequent rows"),
    Method("hist_gb_smote", model="hist_gb", sampler="smote(k=5)", tasks=TABLES,
           paper="Chawla 2002, arXiv 1106.1813", summary="gradient-boosted trees on invented rare rows"),
    Method("hist_gb_under_bagging", model="bagged_hist_gb", tasks=TABLES,
           summary="ten gradient boostings, each on all rare and as many frequent rows, averaged"),
    Method("lightgbm", model="lightgbm", tasks=TABLES, summary="LightGBM"),
    Method("lightgbm_balanced", model="lightgbm", class_weight="inverse", tasks=TABLES,
           summary="LightGBM with class weights (scale_pos_weight)"),
    Method("lightgbm_focal", model="lightgbm", loss="focal(alpha=None, gamma=2.0)", space={"loss.gamma": _GAMMA},
           tasks=TABLES, paper="Lin 2017, arXiv 1708.02002", summary="LightGBM that minimises focal loss"),
    Method("xgboost", model="xgboost", tasks=TABLES, summary="XGBoost"),
    Method("xgboost_balanced", model="xgboost", class_weight="inverse", tasks=TABLES,
           summary="XGBoost with class weights (scale_pos_weight)"),
    Method("xgboost_focal", model="xgboost", loss="focal(alpha=None, gamma=2.0)", space={"loss.gamma": _GAMMA},
           tasks=TABLES, paper="Lin 2017, arXiv 1708.02002", summary="XGBoost that minimises focal loss"),
    Method("balanced_forest", model="balanced_forest", tasks=TABLES, paper="Chen 2004",
           summary="random forest whose trees see as many frequent as rare rows"),
    Method("easy_ensemble", model="easy_ensemble", tasks=TABLES, paper="Liu 2009",
           summary="boosted stumps on many balanced subsets"),
    Method("rus_boost", model="rus_boost", tasks=TABLES, paper="Seiffert 2010",
           summary="boosting whose rounds see balanced subsets"),
)
# fmt: on

METHODS: Mapping[str, Method] = MappingProxyType({row.name: row for row in _ROWS})
"""Name -> method."""
