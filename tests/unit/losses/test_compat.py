"""The compatibility modules against the released libraries where they are installed, and against hand values."""

import math

import pytest
import torch
import torch.nn.functional as F

from focalkit import compat
from focalkit.compat import asl, detectron2, keras, kornia, mmdet, monai, smp, torchvision

X = torch.tensor([[1.5, -0.5, 0.25], [-2.0, 0.75, 3.0], [0.1, 0.2, -0.3], [4.0, -4.0, 0.5]], dtype=torch.float64)
Y = torch.tensor([0, 2, 1, 0])
HOT = F.one_hot(Y, 3).double()
SOFT = torch.tensor([[0.9, 0.0, 0.1], [0.2, 0.0, 0.8], [0.3, 0.7, 0.0], [1.0, 0.0, 0.0]], dtype=torch.float64)


def images(seed: int = 0):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(2, 3, 4, 5, generator=rng), torch.randint(0, 3, (2, 4, 5), generator=rng)


@pytest.mark.parametrize("alpha", [-1, 0.25])
@pytest.mark.parametrize("gamma", [0.5, 2])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_torchvision(alpha, gamma, reduction):
    ops = pytest.importorskip("torchvision.ops", reason="needs torchvision")
    for t in (HOT, SOFT):
        theirs = ops.sigmoid_focal_loss(X, t, alpha, gamma, reduction)
        assert torch.allclose(torchvision.sigmoid_focal_loss(X, t, alpha, gamma, reduction), theirs, rtol=1e-9)
    with pytest.raises(ValueError, match="alpha"):
        torchvision.sigmoid_focal_loss(X, HOT, alpha=2.0)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("alpha", [None, 0.25])
def test_kornia(alpha, reduction):
    theirs = pytest.importorskip("kornia.losses", reason="needs kornia")
    x, y = images()
    y[0, 0, :2] = -100
    weight = torch.tensor([1.0, 2.0, 0.5])
    for w in (None, weight):
        a = kornia.focal_loss(x, y, alpha, 2.0, reduction, w)
        b = theirs.focal_loss(x, y, alpha, 2.0, reduction, w)
        assert torch.allclose(a, b, rtol=1e-5, atol=1e-7)
        ours = kornia.FocalLoss(alpha, reduction=reduction, weight=w)(x, y)
        assert torch.allclose(ours, b, rtol=1e-5, atol=1e-7)
        t = torch.rand(2, 3, 4, 5)
        a = kornia.binary_focal_loss_with_logits(x, t, alpha, 2.0, reduction, pos_weight=w, weight=w)
        b = theirs.binary_focal_loss_with_logits(x, t, alpha, 2.0, reduction, pos_weight=w, weight=w)
        assert torch.allclose(a, b, rtol=1e-5, atol=1e-7)


def test_kornia_by_hand():
    # softmax of (0, 0): p = 1/2; (1/2)^2 log 2 = 0.173287; the mean divides by the two classes as well
    x, y = torch.zeros(1, 2), torch.tensor([0])
    assert kornia.focal_loss(x, y, None, reduction="mean").item() == pytest.approx(0.173287 / 2, rel=1e-5)
    assert kornia.focal_loss(x, y, 0.25, reduction="sum").item() == pytest.approx(0.75 * 0.173287, rel=1e-5)
    assert kornia.focal_loss(x, torch.tensor([1]), 0.25, reduction="sum").item() == pytest.approx(0.25 * 0.173287, 1e-5)
    assert kornia.focal_loss(x, y, None).shape == (1, 2)
    with pytest.raises(ValueError, match="reduction"):
        kornia.focal_loss(x, y, None, reduction="avg")


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("softmax", [False, True])
@pytest.mark.parametrize("alpha", [None, 0.25, [0.2, 0.5, 0.9]])
@pytest.mark.parametrize("background", [True, False])
@pytest.mark.filterwarnings("ignore:.*alpha. ignored when using softmax")
def test_monai(reduction, softmax, alpha, background):
    theirs = pytest.importorskip("monai.losses", reason="needs MONAI")
    if isinstance(alpha, list) and not background:
        alpha = alpha[1:]
    x, y = images()
    given = {
        "include_background": background,
        "to_onehot_y": True,
        "alpha": alpha,
        "weight": [1.0, 2.0] if not background else [1.0, 2.0, 0.5],
        "reduction": reduction,
        "use_softmax": softmax,
    }
    a, b = monai.FocalLoss(**given)(x, y.unsqueeze(1)), theirs.FocalLoss(**given)(x, y.unsqueeze(1))
    assert torch.allclose(a, b, rtol=1e-5, atol=1e-6)


def test_monai_by_hand():
    x, t = torch.zeros(1, 2, 3), torch.tensor([[[1.0, 0, 0], [0, 1, 1]]])
    each = 0.25 * math.log(2)
    assert monai.FocalLoss()(x, t).item() == pytest.approx(each)
    assert monai.FocalLoss(reduction="sum")(x, t).item() == pytest.approx(2 * each)  # spatial means, then the sum
    assert monai.FocalLoss(use_softmax=True)(x, t).item() == pytest.approx(each / 2)
    assert monai.FocalLoss(alpha=0.25)(x, t).item() == pytest.approx(each * (3 * 0.25 + 3 * 0.75) / 6)
    assert monai.FocalLoss(alpha=[0.25, 0.25])(x, t).item() == pytest.approx(each * (3 * 0.25 + 3) / 6)
    with pytest.raises(ValueError, match="must have the shape"):
        monai.FocalLoss()(x, t[:, :1])
    with pytest.raises(ValueError, match="reduction"):
        monai.FocalLoss(reduction="avg")


@pytest.mark.parametrize(
    "given", [{}, {"alpha": 0.25}, {"reduced_threshold": 0.3}, {"normalized": True}, {"ignore_index": 1}]
)
@pytest.mark.parametrize("mode", ["binary", "multiclass"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_smp(given, mode, reduction):
    theirs = pytest.importorskip("segmentation_models_pytorch.losses", reason="needs segmentation-models-pytorch")
    x, y = images()
    if mode == "binary":
        x, y = x[:, :1], (y[:, None] > 0).long()
    a = smp.FocalLoss(mode, reduction=reduction, **given)(x, y)
    assert torch.allclose(a, theirs.FocalLoss(mode, reduction=reduction, **given)(x, y), rtol=1e-5)


def test_smp_by_hand():
    x, y = torch.zeros(1, 2, 3), torch.tensor([[0, 1, 1]])
    each = 0.25 * math.log(2)
    assert smp.FocalLoss("multiclass")(x, y).item() == pytest.approx(each)
    assert smp.FocalLoss("multiclass", reduction="sum")(x, y).item() == pytest.approx(3 * each)  # the sum over C
    assert smp.FocalLoss("multiclass", reduction="none")(x, y).ndim == 0
    jump = smp.FocalLoss("binary", reduced_threshold=0.3)(x[:, :1], torch.ones(1, 1, 3))
    assert jump.item() == pytest.approx((0.5 / 0.3) ** 2 * math.log(2), rel=1e-5)
    with pytest.raises(ValueError, match="mode"):
        smp.FocalLoss("multi")


def test_fvcore_by_hand():
    x, t = torch.zeros(2), torch.tensor([1, 0])
    each = 0.25 * math.log(2)
    assert detectron2.sigmoid_focal_loss(x, t).tolist() == pytest.approx([each] * 2)
    assert detectron2.sigmoid_focal_loss(x, t, alpha=0.25, reduction="sum").item() == pytest.approx(each)
    assert detectron2.sigmoid_focal_loss(x, t, reduction="whatever").shape == (2,)
    assert detectron2.sigmoid_focal_loss(x.double(), t).dtype == torch.float32
    star = detectron2.sigmoid_focal_loss_star(torch.tensor([1.0]), torch.tensor([0]), gamma=2)
    assert star.item() == pytest.approx(math.log(1 + math.exp(2)) / 2, rel=1e-6)
    normalizer = detectron2.LossNormalizer()
    assert normalizer(torch.tensor(0)).item() == pytest.approx(90.1)
    assert normalizer.eval()(torch.tensor(10**6)).item() == pytest.approx(90.1)


def test_mmdet_by_hand():
    each = 0.25 * math.log(2)
    x, y = torch.zeros(2, 3), torch.tensor([0, 3])  # 3 is background
    rows = torch.tensor([[0.25, 0.75, 0.75], [0.75, 0.75, 0.75]]) * each
    weight = torch.tensor([2.0, 0.5])
    focal = mmdet.FocalLoss()
    assert torch.allclose(focal(x, y, reduction_override="none"), rows)
    assert focal(x, y).item() == pytest.approx(rows.mean().item())
    assert focal(x, F.one_hot(y, 4)[:, :3]).item() == pytest.approx(rows.mean().item())
    assert focal(x, y, weight, avg_factor=4).item() == pytest.approx((rows * weight[:, None]).sum().item() / 4)
    assert mmdet.FocalLoss(loss_weight=2.0)(x, y).item() == pytest.approx(2 * rows.mean().item())
    with pytest.raises(ValueError, match="avg_factor"):
        focal(x, y, avg_factor=4, reduction_override="sum")
    with pytest.raises(ValueError, match="reduction"):
        mmdet.FocalLoss(reduction="avg")(x, y)
    with pytest.raises(ValueError, match="softmax_focal_loss"):
        mmdet.FocalLoss(use_sigmoid=False)

    qfl = (0.4**2 + 0.5**2 * 2) * math.log(2)
    pair = (torch.tensor([0, 3]), torch.tensor([0.9, 0.0]))
    want = [qfl, 0.75 * math.log(2)]
    assert mmdet.QualityFocalLoss(reduction="none")(x, pair).tolist() == pytest.approx(want)
    dense = torch.tensor([[0.9, 0, 0], [0.0, 0, 0]])
    assert mmdet.QualityFocalLoss(reduction="none")(x, dense).tolist() == pytest.approx(want)
    assert mmdet.VarifocalLoss(reduction="none")(x, dense)[0].tolist() == pytest.approx(
        [0.9 * math.log(2), 0.1875 * math.log(2), 0.1875 * math.log(2)]
    )
    dfl = mmdet.DistributionFocalLoss()(
        torch.zeros(2, 5), torch.tensor([0.3, 2.0]), torch.tensor([1.0, 0.5]), avg_factor=4.0
    )
    assert dfl.item() == pytest.approx(1.5 * math.log(5) / 4)
    gaussian = mmdet.GaussianFocalLoss(reduction="none")(torch.tensor([0.5, 0.5, 1e-30]), torch.tensor([1.0, 0.5, 1.0]))
    assert gaussian.tolist() == pytest.approx([each, each / 16, -math.log(1e-12)], rel=1e-5)
    for kind in (mmdet.QualityFocalLoss, mmdet.VarifocalLoss):
        with pytest.raises(ValueError, match="sigmoid"):
            kind(use_sigmoid=False)


def test_mmcv_softmax_by_hand():
    loss = mmdet.softmax_focal_loss(torch.zeros(3, 2), torch.tensor([0, 1, -1]), weight=torch.tensor([1.0, 2.0]))
    assert loss.item() == pytest.approx(0.25 * 0.25 * math.log(2) * 3 / 3)


def test_keras_by_hand():
    # BinaryFocalCrossentropy documentation: y_true [0, 1, 0, 0], y_pred [-18.6, 0.51, 2.94, -12.8], gamma 2 -> 0.691
    t, x = torch.tensor([[0.0, 1, 0, 0]]), torch.tensor([[-18.6, 0.51, 2.94, -12.8]])
    assert keras.BinaryFocalCrossentropy(gamma=2, from_logits=True)(t, x).item() == pytest.approx(0.691, abs=5e-4)
    balanced = keras.BinaryFocalCrossentropy(True, 0.25, 2, from_logits=True)(t, x)
    assert balanced.item() == pytest.approx(0.51, abs=5e-3)
    assert keras.BinaryFocalCrossentropy()(torch.ones(1, 1), torch.zeros(1, 1)).item() == pytest.approx(
        16.118, abs=1e-3
    )
    smoothed = keras.BinaryFocalCrossentropy(label_smoothing=0.2, reduction="sum")(
        torch.ones(1, 1), torch.full((1, 1), 0.5)
    )
    assert smoothed.item() == pytest.approx(0.25 * math.log(2), rel=1e-5)
    # CategoricalFocalCrossentropy documentation: 0.23315276
    hot, p = torch.tensor([[0.0, 1, 0], [0, 0, 1]]), torch.tensor([[0.05, 0.95, 0], [0.1, 0.8, 0.1]])
    categorical = keras.CategoricalFocalCrossentropy()
    assert categorical(hot, p).item() == pytest.approx(0.23315276, rel=1e-5)
    each = keras.CategoricalFocalCrossentropy([0.25, 0.25, 0.25], reduction=None, label_smoothing=1e-9)(hot, p)
    assert each.mean().item() == pytest.approx(0.23315276, rel=1e-5)
    with pytest.raises(ValueError, match="reduction"):
        keras.CategoricalFocalCrossentropy(reduction="avg")(hot, p)


def test_asl_by_hand():
    x, y = torch.tensor([[0.0, 0.0]], requires_grad=True), torch.tensor([[1.0, 0.0]])
    loss = asl.AsymmetricLoss()(x, y)
    loss.backward()
    p_m = 0.45
    assert loss.item() == pytest.approx(0.5 * math.log(2) - p_m**4 * math.log(1 - p_m), rel=1e-5)
    assert x.grad[0, 0].item() == pytest.approx(-0.5 * 0.5, rel=1e-5)  # the modulator is held: (1 - p) d(-log p)
    free = asl.AsymmetricLoss(disable_torch_grad_focal_loss=False, clip=None)
    assert free(x, y).item() == pytest.approx(0.5 * math.log(2) + math.log(2) / 16, rel=1e-5)
    assert asl.AsymmetricLoss(0, 0, None)(x, y).item() == pytest.approx(2 * math.log(2), rel=1e-6)
    with torch.no_grad():
        assert not asl.AsymmetricLoss()(x, y).requires_grad  # the original switches gradients on here


def test_asl_against_timm():
    timm = pytest.importorskip("timm.loss", reason="needs timm")
    single = asl.ASLSingleLabel()(X, Y)
    assert torch.allclose(
        single, timm.AsymmetricLossSingleLabel(gamma_pos=0, gamma_neg=4, eps=0.1)(X, Y).double(), rtol=1e-6
    )
    ours = asl.AsymmetricLoss(disable_torch_grad_focal_loss=False)(X.float(), HOT.float())
    theirs = timm.AsymmetricLossMultiLabel(reduction="sum")(X.float(), HOT.float())
    assert torch.allclose(ours, theirs, rtol=1e-5)
    assert asl.ASLSingleLabel(reduction="none")(X, Y).shape == (4,)


def test_the_modules_are_found_by_name():
    assert compat.torchvision is torchvision
    with pytest.raises(AttributeError, match="there are asl"):
        compat.paddle  # noqa: B018


def test_a_sure_row_has_a_gradient_in_mmcvs_softmax_focal():
    x = torch.tensor([[100.0, 0.0], [0.0, 0.0]], requires_grad=True)
    loss = mmdet.softmax_focal_loss(x, torch.tensor([0, -1]), gamma=0.5, reduction="sum")
    loss.backward()
    assert loss == 0
    assert torch.equal(x.grad, torch.zeros(2, 2))


def test_half_inputs_are_computed_in_float32_where_there_is_an_epsilon():
    x, p = torch.tensor([[20.0, -20.0]]).half(), torch.tensor([0.0, 1.0]).half()
    one, other = torch.tensor([[0.0, 1.0]]), torch.tensor([1.0, 0.0])
    for loss in (keras.BinaryFocalCrossentropy(from_logits=True), keras.CategoricalFocalCrossentropy(from_logits=True)):
        assert torch.equal(loss(one, x), loss(one, x.float()))
    assert torch.equal(mmdet.GaussianFocalLoss()(p, other), mmdet.GaussianFocalLoss()(p.float(), other))
    y = torch.tensor([1])
    assert torch.equal(mmdet.softmax_focal_loss(x, y), mmdet.softmax_focal_loss(x.float(), y))
