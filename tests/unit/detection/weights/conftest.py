"""Photographs, and networks of other libraries with random weights and living activations."""

import pytest
import torch

from focalkit.detection import read_image


@pytest.fixture(autouse=True, scope="package")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="package")
def photographs(shared):
    """Three photographs of odd and different sizes, uint8 (3, h, w)."""
    files = sorted((shared / "data/coco_permissive158/val2017").glob("*.jpg"))[:3]
    cuts = ((479, 640), (640, 411), (333, 500))
    return [read_image(file)[:, :h, :w].contiguous() for file, (h, w) in zip(files, cuts, strict=True)]
