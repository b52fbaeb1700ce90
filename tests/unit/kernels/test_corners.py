"""What fuzzing and use found: maths and arguments that nobody expects."""

import pytest
import torch

import focalkit.losses as L
from focalkit.kernels import explain, fuse


@pytest.mark.usefixtures("no_compiler")
def test_maths_that_cannot_be_taken_apart_is_computed_as_it_is():
    x, t = torch.randn(60, 5, requires_grad=True), torch.rand(60, 5)
    memory = torch.rand(5, requires_grad=True)
    for maths in (
        lambda x, t: -t * x.log_softmax(1),
        lambda x, t: x * memory - t,
        lambda x, t: x if x.sum() > 0 else x - t,
    ):
        torch.testing.assert_close(fuse(maths)(x, t), maths(x, t).sum(), rtol=0, atol=0)


def test_fuse_says_what_is_wrong_with_what_it_is_given():
    @fuse
    def line(logits, targets, slope=1.0):
        return slope * logits - targets

    x = torch.zeros(4)
    for arguments, message in (
        ((x.long(), x), "floating"),
        (([0.0], x), "logits must be a tensor"),
        ((x, 1.0), "targets"),
    ):
        with pytest.raises(TypeError, match=message):
            line(*arguments)
    with pytest.raises(ValueError, match="backend must be"):
        line(x, x, backend="quick")
    with pytest.raises(TypeError, match="numbers or tensors"):
        line(x, x, slope=[1.0])
    with pytest.raises(TypeError, match="takes a function"):
        fuse(3)
    with pytest.raises(ValueError, match="rename it"):
        fuse(lambda logits, targets, reduction: logits)


def test_explain_takes_shapes_of_levels_weights_and_eager():
    levels, labels = [(2, 18, 8, 8), (2, 18, 4, 4)], [(2, 9, 8, 8), (2, 9, 4, 4)]
    assert explain(L.dense_sigmoid_focal_loss, levels, labels, num_classes=2).backend in ("chunked", "compiled")
    assert explain("softmax_focal", (200, 8), (200,), weight=torch.ones(200)).backend in ("chunked", "compiled")
    assert explain("focal", (200, 8), (200,), backend="eager").reason == "asked for"
