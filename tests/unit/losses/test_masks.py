"""Lovász, distance and centre-line losses: worked values, other libraries, masks without an outline."""

import math
import warnings

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt

from focalkit import losses as L
from focalkit.losses._centerline import _centerline
from reference import focal as F
from reference import masks as M

SORTED = ["lovasz_hinge", "lovasz_softmax", "lovasz_softmax(batch=True)", "generalized_dice"]
BLOB = torch.zeros(1, 1, 12, 16)
BLOB[..., 3:8, 4:11] = 1
BLOB[..., 5:9, 9:15] = 1
BLOB[..., 5, 6] = 0


def drawn(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def labels(*shape, lowest=0, classes=3):
    return torch.randint(lowest, classes, shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_along_a_longer_line_they_equal_their_transcriptions(seed):
    x, t = 3 * drawn(1, 1, 11, seed=seed), (drawn(1, 1, 11, seed=seed + 10) > 0).double()
    t[..., :3], t[..., -2:] = 1, 0  # there is an outline
    p, mask = [F.sigmoid(v) for v in x.flatten().tolist()], t.flatten().tolist()
    assert L.boundary_loss(x, t).item() == pytest.approx(float(M.boundary(p, mask)), rel=1e-12)
    for alpha in (1.0, 2.0):
        assert L.hausdorff_loss(x, t, alpha=alpha).item() == pytest.approx(
            float(M.hausdorff(p, mask, alpha)), rel=1e-12
        )
    for iterations in (0, 1, 4):
        want = float(M.cldice(p, mask, iterations, 1.0))
        assert L.cldice_loss(x, t, iterations=iterations).item() == pytest.approx(want, rel=1e-12)


@pytest.mark.parametrize("per_image", [True, False])
def test_lovasz_is_that_of_smp(per_image):
    smp = pytest.importorskip("segmentation_models_pytorch")
    x, y = drawn(3, 4, 5, 6).float(), labels(3, 5, 6)
    y[0, 2, 1:4] = 255
    theirs = smp.losses.LovaszLoss("multiclass", per_image=per_image, ignore_index=255)
    each = L.lovasz_softmax_loss(x, y, batch=not per_image, ignore_index=255, reduction="none")
    # the fourth class is in no image, and both leave it out
    torch.testing.assert_close(each.sum(-1).mean() / 3, theirs(x, y))
    mask = torch.where(y == 255, 255, (y == 1).long())
    theirs = smp.losses.LovaszLoss("binary", per_image=per_image, ignore_index=255)
    dense = mask.unsqueeze(1).float()
    ours = L.lovasz_hinge_loss(x[:, :1], dense, batch=not per_image, ignore_index=255)
    torch.testing.assert_close(ours, theirs(x[:, :1], mask))


def test_lovasz_of_certain_predictions_is_the_iou_loss():
    truth, said = torch.tensor([[[1.0, 1, 1, 0, 0, 0]]]), torch.tensor([[[1.0, 0, 1, 1, 0, 0]]])
    assert L.lovasz_softmax_loss(200 * (said - 0.5), truth, activation="sigmoid").item() == pytest.approx(1 - 2 / 4)
    # a hinge at logits of -1 and 1 charges 2 for an error and nothing else
    assert L.lovasz_hinge_loss(2 * said - 1, truth).item() == pytest.approx(2 * (1 - 2 / 4))


def test_an_empty_mask_costs_its_largest_error_or_nothing():
    x, nothing = torch.tensor([[[-3.0, 0.5, 1.5]]], requires_grad=True), torch.zeros(1, 1, 3)
    assert L.lovasz_hinge_loss(x, nothing).item() == pytest.approx(2.5)
    counted = L.lovasz_softmax_loss(x, nothing, activation="sigmoid", absent="count")
    assert counted.item() == pytest.approx(torch.sigmoid(x).max().item())
    skipped = (
        L.lovasz_softmax_loss(x, nothing, activation="sigmoid"),
        L.lovasz_hinge_loss(x, nothing, absent="skip"),
    )
    for loss in skipped:
        assert loss == 0
        assert (torch.autograd.grad(loss, x)[0] == 0).all()


def test_lovasz_wants_sets():
    with pytest.raises(ValueError, match="targets must be 0 or 1, because the IoU is one of sets"):
        L.lovasz_hinge_loss(torch.zeros(1, 1, 2), torch.tensor([[[0.5, 1.0]]]))


def test_ignored_pixels_are_in_no_sorting_and_no_mean():
    x, t = drawn(2, 3, 6, seed=3), labels(2, 6)
    x[..., 4:] = math.nan
    cut = t.clone()
    cut[:, 4:] = -100
    for name in SORTED:
        loss = L.build(name, reduction="none")
        torch.testing.assert_close(loss(x, cut), loss(x[..., :4], t[:, :4]))
    for name in ("boundary", "hausdorff", "cldice"):  # where an ignored place is background and in no sum
        leaf, other = x.clone().requires_grad_(), x.nan_to_num(0.0)
        loss = L.build(name)(leaf, cut)
        torch.testing.assert_close(loss, L.build(name)(other, cut))
        assert (torch.autograd.grad(loss, leaf)[0][..., 4:] == 0).all()


@pytest.mark.parametrize("name", SORTED)
def test_a_weight_of_pixels_is_that_many_pixels(name):
    x, t, times = drawn(2, 3, 4), labels(2, 4, lowest=-1), torch.tensor([1, 3, 0, 2])
    loss = L.build(name, reduction="none")
    want = loss(x.repeat_interleave(times, 2), t.repeat_interleave(times, 1))
    torch.testing.assert_close(loss(x, t, weight=times.double().view(1, 1, 4)), want)


@pytest.mark.parametrize("name", ["boundary", "hausdorff"])
def test_a_weight_of_pixels_multiplies_them(name):
    x, t, loss = drawn(1, 1, 12, 16), BLOB.double(), L.build(name)
    one, other = (drawn(1, 1, 12, 16, seed=seed).abs() for seed in (5, 6))
    torch.testing.assert_close(loss(x, t, weight=one + other), loss(x, t, weight=one) + loss(x, t, weight=other))
    torch.testing.assert_close(loss(x, t, weight=torch.ones_like(x)), loss(x, t))


def test_signed_distances_are_those_of_scipy():
    for shape in ((2, 3, 9), (2, 2, 7, 11), (1, 2, 5, 4, 6)):
        mask = drawn(*shape) < 0.5
        found = L.signed_distances(mask)
        for image, one in zip(mask.flatten(0, 1).numpy(), found.flatten(0, 1), strict=True):
            want = distance_transform_edt(~image) * ~image - (distance_transform_edt(image) - 1) * image
            np.testing.assert_allclose(one, want, atol=1e-5)


@pytest.mark.parametrize("full", [True, False])
def test_masks_without_an_outline_have_no_distances(full):
    mask = torch.full((1, 1, 4, 4), float(full))
    assert (L.signed_distances(mask > 0) == 0).all()
    x = torch.full((1, 1, 4, 4), 1.0 if full else -1.0, requires_grad=True)  # right, and not sure
    for loss in (L.boundary_loss(x, mask), L.hausdorff_loss(x, mask)):
        assert loss == 0
        assert (torch.autograd.grad(loss, x)[0] == 0).all()


@pytest.mark.parametrize("shape", [(1, 2, 0, 0), (1, 2, 3, 0), (0, 2, 3, 4)])
@pytest.mark.parametrize("name", [*SORTED, "boundary", "hausdorff", "cldice", "dice", "tversky(batch=True)"])
def test_without_pixels_they_are_0(name, shape):
    x = torch.zeros(shape, requires_grad=True)
    loss = L.build(name)(x, torch.zeros(shape))
    assert loss == 0
    loss.backward()


def test_distances_of_the_data_set_need_not_be_computed_again():
    x, t = torch.randn(1, 2, 12, 16), torch.cat([BLOB, 1 - BLOB], 1)
    distances = L.signed_distances(t > 0)
    torch.testing.assert_close(L.BoundaryLoss()(x, t, distances=distances), L.boundary_loss(x, t))
    moved = L.boundary_loss(x.movedim(1, -1), t.movedim(1, -1), distances=distances.movedim(1, -1), class_dim=-1)
    torch.testing.assert_close(moved, L.boundary_loss(x, t))
    with pytest.raises(ValueError, match=r"distances must be shaped like the logits \(1, 2, 12, 16\)"):
        L.boundary_loss(x, t, distances=distances[:, :1])
    with pytest.raises(TypeError, match="distances belongs to a batch"):
        L.BoundaryLoss(distances=distances)


def test_the_boundary_loss_grows_as_a_mask_moves_away():
    x = 20 * (2 * BLOB - 1)
    losses = [L.boundary_loss(x.roll(step, 2), BLOB).item() for step in (0, 1, 3)]
    assert losses[0] < 0
    assert losses == sorted(losses)


def test_the_hausdorff_loss_is_that_of_monai():
    monai = pytest.importorskip("monai")
    x, t = drawn(2, 2, 8, 9), (drawn(2, 2, 8, 9, seed=4) > 0.8).double()
    for alpha in (1.0, 2.0):
        theirs = monai.losses.HausdorffDTLoss(alpha=alpha, include_background=True, sigmoid=True, reduction="none")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            want = theirs(x, t).view(2, 2)
        torch.testing.assert_close(L.hausdorff_loss(x, t, alpha=alpha, reduction="none"), want, rtol=1e-5, atol=1e-6)


def test_the_skeleton_is_that_of_monai():
    theirs = pytest.importorskip("monai.losses.cldice")
    for p in (torch.rand(2, 3, 10, 11), torch.rand(1, 2, 6, 7, 8), BLOB):
        for iterations in (0, 3):
            torch.testing.assert_close(_centerline(p, iterations), theirs.soft_skel(p, iterations))


def test_a_gap_in_a_thin_line_costs_as_much_as_in_a_thick_one():
    losses = []
    for rows in (slice(7, 8), slice(5, 10)):
        mask = torch.zeros(1, 1, 15, 20)
        mask[..., rows, 2:18] = 1
        said = mask.clone()
        said[..., 9:11] = 0
        losses.append(L.cldice_loss(200 * (said - 0.5), mask, smooth=0.0).item())
    assert losses[0] == pytest.approx(2 / 16 / (2 - 2 / 16))  # a sixteenth less sensitivity on either side
    assert losses[1] == pytest.approx(losses[0], abs=0.03)


def test_generalized_dice_is_dice_with_one_class_and_counts_classes_alike():
    x, t = drawn(2, 1, 7), (drawn(2, 1, 7, seed=1) > 0).double()
    torch.testing.assert_close(L.generalized_dice_loss(x, t), L.dice_loss(x, t))
    mask = torch.zeros(1, 2, 10)  # classes of 1 and 9 pixels, either of which is missed
    mask[0, 0, 0], mask[0, 1, 1:] = 1, 1
    loss = L.GeneralizedDiceLoss(smooth=0.0)
    missed = [loss(200 * (mask * torch.tensor(keep).view(1, 2, 1) - 0.5), mask).item() for keep in ([0, 1], [1, 0])]
    assert missed == pytest.approx([1 / (1 + 18 / 81), 9 / 81 / (2 + 9 / 81)])


def test_a_class_that_is_not_shown_weighs_as_the_smallest_or_nothing():
    monai = pytest.importorskip("monai")
    x, t = drawn(2, 3, 4, 5), torch.zeros(2, 3, 4, 5, dtype=torch.float64)
    t[:, 0, 0], t[:, 1, 1:] = 1, 1
    theirs = monai.losses.GeneralizedDiceLoss(sigmoid=True, smooth_nr=0.0, smooth_dr=0.0)
    torch.testing.assert_close(L.generalized_dice_loss(x, t, smooth=0.0), theirs(x, t))
    skipped = L.generalized_dice_loss(x, t, smooth=0.0, absent="skip")
    torch.testing.assert_close(skipped, L.generalized_dice_loss(x[:, :2], t[:, :2], smooth=0.0))


def test_tversky_at_one_is_the_jaccard_loss_of_smp():
    smp = pytest.importorskip("segmentation_models_pytorch")
    x, t = drawn(2, 3, 4, 5), (drawn(2, 3, 4, 5, seed=1) > 0).double()
    theirs = smp.losses.JaccardLoss("multilabel", smooth=1.0, eps=0.0)
    torch.testing.assert_close(L.tversky_loss(x, t, fp_weight=1.0, fn_weight=1.0, batch=True), theirs(x, t))


@pytest.mark.parametrize(
    "name", ["lovasz_hinge", "lovasz_softmax", "generalized_dice", "boundary", "hausdorff", "cldice"]
)
def test_with_dice_they_find_a_mask(name):
    x = (0.01 * drawn(1, 1, 12, 16)).float().requires_grad_()
    sigmoid = {"activation": "sigmoid"} if name == "lovasz_softmax" else {}
    weight = {"boundary": 0.1, "cldice": 0.1}.get(name, 1.0)
    own = L.build(name, **sigmoid)
    loss, before = L.Sum({"dice": 1.0, own: weight}), own(x, BLOB).item()
    optimizer = torch.optim.Adam([x], lr=0.6)
    for _ in range(60):
        optimizer.zero_grad()
        loss(x, BLOB).backward()
        optimizer.step()
    assert ((x > 0) != (BLOB > 0)).sum() <= 8  # of 192, a hole and corners among them
    assert own(x, BLOB).item() < before - 0.1, "Dice alone would have found it, and taught the other nothing"
