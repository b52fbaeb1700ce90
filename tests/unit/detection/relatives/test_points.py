import pytest
import torch

from focalkit.detection.boxes import points, quality
from focalkit.detection.boxes.points import DistanceCoder, DistributionCoder, PointGrid, square_grid


def boxes(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(n, 2, generator=generator) * 100
    return torch.cat([corner, corner + torch.rand(n, 2, generator=generator) * 60 + 2], dim=1)


def inner_cells(truth, side=8.0):
    """Cells whose centres lie in the boxes."""
    generator = torch.Generator().manual_seed(1)
    centre = truth[:, :2] + (0.05 + 0.9 * torch.rand(len(truth), 2, generator=generator)) * (
        truth[:, 2:] - truth[:, :2]
    )
    return torch.cat([centre - side / 2, centre + side / 2], dim=1)


def test_points_lie_in_the_middle_of_their_cells():
    p3, p4 = PointGrid((8, 16))([(2, 3), (1, 2)])
    assert (p3[:, :2] + 4).tolist() == [[4, 4], [12, 4], [20, 4], [4, 12], [12, 12], [20, 12]]
    assert p4.tolist() == [[0, 0, 16, 16], [16, 0, 32, 16]]
    eight = square_grid((64.0, 128.0), (8, 16))([(2, 3), (1, 2)])
    for cells, anchors in zip((p3, p4), eight, strict=True):
        torch.testing.assert_close((cells[:, :2] + cells[:, 2:]) / 2, (anchors[:, :2] + anchors[:, 2:]) / 2)
        torch.testing.assert_close((cells[:, 2:] - cells[:, :2]) * 8, anchors[:, 2:] - anchors[:, :2])


@pytest.mark.parametrize("unit", [1.0, 0.125])
def test_distances_are_decoded_to_the_box_they_came_from(unit):
    truth = boxes(50)
    cells = inner_cells(truth)
    coder = DistanceCoder(unit)
    torch.testing.assert_close(coder.decode(coder.encode(truth, cells), cells), truth, atol=1e-3, rtol=1e-5)


def test_a_distance_is_counted_in_units_from_the_centre():
    cell, box = torch.tensor([[0.0, 0.0, 8.0, 8.0]]), torch.tensor([[-4.0, 0.0, 12.0, 20.0]])
    torch.testing.assert_close(points.distances(box, cell), torch.tensor([[1.0, 0.5, 1.0, 2.0]]))
    torch.testing.assert_close(DistanceCoder(1 / 8).encode(box, cell).exp(), torch.tensor([[8.0, 4.0, 8.0, 16.0]]))
    torch.testing.assert_close(DistributionCoder(17, 1 / 8).encode(box, cell), torch.tensor([[8.0, 4.0, 8.0, 16.0]]))


def test_what_cannot_be_encoded_is_bounded():
    cell, elsewhere = torch.tensor([[0.0, 0.0, 8.0, 8.0]]), torch.tensor([[100.0, 100.0, 900.0, 900.0]])
    assert DistanceCoder().encode(elsewhere, cell).isfinite().all()
    positions = DistributionCoder(17).encode(elsewhere, cell)
    assert positions.tolist() == [[0, 0, 16, 16]]
    far = DistanceCoder().decode(torch.full((1, 4), 1e4), cell)
    torch.testing.assert_close(far, torch.tensor([[4 - 8000.0, 4 - 8000.0, 4 + 8000.0, 4 + 8000.0]]))


def test_a_distribution_on_two_neighbours_is_their_mean():
    scores = torch.full((1, 4, 17), -torch.inf)
    scores[:, :, 3], scores[:, :, 4] = torch.log(torch.tensor(0.25)), torch.log(torch.tensor(0.75))
    cell = torch.tensor([[0.0, 0.0, 8.0, 8.0]])
    expected = torch.tensor([[4 - 3.75 * 8, 4 - 3.75 * 8, 4 + 3.75 * 8, 4 + 3.75 * 8]])
    torch.testing.assert_close(DistributionCoder(17).decode(scores.flatten(1), cell), expected)


def test_half_precision_is_decoded_in_single():
    cell = torch.tensor([[0.0, 0.0, 8.0, 8.0]])
    assert DistanceCoder().decode(torch.zeros(1, 4).half(), cell).dtype == torch.float32
    assert DistributionCoder(5).decode(torch.zeros(1, 20).bfloat16(), cell).dtype == torch.float32


def test_a_distribution_needs_two_bins():
    with pytest.raises(ValueError, match="at least 2 bins, got 1"):
        DistributionCoder(1)


def test_centerness_is_the_papers_formula():
    truth = boxes(40)
    cells = inner_cells(truth)
    got = quality.centerness(cells, truth)
    for value, (x0, y0, x1, y1), cell in zip(got.tolist(), truth.tolist(), cells.tolist(), strict=True):
        x, y = (cell[0] + cell[2]) / 2, (cell[1] + cell[3]) / 2
        left, top, right, bottom = x - x0, y - y0, x1 - x, y1 - y
        ratio = min(left, right) / max(left, right) * min(top, bottom) / max(top, bottom)
        assert value == pytest.approx(ratio**0.5, rel=1e-4)
    middle = torch.cat([(truth[:, :2] + truth[:, 2:]) / 2 - 4, (truth[:, :2] + truth[:, 2:]) / 2 + 4], dim=1)
    torch.testing.assert_close(quality.centerness(middle, truth), torch.ones(40), atol=1e-4, rtol=0)
    assert (quality.centerness(cells, truth + 500) == 0).all()


def test_iou_is_torchvisions():
    from torchvision.ops import box_iou

    one, other = boxes(60, 1), boxes(60, 2)
    torch.testing.assert_close(quality.iou(one, other), box_iou(one, other).diagonal())
    nothing = torch.zeros(1, 4)
    assert quality.iou(nothing, nothing).tolist() == [0]
    crossed = torch.tensor([[5.0, 5.0, 1.0, 1.0]])  # a prediction whose sides have changed places
    assert quality.iou(crossed, torch.tensor([[0.0, 0.0, 6.0, 6.0]])).tolist() == [0]
