"""One small detector and its files, written once for all tests of this folder."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from focalkit.config import ModelConfig, NumericsConfig
from focalkit.detection import Detector, DistributionCoder, RTMDetHead, build_detector
from focalkit.export import FORMATS, _onnx, _torch, _trace, export_detector
from focalkit.export._form import Form

NAMES = ("cat", "dog", "bird")
MODEL = ModelConfig("tiny", fpn_channels=16, head_channels=16, head_depth=1, prior_prob=0.1)


def make_detector(config=MODEL, **more):
    """Random weights with scores all over (0, 1), and live statistics in the norms."""
    torch.manual_seed(0)
    model = build_detector(config, 3)
    for norm in model.head.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.momentum = 1.0  # all of the statistics in one pass
    model.train()(torch.rand(4, 3, 64, 64))
    with torch.no_grad():
        for name, weight in model.head.named_parameters():
            if name.startswith(("class_output", "box_output")) and name.endswith("weight"):
                weight.normal_(std=0.4 if name.startswith("class") else 0.1)
        if isinstance(model.head, RTMDetHead):  # its outputs sum a ninth of what a 3x3 convolution does
            for output in model.head.class_output:
                output.weight.mul_(3.0)
                output.bias.zero_()
        if getattr(model.head, "quality_output", None) is not None:
            model.head.quality_output.weight.normal_(std=0.4)
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


@pytest.fixture(autouse=True, scope="session")
def converted_once():
    """The slow steps are done once for all tests and formats: a network is known by its weights."""
    patch = pytest.MonkeyPatch()
    trace = once(_trace.trace_network, weights_of, lambda program: program)
    for module, name, step in (
        (_onnx, "trace_network", trace),
        (_torch, "trace_network", trace),
        (_onnx, "network", once(_onnx.network, weights_of, copy.deepcopy)),
        (_onnx, "postprocess", once(_onnx.postprocess, id, copy.deepcopy)),
    ):
        patch.setattr(module, name, step)
    yield
    patch.undo()


def once(convert, key, copied):
    """Converts the first detector of a key; later calls get a copy."""
    results = {}

    def wrapped(detector, form):
        known = key(detector), replace(form, half=False) if isinstance(form, Form) else form
        if known not in results:
            results[known] = detector, convert(detector, form)  # the detector too, or its id could come again
        return copied(results[known][1])

    return wrapped


def weights_of(detector):
    """The bytes of all weights."""
    return b"".join(t.contiguous().numpy().tobytes() for t in detector.model.state_dict().values())


@pytest.fixture(scope="session")
def exported(detector, tmp_path_factory):
    """(format, with_nms) -> what `export_detector` gave; each is written when first asked for."""
    folder, cache = tmp_path_factory.mktemp("exported"), {}

    def get(format, with_nms):
        if (format, with_nms) not in cache:
            path = folder / f"{'nms' if with_nms else 'raw'}{FORMATS[format]}"
            cache[format, with_nms] = export_detector(
                detector, path, format=format, with_nms=with_nms, display_threshold=0.4
            )
        return cache[format, with_nms]

    return get


class FinestLevels(torch.nn.Module):
    """Of a pyramid the first two levels alone: enough to confuse, quick to run."""

    def __init__(self, neck):
        super().__init__()
        self.neck = neck

    def forward(self, features):
        return self.neck(features)[:2]


def make_relative(name):
    """A relative of RetinaNet with up to two levels, or as many as its head has outputs of their own for."""
    one = make_detector(replace(MODEL, detector=name, head_norm="group"))
    if name not in ("centernet", "rtmdet"):
        one.model.neck = FinestLevels(one.model.neck)
        fields = [field for field in ("strides", "sizes") if hasattr(one.model.priors, field)]
        one.model.priors = replace(
            one.model.priors, **{field: getattr(one.model.priors, field)[:2] for field in fields}
        )
    return one


def make_everything():
    """Peaks of one map, sides as distributions, a quality: all that RetinaNet has not, in a graph of few nodes."""
    one = make_relative("centernet")
    head = one.model.head
    head.box_output = torch.nn.Conv2d(16, 4 * 5, 3, padding=1)
    head.quality_output = torch.nn.Conv2d(16, 1, 3, padding=1)
    one.postprocess = replace(one.postprocess, coder=DistributionCoder(5), iou_threshold=0.6)
    return one


@pytest.fixture(scope="session")
def detectors(detector):
    """Name -> a small detector, made when first asked for."""
    # everything that other libraries do in another way, at once
    numerics = NumericsConfig(
        p6_from="p5",
        rounded_anchors=True,
        anchor_stride="image",
        clamp_dwdh_min=True,
        clip="after_nms",
        max_detections=30,
        resize="torchvision",
    )
    made = {"retinanet": detector}

    def get(name):
        if name not in made:
            if name == "torchvision":
                made[name] = make_detector(replace(MODEL, numerics=numerics))
            elif name == "plain":
                plain = NumericsConfig(plain_distances=True)
                made[name] = make_detector(replace(MODEL, detector="rtmdet", numerics=plain))
            else:
                made[name] = make_everything() if name == "everything" else make_relative(name)
        return made[name]

    return get
