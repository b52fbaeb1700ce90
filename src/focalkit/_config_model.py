"""The part of a configuration that says which detector it is and what it is made of; free of torch.

Import these names from `focalkit.config`.
"""

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

DetectorName: TypeAlias = Literal[
    "retinanet", "fcos", "atss", "gfl", "vfnet", "centernet", "rtmdet", "rtdetrv2", "dfine", "deim"
]
"""The detectors there are; what each is made of is said in `focalkit.detection`, which this file does not import."""

LayoutName: TypeAlias = Literal[
    "auto", "focalkit", "torchvision", "detectron2", "mmdet", "rtdetr", "dfine", "deim", "transformers"
]
"""Whose names the weights in a file have; "auto" looks at them. `focalkit.detection.load_weights` explains them."""


@dataclass(frozen=True)
class NumericsConfig:
    """Where RetinaNets differ in what their weights do not say; the defaults are ours, others come with loaded weights.

    None of it changes the shape of a weight except `p6_from`.
    """

    p6_from: Literal["c5", "p5"] = "c5"
    """The map from which P6 is made: the backbone's last one, or the pyramid's"""
    p7_relu: bool = True
    """A ReLU between P6 and P7"""
    stride_in_1x1: bool = False
    """Bottlenecks of ResNet halve the map in their first 1x1 convolution, not in the 3x3"""
    norm_eps: float = 1e-5
    """Added to the variance in the backbone's BatchNorm"""
    rounded_anchors: bool = False
    """Whole-pixel anchors, as torchvision's"""
    anchor_stride: Literal["fixed", "image"] = "fixed"
    """Pixels per cell: 8 to 128, or the padded image's size // the map's, as in torchvision"""
    clamp_dwdh_min: bool = False
    """Clamp how far a box may shrink as well as how far it may grow, as in mmdetection"""
    clip: Literal["before_nms", "after_nms"] = "before_nms"
    """When boxes are cut at the image's edge"""
    keep_empty: bool = False
    """Keep detections whose box has no area left, as torchvision"""
    max_detections: int = 100
    """Per image"""
    pixel_mean: tuple[float, float, float] | None = None
    """Subtracted from red, green, blue in 0..1; none takes the backbone's"""
    pixel_std: tuple[float, float, float] | None = None
    """Divides red, green, blue"""
    resize: Literal["focalkit", "torchvision", "detectron2", "mmdet", "square"] = "focalkit"
    """Whose rounding of sizes and whose interpolation; "square" keeps no ratio, as set predictors' authors do"""
    plain_distances: bool = False
    """RTMDet's boxes are distances in strides, as in its tiny and s, not the logarithms of its larger sizes"""


@dataclass(frozen=True)
class DecoderConfig:
    """The encoder and decoder of a set predictor (`rtdetrv2`, `dfine`, `deim`); their width is `fpn_channels`."""

    layers: int = 6
    """Layers of the decoder: the authors' RT-DETRv2 have 3 on resnet18vd, 4 on resnet34vd, 6 on resnet50vd"""
    queries: int = 300
    """Predictions per image: some times the objects of the fullest image"""
    expansion: float = 1.0
    """Width of the encoder's fusion blocks: the authors' have 0.5 on resnet18vd and resnet34vd, 1 on resnet50vd"""
    heads: int = 8
    """Of all attention"""
    points: int = 4
    """Points that a head looks at on each map; D-FINE's at twice as many on the middle one, and 3 in its models"""
    feedforward: int = 1024
    """Width of the networks behind attention"""
    denoising: int = 100
    """Queries made of noised ground truth in training, half of them to be mended; 0 does without"""
    label_noise: float = 0.5
    """Twice the share of their labels that is drawn anew"""
    box_noise: float = 1.0
    """Largest shift of their sides, in halves of the box's size"""
    groups: int = 1
    """Of queries in training, each matched by itself (Chen et al., 2023); prediction uses the first alone"""


@dataclass(frozen=True)
class ModelConfig:
    """The structure of the detector: enough, with the number of classes, to build it again."""

    backbone: str = "resnet50"
    """resnet18 .. resnet152, resnext50_32x4d, resnext101_32x8d, mobilenet_v2, mobilenet_v2_tf, tiny,
    resnet18vd, resnet34vd, resnet50vd, cspnext_tiny, cspnext_s, cspnext_m, or timm:NAME for a model of timm"""
    backbone_norm: Literal["frozen", "batch"] = "frozen"
    """BatchNorm of the backbone: fixed statistics and scales, or live (needed when training from scratch)"""
    freeze_at: int = 2
    """Backbone stages, from the stem on, whose weights do not train (0 trains everything)"""
    fpn_channels: int = 256
    """Channels of the pyramid"""
    head_channels: int = 256
    """Channels of the class and the box tower"""
    head_depth: int = 4
    """Convolutions in each tower, before the last one"""
    head_norm: Literal["none", "group", "batch"] = "none"
    """Normalisation in the towers"""
    anchor_sizes: tuple[float, ...] = (32.0, 64.0, 128.0, 256.0, 512.0)
    """Side in pixels of the square anchor on P3 .. P7; halve them for small objects"""
    anchor_scales: tuple[float, ...] = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))
    """Factors on the side, each an anchor of its own"""
    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    """Height / width"""
    prior_prob: float | None = 0.01
    """Foreground probability at initialisation (Lin et al., sec. 4.1); None leaves the bias at 0"""
    numerics: NumericsConfig = field(default_factory=NumericsConfig)
    detector: DetectorName = "retinanet"
    """RetinaNet, or a relative of it made of the same parts"""
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    neck_depth: int = 1
    """Blocks in each stage of RTMDet's neck, 1 in tiny and s, 2 in m; of D-FINE's: 1 in S, 2 in M, 3 in L"""
