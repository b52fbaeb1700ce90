"""NanoDet-m (github.com/RangiLyu/nanodet, Apache-2.0) from its ncnn files: a real GFL detector trained on COCO.

A reader for that one format (param version 7767517, float16 weights) and only the layers that occur in it. The raw
class scores and distributions come out before the sigmoid, as `DenseOutputs`, so that everything behind them is ours.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from focalkit.detection import DenseOutputs
from focalkit.detection.boxes.points import PointGrid

STRIDES = (8, 16, 32)
MEAN = (123.675, 116.28, 103.53)  # red, green, blue in 0..255
STD = (58.395, 57.12, 57.375)
HALF_FLAG = 0x01306B47


class NanoDet(nn.Module):
    """Images (b, 3, H, W), RGB in [0, 1], H and W multiples of 32, to logits (b, 80, h, w) and scores (b, 32, h, w)."""

    num_classes = 80

    def __init__(self, param: Path) -> None:
        super().__init__()
        lines = [line.split() for line in param.read_text().splitlines()[2:]]
        data, at = param.with_suffix(".bin").read_bytes(), 0
        self.layers, self.weights = [], nn.ParameterList()
        for kind, _, inputs, outputs, *rest in lines:
            names, options = rest[: int(inputs) + int(outputs)], rest[int(inputs) + int(outputs) :]
            values = dict(option.split("=") for option in options)
            where = None
            if kind.startswith("Convolution"):
                flag, count, channels = np.frombuffer(data, "<u4", 1, at)[0], int(values["6"]), int(values["0"])
                assert flag == HALF_FLAG
                weight = np.frombuffer(data, "<f2", count, at + 4).astype(np.float32)
                at += 4 + (2 * count + 3) // 4 * 4
                bias = np.frombuffer(data, "<f4", channels, at).copy()
                at += 4 * channels
                side, where = int(values["1"]), len(self.weights)
                self.weights.append(nn.Parameter(torch.from_numpy(weight).view(channels, -1, side, side)))
                self.weights.append(nn.Parameter(torch.from_numpy(bias)))
            self.layers.append((kind, names[: int(inputs)], names[int(inputs) :], values, where))
        assert at == len(data), "the whole file was read"
        self.register_buffer("pixel_mean", torch.tensor(MEAN) / 255)
        self.register_buffer("pixel_std", torch.tensor(STD) / 255)

    def forward(self, images: Tensor) -> DenseOutputs:
        x = ((images - self.pixel_mean.view(3, 1, 1)) / self.pixel_std.view(3, 1, 1)).flip(1)  # to blue, green, red
        maps: dict[str, Tensor] = {}
        for kind, inputs, outputs, values, where in self.layers:
            results = [x] if kind == "Input" else self._run(kind, [maps[name] for name in inputs], values, where)
            maps |= dict(zip(outputs, results * (len(outputs) if kind == "Split" else 1), strict=True))
        logits, scores = (tuple(maps[f"{name}_pred_stride_{s}"] for s in STRIDES) for name in ("cls", "dis"))
        priors = PointGrid(STRIDES)([(m.shape[2], m.shape[3]) for m in logits])
        return DenseOutputs(logits, scores, priors, self.num_classes)

    def _run(self, kind: str, inputs: list[Tensor], values: dict[str, str], where: int | None) -> list[Tensor]:
        x = inputs[0]
        if where is not None:
            options = {"stride": int(values.get("3", 1)), "padding": int(values.get("4", 0))}
            x = F.conv2d(x, self.weights[where], self.weights[where + 1], groups=int(values.get("7", 1)), **options)
            return [F.leaky_relu(x, 0.1) if values.get("9") == "2" else x]
        match kind:
            case "Pooling":
                return [F.max_pool2d(x, 3, 2, 1)]
            case "Concat":
                return [torch.cat(inputs, dim=1)]
            case "BinaryOp":
                return [inputs[0] + inputs[1]]
            case "ShuffleChannel":
                return [x.unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2)]
            case "Slice":
                first = int(values["-23300"].split(",")[1])
                return [x[:, :first], x[:, first:]]
            case "Interp":
                return [F.interpolate(x, scale_factor=float(values["1"]), mode="bilinear", align_corners=False)]
            case "Split" | "Sigmoid" | "Reshape" | "Permute":  # the last three belong to the decoding, which is ours
                return [x]
        raise AssertionError(f"unknown layer {kind}")
