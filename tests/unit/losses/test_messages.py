"""The ten commonest mistakes: each message says what came, what was expected and what to do. And the backend hook."""

import pytest
import torch

from focalkit import losses as L
from focalkit.errors import BackendError, ConfigError

X, Y = torch.zeros(4, 3), torch.tensor([0, 1, 2, 0])
T = torch.zeros(4, 3)

MISTAKES = [
    (
        "probabilities",
        ValueError,
        lambda: L.softmax_focal_loss(X.clone().requires_grad_().softmax(1), Y),
        ["come out of softmax()", "probabilities", "Pass the scores before"],
    ),
    (
        "probabilities behind a view",
        ValueError,
        lambda: L.sigmoid_focal_loss(X.clone().requires_grad_().sigmoid().view(3, 4).t(), T),
        ["come out of sigmoid()", "Pass the scores before"],
    ),
    (
        "class axis missing",
        ValueError,
        lambda: L.softmax_focal_loss(torch.zeros(4, 3), Y, class_dim=2),
        ["(4, 3)", "no class axis 2", "class_dim"],
    ),
    (
        "labels out of range",
        ValueError,
        lambda: L.sigmoid_focal_loss(X, Y + 1),
        ["0..2 for 3 classes", "-1 for background", "got 3", "labels - 1"],
    ),
    (
        "scalar alpha in a softmax",
        ValueError,
        lambda: L.softmax_focal_loss(X, Y, alpha=0.25),
        ["vector over the classes", "0.25", "Detectron", "mmcv", "alpha=None"],
    ),
    (
        "integer dense targets",
        TypeError,
        lambda: L.sigmoid_focal_loss(X, T.long()),
        ["torch.int64", "(4, 3)", "targets.float()"],
    ),
    ("integer logits", TypeError, lambda: L.sigmoid_focal_loss(X.long(), T), ["floating point", "torch.int64"]),
    (
        "wrong number of class weights",
        ValueError,
        lambda: L.softmax_focal_loss(X, Y, class_weight=[1.0, 2.0]),
        ["class_weight", "3 classes", "(2,)", "class_dim"],
    ),
    (
        "negative gamma",
        ValueError,
        lambda: L.sigmoid_focal_loss(X, T, gamma=-1.0),
        ["gamma must be at least 0", "got -1.0", "gamma=0 is cross-entropy"],
    ),
    (
        "negative gamma in a vector",
        ValueError,
        lambda: L.sigmoid_focal_loss(X, T, gamma=torch.tensor([0.0, -1.0, 2.0])),
        ["gamma must be at least 0"],
    ),
    (
        "unknown reduction",
        ValueError,
        lambda: L.sigmoid_focal_loss(X, T, reduction="average"),
        ["'none', 'sum', 'mean'", "got 'average'"],
    ),
    (
        "a typo in the reduction",
        ValueError,
        lambda: L.sigmoid_focal_loss(X, T, reduction="maen"),
        ['did you mean "mean"?'],
    ),
    (
        "targets of another shape",
        ValueError,
        lambda: L.sigmoid_focal_loss(X, torch.zeros(4, 1)),
        ["shaped like the logits (4, 3)", "got (4, 1)", "targets.long()"],
    ),
    (
        "labels of another shape",
        ValueError,
        lambda: L.sigmoid_focal_loss(X, torch.zeros(4, 2).long()),
        ["class indices of shape (4,)", "(4, 3)", "got torch.int64 (4, 2)"],
    ),
    (
        "NaN in targets",
        ValueError,
        lambda: L.sigmoid_focal_loss(X, T + float("nan")),
        ["got 12 NaN", "[0, 1]", "targets.isnan()"],
    ),
    ("targets above 1", ValueError, lambda: L.sigmoid_focal_loss(X, T + 255), ["got 255", "[0, 1]"]),
    (
        "alpha above 1",
        ValueError,
        lambda: L.sigmoid_focal_loss(X, T, alpha=2.0),
        ["alpha must be between 0 and 1", "got 2.0"],
    ),
    (
        "a wrong soft form",
        ValueError,
        lambda: L.sigmoid_focal_loss(X, T, soft_targets="mixed"),
        ['did you mean "mix"?'],
    ),
    (
        "a normalizer with none",
        ValueError,
        lambda: L.sigmoid_focal_loss(X, T, reduction="none", normalizer=2),
        ["normalizer"],
    ),
    (
        "a vector as normalizer",
        ValueError,
        lambda: L.sigmoid_focal_loss(X, T, normalizer=torch.ones(2)),
        ["0-d tensor", "(2,)"],
    ),
    ("an unknown argument", TypeError, lambda: L.SigmoidFocalLoss(gama=2), ["'gama'", 'did you mean "gamma"?']),
    ("a missing argument", TypeError, lambda: L.BalancedSoftmaxLoss(), ["needs class_counts"]),
    ("not a tensor", TypeError, lambda: L.sigmoid_focal_loss(X, [0, 1, 2, 0]), ["targets must be a tensor, got list"]),
    (
        "logits that are no tensor",
        TypeError,
        lambda: L.sigmoid_focal_loss([0.0], T),
        ["logits must be a tensor, got list"],
    ),
    ("complex targets", TypeError, lambda: L.sigmoid_focal_loss(X, T.to(torch.complex64)), ["must be real"]),
    ("dense targets for a label loss", TypeError, lambda: L.SeesawLoss(3)(X, T), ["class indices"]),
    (
        "positions out of range",
        ValueError,
        lambda: L.distribution_focal_loss(X, torch.full((4,), 2.5)),
        ["[0, 2]", "clamp"],
    ),
    ("integer positions", ValueError, lambda: L.distribution_focal_loss(X, Y), ["floating positions of shape (4,)"]),
    ("no region", ValueError, lambda: L.dice_loss(torch.zeros(4), torch.zeros(4)), ["(b, k, ...)", "unsqueeze"]),
    ("one pair", ValueError, lambda: L.hard_contrastive_loss(torch.ones(1, 2), torch.ones(1, 2)), ["at least 2 pairs"]),
    (
        "unlike pairs",
        ValueError,
        lambda: L.focal_infonce_loss(torch.ones(3, 2), torch.ones(2, 2)),
        ["(3, 2)", "(2, 2)"],
    ),
    ("unlike teacher", ValueError, lambda: L.distillation_loss(X, T[:2]), ["(4, 3)", "(2, 3)"]),
    (
        "zero counts for LDAM",
        ValueError,
        lambda: L.ldam_loss(X, Y, class_counts=[1, 0, 2]),
        ["class_counts", "every class"],
    ),
    ("a bad momentum", ValueError, lambda: L.GHMC(momentum=1.0), ["momentum", "below 1"]),
    ("no bins", ValueError, lambda: L.GHMC(bins=0), ["bins must be at least 1"]),
    ("unlike deltas", ValueError, lambda: L.GHMR()(X, T[:2]), ["(4, 3)", "(2, 3)"]),
    ("no classes", ValueError, lambda: L.EQLv2(0), ["num_classes"]),
    ("AdaFocal without a negative bound", ValueError, lambda: L.AdaFocalLoss(gamma_min=1.0), ["gamma_min < 0"]),
    ("a margin of one", ValueError, lambda: L.asymmetric_loss(X, T, margin=1.0), ["margin", "0.05"]),
    (
        "arguments without names",
        TypeError,
        lambda: L.SigmoidFocalLoss(0.25, 2.0),
        ["SigmoidFocalLoss(alpha=0.25, gamma"],
    ),
    ("a weight to remember", TypeError, lambda: L.SigmoidFocalLoss(weight=X), ["weight belongs to a batch", "loss("]),
    ("gamma of None", TypeError, lambda: L.sigmoid_focal_loss(X, T, gamma=None), ["gamma must be a number", "None"]),
    (
        "alpha in quotes",
        TypeError,
        lambda: L.sigmoid_focal_loss(X, T, alpha="0.25"),
        ["alpha must be a number", "'0.25'"],
    ),
    (
        "no classes in a head",
        ValueError,
        lambda: L.dense_sigmoid_focal_loss([torch.zeros(1, 2, 2, 2)], [torch.zeros(1, 2, 2, 2).long()], num_classes=0),
        ["num_classes must be at least 1, got 0"],
    ),
    (
        "a head without an axis",
        ValueError,
        lambda: L.dense_sigmoid_focal_loss([torch.zeros(2, 2, 2)], [torch.zeros(2, 2, 2).long()], num_classes=1),
        ["level 0", "(b, a*k, h, w)", "(2, 2, 2)"],
    ),
    (
        "three axes of targets",
        ValueError,
        lambda: L.sigmoid_focal_loss(X, T.unsqueeze(-1)),
        ["shaped like the logits (4, 3)", "got (4, 3, 1)"],
    ),
    (
        "a sum of unreduced losses",
        ValueError,
        lambda: L.Sum({"ce": 1.0, "focal": 1.0}, reduction="none")(X, Y),
        ["shapes (4,), (4, 3)", 'reduction="sum"'],
    ),
    ("a negative scale", ValueError, lambda: L.ldam_loss(X, Y, class_counts=[1, 1, 2], scale=-30.0), ["scale", "-30"]),
    ("a threshold of one", ValueError, lambda: L.reduced_focal_loss(X, T, threshold=1.0), ["threshold", "0.5"]),
]


@pytest.mark.parametrize(("error", "call", "words"), [m[1:] for m in MISTAKES], ids=[m[0] for m in MISTAKES])
def test_the_message_helps(error, call, words):
    with pytest.raises(error) as caught:
        call()
    for word in words:
        assert word in str(caught.value)


def test_only_cpu_values_are_read():
    x, y = torch.zeros(2, 3, device="meta"), torch.full((2,), 7, device="meta")
    assert L.sigmoid_focal_loss(x, y, class_dim=-1).device.type == "meta"  # a meta tensor has no values to check


def test_a_backend_that_cannot_run_says_why():
    with pytest.raises(BackendError, match='asymmetric_softmax_loss has no "triton"'):
        L.asymmetric_softmax_loss(X, T, backend="triton")
    with pytest.raises(BackendError, match="runs on CUDA devices, and the logits are on the CPU"):
        L.sigmoid_focal_loss(X, T, backend="triton")
    with pytest.raises(ValueError, match='did you mean "eager"'):
        L.sigmoid_focal_loss(X, T, backend="egaer")
    with pytest.raises(ConfigError, match="not in the catalog"):
        L.spec_of(torch.nn.L1Loss())
