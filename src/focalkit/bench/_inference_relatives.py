"""Cases of the suite `inference`: RT-DETRv2 against transformers, RTMDet against the way MMDetection runs it."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from focalkit._types import to_memory_format
from focalkit.config import ModelConfig, rtdetrv2, rtmdet_tiny
from focalkit.detection import Detections, Detector, RetinaNet, SetDetector, build_detector, folded
from focalkit.detection.weights.layouts.rtdetr import TRANSFORMERS, apart

from ._model import Bar, Call, Case, Row, Settings, no_answer

CLASSES = 80
THRESHOLD = 0.05


@dataclass(frozen=True)
class Scene:
    """Attributes:
    image: (1, 3, side, side) in [0, 1].
    config: Of the model.
    """

    image: Tensor
    config: ModelConfig


def scene(config: ModelConfig, side: int, device: torch.device) -> Scene:
    return Scene(torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0)).to(device), config)


def model_of(inputs: Scene) -> RetinaNet | SetDetector:
    torch.manual_seed(0)
    return build_detector(inputs.config, CLASSES).to(inputs.image.device).eval()


def ours(inputs: Scene) -> Call:
    """What `focalkit predict` runs."""
    detector = folded(Detector(model_of(inputs), score_threshold=THRESHOLD))
    side = inputs.image.shape[-1]

    def call() -> list[Detections]:
        with torch.inference_mode():
            return detector.postprocess(detector.model(inputs.image), [(side, side)])

    return call


def transformers(inputs: Scene) -> Call:
    """The same weights, moved over."""
    import transformers as hf
    from transformers.models.rt_detr import configuration_rt_detr_resnet as hf_resnet

    library: Any = hf  # its types do not know all arguments
    resnet_config: Any = hf_resnet.RTDetrResNetConfig
    widths, decoder = [64, 128, 256, 512], inputs.config.decoder
    resnet = resnet_config(
        embedding_size=64, hidden_sizes=widths, depths=[2, 2, 2, 2], layer_type="basic", out_indices=[2, 3, 4]
    )
    config = library.RTDetrV2Config(
        backbone_config=resnet,
        encoder_in_channels=widths[1:],
        decoder_layers=decoder.layers,
        num_queries=decoder.queries,
        num_labels=CLASSES,
        hidden_expansion=decoder.expansion,
    )
    model = library.RTDetrV2ForObjectDetection(config)
    weights = {TRANSFORMERS.theirs(name) or name: t.cpu() for name, t in model_of(inputs).state_dict().items()}
    model.load_state_dict(apart(weights), strict=False)
    model, side = model.to(inputs.image.device).eval(), inputs.image.shape[-1]
    processor = library.RTDetrImageProcessor()

    def call() -> list[dict[str, Tensor]]:
        with torch.inference_mode():
            found = model(inputs.image)
            return processor.post_process_object_detection(found, threshold=THRESHOLD, target_sizes=[(side, side)])

    return call


def as_mmdetection(inputs: Scene) -> Call:
    """Norms by themselves, maps in PyTorch's usual order, and post-processing level by level."""
    from torchvision.ops import batched_nms

    model, side = to_memory_format(model_of(inputs), torch.contiguous_format), inputs.image.shape[-1]
    mean, std = model.pixel_mean.view(3, 1, 1), model.pixel_std.view(3, 1, 1)
    rule = model.postprocess

    def detections() -> tuple[Tensor, ...]:
        logits, distances = model.head(model.neck(model.backbone((inputs.image - mean) / std)))
        priors, kept = model.priors([x.shape[-2:] for x in logits], inputs.image.device), []
        for level, sides, points in zip(logits, distances, priors, strict=True):
            scores = level[0].permute(1, 2, 0).reshape(-1, CLASSES).sigmoid()
            rows, labels = (scores > THRESHOLD).nonzero().unbind(1)
            best, order = scores[rows, labels].sort(descending=True)
            order = order[: rule.top_k]
            boxes = rule.coder.decode(sides[0].permute(1, 2, 0).reshape(-1, 4)[rows[order]], points[rows[order]])
            kept.append((boxes.clamp(0, side), best[: rule.top_k], labels[order]))
        boxes, scores, labels = (torch.cat(x) for x in zip(*kept, strict=True))
        left = batched_nms(boxes, scores, labels, rule.iou_threshold)[: rule.max_detections]
        return boxes[left], scores[left], labels[left]

    def call() -> tuple[Tensor, ...]:
        with torch.inference_mode():
            return detections()

    return call


def our_scores(found: list[Detections]) -> tuple[Tensor, ...]:
    """From the highest on: queries of nearly the same score may change places."""
    return (found[0].scores.sort(descending=True).values,)


def their_scores(found: list[dict[str, Tensor]]) -> tuple[Tensor, ...]:
    return (found[0]["scores"].sort(descending=True).values,)


def set_case(side: int) -> Case:
    """RT-DETRv2-R18 as published, with random weights of which every query reaches the threshold."""
    config = replace(rtdetrv2().model, prior_prob=0.5)
    return Case(
        name=f"rtdetrv2-r18-{side}",
        title=f"RT-DETRv2-R18, one image of {side} x {side} px, {CLASSES} classes, forward and post-processing",
        inputs=lambda s: scene(config, side, s.device),
        rows=(
            Row("focalkit", ours, answer=our_scores, tolerance=1e-3, note="as `focalkit predict` runs it: `folded`"),
            Row("transformers", transformers, "peer", "transformers", answer=their_scores, note="the same weights"),
        ),
        reference="transformers",
        bars=(Bar("the speed of transformers", "transformers", "focalkit", 1.3),),
        note="Random weights, moved over; 300 detections. The scores of both are compared.",
    )


def dense_case(side: int) -> Case:
    """RTMDet-tiny as published, with random weights."""
    told = "the same network: norms apart, contiguous maps, post-processing in plain PyTorch; MMDetection is not run"
    return Case(
        name=f"rtmdet-tiny-{side}",
        title=f"RTMDet-tiny, one image of {side} x {side} px, {CLASSES} classes, forward and post-processing",
        inputs=lambda s: scene(rtmdet_tiny().model, side, s.device),
        rows=(
            Row("focalkit", ours, answer=no_answer, note="as `focalkit predict` runs it: `folded`"),
            Row("MMDetection-style eager", as_mmdetection, "peer", "torchvision", answer=no_answer, note=told),
        ),
        bars=(Bar("the speed of MMDetection-style eager", "MMDetection-style eager", "focalkit", 1.3),),
        note="Random weights: no prediction reaches the threshold. The suite postprocess measures that part.",
    )


def relatives(settings: Settings) -> list[Case]:
    """640 px, or 160 to see that everything works."""
    side = 160 if settings.quick else 640
    return [set_case(side), dense_case(side)]
