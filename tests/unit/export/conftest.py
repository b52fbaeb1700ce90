"""One small detector and its files, written once for all tests of this folder."""

import copy

import numpy as np
import pytest
import torch

from focalkit.config import NumericsConfig
from focalkit.detection import Detector, retinanet
from focalkit.export import FORMATS, _onnx, export_detector

NAMES = ("cat", "dog", "bird")


def make_detector(numerics=None, **more):
    """Random weights with scores all over (0, 1), and live statistics in the norms."""
    torch.manual_seed(0)
    model = retinanet(3, "tiny", fpn_channels=16, head_channels=16, head_depth=1, prior_prob=0.1, numerics=numerics)
    model.train()(torch.rand(4, 3, 64, 64))
    with torch.no_grad():
        model.head.class_output.weight.normal_(std=0.4)
        model.head.box_output.weight.normal_(std=0.1)
    settings = {"names": NAMES, "category_ids": (3, 5, 9), "min_size": 96, "max_size": 160}
    return Detector(model.eval(), **settings, **more)


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def detector():
    return make_detector()


@pytest.fixture(scope="session")
def images():
    """Smooth noise of odd sizes."""
    rng = np.random.default_rng(0)
    sizes = [(96, 131), (70, 55), (200, 120), (31, 90), (96, 96)]
    small = [torch.from_numpy(rng.random((1, 3, h // 8 + 1, w // 8 + 1))) for h, w in sizes]
    smooth = [torch.nn.functional.interpolate(x, s, mode="bilinear")[0] for x, s in zip(small, sizes, strict=True)]
    return [(image * 255).to(torch.uint8) for image in smooth]


@pytest.fixture(scope="session")
def exported(detector, tmp_path_factory):
    """(format, with_nms) -> what `export_detector` gave; each is written when first asked for."""
    folder, cache = tmp_path_factory.mktemp("exported"), {}
    patch = pytest.MonkeyPatch()
    for name in ("network", "postprocess"):  # both formats that come from ONNX take the same
        patch.setattr(_onnx, name, once(getattr(_onnx, name)))

    def get(format, with_nms):
        if (format, with_nms) not in cache:
            path = folder / f"{'nms' if with_nms else 'raw'}{FORMATS[format]}"
            cache[format, with_nms] = export_detector(
                detector, path, format=format, with_nms=with_nms, display_threshold=0.4
            )
        return cache[format, with_nms]

    yield get
    patch.undo()


def once(convert):
    """Converts a detector the first time; later calls get a copy."""
    results = {}

    def wrapped(detector):
        if id(detector) not in results:
            results[id(detector)] = detector, convert(detector)
        return copy.deepcopy(results[id(detector)][1])

    return wrapped


@pytest.fixture(scope="session")
def torchvision_like():
    """Everything that other libraries do in another way, at once."""
    return make_detector(
        NumericsConfig(
            p6_from="p5",
            rounded_anchors=True,
            anchor_stride="image",
            bound_shrink=True,
            clip="after_nms",
            max_detections=30,
            resize="torchvision",
        )
    )
