"""Files of Detectron2's RetinaNet: `.pkl` of the model zoo, `.pth` of a training.

Facts from its sources: `modeling/meta_arch/retinanet.py` and `dense_detector.py`, `modeling/anchor_generator.py`,
`modeling/backbone/fpn.py`, `configs/Base-RetinaNet.yaml`. The anchors of a cell are numbered scale * 3 + ratio. Images
are blue, green, red, 0 to 255, with the mean subtracted. Not here: towers with a norm, whose convolutions keep a bias
there.
"""

import re
from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from focalkit.config import NumericsConfig
from focalkit.detection.weights.layouts.layout import Layout, Style

LAYOUT = Layout(
    name="detectron2",
    library="Detectron2",
    mark=re.compile(r"backbone\.bottom_up\..*|head\.cls_subnet\..*"),
    table=(
        ("backbone.bottom_up.stem.conv1.weight", "backbone.body.conv1.weight"),
        ("backbone.bottom_up.stem.conv1.norm.{p}", "backbone.body.bn1.{p}"),
        ("backbone.bottom_up.res{l+1}.{i}.conv{j}.weight", "backbone.body.layer{l}.{i}.conv{j}.weight"),
        ("backbone.bottom_up.res{l+1}.{i}.conv{j}.norm.{p}", "backbone.body.layer{l}.{i}.bn{j}.{p}"),
        ("backbone.bottom_up.res{l+1}.{i}.shortcut.weight", "backbone.body.layer{l}.{i}.downsample.0.weight"),
        ("backbone.bottom_up.res{l+1}.{i}.shortcut.norm.{p}", "backbone.body.layer{l}.{i}.downsample.1.{p}"),
        ("backbone.fpn_lateral{n+3}.{p}", "neck.lateral.{n}.{p}"),
        ("backbone.fpn_output{n+3}.{p}", "neck.output.{n}.{p}"),
        ("backbone.top_block.p{n}.{p}", "neck.p{n}.{p}"),
        ("head.cls_score.{p}", "head.class_output.{p}"),
        ("head.bbox_pred.{p}", "head.box_output.{p}"),
        ("head.cls_subnet.{c*2}.{p}", "head.class_tower.convs.{c}.{p}"),
        ("head.bbox_subnet.{c*2}.{p}", "head.box_tower.convs.{c}.{p}"),
    ),
    anchors=(0, 3, 6, 1, 4, 7, 2, 5, 8),
)

STYLE = Style(
    NumericsConfig(
        stride_in_1x1=True,
        clip="after_nms",
        pixel_mean=(123.675 / 255, 116.28 / 255, 103.53 / 255),
        pixel_std=(1 / 255, 1 / 255, 1 / 255),
        resize="detectron2",
    ),
    bgr=True,
)


def read_pixels(tensors: Mapping[str, Tensor]) -> Style:
    """The style with the mean and deviation that older files hold, in the order in which the network takes colours.

    A mean that falls from the first to the last colour is red, green, blue: of photographs, red is the brightest.
    """
    mean, std = (tensors.get(f"pixel_{name}") for name in ("mean", "std"))
    if mean is None or std is None or mean.numel() != 3 or std.numel() != 3:
        return STYLE
    bgr = bool(mean.flatten()[0] <= mean.flatten()[2])
    step = -1 if bgr else 1
    return Style(replace(STYLE.numerics, pixel_mean=_unit(mean, step), pixel_std=_unit(std, step)), bgr)


def _unit(values: Tensor, step: int) -> tuple[float, float, float]:
    first, second, third = (float(v) / 255 for v in values.flatten().tolist()[::step])
    return first, second, third
