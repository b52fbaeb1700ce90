"""Files of MMDetection's RetinaNet, 2.x and 3.x, whose names are the same.

Facts from its sources: `models/necks/fpn.py`, `models/dense_heads/retina_head.py`,
`models/task_modules/coders/delta_xywh_bbox_coder.py`, `configs/_base_/models/retinanet_r50_fpn.py`. Two styles: pytorch
(stride in the 3x3, red green blue, divided by the standard deviation) and caffe (stride in the first 1x1, blue green
red, mean subtracted); a file says which in the text of the configuration that it carries.
"""

import re
from dataclasses import replace

from focalkit.config import NumericsConfig
from focalkit.detection.weights.layouts.layout import Layout, Style


def _tower(theirs: str, ours: str) -> tuple[tuple[str, str], ...]:
    return (
        (f"bbox_head.{theirs}.{{c}}.conv.{{p}}", f"head.{ours}.convs.{{c}}.{{p}}"),
        (f"bbox_head.{theirs}.{{c}}.gn.{{p}}", f"head.{ours}.norms.{{c}}.0.{{p}}"),
    )


LAYOUT = Layout(
    name="mmdet",
    library="MMDetection",
    mark=re.compile(r"bbox_head\.(retina|rtm)_.*|neck\.(lateral|fpn)_convs\..*"),
    table=(
        ("backbone.{rest}", "backbone.body.{rest}"),
        ("neck.lateral_convs.{n}.conv.{p}", "neck.lateral.{n}.{p}"),
        ("neck.fpn_convs.3.conv.{p}", "neck.p6.{p}"),
        ("neck.fpn_convs.4.conv.{p}", "neck.p7.{p}"),
        ("neck.fpn_convs.{n}.conv.{p}", "neck.output.{n}.{p}"),
        *_tower("cls_convs", "class_tower"),
        *_tower("reg_convs", "box_tower"),
        ("bbox_head.retina_cls.{p}", "head.class_output.{p}"),
        ("bbox_head.retina_reg.{p}", "head.box_output.{p}"),
    ),
    older=(  # before 0.6
        ("neck.lateral_convs.{n}.{p}", "neck.lateral.{n}.{p}"),
        ("neck.fpn_convs.3.{p}", "neck.p6.{p}"),
        ("neck.fpn_convs.4.{p}", "neck.p7.{p}"),
        ("neck.fpn_convs.{n}.{p}", "neck.output.{n}.{p}"),
        ("bbox_head.cls_convs.{c}.{p}", "head.class_tower.convs.{c}.{p}"),
        ("bbox_head.reg_convs.{c}.{p}", "head.box_tower.convs.{c}.{p}"),
    ),
)

PYTORCH = Style(
    NumericsConfig(
        p7_relu=False,
        clamp_dwdh_min=True,
        pixel_mean=(123.675 / 255, 116.28 / 255, 103.53 / 255),
        pixel_std=(58.395 / 255, 57.12 / 255, 57.375 / 255),
        resize="mmdet",
    )
)
CAFFE = Style(replace(PYTORCH.numerics, stride_in_1x1=True, pixel_std=(1 / 255, 1 / 255, 1 / 255)), bgr=True)


def read_config(text: str) -> Style:
    """The style that the text of a configuration describes; what it does not say is as in the pytorch style.

    Not read: anchors, thresholds, scales of the images.
    """
    caffe = re.search(r"""style\s*=\s*['"]caffe['"]""", text) is not None
    found = CAFFE if caffe else PYTORCH
    order = re.search(r"(?:bgr_)?to_rgb\s*=\s*(True|False)", text)
    bgr = found.bgr if order is None else order[1] == "False"
    mean, std = (_numbers(text, name) for name in ("mean", "std"))
    if mean is None or std is None:
        return replace(found, bgr=bgr)
    step = -1 if bgr else 1  # written in the order in which the network takes them
    numerics = replace(found.numerics, pixel_mean=_unit(mean[::step]), pixel_std=_unit(std[::step]))
    return Style(numerics, bgr)


def _numbers(text: str, name: str) -> list[float] | None:
    match = re.search(rf"\b{name}\s*=\s*[\[(]([-+\d.e,\s]+)[\])]", text)
    values = [float(value) for value in match[1].split(",") if value.strip()] if match else []
    return values if len(values) == 3 else None


def _unit(values: list[float]) -> tuple[float, float, float]:
    red, green, blue = (value / 255 for value in values)
    return red, green, blue
