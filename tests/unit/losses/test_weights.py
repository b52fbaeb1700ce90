"""A weight broadcasts up to the unreduced loss and never enlarges it; what `weights.of_labels` makes always fits."""

import pytest
import torch

from focalkit import losses as L
from focalkit import weights
from focalkit.testing import case_of

X, Y = torch.tensor([[2.0, 0.0], [0.0, 0.0]], dtype=torch.float64), torch.tensor([0, 1])


def test_one_weight_per_row_may_keep_the_class_axis():
    # -log p: log(1 + e^-2) and log 2
    assert L.cross_entropy(X, Y, weight=torch.tensor([[1.0], [3.0]])).item() == pytest.approx(1.1031847764, abs=1e-10)
    assert L.cross_entropy(X, Y, weight=torch.tensor([1.0, 3.0])).item() == pytest.approx(1.1031847764, abs=1e-10)


@pytest.mark.parametrize(
    "loss", ["ce", "softmax_focal", "balanced_softmax", "flsd", "dual_focal", "seesaw", "ada_focal", "cyclical_focal"]
)
@pytest.mark.parametrize("dim", [1, -1])
def test_the_same_weight_of_rows_fits_a_softmax_and_a_sigmoid(loss, dim):
    case = case_of(loss)
    y = torch.randint(0, 4, (3, 5))
    x = torch.randn((3, 4, 5) if dim == 1 else (3, 5, 4), dtype=torch.float64)
    w = weights.of_labels([0.5, 1.0, 2.0, 4.0], y, class_dim=dim).double()
    softmax = case.build((3, 4, 5), class_dim=dim).double().eval()
    assert softmax(x, y, weight=w) == softmax(x, y, weight=w.squeeze(dim))
    L.SigmoidFocalLoss(class_dim=dim)(x, y, weight=w)


def test_a_vector_of_rows_is_refused_where_it_would_weigh_the_columns():
    square = torch.zeros(2, 2)
    words = r"weight of shape \(2,\) .* loss of shape \(2, 2\).* per row has shape \(2, 1\).* class_weight"
    for call in (L.sigmoid_focal_loss, L.binary_cross_entropy, L.EQLv2(2), L.GHMC(), L.dice_loss):
        with pytest.raises(ValueError, match=words):
            call(square, square, weight=torch.tensor([1.0, 3.0]))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64])
def test_labels_of_any_integer_type_find_their_weight(dtype):
    assert weights.of_labels([1.0, 3.0], torch.tensor([1, 0], dtype=dtype)).tolist() == [[3.0], [1.0]]


def test_ignored_labels_weigh_nothing():
    labels = torch.tensor([1, -1, -100, 255])
    assert weights.of_labels([1.0, 3.0], labels[:3]).tolist() == [[3.0], [1.0], [0.0]]
    assert weights.of_labels([1.0, 3.0], labels[[0, 1, 3]], ignore_index=255).tolist() == [[3.0], [1.0], [0.0]]
    assert weights.of_labels([1.0, 3.0], labels[:2], ignore_index=None, class_dim=None).tolist() == [3.0, 1.0]


@pytest.mark.parametrize(
    ("table", "labels", "error", "words"),
    [
        ([1.0, 3.0], torch.tensor([2]), ValueError, "below 2, .* got 2"),
        ([1.0, 3.0], torch.tensor([1.0]), TypeError, "class indices, got torch.float32"),
        ([[1.0, 3.0]], torch.tensor([1]), ValueError, "vector over the classes"),
    ],
)
def test_labels_without_a_weight_are_refused(table, labels, error, words):
    with pytest.raises(error, match=words):
        weights.of_labels(table, labels)
