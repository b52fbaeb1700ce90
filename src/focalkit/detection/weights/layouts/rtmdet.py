"""Files of MMDetection's RTMDet, tiny, s and m.

Facts from its sources: `models/backbones/cspnext.py`, `models/necks/cspnext_pafpn.py`, `models/layers/csp_layer.py`,
`models/dense_heads/rtmdet_head.py` (RTMDetSepBNHead), `configs/rtmdet/rtmdet_*_8xb32-300e_coco.py`. Backbone and neck
are called as ours. The head's convolutions are shared by the levels, and a file has them once for each level. Points
are at the cells' corners; the first convolution takes blue, green, red.
"""

import re

from focalkit.config import NumericsConfig
from focalkit.detection.weights.layouts.names import Table

MARK = "bbox_head.rtm_cls."
LEVELS = 3
STEM = "backbone.body.stem.0.conv.weight"


def _tower(theirs: str, ours: str) -> Table:
    return (
        (f"bbox_head.{theirs}.{{n}}.{{c}}.bn.{{p}}", f"head.{ours}.norms.{{c}}.{{n}}.{{p}}"),
        (f"bbox_head.{theirs}.0.{{c}}.conv.{{p}}", f"head.{ours}.convs.{{c}}.{{p}}"),
    )


TABLE: Table = (
    ("backbone.{rest}", "backbone.body.{rest}"),
    ("neck.{rest}", "neck.{rest}"),
    *_tower("cls_convs", "class_tower"),
    *_tower("reg_convs", "box_tower"),
    ("bbox_head.rtm_cls.{n}.{p}", "head.class_output.{n}.{p}"),
    ("bbox_head.rtm_reg.{n}.{p}", "head.box_output.{n}.{p}"),
)
SHARED = re.compile(r"(bbox_head\.(?:cls|reg)_convs\.)(\d+)(\.\d+\.conv\..+)")
"""Names of the convolutions that a file has once for each level."""


def numerics(plain_distances: bool) -> NumericsConfig:
    """How RTMDet computes; which of its sizes predict distances themselves the weights do not say."""
    return NumericsConfig(plain_distances=plain_distances, resize="mmdet", max_detections=300)


def says_plain(text: str) -> bool | None:
    """Whether a configuration's text has distances without exp; None where it does not say."""
    found = re.search(r"exp_on_reg\s*=\s*(True|False)", text)
    return None if found is None else found[1] == "False"
