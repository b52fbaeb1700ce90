"""Files of torchvision's `retinanet_resnet50_fpn` and `retinanet_resnet50_fpn_v2`, and of models built like them.

Facts from the sources of torchvision 0.29: `models/detection/retinanet.py`, `anchor_utils.py`, `transform.py`,
`ops/feature_pyramid_network.py`. The class channel is COCO's category id in the published files (91 of them).
"""

import re
from dataclasses import replace

from focalkit.config import NumericsConfig
from focalkit.detection.weights.layouts.layout import Layout, Style


def _head(theirs: str, ours: str) -> tuple[tuple[str, str], ...]:
    return (
        (f"head.{theirs}.conv.{{c}}.0.{{p}}", f"head.{ours}_tower.convs.{{c}}.{{p}}"),
        (f"head.{theirs}.conv.{{c}}.1.{{p}}", f"head.{ours}_tower.norms.{{c}}.0.{{p}}"),
    )


LAYOUT = Layout(
    name="torchvision",
    library="torchvision",
    mark=re.compile(r"backbone\.body\..*|head\.classification_head\..*"),
    table=(
        ("backbone.body.{rest}", "backbone.body.{rest}"),
        ("backbone.fpn.inner_blocks.{n}.0.{p}", "neck.lateral.{n}.{p}"),
        ("backbone.fpn.layer_blocks.{n}.0.{p}", "neck.output.{n}.{p}"),
        ("backbone.fpn.extra_blocks.p{n}.{p}", "neck.p{n}.{p}"),
        *_head("classification_head", "class"),
        *_head("regression_head", "box"),
        ("head.classification_head.cls_logits.{p}", "head.class_output.{p}"),
        ("head.regression_head.bbox_reg.{p}", "head.box_output.{p}"),
    ),
    older=(  # up to torchvision 0.12; the published file of the first model is one
        ("backbone.fpn.inner_blocks.{n}.{p}", "neck.lateral.{n}.{p}"),
        ("backbone.fpn.layer_blocks.{n}.{p}", "neck.output.{n}.{p}"),
        ("head.classification_head.conv.{c*2}.{p}", "head.class_tower.convs.{c}.{p}"),
        ("head.regression_head.conv.{c*2}.{p}", "head.box_tower.convs.{c}.{p}"),
    ),
)

V1 = Style(
    NumericsConfig(
        p6_from="p5",
        norm_eps=0.0,  # set after loading the published weights, which were made without one
        rounded_anchors=True,
        anchor_stride="image",
        keep_empty=True,
        max_detections=300,
        resize="torchvision",
    )
)
V1_EPS = Style(replace(V1.numerics, norm_eps=1e-5))
"""The first model with BatchNorm's usual epsilon, as it is built for other classes than COCO's."""
V2 = Style(replace(V1_EPS.numerics, p6_from="c5"))


def style(p6_from: str, num_classes: int, live: bool) -> Style:
    """How a file of this layout computes.

    Args:
        p6_from: As its shapes say.
        num_classes: 91 in the published files.
        live: Its BatchNorm was trained; the published one was frozen.
    """
    if p6_from == "c5":
        return V2
    return V1 if num_classes == 91 and not live else V1_EPS
