"""MMDetection's RTMDet as a function of its state dict, written from the structure in its sources.

Facts: configs/rtmdet/rtmdet_{tiny,s,m}_8xb32-300e_coco.py, backbones/cspnext.py, backbones/csp_darknet.py
(SPPBottleneck), layers/csp_layer.py, layers/se_layer.py, necks/cspnext_pafpn.py, dense_heads/rtmdet_head.py
(RTMDetSepBNHead).
"""

import torch
from torch import Tensor
from torch.nn import functional as F

SIZES = {"tiny": (0.167, 0.375, 96, 1), "s": (0.33, 0.5, 128, 1), "m": (0.67, 0.75, 192, 2)}
"""deepen_factor, widen_factor, out_channels of the neck, num_csp_blocks."""
State = dict[str, Tensor]


def state_dict(size: str, classes: int, seed: int = 0) -> State:
    """Random weights under the names and in the shapes of that size's file."""
    deepen, widen, width, neck_blocks = SIZES[size]
    rng = torch.Generator().manual_seed(seed)
    found: State = {}

    def module(name: str, inside: int, outside: int, kernel: int, groups: int = 1) -> None:
        scale = (inside // groups * kernel * kernel) ** -0.5
        found[f"{name}.conv.weight"] = torch.randn(outside, inside // groups, kernel, kernel, generator=rng) * scale
        for key in ("weight", "bias", "running_mean"):
            found[f"{name}.bn.{key}"] = torch.randn(outside, generator=rng) * 0.3 + (key == "weight")
        found[f"{name}.bn.running_var"] = torch.rand(outside, generator=rng) + 0.5
        found[f"{name}.bn.num_batches_tracked"] = torch.tensor(7)

    def csp(name: str, inside: int, outside: int, blocks: int, attention: bool) -> None:
        half = outside // 2
        for key, i, o in (("main", inside, half), ("short", inside, half), ("final", 2 * half, outside)):
            module(f"{name}.{key}_conv", i, o, 1)
        for b in range(blocks):
            module(f"{name}.blocks.{b}.conv1", half, half, 3)
            module(f"{name}.blocks.{b}.conv2.depthwise_conv", half, half, 5, half)
            module(f"{name}.blocks.{b}.conv2.pointwise_conv", half, half, 1)
        if attention:
            found[f"{name}.attention.fc.weight"] = torch.randn(2 * half, 2 * half, 1, 1, generator=rng) * 0.05
            found[f"{name}.attention.fc.bias"] = torch.randn(2 * half, generator=rng)

    stem = int(64 * widen)
    module("backbone.stem.0", 3, stem // 2, 3)
    module("backbone.stem.1", stem // 2, stem // 2, 3)
    module("backbone.stem.2", stem // 2, stem, 3)
    for n, (i, o, blocks) in enumerate([(64, 128, 3), (128, 256, 6), (256, 512, 6), (512, 1024, 3)], 1):
        i, o = int(i * widen), int(o * widen)
        module(f"backbone.stage{n}.0", i, o, 3)
        if n == 4:
            module("backbone.stage4.1.conv1", o, o // 2, 1)
            module("backbone.stage4.1.conv2", o // 2 * 4, o, 1)
        csp(f"backbone.stage{n}.{1 + (n == 4)}", o, o, max(round(blocks * deepen), 1), True)
    c = [int(v * widen) for v in (256, 512, 1024)]
    for k in range(2):
        module(f"neck.reduce_layers.{k}", c[2 - k], c[1 - k], 1)
        csp(f"neck.top_down_blocks.{k}", 2 * c[1 - k], c[1 - k], neck_blocks, False)
        module(f"neck.downsamples.{k}", c[k], c[k], 3)
        csp(f"neck.bottom_up_blocks.{k}", 2 * c[k], c[k + 1], neck_blocks, False)
    for k in range(3):
        module(f"neck.out_convs.{k}", c[k], width, 3)
        for tower in ("cls_convs", "reg_convs"):
            for i in range(2):
                module(f"bbox_head.{tower}.{k}.{i}", width, width, 3)
                found[f"bbox_head.{tower}.{k}.{i}.conv.weight"] = found[f"bbox_head.{tower}.0.{i}.conv.weight"]
        for name, outside in (("rtm_cls", classes), ("rtm_reg", 4)):
            found[f"bbox_head.{name}.{k}.weight"] = torch.randn(outside, width, 1, 1, generator=rng) * 0.1
            found[f"bbox_head.{name}.{k}.bias"] = torch.randn(outside, generator=rng)
    return found


def forward(state: State, images: Tensor, exp_on_reg: bool) -> tuple[list[Tensor], list[Tensor]]:
    """RGB images in [0, 1] -> logits and boxes (b, h*w, 4), xyxy, of each level."""

    def module(name: str, x: Tensor, stride: int = 1, groups: int = 1) -> Tensor:
        weight, bn = state[f"{name}.conv.weight"], f"{name}.bn."
        x = F.conv2d(x, weight, None, stride, weight.shape[-1] // 2, groups=groups)
        x = F.batch_norm(x, *(state[bn + k] for k in ("running_mean", "running_var", "weight", "bias")), eps=1e-5)
        return x * x.sigmoid()

    def csp(name: str, x: Tensor, identity: bool) -> Tensor:
        short, x = module(f"{name}.short_conv", x), module(f"{name}.main_conv", x)
        b = 0
        while f"{name}.blocks.{b}.conv1.conv.weight" in state:
            y = module(f"{name}.blocks.{b}.conv1", x)
            y = module(f"{name}.blocks.{b}.conv2.depthwise_conv", y, groups=y.shape[1])
            y = module(f"{name}.blocks.{b}.conv2.pointwise_conv", y)
            x, b = (y + x if identity else y), b + 1
        x = torch.cat([x, short], 1)
        if f"{name}.attention.fc.weight" in state:
            mean = F.adaptive_avg_pool2d(x, 1)
            fc = F.conv2d(mean, state[f"{name}.attention.fc.weight"], state[f"{name}.attention.fc.bias"])
            x = x * ((fc + 3) / 6).clamp(0, 1)
        return module(f"{name}.final_conv", x)

    mean = torch.tensor([103.53, 116.28, 123.675]).view(3, 1, 1)
    std = torch.tensor([57.375, 57.12, 58.395]).view(3, 1, 1)
    x = (images.flip(1) * 255 - mean) / std  # blue, green, red
    x = module("backbone.stem.0", x, 2)
    x = module("backbone.stem.2", module("backbone.stem.1", x))
    features = []
    for n in range(1, 5):
        x = module(f"backbone.stage{n}.0", x, 2)
        if n == 4:
            x = module("backbone.stage4.1.conv1", x)
            pooled = [F.max_pool2d(x, k, 1, k // 2) for k in (5, 9, 13)]
            x = module("backbone.stage4.1.conv2", torch.cat([x, *pooled], 1))
        x = csp(f"backbone.stage{n}.{1 + (n == 4)}", x, n < 4)
        features.append(x)
    inner = [features[3]]
    for k, low in enumerate((features[2], features[1])):
        inner[0] = module(f"neck.reduce_layers.{k}", inner[0])
        up = F.interpolate(inner[0], scale_factor=2, mode="nearest")
        inner.insert(0, csp(f"neck.top_down_blocks.{k}", torch.cat([up, low], 1), False))
    outs = [inner[0]]
    for k in range(2):
        down = module(f"neck.downsamples.{k}", outs[-1], 2)
        outs.append(csp(f"neck.bottom_up_blocks.{k}", torch.cat([down, inner[k + 1]], 1), False))
    logits, boxes = [], []
    for k, stride in enumerate((8, 16, 32)):
        x = module(f"neck.out_convs.{k}", outs[k])
        classes, sides = x, x
        for i in range(2):
            classes = module(f"bbox_head.cls_convs.{k}.{i}", classes)
            sides = module(f"bbox_head.reg_convs.{k}.{i}", sides)
        logits.append(F.conv2d(classes, *(state[f"bbox_head.rtm_cls.{k}.{p}"] for p in ("weight", "bias"))))
        sides = F.conv2d(sides, *(state[f"bbox_head.rtm_reg.{k}.{p}"] for p in ("weight", "bias")))
        sides = (sides.exp() if exp_on_reg else sides) * stride
        h, w = sides.shape[-2:]
        y, x = torch.meshgrid(torch.arange(h) * stride, torch.arange(w) * stride, indexing="ij")
        left, top, right, bottom = sides.flatten(2).unbind(1)
        x, y = x.flatten(), y.flatten()
        boxes.append(torch.stack([x - left, y - top, x + right, y + bottom], -1))
    return logits, boxes
