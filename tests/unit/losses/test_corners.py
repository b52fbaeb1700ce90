"""Corners that no family of cases in `focalkit.testing` reaches."""

import pytest
import torch

import focalkit.losses as L


@pytest.mark.parametrize(
    ("loss", "parameter"),
    [(L.quality_focal_loss, "beta"), (L.varifocal_loss, "gamma"), (L.gaussian_focal_loss, "alpha")],
)
def test_a_number_may_change_from_call_to_call_inside_torch_compile(loss, parameter):
    def fast(x, t, value):
        return loss(x, t, **{parameter: value})

    compiled = torch.compile(fast, fullgraph=True, backend="eager")
    x, t = torch.linspace(-2, 2, 12).view(4, 3), torch.linspace(0, 1, 12).view(4, 3)
    for value in (0.5, 1.5, 1.7):
        torch.testing.assert_close(compiled(x, t, value), fast(x, t, value))


def test_weight_0_hides_a_nan_from_dense_targets_and_from_labels():
    x = torch.linspace(-2, 2, 12).view(4, 3)
    labels, weight = torch.tensor([0, -1, 2, 1]), torch.tensor([1.0, 1.0, 0.0, 1.0]).view(4, 1)
    dense = (labels.view(4, 1) == torch.arange(3)).float()
    wanted = L.sigmoid_focal_loss(x, labels, weight=weight)
    x = x.index_fill(0, torch.tensor([2]), float("nan")).requires_grad_()
    for targets in (labels, dense):
        value = L.sigmoid_focal_loss(x, targets, weight=weight, backend="eager")
        torch.testing.assert_close(value, wanted)
        (gradient,) = torch.autograd.grad(value, x)
        assert not gradient[2].any()
        assert gradient.isfinite().all()
