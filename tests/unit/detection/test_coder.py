import math

import pytest
import torch
from torchvision.models.detection._utils import BoxCoder

from focalkit.detection import DeltaXYWH


def boxes(n, seed):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(n, 2, generator=generator) * 500
    return torch.cat([corner, corner + 1 + torch.rand(n, 2, generator=generator) * 300], dim=1)


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0)])
def test_it_encodes_and_decodes_as_torchvision_does(weights):
    truth, priors = boxes(200, 0), boxes(200, 1)
    deltas = DeltaXYWH(weights).encode(truth, priors)
    theirs = BoxCoder(weights)
    torch.testing.assert_close(deltas, theirs.encode_single(truth, priors), rtol=1e-4, atol=1e-4)
    moved = deltas + 0.3
    torch.testing.assert_close(DeltaXYWH(weights).decode(moved, priors), theirs.decode_single(moved, priors))


def test_decoding_undoes_encoding():
    truth, priors = boxes(200, 2), boxes(200, 3)
    coder = DeltaXYWH()
    torch.testing.assert_close(coder.decode(coder.encode(truth, priors), priors), truth, rtol=1e-5, atol=1e-3)


def test_a_huge_size_is_bounded_and_a_tiny_one_is_not():
    prior = torch.tensor([[0.0, 0.0, 16.0, 16.0]])
    large = DeltaXYWH().decode(torch.tensor([[0.0, 0.0, 1e4, math.log(1000 / 16)]]), prior)
    assert (large[:, 2:] - large[:, :2]).tolist() == [[pytest.approx(1000), pytest.approx(1000)]]
    small = DeltaXYWH().decode(torch.tensor([[0.0, 0.0, -10.0, -10.0]]), prior)
    assert (small[:, 2:] - small[:, :2]).max() < 1e-3


def test_half_precision_is_decoded_in_float32():
    out = DeltaXYWH().decode(torch.zeros(1, 4, dtype=torch.float16), torch.tensor([[0.0, 0.0, 1001.0, 1.0]]))
    assert out.dtype == torch.float32
    assert out[0, 2] == 1001


def test_a_box_without_area_encodes_to_finite_numbers():
    assert DeltaXYWH().encode(torch.zeros(1, 4), torch.tensor([[0.0, 0.0, 8.0, 8.0]])).isfinite().all()
